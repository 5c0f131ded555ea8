"""The picture of a verdict: every seed, the paired differences, their interval and the margin."""

from __future__ import annotations

import math
import textwrap
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, NamedTuple

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
LINE = 0.19  # inches from line to line of a label
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
    ratio = kind == "ratio"
    looks = roles(values, baseline=baseline, methods=methods, control=control)
    pairs = zip(methods, intervals, strict=True)
    rows = [_Row(name, baseline, looks[name], interval) for name, interval in pairs]
    if control is not None:
        if control_difference is not None:
            _check_interval(control_difference, "control_difference")
        # In the control's colour, as in the picture of the gain.
        rows.append(_Row(methods[0], control, looks[control], control_difference))
    symbol = VERDICT_SYMBOLS.get(word, "") if symbol is None else symbol
    names = [_wrap(name, 18) for name in values]
    comparisons = [f"{_wrap(row.name, 20)}\n{_wrap(f'against {row.other}', 20)}" for row in rows]
    metric_label = _wrap(f"{metric}{_in(unit)}, {'higher' if higher_is_better else 'lower'} is better", 40)
    gain = f"gain in {metric}, as a factor" if ratio else f"gain in {metric}{_in(unit)}"
    band = f"{math.exp(-margin):.3g} to {math.exp(margin):.3g}" if ratio else f"±{margin:g}"
    gain_label = f"{_wrap(gain, 42)}\ngrey: {band}, too small to matter"
    heights = [_height(names, 0.45), _height(comparisons, 0.6)]
    with styled():
        rest = 1.3 + LINE * (metric_label + gain_label).count("\n")  # title, axes' numbers and labels
        figure = Figure(figsize=(WIDTH, sum(heights) + rest))
        above, below = figure.subplots(2, 1, height_ratios=heights)
        figure.suptitle(f"{symbol} {word}".strip(), x=0.02, ha="left", fontsize=15, fontweight="bold")
        _draw_values(above, values, looks, baseline, methods, ratio)
        above.set_yticks(range(len(names)), names)
        above.set_xlabel(metric_label)
        _draw_differences(below, values, rows, margin, ratio, higher_is_better)
        below.set_yticks(range(len(rows)), comparisons)
        below.set_xlabel(gain_label)
        for axes in (above, below):
            _arrange(axes, ratio)
    return figure


class _Row(NamedTuple):
    """One comparison: ``name`` against ``other``, drawn in a colour and marker."""

    name: str
    other: str
    look: tuple[str, str]
    interval: Interval | None


def _intervals(difference, methods: list[str]) -> list[Interval | None]:
    if difference is None:
        return [None] * len(methods)
    first = difference[0] if len(difference) else None
    intervals = list(difference) if hasattr(first, "__len__") else [tuple(difference)]
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
    if not methods:
        raise ValueError("method: takes a variant or several, got none")
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


def _in(unit: str) -> str:
    return f" ({unit})" if unit else ""


def _wrap(text: str, width: int) -> str:
    return "\n".join(textwrap.wrap(text, width)) or text


def _height(labels: list[str], least: float) -> float:
    """Inches for one row per label."""
    lines = max(label.count("\n") + 1 for label in labels)
    return len(labels) * max(least, LINE * lines + 0.1) + 0.2


def _arrange(axes: Axes, ratio: bool) -> None:
    """Rows from top to bottom; few plain numbers below, on a logarithmic axis too."""
    from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullLocator

    axes.set_ylim(len(axes.get_yticks()) - 0.5, -0.5)
    axes.grid(axis="y", visible=False)
    if ratio:
        axes.set_xscale("log")
        axes.xaxis.set_minor_locator(NullLocator())
        axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    low, high = axes.get_xlim()
    wide = ratio and high > 20 * low
    locator = LogLocator(subs=(1, 3)) if wide else MaxNLocator(5, steps=[1, 2, 2.5, 5, 10])
    axes.xaxis.set_major_locator(locator)


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


def _draw_differences(axes: Axes, values, rows: list[_Row], margin: float, ratio: bool, higher: bool) -> None:
    """One row per comparison: a point per seed, below it the mean with its interval."""
    import numpy as np

    scale = np.exp if ratio else np.asarray
    axes.axvspan(*scale([-margin, margin]), color=FAINT, alpha=0.6, linewidth=0, zorder=0)
    for edge in scale([-margin, margin]):
        axes.axvline(edge, color=COLORS["baseline"], linewidth=1.2, linestyle=(0, (4, 3)), zorder=1)
    axes.axvline(scale(0.0), color=INK, linewidth=1.2, zorder=1)
    for i, row in enumerate(rows):
        first, second = (np.asarray(values[name], float) for name in (row.name, row.other))
        gains = (np.log(first) - np.log(second) if ratio else first - second) * (1 if higher else -1)
        color, marker = row.look
        axes.plot(scale(gains), [i - 0.18] * len(gains), marker, color=color, alpha=0.4, markersize=5, mew=0)
        if row.interval is not None:
            mean, low, high = scale(np.asarray(row.interval, float))
            axes.plot([low, high], [i + 0.18] * 2, "|-", color=color, linewidth=3, ms=11, mew=2.5, zorder=3)
            axes.plot([mean], [i + 0.18], marker, color=color, markersize=8, mec="white", mew=1, zorder=4)
