"""``load``: one door for every kind of data."""

import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING

from labkit.data import build, registry
from labkit.data.card import Card
from labkit.data.source import Source

if TYPE_CHECKING:
    from datasets import Dataset, DatasetDict

__all__ = ["card", "fingerprint", "load"]


def load(
    name: "str | Path | Dataset | DatasetDict",
    split: str | None = None,
    *,
    size: int | None = None,
    seed: int = 0,
    **settings,
) -> "DatasetDict | Dataset":
    """Load a data set by name, or your own from a folder, a CSV file or a ``Dataset``.

    name: one of :func:`labkit.data.names`; or the path of a folder of images or of a .csv file; or
    a ``Dataset`` or ``DatasetDict`` (see :mod:`labkit.data.own`).
    split: "train" or "test" for one of them; None for both.
    size: number of *training* examples; None for the data set's own number. The number of test
    examples is a setting, ``test_size``.
    seed: from 0 up. It redraws everything: split, subsample and, where data are drawn, contents.
    settings: those of the data set, such as ``style=`` for scenes; its card lists them.
    Returns a ``DatasetDict`` with typed features, or one ``Dataset`` where a split is named.
    Raises ValueError for an unknown name, split or value, TypeError for an unknown setting, both with
    the valid ones; OSError where the data cannot be read, with what to do about it.

    >>> digits = load("digits", size=100, seed=3)
    >>> len(digits["train"]), digits["train"].features["label"].num_classes
    (100, 10)
    """
    seed = build.check_seed(seed)
    if split not in (None, "train", "test"):
        raise ValueError(f"split must be 'train', 'test' or None, got {split!r}")
    if size is not None:
        build.check_count("size", size)
    source = _source(name)
    source.check(settings)
    data = source.read(split, size=size, seed=seed, **settings)
    registry.record(source.name, source.fingerprint())
    return data if split is None else data[split]


def card(name: str) -> Card:
    """The data card of a named data set or of your own data; composition is computed from the data.

    >>> card("digits").composition.splits
    {'train': 1437, 'test': 360}
    """
    source = _source(name)
    return dataclasses.replace(source.card(), settings=source.settings())


def fingerprint(name: str) -> str:
    """Hash of the content of a data set: 16 hex digits; for procedural data, of its generator's version.

    >>> len(fingerprint("scenes"))
    16
    """
    return _source(name).fingerprint()


def _source(name) -> Source:
    """The source of a name, a path or a data set in memory. Names of data sets come before paths."""
    if isinstance(name, str) and name not in registry.SOURCES and _looks_like_a_path(name):
        name = Path(name)
    if isinstance(name, str):
        return registry.source(name)
    from labkit.data import own

    return own.source(name)


def _looks_like_a_path(name: str) -> bool:
    return "/" in name or "\\" in name or name.endswith(".csv") or Path(name).exists()
