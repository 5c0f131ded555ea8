"""One parameter per image."""

import torch
from torch import Tensor

__all__ = ["each"]


def each(images: Tensor, value: Tensor | float) -> Tensor:
    """Return a parameter as float[B]: one number for all images, or one for each. ValueError otherwise."""
    value = torch.as_tensor(value, dtype=images.dtype, device=images.device)
    if value.ndim and value.shape != (len(images),):
        raise ValueError(f"a parameter must be a number or float[{len(images)}], got {list(value.shape)}")
    return value.expand(len(images))
