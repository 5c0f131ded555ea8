"""A recommender of which only its lists are seen, each of them counted, and how far two lists agree."""

from collections.abc import Callable

import torch
from torch import Tensor

from labkit.data import build
from labkit.distill.click_histories import PAD

__all__ = ["BlackBoxRecommender", "BudgetExceeded", "agreement_at_k"]

_ROWS = 256  # histories that the black box scores at once: with many items their scores fill the memory


class BudgetExceeded(RuntimeError):
    """A call would need more queries than are left; nothing was answered."""


class BlackBoxRecommender:
    """A recommender of which only ranked lists are seen, and every list is counted.

    score: int64[B, T] -> float[B, T, N], the scores after each click; a causal model such as those of
    :mod:`labkit.distill.sequential_recommenders`.  k: length of a list.  budget: lists in all, None for any
    number.  ``queries``: lists given so far.

    >>> box = BlackBoxRecommender(lambda rows: torch.eye(5)[rows], k=1, budget=2)
    >>> box.query(torch.tensor([[4, 3]])).tolist(), box.queries
    ([[3]], 1)
    """

    def __init__(self, score: Callable[[Tensor], Tensor], *, k: int = 10, budget: int | None = None):
        self._score = score
        self.k = build.check_count("k", k)
        self.budget = None if budget is None else build.check_count("budget", budget)
        self.queries = 0

    def query(self, sequences: Tensor) -> Tensor:
        """The list after each history: int64[B, k], best first, from int64[B, T]; one query a history.

        Raises ValueError for a history without a click, BudgetExceeded where too few queries are left.
        """
        last = (sequences != PAD).sum(dim=1) - 1
        if len(last) == 0 or last.min() < 0:
            raise ValueError("sequences must be histories of one click or more")
        self._count(len(sequences))
        at = torch.arange(len(last), device=last.device)
        with torch.no_grad():
            parts = zip(sequences.split(_ROWS), at.split(_ROWS), last.split(_ROWS), strict=True)
            scores = torch.cat(
                [self._score(rows)[number - number[0], place] for rows, number, place in parts]
            )
        return scores.topk(self.k, dim=-1).indices

    def query_prefixes(self, sequences: Tensor) -> Tensor:
        """The lists after every click: int64[B, T, k], -1 where there is no click; one query a click.

        Raises BudgetExceeded where too few queries are left.
        """
        known = sequences != PAD
        self._count(int(known.sum()))
        with torch.no_grad():
            parts = [self._score(rows).topk(self.k, dim=-1).indices for rows in sequences.split(_ROWS)]
        lists = torch.cat(parts)
        return lists.masked_fill(~known[..., None], PAD)

    def _count(self, wanted: int) -> None:
        if self.budget is not None and self.queries + wanted > self.budget:
            raise BudgetExceeded(
                f"{wanted} queries asked, {self.budget - self.queries} of {self.budget} left"
            )
        self.queries += wanted


def agreement_at_k(first: Tensor, second: Tensor, k: int | None = None) -> Tensor:
    """The share of the first k items that two lists have in common, in whatever order: float[...] in [0, 1].

    first, second: int64[..., K], best first; k: up to K, which is the default.

    >>> agreement_at_k(torch.tensor([1, 2, 3]), torch.tensor([3, 9, 1]))
    tensor(0.6667)
    """
    if first.shape != second.shape:
        raise ValueError(f"both must have one shape, got {tuple(first.shape)} and {tuple(second.shape)}")
    k = build.check_count("k", first.shape[-1] if k is None else k, high=first.shape[-1])
    same = first[..., :k, None] == second[..., None, :k]
    return same.any(dim=-1).float().mean(dim=-1)
