"""A picture with a slider: recomputed where a kernel runs, switched between frames where none does.

The static form, which an executed notebook stores and a page moves images of::

    <figure class="labkit-explore" data-frames='["data:image/webp;base64,...", ...]' data-alts='["...", ...]'>
      <img src="data:image/png;base64,..." alt="..." width="560" height="350">
      <div><label>tau <input type="range" data-values='["0.1", ...]' ...></label> <output>0.1</output></div>
    </figure><script>...</script>

``data-frames`` is a JSON list of addresses, in the order of the knobs' values (the last knob changes
fastest); whoever builds a page may replace each by that of a file, and the first image's too. The
script is the same for every figure and needs no ids, so that any number of them share a page. Where
scripts and inputs are removed (GitHub), the first frame remains with its description and its value.
"""

from __future__ import annotations

import html
import itertools
import json
import os
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from labkit.show.encoding import SCALE, data_uri, need_alt, png, render, webp
from labkit.show.figures import FIGURE_STYLE, Shown, css_size, image

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from PIL.Image import Image

__all__ = ["explore"]

MOST_FRAMES = 12
MOST_BYTES = 15_000
# What is given up to fit a frame: first exactness, then quality, then pixels (per CSS pixel).
QUALITIES = (85, 70, 55, 40)
SCALES = (2.0, 1.5, 1.0, 0.75)

SCRIPT = """<script>
for (const root of document.querySelectorAll("figure.labkit-explore:not([data-ready])")) {
  root.dataset.ready = "";
  const [frames, alts] = [root.dataset.frames, root.dataset.alts].map(JSON.parse);
  const knobs = [...root.querySelectorAll("input[type=range]")];
  const picture = root.querySelector("img");
  const show = () => {
    let frame = 0;
    for (const knob of knobs) {
      const values = JSON.parse(knob.dataset.values);
      frame = frame * values.length + Number(knob.value);
      knob.setAttribute("aria-valuetext", values[knob.value]);
      knob.closest("div").querySelector("output").textContent = values[knob.value];
    }
    picture.src = frames[frame];
    picture.alt = alts[frame];
  };
  const load = () => frames.forEach((frame) => { new Image().src = frame; });
  root.addEventListener("pointerenter", load, { once: true });
  root.addEventListener("focusin", load, { once: true });
  knobs.forEach((knob) => { knob.hidden = false; knob.addEventListener("input", show); });
}
</script>"""


def explore(draw: Callable[..., Figure], *, alt: str | Callable[..., str], **knobs: Sequence):
    """A picture of one knob, or two, to play with.

    draw: takes each knob's value by name, returns a matplotlib Figure of always the same size.
    alt: what the picture shows: a text, or a function of the same values that returns one.
    knobs: name -> the values it may take, numbers or texts, at least two. Underscores in the name are
    shown as spaces.

    In a live notebook: sliders with every value, the picture drawn anew. Executed without a reader
    (papermill, nbclient; ``LABKIT_HEADLESS=1``, or ``0`` for live): at most 12 frames of at most
    15 kB; one knob with more values keeps 12 evenly spaced, the first and last among them.
    Put the call last in a cell, or in ``display(...)``.
    Raises ValueError for no knob or more than two, fewer than two values, two knobs with more than 12
    frames, an empty alt, figures of different sizes, and a frame that does not fit even in low quality.

    >>> from matplotlib.figure import Figure
    >>> def draw(power):
    ...     figure = Figure()
    ...     figure.subplots().plot([x**power for x in range(9)])
    ...     return figure
    >>> explore(draw, power=[1, 2, 3], alt="A power function, steeper with a higher power.")
    A power function, steeper with a higher power.
    """
    knobs = {name: _values(name, values) for name, values in knobs.items()}
    if not 1 <= len(knobs) <= 2:
        raise ValueError(f"explore: takes one knob or two, by name, got {len(knobs)}: {list(knobs)}")
    describe = alt if callable(alt) else lambda **values: alt
    need_alt(describe(**{name: values[0] for name, values in knobs.items()}))
    if is_live():
        return _widget(draw, describe, knobs)
    return _static(draw, describe, knobs)


def is_live() -> bool:
    """Whether somebody can move a slider: a notebook kernel whose front end takes input.

    Front ends for people (JupyterLab, Colab, VS Code) tell the kernel with each cell that it may ask
    its user for text; nbclient and what builds on it (papermill, nbconvert, nbval) that it may not.
    """
    setting = os.environ.get("LABKIT_HEADLESS", "")
    if setting not in ("", "0", "1"):
        raise ValueError(f"LABKIT_HEADLESS: takes 0 or 1, got {setting!r}")
    if setting:
        return setting == "0"
    try:
        from IPython import get_ipython
    except ImportError:
        return False
    kernel = getattr(get_ipython(), "kernel", None)
    return bool(getattr(kernel, "_allow_stdin", False))


def _values(name: str, values: Sequence) -> list:
    if isinstance(values, str) or not hasattr(values, "__len__"):
        raise TypeError(f"{name}: takes a sequence of values, got {values!r}")
    result = [value.item() if hasattr(value, "item") else value for value in values]
    if len(result) < 2:
        raise ValueError(f"{name}: takes at least two values, got {result}")
    if len({_text(value) for value in result}) < len(result):
        raise ValueError(f"{name}: takes values that differ in four digits, got {result}")
    return result


def _text(value) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def _thinned(knobs: dict[str, list]) -> dict[str, list]:
    """The values that get a frame."""
    sizes = [len(values) for values in knobs.values()]
    if len(sizes) == 2:
        if sizes[0] * sizes[1] > MOST_FRAMES:
            message = f"takes at most {MOST_FRAMES} frames from two knobs, got {sizes[0]} x {sizes[1]}"
            raise ValueError(f"{' and '.join(knobs)}: {message}")
        return knobs
    ((name, values),) = knobs.items()
    last, frames = len(values) - 1, min(len(values), MOST_FRAMES)
    return {name: [values[round(i * last / (frames - 1))] for i in range(frames)]}


def _static(draw, describe, knobs: dict[str, list]) -> Shown:
    knobs = _thinned(knobs)
    settings = [dict(zip(knobs, values, strict=True)) for values in itertools.product(*knobs.values())]
    pictures = [render(draw(**values)) for values in settings]
    alts = [need_alt(describe(**values)) for values in settings]
    if len({picture.size for picture in pictures}) > 1:
        sizes = sorted({picture.size for picture in pictures})
        raise ValueError(f"draw: takes figures of one size for all frames, got {sizes} pixels")
    shrunk, frames = _frames(pictures, settings)
    first = image(data_uri(png(shrunk), "png"), alts[0], css_size(pictures[0]))
    addresses = [data_uri(frame, "webp") for frame in frames]
    controls = "".join(_control(name, values) for name, values in knobs.items())
    content = (
        f'<figure class="labkit-explore" style="{FIGURE_STYLE}" '
        f'data-frames="{_json(addresses)}" data-alts="{_json(alts)}">'
        f"{first}{controls}</figure>{SCRIPT}"
    )
    return Shown(content, pictures[0], alts[0])


def _json(value) -> str:
    return html.escape(json.dumps(value, ensure_ascii=False), quote=True)


def _control(name: str, values: list) -> str:
    texts = [_text(value) for value in values]
    # Hidden until the script is there to answer it. No autocomplete: on a reload some browsers put a
    # slider back to where it was, beside the first frame. The label must not hold the output: a label
    # belongs to the first such element in it. A screen reader says the value as the slider's own text.
    return (
        f"<div><label>{html.escape(name.replace('_', ' '))} "
        f'<input type="range" min="0" max="{len(texts) - 1}" step="1" value="0" hidden autocomplete="off" '
        f'aria-valuetext="{html.escape(texts[0], quote=True)}" data-values="{_json(texts)}" '
        f'style="width:14em;max-width:60vw;vertical-align:middle"></label> '
        f'<output aria-live="off">{html.escape(texts[0])}</output></div>'
    )


def _frames(pictures: list[Image], settings: list[dict]) -> tuple[Image, list[bytes]]:
    """The first picture at the frames' size, and each as WebP of at most 15 kB, as good as fits."""
    for scale in SCALES:
        size = tuple(round(side * scale / SCALE) for side in pictures[0].size)
        shrunk = [picture if scale == SCALE else picture.resize(size) for picture in pictures]
        # Asked first, since it settles most scales in one step: does each fit in the lowest quality?
        misfit = next(
            (i for i, p in enumerate(shrunk) if len(webp(p, quality=QUALITIES[-1])) > MOST_BYTES), None
        )
        if misfit is None:
            return shrunk[0], [_best(picture) for picture in shrunk]
    message = f"does not fit in {MOST_BYTES} bytes; draw a smaller figure, or less in it"
    raise ValueError(f"draw: the frame for {settings[misfit]} {message}")


def _best(picture: Image) -> bytes:
    # Lossless suits charts and is the smaller there; it never fits a photograph.
    few_colors = picture.getcolors(maxcolors=MOST_BYTES) is not None
    for quality in (None, *QUALITIES) if few_colors else QUALITIES:
        frame = webp(picture, quality=quality)
        if len(frame) <= MOST_BYTES:
            return frame
    raise AssertionError("the lowest quality was checked to fit")


def _widget(draw, describe, knobs: dict[str, list]):
    """Sliders above a picture; works with ipywidgets 7 and 8."""
    import ipywidgets

    sliders = {
        name: ipywidgets.SelectionSlider(
            options=[(_text(value), value) for value in values],
            description=name.replace("_", " "),
            continuous_update=False,
            style={"description_width": "initial"},
        )
        for name, values in knobs.items()
    }
    picture = ipywidgets.HTML()

    def redraw(change=None) -> None:
        values = {name: slider.value for name, slider in sliders.items()}
        try:
            drawn = render(draw(**values))
            text = need_alt(describe(**values))
            picture.value = image(data_uri(png(drawn), "png"), text, css_size(drawn))
        except Exception as error:
            # A front end hides what a callback raises: show it where the picture would be.
            picture.value = f"<pre>{html.escape(f'{type(error).__name__}: {error}')}</pre>"
            raise

    for slider in sliders.values():
        slider.observe(redraw, names="value")
    redraw()
    return ipywidgets.VBox([*sliders.values(), picture])
