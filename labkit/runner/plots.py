"""A sweep as a picture: any value over any swept parameter, with its mean, its interval and every run."""

from __future__ import annotations

import io
from pathlib import Path
from textwrap import wrap
from typing import TYPE_CHECKING

from labkit.papers.order import nearest
from labkit.runner import notebooks
from labkit.runner.sweep import parameters

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from labkit.show.figures import Shown

__all__ = ["plot", "save_plot"]

# What a table holds in numbers; of a run's seconds there is one, of the others one for each seed.
NUMBERS = ("value", "difference", "seconds")
_KEYS = ("variant", "claim", "metric")  # what a name means: of two, the later


def plot(frame, value: str = "value", over: str | None = None) -> Shown:
    """Draw a sweep's table: points per run and seed, their mean, and its 95 % interval (Student's).

    frame: of `labkit.runner.table`.  value: a column ("value", "difference", "seconds"), or a metric, a claim
    or a variant, whose values are then meant.  over: a swept parameter; without it the one that was swept.
    One panel for each claim, one line for each variant and each value of the other swept parameters. Where
    there is one point there is no interval.
    Raises ValueError for a name that the table lacks, with the nearest that it has, for a parameter that has
    one value only, and for a table without such values.
    """
    from labkit import show

    value, over, rows = select(frame, value, over)
    numbers = summary(rows, value, over)
    told = f"{_words(value)} over {over}, from {numbers[0][over]} to {numbers[-1][over]}"
    lines = ", ".join(dict.fromkeys(row["line"] for row in numbers if row["line"]))
    alt = f"{told[0].upper()}{told[1:]}: mean, interval and points{f' of {lines}' if lines else ''}."
    return show.figure(draw(rows, value, over), alt=alt, numbers=numbers)


def save_plot(frame, value: str, over: str | None, stem: Path) -> tuple[Path, Path]:
    """Write a plot as ``<stem>.png`` and ``<stem>.svg``, each whole or not at all. Errors as in `plot`."""
    from labkit.show.encoding import png, render
    from labkit.show.theme import styled

    value, over, rows = select(frame, value, over)
    files = stem.with_name(f"{stem.name}.png"), stem.with_name(f"{stem.name}.svg")
    picture = io.BytesIO()
    with styled():
        draw(rows, value, over).savefig(picture, format="svg", metadata={"Date": None})
    notebooks.write_bytes(files[1], picture.getvalue())
    notebooks.write_bytes(files[0], png(render(draw(rows, value, over))))
    return files


def swept(frame) -> list[str]:
    """The parameters that have more than one value in a table; the seed, which is not drawn over, aside."""
    return [name for name in parameters(frame) if frame[name].nunique() > 1]


def select(frame, value: str, over: str | None) -> tuple[str, str, object]:
    """The column to draw, the parameter to draw it over, and the rows that have it."""
    rows = frame[frame["status"] == "ok"] if "status" in frame else frame
    if value not in NUMBERS:
        known = {name: key for key in _KEYS for name in rows[key].dropna().unique()}
        if value not in known:
            raise ValueError(f"the table has no value called {value!r}{nearest(value, [*NUMBERS, *known])}")
        rows, value = rows[rows[known[value]] == value], "value"
    if over is None:
        if len(swept(frame)) != 1:
            names = ", ".join(swept(frame)) or "none"
            raise ValueError(f"say over which parameter; several values have: {names}")
        (over,) = swept(frame)
    if over not in parameters(frame):
        raise ValueError(f"the table has no parameter {over!r}{nearest(over, parameters(frame))}")
    if frame[over].nunique() < 2:
        raise ValueError(f"parameter {over!r} has one value, {frame[over].iloc[0]}; a plot takes two or more")
    rows = rows.dropna(subset=[value])
    if value == "seconds":
        rows = rows.drop_duplicates("run").assign(claim=None, metric=None, unit="s", variant=None)
    if rows.empty:
        raise ValueError(f"no run of this table has a {value}")
    return value, over, rows


def _lines(rows, over: str) -> list[tuple[str, object]]:
    """The rows of each line, by variant and by the other swept parameters, with its name."""
    others = [name for name in swept(rows) if name not in (over, "profile")]
    by = [*(["variant"] if rows["variant"].nunique() else []), *others]
    if not by:
        return [("", rows)]
    groups = rows.groupby(by, sort=False, dropna=False)
    return [(_line(by, values), part) for values, part in groups]


def _line(by: list[str], values: tuple) -> str:
    shown = zip(by, values, strict=True)
    return ", ".join(str(value) if name == "variant" else f"{name} = {value}" for name, value in shown)


def _panels(rows) -> list[tuple[str | None, object]]:
    """The rows of each claim: different claims measure different things."""
    return list(rows.groupby("claim", sort=False)) if rows["claim"].nunique() else [(None, rows)]


def summary(rows, value: str, over: str) -> list[dict]:
    """The numbers that are drawn: mean, interval and count for each line at each value of the parameter."""
    return [
        {over: x, "claim": claim, "line": line} | numbers
        for claim, panel in _panels(rows)
        for line, part in _lines(panel, over)
        for x, numbers in _means(part, value, over)
    ]


def _means(part, value: str, over: str) -> list[tuple[object, dict]]:
    """For each value of the parameter: the count of points, their mean, and its interval from two on."""
    from labkit.statistics import interval

    found = []
    for x, points in part.groupby(over, sort=True):
        numbers = points[value].tolist()
        low, high = interval(numbers)[1:3] if len(numbers) > 1 else (None, None)
        mean = sum(numbers) / len(numbers)
        found.append((x, {"n": len(numbers), "mean": mean, "low": low, "high": high}))
    return found


def draw(rows, value: str, over: str) -> Figure:
    """The figure alone: what `plot` shows and `save_plot` writes."""
    import numpy as np
    from matplotlib.figure import Figure

    from labkit.show.theme import WIDTH, styled

    panels = [(claim, panel, _lines(panel, over)) for claim, panel in _panels(rows)]
    names = list(dict.fromkeys(line for _, _, lines in panels for line, _ in lines))
    xs = sorted(rows[over].unique())
    named = not all(isinstance(x, int | float | np.number) and not isinstance(x, bool | np.bool_) for x in xs)
    places = dict(zip(xs, range(len(xs)) if named else map(float, xs), strict=True))
    # Lines stand a little apart, so that one does not hide the points of another.
    apart = 0.06 * min(np.diff(list(places.values())))
    handles = {}
    with styled():
        figure = Figure(figsize=(WIDTH, 3.2 * len(panels) + 0.25 * len(names)))
        for axes, (claim, panel, lines) in zip(np.ravel(figure.subplots(len(panels))), panels, strict=True):
            for line, part in lines:
                number = names.index(line)
                aside = apart * (number - (len(names) - 1) / 2)
                beside = {x: place + aside for x, place in places.items()}
                handles[line] = _draw_line(axes, part, value, over, beside, number)
            if named or len(xs) <= 8:
                axes.set_xticks(list(places.values()), list(map(str, xs)))
            axes.set_xlabel(over)
            axes.set_ylabel("\n".join(wrap(_label(panel, value), 28)))  # or it is taller than the axes
            if claim:
                axes.set_title(claim)
        if any(names):
            figure.legend([handles[name] for name in names], names, loc="outside upper left")
    return figure


def _draw_line(axes, part, value: str, over: str, places: dict, number: int):
    """Points, mean and interval of one line; returns what stands for it in the legend."""
    from labkit.show.theme import COLORS, MARKERS, MORE_COLORS, MORE_MARKERS

    roles = ("method", "control", "baseline")
    colors, markers = [COLORS[role] for role in roles], [MARKERS[role] for role in roles]
    color = [*colors, *MORE_COLORS][number % (3 + len(MORE_COLORS))]
    marker = [*markers, *MORE_MARKERS][number % (3 + len(MORE_MARKERS))]
    axes.plot([places[x] for x in part[over]], part[value], ".", color=color, alpha=0.35, zorder=2)
    means = _means(part, value, over)
    sure = [(places[x], row["low"], row["high"]) for x, row in means if row["n"] > 1]
    if sure:
        axes.vlines(*zip(*sure, strict=True), color=color, linewidth=4, alpha=0.35, zorder=2)
    at, heights = [places[x] for x, _ in means], [row["mean"] for _, row in means]
    return axes.plot(at, heights, color=color, marker=marker, zorder=3)[0]


def _words(value: str) -> str:
    return {"difference": "difference to the baseline", "seconds": "seconds of a run"}.get(value, value)


def _label(panel, value: str) -> str:
    """What the axis measures, with its unit."""
    metric, unit = panel["metric"].iloc[0], panel["unit"].iloc[0]
    told = _words(value) if value == "seconds" or not metric else metric
    told = f"{metric}, less the baseline's" if value == "difference" and metric else told
    return f"{told} ({unit})" if unit and value != "seconds" else told
