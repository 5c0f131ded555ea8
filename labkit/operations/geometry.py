"""Operations that move pixels: where each pixel of the result comes from."""

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from labkit.operations.parameters import each, in_parts

__all__ = [
    "MAPS",
    "affine",
    "flip_horizontal",
    "flip_vertical",
    "jitter",
    "rotate",
    "shear_x",
    "shear_y",
    "translate_x",
    "translate_y",
]


def affine(images: Tensor, matrices: Tensor, *, fill: float = 0.5, resample: str = "nearest") -> Tensor:
    """Warp each image by its own affine map.

    matrices: float[B, 2, 3], from a point (x, y, 1) of the result to the point (x, y) of the image that it
    shows; x runs from -1 at the left edge to 1 at the right one, y from the top down.
    fill: the value of what comes from outside.  resample: "nearest" (as the reference codes) or "bilinear".
    Raises ValueError for matrices of another shape or an unknown ``resample``.

    >>> same = torch.tensor([[1.0, 0.0, 0.0], [0.0, 1.0, 0.0]]).expand(2, 2, 3)
    >>> images = torch.rand(2, 3, 8, 8)
    >>> torch.equal(affine(images, same), images)
    True
    """
    if matrices.shape != (len(images), 2, 3):
        raise ValueError(f"matrices must be float[{len(images)}, 2, 3], got {list(matrices.shape)}")
    if resample not in ("nearest", "bilinear"):
        raise ValueError(f"resample must be 'nearest' or 'bilinear', got {resample!r}")
    return _warp(images, matrices.to(images), fill=fill, resample=resample)


@in_parts
def _warp(images: Tensor, matrices: Tensor, *, fill: float, resample: str) -> Tensor:
    height, width = images.shape[-2:]
    x = torch.linspace(1 / width - 1, 1 - 1 / width, width, device=images.device, dtype=images.dtype)
    y = torch.linspace(1 / height - 1, 1 - 1 / height, height, device=images.device, dtype=images.dtype)
    # a sum of a row and a column, cheaper than the matrix product of affine_grid
    along = matrices[:, None, None, :, 0] * x[:, None]
    down = matrices[:, None, None, :, 1] * y[:, None, None] + matrices[:, None, None, :, 2]
    warped = F.grid_sample(images - fill, along + down, mode=resample, align_corners=False)
    return warped.add_(fill)


def rotate(
    images: Tensor, degrees: Tensor | float, *, fill: float = 0.5, resample: str = "nearest"
) -> Tensor:
    """Turn each image about its centre, counterclockwise. degrees: float[B] or one for all.

    >>> images = torch.rand(2, 1, 8, 8)
    >>> torch.equal(rotate(images, 90.0), images.rot90(1, (2, 3)))
    True
    """
    return affine(images, _rotation(images, each(images, degrees)), fill=fill, resample=resample)


def shear_x(images: Tensor, shear: Tensor | float, *, fill: float = 0.5, resample: str = "nearest") -> Tensor:
    """Slide the rows of each image sideways, by ``shear`` pixels per row away from the centre. float[B]."""
    return affine(images, _shear_x(images, each(images, shear)), fill=fill, resample=resample)


def shear_y(images: Tensor, shear: Tensor | float, *, fill: float = 0.5, resample: str = "nearest") -> Tensor:
    """Slide the columns of each image up or down, by ``shear`` pixels per column. float[B]."""
    return affine(images, _shear_y(images, each(images, shear)), fill=fill, resample=resample)


def translate_x(
    images: Tensor, share: Tensor | float, *, fill: float = 0.5, resample: str = "nearest"
) -> Tensor:
    """Move each image to the left by a share of its width (to the right where negative). float[B]."""
    return affine(images, _translate_x(images, each(images, share)), fill=fill, resample=resample)


def translate_y(
    images: Tensor, share: Tensor | float, *, fill: float = 0.5, resample: str = "nearest"
) -> Tensor:
    """Move each image up by a share of its height (down where negative). float[B]."""
    return affine(images, _translate_y(images, each(images, share)), fill=fill, resample=resample)


def jitter(
    images: Tensor,
    *,
    degrees: float = 0.0,
    shift: float = 0.0,
    scale: float = 0.0,
    fill: float = 0.0,
    resample: str = "bilinear",
    generator: torch.Generator | None = None,
) -> Tensor:
    """Turn, move and resize each image at random: another hand, another frame.

    The angle is uniform in (-degrees, degrees); the shifts in (-shift, shift), shares of the side; the
    size factor in (1 - scale, 1 + scale).
    Raises ValueError for degrees or shift below 0, or scale outside [0, 1).

    >>> jitter(torch.rand(4, 1, 8, 8), degrees=20, shift=0.2, scale=0.2).shape
    torch.Size([4, 1, 8, 8])
    """
    if degrees < 0 or shift < 0:
        raise ValueError(f"degrees and shift must be 0 or more, got {degrees} and {shift}")
    if not 0 <= scale < 1:
        raise ValueError(f"scale must lie in [0, 1), got {scale}")
    draws = 2 * torch.rand(4, len(images), generator=generator, device=images.device) - 1
    matrices = _rotation(images, degrees * draws[0]) / (1 + scale * draws[1])[:, None, None]
    moved = 2 * shift * draws[2:].T  # the frame is two units wide
    matrices[:, :, 2] = (matrices[:, :, :2] @ moved[:, :, None])[:, :, 0]
    return affine(images, matrices, fill=fill, resample=resample)


def _matrices(rows: list[list[Tensor | float]], like: Tensor) -> Tensor:
    result = like.new_empty(len(like), 2, 3)
    for i, row in enumerate(rows):
        for j, value in enumerate(row):
            result[:, i, j] = value
    return result


def _rotation(images: Tensor, degrees: Tensor) -> Tensor:
    height, width = images.shape[-2:]
    cos, sin = torch.cos(degrees * (math.pi / 180)), torch.sin(degrees * (math.pi / 180))
    return _matrices([[cos, -sin * (height / width), 0], [sin * (width / height), cos, 0]], degrees)


def _shear_x(images: Tensor, shear: Tensor) -> Tensor:
    height, width = images.shape[-2:]
    return _matrices([[1, shear * (height / width), 0], [0, 1, 0]], shear)


def _shear_y(images: Tensor, shear: Tensor) -> Tensor:
    height, width = images.shape[-2:]
    return _matrices([[1, 0, 0], [shear * (width / height), 1, 0]], shear)


def _translate_x(images: Tensor, share: Tensor) -> Tensor:
    return _matrices([[1, 0, 2 * share], [0, 1, 0]], share)


def _translate_y(images: Tensor, share: Tensor) -> Tensor:
    return _matrices([[1, 0, 0], [0, 1, 2 * share]], share)


def flip_horizontal(images: Tensor) -> Tensor:
    """Mirror every image left to right."""
    return images.flip(3)


def flip_vertical(images: Tensor) -> Tensor:
    """Mirror every image top to bottom."""
    return images.flip(2)


MAPS = {
    rotate: _rotation,
    shear_x: _shear_x,
    shear_y: _shear_y,
    translate_x: _translate_x,
    translate_y: _translate_y,
}
"""From an operation to the affine map of its parameter, so that several share one warp."""
