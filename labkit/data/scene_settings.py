"""The settings of ``scenes``: what may be chosen, checked and settled into plain numbers."""

import math
import zlib
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from labkit.data.build import check_count, real
from labkit.data.drawing import STYLES
from labkit.data.shapes import SHAPES
from labkit.data.source import suggest

__all__ = [
    "BACKGROUNDS",
    "COLORS",
    "SIZES",
    "STYLE_NAMES",
    "STYLE_PHRASES",
    "TEST_SETTINGS",
    "Settings",
    "World",
    "settle",
    "world",
]

COLORS = {
    "red": (0.86, 0.20, 0.18),
    "blue": (0.16, 0.36, 0.82),
    "yellow": (0.98, 0.82, 0.20),
    "green": (0.12, 0.58, 0.28),
    "purple": (0.52, 0.24, 0.68),
    "orange": (0.96, 0.52, 0.12),
    "white": (0.97, 0.97, 0.95),
    "black": (0.10, 0.10, 0.13),
    "pink": (0.95, 0.48, 0.70),
    "teal": (0.05, 0.62, 0.64),
}
BACKGROUNDS = {
    "sand": (0.80, 0.71, 0.54),
    "grass": (0.52, 0.65, 0.38),
    "water": (0.40, 0.60, 0.72),
    "clay": (0.68, 0.47, 0.38),
    "stone": (0.58, 0.58, 0.58),
    "lavender": (0.66, 0.60, 0.76),
    "slate": (0.34, 0.39, 0.46),
    "rose": (0.82, 0.64, 0.65),
    "moss": (0.38, 0.43, 0.27),
    "mint": (0.62, 0.79, 0.68),
    "snow": (0.86, 0.88, 0.91),
    "plum": (0.42, 0.29, 0.40),
}
SIZES = {"small": 0.3, "medium": 0.5, "large": math.inf}  # upper ends, share of the image's side
STYLE_PHRASES = {
    "flat": "{}",
    "outline": "{} in outline",
    "striped": "{} in stripes",
    "checked": "{} in checks",
    "sketch": "a sketch of {}",
    "night": "{} at night",
    "inverted": "a negative of {}",
    "pale": "a faded picture of {}",
}
STYLE_NAMES = tuple(STYLES)

TEST_SETTINGS = (
    "objects", "object_size", "rotation", "style", "texture", "difficulty", "noise", "clutter",
    "contrast", "class_weights", "tail", "spurious",
)  # fmt: skip


class World(NamedTuple):
    """What exists in the scenes, the same in both splits.

    image_size: (height, width).  shapes, colors, backgrounds: names.  names: of the classes, the
    unknown ones last; unknown: how many these are.  concept_shape, concept_color: int[classes],
    the shape and the colour of each class (-1: any colour).
    """

    image_size: tuple[int, int]
    shapes: tuple[str, ...]
    colors: tuple[str, ...]
    backgrounds: tuple[str, ...]
    names: tuple[str, ...]
    unknown: int
    unknown_share: float
    concept_shape: np.ndarray
    concept_color: np.ndarray
    nouns: bool

    @property
    def known(self) -> int:
        """How many classes the training split has."""
        return len(self.names) - self.unknown

    def noun(self, concept: int, color: int) -> str:
        """What a caption calls an object: "red star", "red Balfin" or, for a pair, "Balfin"."""
        if self.nouns and self.concept_color[concept] >= 0:
            return self.names[concept]
        name = self.names[concept] if self.nouns else self.shapes[self.concept_shape[concept]]
        return f"{self.colors[color]} {name}"


@dataclass(frozen=True)
class Settings:
    """The settings of one split, checked, with nothing left to derive. Units as in ``scenes.load``."""

    objects: tuple[int, int]
    object_size: tuple[float, float]
    rotation: float
    style: tuple[str, ...]
    texture: float
    noise: float
    clutter: int
    contrast: float
    weights: tuple[float, ...]
    spurious: float | None


def world(image_size, classes, unknown_classes, unknown_share, colors, label, names) -> World:
    """Check what exists in the scenes."""
    size = image_size if isinstance(image_size, tuple | list) else (image_size, image_size)
    if len(size) != 2:
        raise ValueError(f"image_size must be a side or (height, width), got {image_size!r}")
    size = tuple(check_count("image_size", side, low=8, high=512) for side in size)
    known = _named("classes", classes, SHAPES, low=2)
    unknown = _named("unknown_classes", unknown_classes, [s for s in SHAPES if s not in known], low=0)
    colors = _named("colors", colors, COLORS, low=1)
    _choice("label", label, ("shape", "color and shape"))
    _choice("names", names, ("shapes", "nouns"))

    shapes = (*known, *unknown)
    tints = [-1] if label == "shape" else range(len(colors))
    groups = (range(len(known)), range(len(known), len(shapes)))
    concepts = [(shape, tint) for group in groups for tint in tints for shape in group]
    if names == "nouns":
        titles = NOUNS[: len(concepts)]
    else:
        titles = [shapes[s] if t < 0 else f"{colors[t]} {shapes[s]}" for s, t in concepts]
    lost = len(unknown) * len(tints)
    if unknown_share is None:
        unknown_share = lost / len(concepts)
    elif not unknown:
        raise ValueError("unknown_share needs unknown_classes")
    else:
        unknown_share = real("unknown_share", unknown_share, 0, 1)
    return World(
        image_size=size,
        shapes=shapes,
        colors=colors,
        # one for each shape, so that a ground can belong to a class
        backgrounds=tuple(BACKGROUNDS)[: max(6, len(shapes))],
        names=tuple(titles),
        unknown=lost,
        unknown_share=unknown_share,
        concept_shape=np.array([s for s, _ in concepts]),
        concept_color=np.array([t for _, t in concepts]),
        nouns=names == "nouns",
    )


def settle(here: World, given: dict, shifted: frozenset[str] = frozenset()) -> Settings:
    """Check the settings of one split. shifted: those that were given as ``test_<setting>``."""

    def title(name):
        return f"test_{name}" if name in shifted else name

    def number(name, default=None, high=1.0):
        value = default if given[name] is None else given[name]
        return real(title(name), value, 0, high)

    objects = given["objects"] if isinstance(given["objects"], tuple | list) else (given["objects"],) * 2
    objects = tuple(check_count(title("objects"), n, low=1, high=20) for n in objects)
    if len(objects) != 2 or objects[0] > objects[1]:
        raise ValueError(f"{title('objects')} must be a number or (low, high), got {given['objects']!r}")
    style = (given["style"],) if isinstance(given["style"], str) else given["style"]
    difficulty = number("difficulty")
    clutter = round(6 * difficulty) if given["clutter"] is None else given["clutter"]
    return Settings(
        objects=objects,
        object_size=_object_size(title("object_size"), given["object_size"], here),
        rotation=number("rotation", high=180),
        style=_named(title("style"), style, STYLES, low=1),
        texture=number("texture"),
        noise=number("noise", 0.02 + 0.10 * difficulty),
        clutter=check_count(title("clutter"), clutter, low=0, high=100),
        contrast=number("contrast", 1 - 0.6 * difficulty),
        weights=_weights(here.known, given["class_weights"], given["tail"], title),
        spurious=None if given["spurious"] is None else number("spurious"),
    )


def _object_size(name: str, value, here: World) -> tuple[float, float]:
    """(low, high) in [0, 1], at least 4 pixels wide, so that no mask is empty."""
    ends = value if isinstance(value, tuple | list) else (value, value)
    if len(ends) != 2:
        raise ValueError(f"{name} must be a share of the image's side or (low, high), got {value!r}")
    low, high = (real(name, each, 0, 1) for each in ends)
    if low > high:
        raise ValueError(f"{name} must be a share or (low, high) with low <= high, got {value!r}")
    if low * min(here.image_size) < 4:
        smallest = math.ceil(4000 / min(here.image_size)) / 1000
        raise ValueError(
            f"{name} starts at {low}, under 4 pixels at this image_size; take {smallest} or more"
        )
    return (low, high)


def _weights(known: int, class_weights, tail, title) -> tuple[float, ...]:
    """Relative frequency of each known class."""
    if class_weights is not None and tail is not None:
        raise ValueError(f"give {title('class_weights')} or {title('tail')}, not both")
    if tail is not None:
        ratio = real(title("tail"), tail, 1, 1e6)
        return tuple(ratio ** (-k / (known - 1)) for k in range(known))
    if class_weights is None:
        return (1.0,) * known
    if len(class_weights) != known:
        raise ValueError(
            f"{title('class_weights')} needs one weight for each of {known} classes, got {len(class_weights)}"
        )
    weights = tuple(real(title("class_weights"), weight, 0, math.inf) for weight in class_weights)
    if not 0 < sum(weights) < math.inf:
        raise ValueError(f"{title('class_weights')} must have a positive finite sum, got {class_weights}")
    return weights


def _named(name: str, value, options, *, low: int) -> tuple[str, ...]:
    """The first n of the options, or the ones named."""
    options = tuple(options)
    if isinstance(value, int | np.integer):
        return options[: check_count(name, value, low=low, high=len(options))]
    if not isinstance(value, tuple | list):
        raise TypeError(f"{name} must be a number or a sequence of names, got {value!r}")
    for each in value:
        _choice(name, each, options)
    if len(value) < low or len(set(value)) < len(value):
        raise ValueError(f"{name} needs {low} or more different names, got {value!r}")
    return tuple(value)


def _choice(name: str, value, options) -> None:
    if value not in options:
        raise ValueError(f"{name} has no {value!r}; {suggest(value, options)}")


def _nouns() -> tuple[str, ...]:
    """120 invented proper nouns whose spelling says nothing about their place in the list."""
    starts = ("Bal", "Dor", "Fen", "Gri", "Hul", "Jav", "Kem", "Lor", "Mip", "Nuv", "Pel", "Quo")
    ends = ("bo", "dax", "fin", "gor", "lim", "mer", "nok", "pun", "rit", "zel")
    words = [start + end for start in starts for end in ends]
    return tuple(sorted(words, key=lambda word: zlib.crc32(word.encode())))


NOUNS = _nouns()
