"""``scenes``: captioned shapes on textured grounds, with exact boxes and masks.

Everything is drawn from the seed, so any number of examples can be had, and every shift between
training and test data can be set: style, sizes, classes, their frequencies, the background.
"""

import hashlib

import numpy as np

from labkit.data import build, drawing
from labkit.data.card import Card, compose
from labkit.data.scene_settings import (
    BACKGROUNDS,
    COLORS,
    SIZES,
    STYLE_NAMES,
    STYLE_PHRASES,
    TEST_SETTINGS,
    Settings,
    World,
    settle,
    world,
)
from labkit.data.shapes import CLUTTER, SHAPES
from labkit.data.source import Source

__all__ = ["SOURCE", "load"]

VERSION = 1  # raise it whenever the same seed gives other pixels or captions
BALANCED = {"class_weights": None, "tail": None, "spurious": None}  # the test split, unless told otherwise
CHUNK = 256  # images drawn at a time: what fits the processor's cache


def load(
    *,
    size: int | None = None,
    seed: int = 0,
    split: str | None = None,
    test_size: int = 500,
    image_size: int | tuple[int, int] = 32,
    classes: int | tuple[str, ...] = 6,
    unknown_classes: int | tuple[str, ...] = 0,
    unknown_share: float | None = None,
    colors: int | tuple[str, ...] = 8,
    label: str = "shape",
    names: str = "shapes",
    objects: int | tuple[int, int] = 1,
    object_size: float | tuple[float, float] = (0.35, 0.65),
    rotation: float = 20,
    style: str | tuple[str, ...] = "flat",
    texture: float = 0.5,
    difficulty: float = 0.3,
    noise: float | None = None,
    clutter: int | None = None,
    contrast: float | None = None,
    class_weights: tuple[float, ...] | None = None,
    tail: float | None = None,
    spurious: float | None = None,
    **test,
):
    """Draw captioned scenes. Returns a ``DatasetDict`` with train and test, or with ``split`` alone.

    size, test_size: number of training (2,000) and test examples.
    image_size: side in pixels, or (height, width), from 8 to 512.

    *What is in the scenes.* classes: how many shapes, or their names, in the order of the labels.
    colors: how many colours, or their names. label: "shape", or "color and shape" (one class for
    each pair). objects: how many per image, or (low, high); the first is the largest, lies in
    front and gives the label. object_size: diameter of the circle around an object, as a share of
    the image's shorter side, or (low, high); 4 pixels or more. rotation: largest angle either way, degrees.
    names: "shapes", or "nouns" (captions and classes use invented proper nouns).

    *How they look.* style: one of flat, outline, striped, checked, sketch, night, inverted, pale, or
    several, drawn evenly. texture: strength of the ground's pattern in [0, 1]. difficulty: one
    dial in [0, 1] for three settings, each of which may be set by itself: noise, the standard deviation
    per pixel, 0.02 + 0.08 difficulty; clutter, the number of fragments, 6 difficulty; contrast, between
    object and ground, 1 - 0.5 difficulty.

    *How often.* class_weights: relative frequency per class. tail: how many times more frequent the
    first class is than the last, falling geometrically. Counts are exact. spurious: the probability
    that the ground is the one that belongs to the class; otherwise it is one of the others. None:
    the ground is independent of the class. unknown_classes: how many further shapes, or which,
    appear in the test split only, with the last labels; unknown_share: their share of the test
    split, in (0, 1); None: as frequent as the others.

    *Shift.* ``test_<setting>`` sets objects, object_size, rotation, style, texture, difficulty, noise,
    clutter, contrast, class_weights, tail or spurious for the test split only. By default the test
    split looks like the training split, its classes are equally frequent and its grounds independent.

    Columns: image; label; caption; boxes (top, left, bottom, right) per object, pixels, end exclusive,
    tight around the visible pixels; shapes and colors, per object; mask, an image of 0 for the
    ground and n for the visible pixels of object n (whole shapes, in line styles too);
    background, style, size (small, medium, large), of the main object.
    Raises ValueError or TypeError naming the setting.
    """
    from datasets import DatasetDict

    SOURCE.check(test)
    size = build.check_count("size", 2000 if size is None else size)
    test_size = build.check_count("test_size", test_size)
    here = world(image_size, classes, unknown_classes, unknown_share, colors, label, names)
    looks = {
        "objects": objects,
        "object_size": object_size,
        "rotation": rotation,
        "style": style,
        "texture": texture,
        "difficulty": difficulty,
        "noise": noise,
        "clutter": clutter,
        "contrast": contrast,
    }
    frequencies = {"class_weights": class_weights, "tail": tail, "spurious": spurious}
    shift = {name.removeprefix("test_"): value for name, value in test.items()}
    parts = {
        "train": (size, settle(here, looks | frequencies)),
        "test": (test_size, settle(here, looks | BALANCED | shift, frozenset(shift))),
    }
    identity = f"scenes {VERSION} {seed} {here} {parts}"
    return DatasetDict(
        {
            part: build.dataset(
                _draw(here, settings, count, seed, part),
                _features(here),
                f"{identity} {part}",
            )
            for part, (count, settings) in parts.items()
            if split in (None, part)
        }
    )


def _features(here: World):
    from datasets import ClassLabel, Features, Image, List, Value

    return Features(
        {
            "image": Image(),
            "label": ClassLabel(names=list(here.names)),
            "caption": Value("string"),
            "boxes": List(List(Value("int32"), length=4)),
            "shapes": List(ClassLabel(names=list(here.shapes))),
            "colors": List(ClassLabel(names=list(here.colors))),
            "mask": Image(),
            "background": ClassLabel(names=list(here.backgrounds)),
            "style": ClassLabel(names=list(STYLE_NAMES)),
            "size": ClassLabel(names=list(SIZES)),
        }
    )


def _draw(here: World, settings: Settings, count: int, seed: int, split: str) -> dict:
    """The columns of one split."""
    # A stream for each use: a change of one setting leaves the rest of a scene as it is.
    uses = ("layout", "background", "style", "ground", "clutter", "noise")
    rng, background_rng, style_rng, *streams = (build.stream(seed, "scenes", split, use) for use in uses)
    weights = np.array(settings.weights) / sum(settings.weights)
    frequency = np.concatenate([weights, np.zeros(here.unknown)])
    if split == "test" and here.unknown:
        frequency *= 1 - here.unknown_share
        frequency[here.known :] = here.unknown_share / here.unknown
    labels = rng.permutation(np.repeat(np.arange(len(frequency)), build.allocate(count, frequency)))
    low, high = settings.objects
    number = rng.integers(low, high + 1, count)

    # The concept of every object: the label first, companions as frequent as the classes.
    concepts = rng.choice(len(weights), (count, high), p=weights)
    concepts[:, 0] = labels
    shape = here.concept_shape[concepts]  # an index into here.shapes
    color = here.concept_color[concepts]
    color = np.where(color < 0, rng.integers(len(here.colors), size=color.shape), color)

    grounds = len(here.backgrounds)
    own = labels % grounds
    others = (own + background_rng.integers(1, grounds, count)) % grounds
    background = np.where(background_rng.random(count) < (settings.spurious or 0), own, others)
    if settings.spurious is None:
        background = background_rng.integers(grounds, size=count)
    style = style_rng.choice([STYLE_NAMES.index(each) for each in settings.style], count)

    present = np.arange(high) < number[:, None]
    share = np.where(present, rng.uniform(*settings.object_size, (count, high)), 0)
    share = -np.sort(-share, axis=1)  # the main object is the largest
    side = min(here.image_size)
    radius = share * side / 2
    center = drawing.places(here.image_size, radius, present, rng)
    angle = np.deg2rad(rng.uniform(-settings.rotation, settings.rotation, (count, high)))

    images = np.empty((count, *here.image_size, 3), np.uint8)
    masks = np.zeros((count, *here.image_size), np.uint8)
    rows_of = np.array([SHAPES.index(name) for name in here.shapes])[shape]
    paint = _colors(COLORS, here.colors, color, rng)
    floor = _colors(BACKGROUNDS, here.backgrounds, background, rng)
    for start in range(0, count, CHUNK):
        part = slice(start, start + CHUNK)
        items = (rows_of[part], center[part], radius[part], angle[part], paint[part], present[part])
        images[part] = _render(masks[part], items, floor[part], style[part], settings, streams)

    boxes = np.stack([drawing.boxes_of(masks, n + 1) for n in range(high)], axis=1)
    words = _size_words(share)
    return {
        "image": images,
        "label": labels,
        "caption": _captions(here, concepts, color, words, background, style, number),
        "boxes": [row[:n].tolist() for row, n in zip(boxes, number, strict=True)],
        "shapes": [row[:n] for row, n in zip(shape.tolist(), number, strict=True)],
        "colors": [row[:n] for row, n in zip(color.tolist(), number, strict=True)],
        "mask": masks,
        "background": background,
        "style": style,
        "size": words[:, 0],
    }


def _render(masks, items, grounds, style, settings: Settings, streams) -> np.ndarray:
    """Draw one chunk: ground, clutter, objects from back to front, tone and noise."""
    rows, center, radius, angle, color, present = items
    count, height, width = masks.shape
    fill, tone = (np.array([drawing.STYLES[name][k] for name in STYLE_NAMES])[style] for k in (0, 1))
    paper = tone == "paper"
    grounds = np.where(paper[:, None], 0.8 + 0.2 * grounds, grounds)
    ground_rng, rng, noise_rng = streams
    images = drawing.ground(grounds, (height, width), settings.texture, ground_rng)

    def toward(color):  # lower contrast: mix with the ground; pencils are dark
        color = np.where(paper[:, None], 0.3 * color, color)
        return grounds + settings.contrast * (color - grounds)

    for _ in range(settings.clutter):
        bits = rng.uniform(0.05, 0.11, count) * min(height, width)
        piece = drawing.Objects(
            shape=len(SHAPES) + rng.integers(len(CLUTTER), size=count),
            row=rng.uniform(0, height, count),
            column=rng.uniform(0, width, count),
            radius=np.maximum(bits, 0.8),
            angle=rng.uniform(0, np.pi, count),
            color=toward(np.array(list(COLORS.values()))[rng.integers(len(COLORS), size=count)]),
            fill=np.full(count, "solid"),
            present=np.ones(count, bool),
        )
        drawing.paint(images, None, piece)
    for n in reversed(range(radius.shape[1])):
        thing = drawing.Objects(
            rows[:, n], center[:, n, 0], center[:, n, 1], radius[:, n], angle[:, n],
            toward(color[:, n]), fill, present[:, n],
        )  # fmt: skip
        drawing.paint(images, masks, thing, n + 1)
    return drawing.finish(images, drawing.Looks(tone, settings.noise), noise_rng)


def _colors(palette: dict, names, index: np.ndarray, rng) -> np.ndarray:
    """Colours float[..., 3] of a palette, each a little different."""
    table = np.array([palette[name] for name in names])
    return np.clip(table[index] + rng.normal(0, 0.025, (*index.shape, 3)), 0, 1)


def _size_words(share: np.ndarray) -> np.ndarray:
    return np.digitize(share, list(SIZES.values())[:-1])


def _captions(here: World, concepts, color, words, background, style, number) -> list[str]:
    sizes = list(SIZES)

    def phrase(i, n):
        return f"a {sizes[words[i, n]]} {here.noun(concepts[i, n], color[i, n])}"

    captions = []
    for i, count in enumerate(number):
        things = [phrase(i, n) for n in range(count)]
        listed = things[0] if count == 1 else f"{', '.join(things[:-1])} and {things[-1]}"
        scene = f"{listed} on {here.backgrounds[background[i]]}"
        captions.append(STYLE_PHRASES[STYLE_NAMES[style[i]]].format(scene))
    return captions


def fingerprint() -> str:
    """Procedural data are determined by the version of their generator."""
    return hashlib.sha256(f"scenes {VERSION}".encode()).hexdigest()[:16]


def card() -> Card:
    return Card(
        name="scenes",
        summary="Captioned scenes of simple shapes on textured grounds, drawn from a seed, "
        "with exact boxes, masks and attributes.",
        origin="Drawn by `labkit.data.scenes`; no outside source.",
        licence="MIT, as the code that draws them.",
        limits=(
            "Synthetic: a gain here shows that a mechanism works, not that it works on photographs.",
            "Objects are rigid, evenly lit and never cut off by the border.",
            "Styles are caricatures of a shift of domain, all of them larger than between two cameras.",
        ),
        use="Questions that need exact ground truth or a shift that is known and can be turned up: "
        "label truth under mixing, small objects, spurious backgrounds, long tails, unknown classes.",
        composition=compose(load(), 'data.load("scenes")'),
    )


SOURCE = Source("scenes", load, fingerprint, card, test_settings=TEST_SETTINGS)
