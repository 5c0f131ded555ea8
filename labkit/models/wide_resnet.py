"""Wide residual networks, for the full-scale cells on 32x32 images.

Zagoruyko, Komodakis (2016), arXiv:1605.07146: pre-activation blocks of two 3x3 convolutions, three
groups of widths 16k, 32k, 64k; WRN-28-10 is ``depth=28, widen=10``. Without dropout.
"""

import torch.nn.functional as F
from torch import Tensor, nn

from labkit.seeding import seeded

__all__ = ["WideResNet", "wide_resnet"]


class Block(nn.Module):
    def __init__(self, inputs: int, outputs: int, stride: int):
        super().__init__()
        self.norm1, self.norm2 = nn.BatchNorm2d(inputs), nn.BatchNorm2d(outputs)
        self.conv1 = nn.Conv2d(inputs, outputs, 3, stride=stride, padding=1, bias=False)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, padding=1, bias=False)
        changes = stride != 1 or inputs != outputs
        self.shortcut = nn.Conv2d(inputs, outputs, 1, stride=stride, bias=False) if changes else None

    def forward(self, x: Tensor) -> Tensor:
        active = F.relu(self.norm1(x))
        shortcut = x if self.shortcut is None else self.shortcut(active)
        return shortcut + self.conv2(F.relu(self.norm2(self.conv1(active))))


class WideResNet(nn.Module):
    """float[B, C, H, W] -> logits float[B, classes]; ``features`` gives float[B, 64 * widen]."""

    def __init__(self, classes: int, depth: int, widen: int, in_channels: int):
        super().__init__()
        if depth < 10 or (depth - 4) % 6:
            raise ValueError(f"depth must be 6 n + 4 with n at least 1 (10, 16, 22, 28, …), got {depth}")
        self.stem = nn.Conv2d(in_channels, 16, 3, padding=1, bias=False)
        blocks, width = [], 16
        for group, outputs in enumerate((16 * widen, 32 * widen, 64 * widen)):
            for i in range((depth - 4) // 6):
                blocks.append(Block(width, outputs, stride=2 if group and i == 0 else 1))
                width = outputs
        self.blocks, self.norm, self.head = (
            nn.Sequential(*blocks),
            nn.BatchNorm2d(width),
            nn.Linear(width, classes),
        )
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")

    def features(self, images: Tensor) -> Tensor:
        return F.relu(self.norm(self.blocks(self.stem(images)))).mean(dim=(2, 3))

    def forward(self, images: Tensor) -> Tensor:
        return self.head(self.features(images))


def wide_resnet(
    classes: int, *, depth: int = 16, widen: int = 4, in_channels: int = 3, seed: int = 0
) -> WideResNet:
    """Return a seeded :class:`WideResNet`. Raises ValueError where depth is not 6 n + 4.

    >>> import torch
    >>> wide_resnet(classes=10, depth=10, widen=1)(torch.rand(2, 3, 32, 32)).shape
    torch.Size([2, 10])
    """
    with seeded(seed):
        return WideResNet(classes, depth, widen, in_channels)
