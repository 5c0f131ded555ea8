"""Splitting by document, module or paragraph: train and test share none."""

from typing import NamedTuple

import numpy as np

from labkit.data import build

__all__ = ["Split", "by_group"]


class Split(NamedTuple):
    """Row numbers, int[N] each, in random order; the rows of a group are all in one of the two."""

    train: np.ndarray
    test: np.ndarray


def by_group(
    groups: list[str],
    rng: np.random.Generator,
    *,
    size: int | None = None,
    test_size: int | None = None,
    share: float = 0.2,
) -> Split:
    """Split rows so that no group is in both parts.

    groups: the group of each row.  share: of the groups, in (0, 1), that make up the test part.
    size, test_size: how many rows are drawn from each part; None for all of them.
    Raises ValueError where there are fewer than two groups, or fewer rows than asked for.

    >>> rng = np.random.default_rng(0)
    >>> train, test = by_group(["a", "a", "b", "c", "c"], rng, share=0.3)
    >>> len(train) + len(test), {"aabcc"[k] for k in train} & {"aabcc"[k] for k in test}
    (5, set())
    """
    share = build.real("share", share, 0, 1)
    names, number = np.unique(np.asarray(groups, dtype=str), return_inverse=True)
    if len(names) < 2:
        raise ValueError(f"a split needs at least two groups, there are {len(names)}")
    held = min(max(round(share * len(names)), 1), len(names) - 1)
    out = np.isin(number, rng.permutation(len(names))[:held])
    parts = []
    for name, count, chosen in (("size", size, ~out), ("test_size", test_size, out)):
        rows = rng.permutation(np.flatnonzero(chosen))
        if count is not None:
            build.check_count(name, count, high=len(rows))
        parts.append(rows[:count])
    return Split(*parts)
