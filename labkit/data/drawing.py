"""Draw many scenes at once: grounds, objects with soft edges, styles.

Coordinates are in pixels; pixel (0, 0) has its centre at (0.5, 0.5).
"""

from typing import NamedTuple

import numpy as np

from labkit.data.shapes import EXTENT, RESOLUTION, distance_table

__all__ = ["STYLES", "Looks", "Objects", "boxes_of", "finish", "ground", "paint", "places"]

# How objects are filled, and what is done to the whole image.
STYLES = {
    "flat": ("solid", "none"),
    "outline": ("line", "none"),
    "striped": ("stripes", "none"),
    "checked": ("checks", "none"),
    "sketch": ("line", "paper"),
    "night": ("solid", "dark"),
    "inverted": ("solid", "negative"),
    "pale": ("solid", "pale"),
}


class Objects(NamedTuple):
    """One object in each of B images.

    shape: int[B], a row of the distance table.  row, column, radius: float[B], in pixels.
    angle: float[B], radians, clockwise.  color: float[B, 3] in [0, 1].
    fill: str[B], "solid", "line", "stripes" or "checks".  present: bool[B].
    """

    shape: np.ndarray
    row: np.ndarray
    column: np.ndarray
    radius: np.ndarray
    angle: np.ndarray
    color: np.ndarray
    fill: np.ndarray
    present: np.ndarray


class Looks(NamedTuple):
    """What happens to the whole image: ``tone`` str[B] of STYLES, ``noise`` (standard deviation)."""

    tone: np.ndarray
    noise: float


def ground(
    colors: np.ndarray, shape: tuple[int, int], texture: float, rng: np.random.Generator
) -> np.ndarray:
    """Textured grounds float32[B, H, W, 3]: waves, stripes, checks or clouds in two shades.

    colors: float[B, 3].  texture: strength in [0, 1]; 0 is one plain colour.
    """
    count, (height, width) = len(colors), shape
    if texture == 0:
        return np.broadcast_to(colors[:, None, None].astype(np.float32), (count, height, width, 3)).copy()
    waves = 3
    kind = rng.integers(4, size=count)
    # Cycles over the image, so that a scene looks alike at every resolution.
    cycles = np.where(
        (kind == 3)[:, None], rng.uniform(0.5, 2.0, (count, waves)), rng.uniform(2.0, 6.0, (count, waves))
    )
    direction = rng.uniform(0, np.pi, (count, waves))
    direction[kind == 2, 1] = direction[kind == 2, 0] + np.pi / 2  # checks: two waves at right angles
    share = np.zeros((count, waves))
    share[kind == 0] = (0.5, 0.3, 0.2)
    share[kind == 1] = (1.0, 0.0, 0.0)
    share[kind == 2] = (0.6, 0.6, 0.0)
    share[kind == 3] = (0.5, 0.4, 0.3)
    # A plane wave is a product of a row and a column wave, so only H + W sines are needed.
    down = np.exp(2j * np.pi * (cycles * np.sin(direction))[..., None] * (np.arange(height) + 0.5) / height)
    right = np.exp(2j * np.pi * (cycles * np.cos(direction))[..., None] * (np.arange(width) + 0.5) / width)
    down *= (share * np.exp(2j * np.pi * rng.random((count, waves))))[..., None]
    down, right = down.astype(np.complex64), right.astype(np.complex64)
    # The real part of the sum of products, as one real matrix product.
    left = np.concatenate([down.real, -down.imag], axis=1).transpose(0, 2, 1)
    field = left @ np.concatenate([right.real, right.imag], axis=1)
    field = np.clip(1.6 * field, -1, 1) * np.float32(0.25 * texture)
    tint = (colors * rng.uniform(0.75, 1.2, (count, 3))).astype(np.float32)  # the second shade
    return colors[:, None, None].astype(np.float32) + field[..., None] * tint[:, None, None]


def places(
    image_size: tuple[int, int], radius: np.ndarray, present: np.ndarray, rng: np.random.Generator
) -> np.ndarray:
    """Random centres float[B, N, 2] (row, column) of N circles in each image, in pixels.

    image_size: (height, width).  radius: float[B, N].  present: bool[B, N].
    Circles lie wholly inside the image, and their centres apart by 0.85 of the sum of their radii, so that
    every object is mostly visible. Raises ValueError where that is not found by redrawing.
    """
    span = np.array(image_size) - 2 * radius[..., None]
    center = radius[..., None] + rng.random((*radius.shape, 2)) * span
    both = present[:, :, None] & present[:, None, :]
    earlier = np.tril(np.ones(both.shape[1:], bool), -1)
    for _ in range(400):
        apart = np.linalg.norm(center[:, :, None] - center[:, None], axis=-1)
        clash = ((apart < 0.85 * (radius[:, :, None] + radius[:, None])) & both & earlier).any(axis=2)
        if not clash.any():
            return center
        redrawn = radius[..., None] + rng.random((*radius.shape, 2)) * span
        # Moving only the later object of a pair can get stuck beside an unlucky first one.
        again = clash | (clash.any(axis=1) & (rng.random(len(clash)) < 0.1))[:, None]
        center[again] = redrawn[again]
    raise ValueError("the scenes are too full: lower objects or object_size")


def paint(images: np.ndarray, masks: np.ndarray | None, objects: Objects, number: int = 0) -> None:
    """Draw one object into each image, in place, over what is there.

    images: float32[B, H, W, 3].  masks: uint8[B, H, W] or None; pixels whose greater part the
    object covers are set to ``number``. In line style too the mask is the whole shape.
    """
    keep = np.flatnonzero(objects.present)
    if not len(keep):
        return
    item = Objects(*(values[keep] for values in objects))
    height, width = images.shape[1:3]
    # Only a window around each object is touched; all windows have one size.
    window = int(np.ceil(2 * item.radius.max())) + 4
    tall, wide = min(window, height), min(window, width)
    top = np.clip(np.floor(item.row - item.radius - 1).astype(int), 0, height - tall)
    left = np.clip(np.floor(item.column - item.radius - 1).astype(int), 0, width - wide)
    rows, columns = top[:, None] + np.arange(tall), left[:, None] + np.arange(wide)

    y = ((rows + 0.5 - item.row[:, None]) / item.radius[:, None]).astype(np.float32)[:, :, None]
    x = ((columns + 0.5 - item.column[:, None]) / item.radius[:, None]).astype(np.float32)[:, None, :]
    cos, sin = (f(item.angle).astype(np.float32)[:, None, None] for f in (np.cos, np.sin))
    u, v = cos * x + sin * y, cos * y - sin * x  # into the shape's own directions
    distance = _look_up(item.shape, u, v) * item.radius.astype(np.float32)[:, None, None]  # in pixels

    inside = np.clip(0.5 - distance, 0, 1)
    cover = inside
    lines = np.flatnonzero(item.fill == "line")
    if len(lines):
        half = np.maximum(0.7, 0.11 * item.radius[lines]).astype(np.float32)[:, None, None]
        # the line lies inside the shape's edge
        cover = inside.copy()
        cover[lines] = np.minimum(inside[lines], np.clip(0.5 + half - np.abs(distance[lines] + half), 0, 1))
    shade = _shade(item.fill, u, v)
    each, r, c = keep[:, None, None], rows[:, :, None], columns[:, None, :]
    color = item.color.astype(np.float32)[:, None, None]
    if shade is not None:
        color = color * shade[..., None]
    below = images[each, r, c]
    images[each, r, c] = below + cover[..., None] * (color - below)
    if masks is not None:
        part = masks[each, r, c]
        part[inside > 0.5] = number
        masks[each, r, c] = part


def _look_up(shape: np.ndarray, u: np.ndarray, v: np.ndarray) -> np.ndarray:
    """Signed distance at (u, v), bilinear in the table; far outside it is cut off at the border."""
    table = distance_table().ravel()
    step = (RESOLUTION - 1) / (2 * EXTENT)
    column = np.clip((u + EXTENT) * step, 0, RESOLUTION - 1.001)
    row = np.clip((v + EXTENT) * step, 0, RESOLUTION - 1.001)
    i, j = row.astype(np.int32), column.astype(np.int32)
    a, b = row - i, column - j
    start = shape.astype(np.int32)[:, None, None] * (RESOLUTION * RESOLUTION) + i * RESOLUTION + j
    upper = table[start] * (1 - b) + table[start + 1] * b
    lower = table[start + RESOLUTION] * (1 - b) + table[start + RESOLUTION + 1] * b
    return upper * (1 - a) + lower * a


def _shade(fill: np.ndarray, u: np.ndarray, v: np.ndarray) -> np.ndarray | None:
    """Brightness of the fill, float32[B, h, w]; None where everything is solid."""
    striped, checked = np.flatnonzero(fill == "stripes"), np.flatnonzero(fill == "checks")
    if not len(striped) and not len(checked):
        return None
    shade = np.ones(u.shape, np.float32)
    shade[striped] = 0.68 + 0.42 * np.clip(2.5 * np.sin(9 * (u[striped] + 0.4 * v[striped])), -1, 1)
    waves = np.sin(8.1 * u[checked] + 1.3) * np.sin(7.3 * v[checked] - 0.6)
    shade[checked] = 0.75 + 0.45 * np.clip(3 * waves, -1, 1)
    return shade


def finish(images: np.ndarray, looks: Looks, rng: np.random.Generator) -> np.ndarray:
    """Apply the tones, add noise, and round to uint8[B, H, W, 3]."""
    grey = np.array([0.3, 0.59, 0.11], np.float32)
    for tone in np.unique(looks.tone):
        chosen = np.flatnonzero(looks.tone == tone)
        part = images[chosen]
        if tone == "paper":  # pencil on paper: grey values, the ground bleached
            part = np.broadcast_to((part @ grey)[..., None], part.shape)
        elif tone == "dark":
            part = part * np.array([0.36, 0.40, 0.55], np.float32)
        elif tone == "negative":
            part = 1 - part
        elif tone == "pale":
            part = 0.7 + 0.35 * (part - 0.5)
        images[chosen] = part
    if looks.noise > 0:
        images += rng.standard_normal(images.shape, np.float32) * np.float32(looks.noise)
    return (np.clip(images, 0, 1) * 255 + 0.5).astype(np.uint8)


def boxes_of(masks: np.ndarray, number: int) -> np.ndarray:
    """Tight boxes int64[B, 4] (top, left, bottom, right), end exclusive, of the pixels == number.

    >>> masks = np.zeros((1, 5, 5), np.uint8)
    >>> masks[0, 1:3, 2:5] = 1
    >>> boxes_of(masks, 1).tolist()
    [[1, 2, 3, 5]]
    """
    found = masks == number
    rows, columns = found.any(axis=2), found.any(axis=1)
    height, width = found.shape[1:]
    box = np.stack(
        [
            rows.argmax(axis=1),
            columns.argmax(axis=1),
            height - rows[:, ::-1].argmax(axis=1),
            width - columns[:, ::-1].argmax(axis=1),
        ],
        axis=1,
    )
    box[~rows.any(axis=1)] = 0
    return box
