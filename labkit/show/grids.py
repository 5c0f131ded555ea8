"""Grids of images."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

from labkit.show.theme import WIDTH, styled

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["images"]

OUTLINE = "#ff9d00"  # with a dark rim below it: visible on light and on dark pictures


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
    >>> len(figure.axes)
    8
    """
    import numpy as np
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
    columns = min(count, 6) if columns is None else columns
    if not 1 <= columns <= 24:
        raise ValueError(f"columns: takes 1 to 24, got {columns}")
    rows = math.ceil(count / columns)
    cell = WIDTH / columns
    size = (WIDTH, rows * (cell * height / width + (0.25 if titles else 0.03)))
    with styled():
        figure = Figure(figsize=size)
        figure.get_layout_engine().set(w_pad=0.02, h_pad=0.02, wspace=0.02, hspace=0.02)
        for i in range(count):
            axes = figure.add_subplot(rows, columns, i + 1)
            picture = pictures[i].transpose(1, 2, 0)
            axes.imshow(
                picture.squeeze(-1) if picture.shape[2] == 1 else picture, cmap="gray", vmin=0, vmax=1
            )
            axes.set_axis_off()
            if titles:
                axes.set_title(str(titles[i]), fontsize=11 if columns <= 4 else 9, loc="center", pad=3)
            if masks is not None:
                _outline(axes, _array(masks)[i].astype(bool))
            if boxes is not None:
                for box in np.atleast_2d(_array(boxes[i])):
                    _box(axes, box)
    return figure


def _array(values):
    import numpy as np

    return np.asarray(values.detach().cpu() if hasattr(values, "detach") else values)


def _outline(axes, mask) -> None:
    if mask.any() and not mask.all():
        for color, width in [("#111111", 2.6), (OUTLINE, 1.3)]:
            axes.contour(mask, levels=[0.5], colors=[color], linewidths=width)


def _box(axes, box) -> None:
    from matplotlib.patches import Rectangle

    top, left, bottom, right = (float(side) for side in box)
    for color, width in [("#111111", 2.6), (OUTLINE, 1.3)]:
        # Pixel i covers i - 0.5 to i + 0.5 on matplotlib's axes.
        corner = (left - 0.5, top - 0.5)
        axes.add_patch(
            Rectangle(corner, right - left, bottom - top, fill=False, edgecolor=color, linewidth=width)
        )
