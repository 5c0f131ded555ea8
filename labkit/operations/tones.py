"""Operations that change values: blends with a degenerate version, and tables of tones."""

import torch
from torch import Tensor

from labkit.operations.parameters import each, in_parts

__all__ = [
    "autocontrast",
    "brightness",
    "color",
    "contrast",
    "cutout",
    "equalize",
    "identity",
    "invert",
    "posterize",
    "sharpness",
    "solarize",
]

LUMA = (0.299, 0.587, 0.114)  # ITU-R 601, the weights of Pillow's conversion to grey


# Blends: between the image and a degenerate version of it, beyond it where the factor is above 1


def _blend(degenerate: Tensor | float, images: Tensor, factor: Tensor | float) -> Tensor:
    factor = each(images, factor)[:, None, None, None]
    return (images * factor).add_(degenerate * (1 - factor)).clamp_(0, 1)


def _grey(images: Tensor) -> Tensor:
    """float[B, 1, H, W]; of one channel, the channel itself."""
    if images.shape[1] == 1:
        return images
    if images.shape[1] != 3:
        raise ValueError(f"grey is defined for 1 or 3 channels, got {images.shape[1]}")
    red, green, blue = LUMA
    return (red * images[:, :1]).add_(images[:, 1:2], alpha=green).add_(images[:, 2:], alpha=blue)


@in_parts
def brightness(images: Tensor, factor: Tensor | float) -> Tensor:
    """Blend with black. factor: float[B], 0 or more; 0 gives black, 1 the image."""
    return _blend(0.0, images, factor)


@in_parts
def color(images: Tensor, factor: Tensor | float) -> Tensor:
    """Blend with grey. factor: float[B], 0 or more; an image of one channel stays as it is."""
    return _blend(_grey(images), images, factor)


@in_parts
def contrast(images: Tensor, factor: Tensor | float) -> Tensor:
    """Blend with the mean grey level. factor: float[B], 0 or more."""
    return _blend(_grey(images).mean(dim=(1, 2, 3), keepdim=True), images, factor)


@in_parts
def sharpness(images: Tensor, factor: Tensor | float) -> Tensor:
    """Blend with a smoothed image. factor: float[B], 0 or more; the border of one pixel stays as it is."""
    inside = images[:, :, 1:-1, 1:-1]
    if not inside.numel():
        return images
    rows = (images[:, :, :-2] + images[:, :, 1:-1]).add_(images[:, :, 2:])
    # the sum over 3 x 3, along one axis at a time: avg_pool2d takes seven times as long
    total = (rows[..., :-2] + rows[..., 1:-1]).add_(rows[..., 2:])
    factor = each(images, factor)[:, None, None, None]
    # Pillow's kernel weighs the middle 5 and its neighbours 1, of 13
    sharp = (inside * (factor + 4 / 13 * (1 - factor))).add_(total.mul_((1 - factor) / 13)).clamp_(0, 1)
    result = images.clone()
    result[:, :, 1:-1, 1:-1] = sharp
    return result


# Tones: each value by a table of its own


def identity(images: Tensor) -> Tensor:
    """The images as they are."""
    return images


def invert(images: Tensor) -> Tensor:
    """The negative."""
    return 1 - images


@in_parts
def solarize(images: Tensor, threshold: Tensor | float) -> Tensor:
    """Invert the values at ``threshold`` and above. threshold: float[B] in [0, 1]; at 1 only white turns."""
    bright = images >= each(images, threshold)[:, None, None, None]
    return (bright.to(images.dtype) - images).abs_()  # |1 - x| or |0 - x|: half the time of torch.where


@in_parts
def posterize(images: Tensor, bits: Tensor | float) -> Tensor:
    """Keep the highest bits of each byte. bits: float[B] in [0, 8], rounded; 8 keeps all."""
    step = torch.exp2(8 - each(images, bits).round())[:, None, None, None]
    return (images * 255).round_().div_(step).floor_().mul_(step).div_(255)


@in_parts
def autocontrast(images: Tensor) -> Tensor:
    """Stretch each channel to the whole range; a channel of one value stays as it is."""
    low, high = images.amin(dim=(2, 3), keepdim=True), images.amax(dim=(2, 3), keepdim=True)
    flat = high <= low
    return torch.where(flat, images, (images - low) / (high - low).masked_fill(flat, 1))


@in_parts
def equalize(images: Tensor) -> Tensor:
    """Give each channel a flat histogram over 256 levels, by Pillow's integer rule."""
    count, channels, height, width = images.shape
    levels = (images * 255).round_().long().view(count * channels, height * width)
    own = 256 * torch.arange(count * channels, device=images.device)[:, None]  # a table for each channel
    histogram = torch.bincount((levels + own).flatten(), minlength=256 * len(own)).view(-1, 256)
    last = histogram.gather(1, levels.amax(dim=1, keepdim=True))
    step = (height * width - last) // 255
    below = histogram.cumsum(dim=1) - histogram
    table = ((below + step // 2) // step.clamp(min=1)).clamp_(max=255)
    table = torch.where(step > 0, table, torch.arange(256, device=images.device))
    return (table.to(images.dtype) / 255).gather(1, levels).view_as(images)


def cutout(
    images: Tensor, size: Tensor | float, *, fill: float = 0.5, generator: torch.Generator | None = None
) -> Tensor:
    """Fill a square at a random place of each image, clipped at its border (DeVries and Taylor 2017).

    size: the square's side as a share of the shorter side, float[B] in [0, 1].

    >>> cutout(torch.zeros(2, 1, 8, 8), 0.5, fill=1.0).amax().item()
    1.0
    """
    count, _, height, width = images.shape
    side = (each(images, size) * min(height, width)).round()
    centre = torch.rand(2, count, 1, generator=generator, device=images.device)
    rows, columns = torch.arange(height, device=images.device), torch.arange(width, device=images.device)
    # distances between whole pixels, so that a side of n covers n pixels
    top = (centre[0] * height).floor() - (side[:, None] / 2).floor()
    left = (centre[1] * width).floor() - (side[:, None] / 2).floor()
    in_rows = (rows >= top) & (rows < top + side[:, None])
    in_columns = (columns >= left) & (columns < left + side[:, None])
    return images.masked_fill((in_rows[:, :, None] & in_columns[:, None, :])[:, None], fill)
