"""Small image classifiers: a strided convolutional network, a perceptron, a vision transformer.

Every constructor function takes a seed and leaves the global random state as it was.
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from labkit.seeding import seeded

__all__ = ["CNN", "MLP", "ViT", "cnn", "mlp", "vit"]


class CNN(nn.Module):
    """Convolution, batch normalization and ReLU per stage, global maximum pooling, one linear layer.

    The first convolution is 5x5 and strided, which on a CPU costs a third of full resolution. The
    maximum finds an object wherever it is; a mean would drown a small one in its background.
    ``features`` gives the pooled vector, which probes and feature-matching methods read.
    """

    def __init__(self, classes: int, channels: Sequence[int], strides: Sequence[int], in_channels: int):
        super().__init__()
        if len(channels) != len(strides):
            raise ValueError(
                f"channels and strides must be as many, got {tuple(channels)} and {tuple(strides)}"
            )
        stages, width = [], in_channels
        for out, stride in zip(channels, strides, strict=True):
            side = 3 if stages else 5
            stages += [
                nn.Conv2d(width, out, side, stride=stride, padding=side // 2, bias=False),
                nn.BatchNorm2d(out),
                nn.ReLU(inplace=True),
            ]
            width = out
        self.body = nn.Sequential(*stages)
        self.head = nn.Linear(width, classes)

    def features(self, images: Tensor) -> Tensor:
        """float[B, C, H, W] -> float[B, channels[-1]]"""
        return self.body(images).flatten(2).max(dim=2).values  # its backward is faster than that of amax

    def forward(self, images: Tensor) -> Tensor:
        """float[B, C, H, W] -> logits float[B, classes]"""
        return self.head(self.features(images))


class MLP(nn.Module):
    """Flatten, then linear layers with ReLU between them."""

    def __init__(self, classes: int, inputs: int, widths: Sequence[int]):
        super().__init__()
        layers, width = [nn.Flatten()], inputs
        for out in widths:
            layers += [nn.Linear(width, out), nn.ReLU(inplace=True)]
            width = out
        self.body = nn.Sequential(*layers)
        self.head = nn.Linear(width, classes)

    def features(self, inputs: Tensor) -> Tensor:
        """float[B, ...] -> float[B, widths[-1]]"""
        return self.body(inputs)

    def forward(self, inputs: Tensor) -> Tensor:
        """float[B, ...] -> logits float[B, classes]"""
        return self.head(self.features(inputs))


class ViT(nn.Module):
    """Vision transformer: patches, learnt positions, a class token, pre-norm encoder layers.

    Dosovitskiy et al. (2021), arXiv:2010.11929, at the size of a laptop and without dropout.
    """

    def __init__(
        self, classes: int, image_size: int, patch: int, width: int, depth: int, heads: int, in_channels: int
    ):
        super().__init__()
        if image_size % patch:
            raise ValueError(f"patch must divide image_size={image_size}, got {patch}")
        self.embed = nn.Conv2d(in_channels, width, patch, stride=patch)
        self.token = nn.Parameter(torch.zeros(1, 1, width))
        self.position = nn.Parameter(torch.randn(1, 1 + (image_size // patch) ** 2, width) * 0.02)
        layer = nn.TransformerEncoderLayer(
            width, heads, 4 * width, dropout=0.0, activation="gelu", batch_first=True, norm_first=True
        )
        self.encoder = nn.TransformerEncoder(
            layer, depth, norm=nn.LayerNorm(width), enable_nested_tensor=False
        )
        self.head = nn.Linear(width, classes)

    def features(self, images: Tensor) -> Tensor:
        """float[B, C, S, S] -> float[B, width], the class token after the last layer"""
        patches = self.embed(images).flatten(2).transpose(1, 2)
        tokens = torch.cat([self.token.expand(len(images), -1, -1), patches], dim=1)
        return self.encoder(tokens + self.position)[:, 0]

    def forward(self, images: Tensor) -> Tensor:
        """float[B, C, S, S] -> logits float[B, classes]"""
        return self.head(self.features(images))


def cnn(
    classes: int,
    *,
    channels: Sequence[int] = (16, 32),
    strides: Sequence[int] = (2, 1),
    in_channels: int = 3,
    seed: int = 0,
) -> CNN:
    """Return a seeded :class:`CNN`; ``channels`` and ``strides`` give the stages.

    Raises ValueError where there are not as many strides as channels.

    >>> cnn(classes=6)(torch.rand(2, 3, 32, 32)).shape
    torch.Size([2, 6])
    """
    with seeded(seed):
        return CNN(classes, channels, strides, in_channels)


def mlp(classes: int, *, inputs: int, widths: Sequence[int] = (128, 128), seed: int = 0) -> MLP:
    """Return a seeded :class:`MLP`; ``inputs`` is the number of values per example.

    >>> mlp(classes=10, inputs=64)(torch.rand(2, 1, 8, 8)).shape
    torch.Size([2, 10])
    """
    with seeded(seed):
        return MLP(classes, inputs, widths)


def vit(
    classes: int,
    *,
    image_size: int = 32,
    patch: int = 4,
    width: int = 64,
    depth: int = 4,
    heads: int = 4,
    in_channels: int = 3,
    seed: int = 0,
) -> ViT:
    """Return a seeded :class:`ViT` for square images of ``image_size`` pixels.

    >>> vit(classes=6, depth=1)(torch.rand(2, 3, 32, 32)).shape
    torch.Size([2, 6])
    """
    with seeded(seed):
        return ViT(classes, image_size, patch, width, depth, heads, in_channels)
