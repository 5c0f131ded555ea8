r"""ResizeMix: paste a shrunken whole image, and mix the labels by area.

CutMix pastes a random crop, which may show only background while the label says otherwise.
ResizeMix shrinks the *whole* source image to a patch, so that every patch shows its object:

.. math:: \tilde x = \mathrm{paste}(x_i,\ \mathrm{resize}(x_{\pi(i)}, \tau)), \qquad
          \lambda = 1 - \frac{h w}{H W}, \qquad
          \ell = \lambda\,\ell(\tilde x, y_i) + (1 - \lambda)\,\ell(\tilde x, y_{\pi(i)})

Qin, Fang, Zhang, Liu, Wang, Wang (2020). *ResizeMix: Mixing Data with Preserved Object
Information and True Labels.* arXiv:2012.11101. The mixing is the paper's. Not here: its
saliency-guided variants of CutMix, and its combination with RandAugment ("ResizeMix+").

Two others of the same signature are compared with it: :func:`cutmix` (Yun et al. 2019,
arXiv:1905.04899), and :func:`crop_mix`, which keeps the boxes of ResizeMix but crops like CutMix,
so that the two differ in nothing but the content of the patch.
"""

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

__all__ = [
    "MixedBatch",
    "PatchTruth",
    "crop_mix",
    "cutmix",
    "mixed_cross_entropy",
    "patch_truth",
    "resize_mix",
]


class MixedBatch(NamedTuple):
    """Images with two labels each.

    images: float[B, C, H, W].  target, source: int64[B], the labels of the pasted-on and of the
    pasted image.  weight: the share of ``target`` in the label, in [0, 1].
    boxes: int64[B, 4], (top, left, bottom, right) of each patch in pixels, end exclusive.
    order: int64[B], the index in the batch of the image that was pasted.
    zoom: area of the pasted content over its area in the source; 1 for a crop, below 1 if shrunk.
    """

    images: Tensor
    target: Tensor
    source: Tensor
    weight: float
    boxes: Tensor
    order: Tensor
    zoom: float


def resize_mix(
    images: Tensor,
    labels: Tensor,
    *,
    scale: tuple[float, float] = (0.1, 0.8),
    mode: str = "nearest",
    generator: torch.Generator | None = None,
) -> MixedBatch:
    """Paste onto each image a shrunken copy of another image of the batch.

    images: float[B, C, H, W] in any range.  labels: int64[B].
    scale: bounds of the side ratio tau, drawn once per batch as in the authors' code; the paper's
    are (0.1, 0.8).  mode: resampling of :func:`torch.nn.functional.interpolate`; the authors'
    code uses "nearest", "area" keeps thin strokes on very small images.
    Raises ValueError where the scale is not 0 < low <= high < 1, where the batch has fewer than
    two images, or where the patch would be smaller than one pixel.

    >>> batch = resize_mix(torch.rand(8, 3, 32, 32), torch.arange(8))
    >>> batch.images.shape, 0 < batch.weight < 1
    (torch.Size([8, 3, 32, 32]), True)
    """
    height, width, order = _draw_patch(images, scale, generator)
    boxes = _place_inside(images, height, width, generator)
    patches = F.interpolate(images, size=(height, width), mode=mode)[order]  # shrunk before it is reordered
    mixed = images.clone()
    _windows(mixed, height, width)[_at(boxes)] = patches
    return _batch(mixed, labels, boxes, order, shrunk=True)


def crop_mix(
    images: Tensor,
    labels: Tensor,
    *,
    scale: tuple[float, float] = (0.1, 0.8),
    generator: torch.Generator | None = None,
) -> MixedBatch:
    """The matched control of :func:`resize_mix`: the same boxes and weights, cropped, not shrunk.

    With the same generator it draws the same boxes and the same partners. Each patch is cut from
    the place where it is pasted, as in CutMix. Arguments and errors are those of ``resize_mix``.

    >>> images, labels = torch.rand(8, 3, 32, 32), torch.arange(8)
    >>> crop = crop_mix(images, labels, generator=torch.Generator().manual_seed(0))
    >>> shrunk = resize_mix(images, labels, generator=torch.Generator().manual_seed(0))
    >>> torch.equal(crop.boxes, shrunk.boxes), crop.weight == shrunk.weight
    (True, True)
    """
    height, width, order = _draw_patch(images, scale, generator)
    boxes = _place_inside(images, height, width, generator)
    mixed = images.clone()
    _windows(mixed, height, width)[_at(boxes)] = _windows(images[order], height, width)[_at(boxes)]
    return _batch(mixed, labels, boxes, order)


def cutmix(
    images: Tensor,
    labels: Tensor,
    *,
    alpha: float = 1.0,
    generator: torch.Generator | None = None,
) -> MixedBatch:
    """CutMix: one box per batch, its area share from Beta(alpha, alpha), clipped at the border.

    The weight is computed from the clipped box. Source: Yun et al. (2019), algorithm A1, with the
    box and the ratio drawn once per batch as in the authors' code.
    Raises ValueError where alpha is not positive or the batch has fewer than two images.

    >>> cutmix(torch.rand(8, 3, 32, 32), torch.arange(8)).images.shape
    torch.Size([8, 3, 32, 32])
    """
    if not alpha > 0:
        raise ValueError(f"alpha must be positive, got {alpha}")
    count, _, height, width = _at_least_two(images).shape
    uniform = torch.rand(3, generator=generator, device=images.device).tolist()
    # The inverse of the Beta distribution function keeps the draw on the given generator.
    ratio = _beta_quantile(uniform[0], alpha) ** 0.5
    row, col = int(uniform[1] * height), int(uniform[2] * width)
    half_h, half_w = int(height * ratio) // 2, int(width * ratio) // 2
    top, bottom = max(row - half_h, 0), min(row + half_h, height)
    left, right = max(col - half_w, 0), min(col + half_w, width)
    order = torch.rand(count, generator=generator, device=images.device).argsort()
    mixed = images.clone()
    mixed[:, :, top:bottom, left:right] = images[:, :, top:bottom, left:right][order]
    box = torch.tensor([top, left, bottom, right], device=images.device)
    return _batch(mixed, labels, box.expand(count, 4), order)


def mixed_cross_entropy(logits: Tensor, batch: MixedBatch) -> Tensor:
    """Cross-entropy against both labels, weighted by area; a scalar in nats.

    logits: float[B, classes] of the model on ``batch.images``.
    """
    loss = F.cross_entropy
    return batch.weight * loss(logits, batch.target) + (1 - batch.weight) * loss(logits, batch.source)


class PatchTruth(NamedTuple):
    """What the patches really show, image by image, float[B] each, all in [0, 1].

    label: the weight that the label gives to the pasted image.
    visible: its true share, pixels of the pasted object over visible pixels of both objects.
    kept: the share of the pasted object that its patch shows at all.
    left: the share of the other object that the patch leaves visible.
    """

    label: Tensor
    visible: Tensor
    kept: Tensor
    left: Tensor


def patch_truth(mix, masks: Tensor, **options) -> PatchTruth:
    """Mix the exact masks of the objects as images would be mixed, and count what is visible.

    mix: :func:`resize_mix`, :func:`crop_mix`, :func:`cutmix` or your own.  masks: bool[B, H, W], one object
    in each, not empty.  options: passed to ``mix``.
    Raises ValueError where a mask is empty.

    >>> truth = patch_truth(resize_mix, torch.ones(8, 32, 32, dtype=torch.bool))
    >>> torch.allclose(truth.label, truth.visible)
    True
    """
    if not masks.flatten(1).any(dim=1).all():
        raise ValueError("masks must show an object each, got an empty one")
    height, width = masks.shape[1:]
    values = masks[:, None].float()
    batch = mix(values, torch.arange(len(masks), device=masks.device), **options)
    top, left, bottom, right = batch.boxes.unbind(dim=1)
    row, col = torch.arange(height, device=masks.device), torch.arange(width, device=masks.device)
    in_rows = (row >= top[:, None]) & (row < bottom[:, None])
    in_cols = (col >= left[:, None]) & (col < right[:, None])
    inside = in_rows[:, :, None] & in_cols[:, None, :]
    shown = batch.images[:, 0]
    pasted = (shown * inside).sum(dim=(1, 2))
    remaining = (shown * ~inside).sum(dim=(1, 2))
    whole = values[batch.order].sum(dim=(1, 2, 3)) * batch.zoom
    return PatchTruth(
        label=torch.full_like(pasted, 1 - batch.weight),
        visible=pasted / (pasted + remaining).clamp(min=1),  # 0 where neither object is visible
        kept=(pasted / whole).clamp(max=1),  # nearest neighbour may repeat a pixel of a tiny object
        left=remaining / values.sum(dim=(1, 2, 3)),
    )


def _at_least_two(images: Tensor) -> Tensor:
    if len(images) < 2:
        raise ValueError(f"mixing needs at least two images, got a batch of {len(images)}")
    return images


def _draw_patch(images: Tensor, scale: tuple[float, float], generator) -> tuple[int, int, Tensor]:
    """One patch size for the batch, in pixels, and the partner of each image."""
    low, high = scale
    if not 0 < low <= high < 1:
        raise ValueError(f"scale must satisfy 0 < low <= high < 1, got {scale}")
    count, _, height, width = _at_least_two(images).shape
    tau = low + (high - low) * torch.rand(1, generator=generator, device=images.device).item()
    h, w = int(tau * height), int(tau * width)
    if min(h, w) < 1:
        raise ValueError(
            f"a patch of {tau:.2f} of {height}x{width} pixels is smaller than one pixel; raise scale"
        )
    return h, w, torch.rand(count, generator=generator, device=images.device).argsort()


def _place_inside(images: Tensor, height: int, width: int, generator) -> Tensor:
    """A box for each image, uniform over the places that lie fully inside it: int64[B, 4]."""
    corner = torch.rand(2, len(images), generator=generator, device=images.device)
    top = (corner[0] * (images.shape[2] - height + 1)).long()
    left = (corner[1] * (images.shape[3] - width + 1)).long()
    return torch.stack([top, left, top + height, left + width], dim=1)


def _windows(images: Tensor, height: int, width: int) -> Tensor:
    """Every place that a patch may take, as views: float[B, C, rows, columns, height, width]."""
    return images.unfold(2, height, 1).unfold(3, width, 1)


def _at(boxes: Tensor) -> tuple:
    """The index of one window per image, that of its box."""
    return torch.arange(len(boxes), device=boxes.device), slice(None), boxes[:, 0], boxes[:, 1]


def _batch(mixed: Tensor, labels: Tensor, boxes: Tensor, order: Tensor, shrunk: bool = False) -> MixedBatch:
    top, left, bottom, right = boxes[0].tolist()
    covered = (bottom - top) * (right - left) / (mixed.shape[2] * mixed.shape[3])
    # From whole pixels, not from tau squared: on 16 pixels the two differ by up to 15 %.
    return MixedBatch(mixed, labels, labels[order], 1 - covered, boxes, order, covered if shrunk else 1.0)


def _beta_quantile(probability: float, alpha: float) -> float:
    if alpha == 1:
        return probability
    from scipy.stats import beta

    return float(beta.ppf(probability, alpha, alpha))
