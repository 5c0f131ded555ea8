"""``banking77``: 13,083 questions of a bank's customers in 77 intents, from the hub or a local copy."""

import csv
import hashlib
from functools import cache

from labkit.data import build, homes
from labkit.data.card import Card, compose
from labkit.data.source import Source

__all__ = ["SOURCE", "load"]

HUB = "legacy-datasets/banking77"
_memory: dict = {}  # folder (None: the hub) -> both splits


def load(*, size: int | None = None, seed: int = 0, test_size: int | None = None):
    """Banking77 in its published split; the seed redraws the subsample.

    size, test_size: number of training (10,003) and test (3,080) examples, every class with its share.
    Columns: text, label (77 classes in alphabetical order, whatever the case of their first letter).
    Read from the hub, or, where the environment variable LABKIT_DATA names a folder, from its
    ``banking77/train.csv`` and ``banking77/test.csv``, with the columns text and category.
    Raises FileNotFoundError where that folder has no copy, ConnectionError where the hub cannot be read.
    """
    from datasets import DatasetDict

    parts = {}
    for name, count in (("train", size), ("test", test_size)):
        part = _read(homes.folder())[name]
        if count is not None:
            build.check_count("size" if name == "train" else "test_size", count, high=len(part))
            rng = build.stream(seed, "banking77", name)
            part = part.select(build.stratified(build.labels_of(part), count, rng))
        parts[name] = part
    return DatasetDict(parts)


def _read(folder: str | None):
    """Both splits in full, kept in memory for the next seed."""
    from datasets import ClassLabel, DatasetDict, Features, Value

    if folder not in _memory:
        pairs = {name: _hub(name) if folder is None else _csv(name) for name in ("train", "test")}
        classes = sorted({label for _, label in pairs["train"]}, key=str.lower)
        features = Features({"text": Value("string"), "label": ClassLabel(names=classes)})
        number = {label: k for k, label in enumerate(classes)}
        _memory[folder] = DatasetDict(
            {
                name: homes.rows(
                    [{"text": text, "label": number[label]} for text, label in rows],
                    features,
                    f"banking77 {name} {_digest(rows)}",
                )
                for name, rows in pairs.items()
            }
        )
    return _memory[folder]


def _hub(split: str) -> list[tuple[str, str]]:
    part = homes.hub("banking77", HUB)[split]
    names = part.features["label"].names
    return [(text, names[k]) for text, k in zip(part["text"], part["label"], strict=True)]


def _csv(split: str) -> list[tuple[str, str]]:
    path = homes.file("banking77", f"{split}.csv")
    with open(path, encoding="utf-8", newline="") as stream:
        table = csv.DictReader(stream)
        if table.fieldnames != ["text", "category"]:
            raise ValueError(f"{path} must have the columns text and category, it has {table.fieldnames}")
        return [(row["text"], row["category"]) for row in table]


def _digest(rows: list[tuple[str, str]]) -> str:
    return hashlib.sha256("\0".join("\0".join(row) for row in rows).encode()).hexdigest()[:16]


def fingerprint() -> str:
    """Hash of all texts and labels; from the hub only once they are loaded: a hash starts no download."""
    folder = homes.folder()
    if folder is None and None not in _memory:
        homes.file("banking77")  # raises, and says why
    return _content(folder)


@cache
def _content(folder: str | None) -> str:
    data = _read(folder)
    names = data["train"].features["label"].names
    rows = [(row["text"], names[row["label"]]) for name in ("train", "test") for row in data[name]]
    return _digest(rows)


def card() -> Card:
    return Card(
        name="banking77",
        summary="13,083 short questions of a bank's customers, each with one of 77 intents.",
        origin="Casanueva et al. (2020), *Efficient Intent Detection with Dual Sentence Encoders*, PolyAI; "
        f"read from the Hugging Face hub (`{HUB}`). A local copy: `banking77/train.csv` and "
        "`banking77/test.csv`, as in PolyAI's repository `task-specific-datasets`.",
        licence="CC BY 4.0.",
        limits=(
            "Fine classes that overlap; some labels are wrong or could be two.",
            "One domain, one language, no question outside the 77 intents.",
            "Not bundled: it needs the hub or a local copy.",
        ),
        use="Few-shot text classification and augmentation at full scale, beside published figures.",
        **homes.composed(lambda: compose(load(), 'data.load("banking77")')),
    )


SOURCE = Source("banking77", load, fingerprint, card)
