r"""Continuous speculative decoding: a small model drafts tokens that are vectors, the large one checks them.

Both draw a token :math:`x_0` in :math:`T` Gaussian steps from noise (a diffusion head). The density of
:math:`x_0` is an integral that nobody can compute; that of the whole trajectory is a product. So a drafted
trajectory is accepted with probability

.. math:: \min\Bigl(1, \frac{p}{q}\Bigr),\qquad
          p = \prod_{t=1}^{T} \mathcal N(x_{t-1};\, \mu_p(x_t),\, \sigma_t^2),\qquad
          q = \prod_{t=1}^{T} \mathcal N(x_{t-1};\, \mu_q(x_t),\, \sigma_t^2)

where :math:`p` is the large model, the target, and :math:`q` the draft. After the first rejection, the token
is drawn anew from :math:`p' \propto \max(0, p - q)`: trajectories of the target, each kept with probability
:math:`\max(0, 1 - q/p)`. Then the trajectory, and so the token, has the target's distribution exactly.
Wang, Zhang, Ding, Yang, Li, Xiang (2024). *Continuous Speculative Decoding for Autoregressive Image
Generation.* arXiv:2411.11925. The rule of the released code compares the last step alone, with the target's
own trajectory from the same noise, and flattens both densities: criterion "released". Here the models are
causal, so nothing is kept behind a rejection.
"""

import math
from typing import NamedTuple

import torch
from torch import Tensor

from labkit.data.build import check_count, real
from labkit.distill.gaussian_chains import (
    GaussianChain,
    Residual,
    Trajectory,
    sample_residual,
    sample_trajectory,
    speculative_accept,
    trajectory_log_prob,
)

__all__ = ["CRITERIA", "ContinuousSpeculativeDecoder", "Decoded", "GaussianChain", "Residual", "Stats"]
__all__ += ["Trajectory", "decode", "expected_tokens", "modelled_speedup", "sample_residual"]
__all__ += ["sample_trajectory", "speculative_accept", "trajectory_log_prob"]

CRITERIA = ("trajectory", "last step", "released")


class Stats(NamedTuple):
    """What decoding took.

    rounds: passes of the target's transformer.  target_draws, draft_draws: trajectories drawn.
    judged, accepted: int64[L], drafted tokens that were judged and accepted, by place.
    exhausted: tokens for which no draw was kept after max_tries.  tokens: in all, pre-filled ones too.
    """

    rounds: int
    target_draws: int
    draft_draws: int
    judged: Tensor
    accepted: Tensor
    exhausted: int
    tokens: int

    @property
    def acceptance(self) -> float:
        """Share of the judged tokens that were accepted; NaN where none was judged."""
        judged = int(self.judged.sum())
        return int(self.accepted.sum()) / judged if judged else math.nan


class Decoded(NamedTuple):
    """tokens: float[N, L, d].  stats: how they came about."""

    tokens: Tensor
    stats: Stats


def expected_tokens(acceptance: float, gamma: int) -> float:
    """Tokens per round: drafted ones up to the first rejection, and one of the target.

    >>> expected_tokens(0.5, 2), expected_tokens(1.0, 4)
    (1.75, 5.0)
    """
    real("acceptance", acceptance, 0, 1)
    check_count("gamma", gamma, low=0)
    return float(sum(acceptance**k for k in range(gamma + 1)))


def modelled_speedup(acceptance: float, gamma: int, cost: float) -> float:
    """The textbook's speed-up, where a drafted token costs ``cost`` of a target's and checking costs one.

    >>> modelled_speedup(1.0, 4, 0.25)
    2.5
    """
    real("cost", cost, 0, math.inf)
    return expected_tokens(acceptance, gamma) / (1 + cost * gamma)


@torch.inference_mode()
def decode(model, count: int, *, generator=None) -> Tensor:
    """Plain decoding with a memory, token after token: float[N, L, d].  model: as for the decoder below."""
    check_count("count", count)
    memory = model.memory(count, model.length)
    tokens = model.read.weight.new_zeros(count, model.length, model.size)
    for place in range(model.length):
        _plain_step(model, tokens, place, memory, generator)
    return tokens


def _plain_step(model, tokens, place: int, memory, generator) -> None:
    places = torch.full((len(tokens), 1), place, device=tokens.device)
    z = model.context(tokens[:, max(place - 1, 0), None], places, memory)[:, 0]
    tokens[:, place] = sample_trajectory(model, z, generator=generator).states[:, 0]


class ContinuousSpeculativeDecoder:
    """Decode with a draft, check with a target.

    target, draft: as in ``labkit.distill.continuous_tokens``; same size of a token, length and steps.
    gamma: tokens drafted before each check.  prefill: share of the tokens, from the first on, that the target
    draws alone.
    criterion: "trajectory" is exact. "last step" compares the last step of the draft's chain with that of the
    target's own; "released" does it as the released code, with the variance in the place of the deviation.
    temperature: of these two, multiplies both deviations in the comparison; None: 42 for "released", else 1.
    aligned: whether the target's own chain gets the draft's noise.
    replace: "residual", or "target" for a plain draw of the target after a rejection, which is not exact.
    max_tries, at_once: see :func:`sample_residual`.
    Raises ValueError for models that do not fit, a spread that is not positive, or a setting out of range.
    """

    def __init__(
        self,
        target,
        draft,
        *,
        gamma: int = 4,
        prefill: float = 0.15,
        criterion: str = "trajectory",
        temperature: float | None = None,
        aligned: bool = True,
        replace: str = "residual",
        max_tries: int = 100,
        at_once: int = 4,
    ):
        for name in ("size", "steps", "length"):
            a, b = getattr(target, name), getattr(draft, name)
            if a != b:
                raise ValueError(f"target and draft must have one {name}, got {a} and {b}")
        for name, model in (("target", target), ("draft", draft)):
            if min(model.std[t] for t in range(1, model.steps + 1)) <= 0:
                raise ValueError(f"{name} must have positive standard deviations at each step")
        if criterion not in CRITERIA:
            raise ValueError(f"criterion must be one of {', '.join(CRITERIA)}, got {criterion!r}")
        if replace not in ("residual", "target"):
            raise ValueError(f"replace must be 'residual' or 'target', got {replace!r}")
        if not 0 <= prefill < 1:
            raise ValueError(f"prefill must lie in [0, 1), got {prefill}")
        if temperature is None:
            temperature = 42.0 if criterion == "released" else 1.0
        if criterion == "trajectory" and temperature != 1:
            raise ValueError(f"temperature must be 1 for the exact criterion, got {temperature}")
        self.target, self.draft, self.criterion, self.replace = target, draft, criterion, replace
        self.temperature, self.aligned = real("temperature", temperature, 1e-3, 1e6), aligned
        self.gamma, self.prefill = check_count("gamma", gamma), round(prefill * target.length)
        self.max_tries, self.at_once = check_count("max_tries", max_tries), check_count("at_once", at_once)

    @torch.inference_mode()
    def generate(self, count: int, *, generator=None) -> Decoded:
        """Draw ``count`` sequences; each moves on by its own accepted tokens."""
        check_count("count", count)
        run = _Run(self, count, generator)
        for place in range(self.prefill):
            _plain_step(self.target, run.tokens, place, run.target_memory, generator)
        while int(run.place.min()) < run.length:
            run.round()
        return Decoded(run.tokens[:, : run.length].clone(), run.stats())


class _Run:
    """The state of one call: ``place[n]`` tokens of sequence n stand, what is behind them is scratch."""

    def __init__(self, settings: ContinuousSpeculativeDecoder, count: int, generator):
        self.settings, self.generator = settings, generator
        self.target, self.draft = settings.target, settings.draft
        self.length, slots = self.target.length, self.target.length + settings.gamma + 1
        weight = self.target.read.weight
        self.tokens = weight.new_zeros(count, slots, self.target.size)
        self.target_memory = self.target.memory(count, slots)
        self.draft_memory = self.draft.memory(count, slots)
        self.place = torch.full((count,), settings.prefill, device=weight.device)
        self.rows = torch.arange(count, device=weight.device)
        self.behind = settings.prefill  # how many of the standing tokens the draft may not have read
        self.rounds = self.exhausted = 0
        self.target_draws = settings.prefill * count
        self.judgements = []  # (accepted, place, counts) of all drafted tokens, looked at when all is done

    def _places(self, first: int, count: int) -> Tensor:
        return self.place[:, None] + torch.arange(first, first + count, device=self.place.device)

    def _before(self, places: Tensor) -> Tensor:
        return self.tokens[self.rows[:, None], (places - 1).clamp(min=0)]

    def round(self) -> None:
        """Draft, check all in one pass, draw one more token."""
        live = self.place < self.length
        drafts = min(self.settings.gamma, self.length - int(self.place.min()) - 1)
        drawn, z_draft = self._propose(drafts)
        places = self._places(0, drafts + 1)
        z_target = self.target.context(self._before(places), places, self.target_memory)
        if drafts:
            ok, own = self._judge(drawn, z_target[:, :drafts], z_draft)
        else:
            ok, own = torch.zeros(len(self.rows), 0, dtype=torch.bool, device=self.place.device), None
        counted = ok.long().cumprod(1).sum(1)
        self.judgements.append((ok, places[:, :drafts], live))
        self.tokens[self.rows, self.place + counted] = self._next(
            counted, drafts, live, z_target, z_draft, own
        )
        self.behind = 1 if bool((counted == drafts).any()) else 0
        self.place = (self.place + counted + 1).clamp(max=self.length)
        self.rounds += 1

    def _propose(self, drafts: int):
        """Draft tokens one after the other, and write them behind those that stand."""
        drawn, conditions, behind = [], [], self.behind
        for k in range(drafts):
            places = self._places(k - behind, 1 + behind)
            z = self.draft.context(self._before(places), places, self.draft_memory)[:, -1]
            drawn.append(sample_trajectory(self.draft, z, generator=self.generator))
            self.tokens[self.rows, self.place + k] = drawn[-1].states[:, 0]
            conditions.append(z)
            behind = 0
        if not drafts:
            return None, None
        stacked = Trajectory(*(torch.stack(parts, 1) for parts in zip(*drawn, strict=True)))
        return stacked, torch.stack(conditions, 1)

    def _judge(self, drawn: Trajectory, z_target: Tensor, z_draft: Tensor):
        """Which drafted tokens are accepted, bool[N, K]; the target's own chains where they are needed."""
        target, set_, shape = self.target, self.settings, drawn.log_prob.shape
        flat = Trajectory(*(part.flatten(0, 1) for part in drawn))
        if set_.criterion == "trajectory":
            ratio = trajectory_log_prob(target, flat.states, z_target.flatten(0, 1)) - flat.log_prob
            return speculative_accept(ratio.view(shape), generator=self.generator), None
        noise = flat.noise if set_.aligned else None
        own = sample_trajectory(target, z_target.flatten(0, 1), noise=noise, generator=self.generator)
        power = 2 if set_.criterion == "released" else 1
        p, q = (
            -0.5 * ((flat.states[:, 0] - mean) / (std**power * set_.temperature)).square().sum(1)
            for mean, std in ((own.mean, target.std[1]), (flat.mean, self.draft.std[1]))
        )
        self.target_draws += int((self.place < self.length).sum()) * shape[1]
        return speculative_accept((p - q).view(shape), generator=self.generator), (own.mean, flat.mean)

    def _next(self, counted, drafts: int, live, z_target, z_draft, own) -> Tensor:
        """The token after the accepted ones: in place of a rejected one, or one more."""
        set_, z = self.settings, z_target[self.rows, counted]
        live = live & (self.place + counted < self.length)
        fresh = self.tokens.new_zeros(len(z), self.target.size)
        residual = live & (counted < drafts) & (set_.replace == "residual")
        plain = live & ~residual
        if bool(plain.any()):
            fresh[plain] = sample_trajectory(self.target, z[plain], generator=self.generator).states[:, 0]
            self.target_draws += int(plain.sum())
        if bool(residual.any()):
            at = self.rows[residual], counted[residual]
            if own is None:
                left = sample_residual(
                    self.target, self.draft, z[residual], z_draft[at],
                    max_tries=set_.max_tries, at_once=set_.at_once, generator=self.generator,
                )  # fmt: skip
                fresh[residual], self.target_draws = left.states[:, 0], self.target_draws + left.draws
                self.exhausted += int(left.exhausted.sum())
            else:
                flat = at[0] * drafts + at[1]
                fresh[residual] = self._last_step_residual(own[0][flat], own[1][flat])
        return fresh

    def _last_step_residual(self, p_mean: Tensor, q_mean: Tensor) -> Tensor:
        """The same for two normal densities, those of the last step; costs no step of a model."""
        shape = (len(p_mean), self.settings.max_tries, p_mean.shape[1])
        noise = torch.randn(shape, generator=self.generator, device=p_mean.device)
        drawn = p_mean[:, None] + self.target.std[1] * noise
        q = -0.5 * ((drawn - q_mean[:, None]) / self.draft.std[1]).square().sum(2)
        u = torch.rand(shape[:2], generator=self.generator, device=p_mean.device)
        kept = u < 1 - (q + 0.5 * noise.square().sum(2)).exp()
        found = kept.any(1)
        self.exhausted += int((~found).sum())
        first = torch.where(found, kept.to(torch.uint8).argmax(1), shape[1] - 1)
        return drawn[torch.arange(len(drawn), device=drawn.device), first]

    def stats(self) -> Stats:
        judged, accepted = torch.zeros(2, self.tokens.shape[1], dtype=torch.long, device=self.place.device)
        drawn = 0
        for ok, places, live in self.judgements:
            # A token is judged where all before it in the round were accepted.
            before = torch.cat([torch.ones_like(ok[:, :1]), ok.cumprod(1).bool()], 1)[:, : ok.shape[1]]
            counts = before & (places < self.length) & live[:, None]
            judged += torch.bincount(places[counts], minlength=len(judged))
            accepted += torch.bincount(places[counts & ok], minlength=len(judged))
            drawn += int(live.sum()) * ok.shape[1]
        parts = judged[: self.length], accepted[: self.length], self.exhausted
        return Stats(self.rounds, self.target_draws, drawn, *parts, len(self.rows) * self.length)
