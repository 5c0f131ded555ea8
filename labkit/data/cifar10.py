"""``cifar10``: 60,000 small photographs of ten classes, from the Hugging Face hub or a local copy."""

import hashlib
import os
from functools import cache
from pathlib import Path

from labkit.data import build
from labkit.data.card import Card, compose
from labkit.data.source import Source

__all__ = ["SOURCE", "load"]

HUB = "uoft-cs/cifar10"
_memory: dict = {}  # folder (None: the hub) -> both splits
CLASSES = ["airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck"]


def load(*, size: int | None = None, seed: int = 0, test_size: int | None = None):
    """CIFAR-10 in its published split; the seed redraws the subsample.

    size, test_size: number of training (50,000) and test (10,000) examples, every class with its share.
    Columns: image (RGB, 32x32), label. Read from the hub, or, where the environment variable
    LABKIT_DATA names a folder, from its ``cifar10/train.parquet`` and ``cifar10/test.parquet``.
    Raises FileNotFoundError where that folder has no copy, ConnectionError where the hub cannot be read.
    """
    from datasets import DatasetDict

    data = _read(os.environ.get("LABKIT_DATA"))
    wanted = {"train": ("size", size), "test": ("test_size", test_size)}
    parts = {}
    for split, (name, count) in wanted.items():
        part = data[split]
        if count is not None:
            build.check_count(name, count, high=len(part))
            part = part.select(
                build.stratified(build.labels_of(part), count, build.stream(seed, "cifar10", split))
            )
        parts[split] = part
    return DatasetDict(parts)


def _read(folder: str | None):
    """Both splits in full, kept in memory for the next seed. folder: the value of LABKIT_DATA."""
    from datasets import DatasetDict

    if folder in _memory:
        return _memory[folder]
    if folder is None:
        data = _hub().rename_column("img", "image")
    else:
        data = DatasetDict({split: _parquet(Path(folder) / "cifar10", split) for split in ("train", "test")})
    _memory[folder] = data
    return data


def _hub():
    import datasets

    try:
        return datasets.load_dataset(HUB)
    except Exception as error:  # what the hub's client raises differs between its versions
        raise ConnectionError(
            f"cifar10 could not be read from the hub ({HUB}): {type(error).__name__}: {error}. "
            "Check the connection, or put cifar10/train.parquet and cifar10/test.parquet, as published on "
            "the hub, into a folder and set LABKIT_DATA to that folder."
        ) from error


def _parquet(folder: Path, split: str):
    from datasets import ClassLabel, Dataset, DatasetInfo, Features, Image
    from datasets.table import InMemoryTable
    from pyarrow import parquet

    path = folder / f"{split}.parquet"
    if not path.is_file():
        raise FileNotFoundError(
            f"LABKIT_DATA is set, but there is no {path}. Put CIFAR-10's parquet files there, "
            "as published on the hub, or unset LABKIT_DATA to read them from the hub."
        )
    table = parquet.read_table(path)
    if table.column_names != ["img", "label"]:
        raise ValueError(f"{path} must have the columns img and label, it has {table.column_names}")
    features = Features({"image": Image(), "label": ClassLabel(names=CLASSES)})
    table = table.rename_columns(["image", "label"]).cast(features.arrow_schema)
    identity = hashlib.sha256(f"{path} {path.stat().st_size}".encode()).hexdigest()[:16]
    return Dataset(InMemoryTable(table), info=DatasetInfo(features=features), fingerprint=identity)


def fingerprint() -> str:
    """Hash of all images and labels; from the hub only once they are loaded: a hash starts no download."""
    folder = os.environ.get("LABKIT_DATA")
    if folder is None and None not in _memory:
        raise FileNotFoundError("cifar10 is not loaded, and LABKIT_DATA names no folder with a local copy")
    return _content(folder)


@cache
def _content(folder: str | None) -> str:
    digest = hashlib.sha256()
    for split in ("train", "test"):
        part = _read(folder)[split]
        digest.update(build.labels_of(part).tobytes())
        for cell in part.with_format("arrow")[:].column("image").to_pylist():
            digest.update(cell["bytes"])
    return digest.hexdigest()[:16]


def card() -> Card:
    """The card; figures only from a local copy, since a card should not start a download."""
    composition, missing = None, ""
    if os.environ.get("LABKIT_DATA") is None:
        missing = "the data are not bundled, and LABKIT_DATA names no folder with a local copy."
    else:
        try:
            composition = compose(load(), 'data.load("cifar10")')
        except FileNotFoundError as error:
            missing = str(error)
    return Card(
        name="cifar10",
        summary="60,000 colour photographs of 32x32 pixels in ten classes, 50,000 for training.",
        origin="Krizhevsky (2009), *Learning Multiple Layers of Features from Tiny Images*, "
        f"technical report, University of Toronto; read from the Hugging Face hub (`{HUB}`).",
        licence="None stated by its authors, who ask that the report be cited.",
        limits=(
            "Collected from the web without asking the photographers; no licence covers the pictures.",
            "About 3 % of the test images have near duplicates in the training set (Barz and Denzler, 2020).",
            "Not bundled: it needs the hub (about 140 MB) or a local copy.",
        ),
        use="The full-scale check of methods for images, beside published figures.",
        composition=composition,
        missing=missing,
    )


SOURCE = Source("cifar10", load, fingerprint, card)
