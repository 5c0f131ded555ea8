r"""RandAugment: n operations at random, all at one strength m, and nothing else to search.

A learned policy says which operations to apply, how often and how strongly, and needs a search of its
own to say it. RandAugment draws ``n`` operations uniformly from a fixed list, anew for every image, and gives
all of them the same magnitude ``m``:

.. math:: \tilde x = o_{k_n}(\cdots o_{k_1}(x;\ m) \cdots;\ m), \qquad
          k_i \sim \mathrm{Uniform}\{1, \dots, K\}

What is left of the search are two numbers, few enough to try all pairs on held-out images
(:func:`grid_search`).

Cubuk, Zoph, Shlens, Le (2019). *RandAugment: Practical automated data augmentation with a reduced search
space.* arXiv:1909.13719. The list is that of the paper's text, with the identity in it; the authors' code
(tensorflow/tpu, ``models/official/efficientnet/autoaugment.py``) has invert, cutout and solarize-add in its
place. In that code a larger m makes posterize and solarize *weaker*, brightness and its kin are unchanged at
m = 5, and 10 is the full range, beyond which m may go. Here, as in most implementations since, ``max_m`` = 30
is the full range, and every operation that has a strength grows with m from nothing.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from itertools import pairwise
from typing import NamedTuple

import torch
from torch import Tensor

from labkit.operations import OPERATIONS as SHARED
from labkit.operations import Operation, apply

__all__ = ["OPERATIONS", "Grid", "choose", "distortion", "grid_search", "rand_augment"]

# One level of 255 above white is where solarize starts: at m = 0 it turns no pixel.
OPERATIONS: dict[str, Operation] = SHARED | {"solarize": SHARED["solarize"]._replace(start=256 / 255)}
"""The fourteen operations, in the paper's order. Autocontrast and equalize have no strength."""


def choose(
    count: int,
    *,
    n: int = 2,
    operations: Mapping[str, Operation] = OPERATIONS,
    generator: torch.Generator | None = None,
    device: torch.device | str = "cpu",
) -> Tensor:
    """Draw the operations of each image: int64[n, count], positions in ``operations``.

    Uniform and with replacement: an image may get the same operation twice.
    Raises TypeError where n is no whole number, ValueError where it is negative or there are no operations.

    >>> choose(5, n=2).shape
    torch.Size([2, 5])
    """
    if isinstance(n, bool) or not isinstance(n, int):
        raise TypeError(f"n must be a whole number, got {n!r}")
    if n < 0:
        raise ValueError(f"n must be 0 or more, got {n}")
    if not operations:
        raise ValueError("operations must hold at least one operation, got none")
    return torch.randint(len(operations), (n, count), generator=generator, device=device)


def rand_augment(
    images: Tensor,
    *,
    n: int = 2,
    m: float | tuple[float, float] = 9.0,
    max_m: float = 30.0,
    operations: Mapping[str, Operation] = OPERATIONS,
    fill: float = 0.5,
    resample: str = "nearest",
    generator: torch.Generator | None = None,
) -> Tensor:
    """Apply to each image ``n`` operations of its own, drawn uniformly, all at the magnitude ``m``.

    images: float[B, C, H, W] in [0, 1], C = 1 or 3.  n: 0 or more; 1 to 3 is usual.
    m: in [0, max_m]: no change to the full range of each operation. A pair (low, high) draws a magnitude
    from U(low, high) for every image and operation instead; then nothing is shared.
    operations: what to draw from, by name.  fill: the value of what comes in from outside, grey by default.
    resample: "nearest" or "bilinear".  The operations are drawn first, as :func:`choose` does with the same
    generator; then, for each of the n, the magnitudes (of a pair) and the signs.
    Returns float[B, C, H, W] in [0, 1].
    Raises ValueError where images, n, m or max_m are out of range, or there are no operations; TypeError
    where n is no whole number.  Source: section 3 of the paper.

    >>> images = torch.rand(8, 3, 32, 32)
    >>> rand_augment(images, n=2, m=9).shape
    torch.Size([8, 3, 32, 32])
    >>> torch.equal(rand_augment(images, n=0), images)
    True
    """
    low, high = _magnitudes(m, max_m)
    if images.ndim != 4 or not images.is_floating_point():
        raise ValueError(f"images must be float[B, C, H, W], got {images.dtype}{list(images.shape)}")
    if not ((images >= 0) & (images <= 1)).all():
        raise ValueError("images must lie in [0, 1]: augment before they are normalized")
    device, count = images.device, len(images)
    chosen = choose(count, n=n, operations=operations, generator=generator, device=device)
    magnitude = torch.full((count,), low, device=device)
    for each in chosen:
        if high > low:
            magnitude = low + (high - low) * torch.rand(count, generator=generator, device=device)
        images = apply(images, operations, each, magnitude, fill=fill, resample=resample, generator=generator)
    return images


def _magnitudes(m: float | tuple[float, float], max_m: float) -> tuple[float, float]:
    """The bounds of the magnitude as shares of the full range, equal where m is one number."""
    if not 0 < max_m < math.inf:
        raise ValueError(f"max_m must be positive, got {max_m}")
    low, high = m if isinstance(m, (tuple, list)) else (m, m)
    if not 0 <= low <= high <= max_m:
        raise ValueError(f"m must lie in [0, {max_m:g}], or be a pair (low, high) in it, got {m}")
    return low / max_m, high / max_m


def distortion(
    augment: Callable[..., Tensor], images: Tensor, *, generator: torch.Generator | None = None
) -> float:
    """How far an augmentation moves the pixels: the mean over images of the root mean square change.

    augment: called as ``augment(images, generator=generator)``, as by :func:`labkit.training.fit`.
    images: float[B, C, H, W].  Returns a number in [0, 1] for images in [0, 1].

    >>> distortion(lambda images, generator: 1 - images, torch.ones(2, 1, 8, 8))
    1.0
    """
    change = augment(images, generator=generator) - images
    return change.square().mean(dim=(1, 2, 3)).sqrt().mean().item()


class Grid(NamedTuple):
    """What a search found.

    n, m: the values tried.  scores: float64[len(n), len(m)].  best: the (n, m) of the highest score.
    """

    n: tuple[int, ...]
    m: tuple[float, ...]
    scores: Tensor
    best: tuple[int, float]


def grid_search(score: Callable[..., float], *, n: Sequence[int], m: Sequence[float]) -> Grid:
    """Try every pair of n and m, and keep the best: the whole search of the paper.

    score: called as ``score(n=n, m=m)``; trains, and returns a number on *held-out* images, higher is better.
    Never on the test images: the best of 15 cells on those is better than it will ever be again.
    n, m: the values to try, rising. Of equal cells the first wins, the one with fewer and weaker operations.
    Raises ValueError where n or m is empty or not rising, and where a score is not finite.

    >>> grid_search(lambda n, m: -((m - 9) ** 2) - n, n=(1, 2), m=(4, 9, 14)).best
    (1, 9)
    """
    for name, values in (("n", n), ("m", m)):
        if not len(values) or any(a >= b for a, b in pairwise(values)):
            raise ValueError(f"{name} must be one or more rising numbers, got {values!r}")
    scores = torch.tensor([[float(score(n=a, m=b)) for b in m] for a in n], dtype=torch.float64)
    if not torch.isfinite(scores).all():
        raise ValueError(f"score must be finite, got {scores.tolist()}")
    row, column = divmod(scores.argmax().item(), len(m))
    return Grid(tuple(n), tuple(m), scores, (n[row], m[column]))
