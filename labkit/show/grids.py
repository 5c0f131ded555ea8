"""Grids of images."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

from labkit.show.theme import WIDTH, styled

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["images"]

GAP, TITLE = 0.04, 0.26  # inches
# Colour and width of an outline, the lower line first: orange with a dark rim shows on every picture.
OUTLINE = (("#111111", 2.6), ("#ff9d00", 1.3))


def images(
    images, *, titles: Sequence[str] | None = None, columns: int | None = None, masks=None, boxes=None
) -> Figure:
    """A grid of images, with outlines of masks or boxes where given.

    images: float[B, C, H, W] in [0, 1], C = 1 or 3: a tensor or an array.  titles: B texts.
    columns: images per row, by default at most 6.  masks: bool[B, H, W], outlined.
    boxes: for each image int[4] or int[N, 4], (top, left, bottom, right) in pixels, end exclusive.
    Raises ValueError for another shape, for values outside [0, 1] or not finite, and where titles,
    masks or boxes are not one per image.

    >>> import torch
    >>> figure = images(torch.rand(8, 3, 16, 16), columns=4, titles=list("abcdefgh"))
    >>> len(figure.axes[0].images)
    8
    """
    from matplotlib.figure import Figure

    pictures = _array(images)
    if pictures.ndim != 4 or pictures.shape[1] not in (1, 3) or len(pictures) == 0:
        raise ValueError(f"images: takes float[B, C, H, W] with B >= 1 and C = 1 or 3, got {pictures.shape}")
    low, high = pictures.min(), pictures.max()
    if not (low >= 0 and high <= 1):  # written so that NaN is refused as well
        raise ValueError(f"images: takes values in [0, 1], got {low:.3g} to {high:.3g}")
    count, _, height, width = pictures.shape
    for name, given in [("titles", titles), ("masks", masks), ("boxes", boxes)]:
        if given is not None and len(given) != count:
            raise ValueError(f"{name}: takes one for each of {count} images, got {len(given)}")
    masks = None if masks is None else [_array(mask).astype(bool) for mask in masks]
    if masks is not None and any(mask.shape != (height, width) for mask in masks):
        raise ValueError(f"masks: takes bool[H, W] = {(height, width)} each, got {[m.shape for m in masks]}")
    boxes = None if boxes is None else [_boxes(each) for each in boxes]
    columns = min(count, 6) if columns is None else columns
    if not 1 <= columns <= 24:
        raise ValueError(f"columns: takes 1 to 24, got {columns}")
    across = (WIDTH - GAP * (columns + 1)) / columns  # inches, as are all of the axes' units here
    down = across * height / width
    head = GAP if titles is None else TITLE
    rows = math.ceil(count / columns)
    with styled():
        # One pair of axes for the whole grid: ten times faster to draw than one for each image.
        figure = Figure(figsize=(WIDTH, rows * (head + down) + GAP), layout="none")
        axes = figure.add_axes((0, 0, 1, 1))
        axes.set_axis_off()
        for i, picture in enumerate(pictures.transpose(0, 2, 3, 1)):
            left = GAP + (i % columns) * (across + GAP)
            top = head + (i // columns) * (head + down)
            extent = (left, left + across, top + down, top)
            picture = picture.squeeze(-1) if picture.shape[-1] == 1 else picture
            axes.imshow(picture, cmap="gray", vmin=0, vmax=1, extent=extent, aspect="auto")
            if titles is not None:
                size = 11 if columns <= 4 else 9
                axes.text(
                    left + across / 2, top - 0.04, str(titles[i]), ha="center", va="bottom", fontsize=size
                )
            pixel = across / width
            if masks is not None:
                _outline_mask(axes, masks[i], left, top, pixel)
            if boxes is not None:
                for box in boxes[i]:
                    _outline_box(axes, box, left, top, pixel)
        axes.set_xlim(0, WIDTH)
        axes.set_ylim(rows * (head + down) + GAP, 0)
    return figure


def _array(values):
    import numpy as np

    return np.asarray(values.detach().cpu() if hasattr(values, "detach") else values)


def _boxes(boxes):
    import numpy as np

    boxes = _array(boxes)
    if boxes.size == 0:
        return []
    boxes = np.atleast_2d(boxes)
    if boxes.ndim != 2 or boxes.shape[1] != 4:
        raise ValueError(f"boxes: takes int[4] or int[N, 4] for each image, got shape {boxes.shape}")
    return boxes


def _outline_mask(axes, mask, left: float, top: float, pixel: float) -> None:
    import numpy as np

    if mask.any() and not mask.all():
        xs, ys = (
            left + (np.arange(mask.shape[1]) + 0.5) * pixel,
            top + (np.arange(mask.shape[0]) + 0.5) * pixel,
        )
        for color, width in OUTLINE:
            axes.contour(xs, ys, mask, levels=[0.5], colors=[color], linewidths=width)


def _outline_box(axes, box, left: float, top: float, pixel: float) -> None:
    from matplotlib.patches import Rectangle

    first_row, first_column, last_row, last_column = (float(side) * pixel for side in box)
    corner, size = (left + first_column, top + first_row), (last_column - first_column, last_row - first_row)
    for color, width in OUTLINE:
        axes.add_patch(Rectangle(corner, *size, fill=False, edgecolor=color, linewidth=width))
