"""Synthetic training sets: where a distillation begins, and what a set teaches new networks."""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from labkit.distill.trajectories import descend, flat, functional, stacked
from labkit.distill.trajectory_matching import batches_of
from labkit.seeding import generator

__all__ = ["Synthetic", "fresh_accuracies", "hard_logits", "initial_set"]


class Synthetic(NamedTuple):
    """A labelled set to begin from.

    images: float[S, ...].  logits: float[S, K], their softmax is the label.  labels: int64[S], the classes.
    """

    images: Tensor
    logits: Tensor
    labels: Tensor


def hard_logits(labels: Tensor, classes: int) -> Tensor:
    """Logits whose softmax is the plain label to within 1e-7: float[S, K] from int64[S].

    >>> hard_logits(torch.tensor([1]), 3).softmax(dim=1).round(decimals=6)
    tensor([[0., 1., 0.]])
    """
    return 20.0 * F.one_hot(labels, classes).float()


@torch.no_grad()
def initial_set(
    model: nn.Module,
    trajectories: Tensor,
    images: Tensor,
    labels: Tensor,
    *,
    per_class: int,
    generator: torch.Generator | None = None,
) -> Synthetic:
    """Random real images that an expert classifies correctly, labelled by the experts that do.

    As in the published code, those that the first expert is right about come first; where they do not
    suffice, the next expert is asked. The logits of an image are the mean over all experts that are right.

    model: the architecture.  trajectories: float[E, epochs + 1, P], of which the last weights count.
    images: float[N, ...] and labels: int64[N], the real data.  per_class: images of each class.
    Raises ValueError for per_class below 1, a class without enough such images, or without any.
    """
    if per_class < 1:
        raise ValueError(f"per_class must be at least 1, got {per_class}")
    apply = functional(model)
    found = torch.stack([apply(each[-1], images) for each in trajectories])  # [E, N, K]
    right = found.argmax(dim=2) == labels
    first = torch.where(right.any(dim=0), right.int().argmax(dim=0), len(trajectories))
    order = torch.randperm(len(images), generator=generator).to(images.device)
    order = order[first[order].argsort(stable=True)]  # by expert, at random within
    chosen = []
    for label in range(found.shape[2]):
        mine = order[(labels[order] == label) & (first[order] < len(trajectories))]
        if len(mine) < per_class:
            raise ValueError(
                f"per_class is {per_class}, the experts are right about {len(mine)} images of class {label}"
            )
        chosen.append(mine[:per_class])
    chosen = torch.cat(chosen)
    weight = right[:, chosen, None].float()
    logits = (found[:, chosen] * weight).sum(dim=0) / weight.sum(dim=0)
    return Synthetic(images[chosen].clone(), logits, labels[chosen])


def fresh_accuracies(
    build: Callable[[int], nn.Module],
    images: Tensor,
    targets: Tensor,
    test_images: Tensor,
    test_labels: Tensor,
    *,
    lr: float,
    steps: int,
    batch_size: int = 256,
    seeds: Sequence[int] = (0,),
) -> list[float]:
    """Test accuracy in percent of new networks trained on a set, one for each seed.

    build: seed -> an untrained network.  images: float[S, ...].  targets: int64[S] or float[S, K].
    lr: of plain gradient descent as in the student's steps; for a distilled set the one learnt with it.
    The networks are trained side by side, one stack of weights; each has the numbers it has alone, but for
    rounding. Raises ValueError for no seeds.
    """
    if not seeds:
        raise ValueError("seeds must not be empty")
    models, draws = [build(seed) for seed in seeds], [generator(seed) for seed in seeds]
    apply = stacked(functional(models[0]), len(models))
    weights = torch.stack([flat(each) for each in models])
    orders = [batches_of(len(images), batch_size, steps, each) for each in draws]
    for batches in zip(*orders, strict=True):
        parts = torch.stack([images[each] for each in batches])
        labels = torch.cat([targets[each] for each in batches])
        weights = descend(
            apply,
            weights.requires_grad_(),
            parts,
            labels,
            lr * len(models),
        ).detach()
    test_parts = test_images.split(1024)
    with torch.no_grad():
        guesses = [
            torch.cat([functional(models[0])(each, part).argmax(dim=1) for part in test_parts])
            for each in weights
        ]
    return [100 * (each.cpu() == test_labels.cpu()).double().mean().item() for each in guesses]
