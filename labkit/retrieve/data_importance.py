r"""Data importance: how much each source of a retrieval corpus helps, and learning which ones to keep.

Source :math:`s` is present with probability :math:`w_s`. Of the documents that survive, a question uses the
best-ranked :math:`K`, and gets the mean of their utilities :math:`u_i`. The expectation over all sub-corpora,
the *multilinear extension* :math:`\tilde U(w)`, has :math:`2^M` terms, but its gradient is an exchange: what
document :math:`i` brings, less what the document brings that it pushes out of the first :math:`K`,

.. math:: \frac{\partial \tilde U}{\partial p_i} = \frac 1K \sum_{j=0}^{K-1} P_j(i)\,
    \bigl(u_i - D_{K-j}(i)\bigr).

:math:`P_j(i)` is the probability that j documents survive above rank i; :math:`D_k(i)` the expected utility
of the k-th survivor below it, 0 where there is none. Both have a recursion over the ranks, so all M
derivatives together cost O(M K). Ascending this gradient gives the weights.

Lyu, Grafberger, Biegel, Wei, Cao, Schelter, Zhang (2023). *Improving Retrieval-Augmented Large Language
Models via Data Importance Learning.* arXiv:2307.03027; code: amsterdata/ragbooster. There the sum over D is
kept apart for each distinct utility e, at O(M K^2 + M K E); summing e out first gives the same numbers,
without rounding utilities. The approximation is named in the abstract and made here in a way of our own.
Pruning, votes and the rivals: ``labkit.retrieve.data_pruning``.
"""

import math
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import product

import numpy as np
import torch

from labkit.data.build import check_count, real

__all__ = ["approximate_gradient", "brute_force_gradient", "chance_of_use", "expected_utility"]
__all__ += ["importance_gradient", "learn_importance", "multilinear_gradient", "pad"]

CHUNK = 1024  # questions at once: what is kept of them is some megabytes then


def multilinear_gradient(utilities, weights, *, k: int, epsilon: float = 0.0) -> np.ndarray:
    """The derivative of the expected utility by each document's probability of being present.

    utilities: float[..., M], of each document used alone, best rank first.
    weights: float[..., M], in [0, 1].  k: documents that are used, from 1 up; also where fewer survive, the
    sum is divided by k.  epsilon: 0 for the exact gradient. Else the list is cut where k or fewer survivors
    above have at most this probability; for utilities in [0, m] no derivative is then off by more than
    epsilon m / k.
    Returns float64[..., M].  Raises ValueError for k below 1, for weights or epsilon outside [0, 1], and for
    shapes that differ.

    >>> multilinear_gradient([1.0, 0.0, 1.0], [0.5, 0.5, 0.5], k=1)
    array([ 0.75, -0.25,  0.25])
    """
    utilities, weights, k = _checked(utilities, weights, k)
    epsilon = real("epsilon", epsilon, 0, 1)
    shape = weights.shape
    u, p = utilities.reshape(-1, shape[-1]).T, weights.reshape(-1, shape[-1]).T
    parts = [slice(at, at + CHUNK) for at in range(0, u.shape[1], CHUNK)]
    found = [
        _exchange(np.ascontiguousarray(u[:, c]), np.ascontiguousarray(p[:, c]), k, epsilon) for c in parts
    ]
    return np.concatenate(found, axis=1).T.reshape(shape) if found else np.zeros(shape)


def _exchange(utilities: np.ndarray, weights: np.ndarray, k: int, epsilon: float) -> np.ndarray:
    """The gradient of a chunk, ranks first: float64[M, n] of utilities and weights float64[M, n].

    By torch, whose ``lerp`` makes a step of the recursion, a + p (b - a), in one pass over memory.
    """
    u, p = torch.from_numpy(utilities), torch.from_numpy(weights)
    ranks, count = u.shape
    above = u.new_empty(ranks + 1, k + 2, count)  # above[i, 1 + j]: that j survive before rank i
    above[0], above[:, 0], above[0, 1] = 0.0, 0.0, 1.0
    for i in range(ranks):
        if i % 8 == 0 and above[i, 1:].sum(dim=0).max() <= epsilon:  # nobody below is used any more
            ranks = i
            break
        torch.lerp(above[i, 1:], above[i, :-1], p[i], out=above[i + 1, 1:])
    gradient = torch.zeros_like(u)
    below, spare = u.new_zeros(2, k + 1, count)  # below[k - j]: expected utility of the j-th survivor after i
    change = u.new_empty(k, count)
    for i in reversed(range(ranks)):
        torch.sub(u[i], below[:k], out=change).mul_(above[i, 1 : k + 1])
        torch.sum(change, dim=0, out=gradient[i])
        below[k] = u[i]  # the document itself is the first of those at i or after
        torch.lerp(below[:k], below[1:], p[i], out=spare[:k])
        below, spare = spare, below
    return gradient.div_(k).numpy()


def expected_utility(utilities, weights, *, k: int) -> np.ndarray:
    """The multilinear extension itself: the mean utility over all random sub-corpora, float64[...].

    Arguments and errors as :func:`multilinear_gradient`.

    >>> expected_utility([1.0, 0.0, 1.0], [0.5, 0.5, 0.5], k=1).item()
    0.625
    """
    utilities, weights, k = _checked(utilities, weights, k)
    return (chance_of_use(weights, k=k) * utilities).sum(axis=-1) / k


def chance_of_use(weights, *, k: int) -> np.ndarray:
    """The probability of each document to survive and be among the first k that do: float64[..., M].

    weights: float[..., M], in [0, 1], best rank first.  It is a document's expected vote.

    >>> chance_of_use([0.5, 0.5, 1.0], k=1)
    array([0.5 , 0.25, 0.25])
    """
    weights = np.asarray(weights, dtype=np.float64)
    _, weights, k = _checked(weights, weights, k)
    above = np.zeros((*weights.shape[:-1], k))
    above[..., 0] = 1.0
    found = np.empty(weights.shape)
    for i in range(weights.shape[-1]):
        p = weights[..., i]
        found[..., i] = p * above.sum(axis=-1)
        above[..., 1:] += p[..., None] * (above[..., :-1] - above[..., 1:])
        above[..., 0] *= 1 - p
    return found


def brute_force_gradient(utilities, weights, *, k: int) -> np.ndarray:
    """The same gradient from its definition, all sub-corpora one by one: float64[M], for M up to 15.

    Arguments and errors as :func:`multilinear_gradient`, for one question; ValueError for M above 15.

    >>> brute_force_gradient([1.0, 0.0, 1.0], [0.5, 0.5, 0.5], k=1)
    array([ 0.75, -0.25,  0.25])
    """
    utilities, weights, k = _checked(utilities, weights, k)
    if weights.ndim != 1 or len(weights) > 15:
        raise ValueError(f"utilities must be of one question with 15 documents at most, got {weights.shape}")

    def utility(present):
        return sum(utilities[np.flatnonzero(present)][:k]) / k

    gradient = np.zeros(len(weights))
    for i in range(len(weights)):
        for present in product((False, True), repeat=len(weights)):
            if not present[i]:
                chances = np.where(present, weights, 1 - weights)
                chances[i] = 1.0
                added = [*present[:i], True, *present[i + 1 :]]
                gradient[i] += chances.prod() * (utility(added) - utility(present))
    return gradient


def importance_gradient(
    sources, utilities, weights, *, k: int, epsilon: float = 0.0, threads: int = 1
) -> np.ndarray:
    """The gradient by the sources' weights, averaged over the questions: float64[S].

    sources: int[N, M], the source of each document that N questions retrieve, best rank first; -1 where a
    list is shorter.  utilities: float[N, M].  weights: float64[S], in [0, 1].  k, epsilon: as
    :func:`multilinear_gradient`.  threads: from 1 up; the sum is the same for any number.
    Documents of one source in one list survive independently, as in the published code.
    Raises ValueError for arrays that differ in shape, sources outside [-1, S), and as above.
    """
    sources, utilities, weights, k = _corpus(sources, utilities, weights, k)
    epsilon, threads = real("epsilon", epsilon, 0, 1), check_count("threads", threads)
    size, known = len(weights), np.append(weights, 0.0)  # number -1, which is no document, has weight 0

    def part(at):
        ids = np.ascontiguousarray(sources[at : at + CHUNK].T).astype(np.intp, casting="same_kind")
        u = np.ascontiguousarray(utilities[at : at + CHUNK].T, dtype=np.float64)
        gradient = _exchange(u, known[ids], k, epsilon)
        return np.bincount(ids.ravel() + 1, weights=gradient.ravel(), minlength=size + 1)[1:]

    total, places = np.zeros(size), range(0, len(sources), CHUNK)
    if threads == 1:
        for found in map(part, places):
            total += found
    else:
        with ThreadPoolExecutor(threads) as pool:
            for found in pool.map(part, places):
                total += found
    return total / len(sources)


def approximate_gradient(
    sources, utilities, weights, *, k: int, epsilon: float, delta: float, generator: np.random.Generator
) -> np.ndarray:
    r"""The gradient by the sources' weights, no entry off by more than epsilon m / k but for a chance delta.

    m is the largest utility; none may be negative. Half of epsilon goes to cutting the lists, the other half
    to a sample of :math:`8 \ln(2 S / \delta) / \epsilon^2` questions (Hoeffding's inequality over S sources);
    where there are no more than that, all are used. Each source may stand in a list once: its derivative is
    then in [-m / k, m / k] for each question. Arguments and result as :func:`importance_gradient`.
    Raises ValueError for epsilon or delta outside (0, 1] and (0, 1), and for negative utilities.
    """
    sources, utilities, weights, k = _corpus(sources, utilities, weights, k)
    if not 0 < epsilon <= 1 or not 0 < delta < 1:
        raise ValueError(f"epsilon must lie in (0, 1] and delta in (0, 1), got {epsilon!r} and {delta!r}")
    wanted = math.ceil(8 * math.log(2 * max(1, len(weights)) / delta) / epsilon**2)
    if wanted < len(sources):
        chosen = generator.choice(len(sources), wanted, replace=False)
        sources, utilities = sources[chosen], utilities[chosen]
    if utilities.min(initial=0) < 0:
        raise ValueError(f"utilities must not be negative, got {utilities.min()}")
    return importance_gradient(sources, utilities, weights, k=k, epsilon=epsilon / 2)


def learn_importance(
    sources,
    utilities,
    *,
    n_sources: int,
    k: int,
    lr: float = 10.0,
    epochs: int = 100,
    groups=None,
    epsilon: float = 0.0,
    threads: int = 1,
    start: float = 0.5,
) -> np.ndarray:
    """Ascend the gradient: the weight of each source after ``epochs`` steps, float64[S] in [0, 1].

    sources, utilities, k, epsilon, threads: as :func:`importance_gradient`.  n_sources: S; a source that no
    question retrieves stays at ``start``.  lr: above 0; the step is large because the gradient is an average
    over questions and divided by k.  groups: int[S], or None; sources of one group share their mean weight
    after each step, as web pages of one domain do.
    Raises ValueError as :func:`importance_gradient`, and for lr, epochs or groups outside their ranges.

    >>> learn_importance([[0, 1], [1, 2]], [[1.0, 0.0], [0.0, 1.0]], n_sources=3, k=1)
    array([1., 0., 1.])
    """
    check_count("n_sources", n_sources)
    check_count("epochs", epochs, low=0)
    if not lr > 0:
        raise ValueError(f"lr must be above 0, got {lr!r}")
    weights = np.full(n_sources, real("start", start, 0, 1))
    if groups is not None:
        groups = np.asarray(groups)
        if groups.shape != (n_sources,) or groups.min() < 0:
            raise ValueError(f"groups must be {n_sources} numbers from 0 up, got {groups.shape}")
        sizes = np.bincount(groups)
    sources, utilities, weights, k = _corpus(sources, utilities, weights, k)
    for _ in range(epochs):
        gradient = importance_gradient(sources, utilities, weights, k=k, epsilon=epsilon, threads=threads)
        weights = np.clip(weights + lr * gradient, 0.0, 1.0)
        if groups is not None:
            # A mean of numbers in [0, 1] may be rounded to just above 1.
            means = np.bincount(groups, weights=weights) / np.maximum(sizes, 1)
            weights = means[groups].clip(0.0, 1.0)
    return weights


def pad(rows: Sequence[Sequence], fill=-1) -> np.ndarray:
    """Lists of different lengths as one array, filled up at their ends.

    >>> pad([[3, 1], [2]])
    array([[ 3,  1],
           [ 2, -1]])
    """
    longest = max((len(row) for row in rows), default=0)
    kept = [[*row, *[fill] * (longest - len(row))] for row in rows]
    return np.array(kept).reshape(len(rows), longest)


def _checked(utilities, weights, k) -> tuple[np.ndarray, np.ndarray, int]:
    utilities, weights = np.asarray(utilities, np.float64), np.asarray(weights, np.float64)
    if utilities.shape != weights.shape or utilities.ndim == 0:
        raise ValueError(
            f"utilities and weights must be of one shape [..., M], got {utilities.shape} and {weights.shape}"
        )
    return utilities, _probabilities(weights), check_count("k", k)


def _corpus(sources, utilities, weights, k) -> tuple[np.ndarray, np.ndarray, np.ndarray, int]:
    sources, utilities = np.asarray(sources), np.asarray(utilities)
    weights = np.asarray(weights, np.float64)
    if sources.ndim != 2 or sources.shape != utilities.shape or not len(sources):
        raise ValueError(
            f"sources and utilities must be of one shape [N, M], N from 1 up, got {sources.shape} and "
            f"{utilities.shape}"
        )
    if weights.ndim != 1:
        raise ValueError(f"weights must be one for each source, of shape [S], got {weights.shape}")
    if sources.min(initial=0) < -1 or sources.max(initial=-1) >= len(weights):
        raise ValueError(f"sources must lie in [-1, {len(weights)}), got {sources.min()} to {sources.max()}")
    return sources, utilities, _probabilities(weights), check_count("k", k)


def _probabilities(weights: np.ndarray) -> np.ndarray:
    if not ((weights >= 0) & (weights <= 1)).all():  # also false for NaN
        raise ValueError(f"weights must lie in [0, 1], got {weights.min()} to {weights.max()}")
    return weights
