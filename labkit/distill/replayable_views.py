"""Augmentations as numbers: drawn once, stored, and applied again to the bit.

A *view* of an image is a random crop resized to the whole frame, perhaps mirrored, then RandAugment's
operations, then an erased rectangle, then perhaps a mixture with a second image. :func:`sample` draws the
numbers of many views; :func:`replay` applies them. Nothing random happens there, so that the same numbers
give the same pixels in another process, with another generator, in another batch.

The operations are those of :mod:`labkit.operations`, with their sign fixed (``DIRECTED``): "rotate +" and
"rotate -" are two operations, because a sign that is drawn while replaying could not be replayed.
"""

import math
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from labkit.operations import OPERATIONS, Operation, affine, apply
from labkit.seeding import generator as fresh

__all__ = ["DIRECTED", "Family", "Views", "replay", "sample"]


def _directed() -> dict[str, Operation]:
    found = {}
    for name, operation in OPERATIONS.items():
        if not operation.signed:
            found[name] = operation
            continue
        other = 2 * operation.start - operation.end
        found[f"{name} +"] = operation._replace(signed=False)
        found[f"{name} -"] = operation._replace(signed=False, end=other)
    return found


DIRECTED: dict[str, Operation] = _directed()
"""RandAugment's operations, each signed one twice: once for each way."""
_NAMES = list(DIRECTED)


@dataclass(frozen=True)
class Family:
    """What views are drawn from: the paper's "RRC +RA/RE" by default, mixing (its "+M*") off.

    crop: bounds of the crop's share of the image's area.  ratio: bounds of its width over its height.
    mirror: probability of mirroring; 0 for digits and letters.
    count, magnitude: how many operations for each view, and their strength in [0, 1]; (2, 0.3) is
    RandAugment's n = 2, m = 9 of 30.  operations: names of :data:`labkit.operations.OPERATIONS`.
    erase: probability of an erased rectangle, of 2 to 33 % of the area.  mixup, cutmix: probabilities of a
    mixture with a second image, whose share is uniform (alpha = 1); together at most 1.
    fill: the value of what comes in from outside and of what is erased.
    Raises ValueError for bounds, probabilities or names that are none.
    """

    crop: tuple[float, float] = (0.08, 1.0)
    ratio: tuple[float, float] = (3 / 4, 4 / 3)
    mirror: float = 0.5
    count: int = 2
    magnitude: float = 0.3
    operations: tuple[str, ...] = tuple(OPERATIONS)
    erase: float = 0.25
    mixup: float = 0.0
    cutmix: float = 0.0
    fill: float = 0.5

    def __post_init__(self):
        if not 0 < self.crop[0] <= self.crop[1] <= 1:
            raise ValueError(f"crop must satisfy 0 < low <= high <= 1, got {self.crop}")
        if not 0 < self.ratio[0] <= self.ratio[1] < math.inf:
            raise ValueError(f"ratio must satisfy 0 < low <= high, got {self.ratio}")
        for name in ("mirror", "magnitude", "erase", "mixup", "cutmix", "fill"):
            if not 0 <= getattr(self, name) <= 1:
                raise ValueError(f"{name} must lie in [0, 1], got {getattr(self, name)}")
        if self.mixup + self.cutmix > 1:
            raise ValueError(f"mixup + cutmix must be at most 1, got {self.mixup + self.cutmix}")
        if self.count < 0:
            raise ValueError(f"count must be 0 or more, got {self.count}")
        unknown = [name for name in self.operations if name not in OPERATIONS]
        if unknown or not self.operations:
            raise ValueError(f"operations must be names from {list(OPERATIONS)}, got {self.operations}")


class Views(NamedTuple):
    """The numbers of many views; the leading dimensions are the same in all, here written [...].

    Boxes are (top, left, height, width) as shares of the side, in [0, 1]; all zeros for none.
    crop: float32[..., 4].  mirrored: bool[...].  operations: int64[..., n], positions in ``DIRECTED``.
    magnitudes: float32[..., n] in [0, 1].  erased: float32[..., 4], a box.
    partner: int64[...], the index in the data set of the image that is mixed in, -1 for none.
    partner_crop: float32[..., 4].  weight: float32[...], the share of the image itself under MixUp, else 1.
    pasted: float32[..., 4], the box that shows the partner under CutMix.  fill: float32[...].

    >>> views = sample((5, 3), Family(), generator=torch.Generator().manual_seed(0))
    >>> views.crop.shape, views.at(torch.tensor([0, 4]), torch.tensor([2, 1])).crop.shape
    (torch.Size([5, 3, 4]), torch.Size([2, 4]))
    """

    crop: Tensor
    mirrored: Tensor
    operations: Tensor
    magnitudes: Tensor
    erased: Tensor
    partner: Tensor
    partner_crop: Tensor
    weight: Tensor
    pasted: Tensor
    fill: Tensor

    def at(self, *index) -> "Views":
        """The views at an index of the leading dimensions."""
        return Views(*(field[index] for field in self))


def sample(
    shape: tuple[int, ...], family: Family, *, images: int = 0, generator: torch.Generator | None = None
) -> Views:
    """Draw the numbers of views, as many as ``shape`` says.

    images: size of the data set, from which partners are drawn; needed with ``mixup`` or ``cutmix`` only.
    Crops are drawn as usual (Szegedy et al. 2015, arXiv:1409.4842): area, logarithm of the ratio and place
    are uniform; a side that would exceed the image is cut to it.
    Raises ValueError where mixing is on and ``images`` is less than 1.
    """
    mixing = family.mixup + family.cutmix
    if mixing and images < 1:
        raise ValueError(f"images must be the size of the data set where images are mixed, got {images}")

    def uniform(*more: int) -> Tensor:
        return torch.rand(*shape, *more, generator=generator)

    def box(area: Tensor, ratio: tuple[float, float]) -> Tensor:
        low, high = math.log(ratio[0]), math.log(ratio[1])
        stretch = torch.exp(low + (high - low) * uniform())
        sides = torch.stack([(area / stretch).sqrt(), (area * stretch).sqrt()], dim=-1).clamp(max=1)
        return torch.cat([uniform(2) * (1 - sides), sides], dim=-1)

    def crop() -> Tensor:
        low, high = family.crop
        return box(low + (high - low) * uniform(), family.ratio)

    # two positions for each operation: its two ways, or twice the same where it has no sign
    table = torch.tensor([[_NAMES.index(way) for way in _ways(name)] for name in family.operations])
    chosen = torch.randint(len(table), (*shape, family.count), generator=generator)
    side = (uniform(family.count) < 0.5).long()
    erased = box(0.02 + 0.31 * uniform(), (0.3, 1 / 0.3)) * (uniform() < family.erase)[..., None]
    views = Views(
        crop=crop(),
        mirrored=uniform() < family.mirror,
        operations=table[chosen, side],
        magnitudes=torch.full((*shape, family.count), family.magnitude),
        erased=erased,
        partner=torch.full(shape, -1),
        partner_crop=torch.zeros(*shape, 4),
        weight=torch.ones(shape),
        pasted=torch.zeros(*shape, 4),
        fill=torch.full(shape, family.fill),
    )
    if not mixing:
        return views
    kind, share = uniform(), uniform()
    up, cut = kind < family.mixup, (kind >= family.mixup) & (kind < mixing)
    partner = torch.randint(images, shape, generator=generator)
    return views._replace(
        partner=torch.where(up | cut, partner, views.partner),
        partner_crop=crop() * (up | cut)[..., None],
        weight=torch.where(up, share, views.weight),
        pasted=box(1 - share, (1.0, 1.0)) * cut[..., None],
    )


def _ways(name: str) -> list[str]:
    return [name, name] if name in DIRECTED else [f"{name} +", f"{name} -"]


def replay(images: Tensor, views: Views, *, partners: Tensor | None = None) -> Tensor:
    """Apply to each image its view; nothing is drawn.

    images: float[B, C, H, W] in [0, 1].  views: with one leading dimension of B.
    partners: float[B, C, H, W], the images that ``views.partner`` names, needed where one is 0 or more; what
    stands in the place of -1 is not looked at.  Crops and geometric operations interpolate bilinearly.
    Raises ValueError where there are not as many views as images, views differ in ``fill``, or partners
    are missing.

    >>> images, views = torch.rand(2, 3, 8, 8), sample((2,), Family())
    >>> torch.equal(replay(images, views), replay(images, views))
    True
    """
    if views.crop.shape != (len(images), 4):
        raise ValueError(f"views must be {len(images)}, one per image, got {list(views.crop.shape[:-1])}")
    if not len(images):
        return images
    views = Views(*(field.to(images.device) for field in views))
    fill = views.fill[0].item()
    if not (views.fill == fill).all():
        raise ValueError(f"views replayed together must have one fill, got {views.fill.unique().tolist()}")
    mixed = views.partner >= 0
    if partners is None and mixed.any():
        raise ValueError(f"partners must be given: {int(mixed.sum())} of these views mix in a second image")

    shown = _cropped(images, views.crop, views.mirrored)
    for chosen, magnitude in zip(views.operations.unbind(1), views.magnitudes.unbind(1), strict=True):
        # the generator is for signs, and no operation of DIRECTED has one
        shown = apply(
            shown, DIRECTED, chosen, magnitude, fill=fill, resample="bilinear",
            generator=fresh(0, images.device),
        )  # fmt: skip
    shown = torch.where(_inside(images, views.erased), fill, shown)
    if partners is None or not mixed.any():
        return shown
    safe = torch.where(mixed[:, None], views.partner_crop, torch.ones_like(views.partner_crop))
    other = _cropped(partners, safe, torch.zeros_like(views.mirrored))
    share = views.weight.to(images)[:, None, None, None]
    shown = torch.where(share < 1, share * shown + (1 - share) * other, shown)
    return torch.where(_inside(images, views.pasted), other, shown)


def _cropped(images: Tensor, boxes: Tensor, mirrored: Tensor) -> Tensor:
    """Each box of its image, resized to the whole frame, mirrored where asked."""
    top, left, height, width = boxes.unbind(1)
    matrices = boxes.new_zeros(len(boxes), 2, 3)
    matrices[:, 0, 0] = torch.where(mirrored, -width, width)
    matrices[:, 0, 2] = 2 * left + width - 1  # the box's centre, in a frame from -1 to 1
    matrices[:, 1, 1] = height
    matrices[:, 1, 2] = 2 * top + height - 1
    return affine(images, matrices, fill=0.0, resample="bilinear")


def _inside(images: Tensor, boxes: Tensor) -> Tensor:
    """bool[B, 1, H, W]: the pixels whose centre lies in the box; none for a box of zeros."""
    top, left, height, width = (side[:, None] for side in boxes.unbind(1))
    rows, columns = ((torch.arange(n, device=images.device) + 0.5) / n for n in images.shape[2:])
    in_rows = (rows >= top) & (rows < top + height)
    in_columns = (columns >= left) & (columns < left + width)
    return (in_rows[:, :, None] & in_columns[:, None, :])[:, None]
