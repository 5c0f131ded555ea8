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
the synthetic images. The experts, their cache and the network of the paper: ``labkit.distill.trajectories``;
the student's steps and the loss: ``labkit.distill.trajectory_matching``; where a set begins and what it
teaches: ``labkit.distill.synthetic_sets``.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from typing import NamedTuple

import torch
from torch import Tensor, nn

from labkit.distill.synthetic_sets import Synthetic, fresh_accuracies, hard_logits, initial_set
from labkit.distill.trajectories import functional, stacked
from labkit.distill.trajectory_matching import batches_of, matching_gradients, matching_loss, unroll

__all__ = ["Distilled", "Plan", "Run", "Synthetic", "distill", "distill_side_by_side", "fresh_accuracies"]
__all__ += ["hard_logits", "initial_set", "upper_bound", "window_for"]

# Starts of the published configurations for CIFAR-10, as shares of the expert's 100 epochs.
WINDOWS = {1: (0.0, 0.04), 50: (0.0, 0.4), 1000: (0.4, 0.6)}
LEAST_LR = 2.0**-20  # about 1e-6, the same in single precision


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


class Plan(NamedTuple):
    """How a set is distilled: what :func:`distill` takes by name.

    window: (lo, hi), start epochs are drawn from lo to hi - 1.  upper_start, expand_iters: let the end of
    the window grow from upper_start to hi over so many iterations.  expert_epochs: how far ahead the
    target lies.  steps: of the student, N.  batch_size: synthetic images per step, None for all.
    lr: the step size to begin with, at least 1e-6 ever after.  lr_images, lr_logits, lr_lr: learning rates of
    pixels, logits and step size.  optimizer: called as ``optimizer([parameter], lr=…)`` for each of them; by
    default the paper's, SGD with momentum 0.5, for logits 0.9.  learn_labels: False keeps the labels.
    skip: iterations with a larger loss change nothing.
    """

    window: tuple[int, int]
    upper_start: int | None = None
    expand_iters: int | None = None
    expert_epochs: int = 2
    steps: int = 20
    batch_size: int | None = None
    iterations: int = 1000
    lr: float = 0.01
    lr_images: float = 100.0
    lr_logits: float = 5.0
    lr_lr: float = 1e-5
    optimizer: Callable[..., torch.optim.Optimizer] | None = None
    learn_labels: bool = True
    skip: float = 1.0


def distill(
    model: nn.Module,
    trajectories: Tensor,
    start: Synthetic,
    *,
    save_memory: bool = False,
    keep: Iterable[int] = (),
    generator: torch.Generator | None = None,
    **plan,
) -> Distilled:
    """Optimize a synthetic set so that training on it moves weights where the experts' went.

    model: the architecture.  trajectories: float[E, epochs + 1, P].  start: the set to begin from.
    save_memory: see ``matching_gradients`` in ``labkit.distill.trajectory_matching``.
    keep: iterations after which the images are kept; 0 is the start.
    plan: the fields of :class:`Plan`; ``window`` must be given.
    Raises ValueError for a window that is empty or reaches beyond the trajectories, an upper_start outside
    the window or without expand_iters, and steps, iterations or expert_epochs below 1; FloatingPointError
    where the loss of an iteration is not finite.
    """
    run, apply = Run(trajectories, start, Plan(**plan), keep, generator), functional(model)
    for _ in range(run.plan.iterations):
        begin, target, batches = run.draw()
        if save_memory:
            made = (run.images, run.logits, run.lr)
            loss, found = matching_gradients(apply, begin, target, *made, batches)
        else:
            reached = unroll(apply, begin, run.images, run.logits, run.lr, batches)
            loss = matching_loss(reached, begin, target)
            found = torch.autograd.grad(loss, run.parameters)
        run.update(loss.item(), found)
    return run.result()


def distill_side_by_side(
    model: nn.Module,
    trajectories: Tensor,
    starts: Sequence[Synthetic],
    plans: Sequence[dict],
    *,
    keep: Iterable[int] = (),
    generators: Sequence[torch.Generator],
) -> list[Distilled]:
    """Distil several sets of one size at once: what :func:`distill` gives for each, but for rounding.

    With small networks a step is mostly the calling of operations; here each is called once for all sets.

    starts: of as many images each.  plans: the fields of :class:`Plan` for each set.  generators: one for
    each.  Every step takes the whole set.
    Raises ValueError where sets, plans and generators are not as many, where shapes, steps or iterations
    differ, or a batch is smaller than the set; else what :func:`distill` raises.
    """
    if not len(starts) == len(plans) == len(generators) > 0:
        raise ValueError(
            f"starts, plans and generators must be as many, and not none: "
            f"{len(starts)}, {len(plans)}, {len(generators)}"
        )
    runs = [
        Run(trajectories, start, Plan(**plan), keep, draws)
        for start, plan, draws in zip(starts, plans, generators, strict=True)
    ]
    alike = {(run.images.shape, run.plan.steps, run.plan.iterations) for run in runs}
    if len(alike) > 1 or any((run.plan.batch_size or len(run.images)) < len(run.images) for run in runs):
        raise ValueError("sets side by side must have one shape, steps and iterations, and no batches")
    apply = stacked(functional(model), len(runs))
    parameters = [parameter for run in runs for parameter in run.parameters]
    for _ in range(runs[0].plan.iterations):
        begins, targets, batches = zip(*(run.draw() for run in runs), strict=True)
        reached = unroll(
            apply,
            torch.stack(begins),
            torch.stack([run.images for run in runs]),
            torch.cat([run.logits for run in runs]),
            len(runs) * torch.stack([run.lr for run in runs])[:, None],
            batches[0],
        )
        losses = torch.stack([matching_loss(*ends) for ends in zip(reached, begins, targets, strict=True)])
        found = iter(torch.autograd.grad(losses.sum(), parameters))
        for run, loss in zip(runs, losses.tolist(), strict=True):
            run.update(loss, [next(found) for _ in run.parameters])
    return [run.result() for run in runs]


class Run:
    """One set while it is distilled: what is learnt, and how it went. :func:`distill` makes and uses it."""

    def __init__(self, trajectories, start: Synthetic, plan: Plan, keep, generator):
        _check(trajectories, plan)
        self.trajectories, self.plan, self.keep, self.generator = (
            trajectories,
            plan,
            frozenset(keep),
            generator,
        )
        self.images, self.logits = (each.detach().clone().requires_grad_() for each in start[:2])
        self.logits.requires_grad_(plan.learn_labels)
        self.lr = torch.tensor(plan.lr, device=self.images.device, requires_grad=True)
        learnt = [(self.images, plan.lr_images, 0.5), (self.logits, plan.lr_logits, 0.9)]
        learnt = [each for each in [*learnt, (self.lr, plan.lr_lr, 0.5)] if each[0].requires_grad]
        self.parameters = [parameter for parameter, _, _ in learnt]
        self.steppers = [
            (plan.optimizer or partial(torch.optim.SGD, momentum=momentum))([parameter], lr=lr)
            for parameter, lr, momentum in learnt
        ]
        self.seen = {0: start.images.clone()} if 0 in self.keep else {}
        self.losses, self.starts, self.skipped = [], [], 0

    def draw(self) -> tuple[Tensor, Tensor, list]:
        """Where the student starts, where the expert was later, and the student's batches."""
        plan, draws = self.plan, {"generator": self.generator}
        hi = upper_bound(len(self.losses), plan.window[1], start=plan.upper_start, over=plan.expand_iters)
        expert = int(torch.randint(len(self.trajectories), (1,), **draws))
        epoch = int(torch.randint(plan.window[0], hi, (1,), **draws))
        self.starts.append(epoch)
        begin, target = (
            self.trajectories[expert, epoch],
            self.trajectories[expert, epoch + plan.expert_epochs],
        )
        return begin, target, batches_of(len(self.images), plan.batch_size, plan.steps, self.generator)

    def update(self, loss: float, gradients: Sequence[Tensor]) -> None:
        """Learn from one iteration, if its loss is not too large."""
        if not loss < float("inf"):
            raise FloatingPointError(f"the matching loss is {loss} at iteration {len(self.losses)}; lower lr")
        if loss <= self.plan.skip:
            for parameter, gradient, stepper in zip(self.parameters, gradients, self.steppers, strict=True):
                parameter.grad = gradient
                stepper.step()
            with torch.no_grad():
                self.lr.clamp_(min=LEAST_LR)
        self.skipped += loss > self.plan.skip
        self.losses.append(loss)
        if len(self.losses) in self.keep:
            self.seen[len(self.losses)] = self.images.detach().clone()

    def result(self) -> Distilled:
        """What came of it."""
        images, logits = self.images.detach(), self.logits.detach()
        history = torch.tensor(self.losses), torch.tensor(self.starts)
        return Distilled(images, logits, self.lr.item(), *history, self.skipped, self.seen)


def _check(trajectories: Tensor, plan: Plan) -> None:
    for name in ("steps", "iterations", "expert_epochs"):
        if (value := getattr(plan, name)) < 1:
            raise ValueError(f"{name} must be at least 1, got {value}")
    (lo, hi), epochs, upper = plan.window, trajectories.shape[1] - 1, plan.upper_start
    if not 0 <= lo < hi:
        raise ValueError(f"window must be (lo, hi) with 0 <= lo < hi, got {plan.window}")
    if hi - 1 + plan.expert_epochs > epochs:
        raise ValueError(
            f"window {plan.window} and expert_epochs {plan.expert_epochs} reach epoch "
            f"{hi - 1 + plan.expert_epochs}, the trajectories end at {epochs}"
        )
    if (upper is None) != (plan.expand_iters is None):
        raise ValueError("upper_start and expand_iters go together, one of them is missing")
    if upper is not None and (not lo < upper <= hi or plan.expand_iters < 1):
        raise ValueError(
            f"upper_start must lie in {lo + 1} to {hi} and expand_iters be 1 or more, "
            f"got {upper} and {plan.expand_iters}"
        )
