import math

import numpy as np
import pytest
from scipy import stats

from labkit import statistics
from labkit.statistics import interval, prediction_interval, reason, verdict


@pytest.mark.parametrize("n", [2, 5, 10, 40])
@pytest.mark.parametrize("level", [0.9, 0.95])
def test_interval_is_scipys(n, level):
    values = np.random.default_rng(n).normal(1, 3, n)
    expected = stats.ttest_1samp(values, 0).confidence_interval(level)
    found = interval(values, level=level)
    assert (found.low, found.high) == pytest.approx((expected.low, expected.high))
    assert (found.mean, found.spread, found.n) == pytest.approx((values.mean(), values.std(ddof=1), n))


def test_equal_differences_give_an_interval_of_no_width():
    assert interval([0.25] * 10) == (0.25, 0.25, 0.25, 0.0, 10)


@pytest.mark.parametrize("bad", [[], [1.0], [1.0, math.nan], [1.0, math.inf], [[1.0, 2.0]]])
def test_an_interval_needs_two_finite_numbers(bad):
    with pytest.raises(ValueError, match="differences must be"):
        interval(bad)


BETTER = [
    ((1.1, 2.0), "supported"),
    ((1.0, 2.0), "leaning"),  # L = m is not above it
    ((0.1, 1.0), "leaning"),  # U = m is not below it
    ((0.1, 0.9), "negligible"),  # surely there, surely too small
    ((0.0, 1.0), "undecided"),  # L = 0 is not above zero
    ((0.0, 0.9), "negligible"),
    ((-0.9, 0.9), "negligible"),
    ((-0.9, -0.1), "negligible"),  # surely a loss, surely too small
    ((-1.0, 0.9), "undecided"),  # L = -m is not inside
    ((-0.9, 1.0), "undecided"),
    ((-1.0, -0.1), "reversed"),
    ((-1.0, 0.0), "undecided"),
    ((-3.0, -2.0), "reversed"),
    ((-5.0, 5.0), "undecided"),
    ((2.0, 2.0), "supported"),
    ((0.0, 0.0), "negligible"),
]


@pytest.mark.parametrize(("ends", "word"), BETTER)
def test_better(ends, word):
    assert verdict("better", *ends, 1.0) == word


@pytest.mark.parametrize(("ends", "word"), BETTER)
def test_a_ratio_is_judged_on_logarithms(ends, word):
    low, high = (math.exp(end * math.log(1.25)) for end in ends)
    if not any(abs(end) == 1.0 for end in ends):  # exp and log do not round back to the boundary itself
        assert verdict("ratio", low, high, 1.25) == word
    assert verdict("ratio", 0.9, 0.95, 1.25, sense="as good as") == "supported"
    assert verdict("ratio", 0.5, 0.7, 1.25, sense="as good as") == "reversed"


@pytest.mark.parametrize(
    ("ends", "word", "equal"),
    [
        ((-0.9, 5.0), "supported", "undecided"),
        ((-0.9, 0.9), "supported", "supported"),
        ((-0.9, 1.0), "supported", "undecided"),
        ((-1.0, 0.0), "undecided", "undecided"),
        ((-3.0, -1.0), "undecided", "undecided"),
        ((-3.0, -1.1), "reversed", "reversed"),
        ((1.0, 3.0), "supported", "undecided"),
        ((1.1, 3.0), "supported", "reversed"),
    ],
)
def test_as_good_as(ends, word, equal):
    assert verdict("as good as", *ends, 1.0) == word
    assert verdict("as good as", *ends, 1.0, equivalence=True) == equal


@pytest.mark.parametrize(
    ("lows", "highs", "word"),
    [
        ([-1, 0.2], [0.9, 0.5], "supported"),
        ([-1, 0.2], [1.0, 0.5], "undecided"),
        ([-1, 1.1], [0.9, 2.0], "reversed"),
        ([-9], [-5], "supported"),
    ],
)
def test_none_wins_takes_every_method_by_itself(lows, highs, word):
    assert verdict("none wins", lows, highs, 1.0) == word


def test_every_interval_gets_the_verdict_of_the_design_and_no_other():
    ends = np.linspace(-3, 3, 61)
    low, high = (grid[np.less_equal(*np.meshgrid(ends, ends))] for grid in np.meshgrid(ends, ends))
    for m in (0.5, 1.0, 1.7):
        regions = {
            "supported": low > m,
            "negligible": (-m < low) & (high < m),
            "leaning": (low > 0) & (low <= m) & (high >= m),
            "reversed": (high < 0) & (low <= -m),
        }
        assert (sum(region.astype(int) for region in regions.values()) <= 1).all()
        words = verdict("better", low, high, m)
        for word, region in regions.items():
            assert ((words == word) == region).all()
        assert set(words) <= set(statistics.VERDICTS)
        one_by_one = [verdict("better", a, b, m) for a, b in zip(low[::50], high[::50], strict=True)]
        assert one_by_one == words[::50].tolist()


@pytest.mark.parametrize(
    ("ends", "word"),
    [
        ((1.1, 2.0), "stated reason"),
        ((1.0, 2.0), "probably stated reason"),
        ((0.1, 0.9), "control does as well"),
        ((-5.0, 0.9), "control does as well"),
        ((-5.0, 1.0), "undecided"),
        ((0.0, 1.0), "undecided"),
    ],
)
def test_the_second_question(ends, word):
    assert reason(*ends, 1.0) == word


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("best", 0, 1, 1.0), "kind must be one of 'better'"),
        (("better", 1, 0, 1.0), "low <= high"),
        (("better", math.nan, 1, 1.0), "low <= high"),
        (("better", 0, 1, 0.0), "margin must be above 0"),
        (("better", 0, 1, math.inf), "margin must be above 0"),
        (("ratio", 0.5, 1, 1.0), "margin above 1"),
        (("ratio", 0.0, 1, 1.2), "ends above 0"),
    ],
)
def test_what_is_no_interval_or_margin_is_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        verdict(*arguments)


def test_a_ratio_takes_a_known_sense():
    with pytest.raises(ValueError, match="sense must be"):
        verdict("ratio", 1, 2, 1.1, sense="faster")


def test_the_seeds_that_would_decide_do():
    def judge(low, high):
        return verdict("better", low[0], high[0], 1.0)

    more = statistics.seeds_to_decide(judge, [0.5], [3.0], 10)
    half = statistics.half_width(3.0, round(more * 1.1))
    assert judge([0.5 - half], [0.5 + half]) != "undecided"
    half = statistics.half_width(3.0, round(more * 0.9))
    assert judge([0.5 - half], [0.5 + half]) == "undecided"
    assert statistics.seeds_to_decide(judge, [0.5], [3000.0], 10) is None


def test_thirds_agree_where_their_means_lie_on_the_same_side_of_the_margin():
    def judge(low, high):
        return verdict("better", low[0], high[0], 1.0)

    assert statistics.agreeing_thirds([[2.0] * 10], judge) == 3
    assert statistics.agreeing_thirds([[9.0] * 8 + [0.0] * 4], judge) == 2
    assert statistics.agreeing_thirds([[2.0, 2.0]], judge) is None


def test_a_prediction_interval_holds_its_level():
    random = np.random.default_rng(0)
    held = 0
    for _ in range(2000):
        low, high = prediction_interval(interval(random.normal(1, 2, 10)), 5)
        held += low <= random.normal(1, 2, 5).mean() <= high
    assert abs(held / 2000 - 0.95) < 4 * math.sqrt(0.95 * 0.05 / 2000)


def test_a_record_without_spread_predicts_itself():
    low, high = prediction_interval(interval([0.3] * 10), 5)
    assert low < 0.3 * (1 + 1e-9) < high and not low <= 0.3001 <= high
