r"""DATM: distil a data set by matching the part of an expert's training that suits the set's size.

An *expert* is a network trained on the real data, its weights :math:`\theta_0, \theta_1, \dots` kept after
every epoch. A small synthetic set is optimized such that a few steps of gradient descent on it, from
:math:`\theta_t`, arrive where the expert arrived after :math:`M` more epochs on the real data:

.. math:: \mathcal L = \frac{\|\hat\theta_N - \theta_{t+M}\|^2}{\|\theta_t - \theta_{t+M}\|^2},
   \qquad \hat\theta_{k+1} = \hat\theta_k - \alpha \nabla \ell(\hat\theta_k; x, \mathrm{softmax}(z)),
   \quad \hat\theta_0 = \theta_t

Images :math:`x`, label logits :math:`z` and the step size :math:`\alpha` are learnt through the :math:`N`
steps. The start :math:`t` is drawn from a window of epochs, **early for a small set, late for a large one**:
experts learn easy patterns first, and only a large set has room for the hard ones. The window may open
step by step, from easy to hard (:func:`upper_bound`). Labels start as the mean logits of the experts that
are right about an image. Guo, Wang, Cazenavette, Li, Zhang, You (2023). *Towards Lossless Dataset
Distillation via Difficulty-Aligned Trajectory Matching.* arXiv:2310.05773; code: NUS-HPC-AI-Lab/DATM.

With an early window and hard labels it is the matching of training trajectories of Cazenavette and others
(2022, arXiv:2203.11932). Not here: ZCA whitening, flat-minimum training of the experts, and augmentation of
the synthetic images. The experts, their cache and the network of the paper: ``labkit.distill.trajectories``.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from labkit.distill.trajectories import descend, flat, functional
from labkit.seeding import generator

__all__ = ["Distilled", "Synthetic", "distill", "fresh_accuracies", "hard_logits", "initial_set"]
__all__ += ["matching_gradients", "matching_loss", "unroll", "upper_bound", "window_for"]

# Starts of the published configurations for CIFAR-10, as shares of the expert's 100 epochs.
WINDOWS = {1: (0.0, 0.04), 50: (0.0, 0.4), 1000: (0.4, 0.6)}
LEAST_LR = 2.0**-20  # about 1e-6, the same in single precision


class Synthetic(NamedTuple):
    """A labelled set to begin from.

    images: float[S, ...].  logits: float[S, K], their softmax is the label.  labels: int64[S], the classes.
    """

    images: Tensor
    logits: Tensor
    labels: Tensor


class Distilled(NamedTuple):
    """A distilled set, and how it came about.

    images: float[S, ...].  logits: float[S, K].  lr: the learnt step size.  losses: float[iterations], the
    normalized matching loss; 1 is a student that did not move.  starts: int64[iterations], the epoch
    that each began at.  skipped: iterations without an update.  seen: {iteration: images at that time}.
    """

    images: Tensor
    logits: Tensor
    lr: float
    losses: Tensor
    starts: Tensor
    skipped: int
    seen: dict[int, Tensor]

    @property
    def targets(self) -> Tensor:
        """The labels to train with: float[S, K], rows that sum to 1."""
        return self.logits.softmax(dim=1)


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


def window_for(
    per_class: int, epochs: int, table: Mapping[int, tuple[float, float]] | None = None
) -> tuple[int, int]:
    """The window of start epochs for a set size: (lo, hi), hi exclusive, of an expert of so many epochs.

    table: {images per class: (lo, hi) as shares of the expert's training}; by default that of the published
    configurations for CIFAR-10. The entry of the nearest size, by ratio, is taken. A table from other data
    is a guess: choose the window on validation data.
    Raises ValueError for per_class or epochs below 1, or an empty table.

    >>> window_for(1, 100), window_for(60, 100), window_for(1000, 30)
    ((0, 4), (0, 40), (12, 18))
    """
    table = WINDOWS if table is None else table
    if per_class < 1 or epochs < 1 or not table:
        raise ValueError(
            f"per_class, epochs, and the table must be 1 or more: {per_class}, {epochs}, {table}"
        )
    nearest = min(table, key=lambda size: max(size / per_class, per_class / size))
    lo, hi = (round(share * epochs) for share in table[nearest])
    return lo, max(hi, lo + 1)


def upper_bound(iteration: int, hi: int, *, start: int | None, over: int | None) -> int:
    """The end of the window at an iteration: grows linearly from ``start`` to ``hi``, then stays.

    start, over: both None for a window that is open from the beginning.

    >>> [upper_bound(i, 40, start=20, over=100) for i in (0, 50, 100, 500)]
    [20, 30, 40, 40]
    """
    if start is None or over is None:
        return hi
    return min(hi, start + int((hi - start) * iteration / over))


def unroll(apply: Callable, weights: Tensor, images: Tensor, logits: Tensor, lr, batches: Iterable) -> Tensor:
    """Weights float[P] after one step of gradient descent per batch, differentiable in all that goes in.

    apply: the model as a function of its weights (``labkit.distill.trajectories.functional``).
    batches: one index each into images float[S, ...] and logits float[S, K].
    """
    weights = weights if weights.requires_grad else weights.detach().requires_grad_()
    for batch in batches:
        targets = logits[batch].softmax(dim=1)
        weights = descend(apply, weights, images[batch], targets, lr, create_graph=True)
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


def distill(
    model: nn.Module,
    trajectories: Tensor,
    start: Synthetic,
    *,
    window: tuple[int, int],
    upper_start: int | None = None,
    expand_iters: int | None = None,
    expert_epochs: int = 2,
    steps: int = 20,
    batch_size: int | None = None,
    iterations: int = 1000,
    lr: float = 0.01,
    lr_images: float = 100.0,
    lr_logits: float = 5.0,
    lr_lr: float = 1e-5,
    optimizer: Callable[..., torch.optim.Optimizer] | None = None,
    learn_labels: bool = True,
    skip: float = 1.0,
    save_memory: bool = False,
    keep: Iterable[int] = (),
    generator: torch.Generator | None = None,
) -> Distilled:
    """Optimize a synthetic set so that training on it moves weights where the experts' went.

    model: the architecture.  trajectories: float[E, epochs + 1, P].  start: the set to begin from.
    window: (lo, hi), start epochs are drawn from lo to hi - 1.  upper_start, expand_iters: let the end of
    the window grow from upper_start to hi over so many iterations.  expert_epochs: how far ahead the
    target lies.  steps: of the student, N.  batch_size: synthetic images per step, None for all.
    lr: the step size to begin with, at least 1e-6 ever after.  lr_images, lr_logits, lr_lr: learning rates of
    pixels, logits and step size.  optimizer: called as ``optimizer([parameter], lr=…)`` for each of them; by
    default the paper's, SGD with momentum 0.5, for logits 0.9.  learn_labels: False keeps the labels.
    skip: iterations with a larger loss change nothing.  save_memory: see :func:`matching_gradients`.
    keep: iterations after which the images are kept; 0 is the start.
    Raises ValueError for a window that is empty or reaches beyond the trajectories, an upper_start outside
    the window or without expand_iters, and steps, iterations or expert_epochs below 1; FloatingPointError
    where the loss of an iteration is not finite.
    """
    _check(trajectories, window, upper_start, expand_iters, expert_epochs, steps, iterations)
    images, logits = (each.detach().clone().requires_grad_() for each in start[:2])
    logits.requires_grad_(learn_labels)
    rate = torch.tensor(lr, device=images.device, requires_grad=True)
    make = [optimizer or partial(torch.optim.SGD, momentum=each) for each in (0.5, 0.9, 0.5)]
    learnt = [(images, lr_images, make[0]), (logits, lr_logits, make[1]), (rate, lr_lr, make[2])]
    steppers = [make([each], lr=value) for each, value, make in learnt if each.requires_grad]
    parameters = [each for each, _, _ in learnt if each.requires_grad]
    apply, keep = functional(model), frozenset(keep)
    seen = {0: start.images.clone()} if 0 in keep else {}
    losses, starts, skipped = [], [], 0
    for iteration in range(iterations):
        hi = upper_bound(iteration, window[1], start=upper_start, over=expand_iters)
        expert = int(torch.randint(len(trajectories), (1,), generator=generator))
        epoch = int(torch.randint(window[0], hi, (1,), generator=generator))
        begin, target = trajectories[expert, epoch], trajectories[expert, epoch + expert_epochs]
        batches = _batches(len(images), batch_size, steps, generator)
        if save_memory:
            loss, found = matching_gradients(apply, begin, target, images, logits, rate, batches)
        else:
            reached = unroll(apply, begin, images, logits, rate, batches)
            loss = matching_loss(reached, begin, target)
            found = torch.autograd.grad(loss, parameters)
        value = loss.item()
        if not value < float("inf"):
            raise FloatingPointError(f"the matching loss is {value} at iteration {iteration}; lower lr")
        if value <= skip:
            for parameter, gradient, stepper in zip(parameters, found, steppers, strict=True):
                parameter.grad = gradient
                stepper.step()
            with torch.no_grad():
                rate.clamp_(min=LEAST_LR)
        skipped += value > skip
        losses.append(value)
        starts.append(epoch)
        if iteration + 1 in keep:
            seen[iteration + 1] = images.detach().clone()
    return Distilled(
        images.detach(),
        logits.detach(),
        rate.item(),
        torch.tensor(losses),
        torch.tensor(starts),
        skipped,
        seen,
    )


def _batches(count: int, size: int | None, steps: int, generator) -> list:
    """One index per step: all images, or batches without replacement, epoch after epoch."""
    if size is None or size >= count:
        return [slice(None)] * steps
    found = []
    while len(found) < steps:
        found += torch.randperm(count, generator=generator).split(size)
    return found[:steps]


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
    """
    found = []
    for seed in seeds:
        model = build(seed)
        apply, weights = functional(model), flat(model)
        for batch in _batches(len(images), batch_size, steps, generator(seed)):
            weights = descend(apply, weights.requires_grad_(), images[batch], targets[batch], lr).detach()
        with torch.no_grad():
            guesses = torch.cat([apply(weights, part).argmax(dim=1) for part in test_images.split(1024)])
        found.append(100 * (guesses.cpu() == test_labels.cpu()).double().mean().item())
    return found


def _check(trajectories, window, upper_start, expand_iters, expert_epochs, steps, iterations) -> None:
    counts = {"steps": steps, "iterations": iterations, "expert_epochs": expert_epochs}
    for name, value in counts.items():
        if value < 1:
            raise ValueError(f"{name} must be at least 1, got {value}")
    (lo, hi), epochs = window, trajectories.shape[1] - 1
    if not 0 <= lo < hi:
        raise ValueError(f"window must be (lo, hi) with 0 <= lo < hi, got {window}")
    if hi - 1 + expert_epochs > epochs:
        raise ValueError(
            f"window {window} and expert_epochs {expert_epochs} reach epoch {hi - 1 + expert_epochs}, "
            f"the trajectories end at {epochs}"
        )
    if (upper_start is None) != (expand_iters is None):
        raise ValueError("upper_start and expand_iters go together, one of them is missing")
    if upper_start is not None and (not lo < upper_start <= hi or expand_iters < 1):
        raise ValueError(
            f"upper_start must lie in {lo + 1} to {hi} and expand_iters be 1 or more, "
            f"got {upper_start} and {expand_iters}"
        )
