r"""The arithmetic of a verdict: intervals of paired differences, and what follows from them.

Everything here works on plain numbers. A *difference* is one number per seed, method against
baseline in the claimed direction, so that above zero the method is ahead. With :math:`n` seeds, mean
:math:`\bar d` and standard deviation :math:`s`, the 95 % interval is Student's

.. math:: [L, U] = \bar d \mp t_{0.975,\,n-1}\ s / \sqrt{n}

and the verdict is a function of :math:`L`, :math:`U` and the margin :math:`m`, the smallest
difference that matters. Pairing by seed takes out what the variants of one seed share: data, split
and initialization.
"""

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

__all__ = [
    "KINDS",
    "REASONS",
    "VERDICTS",
    "Interval",
    "agreeing_thirds",
    "interval",
    "prediction_interval",
    "reason",
    "seeds_to_decide",
    "verdict",
]

KINDS = ("better", "as good as", "none wins", "ratio")
VERDICTS = ("supported", "leaning", "negligible", "reversed", "undecided")
REASONS = ("stated reason", "probably stated reason", "control does as well", "undecided")


class Interval(NamedTuple):
    """A mean with its interval.

    mean, low, high: in the unit of the differences.  spread: their sample standard deviation.
    n: how many there were.
    """

    mean: float
    low: float
    high: float
    spread: float
    n: int


def interval(differences: Sequence[float], *, level: float = 0.95) -> Interval:
    """Student's interval for the mean of paired differences.

    differences: at least two finite numbers, one per seed.  level: coverage, in (0, 1).
    Equal differences give an interval of zero width. Raises ValueError for fewer than two
    differences, for NaN or infinity, and for a level outside (0, 1).

    >>> found = interval([1.0, 2.0, 3.0])
    >>> round(found.mean, 2), round(found.low, 2), round(found.high, 2)
    (2.0, -0.48, 4.48)
    """
    values = np.asarray(differences, dtype=float)
    if values.ndim != 1 or values.size < 2:
        raise ValueError(f"differences must be at least two numbers, got {differences!r}")
    if not np.isfinite(values).all():
        raise ValueError(f"differences must be finite, got {differences!r}")
    mean, spread = float(values.mean()), float(values.std(ddof=1))
    half = half_width(spread, values.size, level=level)
    return Interval(mean, mean - half, mean + half, spread, int(values.size))


def half_width(spread: float, n: int, *, level: float = 0.95) -> float:
    """Half the width of Student's interval for ``n`` differences of this standard deviation.

    >>> round(half_width(1.0, 10), 3)
    0.715
    """
    return float(_quantile(n - 1, level)) * spread / math.sqrt(n)


def _quantile(freedom, level: float):
    """The two-sided quantile of Student's t, for one or an array of degrees of freedom."""
    from scipy.special import stdtrit  # the quantile that scipy.stats.t uses, without its import time

    if not 0 < level < 1:
        raise ValueError(f"level must lie in (0, 1), got {level}")
    return stdtrit(freedom, (1 + level) / 2)


def verdict(kind: str, low, high, margin: float, *, sense: str = "better", equivalence: bool = False):
    """The verdict that an interval [low, high] and a margin give.

    ==========  =======================================================================
    better      supported: low > margin; negligible: -margin < low and high < margin;
                leaning: 0 < low; reversed: high < 0; else undecided. First match counts.
    as good as  supported: low > -margin; reversed: high < -margin; else undecided.
                With ``equivalence`` supported needs high < margin too, and an interval
                wholly above the margin is reversed as well: the two are *not* the same.
    none wins   supported: every high < margin; reversed: some low > margin; else undecided.
    ratio       the ``sense``, "better" or "as good as", on the logarithms.
    ==========  =======================================================================

    *Leaning* and *negligible* overlap where 0 < low and high < margin: a gain that is surely there
    and surely too small to matter. It is called negligible, because the margin is the smallest
    difference that matters and all of the interval lies below it. So is a surely small loss.

    low, high: numbers, or arrays of one shape, judged one by one; for "none wins" the last axis is
    that of the methods.  margin: above 0; for "ratio" a factor above 1, and low and high are ratios
    above 0.  Returns one of :data:`VERDICTS`, or an array of them. Raises ValueError for an
    unknown kind or sense, a margin out of range, NaN, or an interval with its ends exchanged.

    >>> verdict("better", 0.5, 3.0, margin=1.0), verdict("better", 0.1, 0.9, margin=1.0)
    ('leaning', 'negligible')
    >>> verdict("none wins", [-1, 0.2], [0.5, 1.4], margin=1.0)
    'undecided'
    >>> verdict("ratio", 1.5, 2.0, margin=1.2)
    'supported'
    """
    if kind not in KINDS:
        raise ValueError(f"kind must be one of {', '.join(map(repr, KINDS))}, got {kind!r}")
    low, high = np.asarray(low, dtype=float), np.asarray(high, dtype=float)
    if not (low <= high).all():  # false for NaN too
        raise ValueError(f"an interval needs low <= high, got low {low} and high {high}")
    if kind == "ratio":
        if sense not in ("better", "as good as"):
            raise ValueError(f"sense must be 'better' or 'as good as', got {sense!r}")
        if not margin > 1 or not (low > 0).all():
            raise ValueError(f"a ratio needs a margin above 1 and ends above 0, got {margin} and {low}")
        kind, low, high, margin = sense, np.log(low), np.log(high), math.log(margin)
    if not (margin > 0 and math.isfinite(margin)):
        raise ValueError(f"margin must be above 0, got {margin}")

    if kind == "better":
        rules = {
            "supported": low > margin,
            "negligible": (-margin < low) & (high < margin),
            "leaning": low > 0,
            "reversed": high < 0,
        }
    elif kind == "as good as":
        rules = {
            "supported": (low > -margin) & ((high < margin) | (not equivalence)),
            "reversed": (high < -margin) | ((low > margin) & equivalence),
        }
    else:
        rules = {"supported": (high < margin).all(-1), "reversed": (low > margin).any(-1)}
    words = np.select(list(rules.values()), list(rules), default="undecided")
    return words if words.ndim else str(words)


def reason(low, high, margin: float):
    """The second question: is a gain there for the reason given?

    low, high: interval of method against matched control, in the claimed direction.  Judged like
    "better": the control "does as well" wherever high < margin, be the method a little ahead or
    behind.  Returns one of :data:`REASONS`, or an array of them.

    >>> reason(1.2, 3.0, margin=1.0), reason(-0.4, 0.6, margin=1.0), reason(-0.4, 1.6, margin=1.0)
    ('stated reason', 'control does as well', 'undecided')
    """
    verdict("better", low, high, margin)  # refuses what is no interval or no margin
    low, high = np.asarray(low, dtype=float), np.asarray(high, dtype=float)
    rules = {
        "stated reason": low > margin,
        "control does as well": high < margin,
        "probably stated reason": low > 0,
    }
    answer = np.select(list(rules.values()), list(rules), default="undecided")
    return answer if answer.ndim else str(answer)


def seeds_to_decide(judge, means: Sequence[float], spreads: Sequence[float], n: int) -> int | None:
    """About how many seeds would end an "undecided", if means and spreads stayed as they are.

    judge: function of (lows, highs), two lists, that returns the verdict.  means, spreads: one per
    compared method.  n: the seeds there were.  Returns the number to two significant digits, or
    None where 10,000 would not do.

    >>> seeds_to_decide(lambda low, high: verdict("better", low[0], high[0], 1.0), [0.5], [3.0], 10)
    140
    """
    counts = np.unique(np.geomspace(n + 1, 10_000, 500).astype(int))
    factors = _quantile(counts - 1, 0.95) / np.sqrt(counts)
    for count, factor in zip(counts.tolist(), factors.tolist(), strict=True):
        lows = [mean - factor * spread for mean, spread in zip(means, spreads, strict=True)]
        highs = [mean + factor * spread for mean, spread in zip(means, spreads, strict=True)]
        if judge(lows, highs) != "undecided":
            digits = 1 - int(math.log10(count))  # two significant digits: it is only "about"
            return max(n + 1, round(count, digits) if digits < 0 else count)
    return None


def agreeing_thirds(differences: Sequence[Sequence[float]], judge) -> int | None:
    """How many thirds of the seeds, each by its mean alone, say what all the seeds together say.

    differences: per compared method one list, in the order of the seeds.  judge: function of (lows,
    highs), two lists, that returns the verdict; a mean is judged as an interval of no width, so that
    what counts is on which side of the margin it lies.
    Returns 0 to 3, or None for fewer than three seeds.

    >>> judge = lambda low, high: verdict("better", low[0], high[0], 1.0)
    >>> agreeing_thirds([[2.0, 3.0, 0.1, 0.3, 3.0, 2.0]], judge)
    2
    """
    count = len(differences[0])
    if count < 3:
        return None
    thirds = [slice(int(part[0]), int(part[-1]) + 1) for part in np.array_split(np.arange(count), 3)]
    whole, *parts = ([float(np.mean(each[part])) for each in differences] for part in [slice(None), *thirds])
    return sum(judge(means, means) == judge(whole, whole) for means in parts)


def prediction_interval(known: Interval, n: int, *, level: float = 0.95) -> tuple[float, float]:
    """Where the mean of ``n`` new differences should lie, given those of a record.

    Wider than the interval of the mean by the noise of the new run:
    mean -/+ t s sqrt(1/known.n + 1/n). For a record without spread, a deterministic one, only the
    rounding of sums is let pass (one part in a million).

    >>> low, high = prediction_interval(Interval(2.0, 1.3, 2.7, 1.0, 10), 5)
    >>> round(low, 2), round(high, 2)
    (0.76, 3.24)
    """
    if known.n < 2 or n < 1:
        raise ValueError(f"needs a record of at least 2 and a run of at least 1 seeds, got {known.n} and {n}")
    half = float(_quantile(known.n - 1, level)) * known.spread * math.sqrt(1 / known.n + 1 / n)
    half = max(half, 1e-6 * abs(known.mean))
    return known.mean - half, known.mean + half
