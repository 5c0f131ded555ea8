"""Use what was learned about sources: prune them at a tuned threshold, or weigh their votes; and the rivals.

The answer to a question is the majority of the answers that its first k surviving documents give, each read
by itself. Weights come from ``labkit.retrieve.data_importance`` or from a rival: the plain :func:`hit_rate`
of a source, or what :func:`leave_one_out` finds. After Lyu and others (2023), arXiv:2307.03027, and the code
amsterdata/ragbooster (``tuning.py``): thresholds at percentiles of the weights, the best on validation
questions is kept, of equally good ones the largest; sources that no validation question retrieved are kept.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from labkit.data.build import check_count

__all__ = ["Threshold", "hit_rate", "kept_sources", "leave_one_out", "prune_threshold", "vote"]


class Threshold(NamedTuple):
    """The threshold that did best, its percentile, and the accuracy at each percentile, in [0, 1]."""

    threshold: float
    percentile: float
    accuracies: list[float]


def vote(answers, *, k: int, keep=None, votes=None) -> np.ndarray:
    """The majority answer of the first k documents that are kept: int64[N], -1 where there is none.

    answers: int[N, M], the number of each document's answer, best rank first; -1 for no document.
    keep: bool[N, M], None for all.  votes: float[N, M], what each document's vote counts, None for one each;
    with votes no document is cut off, k or not (:func:`~labkit.retrieve.data_importance.chance_of_use`
    has the cut in it).  Of equally many votes the answer that comes first wins, as in the published code.
    Raises ValueError for k below 1 and shapes that differ.

    >>> vote([[7, 8, 8, 7, 7]], k=3), vote([[7, 8, 8, 7, 7]], k=3, keep=[[True, False, True, True, True]])
    (array([8]), array([7]))
    """
    answers, k = np.asarray(answers, np.int64), check_count("k", k)
    if answers.ndim != 2:
        raise ValueError(f"answers must be of shape [N, M], got {answers.shape}")
    for name, value in {"keep": keep, "votes": votes}.items():
        if value is not None and np.shape(value) != answers.shape:
            raise ValueError(f"{name} must have the shape of answers, {answers.shape}, got {np.shape(value)}")
    used = answers >= 0
    if keep is not None:
        used &= np.asarray(keep, bool)
    first = used & (used.cumsum(axis=1) <= k)
    votes = first if votes is None else np.where(used, votes, 0.0)
    same = answers[:, :, None] == answers[:, None, :]
    # A sum of the same votes in another order may differ in its last digits: those are ties too.
    scores = np.einsum("nij,nj->ni", same, votes.astype(np.float64)).round(12)
    scores = np.where(votes > 0, scores, 0.0)
    best = scores.argmax(axis=1)  # the first of equal ones
    rows = np.arange(len(answers))
    return np.where(scores[rows, best] > 0, answers[rows, best], -1)


def kept_sources(weights, threshold: float, sources=None) -> np.ndarray:
    """Which sources are kept: bool[S]. Those with at least that weight, and those that ``sources`` lacks.

    weights: float[S].  sources: int[N, M], of the validation questions; None where all were seen.

    >>> kept_sources([0.2, 0.9, 0.1], 0.5, [[0, 1]])
    array([False,  True,  True])
    """
    weights = np.asarray(weights, np.float64)
    kept = weights >= threshold
    if sources is not None:
        kept |= ~_seen(sources, len(weights))
    return kept


def prune_threshold(
    sources, answers, correct, weights, *, k: int, percentiles: Sequence[float] = range(0, 100, 5)
) -> Threshold:
    """The percentile of the weights below which to drop sources, by the accuracy on validation questions.

    sources, answers: int[N, M], best rank first, -1 for no document.  correct: int[N], the right answers.
    weights: float[S].  k: documents that vote.  percentiles: of the weights of the sources seen, in [0, 100].
    Report accuracies on other questions than these: they chose weights and threshold.
    Raises ValueError for shapes that differ, sources outside [-1, S), k below 1 and no percentiles.

    >>> sources, answers = [[0, 1, 2], [0, 2, 1]], [[5, 3, 3], [4, 6, 6]]
    >>> prune_threshold(sources, answers, [3, 6], [0.1, 0.9, 0.9], k=1, percentiles=(0, 50)).percentile
    50
    """
    sources, answers, correct, weights = _arrays(sources, answers, correct, weights)
    if len(percentiles) == 0:
        raise ValueError("percentiles must not be empty")
    at, best, accuracies = 0.0, percentiles[0], []
    among = weights[_seen(sources, len(weights))]
    for percentile in percentiles:
        threshold = float(np.percentile(among, percentile))
        kept = kept_sources(weights, threshold, sources)
        accuracies.append(float((vote(answers, k=k, keep=kept[sources]) == correct).mean()))
        if accuracies[-1] >= max(accuracies):
            at, best = threshold, percentile
    return Threshold(at, best, accuracies)


def hit_rate(sources, utilities, *, n_sources: int, default: float = 0.5) -> np.ndarray:
    """The mean utility of each source's documents: float64[S]; ``default`` for a source without any.

    sources: int[N, M], -1 for no document.  utilities: float[N, M].

    >>> hit_rate([[0, 1], [1, -1]], [[1.0, 0.0], [1.0, 0.0]], n_sources=3)
    array([1. , 0.5, 0.5])
    """
    sources, utilities = np.asarray(sources), np.asarray(utilities, np.float64)
    if sources.shape != utilities.shape:
        raise ValueError(
            f"sources and utilities must be of one shape, got {sources.shape}, {utilities.shape}"
        )
    _check_ids(sources, n_sources)
    counts, sums = _count(sources, n_sources), _count(sources, n_sources, utilities)
    return np.where(counts > 0, sums / np.maximum(counts, 1), default)


def leave_one_out(sources, answers, correct, *, n_sources: int, k: int) -> np.ndarray:
    """The validation accuracy of the vote, less the one without a source's documents: float64[S].

    Arguments as :func:`prune_threshold`.

    >>> leave_one_out([[0, 1]], [[5, 3]], [3], n_sources=2, k=1)
    array([-1.,  0.])
    """
    sources, answers, correct, _ = _arrays(sources, answers, correct, np.zeros(n_sources))
    right = (vote(answers, k=k) == correct).mean()
    without = [(vote(answers, k=k, keep=sources != s) == correct).mean() for s in range(n_sources)]
    return right - np.array(without)


def _seen(sources, n_sources: int) -> np.ndarray:
    sources = np.asarray(sources)
    _check_ids(sources, n_sources)
    return _count(sources, n_sources) > 0


def _count(sources: np.ndarray, n_sources: int, each: np.ndarray | None = None) -> np.ndarray:
    """How many documents each source has, or the sum of a number that each has."""
    shifted = sources.ravel().astype(np.intp, casting="same_kind") + 1
    return np.bincount(shifted, None if each is None else each.ravel(), minlength=n_sources + 1)[1:]


def _check_ids(sources: np.ndarray, n_sources: int) -> None:
    if sources.min(initial=0) < -1 or sources.max(initial=-1) >= n_sources:
        raise ValueError(f"sources must lie in [-1, {n_sources}), got {sources.min()} to {sources.max()}")


def _arrays(sources, answers, correct, weights):
    sources, answers, correct = (np.asarray(each) for each in (sources, answers, correct))
    weights = np.asarray(weights, np.float64)
    if sources.ndim != 2 or sources.shape != answers.shape or correct.shape != sources.shape[:1]:
        raise ValueError(
            f"sources and answers must be of one shape [N, M] and correct of [N], got {sources.shape}, "
            f"{answers.shape} and {correct.shape}"
        )
    if not len(sources) or weights.ndim != 1:
        raise ValueError(f"N must be 1 or more and weights of shape [S], got {len(sources)}, {weights.shape}")
    _check_ids(sources, len(weights))
    return sources, answers, correct, weights
