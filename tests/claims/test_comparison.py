import json
import math

import pytest

import labkit
from labkit.claims import MIME, ClaimError
from labkit.claims.result import Displayed
from labkit.comparison import GAIN_MIME, crossings
from tests.claims.conftest import P, experiment, make_claim

ASKED = {"baseline": "plain", "method": "new", "metric": "accuracy", "margin": 1.0}


@pytest.fixture(autouse=True)
def displayed(monkeypatch):
    """What was shown, in order."""
    shown = []
    monkeypatch.setattr(Displayed, "display", lambda result: shown.append(result))
    return shown


def test_a_comparison_judges_as_a_claim_does_and_leaves_no_record(displayed):
    registered = make_claim().test(experiment, P())
    own = labkit.compare(experiment, **ASKED, control="placebo", seeds=registered.seeds)
    assert own.judgement == registered.judgement and own.values == registered.values
    assert (own.verdict, own.sentence) == ("supported", "Works here, for the stated reason.")
    data, metadata = own._repr_mimebundle_()
    assert MIME not in data and metadata == {} and "▲ supported" in data["text/html"]
    assert displayed == [registered, own]


def test_seeds_are_a_number_or_a_list():
    assert labkit.compare(experiment, **ASKED, seeds=4).seeds == [0, 1, 2, 3]
    assert labkit.compare(experiment, **ASKED, seeds=[5, 9]).seeds == [5, 9]


def test_further_variants_may_come_along_and_none_wins_takes_several_methods():
    result = labkit.compare(experiment, **(ASKED | {"method": ["placebo"], "kind": "none wins"}), seeds=12)
    assert result.sentence == "None wins here." and set(result.values) == {"plain", "new", "placebo"}


def test_failed_seeds_are_named_after_the_others_are_shown(displayed):
    def broken(seed):
        return experiment(seed) | ({"new": math.nan} if seed == 3 else {})

    with pytest.raises(ClaimError, match="1 of 12 seeds failed: seed 3: 'new' is nan"):
        labkit.compare(broken, **ASKED, seeds=12)
    assert displayed[0].verdict == "not judged" and len(displayed[0].values["new"]) == 11


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"margin": 0}, "margin must be above 0"),
        ({"kind": "ratio"}, "margin must be above 1"),
        ({"kind": "best"}, "kind must be one of"),
        ({"sense": "best"}, "sense must be"),
        ({"method": ["new", "placebo"]}, "takes one variant"),
        ({"method": "plain"}, "must be different variants"),
        ({"method": "newer"}, "missing: 'newer'"),
        ({"control": "new"}, "must be different variants"),
        ({"kind": "none wins", "control": "placebo"}, "asks for no reason"),
        ({"seeds": 1}, "at least 2"),
        ({"seeds": [1, 1]}, "all different"),
    ],
)
def test_a_wrong_argument_is_named(changes, message):
    with pytest.raises(ValueError, match=message):
        labkit.compare(experiment, **({"seeds": 3} | ASKED | changes))


def fading(seed, size=0.3, scale=1.0):
    """The gain falls from 3 to -3 as the size goes from 0 to 1."""
    found = experiment(seed)
    return found | {"new": found["plain"] + scale * (3 - 6 * size) + 0.2 * (-1) ** seed}


def test_the_gain_over_a_knob_crosses_where_the_truth_does():
    gain = labkit.gain_over(fading, P("judge"), **ASKED, control="placebo", seeds=4, size=(0.1, 0.4, 0.8))
    assert gain.crossings == pytest.approx([0.5]) and gain.knob == "size"
    assert [each.mean for each in gain.gains] == pytest.approx([2.4, 0.6, -1.8])
    assert "changes sign near size = 0.5" in gain.sentence
    assert "wholly above 0 at 0.1, 0.4, wholly below at 0.8" in gain.sentence
    assert len(gain.control_gains) == 3


def test_no_crossing_is_said():
    gain = labkit.gain_over(fading, P("smoke"), **ASKED, size=(0.0, 0.1))
    assert gain.crossings == [] and "nowhere within size = 0 to 0.1" in gain.sentence
    assert gain.seeds == [0, 1]


def test_a_gain_shows_its_picture_and_numbers_alike_twice():
    first, second = (labkit.gain_over(fading, P("book"), **ASKED, size=(0.0, 1.0)) for _ in range(2))
    assert first._repr_mimebundle_() == second._repr_mimebundle_()
    data, metadata = first._repr_mimebundle_()
    assert "<img" in data["text/html"] and data[GAIN_MIME]["at"] == [0.0, 1.0]
    assert metadata[GAIN_MIME]["crossings"] == pytest.approx(first.crossings)
    json.dumps((data, metadata), allow_nan=False)


def test_a_claim_gives_the_question_and_the_other_settings():
    claim = make_claim(settings={"size": 0.3, "scale": 2.0})
    gain = labkit.gain_over(fading, P("book"), claim, size=(0.0, 0.25))
    assert gain.question == claim.question and gain.gains[0].mean == pytest.approx(6, abs=0.2)
    with pytest.raises(ValueError, match="leave them out"):
        labkit.gain_over(fading, P("book"), claim, margin=2.0, size=(0.0, 0.25))
    with pytest.raises(ValueError, match="one method"):
        none = make_claim(kind="none wins", method=None, control=None, methods=["new"])
        several = make_claim(
            kind="none wins", method=None, control=None, methods=["new", "placebo"], tuned=[]
        )
        labkit.gain_over(fading, P("smoke"), none, size=(0.0, 0.25))
        labkit.gain_over(fading, P("smoke"), several, size=(0.0, 0.25))


def test_the_gain_of_a_ratio_is_a_factor():
    claim = make_claim(kind="ratio", sense="better", margin=1.01)
    gain = labkit.gain_over(experiment, P("book"), claim, size=(0.01, 0.3))
    assert gain.gains[1].mean == pytest.approx(1.04, abs=0.02) and "wholly above 1" in gain.sentence
    assert "<img" in gain._repr_mimebundle_()[0]["text/html"]


def test_one_seed_runs_and_shows_no_interval():
    gain = labkit.gain_over(fading, P("book", 7), **ASKED, size=(0.0, 1.0))
    assert gain.seeds == [7] and gain.gains == [None, None] and "no interval" in repr(gain)
    assert "<table" in gain._repr_mimebundle_()[0]["text/html"]


def test_values_of_the_knob_that_failed_are_named_and_the_others_shown(displayed):
    def broken(seed, size):
        return {} if size > 2 else fading(seed, size) if size < 1 else 1 / 0

    with pytest.raises(ClaimError, match=r"size = 1: 3 of 3 seeds failed: seed 0: ZeroDivisionError"):
        labkit.gain_over(broken, P("book"), **ASKED, size=(0, 0.5, 1))
    assert len(displayed) == 1 and displayed[0].gains[2] is None
    with pytest.raises(ValueError, match="must return the variants"):
        labkit.gain_over(broken, P("book"), **ASKED, size=(0, 3))
    with pytest.raises(KeyboardInterrupt):
        labkit.gain_over(interrupted_at_half, P("book"), **ASKED, size=(0, 0.5, 1))
    assert displayed[-1].gains[0] is not None and displayed[-1].gains[2] is None


def interrupted_at_half(seed, size):
    if size == 0.5:
        raise KeyboardInterrupt
    return fading(seed, size)


@pytest.mark.parametrize(
    ("knob", "error", "message"),
    [
        ({}, ValueError, "give one knob"),
        ({"size": (0, 1), "scale": (0, 1)}, ValueError, "give one knob"),
        ({"size": 0.5}, TypeError, "sequence of numbers"),
        ({"size": "ab"}, TypeError, "sequence of numbers"),
        ({"size": (1, 0)}, ValueError, "rising"),
        ({"size": (1,)}, ValueError, "two or more"),
        ({"width": (0, 1)}, TypeError, r"must take \(seed, width\)"),
    ],
)
def test_a_wrong_knob_is_named(knob, error, message):
    with pytest.raises(error, match=message):
        labkit.gain_over(fading, P("smoke"), **ASKED, **knob)


def test_what_is_missing_without_a_claim_is_named():
    with pytest.raises(ValueError, match="give metric, margin too"):
        labkit.gain_over(fading, P("smoke"), baseline="plain", method="new", size=(0, 1))


@pytest.mark.parametrize(
    ("means", "expected"),
    [
        ([3, 1, -1, -3], [2.5]),
        ([1, -1, 1, -1], [1.5, 2.5, 3.5]),
        ([1, 0, -1, -1], [2.0]),
        ([1, 0, 0, -1], [2.5]),
        ([1, 0, 1, 2], []),
        ([0, 0, 1, 2], []),
        ([1, 2, 3, 0], []),
        ([0, 0, 0, 0], []),
    ],
)
def test_crossings(means, expected):
    assert crossings([1, 2, 3, 4], means) == pytest.approx(expected)
