"""Gaussian chains: what draws a token in several steps, the density of its way, and the rest of a rejection.

A chain takes noise x_T to a token x_0. The density of x_0 alone is an integral over all ways; the density of
one way is a product of T normal densities, which is what speculative decoding compares.
"""

import math
from collections.abc import Sequence
from typing import NamedTuple, Protocol

import torch
from torch import Tensor

from labkit.data.build import check_count

__all__ = ["GaussianChain", "MixtureChain", "Residual", "Speculated", "Trajectory", "sample_residual"]
__all__ += ["sample_trajectory", "speculative_accept", "speculative_sample", "trajectory_log_prob"]


class GaussianChain(Protocol):
    """What draws a token: T Gaussian steps.

    size, steps: numbers of a token, and T.  std: of the step from t to t - 1, at index t from 1 to T.
    ``mean(noisy, t, z)``: float[N, d] of that step at noisy float[N, d], t int or int64[N], for the
    conditions z float[N, D].
    """

    size: int
    steps: int
    std: Sequence[float]

    def mean(self, noisy: Tensor, t, z: Tensor) -> Tensor: ...


class Trajectory(NamedTuple):
    """states: x_t at [:, t], float[N, T + 1, d], so the token is [:, 0].  noise: float[N, T + 1, d], what was
    added on the way to x_t.  mean: of the last step, float[N, d].  log_prob: of the steps, float[N]."""

    states: Tensor
    noise: Tensor
    mean: Tensor
    log_prob: Tensor


class Residual(NamedTuple):
    """states: float[N, T + 1, d].  draws: of the target, in all.  exhausted: bool[N], none was kept."""

    states: Tensor
    draws: int
    exhausted: Tensor


class Speculated(NamedTuple):
    """tokens: float[N, d].  accepted: bool[N], the draft's token stands.  drafted: float[N, d].

    draws: trajectories drawn from the target, in all.  exhausted: how many replacements were given up.
    """

    tokens: Tensor
    accepted: Tensor
    drafted: Tensor
    draws: int
    exhausted: int


def _constant(chain: GaussianChain) -> float:
    return -chain.size * sum(math.log(chain.std[t]) for t in range(1, chain.steps + 1))


def sample_trajectory(
    chain: GaussianChain, z: Tensor, *, noise: Tensor | None = None, generator=None
) -> Trajectory:
    """Draw tokens with all their states.

    z: conditions float[N, D].  noise: float[N, T + 1, d] instead of new noise, as another trajectory's: then
    both are aligned.
    """
    steps = chain.steps
    if noise is None:
        noise = torch.randn(len(z), steps + 1, chain.size, generator=generator, device=z.device)
    noisy, states = noise[:, steps], [noise[:, steps]]
    for t in range(steps, 0, -1):
        mean = chain.mean(noisy, t, z)
        noisy = torch.add(mean, noise[:, t - 1], alpha=chain.std[t])
        states.append(noisy)
    log_prob = noise[:, :steps].square().sum((1, 2)).mul(-0.5).add(_constant(chain))
    return Trajectory(torch.stack(states[::-1], 1), noise, mean, log_prob)


def trajectory_log_prob(chain: GaussianChain, states: Tensor, z: Tensor) -> Tensor:
    """Logarithm of the density of given trajectories' steps, float[N], in one parallel pass.

    states: float[N, T + 1, d].  z: float[N, D]. Left out are what all chains share: the density of the start
    noise, and a factor of 2 pi per number.
    """
    count, steps, size = len(states), chain.steps, chain.size
    t = torch.arange(1, steps + 1, device=states.device).repeat(count)
    mean = chain.mean(states[:, 1:].reshape(-1, size), t, z.repeat_interleave(steps, 0))
    std = mean.new_tensor(chain.std[1:])[:, None]
    off = (states[:, :-1] - mean.view(count, steps, size)) / std
    return -0.5 * off.square().sum((1, 2)) + _constant(chain)


def speculative_accept(log_ratio: Tensor, *, generator=None) -> Tensor:
    """Accept with probability min(1, p/q): bool of the shape of ``log_ratio``, which is log p/q.

    >>> speculative_accept(torch.tensor([0.0, -1e9])).tolist()
    [True, False]
    """
    draws = torch.rand(log_ratio.shape, generator=generator, device=log_ratio.device)
    return draws.log() < log_ratio


def sample_residual(
    target: GaussianChain,
    draft: GaussianChain,
    z_target: Tensor,
    z_draft: Tensor,
    *,
    max_tries: int = 100,
    at_once: int = 4,
    generator=None,
) -> Residual:
    """Draw from max(0, p - q), normalized, by acceptance and rejection; p itself is the bound.

    z_target, z_draft: float[N, ...], the conditions of both models.  max_tries: draws per token before it is
    given up; the last draw stands then, and is told.  at_once: how many are drawn in parallel.
    On average a token takes 1 / P(reject) draws. Raises ValueError for counts below 1.
    """
    check_count("max_tries", max_tries)
    check_count("at_once", at_once)
    states = z_target.new_empty(len(z_target), target.steps + 1, target.size)
    open_ = torch.arange(len(z_target), device=z_target.device)
    draws = 0
    for done in range(0, max_tries, at_once):
        several = min(at_once, max_tries - done)
        drawn = sample_trajectory(target, z_target[open_].repeat_interleave(several, 0), generator=generator)
        q = trajectory_log_prob(draft, drawn.states, z_draft[open_].repeat_interleave(several, 0))
        u = torch.rand(len(q), generator=generator, device=q.device)
        kept = (u < 1 - (q - drawn.log_prob).exp()).view(-1, several)
        draws += kept.numel()
        found = kept.any(1)
        first = torch.where(found, kept.to(torch.uint8).argmax(1), several - 1)
        chosen = torch.arange(len(open_), device=q.device) * several + first
        states[open_] = drawn.states[chosen]
        open_ = open_[~found]
        if not len(open_):
            break
    exhausted = torch.zeros(len(z_target), dtype=torch.bool, device=z_target.device)
    exhausted[open_] = True
    return Residual(states, draws, exhausted)


def speculative_sample(
    target: GaussianChain,
    draft: GaussianChain,
    z_target: Tensor,
    z_draft: Tensor,
    *,
    generator=None,
    **settings,
) -> Speculated:
    """One token per row, drafted, judged, replaced where rejected; its distribution is the target's.

    z_target, z_draft: float[N, ...], conditions of both models.  settings: see :func:`sample_residual`.
    Raises ValueError for chains of other sizes or numbers of steps.
    """
    for name in ("size", "steps"):
        if getattr(target, name) != getattr(draft, name):
            values = f"{getattr(target, name)} and {getattr(draft, name)}"
            raise ValueError(f"target and draft must have one {name}, got {values}")
    drawn = sample_trajectory(draft, z_draft, generator=generator)
    log_ratio = trajectory_log_prob(target, drawn.states, z_target) - drawn.log_prob
    accepted = speculative_accept(log_ratio, generator=generator)
    tokens, no = drawn.states[:, 0].clone(), ~accepted
    left = sample_residual(target, draft, z_target[no], z_draft[no], generator=generator, **settings)
    tokens[no] = left.states[:, 0]
    return Speculated(tokens, accepted, drawn.states[:, 0], left.draws, int(left.exhausted.sum()))


class MixtureChain:
    """A chain whose denoiser is exact: it draws from a mixture of round normal clouds, without training.

    means: float[K, d].  spread: standard deviation of each cloud.  levels: float[T + 1] that fall, the shares
    of the signal's variance left, such as ``level`` of a schedule. The conditions z are not looked at.
    Raises ValueError for another shape, a spread that is not positive, levels that do not fall within (0, 1).
    """

    def __init__(self, means: Tensor, *, spread: float, levels: Tensor):
        if means.ndim != 2:
            raise ValueError(f"means must be float[K, d], got {tuple(means.shape)}")
        if not spread > 0:
            raise ValueError(f"spread must be above 0, got {spread}")
        if levels.ndim != 1 or not (levels[0] < 1 and levels[-1] > 0 and (levels[1:] < levels[:-1]).all()):
            raise ValueError("levels must fall within (0, 1)")
        self.means, self.spread, self.levels = means, spread, levels.double()
        self.size, self.steps = means.shape[1], len(levels) - 1
        before, after = self.levels[:-1], self.levels[1:]
        self._beta = torch.cat([after[:1], 1 - after / before])
        var = self._beta[1:] * (1 - before) / (1 - after)
        self.std = [math.nan, *var.sqrt().tolist()]

    def mean(self, noisy: Tensor, t, z: Tensor | None = None) -> Tensor:
        """Mean of the step from t to t - 1: the expected signal under the mixture, put into the posterior."""
        t = torch.as_tensor(t)
        level, before, beta = (each.to(noisy.dtype)[..., None] for each in self._at(t))
        var = level * self.spread**2 + 1 - level
        off = noisy[:, None] - level.sqrt()[..., None] * self.means
        share = (-off.square().sum(2) / (2 * var)).softmax(1)[..., None]
        gain = (level.sqrt() * self.spread**2 / var)[..., None]
        signal = (share * (self.means + gain * off)).sum(1)
        return (before.sqrt() * beta * signal + (1 - beta).sqrt() * (1 - before) * noisy) / (1 - level)

    def _at(self, t: Tensor):
        return self.levels[t], self.levels[t - 1], self._beta[t]
