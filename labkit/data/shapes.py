"""The shapes of ``scenes``, as tables of signed distance.

Every shape lies inside the unit circle, so that it can be turned by any angle without leaving
the circle that its size describes. Distances are negative inside and positive outside.
"""

from functools import cache

import numpy as np

__all__ = ["CLUTTER", "SHAPES", "distance_table"]

SHAPES = (
    "circle",
    "square",
    "triangle",
    "star",
    "cross",
    "ring",
    "heart",
    "arrow",
    "crescent",
    "diamond",
    "bolt",
    "drop",
)
CLUTTER = ("bar", "arc")  # fragments that look like no class, even when objects are small

EXTENT = 1.3  # the table covers [-EXTENT, EXTENT] in both directions, room for soft edges
RESOLUTION = 131


@cache
def distance_table() -> np.ndarray:
    """Signed distances float32[shapes + clutter, RESOLUTION, RESOLUTION], in units of the radius."""
    axis = np.linspace(-EXTENT, EXTENT, RESOLUTION)
    y, x = np.meshgrid(axis, axis, indexing="ij")  # y points down, as rows do
    radius = np.hypot(x, y)
    turn = np.linspace(0, 2 * np.pi, 48, endpoint=False)

    star = np.where(np.arange(10) % 2 == 0, 1.0, 0.45)
    heart = np.stack(
        [
            16 * np.sin(turn) ** 3,
            -13 * np.cos(turn) + 5 * np.cos(2 * turn) + 2 * np.cos(3 * turn) + np.cos(4 * turn),
        ]
    ).T
    drop = np.stack([np.sin(turn) * np.sin(turn / 2) ** 1.6, -np.cos(turn)]).T * [0.82, 1]
    a = 0.34  # half the width of the cross's arms
    cross = [
        (-a, -1),
        (a, -1),
        (a, -a),
        (1, -a),
        (1, a),
        (a, a),
        (a, 1),
        (-a, 1),
        (-a, a),
        (-1, a),
        (-1, -a),
        (-a, -a),
    ]
    arrow = [
        (0, -1),
        (0.85, -0.05),
        (0.34, -0.05),
        (0.34, 0.94),
        (-0.34, 0.94),
        (-0.34, -0.05),
        (-0.85, -0.05),
    ]
    bolt = [(0.3, -0.95), (-0.62, 0.15), (-0.1, 0.15), (-0.34, 0.94), (0.62, -0.2), (0.08, -0.2)]

    tables = {
        "circle": radius - 0.88,
        "square": _polygon(x, y, [(-0.7, -0.7), (0.7, -0.7), (0.7, 0.7), (-0.7, 0.7)]),
        "triangle": _polygon(x, y, _polar(np.ones(3))),
        "star": _polygon(x, y, _polar(star)),
        "cross": _polygon(x, y, np.array(cross) * 0.94),
        "ring": np.abs(radius - 0.7) - 0.25,
        "heart": _polygon(x, y, heart / 17.6 + [0, -0.08]),
        "arrow": _polygon(x, y, arrow),
        "crescent": np.maximum(radius - 0.95, 0.74 - np.hypot(x - 0.42, y)),
        "diamond": _polygon(x, y, [(0, -1), (0.55, 0), (0, 1), (-0.55, 0)]),
        "bolt": _polygon(x, y, bolt),
        "drop": _polygon(x, y, drop),
        "bar": _polygon(x, y, [(-0.95, -0.22), (0.95, -0.22), (0.95, 0.22), (-0.95, 0.22)]),
        "arc": np.maximum(np.abs(radius - 0.75) - 0.17, y - 0.1),
    }
    return np.stack([tables[name] for name in (*SHAPES, *CLUTTER)]).astype(np.float32)


def _polar(radii: np.ndarray) -> np.ndarray:
    """Corners at equal angles, the first at the top, as (x, y)."""
    angle = 2 * np.pi * np.arange(len(radii)) / len(radii)
    return np.stack([radii * np.sin(angle), -radii * np.cos(angle)]).T


def _polygon(x: np.ndarray, y: np.ndarray, corners) -> np.ndarray:
    """Signed distance to a polygon: distance to the nearest edge, sign by crossings of a ray."""
    corners = np.asarray(corners, float)
    nearest = np.full(x.shape, np.inf)
    inside = np.zeros(x.shape, bool)
    for (x0, y0), (x1, y1) in zip(corners, np.roll(corners, -1, axis=0), strict=True):
        dx, dy = x1 - x0, y1 - y0
        along = np.clip(((x - x0) * dx + (y - y0) * dy) / (dx * dx + dy * dy), 0, 1)
        nearest = np.minimum(nearest, np.hypot(x - x0 - along * dx, y - y0 - along * dy))
        crosses = (y0 > y) != (y1 > y)
        inside ^= crosses & (x < x0 + (y - y0) * dx / np.where(dy == 0, 1, dy))
    return np.where(inside, -nearest, nearest)
