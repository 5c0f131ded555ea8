"""Figures and tensors to small image files, the same bytes for the same picture."""

from __future__ import annotations

import base64
import io
import sys
from typing import TYPE_CHECKING

from labkit.show.theme import styled

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from PIL.Image import Image

SCALE = 2  # image pixels per CSS pixel


def render(figure: Figure) -> Image:
    """The figure as an RGB picture, at two pixels per CSS pixel. The figure is closed."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure
    from PIL import Image

    if not isinstance(figure, Figure):
        raise TypeError(f"figure: takes a matplotlib Figure, got {type(figure).__name__}")
    close(figure)
    dpi = figure.dpi
    with styled():
        figure.set_dpi(SCALE * 100)
        canvas = FigureCanvasAgg(figure)
        canvas.draw()
        picture = Image.frombytes("RGBA", canvas.get_width_height(), bytes(canvas.buffer_rgba()))
    figure.set_dpi(dpi)
    paper = Image.new("RGBA", picture.size, "white")
    paper.alpha_composite(picture)
    return paper.convert("RGB")


def close(figure: Figure) -> None:
    """Take the figure out of pyplot's list, so that a notebook does not show it a second time."""
    pyplot = sys.modules.get("matplotlib.pyplot")
    if pyplot is not None:
        pyplot.close(figure)


def png(picture: Image, colors: int = 256) -> bytes:
    """PNG of few colours: a third of the full file, and a chart looks the same."""
    stream = io.BytesIO()
    picture.quantize(colors, dither=0).save(stream, "PNG", optimize=True)
    return stream.getvalue()


def webp(picture: Image, *, quality: int | None) -> bytes:
    """WebP of a quality from 0 to 100; ``None``: lossless."""
    stream = io.BytesIO()
    if quality is None:
        picture.save(stream, "WEBP", lossless=True, quality=80, method=4)
    else:
        picture.save(stream, "WEBP", quality=quality, method=4)
    return stream.getvalue()


def data_uri(content: bytes, kind: str) -> str:
    return f"data:image/{kind};base64,{base64.b64encode(content).decode('ascii')}"


def need_alt(alt: str, name: str = "alt") -> str:
    """The text for those who do not see the picture, or ValueError where there is none."""
    if not isinstance(alt, str):
        raise TypeError(f"{name}: takes a text that says what the picture shows, got {type(alt).__name__}")
    if not alt.strip():
        raise ValueError(f"{name}: is empty; say in a sentence what the picture shows")
    return " ".join(alt.split())
