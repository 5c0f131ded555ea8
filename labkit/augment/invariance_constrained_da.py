r"""Invariance-constrained augmentation: how much to augment is learnt as a Lagrange multiplier.

Augmentation becomes a constraint: the loss on transformed images has to stay below a margin. The
multiplier of the constraint rises while it is violated and falls when it is met, so augmentation is
switched on, up and off during training. The transformations are not drawn uniformly either: a
Metropolis-Hastings chain draws them in proportion to the loss that they cause.

.. math:: \min_w \mathbb E\,\ell(f_w(x), y) \quad\text{subject to}\quad
          \mathbb E_{g \sim \lambda}\,\ell(f_w(g x), y) \le \epsilon, \qquad
          \lambda(g \mid x) \propto \ell(f_w(g x), y)

.. math:: w \leftarrow w - \eta \nabla_w \bigl[\ell(f_w(x), y) + \gamma\,\ell(f_w(g x), y)\bigr], \qquad
          \gamma \leftarrow \bigl[\gamma + \eta_d\,(\ell(f_w(g x), y) - \epsilon)\bigr]_+

Hounie, Chamon, Ribeiro (2022). *Automatic Data Augmentation via Invariance-Constrained Learning.*
arXiv:2209.15031. The sampler, both primal steps and the dual step are those of the authors' code. One
difference: here the sampler leaves the running statistics of batch normalization as it found them,
there its forward passes count in them.

:func:`trivial_augment` is the automatic baseline that the paper starts from (Müller and Hutter 2021,
arXiv:2103.10158), and the proposal of its chains.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from labkit.operations import OPERATIONS, Operation, apply

__all__ = ["WIDE", "Chain", "ConstrainedLoss", "Constraint", "Report"]
__all__ += ["metropolis_hastings", "trivial_augment"]

_WIDE_ENDS = {"rotate": 135.0, "posterize": 2.0}
_WIDE_ENDS |= dict.fromkeys(["shear_x", "shear_y"], 0.99) | dict.fromkeys(["translate_x", "translate_y"], 1.0)
_WIDE_ENDS |= dict.fromkeys(["color", "contrast", "brightness", "sharpness"], 1.99)
#: The paper's "wide" space, fourteen operations, with turns of up to 135 degrees and moves of a side.
WIDE: dict[str, Operation] = {
    name: each._replace(end=_WIDE_ENDS.get(name, each.end)) for name, each in OPERATIONS.items()
}

Propose = Callable[..., tuple[Tensor, Tensor]]


def trivial_augment(
    images: Tensor,
    *,
    operations: Mapping[str, Operation] = WIDE,
    levels: int = 31,
    fill: float = 0.5,
    resample: str = "nearest",
    generator: torch.Generator | None = None,
) -> tuple[Tensor, Tensor]:
    """TrivialAugment: each image gets one random operation at a random strength, nothing to tune.

    images: float[B, C, H, W] in [0, 1].  operations: name -> :class:`labkit.operations.Operation`.
    levels: number of strengths, evenly spaced from none to the full range of each operation.
    fill, resample: of what moves pixels, as in :func:`labkit.operations.apply`.
    Returns the images and float[B, 2], the position of the operation and its magnitude in [0, 1].
    Raises ValueError for no operations or fewer than two levels.

    >>> images, drawn = trivial_augment(torch.rand(4, 3, 16, 16))
    >>> images.shape, drawn.shape
    (torch.Size([4, 3, 16, 16]), torch.Size([4, 2]))
    """
    if not operations:
        raise ValueError("operations must not be empty")
    if levels < 2:
        raise ValueError(f"levels must be at least 2, got {levels}")
    draw = partial(torch.randint, size=(len(images),), generator=generator, device=images.device)
    chosen, magnitude = draw(high=len(operations)), draw(high=levels) / (levels - 1)
    changed = apply(images, operations, chosen, magnitude, fill=fill, resample=resample, generator=generator)
    return changed, torch.stack([chosen.to(magnitude), magnitude], dim=1)


class Chain(NamedTuple):
    """The last states of one Markov chain per image.

    images: float[B, ...].  parameters: Tensor[B, ...], what the proposal said about each.  losses: float[B].
    accepted: float[], the share of proposals that were accepted, in [0, 1]; nan where there were none.
    """

    images: Tensor
    parameters: Tensor
    losses: Tensor
    accepted: Tensor


def _each(logits: Tensor, labels: Tensor) -> Tensor:
    return F.cross_entropy(logits, labels, reduction="none")


@torch.no_grad()
def metropolis_hastings(
    model: nn.Module,
    images: Tensor,
    labels: Tensor,
    propose: Propose,
    *,
    steps: int = 2,
    loss: Callable[[Tensor, Tensor], Tensor] = _each,
    generator: torch.Generator | None = None,
) -> Chain:
    """Draw one transformation per image, in proportion to the loss it causes: forward passes only.

    An independence chain: a proposal replaces the state with probability min(1, its loss / the loss of
    the state). Its stationary density is the proposal's times the loss. Algorithm 1 of the paper.

    model: (float[B, ...]) -> logits float[B, K]; in the mode it is in, its buffers are left as they were.
    images: float[B, ...].  labels: int64[B], or what ``loss`` takes.
    propose: called as ``propose(images, generator=g)``, each image as often as the chain has steps; returns
    the transformed images and Tensor[B, ...], which transformation each got, one independent draw per image.
    steps: states of the chain, the first one included: 2 in the paper; 1 is its ablation, uniform sampling.
    loss: (logits, labels) -> float[B], 0 or more; cross-entropy in nats by default.
    A proposal with a loss that is not finite, or with the ratio 0/0, is rejected.
    Raises ValueError for steps < 1, lengths that differ, and a negative loss.

    >>> from labkit import models
    >>> images, labels = torch.rand(4, 3, 16, 16), torch.tensor([0, 1, 0, 1])
    >>> chain = metropolis_hastings(models.cnn(classes=2), images, labels, trivial_augment)
    >>> chain.images.shape, chain.losses.shape
    (torch.Size([4, 3, 16, 16]), torch.Size([4]))
    """
    _check_steps(steps)
    if len(images) != len(labels):
        raise ValueError(f"images and labels must be as many: got {len(images)} and {len(labels)}")
    # the proposals do not depend on the state: one draw and one forward pass serve the whole chain
    proposals, parameters = propose(torch.cat([images] * steps), generator=generator)
    wanted, got = steps * len(images), (len(proposals), len(parameters))
    if got != (wanted, wanted):
        raise ValueError(f"propose must return {wanted} images and parameters, as it got, not {got}")
    kept = [buffer.clone() for buffer in model.buffers()]
    logits = model(proposals)
    for buffer, before in zip(model.buffers(), kept, strict=True):
        buffer.copy_(before)
    losses = loss(logits, torch.cat([labels] * steps)).view(steps, -1)
    if (losses < 0).any():
        raise ValueError(f"the loss must be 0 or more, to be in proportion to; got {losses.min():.3g}")

    uniform = torch.rand(steps, len(images), generator=generator, device=images.device)
    every = torch.arange(len(images), device=images.device)
    state, current, moves = torch.zeros_like(every), losses[0], []
    for step in range(1, steps):
        ratio = losses[step] / current  # above 1 is accepted for sure, nan never
        accept = (uniform[step] < ratio) & torch.isfinite(losses[step])
        state = torch.where(accept, step, state)
        current = torch.where(accept, losses[step], current)
        moves.append(accept)
    return Chain(
        images=proposals.unflatten(0, (steps, -1))[state, every],
        parameters=parameters.unflatten(0, (steps, -1))[state, every],
        losses=current,
        accepted=torch.stack(moves).double().mean() if moves else torch.tensor(math.nan),
    )


def _check_steps(steps: int) -> None:
    if steps < 1:
        raise ValueError(f"steps must be at least 1, got {steps}")


class Report(NamedTuple):
    """What became of a constraint: its mean loss over the last quarter of the steps, its last multiplier.

    status: "slack" (met, the multiplier at 0), "met", or "not met" (the multiplier still rises: so far
    the margin is infeasible).
    """

    name: str
    status: str
    loss: float
    margin: float
    multiplier: float

    def __str__(self) -> str:
        end = "still rising" if self.status == "not met" else "at the end"
        said = f"{self.name}: {self.status}, loss {self.loss:.3g} for a margin of {self.margin:.3g}"
        return f"{said}, multiplier {self.multiplier:.3g} {end}"


class Constraint:
    """The loss on one family of transformations shall stay below a margin.

    propose: as in :func:`metropolis_hastings`.
    margin: epsilon, in the unit of the loss, 0 or more. Above the loss of guessing (log K for K classes) it
    asks for nothing; below what the network can reach gamma grows without bound, see :meth:`report`.
    dual_lr: step of gamma, above 0. The paper's is 1e-4 in 78,000 training steps; for fewer, 8 / steps.
    steps: of the chain.  name: of the family, in logs.  multiplier: gamma at the start.
    Raises ValueError where one of them is out of range.

    ``multiplier``: float[], gamma now.  ``multipliers``, ``losses``, ``accepted``: lists of float[], one for
    each update: gamma after it, the transformed loss, and the share of accepted proposals.

    >>> constraint = Constraint(trivial_augment, margin=0.5, dual_lr=0.1)
    >>> constraint.update(torch.tensor(2.5))
    >>> round(float(constraint.multiplier), 3)
    0.2
    """

    def __init__(
        self,
        propose: Propose,
        *,
        margin: float,
        dual_lr: float = 1e-4,
        steps: int = 2,
        name: str = "transformed",
        multiplier: float = 0.0,
    ):
        if not (0 <= margin < math.inf and 0 <= multiplier < math.inf):
            raise ValueError(f"margin and multiplier must be 0 or more, got {margin} and {multiplier}")
        if not 0 < dual_lr < math.inf:
            raise ValueError(f"dual_lr must be above 0, got {dual_lr}")
        _check_steps(steps)
        self.propose, self.margin, self.dual_lr, self.steps, self.name = propose, margin, dual_lr, steps, name
        self.multiplier = torch.tensor(float(multiplier))
        self.multipliers, self.losses, self.accepted = [], [], []

    def update(self, loss: Tensor, *, accepted: Tensor | float = math.nan) -> None:
        """Dual ascent, once per batch: gamma + dual_lr * (loss - margin), never below 0. loss: float[]."""
        loss = loss.detach()
        raised = self.multiplier.to(loss.device) + self.dual_lr * (loss - self.margin)
        self.multiplier = raised.clamp(min=0)
        self.multipliers.append(self.multiplier)
        self.losses.append(loss)
        self.accepted.append(torch.as_tensor(accepted))

    def report(self) -> Report:
        """Whether the margin is met, to two standard errors. Raises ValueError before four updates."""
        if len(self.losses) < 4:
            raise ValueError(f"report needs at least 4 updates, got {len(self.losses)}")
        late = torch.stack(self.losses).double()[-max(2, len(self.losses) // 4) :]
        mean, error, gamma = late.mean().item(), late.std().item() / len(late) ** 0.5, float(self.multiplier)
        status = "not met" if mean - 2 * error > self.margin else "slack" if gamma == 0 else "met"
        return Report(self.name, status, mean, self.margin, gamma)


class ConstrainedLoss:
    """The loss of :func:`labkit.training.fit` under one constraint per family of transformations.

    Each call draws with :func:`metropolis_hastings`, returns the Lagrangian and takes one dual step. The
    multipliers are in it: make a new one, with new constraints, for each training.

    constraints: one or several :class:`Constraint`, with different names.
    mode: "add", clean loss + sum of gamma * transformed loss, one more gradient pass per constraint; or
    "sample", one gradient pass in all: family i replaces an image with probability gamma_i / (1 + sum of
    all gammas), and the dual steps use the losses of the chains.
    loss: (logits, labels) -> float[B], 0 or more.
    ``clean``: list of float[], the clean loss at each step (mode "add" only).
    Raises ValueError for another mode, no constraints, or a name that comes twice.

    >>> from labkit import models, training
    >>> images, labels = torch.rand(8, 3, 16, 16), torch.arange(8) % 2
    >>> loss = ConstrainedLoss([Constraint(trivial_augment, margin=0.5, dual_lr=0.1)])
    >>> fitted = training.fit(models.cnn(classes=2), images, labels, steps=5, loss=loss)
    >>> len(loss.constraints[0].multipliers)
    5
    """

    def __init__(
        self, constraints: Sequence[Constraint], *, mode: str = "add", loss: Callable[..., Tensor] = _each
    ):
        names = [constraint.name for constraint in constraints]
        if not names or len(set(names)) < len(names):
            raise ValueError(f"constraints must be one or more with different names, got {names}")
        if mode not in ("add", "sample"):
            raise ValueError(f"mode must be 'add' or 'sample', got {mode!r}")
        self.constraints, self.mode, self.loss, self.clean = list(constraints), mode, loss, []

    def __call__(self, model, images: Tensor, labels: Tensor, *, progress: float = 0.0, generator=None):
        """The scalar to minimize on one batch; ``progress`` is not used."""
        draw = partial(metropolis_hastings, model, images, labels, loss=self.loss, generator=generator)
        chains = [draw(each.propose, steps=each.steps) for each in self.constraints]
        step = self._add if self.mode == "add" else self._sample
        total, transformed = step(model, images, labels, chains, generator)
        for constraint, chain, value in zip(self.constraints, chains, transformed, strict=True):
            constraint.update(value, accepted=chain.accepted)
        return total

    def _add(self, model, images, labels, chains, generator):
        total = self.loss(model(images), labels).mean()
        self.clean.append(total.detach())
        transformed = [self.loss(model(chain.images), labels).mean() for chain in chains]
        for constraint, value in zip(self.constraints, transformed, strict=True):
            total = total + constraint.multiplier.to(value.device) * value
        return total, transformed

    def _sample(self, model, images, labels, chains, generator):
        gammas = torch.stack([each.multiplier.to(images.device) for each in self.constraints])
        bounds = gammas.cumsum(0) / (1 + gammas.sum())
        drawn = torch.rand(len(images), generator=generator, device=images.device)
        family = (drawn[:, None] >= bounds).sum(dim=1)  # as many as there are constraints: stays clean
        choices = torch.stack([*(chain.images for chain in chains), images])
        mixed = choices[family, torch.arange(len(images), device=images.device)]
        return self.loss(model(mixed), labels).mean(), [chain.losses.mean() for chain in chains]
