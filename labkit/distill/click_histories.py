"""Histories of clicks: drawn from users with interests, or read from a table of interactions.

Histories are int64[B, T] with items from 0 up, filled up at the *end* with -1 (``PAD``).
"""

import csv
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from labkit.data import build

__all__ = ["PAD", "Clicks", "clicks", "pad", "read_interactions"]

PAD = -1


class Clicks(NamedTuple):
    """Histories of users, and the public data of the items.

    train, test: int64[B, T], one user a row, no user in both.  categories: int64[N], of each item.
    """

    train: Tensor
    test: Tensor
    categories: Tensor

    @property
    def items(self) -> int:
        """How many items there are."""
        return len(self.categories)


def clicks(
    seed: int,
    *,
    users: int = 800,
    test_users: int = 200,
    items: int = 300,
    interests: int = 15,
    length: tuple[int, int] = (8, 15),
    stay: float = 0.7,
    follow: float = 0.5,
    explore: float = 0.2,
) -> Clicks:
    """Draw histories of clicks: each user has three interests and moves between them.

    Items are shared out evenly over the interests, their categories; within one, popularity falls off by
    Zipf's law. Before each click the interest stays, with chance ``stay``, or is drawn anew from the user's
    own three. Then the click is one of four items that tend to follow the last one (chance ``follow``, where
    the interest stayed), an item of the interest by popularity, or any item by popularity. The chance of the
    last is the user's own: between nothing and twice ``explore``, all alike.
    length: least and most clicks, drawn for each user.  seed: of everything, the items' structure too.

    >>> few = clicks(0, users=5, test_users=2)
    >>> few.train.shape, few.items
    (torch.Size([5, 15]), 300)
    """
    for name, value in {"users": users, "test_users": test_users, "interests": interests}.items():
        build.check_count(name, value)
    build.check_count("items", items, low=4 * interests)
    for name, value in {"stay": stay, "follow": follow, "explore": 2 * explore}.items():
        build.real(name, value, 0, 1)
    low, high = (build.check_count("length", each, low=2) for each in length)
    rng = build.stream(seed, "clicks")
    categories = rng.permutation(np.arange(items) % interests)
    members = [np.flatnonzero(categories == kind) for kind in range(interests)]
    popularity = np.zeros(items)
    for each in members:
        popularity[each] = 1 / (1 + np.arange(len(each)))
    anywhere = np.cumsum(popularity / popularity.sum())
    within = [np.cumsum(popularity[each] / popularity[each].sum()) for each in members]
    followers = np.stack([rng.choice(members[categories[item]], 4, replace=False) for item in range(items)])
    habit = np.cumsum([0.5, 0.25, 0.15, 0.1])

    def pick(cumulative) -> int:
        return min(int(np.searchsorted(cumulative, rng.random(), side="right")), len(cumulative) - 1)

    rows = np.full((users + test_users, high), PAD)
    for row in rows:
        own, weights = rng.choice(interests, 3, replace=False), np.cumsum(rng.dirichlet([2, 2, 2]))
        interest, item, curious = own[pick(weights)], None, rng.uniform(0, 2 * explore)
        for place in range(rng.integers(low, high + 1)):
            stayed = item is not None and rng.random() < stay
            if not stayed:
                interest = own[pick(weights)]
            if rng.random() < curious:
                item = pick(anywhere)
            elif stayed and categories[item] == interest and rng.random() < follow:
                item = followers[item, pick(habit)]
            else:
                item = members[interest][pick(within[interest])]
            row[place] = item
    histories = torch.from_numpy(rows)
    return Clicks(histories[:users], histories[users:], torch.from_numpy(categories))


def pad(histories: Sequence[Sequence[int]], length: int | None = None) -> Tensor:
    """Histories of different lengths as int64[B, T], -1 at the end; of long ones the *last* clicks.

    >>> pad([[1, 2], [3, 4, 5]], length=2)
    tensor([[1, 2],
            [4, 5]])
    """
    if not histories:
        raise ValueError("histories must not be empty")
    length = length or max(map(len, histories))
    rows = torch.full((len(histories), length), PAD)
    for row, history in zip(rows, histories, strict=True):
        kept = list(history)[-length:]
        row[: len(kept)] = torch.tensor(kept, dtype=torch.long)
    return rows


def read_interactions(path, *, user: str = "user_id", item: str = "item_id") -> list[list[str]]:
    """Histories from a table of interactions, one a line and in the order of time, users in any order.

    path: a .csv file, or a tab-separated .inter file of RecBole, whose header has types (``user_id:token``).
    user, item: names of the columns.  Raises ValueError for a missing column or a file without rows.
    """
    path = Path(path)
    with open(path, encoding="utf-8", newline="") as stream:
        reader = csv.reader(stream, delimiter="\t" if path.suffix in (".inter", ".tsv") else ",")
        header = [name.split(":")[0] for name in next(reader, [])]
        missing = [name for name in (user, item) if name not in header]
        if missing:
            raise ValueError(
                f"{path.name} has no column {missing[0]!r}; it has {', '.join(header) or 'none'}"
            )
        at_user, at_item = header.index(user), header.index(item)
        histories: dict[str, list[str]] = {}
        for row in reader:
            histories.setdefault(row[at_user], []).append(row[at_item])
    if not histories:
        raise ValueError(f"{path.name} has no rows")
    return list(histories.values())
