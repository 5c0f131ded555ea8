"""The gain of a method over a knob of the experiment, and where it ends."""

from __future__ import annotations

from collections.abc import Sequence
from textwrap import wrap
from typing import TYPE_CHECKING

from labkit.show.theme import COLORS, FAINT, INK, MARKERS, PAPER, styled

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["gain"]


def gain(
    xs: Sequence,
    mean: Sequence[float],
    low: Sequence[float],
    high: Sequence[float],
    *,
    knob: str,
    margin: float,
    metric: str = "metric",
    unit: str = "",
    crossing: float | Sequence[float] | None = None,
    control: tuple[Sequence[float], Sequence[float], Sequence[float]] | None = None,
    labels: tuple[str, str] = ("against the baseline", "against the control"),
) -> Figure:
    """The paired gain over the values of a knob, with its interval, the margin and the crossing.

    xs: the knob's values, rising numbers or texts.  mean, low, high: the gain and its interval at each,
    in the claimed direction.  margin: the smallest difference that matters, > 0.
    crossing: where the gain passes through zero, in units of the knob; one, several or none.
    control: (mean, low, high) of the gain against the matched control.  labels: names of the two curves.
    Raises ValueError where the lengths differ or a number is not finite.

    >>> figure = gain([0.1, 0.2, 0.4], [3, 2, -1], [2, 1, -2], [4, 3, 0], knob="object size", margin=1,
    ...               metric="accuracy", unit="points", crossing=0.33)
    >>> figure.axes[0].get_xlabel()
    'object size'
    """
    import numpy as np
    from matplotlib.figure import Figure

    curves = [("mean, low, high", (mean, low, high), "method", labels[0])]
    if control is not None:
        curves.append(("control", control, "control", labels[1]))
    for name, curve, _, _ in curves:
        for numbers in curve:
            if len(numbers) != len(xs) or not np.all(np.isfinite(np.asarray(numbers, float))):
                raise ValueError(f"{name}: takes {len(xs)} finite numbers each, as many as xs, got {curve}")
    if not margin > 0:
        raise ValueError(f"margin: takes a number > 0, got {margin}")
    named = any(isinstance(x, str) for x in xs)
    if not named and (len(xs) == 0 or np.any(np.diff(np.asarray(xs, float)) <= 0)):
        raise ValueError(f"xs: takes rising numbers or texts, at least one, got {list(xs)}")
    places = np.arange(len(xs)) if named else np.asarray(xs, float)
    with styled():
        figure = Figure()
        axes = figure.subplots()
        axes.axhspan(-margin, margin, color=FAINT, alpha=0.6, linewidth=0, zorder=0)
        for edge in (-margin, margin):
            axes.axhline(edge, color=COLORS["baseline"], linewidth=1.2, linestyle=(0, (4, 3)), zorder=1)
        axes.axhline(0, color=INK, linewidth=1.2, zorder=1)
        for _, (middle, bottom, top), role, label in curves:
            axes.fill_between(places, bottom, top, color=COLORS[role], alpha=0.18, linewidth=0, zorder=2)
            axes.plot(places, middle, color=COLORS[role], marker=MARKERS[role], label=label, zorder=3)
        middle_place = (places[0] + places[-1]) / 2
        for i, cross in enumerate([] if crossing is None else np.atleast_1d(crossing)):
            after = next((m for place, m in zip(places, mean, strict=True) if place >= cross and m), 0)
            axes.axvline(cross, color=INK, linewidth=1.2, linestyle=":", zorder=1)
            side = -1 if cross > middle_place else 1  # the text towards the middle, inside the axes
            axes.annotate(
                f"gain {'begins' if after > 0 else 'ends'} at {cross:.3g}",
                (cross, 1),
                xycoords=("data", "axes fraction"),
                xytext=(4 * side, -3 - 15 * i),
                textcoords="offset points",
                ha="right" if side < 0 else "left",
                va="top",
                fontsize=11,
                bbox={"facecolor": PAPER, "alpha": 0.8, "linewidth": 0, "pad": 1},
                zorder=5,
            )
        if named or len(xs) <= 7:
            texts = [x if isinstance(x, str) else f"{x:g}" for x in xs]
            axes.set_xticks(places, texts if named else _apart(places, texts))
        axes.set_xlabel(knob)
        label = f"gain in {metric}" + (f" ({unit})" if unit else "")
        axes.set_ylabel("\n".join(wrap(label, 28)))  # a longer line is taller than the axes
        if control is not None:
            columns = 2 if len("".join(labels)) <= 38 else 1  # what fits beside a y label of two lines
            axes.legend(loc="lower left", bbox_to_anchor=(-0.02, 1.0), ncols=columns, borderaxespad=0.1)
    return figure


def _apart(places, texts: list[str]) -> list[str]:
    """The texts of the ticks, blank where one would run into the one before it. places: rising numbers."""
    shown, end = [], float("-inf")
    for place, text in zip(places, texts, strict=True):
        width = 0.025 * len(text) * (places[-1] - places[0])  # a digit takes a fortieth of the axis
        fits = place - width / 2 >= end
        shown.append(text if fits else "")
        end = place + width / 2 + width / len(text) if fits else end
    return shown
