"""``domains``: tagged Markov sources of tokens, with known entropy and a shift that can be turned.

A domain is a Markov chain over words. The first is the base; every other one mixes the base's
transitions with its own: P = (1 - shift) P_base + shift P_own. Every sequence begins with the tag
of its domain, so one model can tell them apart. The least loss that any model can reach is known.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch

from labkit.data import build
from labkit.data.card import Card, compose
from labkit.data.source import Source

__all__ = ["SOURCE", "Domain", "domains", "load", "mixture"]

VERSION = 1  # raise it whenever the same seed gives other tokens


@dataclass(frozen=True, eq=False)
class Domain:
    """One source. Tokens 0 to ``tags - 1`` are tags, words follow.

    tag: the token that begins its sequences. tags: how many tags there are. transition: float64[W, W],
    row = the word before, rows sum to 1. Chains start from their stationary distribution.
    """

    tag: int
    tags: int
    transition: np.ndarray

    @property
    def vocabulary(self) -> int:
        """Number of tokens, tags included."""
        return self.tags + len(self.transition)

    @cached_property
    def stationary(self) -> np.ndarray:
        """How often each word occurs: float64[W], the solution of pi P = pi."""
        size = len(self.transition)
        system = np.vstack([self.transition.T - np.eye(size), np.ones(size)])
        pi = np.linalg.lstsq(system, np.append(np.zeros(size), 1.0), rcond=None)[0]
        return np.clip(pi, 0, None) / np.clip(pi, 0, None).sum()

    @property
    def entropy(self) -> float:
        """Entropy rate in nats per word: - sum_i pi_i sum_j P_ij log P_ij."""
        return self.cross_entropy(self)

    def cross_entropy(self, model: "Domain") -> float:
        """Nats per word of this domain's text under another domain's transitions; inf where one is 0."""
        if len(model.transition) != len(self.transition):
            raise ValueError(
                f"the domains have {len(self.transition)} and {len(model.transition)} words, not the same"
            )
        return float(-(self.stationary[:, None] * _plogq(self.transition, model.transition)).sum())

    def floor(self, length: int) -> float:
        """The least mean loss, nats per predicted token, on sequences of ``length`` tokens with the tag.

        The tag predicts the first word no better than its frequency; after that, the entropy rate.
        """
        build.check_count("length", length, low=2)
        first = float(-_plogq(self.stationary, self.stationary).sum())
        return (first + (length - 2) * self.entropy) / (length - 1)

    def sample(self, count: int, length: int, *, rng: np.random.Generator) -> torch.Tensor:
        """Draw sequences: int64[count, length], the tag first."""
        count = build.check_count("count", count)
        length = build.check_count("length", length, low=2)
        rows = np.cumsum(self.transition, axis=1)
        tokens = np.full((count, length), self.tag, np.int64)
        word = _pick(np.cumsum(self.stationary), rng.random(count))
        for t in range(1, length):
            tokens[:, t] = word + self.tags
            word = _pick(rows[word], rng.random(count))
        return torch.from_numpy(tokens)

    def nats(self, tokens: torch.Tensor) -> torch.Tensor:
        """Exact nats of each predicted token, float64[B, T - 1]; tokens: int64[B, T], tag first."""
        words = np.asarray(tokens) - self.tags
        if words.ndim != 2 or words.shape[1] < 2:
            raise ValueError(f"tokens must be [B, T] with T of 2 or more, got {tuple(words.shape)}")
        words = words[:, 1:]
        if (words < 0).any() or (words >= len(self.transition)).any():
            raise ValueError(
                f"after the tag there must be words, {self.tags} to {self.vocabulary - 1}, got "
                f"{int(words.min()) + self.tags} to {int(words.max()) + self.tags}"
            )
        with np.errstate(divide="ignore"):
            first = -np.log(self.stationary[words[:, :1]])
            rest = -np.log(self.transition[words[:, :-1], words[:, 1:]])
        return torch.from_numpy(np.concatenate([first, rest], axis=1))


def domains(
    seed: int,
    count: int = 2,
    *,
    shift: float | Sequence[float] = 0.5,
    words: int = 62,
    concentration: float = 0.1,
) -> list[Domain]:
    """Draw ``count`` domains; the first is the base.

    shift: in [0, 1], how far the others are from it, one number or one for each of them: 0 is the base
    itself under another tag, 1 shares nothing but the words. words: how many. concentration: of the
    Dirichlet distribution that the rows are drawn from; the smaller, the fewer words follow a word.
    The entropy of a mixture is higher than that of its parts: compare losses with ``floor``.

    >>> base, other = domains(0, shift=0.3)
    >>> base.entropy < base.cross_entropy(other)
    True
    """
    seed = build.check_seed(seed)
    count = build.check_count("count", count)
    words = build.check_count("words", words, low=2)
    concentration = build.real("concentration", concentration, 1e-3, 1e3)
    several = isinstance(shift, Sequence | np.ndarray)
    shifts = list(shift) if several else [shift] * (count - 1)
    if len(shifts) != count - 1:
        raise ValueError(
            f"shift needs one number for each of the {count - 1} other domains, got {len(shifts)}"
        )
    shifts = [build.real("shift", each, 0, 1) for each in shifts]
    base = _chain(words, concentration, build.stream(seed, "domains", "base"))
    out = [Domain(0, count, base)]
    for k, m in enumerate(shifts, start=1):
        own = _chain(words, concentration, build.stream(seed, "domains", f"own {k}"))
        out.append(Domain(k, count, (1 - m) * base + m * own))
    return out


def mixture(
    parts: Sequence[Domain], weights: Sequence[float], count: int, length: int, *, rng: np.random.Generator
) -> tuple[torch.Tensor, torch.Tensor]:
    """Sequences of several domains in random order.

    weights: relative frequency of each; counts are as near to it as whole numbers can be.
    Returns (tokens int64[count, length], which int64[count], the place of the domain in ``parts``).
    """
    count = build.check_count("count", count)
    weights = np.asarray(weights, float)
    if weights.shape != (len(parts),) or (weights < 0).any() or not 0 < weights.sum() < np.inf:
        raise ValueError(
            f"weights must be {len(parts)} numbers from 0 up, one per domain, got {weights.tolist()}"
        )
    counts = build.allocate(count, weights)
    tokens = [part.sample(int(n), length, rng=rng) for part, n in zip(parts, counts, strict=True) if n]
    which = torch.from_numpy(np.repeat(np.arange(len(parts)), counts))
    order = torch.from_numpy(rng.permutation(count))
    return torch.cat(tokens)[order], which[order]


def _chain(words: int, concentration: float, rng: np.random.Generator) -> np.ndarray:
    """A transition matrix; one part in 100 is uniform, so that every word can be reached."""
    rows = rng.standard_gamma(concentration, (words, words)) + 1e-12
    return 0.99 * rows / rows.sum(axis=1, keepdims=True) + 0.01 / words


def _plogq(p: np.ndarray, q: np.ndarray) -> np.ndarray:
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(p > 0, p * np.log(q), 0.0)


def _pick(cumulative: np.ndarray, u: np.ndarray) -> np.ndarray:
    """The word at u of each cumulative row; rounding never leads beyond the last."""
    return np.minimum((u[:, None] >= cumulative).sum(axis=1), cumulative.shape[-1] - 1)


def load(
    *,
    size: int | None = None,
    seed: int = 0,
    test_size: int = 500,
    count: int = 2,
    shift: float = 0.5,
    length: int = 32,
    words: int = 62,
    concentration: float = 0.1,
    weights: tuple[float, ...] | None = None,
    test_weights: tuple[float, ...] | None = None,
):
    """Sequences of tagged Markov sources. Returns a ``DatasetDict`` with train and test.

    size: number of training sequences (2,000). count, shift, words, concentration: see :func:`domains`.
    length: tokens per sequence, tag included. weights: frequency of each domain, None for equal;
    ``test_weights`` for the test split, None for equal.
    Columns: tokens; label, the domain.
    """
    from datasets import ClassLabel, DatasetDict, Features, List, Value

    parts = domains(seed, count, shift=shift, words=words, concentration=concentration)
    size = build.check_count("size", 2000 if size is None else size)
    features = Features({"tokens": List(Value("int32")), "label": ClassLabel(names=["base", *_names(count)])})
    identity = f"domains {VERSION} {seed} {count} {shift} {length} {words} {concentration}"
    out = {}
    for split, n, chosen in (("train", size, weights), ("test", test_size, test_weights)):
        chosen = [1.0] * count if chosen is None else chosen
        rng = build.stream(seed, "domains", split)
        tokens, which = mixture(parts, chosen, n, length, rng=rng)
        columns = {"tokens": tokens.tolist(), "label": which.numpy()}
        out[split] = build.dataset(columns, features, f"{identity} {n} {list(chosen)} {split}")
    return DatasetDict(out)


def _names(count: int) -> list[str]:
    return [f"domain {k}" for k in range(1, count)]


def fingerprint() -> str:
    """Procedural data are determined by the version of their generator."""
    return hashlib.sha256(f"domains {VERSION}".encode()).hexdigest()[:16]


def card() -> Card:
    return Card(
        name="domains",
        summary="Sequences of tokens from tagged Markov chains: a base and others that differ from it by a "
        "set amount. The least loss that a model can reach is known exactly.",
        origin="Drawn by `labkit.data.domains`; no outside source.",
        licence="MIT, as the code that draws them.",
        limits=(
            "Synthetic: only the word before matters. Nothing here is remembered over a distance.",
            "The tag says which domain a sequence is from; text on the web does not.",
        ),
        use="Fast questions of mixture, order and schedule: forgetting, replay, upsampling, warm restarts.",
        composition=compose(load(), 'data.load("domains")'),
    )


SOURCE = Source("domains", load, fingerprint, card)
