"""Operations with a magnitude, and one of them for each image."""

from collections.abc import Callable, Mapping
from typing import NamedTuple

import torch
from torch import Tensor

from labkit.operations.geometry import (
    MAPS,
    affine,
    flip_horizontal,
    flip_vertical,
    rotate,
    shear_x,
    shear_y,
    translate_x,
    translate_y,
)
from labkit.operations.parameters import each
from labkit.operations.tones import (
    autocontrast,
    brightness,
    color,
    contrast,
    cutout,
    equalize,
    identity,
    invert,
    posterize,
    sharpness,
    solarize,
)

__all__ = ["EXTRA", "OPERATIONS", "Operation", "apply"]


class Operation(NamedTuple):
    """A function with the range of its parameter.

    function: called with the images, and with the parameter float[B] where it has one.
    start, end: the parameter at magnitude 0 and at magnitude 1; None for a function without one.
    signed: whether a random sign turns the way from ``start`` (left or right, darker or brighter).

    >>> OPERATIONS["rotate"]._replace(end=180.0).end
    180.0
    """

    function: Callable[..., Tensor]
    start: float | None = None
    end: float | None = None
    signed: bool = False


OPERATIONS: dict[str, Operation] = {
    "identity": Operation(identity),
    "autocontrast": Operation(autocontrast),
    "equalize": Operation(equalize),
    "rotate": Operation(rotate, 0.0, 30.0, signed=True),
    "solarize": Operation(solarize, 1.0, 0.0),
    "color": Operation(color, 1.0, 1.9, signed=True),
    "posterize": Operation(posterize, 8.0, 4.0),
    "contrast": Operation(contrast, 1.0, 1.9, signed=True),
    "brightness": Operation(brightness, 1.0, 1.9, signed=True),
    "sharpness": Operation(sharpness, 1.0, 1.9, signed=True),
    "shear_x": Operation(shear_x, 0.0, 0.3, signed=True),
    "shear_y": Operation(shear_y, 0.0, 0.3, signed=True),
    "translate_x": Operation(translate_x, 0.0, 0.45, signed=True),
    "translate_y": Operation(translate_y, 0.0, 0.45, signed=True),
}
"""The fourteen of RandAugment, in the paper's order."""

EXTRA: dict[str, Operation] = {
    "invert": Operation(invert),
    "flip_horizontal": Operation(flip_horizontal),
    "flip_vertical": Operation(flip_vertical),
    "cutout": Operation(cutout, 0.0, 0.5),
}
"""What other policies add to them."""


def apply(
    images: Tensor,
    operations: Mapping[str, Operation],
    chosen: Tensor,
    magnitude: Tensor | float,
    *,
    fill: float = 0.5,
    resample: str = "nearest",
    generator: torch.Generator | None = None,
) -> Tensor:
    """Give each image its own operation at its own magnitude.

    chosen: int64[B], positions in ``operations``.  magnitude: float[B] in [0, 1], or one for all.
    fill, resample: of the geometric operations, as in `affine`; ``fill`` also of `cutout`.
    generator: of the signs and of the place of `cutout`.
    Raises ValueError where a position is none of ``operations`` or a magnitude lies outside [0, 1].

    >>> images = torch.rand(4, 3, 16, 16)
    >>> chosen = torch.randint(len(OPERATIONS), (4,))
    >>> apply(images, OPERATIONS, chosen, 0.5).shape
    torch.Size([4, 3, 16, 16])
    """
    listed = list(operations.values())
    magnitude = each(images, magnitude)
    if chosen.shape != (len(images),) or not ((chosen >= 0) & (chosen < len(listed))).all():
        raise ValueError(
            f"chosen must be int64[{len(images)}], positions from 0 to {len(listed) - 1}, "
            f"got {list(chosen.shape)} from {chosen.min().item()} to {chosen.max().item()}"
        )
    if not ((magnitude >= 0) & (magnitude <= 1)).all():
        raise ValueError(f"magnitude must lie in [0, 1], got up to {magnitude.abs().max().item():g}")
    ways = torch.rand(len(images), generator=generator, device=images.device) < 0.5
    result = images.clone()
    warped, maps = [], []
    for position in chosen.unique().tolist():
        operation, rows = listed[position], (chosen == position).nonzero()[:, 0]
        if operation.function is identity:
            continue
        if operation.start is None:
            result[rows] = operation.function(images[rows])
            continue
        way = (operation.end - operation.start) * magnitude[rows]
        value = operation.start + (torch.where(ways[rows], way, -way) if operation.signed else way)
        if operation.function in MAPS:
            warped.append(rows)
            maps.append(MAPS[operation.function](images, value))
        elif operation.function is cutout:
            result[rows] = cutout(images[rows], value, fill=fill, generator=generator)
        else:
            result[rows] = operation.function(images[rows], value)
    if warped:  # all in one warp
        rows = torch.cat(warped)
        result[rows] = affine(images[rows], torch.cat(maps), fill=fill, resample=resample)
    return result
