"""``digits``: scikit-learn's handwritten digits, plain or placed into a larger canvas."""

import hashlib
from functools import cache

import numpy as np

from labkit.data import build
from labkit.data.card import Card, compose
from labkit.data.source import Source

__all__ = ["SOURCE", "load"]


@cache
def _arrays() -> tuple[np.ndarray, np.ndarray]:
    """Images uint8[1797, 8, 8] and labels int64[1797], as they come with scikit-learn."""
    from sklearn.datasets import load_digits

    digits = load_digits()
    # 16 levels of ink become 0..255; white on black, as in the source
    return np.round(digits.images * (255 / 16)).astype(np.uint8), digits.target.astype(np.int64)


def load(
    *,
    size: int | None = None,
    seed: int = 0,
    test_size: int = 360,
    canvas: int | None = None,
    scale: tuple[float, float] = (0.4, 0.7),
    clutter: int = 4,
):
    """1,797 digits, split anew by each seed, every class with its share in both splits.

    size, test_size: number of training (all the others) and test examples; together at most 1,797.
    canvas: None for the images as they are, 8x8; or the side in pixels, 16 to 256, of a black square
    into which each digit is enlarged (bilinear) and placed at random. Then also:
    scale: (low, high) side of the digit as a share of the canvas; clutter: number of fragments of
    other digits of the same split around it, each a third of its side.
    Columns: image (grey), label; with a canvas also boxes, one (top, left, bottom, right) per
    image, in pixels, end exclusive: the square into which the digit was placed.
    """
    from datasets import ClassLabel, DatasetDict, Features, Image, List, Value

    images, labels = _arrays()
    test_size = build.check_count("test_size", test_size, high=len(labels) - 10)
    rest = len(labels) - test_size
    size = build.check_count("size", rest if size is None else size, high=rest)
    columns = {"image": Image(), "label": ClassLabel(names=[str(k) for k in range(10)])}
    if canvas is not None:
        build.check_count("canvas", canvas, low=16, high=256)
        build.check_count("clutter", clutter, low=0, high=100)
        low, high = (build.real("scale", each, 0, 1) for each in scale)
        if not 8 / canvas <= low <= high:
            raise ValueError(
                f"scale must be (low, high) from 8 pixels up, {8 / canvas:.2f} here, got {scale}"
            )
        columns["boxes"] = List(List(Value("int32"), length=4))

    rng = build.stream(seed, "digits")
    test = build.stratified(labels, test_size, rng)
    others = np.setdiff1d(np.arange(len(labels)), test)
    train = others[build.stratified(labels[others], size, rng)]
    parts = {}
    for split, chosen in (("train", train), ("test", test)):
        content = {"image": images[chosen], "label": labels[chosen]}
        if canvas is not None:
            content["image"], boxes = _place(images[chosen], canvas, scale, clutter, rng)
            content["boxes"] = boxes[:, None].tolist()
        identity = f"digits {fingerprint()} {seed} {size} {test_size} {canvas} {scale} {clutter} {split}"
        parts[split] = build.dataset(content, Features(columns), identity)
    return DatasetDict(parts)


def _place(images: np.ndarray, canvas: int, scale, clutter: int, rng) -> tuple[np.ndarray, np.ndarray]:
    """Enlarge and place: uint8[B, canvas, canvas] and boxes int[B, 4]."""
    count = len(images)
    sides = np.clip(np.round(rng.uniform(*scale, count) * canvas).astype(int), 8, canvas)
    top, left = (np.floor(rng.random((2, count)) * (canvas - sides + 1))).astype(int)
    placed = np.zeros((count, canvas, canvas), np.uint8)
    boxes = np.stack([top, left, top + sides, left + sides], axis=1)
    for side in np.unique(sides):  # digits of one size at a time
        group = np.flatnonzero(sides == side)
        large = _enlarge(images[group], side)
        piece = max(side // 3, 2)
        each, span = group[:, None, None], np.arange(piece)
        for _ in range(clutter):
            giver = rng.integers(len(group), size=len(group))
            y, x = rng.integers(side - piece + 1, size=(2, len(group)))
            r, c = rng.integers(canvas - piece + 1, size=(2, len(group)))
            bits = large[giver[:, None, None], (y[:, None] + span)[:, :, None], (x[:, None] + span)[:, None]]
            rows, columns = (r[:, None] + span)[:, :, None], (c[:, None] + span)[:, None]
            placed[each, rows, columns] = np.maximum(placed[each, rows, columns], bits)
        # The digit's own square is free of clutter, so that its label stays beyond doubt.
        span = np.arange(side)
        placed[each, (top[group, None] + span)[:, :, None], (left[group, None] + span)[:, None]] = large
    return placed, boxes


def _enlarge(images: np.ndarray, side: int) -> np.ndarray:
    import torch

    large = torch.nn.functional.interpolate(
        torch.from_numpy(images)[:, None].float(), size=(int(side),) * 2, mode="bilinear", align_corners=False
    )
    return large[:, 0].round().to(torch.uint8).numpy()


@cache
def fingerprint() -> str:
    images, labels = _arrays()
    return hashlib.sha256(images.tobytes() + labels.tobytes()).hexdigest()[:16]


def card() -> Card:
    return Card(
        name="digits",
        summary="1,797 handwritten digits of 8x8 pixels, from 13 people.",
        origin="scikit-learn's copy of the test set of Alpaydin and Kaynak (1998), *Optical Recognition of "
        "Handwritten Digits*, UCI Machine Learning Repository, doi:10.24432/C50P49; bundled with it.",
        licence="CC BY 4.0 (UCI Machine Learning Repository).",
        limits=(
            "Writers are not recorded in this copy, so the same writer is in both splits: "
            "test accuracy is that on known hands.",
            "Nearly solved: a linear model reaches about 96 %. Use few labels, or a canvas with clutter.",
            "8x8 pixels: operations that need fine detail show little.",
        ),
        use="Real images for quick runs without a download: few labels, label noise, augmentation; with "
        "`canvas=` small objects with known boxes.",
        composition=compose(load(), 'data.load("digits")'),
    )


SOURCE = Source("digits", load, fingerprint, card)
