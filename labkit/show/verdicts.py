"""The picture of a verdict: every seed, the paired differences, their interval and the margin."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from labkit.show.theme import COLORS, FAINT, INK, WIDTH, roles, styled

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["VERDICT_SYMBOLS", "verdict"]

#: A symbol beside each verdict's word, so that no verdict is told by colour.
VERDICT_SYMBOLS = {
    "supported": "▲",
    "leaning": "△",
    "negligible": "≈",
    "reversed": "▼",
    "undecided": "?",
    "not judged": "–",
}
KINDS = ("better", "as good as", "none wins", "ratio")
Interval = tuple[float, float, float]


def verdict(
    values: Mapping[str, Sequence[float]],
    *,
    baseline: str,
    method: str | Sequence[str],
    margin: float,
    metric: str,
    unit: str = "",
    control: str | None = None,
    difference: Interval | Sequence[Interval] | None = None,
    control_difference: Interval | None = None,
    word: str = "not judged",
    symbol: str | None = None,
    kind: str = "better",
    higher_is_better: bool = True,
) -> Figure:
    """Draw one judged comparison. The statistics are the caller's; nothing is computed anew but points.

    values: variant -> its value per seed, finite, the same seeds in the same order for all.
    baseline, control: variants.  method: a variant, or several where each has its own interval
    ("none wins").  margin: the smallest difference that matters, > 0.
    difference: (mean, low, high) of method against baseline *in the claimed direction*: above zero
    the method is better; one triple for each method; None where nothing is judged.
    control_difference: the same of method against control.
    kind: "better", "as good as", "none wins" or "ratio". For a ratio, differences and margin are natural
    logarithms, as they are tested; the axes show factors.
    word, symbol: the verdict; the symbol is by default that of ``VERDICT_SYMBOLS``.
    Raises ValueError for an unknown variant or kind, unequal numbers of seeds, values that are not
    finite (not > 0 for a ratio), and a margin that is not > 0.

    >>> runs = {"no mixing": [0.71, 0.69, 0.73], "resize": [0.74, 0.73, 0.75]}
    >>> figure = verdict(runs, baseline="no mixing", method="resize", difference=(0.03, 0.005, 0.055),
    ...                  margin=0.01, metric="accuracy", word="leaning")
    >>> figure.get_suptitle()
    '△ leaning'
    """
    from matplotlib.figure import Figure

    methods = [method] if isinstance(method, str) else list(method)
    intervals = _intervals(difference, methods)
    _check(values, baseline, methods, control, margin, kind)
    symbol = VERDICT_SYMBOLS.get(word, "") if symbol is None else symbol
    rows = [(name, baseline, interval) for name, interval in zip(methods, intervals, strict=True)]
    if control is not None:
        rows += [(name, control, control_difference) for name in methods[:1]]
    looks = roles(values, baseline=baseline, methods=methods, control=control)
    with styled():
        heights = [0.45 * len(values) + 0.35, 0.62 * len(rows) + 0.35]
        figure = Figure(figsize=(WIDTH, sum(heights) + 1.55))
        above, below = figure.subplots(2, 1, height_ratios=heights)
        figure.suptitle(f"{symbol} {word}".strip(), x=0.02, ha="left", fontsize=15, fontweight="bold")
        _draw_values(above, values, looks, baseline, methods, kind == "ratio")
        above.set_xlabel(
            _label(metric, unit) + (", higher is better" if higher_is_better else ", lower is better")
        )
        _draw_differences(below, values, looks, rows, margin, kind == "ratio", higher_is_better)
        below.set_xlabel(_difference_label(metric, unit, kind == "ratio"))
    return figure


def _intervals(difference, methods: list[str]) -> list[Interval | None]:
    if difference is None:
        return [None] * len(methods)
    first = difference[0] if len(difference) else None
    intervals = list(difference) if isinstance(first, Sequence) else [tuple(difference)]
    if len(intervals) != len(methods):
        raise ValueError(f"difference: takes (mean, low, high) for each of {methods}, got {difference}")
    for interval in intervals:
        _check_interval(interval, "difference")
    return intervals


def _check_interval(interval, name: str) -> None:
    if len(interval) != 3 or not interval[1] <= interval[0] <= interval[2]:
        raise ValueError(f"{name}: takes (mean, low, high) with low <= mean <= high, got {interval}")


def _check(values, baseline, methods, control, margin, kind) -> None:
    import numpy as np

    if kind not in KINDS:
        raise ValueError(f"kind: takes one of {KINDS}, got {kind!r}")
    if not margin > 0:
        raise ValueError(f"margin: takes a number > 0, got {margin}")
    named = [("baseline", baseline), *[("method", name) for name in methods]]
    for role, name in [*named, *([("control", control)] if control is not None else [])]:
        if name not in values:
            raise ValueError(f"{role}: values has no variant {name!r}; it has {list(values)}")
    seeds = {name: len(numbers) for name, numbers in values.items()}
    if len(set(seeds.values())) != 1 or 0 in seeds.values():
        raise ValueError(f"values: takes the same seeds for every variant, at least one, got {seeds}")
    for name, numbers in values.items():
        if not np.all(np.isfinite(numbers)) or (kind == "ratio" and np.min(numbers) <= 0):
            need = "finite and > 0" if kind == "ratio" else "finite"
            raise ValueError(f"values[{name!r}]: takes numbers that are {need}, got {list(numbers)}")


def _label(metric: str, unit: str) -> str:
    return f"{metric} ({unit})" if unit else metric


def _difference_label(metric: str, unit: str, ratio: bool) -> str:
    return f"factor gained in {metric}" if ratio else "gain in " + _label(metric, unit)


def _wrap(name: str) -> str:
    return "\n".join(textwrap.wrap(name, 18)) or name


def _draw_values(axes: Axes, values, looks, baseline: str, methods, ratio: bool) -> None:
    """One row per variant, one point per seed; a line joins the baseline's and the method's point."""
    import numpy as np

    names = list(values)
    count = len(values[baseline])
    alpha = max(0.25, 0.9 - count / 120)
    for method in methods:
        rows = [names.index(baseline), names.index(method)]
        pairs = zip(values[baseline], values[method], strict=True)
        for pair in pairs:
            axes.plot(pair, rows, color=INK, linewidth=0.8, alpha=max(0.08, 0.35 - count / 300), zorder=1)
    for row, name in enumerate(names):
        color, marker = looks[name]
        axes.plot(
            values[name], [row] * count, marker, color=color, alpha=alpha, markersize=6, zorder=2, mew=0
        )
        center = np.exp(np.mean(np.log(values[name]))) if ratio else np.mean(values[name])
        axes.plot([center], [row], "|", color=color, markersize=20, markeredgewidth=2.5, zorder=3)
    axes.set_yticks(range(len(names)), [_wrap(name) for name in names])
    axes.set_ylim(len(names) - 0.5, -0.5)
    axes.grid(axis="y", visible=False)
    if ratio:
        axes.set_xscale("log")


def _draw_differences(axes: Axes, values, looks, rows, margin: float, ratio: bool, higher: bool) -> None:
    """One row per comparison: a point per seed, below it the mean with its interval."""
    import numpy as np

    scale = np.exp if ratio else np.asarray
    axes.axvspan(*scale([-margin, margin]), color=FAINT, alpha=0.6, linewidth=0, zorder=0)
    for edge in scale([-margin, margin]):
        axes.axvline(edge, color=COLORS["baseline"], linewidth=1.2, linestyle=(0, (4, 3)), zorder=1)
    axes.axvline(scale(0.0), color=INK, linewidth=1.2, zorder=1)
    for row, (name, other, interval) in enumerate(rows):
        first, second = (np.log(values[n]) if ratio else np.asarray(values[n], float) for n in (name, other))
        points = scale((first - second) * (1 if higher else -1))
        color, marker = looks[name]
        axes.plot(points, [row - 0.17] * len(points), marker, color=color, alpha=0.4, markersize=5, mew=0)
        if interval is not None:
            mean, low, high = (float(scale(end)) for end in interval)
            axes.plot(
                [low, high], [row + 0.17] * 2, color=color, linewidth=3.2, solid_capstyle="butt", zorder=3
            )
            axes.plot([mean], [row + 0.17], marker, color=color, markersize=9, mec="white", mew=1, zorder=4)
    axes.set_yticks(range(len(rows)), [_wrap(name) + "\nagainst " + _wrap(other) for name, other, _ in rows])
    axes.set_ylim(len(rows) - 0.5, -0.5)
    axes.grid(axis="y", visible=False)
    if ratio:
        axes.set_xscale("log")
