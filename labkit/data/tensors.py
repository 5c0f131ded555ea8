"""From a ``Dataset`` to tensors."""

import io
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import torch
from torch import Tensor

from labkit.data.build import check_count, labels_of

if TYPE_CHECKING:
    from datasets import Dataset

__all__ = ["Batch", "MixedSizes", "tensors"]


class MixedSizes(ValueError):
    """Images of different sizes do not fit into one tensor."""


class Batch(NamedTuple):
    """A labelled set of images, decoded.

    images: float32[B, C, H, W] in [0, 1].  labels: int64[B].
    extra: the other columns that are numbers, by name. A mask is uint8[B, H, W]; lists of
    different lengths are filled up, classes with -1 and other numbers with 0.
    """

    images: Tensor
    labels: Tensor
    extra: dict[str, Tensor]


def tensors(dataset: "Dataset", *, image_size: int | tuple[int, int] | None = None) -> Batch:
    """Decode all examples of one split.

    dataset: a ``datasets.Dataset`` with an image column (``image`` or ``img``) and an integer
    column ``label``. Palettes and transparency become RGB.
    image_size: resize to this side, or (height, width), in pixels; None keeps the images as they
    are. Not with a column ``boxes``, which would no longer fit.
    Raises TypeError for anything but one split, ValueError for missing columns, and ValueError
    where images differ in size and no image_size is given.

    >>> from labkit import data
    >>> batch = data.tensors(data.load("digits", "test", test_size=20))
    >>> batch.images.shape, batch.labels.dtype
    (torch.Size([20, 1, 8, 8]), torch.int64)
    """
    from datasets import Dataset, Image

    if not isinstance(dataset, Dataset):
        hint = "; pick a split, such as data['train']" if isinstance(dataset, dict) else ""
        raise TypeError(f"dataset must be a datasets.Dataset, got {type(dataset).__name__}{hint}")
    features = dataset.features
    key = next((name for name in ("image", "img") if isinstance(features.get(name), Image)), None)
    if key is None:
        raise ValueError(f"dataset needs an image column named 'image' or 'img', it has {list(features)}")
    if "label" not in features:
        raise ValueError(f"dataset needs a column 'label', it has {list(features)}")
    if not len(dataset):
        raise ValueError("dataset is empty")

    size = _pair(image_size)
    if size is not None and "boxes" in features:
        raise ValueError(
            "boxes are in pixels of the images as stored; remove_columns('boxes') before resizing"
        )
    table = dataset.with_format("arrow")[:]  # the stored bytes; follows select() and shuffle()
    pixels = _decode(table.column(key).to_pylist(), size)
    images = (
        torch.from_numpy(pixels).permute(0, 3, 1, 2).to(torch.float32, memory_format=torch.contiguous_format)
    )
    labels = torch.from_numpy(labels_of(dataset))
    extra = {}
    for name, feature in features.items():
        if name in (key, "label"):
            continue
        column = table.column(name)
        if isinstance(feature, Image):
            # nearest: a mask holds numbers of objects, which must not be averaged
            extra[name] = torch.from_numpy(_decode(column.to_pylist(), size, nearest=True)).squeeze(-1)
        elif (numbers := _numbers(column.to_pylist(), feature)) is not None:
            extra[name] = numbers
    return Batch(images.div_(255), labels, extra)


def _pair(image_size) -> tuple[int, int] | None:
    """(height, width), or None for images as they are."""
    if image_size is None:
        return None
    pair = image_size if isinstance(image_size, tuple | list) else (image_size, image_size)
    if len(pair) != 2:
        raise ValueError(f"image_size must be a side or (height, width), got {image_size!r}")
    height, width = (check_count("image_size", side) for side in pair)
    return (height, width)


def _decode(cells: list[dict], size: tuple[int, int] | None, nearest: bool = False) -> np.ndarray:
    """uint8[B, H, W, C] from the stored cells, each with ``bytes`` or a ``path``."""
    from PIL import Image

    arrays = []
    for number, cell in enumerate(cells):
        source = io.BytesIO(cell["bytes"]) if cell["bytes"] is not None else cell["path"]
        try:
            with Image.open(source) as image:
                image.load()
        except OSError as error:
            where = cell["path"] or f"number {number}"
            raise ValueError(f"image {where} cannot be read: {error}") from error
        if image.mode.startswith(("I", "F")):
            raise ValueError(
                f"images must have 8 bits per channel, number {number} has Pillow's mode {image.mode}"
            )
        if image.mode not in ("L", "RGB"):
            image = image.convert("RGB")
        if size is not None and image.size != size[::-1]:
            image = image.resize(
                size[::-1], Image.Resampling.NEAREST if nearest else Image.Resampling.BILINEAR
            )
        arrays.append(np.asarray(image))
    if len({array.ndim for array in arrays}) > 1:  # grey and colour mixed: all become colour
        arrays = [array if array.ndim == 3 else np.repeat(array[..., None], 3, axis=2) for array in arrays]
    shapes = {array.shape for array in arrays}
    if len(shapes) > 1:
        sizes = sorted({shape[:2] for shape in shapes})
        raise MixedSizes(
            f"images differ in size ({len(sizes)} sizes, from {sizes[0]} to {sizes[-1]}); "
            "resize them: data.tensors(dataset, image_size=64)"
        )
    stacked = np.stack(arrays)
    return stacked if stacked.ndim == 4 else stacked[..., None]


def _numbers(values: list, feature) -> Tensor | None:
    """A tensor of a column of numbers or lists of numbers; None for text and the rest."""
    depth, leaf = 0, feature
    while hasattr(leaf, "feature"):
        depth, leaf = depth + 1, leaf.feature
    kind = getattr(leaf, "dtype", "")
    if not isinstance(kind, str) or not kind.startswith(("int", "uint", "float", "bool")):
        return None
    fill = -1 if type(leaf).__name__ == "ClassLabel" else 0
    dtype = np.float32 if kind.startswith("float") else bool if kind == "bool" else np.int64
    if depth:
        longest = max(map(len, values))
        inner = next((len(item) for row in values for item in row), 0) if depth == 2 else None
        empty = fill if depth == 1 else [fill] * inner
        values = [list(row) + [empty] * (longest - len(row)) for row in values]
    return torch.from_numpy(np.array(values, dtype=dtype))
