import math

import pytest

from labkit.claims.simulate import chance_verdicts, error_rates, reason_rates
from labkit.statistics import REASONS, VERDICTS

TRIALS = 10_000


def near(share, expected, trials=TRIALS):
    """Within four standard deviations of a binomial share."""
    return abs(share - expected) <= 4 * math.sqrt(expected * (1 - expected) / trials) + 1e-12


@pytest.mark.parametrize("half", [0.5, 1.0])
@pytest.mark.parametrize("n", [10, 30])
def test_false_verdicts_are_as_rare_as_the_level_says(n, half):
    none, at_margin = error_rates(n=n, half=half, effects=[0.0, 1.0], trials=TRIALS)
    # L > m where the truth is m, in 2.5 %; a "leaning" or "reversed" of nothing in at most that
    assert near(at_margin["supported"], 0.025)
    assert none["supported"] <= 0.001
    for word in ("leaning", "reversed"):
        assert none[word] <= 0.025 + 4 * math.sqrt(0.025 * 0.975 / TRIALS)


def test_large_effects_are_found_and_small_ones_called_small():
    small, large, lost = error_rates(effects=[0.0, 2.0, -2.0], trials=TRIALS)
    assert large["supported"] > 0.95 and small["negligible"] > 0.9 and lost["reversed"] > 0.99


def test_half_a_margin_is_never_supported_and_never_reversed():
    [row] = error_rates(effects=[0.5], trials=TRIALS)
    assert row["supported"] < 0.001 and row["reversed"] < 0.001


@pytest.mark.parametrize("equivalence", [False, True])
def test_a_loss_of_the_margin_passes_as_good_in_one_of_forty(equivalence):
    [row] = error_rates("as good as", equivalence=equivalence, effects=[-1.0], trials=TRIALS)
    assert near(row["supported"], 0.025) and near(row["reversed"], 0.025)


def test_a_control_that_does_as_well_is_seldom_missed():
    same, small, large = reason_rates(effects=[0.0, 1.0, 2.0], trials=TRIALS)
    assert same["stated reason"] < 0.001 and same["control does as well"] > 0.95
    assert near(small["stated reason"], 0.025) and large["stated reason"] > 0.95


def test_every_row_sums_to_one():
    for row in error_rates(trials=500) + error_rates("as good as", trials=500):
        assert sum(row[word] for word in VERDICTS) == pytest.approx(1)
    for row in reason_rates(trials=500):
        assert sum(row[word] for word in REASONS) == pytest.approx(1)


def test_chance_verdicts_scale_with_the_number_of_claims():
    few, many = chance_verdicts(10, trials=2000), chance_verdicts(100, trials=2000)
    assert all(many[word] == pytest.approx(10 * few[word]) for word in VERDICTS)


def test_wrong_arguments_are_named():
    with pytest.raises(ValueError, match="kind must be"):
        error_rates("ratio")
    with pytest.raises(ValueError, match="n >= 2"):
        error_rates(n=1)
    with pytest.raises(ValueError, match="gain: takes"):
        reason_rates(gain=-5.0, trials=100)
