"""How well a ranking does: recall, reciprocal rank, and discounted gain, of each query."""

from collections.abc import Collection, Sequence

import numpy as np

from labkit.data.build import check_count

__all__ = ["ndcg_at", "recall_at", "reciprocal_rank"]


def recall_at(k: int, ids, relevant: Sequence[Collection[int]]) -> np.ndarray:
    """The share of the relevant passages that are among the first k: float64[Q], in [0, 1].

    k: from 1 up.  ids: int[Q, at least k], as an index gives them, best first.  relevant: for each query,
    one or more passages.
    Raises ValueError for k outside its range or a query without a relevant passage.

    >>> recall_at(2, [[3, 1, 0], [2, 0, 1]], [{1, 0}, {2}])
    array([0.5, 1. ])
    """
    found = _found(k, ids, relevant)
    return found.sum(axis=1) / [len(set(each)) for each in relevant]


def reciprocal_rank(ids, relevant: Sequence[Collection[int]]) -> np.ndarray:
    """One over the place of the first relevant passage, 0 where there is none: float64[Q].

    ids, relevant: as in :func:`recall_at`. Its mean is the mean reciprocal rank (MRR).

    >>> reciprocal_rank([[3, 1, 0], [2, 0, 1]], [{1, 0}, {5}])
    array([0.5, 0. ])
    """
    found = _found(None, ids, relevant)
    return np.where(found.any(axis=1), 1 / (1 + found.argmax(axis=1)), 0.0)


def ndcg_at(k: int, ids, relevant: Sequence[Collection[int]]) -> np.ndarray:
    """Normalized discounted cumulative gain at k (Järvelin and Kekäläinen, 2002): float64[Q], in [0, 1].

    A relevant passage at place r brings 1 / log2(1 + r); divided by what the best order would bring.
    k, ids, relevant: as in :func:`recall_at`.

    >>> ndcg_at(2, [[3, 1], [2, 0]], [{1}, {2}]).round(3)
    array([0.631, 1.   ])
    """
    found = _found(k, ids, relevant)
    discount = 1 / np.log2(2 + np.arange(k))
    best = [discount[: len(set(each))].sum() for each in relevant]
    return (found * discount).sum(axis=1) / best


def _found(k: int | None, ids, relevant) -> np.ndarray:
    """bool[Q, k]: which of the first k places hold a relevant passage that was not there before."""
    ids = np.asarray(ids)
    if ids.ndim != 2:
        raise ValueError(f"ids must be of shape [queries, places], got {ids.shape}")
    if len(ids) != len(relevant):
        raise ValueError(f"relevant must be as many collections as queries, {len(ids)}, got {len(relevant)}")
    if not all(relevant):
        raise ValueError("relevant must name one or more passages for each query")
    if k is not None:
        check_count("k", k, high=ids.shape[1])
    rows = []
    for row, wanted in zip(ids[:, :k].tolist(), relevant, strict=True):
        rows.append([number in wanted and number not in row[:place] for place, number in enumerate(row)])
    return np.array(rows, dtype=bool).reshape(len(ids), -1)
