r"""Distilled Decoding: a whole sequence in one forward pass, by giving every position its own noise.

An autoregressive model draws token after token. Drawing all of them at once from one distribution per
position loses what the tokens have to do with each other, whatever is trained. Distilled Decoding takes
the randomness out first. Every position l gets a Gaussian noise vector, and *flow matching* turns it into
a codebook vector with exactly the teacher's probabilities: from :math:`t = 0` to 1 follow

.. math:: \frac{dx}{dt} = v(x, t) = \frac{\sum_j w_j c_j - x}{1 - t}, \qquad
          w_j \propto p_j \exp\!\Big(\!-\frac{\lVert x - t c_j\rVert^2}{2 (1 - t)^2}\Big),
          \qquad x_0 = \epsilon_l .

Nothing is drawn any more: the sequence is a function of the noise, and a student (see
:mod:`labkit.distill.distilled_decoding_student`) learns that function in one pass.

Liu, Ning, Wang, Lin (2024). *Distilled Decoding 1: One-step Sampling of Image Auto-regressive Models with
Flow Matching.* arXiv:2412.17153. The velocity is the closed form of the linear interpolation between
noise and codebook; the authors released sampling code, but not the code of the map or of the training.
"""

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor, nn

__all__ = [
    "CachedTeacher",
    "FMToken",
    "Pairs",
    "ar_sample",
    "fm_path",
    "fm_token",
    "fm_trajectory",
    "fm_velocity",
    "record_pairs",
]


class FMToken(NamedTuple):
    """Where noise arrives: index int64[B] into the codebook, and vector float[B, D], that codebook row."""

    index: Tensor
    vector: Tensor


class Pairs(NamedTuple):
    """What the student learns from: noise float[N, L, D], the tokens int64[N, L] of it, labels int64[N]."""

    noise: Tensor
    tokens: Tensor
    labels: Tensor


def fm_velocity(x: Tensor, t: float, probs: Tensor, codebook: Tensor) -> Tensor:
    """The closed-form velocity of the flow from noise to the codebook: float[B, D].

    x: float[B, D], where the points are at time t.  t: in [0, 1).  probs: float[B, V], rows sum to 1.
    codebook: float[V, D].  Raises ValueError for t outside [0, 1).

    >>> fm_velocity(torch.zeros(1, 1), 0.0, torch.tensor([[0.25, 0.75]]), torch.tensor([[-1.0], [1.0]]))
    tensor([[0.5000]])
    """
    if not 0 <= t < 1:
        raise ValueError(f"t must lie in [0, 1), got {t}")
    # |x - t c|^2 without its part in x alone, which is the same for every code
    closeness = (t * (x @ codebook.T) - 0.5 * t * t * codebook.square().sum(dim=1)) / (1 - t) ** 2
    share = (probs.clamp(min=torch.finfo(probs.dtype).tiny).log() + closeness).softmax(dim=1)
    return (share @ codebook - x) / (1 - t)


def fm_path(probs: Tensor, codebook: Tensor, noise: Tensor, *, steps: int = 16) -> Tensor:
    """Every state on the way from noise to the codebook, in equal steps of t: float[steps + 1, B, D].

    Heun's method: each step takes the mean of the velocities at its two ends. The last step goes
    straight to the mean of the codes in reach, because at t = 1 the velocity has no value.
    Arguments and errors as :func:`fm_token`.

    >>> fm_path(torch.tensor([[0.5, 0.5]]), torch.tensor([[-1.0], [1.0]]), torch.tensor([[0.3]]))[-1].round()
    tensor([[1.]])
    """
    _check(probs, codebook, noise, steps)
    x, states = noise, [noise]
    for k in range(steps):
        velocity = fm_velocity(x, k / steps, probs, codebook)
        if k + 1 < steps:
            ahead = fm_velocity(x + velocity / steps, (k + 1) / steps, probs, codebook)
            velocity = 0.5 * (velocity + ahead)
        x = x + velocity / steps
        states.append(x)
    return torch.stack(states)


def fm_token(probs: Tensor, codebook: Tensor, noise: Tensor, *, steps: int = 16) -> FMToken:
    """Turn one noise vector per row into a code, without drawing: ``FMToken(index, vector)``.

    Where the noise is standard normal, the index has the distribution ``probs``, up to the solver's error.
    probs: float[B, V], rows sum to 1; 0 is allowed.  codebook: float[V, D], rows distinct, best of about
    unit variance, as the noise has.  noise: float[B, D].  steps: of the solver.
    Raises ValueError where rows do not sum to 1 within 1e-4, probabilities are negative, codebook rows
    repeat, shapes do not fit or steps is below 1.

    >>> found = fm_token(torch.tensor([[0.0, 1.0]]), torch.tensor([[-1.0], [1.0]]), torch.tensor([[-2.0]]))
    >>> found.index, found.vector
    (tensor([1]), tensor([[1.]]))
    """
    end = fm_path(probs, codebook, noise, steps=steps)[-1]
    distance = codebook.square().sum(dim=1) - 2 * end @ codebook.T  # to every code, less what all share
    index = distance.masked_fill(probs == 0, float("inf")).argmin(dim=1)  # no path ends where no mass is
    return FMToken(index, codebook[index])


def fm_trajectory(
    next_probs: Callable[[Tensor], Tensor],
    codebook: Tensor,
    noise: Tensor,
    *,
    prefix: Tensor | None = None,
    steps: int = 16,
) -> Tensor:
    """The sequence that a noise sequence decides: int64[B, L], position after position.

    next_probs: from int64[B, l], the tokens so far, to float[B, V]; l goes from 0 to L - 1.
    codebook: float[V, D].  noise: float[B, L, D].  prefix: int64[B, l], tokens that stand already; their
    noise is not used.  steps: of the solver.
    Raises ValueError as :func:`fm_token`, and for a prefix longer than the noise.

    >>> codebook, noise = torch.tensor([[-1.0], [1.0]]), torch.tensor([[[0.4], [-2.0]]])
    >>> fm_trajectory(lambda tokens: torch.full((1, 2), 0.5), codebook, noise)
    tensor([[1, 0]])
    """
    tokens = _start(prefix, noise.shape[:2], noise.device)
    for place in range(tokens.shape[1], noise.shape[1]):
        drawn = fm_token(next_probs(tokens), codebook, noise[:, place], steps=steps)
        tokens = torch.cat([tokens, drawn.index[:, None]], dim=1)
    return tokens


def ar_sample(
    next_probs: Callable[[Tensor], Tensor],
    count: int,
    length: int,
    *,
    prefix: Tensor | None = None,
    generator: torch.Generator | None = None,
) -> Tensor:
    """Plain autoregressive sampling, one token after the other: int64[count, length].

    next_probs and prefix: as :func:`fm_trajectory`.  generator: of the draws, on the device of the
    probabilities.  Raises ValueError for a count or length below 1, or a prefix that is longer.

    >>> ar_sample(lambda tokens: torch.tensor([[0.0, 1.0]] * 3), 3, 2)
    tensor([[1, 1],
            [1, 1],
            [1, 1]])
    """
    if count < 1 or length < 1:
        raise ValueError(f"count and length must be at least 1, got {count} and {length}")
    device = generator.device if generator is not None else "cpu"
    tokens = _start(prefix, (count, length), device)
    for _ in range(tokens.shape[1], length):
        drawn = torch.multinomial(next_probs(tokens), 1, generator=generator)
        tokens = torch.cat([tokens, drawn], dim=1)
    return tokens


class CachedTeacher:
    """``next_probs`` of a causal ``transformers`` model that keeps what it has computed.

    model: any causal model whose first V tokens are the codes and whose token V + k names class k.
    labels: int64[B], the class of each sequence.  codes: V.
    Each call takes int64[B, l], the tokens so far, feeds the model the new ones only, and returns the
    probabilities of the next code, float32[B, V]. ``passes`` counts the forward passes. The tokens of a
    call must begin with those of the call before; make a new one for new sequences.
    Raises ValueError for labels below 0, another number of rows, or tokens that do not grow.

    >>> from labkit import language
    >>> model = language.causal(16 + 10, width=16, layers=1, heads=2)
    >>> teacher = CachedTeacher(model, torch.tensor([3, 7]), 16)
    >>> teacher(torch.empty(2, 0, dtype=torch.long)).shape, teacher.passes
    (torch.Size([2, 16]), 1)
    """

    def __init__(self, model: nn.Module, labels: Tensor, codes: int):
        if labels.ndim != 1 or labels.min() < 0:
            raise ValueError(f"labels must be int64[B], 0 or more, got {tuple(labels.shape)}")
        self.model, self.codes = model, codes
        self.first, self.cache, self.seen, self.passes = labels[:, None] + codes, None, 0, 0

    @torch.inference_mode()
    def __call__(self, tokens: Tensor) -> Tensor:
        if len(tokens) != len(self.first):
            raise ValueError(f"tokens must have {len(self.first)} rows, as labels has, got {len(tokens)}")
        given = torch.cat([self.first, tokens], dim=1)
        if given.shape[1] <= self.seen:
            raise ValueError(f"tokens must be longer than before, {self.seen - 1}, got {tokens.shape[1]}")
        # logits_to_keep: only the last position is asked for
        out = self.model(
            input_ids=given[:, self.seen :], past_key_values=self.cache, use_cache=True, logits_to_keep=1
        )
        self.cache, self.seen, self.passes = out.past_key_values, given.shape[1], self.passes + 1
        return out.logits[:, -1, : self.codes].float().softmax(dim=-1)


def record_pairs(
    model: nn.Module,
    labels: Tensor,
    codebook: Tensor,
    length: int,
    *,
    steps: int = 16,
    batch_size: int = 1000,
    generator: torch.Generator | None = None,
) -> Pairs:
    """Draw noise, decode it with the teacher, and keep both. No data of the teacher's training is needed.

    model, labels: as :class:`CachedTeacher`; one pair for each label.  codebook: float[V, D].  length: L.
    steps: of the solver.  batch_size: sequences that are decoded at a time.  generator: of the noise.
    Raises ValueError for a length below 1 or labels that are none.

    >>> from labkit import language
    >>> model = language.causal(2 + 1, width=16, layers=1, heads=2)
    >>> record_pairs(model, torch.zeros(5, dtype=torch.long), torch.tensor([[-1.0], [1.0]]), 4).tokens.shape
    torch.Size([5, 4])
    """
    if length < 1 or len(labels) == 0:
        raise ValueError(f"length and the number of labels must be at least 1, got {length}, {len(labels)}")
    codes, dim = codebook.shape
    noise = torch.randn(len(labels), length, dim, generator=generator, device=codebook.device)
    parts = [
        fm_trajectory(CachedTeacher(model, part, codes), codebook, drawn, steps=steps)
        for part, drawn in zip(labels.split(batch_size), noise.split(batch_size), strict=True)
    ]
    return Pairs(noise, torch.cat(parts), labels)


def _start(prefix: Tensor | None, shape, device) -> Tensor:
    """The tokens that stand before the first step: int64[B, l]."""
    count, length = shape
    if prefix is None:
        return torch.empty(count, 0, dtype=torch.long, device=device)
    if prefix.ndim != 2 or len(prefix) != count or prefix.shape[1] > length:
        raise ValueError(f"prefix must be int64[{count}, up to {length}], got {tuple(prefix.shape)}")
    return prefix


def _check(probs: Tensor, codebook: Tensor, noise: Tensor, steps: int) -> None:
    if steps < 1:
        raise ValueError(f"steps must be at least 1, got {steps}")
    if codebook.ndim != 2 or noise.ndim != 2 or noise.shape[1] != codebook.shape[1]:
        raise ValueError(
            f"noise must be [B, D] and codebook [V, D], got {tuple(noise.shape)} and {tuple(codebook.shape)}"
        )
    if probs.shape != (len(noise), len(codebook)):
        raise ValueError(f"probs must be {(len(noise), len(codebook))}, got {tuple(probs.shape)}")
    low, off = probs.min().item(), (probs.sum(dim=1) - 1).abs().max().item()
    if not (low >= 0 and off <= 1e-4):  # written so that NaN is refused as well
        raise ValueError(
            f"probs must be 0 or more and sum to 1 in each row within 1e-4, got a least value of {low:.3g} "
            f"and a sum that is off by {off:.3g}"
        )
    if len(torch.unique(codebook, dim=0)) < len(codebook):
        raise ValueError("codebook rows must be distinct: two codes at one place cannot be told apart")
