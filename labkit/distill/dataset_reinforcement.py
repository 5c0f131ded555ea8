r"""Dataset Reinforcement: pay the teacher once, and keep what it said with the data.

Distillation with strong augmentation makes every training of every student pay for the teacher's forward
pass. Here a teacher looks once at N random views of each training image. Kept are the *numbers* that make
each view again, and the teacher's k largest probabilities for it. Any student then draws one of the stored
views, replays it, and minimizes the divergence from the stored label, without a teacher:

.. math:: \ell = \mathrm{KL}\bigl(\tilde q_{ij} \,\|\, p_\theta(\cdot \mid v_{ij}(x_i))\bigr), \qquad
          \tilde q_c = \begin{cases} q_c & c \in \text{top-}k\\
                       \bigl(1 - \sum_{\text{top-}k} q\bigr) / (C - k) & \text{otherwise} \end{cases}

Faghri, Pouransari, Mehta, Farajtabar, Farhadi, Rastegari, Tuzel (2023). *Reinforce Data, Multiply Impact:
Improved Model Accuracy and Robustness with Dataset Reinforcement.* arXiv:2303.08983; details from the
authors' code (apple/ml-dr). FKD (Shen and Xing 2021, arXiv:2112.01528) stores soft labels of crops in the
same way.

The reinforced data set is a ``datasets.Dataset``: the rows of the original and a column ``views``, to be
saved, shared and loaded like any other, with nothing pickled (the authors' files are pickles). Simplified:
the decoded images are held in memory; where a share of the batches shows the original image, it is shown as
it is; a crop whose side would exceed the image is cut to it, not drawn again.
"""

from collections.abc import Callable
from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F
from torch import Tensor

from labkit.distill.replayable_views import Family, Views, replay, sample
from labkit.distill.stored_views import Stored, nbytes, read_views, with_views

if TYPE_CHECKING:
    from datasets import Dataset

__all__ = [
    "ReinforcedDataset",
    "calibration_error",
    "densify",
    "kl_to_soft_targets",
    "reinforce",
    "sparsify",
]


def sparsify(probabilities: Tensor, k: int) -> tuple[Tensor, Tensor]:
    """The k largest probabilities, falling, and their classes: float[..., k] and int64[..., k].

    probabilities: float[..., C].  Raises ValueError where k is not from 1 to C.

    >>> sparsify(torch.tensor([0.1, 0.7, 0.2]), 2)[1].tolist()
    [1, 2]
    """
    classes = probabilities.shape[-1]
    if not 1 <= k <= classes:
        raise ValueError(f"k must lie from 1 to the {classes} classes, got {k}")
    kept = probabilities.topk(k, dim=-1)
    return kept.values, kept.indices


def densify(values: Tensor, indices: Tensor, classes: int, *, method: str = "smooth") -> Tensor:
    """Labels over all classes from the k that were kept: float[..., classes], summing to 1.

    values, indices: float and int64[..., k], as :func:`sparsify` gives them.
    method: "smooth" spreads what is missing to 1 evenly over the other classes, as the authors do; "zeros"
    gives them nothing and rescales the kept ones. (The authors' "zeros", which they also use where rounding
    makes the kept ones exceed 1, takes a softmax of probabilities; here a missing share below 0 counts as 0.)
    Raises ValueError for an unknown method, shapes that differ, or more kept than classes.

    >>> densify(torch.tensor([0.75, 0.125]), torch.tensor([1, 2]), 4).tolist()
    [0.0625, 0.75, 0.125, 0.0625]
    """
    if method not in ("smooth", "zeros"):
        raise ValueError(f"method must be 'smooth' or 'zeros', got {method!r}")
    if values.shape != indices.shape or not values.ndim:
        raise ValueError(
            f"values and indices must have one shape, got {list(values.shape)} and {list(indices.shape)}"
        )
    kept = values.shape[-1]
    if kept > classes:
        raise ValueError(f"classes must be at least the {kept} that are kept, got {classes}")
    total = values.sum(dim=-1, keepdim=True)
    if method == "zeros" or kept == classes:
        rest, values = torch.zeros_like(total), values / total
    else:
        rest = (1 - total).clamp(min=0) / (classes - kept)
    return rest.expand(*values.shape[:-1], classes).clone().scatter_(-1, indices, values)


def kl_to_soft_targets(logits: Tensor, targets: Tensor) -> Tensor:
    """The divergence of the predictions from soft labels, mean over the batch: a scalar in nats.

    logits, targets: float[B, C], the targets summing to 1. No temperature, no term with the hard label.

    >>> logits = torch.tensor([[2.0, 0.0, 1.0]])
    >>> abs(kl_to_soft_targets(logits, logits.softmax(dim=1)).item()) < 1e-6
    True
    """
    return F.kl_div(logits.log_softmax(dim=1), targets, reduction="batchmean")


def calibration_error(probabilities: Tensor, labels: Tensor, *, bins: int = 15) -> float:
    """Expected calibration error in percent, in [0, 100]: how far confidence is from accuracy.

    The examples are sorted into ``bins`` of equal width by their largest probability. Of each bin counts the
    distance of its mean confidence from its accuracy, weighted by its share of the examples (Guo et al. 2017,
    arXiv:1706.04599).
    probabilities: float[B, C].  labels: int64[B].  Raises ValueError where they are not as many, or none.

    >>> calibration_error(torch.tensor([[0.75, 0.25], [0.25, 0.75]]), torch.tensor([0, 1]))
    25.0
    """
    if len(probabilities) != len(labels) or not len(labels):
        raise ValueError(
            "probabilities and labels must be as many, and not none: "
            f"got {len(probabilities)} and {len(labels)}"
        )
    confidence, guess = probabilities.double().max(dim=1)
    gap = (guess == labels).double() - confidence
    bin_of = (confidence * bins).ceil().long().clamp(1, bins) - 1
    return 100 * gap.new_zeros(bins).index_add(0, bin_of, gap).abs().sum().item() / len(labels)


def reinforce(
    dataset: "Dataset",
    teacher: Callable[[Tensor], Tensor],
    family: Family | None = None,
    *,
    views: int = 20,
    top_k: int = 5,
    image_size: int | tuple[int, int] | None = None,
    generator: torch.Generator | None = None,
    batch_size: int = 1024,
) -> "Dataset":
    """Add to each row of a data set its views: the numbers that make them, and what the teacher says of them.

    dataset: a ``datasets.Dataset`` with columns ``image`` and ``label``, a ``ClassLabel``.
    teacher: called with images float[B, C, H, W] in [0, 1], gives probabilities float[B, classes]; average
    the members of an ensemble.
    family: what the views are drawn from, :class:`~labkit.distill.replayable_views.Family` as it is by
    default.
    views: N of the paper; 400 for ImageNet+.  top_k: 10 there, of 1,000 classes.
    image_size: the side at which the teacher sees the images, as of :func:`labkit.data.tensors`.
    Returns the data set with the columns ``row``, its number, and ``views``, a list of N dictionaries. Save
    it with ``save_to_disk`` or ``to_parquet``.
    Raises ValueError where it has one of these columns already, where ``views`` is below 1, and where the
    teacher's rows are not as many as the images, not of the data set's classes, or do not sum to 1 within
    0.001.

    >>> from labkit import data
    >>> digits = data.load("digits", "train", size=20)
    >>> reinforced = reinforce(digits, lambda images: torch.full((len(images), 10), 0.1), views=3)
    >>> len(reinforced[0]["views"]), len(reinforced[0]["views"][0]["top_classes"])
    (3, 5)
    """
    from labkit import data

    if views < 1:
        raise ValueError(f"views must be at least 1, got {views}")
    images = data.tensors(dataset, image_size=image_size).images
    classes = dataset.features["label"].num_classes
    family = Family() if family is None else family
    drawn = sample((len(images), views), family, images=len(images), generator=generator)

    flat = Views(*(field.flatten(0, 1) for field in drawn))
    owner, said = torch.arange(len(images)).repeat_interleave(views), []
    for part in torch.arange(len(owner)).split(batch_size):
        numbers = flat.at(part)
        seen = replay(images[owner[part]], numbers, partners=images[numbers.partner.clamp(min=0)])
        with torch.no_grad():
            said.append(_checked(teacher(seen), len(part), classes).cpu())
    kept = sparsify(torch.cat(said).float(), top_k)
    stored = Stored(drawn, *(each.reshape(len(images), views, top_k) for each in kept))
    return with_views(dataset, stored)


def _checked(probabilities: Tensor, count: int, classes: int) -> Tensor:
    if probabilities.shape != (count, classes):
        raise ValueError(f"teacher must give float[{count}, {classes}], gave {list(probabilities.shape)}")
    off = (probabilities.sum(dim=1) - 1).abs().max().item()
    if not off <= 1e-3:  # also where it is not a number
        raise ValueError(f"teacher must give probabilities, rows that sum to 1; one is off by {off:.3g}")
    return probabilities


class ReinforcedDataset:
    """A reinforced data set, decoded for training.

    dataset: what :func:`reinforce` gave, or what was loaded from its copy on disk.
    image_size: as given to :func:`reinforce`.  densify: the method of :func:`densify`.
    original: the probability that an image is shown as it is, with its own one-hot label; 0.01 in the
    authors' configuration.
    images: float32[I, C, H, W].  labels: int64[I].  stored: the views [I, N] and what was said of them.
    Raises ValueError for ``original`` outside [0, 1], and where the stored views cannot be read
    (``labkit.distill.stored_views.read_views``).
    """

    def __init__(
        self,
        dataset: "Dataset",
        *,
        image_size: int | tuple[int, int] | None = None,
        densify: str = "smooth",
        original: float = 0.01,
    ):
        from labkit import data

        if not 0 <= original <= 1:
            raise ValueError(f"original must lie in [0, 1], got {original}")
        self.stored = read_views(dataset)
        self.images, self.labels, _ = data.tensors(
            dataset.remove_columns(["views", "row"]), image_size=image_size
        )
        self.classes = dataset.features["label"].num_classes
        self.method, self.original = densify, original

    def __len__(self) -> int:
        return len(self.images)

    def to(self, device: torch.device | str) -> "ReinforcedDataset":
        """Move the images to a device, where views are then replayed; returns itself.

        The stored numbers stay on the CPU.
        """
        self.images = self.images.to(device)
        return self

    @property
    def nbytes(self) -> int:
        """Bytes of all stored views and labels, before any compression."""
        return nbytes(self.stored)

    def shown(self, indices: Tensor, view: Tensor) -> Tensor:
        """Views, replayed: float[B, C, H, W]. indices, view: int64[B]."""
        numbers = self.stored.views.at(indices, view)
        return replay(self.images[indices], numbers, partners=self.images[numbers.partner.clamp(min=0)])

    def targets(self, indices: Tensor, view: Tensor) -> Tensor:
        """The stored labels of views, made dense: float[B, classes]. indices, view: int64[B]."""
        kept = self.stored.top_probabilities[indices, view], self.stored.top_classes[indices, view]
        return densify(*kept, self.classes, method=self.method).to(self.images.device)

    def batch(self, indices: Tensor, *, generator: torch.Generator | None = None) -> tuple[Tensor, Tensor]:
        """One of its stored views for each image, drawn uniformly, and the stored label of that view.

        indices: int64[B], on the CPU, as is the generator.  Returns images float[B, C, H, W] and targets
        float[B, classes].
        """
        view = torch.randint(self.stored.views.mirrored.shape[1], indices.shape, generator=generator)
        images, targets = self.shown(indices, view), self.targets(indices, view)
        plain = (torch.rand(indices.shape, generator=generator) < self.original).to(images.device)
        own = F.one_hot(self.labels[indices], self.classes).to(targets)
        images = torch.where(plain[:, None, None, None], self.images[indices], images)
        return images, torch.where(plain[:, None], own, targets)
