"""Your own data: a folder of images, a CSV file, or a ``Dataset`` that is already there."""

import csv
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from labkit.data import build, hashing
from labkit.data.card import Card, compose
from labkit.data.source import Source, suggest

if TYPE_CHECKING:
    from datasets import Dataset, DatasetDict

__all__ = ["load_csv", "load_dataset", "load_folder", "source"]

IMAGE_FILES = {".png", ".jpg", ".jpeg", ".bmp", ".gif", ".tif", ".tiff", ".webp"}
SPLITS = ("train", "test")


def source(where: "Path | Dataset | DatasetDict") -> Source:
    """The source of a folder, of a .csv file, or of a data set in memory."""
    from datasets import Dataset, DatasetDict

    if isinstance(where, Dataset | DatasetDict):
        digest = hashing.of_dataset(where)
        name, load, content = f"dataset {digest}", partial(load_dataset, where), lambda: digest
    elif not isinstance(where, Path):
        raise TypeError(f"name must be a name, a path or a Dataset(Dict), got {type(where).__name__}")
    elif where.is_dir():
        name, load, content = (
            str(where),
            partial(load_folder, where),
            lambda: hashing.of_folder(where, IMAGE_FILES),
        )
    elif where.suffix == ".csv" and where.is_file():
        name, load, content = str(where), partial(load_csv, where), lambda: hashing.of_csv(where, IMAGE_FILES)
    else:
        raise FileNotFoundError(f"there is no folder and no .csv file at {where}")
    return Source(name, load, content, lambda: _card(name, load))


def load_folder(folder: Path, *, size: int | None = None, seed: int = 0, test_share: float = 0.2):
    """Images in one subfolder per class, or in ``train/<class>/`` and ``test/<class>/``.

    size: number of training images; None for all.
    test_share: share of the images for the test split, every class with its share, where the folder has no
    ``train`` and ``test``.
    Columns: image (the file, decoded when read), label.
    Raises ValueError where there are no images, one class only, or a file that is not an image.
    """
    from datasets import DatasetDict

    names = {child.name for child in folder.iterdir() if child.is_dir()}
    if names & set(SPLITS):
        if not set(SPLITS) <= names:
            raise ValueError(f"{folder} has one of the folders train and test; it needs both, or neither")
        roots = {split: folder / split for split in SPLITS}
    else:
        roots = {"train": folder}
    found = {split: _images(root) for split, root in roots.items()}
    classes = sorted({path.parent.name for paths in found.values() for path in paths})
    parts = {}
    for split, paths in found.items():
        _check_readable(paths)
        labels = [classes.index(path.parent.name) for path in paths]
        parts[split] = _dataset("image", [str(path) for path in paths], labels, classes)
    return _finish(DatasetDict(parts), size, seed, test_share)


def load_csv(
    file: Path,
    *,
    size: int | None = None,
    seed: int = 0,
    test_share: float = 0.2,
    label: str = "label",
    image: str | None = None,
    text: str | None = None,
):
    """Rows of a CSV file with a header; UTF-8.

    label: the column of the classes.  image: the column of image files, relative to the CSV file.
    text: the column of texts. Give one of both; None takes the column "image" or "text" that there is.
    size, test_share: as for a folder. A column ``split`` with the values train and test is followed.
    Columns: image or text, label; other columns of the file are not read.
    Raises ValueError for a missing column, an empty file, a single class, an unreadable image.
    """
    from datasets import DatasetDict

    with open(file, encoding="utf-8", newline="") as stream:
        reader = csv.DictReader(stream)
        rows, header = list(reader), reader.fieldnames or []
    if image is not None and text is not None:
        raise ValueError("give image= or text=, not both")
    if image is None and text is None:
        image = "image" if "image" in header else None
        text = "text" if image is None else None
    kind, column = ("image", image) if image is not None else ("text", text)
    for setting, name in ((kind, column), ("label", label)):
        if name not in header:
            raise ValueError(f"{file} has no column {name!r} for {setting}=; {suggest(name, header)}")
    if not rows:
        raise ValueError(f"{file} has a header but no rows")
    if missing := sum(not row[label] for row in rows):
        raise ValueError(f"{missing} rows of {file} have an empty {label!r}")
    classes = _in_order({row[label] for row in rows})
    splits = [row["split"] for row in rows] if "split" in header else ["train"] * len(rows)
    if not set(splits) <= set(SPLITS):
        raise ValueError(f"the column split of {file} may say train and test, it says {sorted(set(splits))}")
    parts = {}
    for split in SPLITS:
        chosen = [row for row, its in zip(rows, splits, strict=True) if its == split]
        if not chosen and split == "test":
            continue
        values = [row[column] for row in chosen]
        if kind == "image":
            values = [str(file.parent / value) for value in values]
            _check_readable([Path(value) for value in values])
        parts[split] = _dataset(kind, values, [classes.index(row[label]) for row in chosen], classes)
    return _finish(DatasetDict(parts), size, seed, test_share)


def load_dataset(
    data: "Dataset | DatasetDict",
    *,
    size: int | None = None,
    seed: int = 0,
    test_share: float = 0.2,
    label: str = "label",
):
    """A ``Dataset``, or a ``DatasetDict`` with train and test, or with a single split.

    label: the column of the classes; it is named ``label`` in the result, and becomes a ``ClassLabel``
    where it is not one yet. All other columns stay; so do splits other than train and test.
    size, test_share: as for a folder.
    """
    from datasets import Dataset, DatasetDict

    parts = {"train": data} if isinstance(data, Dataset) else dict(data)
    if len(parts) == 1:
        parts = {"train": next(iter(parts.values()))}
    elif not set(SPLITS) <= set(parts):
        raise ValueError(f"a DatasetDict needs train and test, or a single split; this one has {list(parts)}")
    for part in parts.values():
        if label not in part.column_names:
            raise ValueError(f"the data have no column {label!r}; {suggest(label, part.column_names)}")
    return _finish(DatasetDict(_with_classes(parts, label)), size, seed, test_share)


def _with_classes(parts: dict, label: str) -> dict:
    """Name the column ``label`` and make it a ClassLabel with the same classes in every split."""
    from datasets import ClassLabel

    if not isinstance(parts["train"].features[label], ClassLabel):
        values = {split: part.with_format(None)[label] for split, part in parts.items()}
        classes = _in_order({str(value) for column in values.values() for value in column})
        codes = {name: code for code, name in enumerate(classes)}
        feature = ClassLabel(names=classes)
        for split, part in parts.items():
            column = [codes[str(value)] for value in values[split]]
            parts[split] = part.remove_columns(label).add_column(label, column).cast_column(label, feature)
    if label != "label":
        parts = {split: part.rename_column(label, "label") for split, part in parts.items()}
    return parts


def _finish(data: "DatasetDict", size, seed: int, test_share: float) -> "DatasetDict":
    """Check the classes, split where there is no test split, subsample the training split."""
    labels = build.labels_of(data["train"])
    names = data["train"].features["label"].names
    if labels.min(initial=0) < 0:
        raise ValueError(
            f"{(labels < 0).sum()} examples have the label {labels.min()}: take out what has no label"
        )
    counts = np.bincount(labels, minlength=len(names))
    if np.count_nonzero(counts) < 2:
        raise ValueError(f"the data need two classes or more, they have {names}")
    if "test" not in data:
        share = build.real("test_share", test_share, 0, 1)
        single = [names[k] for k in np.flatnonzero(counts == 1)]
        if single:
            raise ValueError(f"these classes have one example, which cannot be in both splits: {single}")
        count = round(share * len(labels))
        if not 0 < count < len(labels):
            raise ValueError(f"test_share={test_share} of {len(labels)} examples leaves a split empty")
        test = build.stratified(labels, count, build.stream(seed, "own", "test"))
        train = np.setdiff1d(np.arange(len(labels)), test)
        data["test"] = data["train"].select(test)
        data["train"] = data["train"].select(train)
        labels = labels[train]
    if size is not None:
        build.check_count("size", size, high=len(labels))
        data["train"] = data["train"].select(
            build.stratified(labels, size, build.stream(seed, "own", "train"))
        )
    return data


def _images(root: Path) -> list[Path]:
    """Image files in the subfolders of root, sorted; the subfolder is the class."""
    paths = sorted(path for path in root.glob("*/*") if path.suffix.lower() in IMAGE_FILES)
    if not paths:
        kinds = ", ".join(sorted(IMAGE_FILES))
        raise ValueError(f"{root} has no images in subfolders, one subfolder per class ({kinds})")
    return paths


def _check_readable(paths: list[Path]) -> None:
    from PIL import Image

    for path in paths:
        try:
            with Image.open(path):  # reads the header only
                pass
        except OSError as error:
            raise ValueError(f"{path} cannot be read as an image: {error}") from error


def _dataset(kind: str, values: list[str], labels: list[int], classes: list[str]):
    from datasets import ClassLabel, Dataset, Features, Image, Value

    features = Features(
        {kind: Image() if kind == "image" else Value("string"), "label": ClassLabel(names=classes)}
    )
    return Dataset.from_dict({kind: values, "label": labels}, features=features)


def _in_order(names: set[str]) -> list[str]:
    """Sorted, as numbers where all are whole numbers."""
    numbers = all(name.lstrip("-").isdigit() for name in names)
    return sorted(names, key=int if numbers else None)


def _card(name: str, load) -> Card:
    return Card(
        name=name,
        summary="Your own data.",
        origin="Yours: write down who collected them, when, where and for what.",
        licence="Yours to state.",
        limits=(
            "Look for near duplicates and for groups (documents, events, users) that lie in both splits.",
        ),
        use="Yours to state.",
        composition=compose(load(), f"data.load({name!r})"),
    )
