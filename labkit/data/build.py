"""From arrays to typed ``datasets``: PNG bytes, Arrow columns, checks of counts and seeds."""

import hashlib
import struct
import zlib
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from datasets import Dataset, Features

__all__ = [
    "allocate",
    "check_count",
    "check_seed",
    "dataset",
    "labels_of",
    "png",
    "real",
    "stratified",
    "stream",
]


def png(image: np.ndarray) -> bytes:
    """Encode a uint8[H, W] or uint8[H, W, 3] array as PNG.

    Pillow would do the same in several times the time: it tries filters that do not pay on
    images of 32 pixels.

    >>> png(np.zeros((4, 4), np.uint8))[:4]
    b'\\x89PNG'
    """
    height, width = image.shape[:2]
    rows = np.zeros((height, 1 + image[0].size), np.uint8)  # each row starts with filter type 0
    rows[:, 1:] = image.reshape(height, -1)
    header = struct.pack(">IIBBBBB", width, height, 8, 2 if image.ndim == 3 else 0, 0, 0, 0)
    chunks = ((b"IHDR", header), (b"IDAT", zlib.compress(rows.tobytes(), 1)), (b"IEND", b""))
    body = (struct.pack(">I", len(d)) + k + d + struct.pack(">I", zlib.crc32(k + d)) for k, d in chunks)
    return b"\x89PNG\r\n\x1a\n" + b"".join(body)


def dataset(columns: dict, features: "Features", identity: str) -> "Dataset":
    """Build a ``Dataset`` from columns: arrays uint8[B, H, W(, 3)] for images, lists or arrays else.

    identity: a string that determines the content (name, settings, seed); it becomes the
    fingerprint, so that a cached ``map`` is found again.
    """
    import pyarrow as pa
    from datasets import Dataset, DatasetInfo, Image
    from datasets.table import InMemoryTable

    arrays = []
    for name, feature in features.items():
        values = columns[name]
        if isinstance(feature, Image):
            kind = pa.struct({"bytes": pa.binary(), "path": pa.string()})
            arrays.append(pa.array([{"bytes": png(image), "path": None} for image in values], kind))
        else:
            values = values.tolist() if isinstance(values, np.ndarray) else values
            arrays.append(pa.array(values, features.arrow_schema.field(name).type))
    table = pa.Table.from_arrays(arrays, schema=features.arrow_schema)
    fingerprint = hashlib.sha256(identity.encode()).hexdigest()[:16]
    return Dataset(InMemoryTable(table), info=DatasetInfo(features=features), fingerprint=fingerprint)


def labels_of(part: "Dataset") -> np.ndarray:
    """The column ``label`` as int64[B].

    Raises ValueError where labels are not integers, or where one is missing.
    """
    kind = part.features["label"].dtype
    if not str(kind).startswith(("int", "uint")):
        raise ValueError(f"the column label must hold classes as integers, it is {kind}")
    # From Arrow at once: the column itself would be read row by row.
    column = part.select_columns(["label"]).with_format("arrow")[:].column("label")
    if column.null_count:
        raise ValueError(f"{column.null_count} examples have no label")
    return column.to_numpy().astype(np.int64)


def stream(seed: int, *names: str) -> np.random.Generator:
    """A generator of its own for each seed and purpose: ``stream(0, "scenes", "test")``.

    >>> stream(0, "train").integers(100) == stream(0, "test").integers(100)
    np.False_
    """
    return np.random.default_rng([seed, *(zlib.crc32(name.encode()) for name in names)])


def check_seed(seed: int) -> int:
    """Return the seed, or raise where it is not an integer from 0 up."""
    if isinstance(seed, bool) or not isinstance(seed, int | np.integer):
        raise TypeError(f"seed must be an integer, got {seed!r}")
    if seed < 0:
        raise ValueError(f"seed must be 0 or more, got {seed}")
    return int(seed)


def check_count(name: str, value, *, low: int = 1, high: int | None = None) -> int:
    """Return a whole number between low and high, or raise with the argument's name."""
    bound = f"from {low} up" if high is None else f"from {low} to {high}"
    if isinstance(value, bool) or not isinstance(value, int | np.integer):
        raise TypeError(f"{name} must be an integer {bound}, got {value!r}")
    if value < low or (high is not None and value > high):
        raise ValueError(f"{name} must be an integer {bound}, got {value}")
    return int(value)


def real(name: str, value, low: float, high: float) -> float:
    """Return a number in [low, high] as a float, or raise with the argument's name."""
    if isinstance(value, bool) or not isinstance(value, int | float | np.integer | np.floating):
        raise TypeError(f"{name} must be a number in [{low:g}, {high:g}], got {value!r}")
    if not low <= value <= high:  # also false for NaN
        raise ValueError(f"{name} must lie in [{low:g}, {high:g}], got {value}")
    return float(value)


def allocate(total: int, weights: np.ndarray) -> np.ndarray:
    """Whole numbers that sum to total and are as near as can be to the weights' shares.

    >>> allocate(10, np.array([2.0, 1.0])).tolist()
    [7, 3]
    """
    exact = total * np.asarray(weights, float) / np.sum(weights)
    counts = np.floor(exact).astype(int)
    counts[np.argsort(counts - exact, kind="stable")[: total - counts.sum()]] += 1
    return counts


def stratified(labels: np.ndarray, size: int, rng: np.random.Generator) -> np.ndarray:
    """Draw ``size`` indices without repetition, every class with its share; in random order.

    labels: int[B].
    """
    classes, counts = np.unique(labels, return_counts=True)
    wanted = np.minimum(allocate(size, counts), counts)
    picks = [rng.permutation(np.flatnonzero(labels == k))[:n] for k, n in zip(classes, wanted, strict=True)]
    return rng.permutation(np.concatenate(picks))
