"""``photos``: patches of ten photographs that come with scikit-image; the label is the photograph.

Each photograph is cut into a grid of cells. A cell belongs to the training or to the test split,
and every patch lies inside one cell, half a patch away from the cell's edge. Two patches of
different splits are therefore at least one (largest) patch apart and share no pixel.
"""

import hashlib
import itertools
from functools import cache
from pathlib import Path

import numpy as np

from labkit.data import build
from labkit.data.card import Card, compose
from labkit.data.source import Source

__all__ = ["PHOTOGRAPHS", "SOURCE", "load", "regions"]

# Label, file, and where it comes from, by scikit-image's own documentation. All of these files are
# part of the scikit-image wheel; scikit-image would download the others.
PHOTOGRAPHS = {
    "astronaut": ("astronaut.png", "Eileen Collins, NASA Great Images; public domain"),
    "brick": ("brick.png", "brick wall, CC0Textures; CC0"),
    "cameraman": ("camera.png", "man with a camera, Lav Varshney; CC0"),
    "cat": ("chelsea.png", "the cat Chelsea, Stefan van der Walt; CC0"),
    "coffee": ("coffee.png", "coffee cup, Rachel Michetti, Pikolo Espresso Bar; CC0"),
    "coins": ("coins.png", "Greek coins from Pompeii, Brooklyn Museum; no known copyright restrictions"),
    "galaxies": ("hubble_deep_field.jpg", "Hubble eXtreme Deep Field, NASA; public domain"),
    "grass": ("grass.png", "grass, linolafett on DeviantArt; CC0"),
    "gravel": ("gravel.png", "gravel, CC0Textures; CC0"),
    "tissue": ("ihc.png", "stained colon tissue, CMMI; no known copyright restrictions"),
}
TEST_SHARE = 0.3  # of the cells of each photograph


def _path(file: str) -> Path:
    import skimage

    path = Path(skimage.__file__).parent / "data" / file
    if not path.exists():
        raise FileNotFoundError(
            f"scikit-image {skimage.__version__} comes without {file}; install version 0.25 or 0.26"
        )
    return path


@cache
def _photograph(file: str):
    from PIL import Image

    with Image.open(_path(file)) as image:
        return image.convert("RGB")


def load(
    *,
    size: int | None = None,
    seed: int = 0,
    test_size: int = 500,
    patch: int = 32,
    zoom: tuple[float, float] = (1.0, 1.5),
    color: bool = False,
):
    """Draw patches from disjoint regions of ten photographs, equally many of each.

    size, test_size: number of training (2,000) and test patches.
    patch: side in pixels, 8 to 64.  zoom: (low, high), between 1 and 3; a square of ``zoom * patch``
    pixels of the photograph is shrunk to the patch.
    color: False makes all patches grey (three equal channels), since half of the photographs
    are grey and colour alone would tell these from the others; True keeps the colours there are.
    The seed redraws which cells are test cells, and the patches.
    Columns: image (RGB), label, region: (top, left, bottom, right) of the square in its
    photograph, in pixels, end exclusive.
    Raises ValueError where a patch and zoom are so large that a photograph has fewer than two cells.
    """
    from datasets import ClassLabel, DatasetDict, Features, Image, List, Value

    counts = {
        "train": build.check_count("size", 2000 if size is None else size),
        "test": build.check_count("test_size", test_size),
    }
    build.check_count("patch", patch, low=8, high=64)
    low, high = (build.real("zoom", each, 1, 3) for each in zoom)
    if low > high:
        raise ValueError(f"zoom must be (low, high) with low <= high, got {zoom}")
    features = Features(
        {
            "image": Image(),
            "label": ClassLabel(names=list(PHOTOGRAPHS)),
            "region": List(Value("int32"), length=4),
        }
    )
    largest = int(np.ceil(patch * high))
    cells = [regions(_photograph(file).size[::-1], largest, seed, file) for file, _ in PHOTOGRAPHS.values()]
    identity = f"photos {fingerprint()} {seed} {counts} {patch} {zoom} {color}"
    parts = {}
    for split, count in counts.items():
        rng = build.stream(seed, "photos", split)
        labels = rng.permutation(np.arange(count) % len(PHOTOGRAPHS))
        squares = np.empty((count, 4), int)
        for k in range(len(PHOTOGRAPHS)):
            members = labels == k
            squares[members] = _squares(cells[k][split], int(members.sum()), patch, (low, high), rng)
        images = np.stack(
            [_patch(k, square, patch, color) for k, square in zip(labels, squares, strict=True)]
        )
        columns = {"image": images, "label": labels, "region": squares.tolist()}
        parts[split] = build.dataset(columns, features, f"{identity} {split}")
    return DatasetDict(parts)


def regions(shape: tuple[int, int], largest: int, seed: int, name: str) -> dict[str, np.ndarray]:
    """Where patches of one photograph may lie: int[N, 4] (top, left, bottom, right) per split.

    shape: (height, width) of the photograph.  largest: side of the largest square, in pixels.
    Regions of different splits are at least ``largest`` pixels apart.

    >>> found = regions((300, 450), largest=48, seed=0, name="cat")
    >>> len(found["train"]), len(found["test"])
    (4, 2)
    """
    cell = 3 * largest  # leaves two thirds of a cell to place patches in
    rows, columns = (max(side // cell, 1) for side in shape)
    if rows * columns < 2 or min(shape) < 2 * largest:
        raise ValueError(f"patch * zoom = {largest} pixels is too large for a photograph of {shape} pixels")
    tops = np.linspace(0, shape[0], rows + 1).astype(int)
    lefts = np.linspace(0, shape[1], columns + 1).astype(int)
    margin = -(-largest // 2)
    boxes = np.array(
        [
            (top + margin, left + margin, bottom - margin, right - margin)
            for top, bottom in itertools.pairwise(tops)
            for left, right in itertools.pairwise(lefts)
        ]
    )
    boxes = boxes[build.stream(seed, "photos", name).permutation(len(boxes))]
    held_out = max(1, round(TEST_SHARE * len(boxes)))
    return {"test": boxes[:held_out], "train": boxes[held_out:]}


def _squares(cells: np.ndarray, count: int, patch: int, zoom, rng) -> np.ndarray:
    """Random squares int[count, 4], each inside one cell."""
    inside = cells[rng.integers(len(cells), size=count)]
    side = np.round(patch * rng.uniform(*zoom, count)).astype(int)
    room = inside[:, 2:] - inside[:, :2] - side[:, None]
    corner = inside[:, :2] + np.floor(rng.random((count, 2)) * (room + 1)).astype(int)
    return np.concatenate([corner, corner + side[:, None]], axis=1)


def _patch(label: int, square: np.ndarray, patch: int, color: bool) -> np.ndarray:
    """Cut out and shrink: uint8[patch, patch, 3]."""
    from PIL import Image

    top, left, bottom, right = square.tolist()
    file, _ = list(PHOTOGRAPHS.values())[label]
    cut = _photograph(file).resize((patch, patch), Image.Resampling.BILINEAR, box=(left, top, right, bottom))
    return np.asarray(cut if color else cut.convert("L").convert("RGB"))


@cache
def fingerprint() -> str:
    digest = hashlib.sha256()
    for file, _ in PHOTOGRAPHS.values():
        digest.update(_path(file).read_bytes())
    return digest.hexdigest()[:16]


def card() -> Card:
    listed = "; ".join(f"*{name}*: {text}" for name, (_, text) in PHOTOGRAPHS.items())
    return Card(
        name="photos",
        summary="Patches of ten photographs; the label is the photograph they come from. "
        "Train and test patches come from disjoint regions of each photograph.",
        origin="Photographs bundled with scikit-image (skimage.data). By its documentation: " + listed + ".",
        licence="CC0, public domain, or (coins, tissue) no known copyright restrictions; see the list above.",
        limits=(
            "Ten photographs, not ten classes of photographs: a high accuracy says that a place in a known "
            "picture is recognized.",
            "Patches of one split overlap and are not independent: an interval over patches is too narrow; "
            "compare over seeds, which redraw the regions.",
            "Some patches show little (empty sky, dark space), so that no method reaches 100 %.",
        ),
        use="Real textures without a download: augmentation, mixing, self-supervised features.",
        composition=compose(load(), 'data.load("photos")'),
    )


SOURCE = Source("photos", load, fingerprint, card)
