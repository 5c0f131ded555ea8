"""Stored views: a column of a ``datasets.Dataset`` with the numbers of every view and its teacher's answer.

Each row gets a list of N dictionaries, one for each view, with the fields of
:class:`~labkit.distill.replayable_views.Views` and the k largest probabilities with their classes. A column
``row`` keeps the row's number at the time of storing, which is what a view's partner refers to: after
``shuffle`` or ``filter`` the partners are still found, or missed aloud.
"""

from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import torch
from torch import Tensor

from labkit.distill.replayable_views import DIRECTED, Views

if TYPE_CHECKING:
    from datasets import Dataset

__all__ = ["Stored", "nbytes", "read_views", "with_views"]

COLUMNS = ("row", "views")
STORED = {
    "crop": np.float32,
    "mirrored": np.bool_,
    "operations": np.int64,  # as every ClassLabel
    "magnitudes": np.float32,
    "erased": np.float32,
    "partner": np.int32,
    "partner_crop": np.float32,
    "weight": np.float32,
    "pasted": np.float32,
    "fill": np.float32,
    "top_probabilities": np.float32,
    "top_classes": np.int32,
}


class Stored(NamedTuple):
    """What the columns hold, as tensors.

    views: `Views` of [I, N], with partners as positions in the data set as it is now.
    top_probabilities: float32[I, N, k], falling.  top_classes: int64[I, N, k].
    """

    views: Views
    top_probabilities: Tensor
    top_classes: Tensor


def _numbers(name: str, values: Tensor) -> np.ndarray:
    return values.numpy().astype(STORED[name]).reshape(-1)


def _fields(stored: Stored) -> dict[str, Tensor]:
    return stored.views._asdict() | {
        "top_probabilities": stored.top_probabilities,
        "top_classes": stored.top_classes,
    }


def nbytes(stored: Stored) -> int:
    """Bytes of the stored numbers, before any compression."""
    return sum(_numbers(name, values).nbytes for name, values in _fields(stored).items())


def with_views(dataset: "Dataset", stored: Stored) -> "Dataset":
    """The data set with the columns ``row`` and ``views``; no loop over views.

    Raises ValueError where it has one of them already.
    """
    import pyarrow as pa
    from datasets import ClassLabel, Dataset, DatasetInfo, Features, List, Value
    from datasets.table import InMemoryTable

    if taken := [name for name in COLUMNS if name in dataset.column_names]:
        raise ValueError(
            f"dataset has columns {taken} already: is it reinforced? Remove or rename them first"
        )
    count, number = stored.views.mirrored.shape
    arrays, inner = {}, {}
    for name, values in _fields(stored).items():
        flat = pa.array(_numbers(name, values))
        leaf = ClassLabel(names=list(DIRECTED)) if name == "operations" else Value(str(flat.type))
        if values.ndim == 3:
            flat = pa.ListArray.from_arrays(_offsets(count * number, values.shape[2]), flat)
            leaf = List(leaf)
        arrays[name], inner[name] = flat, leaf
    each = pa.StructArray.from_arrays(list(arrays.values()), names=list(arrays))
    features = Features({**dataset.features, "row": Value("int32"), "views": List(inner)})
    table = dataset.with_format("arrow")[:]
    table = table.append_column("row", pa.array(np.arange(count, dtype=np.int32)))
    table = table.append_column("views", pa.ListArray.from_arrays(_offsets(count, number), each))
    info = DatasetInfo(features=features)
    return Dataset(InMemoryTable(table.cast(features.arrow_schema)), info=info)


def _offsets(count: int, each: int):
    import pyarrow as pa

    return pa.array(np.arange(count + 1, dtype=np.int32) * each)


def read_views(dataset: "Dataset") -> Stored:
    """What `with_views` stored; follows ``select`` and ``shuffle``.

    Raises ValueError where the columns are missing or empty, where the views are of other operations than
    this library's, and where a row that is mixed into another one is not in the data set any more.
    """
    import pyarrow as pa

    if missing := [name for name in COLUMNS if name not in dataset.column_names]:
        raise ValueError(
            f"dataset has no columns {missing}, it has {dataset.column_names}: reinforce it first"
        )
    names = dataset.features["views"].feature["operations"].feature.names
    if names != list(DIRECTED):
        raise ValueError(f"dataset was reinforced with other operations than this library's: {names}")
    table = dataset.select_columns(list(COLUMNS)).with_format("arrow")[:]
    count = len(table)
    rows = pa.concat_arrays([chunk.flatten() for chunk in table.column("views").chunks])
    if not count or not len(rows) or len(rows) % count:
        raise ValueError(f"every row must have as many views, and some: {len(rows)} views of {count} rows")
    found = {}
    for name, dtype in STORED.items():
        values, shape = rows.field(name), (count, len(rows) // count)
        if pa.types.is_list(values.type):
            values = values.flatten()
            shape = (*shape, len(values) // len(rows))
        dtype = np.int64 if np.issubdtype(dtype, np.integer) else dtype
        array = values.to_numpy(zero_copy_only=False).astype(dtype)
        found[name] = torch.from_numpy(array.reshape(shape))
    found["partner"] = _positions(found["partner"], table.column("row").to_numpy())
    views = Views(*(found[name] for name in Views._fields))
    return Stored(views, found["top_probabilities"], found["top_classes"])


def _positions(partner: Tensor, rows: np.ndarray) -> Tensor:
    """From the numbers that rows had when they were stored to where they stand now; -1 stays."""
    where = torch.full((int(max(rows.max(), partner.max())) + 1,), -1)
    where[torch.from_numpy(rows.astype(np.int64))] = torch.arange(len(rows))
    now = torch.where(partner >= 0, where[partner.clamp(min=0)], partner)
    if lost := sorted(set(partner[(partner >= 0) & (now < 0)].tolist())):
        raise ValueError(f"rows {lost[:5]} are mixed into others and are not in this data set: keep all rows")
    return now
