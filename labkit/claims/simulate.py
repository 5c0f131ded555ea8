"""How often the rules err: simulated rates of every verdict when the truth is known."""

import math

import numpy as np

from labkit.statistics import REASONS, VERDICTS, half_width, reason, verdict

__all__ = ["chance_verdicts", "error_rates", "reason_rates"]

#: True effects, in margins.
EFFECTS = (-1.0, -0.5, 0.0, 0.5, 1.0, 2.0)


def error_rates(
    kind: str = "better",
    *,
    n: int = 10,
    effects=EFFECTS,
    half: float = 0.5,
    equivalence: bool = False,
    trials: int = 20_000,
    seed: int = 0,
) -> list[dict]:
    """The share of every verdict among simulated claims whose true effect is known.

    kind: "better" or "as good as".  n: seeds of each claim.  effects: true differences, in margins.
    half: expected half-width of the 95 % interval, in margins; the rule for choosing n asks for at
    most a half.  trials: simulated claims per effect.  Differences are normal.
    Returns one row per effect: {"effect": ..., verdict: share, ...}. Raises ValueError for another
    kind and for half, n or trials out of range.

    >>> rows = error_rates(effects=[0.0, 2.0], trials=2000)
    >>> [row["effect"] for row in rows], rows[0]["supported"], rows[1]["supported"] > 0.95
    ([0.0, 2.0], 0.0, True)
    """
    if kind not in ("better", "as good as"):
        raise ValueError(f"kind must be 'better' or 'as good as', got {kind!r}")
    random = np.random.default_rng(seed)
    rows = []
    for effect in effects:
        low, high = _intervals(random, [effect], [[1.0]], n, half, trials)
        words = verdict(kind, low[0], high[0], 1.0, equivalence=equivalence)
        rows.append({"effect": float(effect), **_shares(words, VERDICTS)})
    return rows


def reason_rates(
    *, effects=EFFECTS, gain: float = 2.0, n: int = 10, half: float = 0.5, trials: int = 20_000, seed: int = 0
) -> list[dict]:
    """The share of every answer to the second question, among simulated claims that reach it.

    effects: true differences of method against control, in margins.  gain: the true difference
    against the baseline.  The noise of the method is in both comparisons, as in a real test: with
    equal noise in all variants they correlate by one half. Other arguments as in :func:`error_rates`.
    Returns one row per effect: {"effect": ..., "asked": share, answer: share of those asked, ...}.

    >>> row = reason_rates(effects=[0.0], trials=2000)[0]
    >>> row["control does as well"] > 0.9 and row["stated reason"] == 0
    True
    """
    random = np.random.default_rng(seed)
    rows = []
    for effect in effects:
        low, high = _intervals(random, [gain, effect], [[1.0, 0.5], [0.5, 1.0]], n, half, trials)
        asked = np.isin(verdict("better", low[0], high[0], 1.0), ["supported", "leaning"])
        if not asked.any():
            raise ValueError(f"gain: takes an effect that reaches the second question, got {gain}")
        words = reason(low[1][asked], high[1][asked], 1.0)
        rows.append({"effect": float(effect), "asked": float(asked.mean()), **_shares(words, REASONS)})
    return rows


def chance_verdicts(claims: int = 139, **settings) -> dict[str, float]:
    """The verdicts to expect among this many claims if none of the methods did anything.

    settings: those of :func:`error_rates`.

    >>> expected = chance_verdicts(139, trials=2000)
    >>> round(sum(expected.values()))
    139
    """
    [row] = error_rates(effects=[0.0], **settings)
    return {word: claims * row[word] for word in VERDICTS}


def _intervals(random, means, correlation, n: int, half: float, trials: int):
    """Ends of simulated 95 % intervals: two arrays float[len(means), trials], in margins."""
    if n < 2 or trials < 1 or not half > 0:
        raise ValueError(f"needs n >= 2, trials >= 1 and half > 0, got {n}, {trials} and {half}")
    # The spread for which n seeds give, in expectation, the half-width that was asked for.
    shrink = math.sqrt(2 / (n - 1)) * math.exp(math.lgamma(n / 2) - math.lgamma((n - 1) / 2))
    spread = half / (half_width(1.0, n) * shrink)
    noise = np.linalg.cholesky(correlation) @ random.standard_normal((trials, len(means), n))
    values = np.asarray(means)[:, None] + spread * noise
    middle = values.mean(-1).T
    width = half_width(1.0, n) * values.std(-1, ddof=1).T
    return middle - width, middle + width


def _shares(words, names) -> dict[str, float]:
    return {name: float(np.mean(words == name)) for name in names}
