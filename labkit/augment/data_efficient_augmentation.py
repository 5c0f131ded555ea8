r"""Augment a coreset: strong augmentation only for the points whose gradients stand for all the others.

Strong augmentation can cost more than the step that trains on it. Every R epochs this method picks, class
by class, medoids S of the per-example gradients :math:`g_i`; only they get a strongly augmented copy:

.. math:: S = \arg\min_{|S| \le k} \sum_{i} \min_{j \in S} \lVert g_i - g_j \rVert, \qquad
          g_i = \mathrm{softmax}(z_i) - \mathrm{onehot}(y_i), \qquad
          r_j = |\{i : j \text{ is the medoid nearest to } i\}|

The gradient is the last layer's, without augmentation and in evaluation mode; the weights, the sizes of
the clusters, are divided by their mean. S is found greedily (:func:`facility_location`).

Liu, Mirzasoleiman (2022). *Data-Efficient Augmentation for Training Neural Networks.* arXiv:2210.08363.
As in the authors' code, weights are an option for the copies. Not as there: budgets are exact, and a
selection that fails is an error, never a random one.
"""

from collections.abc import Callable
from fractions import Fraction
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from labkit.training import predict

__all__ = [
    "STRATEGIES",
    "Selection",
    "SubsetAugmenter",
    "class_budgets",
    "facility_location",
    "gradient_error",
    "last_layer_gradients",
    "select_per_class",
]

#: What gets a strong copy: gradient medoids, a random subset, the highest losses, everything, nothing.
STRATEGIES = ("coreset", "random", "maxloss", "all", "none")


class Selection(NamedTuple):
    """A subset that stands for all points.

    indices: int64[k], positions among the N points.  weights: float[k], the number of points nearest to
    each, N in all.  assignment: int64[N], for each point the place in ``indices`` of its medoid.
    """

    indices: Tensor
    weights: Tensor
    assignment: Tensor


@torch.no_grad()
def last_layer_gradients(model, images: Tensor, labels: Tensor, *, with_features: bool = False) -> Tensor:
    """Gradient of each example's cross-entropy with respect to the last layer, float[N, K] or [N, K * D].

    images: float[N, ...], not augmented.  labels: int64[N] in [0, K).  In evaluation mode.
    with_features: False gives the gradient of the last bias, softmax minus one-hot; True that of the last
    weight, its outer product with the penultimate vector float[N, D] (the authors' ``use_linear``).
    Raises ValueError for lengths that differ or a label outside [0, K), and TypeError where features are
    asked of a model without ``features`` and ``head``.

    >>> from labkit import models
    >>> images, labels = torch.rand(6, 3, 16, 16), torch.arange(6) % 3
    >>> last_layer_gradients(models.cnn(classes=3), images, labels).sum(dim=1).abs().max() < 1e-6
    tensor(True)
    """
    if len(images) != len(labels):
        raise ValueError(f"images and labels must be as many, got {len(images)} and {len(labels)}")
    if with_features and not (hasattr(model, "features") and hasattr(model, "head")):
        raise TypeError(f"with_features needs a model with features and head, got {type(model).__name__}")
    logits = predict(model, images)
    labels, classes = labels.to(logits.device), logits.shape[1]
    if not 0 <= labels.min() <= labels.max() < classes:
        raise ValueError(f"labels must lie in [0, {classes}), got {labels.min()} to {labels.max()}")
    residuals = logits.softmax(dim=1) - F.one_hot(labels, classes)
    if not with_features:
        return residuals
    training, _ = model.training, model.eval()
    features = torch.cat([model.features(part.to(logits.device)) for part in images.split(1024)])
    model.train(training)
    return (residuals[:, :, None] * features[:, None, :]).flatten(1)


def facility_location(points: Tensor, size: int) -> Selection:
    """Choose ``size`` medoids greedily: each next one shortens the distances to the nearest medoid most.

    points: float[N, P].  size: 1 to N.  Distances are Euclidean; N * N of them are held in memory.
    Maximizes the sum of (largest distance - distance to the nearest medoid), monotone and submodular, and
    reaches at least 1 - 1/e of the best. Lazily (Minoux 1978): a candidate is evaluated again only where
    its gain of an earlier round, which bounds the present one from above, is among the highest.
    Raises ValueError for a size outside 1 to N, points of another shape, NaN or infinity.

    >>> chosen = facility_location(torch.tensor([[0.0], [0.1], [0.2], [5.0], [5.3]]), 2)
    >>> chosen.indices.tolist(), chosen.weights.tolist(), chosen.assignment.tolist()
    ([2, 3], [3.0, 2.0], [0, 0, 0, 1, 1])
    """
    if points.ndim != 2 or len(points) == 0:
        raise ValueError(f"points must be float[N, P] with N >= 1, got shape {tuple(points.shape)}")
    if not 1 <= size <= len(points):
        raise ValueError(f"size must be 1 to {len(points)}, the number of points, got {size}")
    if not torch.isfinite(points).all():
        raise ValueError("points must be finite, got NaN or infinity")
    # The exact mode: the faster one does not give 0 between equal points.
    distances = torch.cdist(points, points, compute_mode="donot_use_mm_for_euclid_dist")
    similarity = distances.max() - distances
    nearest = torch.zeros_like(similarity[0])  # of each point, the similarity to its medoid
    bounds = similarity.sum(dim=0)  # of each candidate, the gain of adding it, or more
    taken = torch.zeros_like(bounds, dtype=torch.bool)
    chosen: list[int] = []
    for _ in range(size):
        stale = torch.ones_like(taken)
        while stale[best := int(bounds.argmax())]:
            again = bounds.topk(min(32, len(points))).indices
            again[-1] = best  # which may be missing where many are equal
            bounds[again] = (similarity[again] - nearest).clamp(min=0).sum(dim=1)
            bounds.masked_fill_(taken, -1)  # below every gain: never chosen again
            stale[again] = False
        chosen.append(best)
        nearest = torch.maximum(nearest, similarity[best])
        taken[best], bounds[best] = True, -1
    indices = torch.tensor(chosen, device=points.device)
    assignment = distances[:, indices].argmin(dim=1)
    assignment[indices] = torch.arange(size, device=points.device)  # each its own, even of equal points
    return Selection(indices, assignment.bincount(minlength=size).to(points.dtype), assignment)


def class_budgets(labels: Tensor, budget: int, *, equal_per_class: bool = True) -> dict[int, int]:
    """How many points each class may choose; they sum to ``budget`` exactly.

    labels: int64[N].  budget: 1 to N, else ValueError.  equal_per_class: True, the authors' default, shares
    equally, and what a class too small for its share leaves over goes to the others; False shares by
    size. What does not divide goes to the largest remainders, of equal ones to the first.

    >>> class_budgets(torch.tensor([0] * 8 + [1] * 8 + [2]), 9)
    {0: 4, 1: 4, 2: 1}
    """
    if not 1 <= budget <= len(labels):
        raise ValueError(f"budget must be 1 to {len(labels)}, the number of points, got {budget}")
    classes, counts = (part.tolist() for part in labels.unique(return_counts=True))
    wanted, left = [Fraction(budget * count, len(labels)) for count in counts], budget
    if equal_per_class:  # from the smallest up: all of it, or an equal share of what is left
        for done, c in enumerate(sorted(range(len(counts)), key=counts.__getitem__)):
            wanted[c] = min(Fraction(counts[c]), Fraction(left) / (len(counts) - done))
            left -= wanted[c]
    given = [int(share) for share in wanted]
    for c in sorted(range(len(given)), key=lambda c: given[c] - wanted[c])[: budget - sum(given)]:
        given[c] += 1
    return dict(zip(classes, given, strict=True))


def select_per_class(gradients: Tensor, labels: Tensor, budget: int, *, equal_per_class=True) -> Selection:
    """:func:`facility_location` within each class, with the shares of :func:`class_budgets`.

    gradients: float[N, P] of :func:`last_layer_gradients`.  labels: int64[N].
    A class whose share is 0 has no medoid: its points have no weight, and the assignment -1. Raises
    ValueError for lengths that differ, and as the two functions do.

    >>> points = torch.rand(40, 3, generator=torch.Generator().manual_seed(0))
    >>> chosen = select_per_class(points, torch.arange(40) % 4, 8)
    >>> len(chosen.indices), chosen.weights.sum().item()
    (8, 40.0)
    """
    if len(gradients) != len(labels):
        raise ValueError(f"gradients and labels must be as many: got {len(gradients)} and {len(labels)}")
    budgets = class_budgets(labels, budget, equal_per_class=equal_per_class)
    labels = labels.to(gradients.device)
    indices, weights, taken, assignment = [], [], 0, torch.full_like(labels, -1)
    for label, size in ((label, size) for label, size in budgets.items() if size):
        members = (labels == label).nonzero().squeeze(1)
        found = facility_location(gradients[members], size)
        indices.append(members[found.indices])
        weights.append(found.weights)
        assignment[members] = found.assignment + taken
        taken += size
    return Selection(torch.cat(indices), torch.cat(weights), assignment)


def gradient_error(gradients: Tensor, indices: Tensor, weights: Tensor | None = None) -> float:
    """Distance of a subset's mean gradient from that of all, over the mean length of a gradient.

    gradients: float[N, P].  indices: int64[k].  weights: float[k] for a weighted mean, or None.

    >>> gradients = torch.tensor([[1.0], [1.0], [-1.0]])
    >>> gradient_error(gradients, torch.tensor([0, 2]), torch.tensor([2.0, 1.0])) < 1e-6
    True
    """
    subset = gradients[indices]
    weights = torch.ones_like(subset[:, 0]) if weights is None else weights.to(subset)
    mean = (weights[:, None] * subset).sum(dim=0) / weights.sum()
    return ((mean - gradients.mean(dim=0)).norm() / gradients.norm(dim=1).mean()).item()


class SubsetAugmenter:
    """The paper's training set: everything plain, and strong copies of a subset that moves.

    A loss for :func:`labkit.training.fit`, which then draws *positions* instead of images: first those of
    the plain part, then those of the copies. The subset is chosen anew with the network as it then is.

    images: float[N, C, H, W].  labels: int64[N].
    strong, weak: called as ``strong(images, generator=g)`` on the copies and on the plain part of a batch.
    strategy: one of :data:`STRATEGIES`.  fraction: share of the points that get a strong copy, in (0, 1];
    not used by "all" and "none".  every: epochs between selections (the authors' script: 5).
    train_on: "all", or "subset", where the plain part too is the selection, weighted by cluster size.
    weighted: whether the copies have these weights too (in the authors' code an option, off). Weights
    have a mean of 1 over the subset, so that the size of a step stays what it was.
    points: called as ``points(model, images, labels)``, gives float[N, P], among which medoids are sought.

    Attributes: ``positions`` int64, those of one epoch; ``calls``, images strongly augmented so far;
    ``scored``, images passed through the network in order to select; ``history``, all selections.
    Raises ValueError for an unknown name, a number out of range, or lengths that differ.

    >>> from labkit import models, operations, training
    >>> images, labels = torch.rand(40, 3, 16, 16), torch.arange(40) % 4
    >>> data = SubsetAugmenter(images, labels, strong=operations.jitter, fraction=0.25)
    >>> network = models.cnn(classes=4)
    >>> _ = training.fit(network, data.positions, data.positions, loss=data, steps=5, batch_size=10)
    >>> len(data.positions), data.calls, data.scored
    (50, 10, 40)
    """

    def __init__(
        self,
        images: Tensor,
        labels: Tensor,
        *,
        strong: Callable[..., Tensor],
        weak: Callable[..., Tensor] | None = None,
        strategy: str = "coreset",
        fraction: float = 0.3,
        every: int = 5,
        train_on: str = "all",
        weighted: bool = False,
        points: Callable[..., Tensor] = last_layer_gradients,
    ):
        if len(images) != len(labels) or len(images) == 0:
            raise ValueError(f"images and labels must be as many, got {len(images)} and {len(labels)}")
        if strategy not in STRATEGIES:
            raise ValueError(f"strategy must be one of {', '.join(STRATEGIES)}, got {strategy!r}")
        if train_on not in ("all", "subset") or (train_on, strategy) == ("subset", "none"):
            raise ValueError(f"train_on must be 'all', or 'subset' if there is one, got {train_on!r}")
        if not 0 < fraction <= 1 or every < 1:
            raise ValueError(f"fraction must lie in (0, 1], every from 1 up, got {fraction} and {every}")
        self.images, self.labels, self.strong, self.weak, self.points = images, labels, strong, weak, points
        self.strategy, self.every, self.train_on, self.weighted = strategy, every, train_on, weighted
        count = len(images)
        self.size = {"all": count, "none": 0}.get(strategy, max(1, round(fraction * count)))
        self.plain = count if train_on == "all" else self.size
        self.positions = torch.arange(self.plain + self.size)
        self.calls = self.scored = self.drawn = 0
        self.history: list[Selection] = []

    def select(self, model: nn.Module, *, generator: torch.Generator | None = None) -> Selection:
        """Choose the subset anew, with ``model`` as it is; without augmentation, in evaluation mode.

        Only "coreset" has clusters; otherwise every weight is 1 and the assignment is empty.
        """
        images, labels, count = self.images, self.labels, len(self.images)
        whole = torch.arange(count, device=images.device)
        found = Selection(whole[: self.size], torch.ones(self.size, device=images.device), whole[:0])
        if self.strategy == "random":
            order = torch.randperm(count, generator=generator, device=getattr(generator, "device", None))
            found = found._replace(indices=order[: self.size].to(images.device))
        elif self.strategy == "coreset":
            found = select_per_class(self.points(model, images, labels).to(images.device), labels, self.size)
        elif self.strategy == "maxloss":
            losses = F.cross_entropy(predict(model, images).to(images.device), labels, reduction="none")
            found = found._replace(indices=losses.topk(self.size).indices)
        self.scored += count if self.strategy in ("coreset", "maxloss") else 0
        self.history.append(found)
        # The epoch that follows: the image and the weight at each of its positions.
        weights = found.weights / found.weights.mean()
        plain = (found.indices, weights) if self.train_on == "subset" else (whole, torch.ones_like(whole))
        copies = (found.indices, weights if self.weighted else torch.ones_like(weights))
        self.epoch = [torch.cat(pair) for pair in zip(plain, copies, strict=True)]
        return found

    def batch(self, positions: Tensor, *, generator: torch.Generator | None = None):
        """Images float[B, C, H, W], labels int64[B], weights float[B] at these positions of an epoch."""
        if not self.history:
            raise ValueError("nothing is selected yet: call select(model) first")
        positions = positions.to(self.images.device)
        which, weights = (part[positions] for part in self.epoch)
        images, copies = self.images[which], positions >= self.plain
        for augment, part in ((self.weak, ~copies), (self.strong, copies)):
            if augment is not None and part.any():
                images[part] = augment(images[part], generator=generator)
        self.calls += int(copies.sum())
        return images, self.labels[which], weights

    def __call__(self, model: nn.Module, positions: Tensor, _, *, progress: float, generator) -> Tensor:
        """The weighted cross-entropy at these positions; selects first, where that is due."""
        if self.drawn >= len(self.history) * self.every * len(self.positions):
            self.select(model, generator=generator)
        self.drawn += len(positions)
        batch = self.batch(positions, generator=generator)
        images, labels, weights = (part.to(positions.device) for part in batch)
        return (weights * F.cross_entropy(model(images), labels, reduction="none")).mean()
