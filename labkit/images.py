"""Batched image operations on float[B, C, H, W], one draw per image, no loop over the batch."""

import torch
import torch.nn.functional as F
from torch import Tensor

__all__ = ["flip", "flip_and_shift", "shift"]


def flip(images: Tensor, *, generator: torch.Generator | None = None) -> Tensor:
    """Mirror each image left to right with probability one half.

    >>> flip(torch.rand(4, 3, 8, 8)).shape
    torch.Size([4, 3, 8, 8])
    """
    mirrored = torch.rand(len(images), generator=generator, device=images.device) < 0.5
    return torch.where(mirrored[:, None, None, None], images.flip(3), images)


def shift(images: Tensor, *, pixels: int, generator: torch.Generator | None = None) -> Tensor:
    """Move each image by up to ``pixels`` in both directions; what comes in is zero.

    The same as zero padding and a random crop of the old size (He et al. 2016, arXiv:1512.03385).
    Raises ValueError where ``pixels`` is negative.

    >>> shift(torch.rand(4, 3, 8, 8), pixels=2).shape
    torch.Size([4, 3, 8, 8])
    """
    if pixels < 0:
        raise ValueError(f"pixels must be 0 or more, got {pixels}")
    count, _, height, width = images.shape
    padded = F.pad(images, [pixels] * 4)
    corner = torch.randint(2 * pixels + 1, (2, count, 1), generator=generator, device=images.device)
    windows = padded.unfold(2, height, 1).unfold(3, width, 1)  # every crop there is, as views
    return windows[torch.arange(count, device=images.device), :, corner[0, :, 0], corner[1, :, 0]]


def flip_and_shift(images: Tensor, *, generator: torch.Generator | None = None) -> Tensor:
    """The base augmentation of small natural images: :func:`flip`, then :func:`shift` by an eighth.

    >>> flip_and_shift(torch.rand(4, 3, 32, 32)).shape
    torch.Size([4, 3, 32, 32])
    """
    return shift(flip(images, generator=generator), pixels=images.shape[-1] // 8, generator=generator)
