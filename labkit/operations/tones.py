"""Operations that change values: blends with a degenerate version, and tables of tones."""

import torch
import torch.nn.functional as F
from torch import Tensor

from labkit.operations.parameters import each

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
    return (images * factor + degenerate * (1 - factor)).clamp_(0, 1)


def _grey(images: Tensor) -> Tensor:
    """float[B, 1, H, W]; of one channel, the channel itself."""
    if images.shape[1] == 1:
        return images
    if images.shape[1] != 3:
        raise ValueError(f"grey is defined for 1 or 3 channels, got {images.shape[1]}")
    red, green, blue = LUMA
    return red * images[:, :1] + green * images[:, 1:2] + blue * images[:, 2:]


def brightness(images: Tensor, factor: Tensor | float) -> Tensor:
    """Blend with black. factor: float[B], 0 or more; 0 gives black, 1 the image."""
    return _blend(0.0, images, factor)


def color(images: Tensor, factor: Tensor | float) -> Tensor:
    """Blend with grey. factor: float[B], 0 or more; an image of one channel stays as it is."""
    return _blend(_grey(images), images, factor)


def contrast(images: Tensor, factor: Tensor | float) -> Tensor:
    """Blend with the mean grey level. factor: float[B], 0 or more."""
    return _blend(_grey(images).mean(dim=(1, 2, 3), keepdim=True), images, factor)


def sharpness(images: Tensor, factor: Tensor | float) -> Tensor:
    """Blend with a smoothed image. factor: float[B], 0 or more; the border of one pixel stays as it is."""
    inside = images[:, :, 1:-1, 1:-1]
    if not inside.numel():
        return images
    total = F.avg_pool2d(images, 3, stride=1, divisor_override=1)
    smooth = images.clone()
    smooth[:, :, 1:-1, 1:-1] = (total + 4 * inside) / 13  # Pillow's kernel: 5 in the middle, 1 around
    return _blend(smooth, images, factor)


# Tones: each value by a table of its own


def identity(images: Tensor) -> Tensor:
    """The images as they are."""
    return images


def invert(images: Tensor) -> Tensor:
    """The negative."""
    return 1 - images


def solarize(images: Tensor, threshold: Tensor | float) -> Tensor:
    """Invert the values at ``threshold`` and above. threshold: float[B] in [0, 1]; at 1 only white turns."""
    return torch.where(images < each(images, threshold)[:, None, None, None], images, 1 - images)


def posterize(images: Tensor, bits: Tensor | float) -> Tensor:
    """Keep the highest bits of each byte. bits: float[B] in [0, 8], rounded; 8 keeps all."""
    step = torch.exp2(8 - each(images, bits).round())[:, None, None, None]
    return (images * 255).round_().div_(step).floor_().mul_(step).div_(255)


def autocontrast(images: Tensor) -> Tensor:
    """Stretch each channel to the whole range; a channel of one value stays as it is."""
    low, high = images.amin(dim=(2, 3), keepdim=True), images.amax(dim=(2, 3), keepdim=True)
    flat = high <= low
    return torch.where(flat, images, (images - low) / (high - low).masked_fill(flat, 1))


def equalize(images: Tensor) -> Tensor:
    """Give each channel a flat histogram over 256 levels, by Pillow's integer rule."""
    count, channels, height, width = images.shape
    levels = (images * 255).round_().long().view(count * channels, height * width)
    histogram = levels.new_zeros(count * channels, 256)
    histogram.scatter_add_(1, levels, torch.ones_like(levels))
    last = histogram.gather(1, levels.amax(dim=1, keepdim=True))
    step = (height * width - last) // 255
    below = histogram.cumsum(dim=1) - histogram
    table = ((below + step // 2) // step.clamp(min=1)).clamp_(max=255)
    table = torch.where(step > 0, table, torch.arange(256, device=images.device))
    return (table.gather(1, levels).to(images.dtype) / 255).view_as(images)


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
