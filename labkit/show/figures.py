"""A figure that carries its description and its numbers."""

from __future__ import annotations

import base64
import html
from typing import TYPE_CHECKING

from labkit.show.encoding import SCALE, data_uri, need_alt, png, render
from labkit.show.tables import Table, table
from labkit.show.theme import WIDTH

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from PIL.Image import Image

__all__ = ["Shown", "figure"]

# As wide as the picture, at the left edge of the text: themes differ in what they make of a figure.
FIGURE_STYLE = f"margin:0;max-width:{round(WIDTH * 100)}px"


class Shown:
    """A figure with alt text, as it is stored in a notebook.

    ``.html``: the ``<figure>`` element, complete in itself.  ``.png``: the bytes of a smaller picture,
    for what shows no HTML.  ``.alt``: the description.
    """

    def __init__(self, html: str, picture: Image, alt: str):
        self.html, self.alt = html, alt
        # One pixel per CSS pixel: a notebook holds this beside the picture in the HTML.
        self.png = png(picture.reduce(SCALE), colors=128)

    def __repr__(self) -> str:
        return self.alt

    def _repr_mimebundle_(self, include=None, exclude=None) -> tuple[dict, dict]:
        # HTML first for every page; the plain image is for PDF, and for tools that show no HTML.
        data = {
            "text/html": self.html,
            "image/png": base64.b64encode(self.png).decode("ascii"),
            "text/plain": self.alt,
        }
        return data, {"image/png": {"alt": self.alt}}


def figure(fig: Figure, *, alt: str, numbers=None, caption: str | None = None) -> Shown:
    """A matplotlib figure with a description and, folded below, its numbers.

    fig: the figure; it is closed, so that the notebook does not show it twice.  alt: what it shows,
    in a sentence, for those who do not see it.  numbers: what :func:`labkit.show.table` takes.
    caption: one line of plain text below the picture.
    Put the call last in a cell, or in ``display(...)``. Raises ValueError where alt is empty.

    >>> from matplotlib.figure import Figure
    >>> fig = Figure()
    >>> _ = fig.subplots().plot([1, 2, 3])
    >>> figure(fig, alt="A line that rises from 1 to 3.", numbers={"x": [0, 1, 2], "y": [1, 2, 3]})
    A line that rises from 1 to 3.
    """
    alt = need_alt(alt)
    folded = None if numbers is None else numbers if isinstance(numbers, Table) else table(numbers)
    picture = render(fig)
    parts = [image(data_uri(png(picture), "png"), alt, css_size(picture))]
    if caption:
        parts.append(f'<figcaption style="color:inherit">{html.escape(caption)}</figcaption>')
    if folded is not None:
        parts.append(f"<details><summary>Show the numbers</summary>{folded.html}</details>")
    return Shown(
        f'<figure class="labkit-figure" style="{FIGURE_STYLE}">{"".join(parts)}</figure>', picture, alt
    )


def css_size(picture: Image) -> tuple[int, int]:
    """Width and height on a page, in CSS pixels."""
    return picture.width // SCALE, picture.height // SCALE


def image(uri: str, alt: str, size: tuple[int, int]) -> str:
    """The ``<img>`` of a picture of ``size`` CSS pixels, which shrinks with the page."""
    width, height = size
    return (
        f'<img src="{uri}" alt="{html.escape(alt, quote=True)}" width="{width}" height="{height}" '
        f'style="max-width:100%;height:auto;border-radius:6px">'
    )
