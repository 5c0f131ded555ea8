"""Matching the training of an expert: a student's steps that can be differentiated, and how far they end off.

The core of :mod:`labkit.distill.datm`, after the matching of training trajectories of Cazenavette and others
(2022, arXiv:2203.11932), and the same gradient in the memory of one step.
"""

from collections.abc import Callable, Iterable, Sequence

import torch
from torch import Tensor

from labkit.distill.trajectories import descend

__all__ = ["batches_of", "matching_gradients", "matching_loss", "unroll"]

ALL = slice(None)  # the index of a batch that is the whole set


def unroll(apply: Callable, weights: Tensor, images: Tensor, logits: Tensor, lr, batches: Iterable) -> Tensor:
    """Weights float[P] after one step of gradient descent per batch, differentiable in all that goes in.

    apply: the model as a function of its weights (``labkit.distill.trajectories.functional``).
    batches: one index each into images float[S, ...] and logits float[S, K].
    """
    weights = weights if weights.requires_grad else weights.detach().requires_grad_()
    targets = logits.softmax(dim=1)
    for batch in batches:
        part, labels = (each if batch is ALL else each[batch] for each in (images, targets))
        weights = descend(apply, weights, part, labels, lr, create_graph=True)
    return weights


def matching_loss(reached: Tensor, start: Tensor, target: Tensor) -> Tensor:
    """How far the student ended from the expert, as a share of the expert's own way: 0 is a match.

    reached, start, target: float[P]. Raises ValueError where the expert did not move.

    >>> start, target = torch.zeros(2), torch.tensor([0.0, 2.0])
    >>> matching_loss(start, start, target).item(), matching_loss(target / 2, start, target).item()
    (1.0, 0.25)
    """
    way = (start - target).square().sum()
    if way == 0:
        raise ValueError("the expert's weights are the same at both epochs: there is nothing to match")
    return (reached - target).square().sum() / way


def matching_gradients(
    apply: Callable,
    start: Tensor,
    target: Tensor,
    images: Tensor,
    logits: Tensor,
    lr: Tensor,
    batches: Sequence,
) -> tuple[Tensor, tuple[Tensor, Tensor, Tensor]]:
    """The matching loss and its exact gradients for images, logits and lr, in the memory of one step.

    The steps are walked forth without a graph, and back one by one: the same numbers as differentiating
    :func:`unroll` as a whole, about a third slower, for networks whose unrolled graph does not fit.
    """
    way = [start.detach()]
    for batch in batches:
        targets = logits[batch].softmax(dim=1).detach()
        way.append(descend(apply, way[-1].requires_grad_(), images[batch], targets, lr).detach())
    value = matching_loss(way[-1], start, target).detach()
    back = 2 * (way[-1] - target) / (start - target).square().sum()  # d loss / d weights, from the end on
    learnt = [each for each in (images, logits, lr) if each.requires_grad]
    sums = [torch.zeros_like(each) for each in learnt]
    for weights, batch in zip(way[-2::-1], batches[::-1], strict=True):
        after = unroll(apply, weights, images, logits, lr, [batch])
        *found, back = torch.autograd.grad(after, [*learnt, weights], back)
        sums = [total + each for total, each in zip(sums, found, strict=True)]
    return value, sums


def batches_of(count: int, size: int | None, steps: int, generator) -> list:
    """One index per step: all images, or batches without replacement, epoch after epoch."""
    if size is None or size >= count:
        return [ALL] * steps
    found = []
    while len(found) < steps:
        found += torch.randperm(count, generator=generator).split(size)
    return found[:steps]
