"""Hashes of your own data, so that a result knows whether they have changed."""

import csv
import hashlib
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from datasets import Dataset, DatasetDict

__all__ = ["of_csv", "of_dataset", "of_folder"]


def of_folder(root: Path, suffixes: set[str]) -> str:
    """Hash of all files below root that have one of the suffixes: their places and contents."""
    digest = hashlib.sha256()
    for path in sorted(path for path in root.rglob("*") if path.suffix.lower() in suffixes):
        digest.update(path.relative_to(root).as_posix().encode() + b"\0" + path.read_bytes())
    return digest.hexdigest()[:16]


def of_csv(file: Path, suffixes: set[str]) -> str:
    """Hash of a CSV file and of the images that its cells name."""
    digest = hashlib.sha256(file.read_bytes())
    with open(file, encoding="utf-8", newline="") as stream:
        for cell in (cell for row in csv.reader(stream) for cell in row):
            path = file.parent / cell
            if path.suffix.lower() in suffixes and path.is_file():
                digest.update(path.read_bytes())
    return digest.hexdigest()[:16]


def of_dataset(data: "Dataset | DatasetDict") -> str:
    """Hash of the rows of a data set in memory; of an image that is a file, of the file's name."""
    from datasets import Dataset

    digest = hashlib.sha256()
    for split, part in ({"": data} if isinstance(data, Dataset) else data).items():
        table = part.with_format("arrow")[:].combine_chunks().replace_schema_metadata(None)
        digest.update(f"{split} {table.schema}".encode())
        for batch in table.to_batches():
            digest.update(batch.serialize())
    return digest.hexdigest()[:16]
