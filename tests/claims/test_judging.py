import math

import pytest

from labkit.claims.judging import Question, agrees, borderline, differences, judge
from labkit.statistics import interval


def values(**columns):
    return {name: dict(enumerate(column, 1000)) for name, column in columns.items()}


def spread_around(center, n=12, width=0.1):
    """n values with this mean and a little spread."""
    return [center + width * (-1) ** i for i in range(n)]


def judged(new, placebo=None, n=12, **changes):
    question = Question(
        **{"kind": "better", "baseline": "plain", "methods": ("new",), "margin": 1.0} | changes
    )
    columns = {"plain": [0.0] * n, "new": spread_around(new, n, changes.get("width", 0.1))}
    if placebo is not None:
        columns["placebo"] = [placebo] * n
    return judge(question, values(**columns))


def test_differences_are_paired_by_seed_in_the_claimed_direction():
    data = values(plain=[1.0, 5.0, 9.0], new=[2.0, 6.5, 10.0])
    up = differences(Question("better", "plain", ("new",), 1.0), data, "plain")["new"]
    down = differences(Question("better", "plain", ("new",), 1.0, higher_is_better=False), data, "plain")[
        "new"
    ]
    assert up.per_seed == {1000: 1.0, 1001: 1.5, 1002: 1.0}
    assert down.mean == -up.mean and (down.low, down.high) == pytest.approx((-up.high, -up.low))
    assert up[:4] == interval([1.0, 1.5, 1.0])[:4]


@pytest.mark.parametrize(
    ("new", "placebo", "sentence"),
    [
        (3.0, None, "Works here."),
        (3.0, 0.0, "Works here, for the stated reason."),
        (3.0, 2.95, "Works here; placebo does as well."),
        (3.0, 5.0, "Works here; placebo does better."),
        (3.0, 2.0, "Works here, probably for the stated reason."),
        (1.0, 0.9, "Helps here, though perhaps too little to matter; placebo does as well."),
        (0.2, 0.0, "Makes no difference that matters here."),
        (-3.0, 0.0, "Turns the other way here."),
    ],
)
def test_two_verdicts_make_one_sentence(new, placebo, sentence):
    assert judged(new, placebo, control=None if placebo is None else "placebo").sentence == sentence


def test_too_few_seeds_say_so_and_how_many_would_do():
    question = Question("better", "plain", ("new",), 1.0, control="placebo")
    data = values(plain=[0.0] * 10, new=[9.0, -8.0] * 5, placebo=[0.0] * 10)
    found = judge(question, data)
    assert (found.verdict, found.reason_verdict) == ("undecided", None)
    assert found.sentence == "10 seeds cannot tell here." and found.seeds_to_decide > 100
    data["plain"] = dict.fromkeys(data["plain"], -20.0)
    assert (
        judge(question, data).sentence == "Works here; whether for the stated reason, 10 seeds cannot tell."
    )


def test_the_second_question_is_asked_of_a_gain_only():
    assert judged(3.0, 0.0, control="placebo").reason_verdict == "stated reason"
    for new in (0.2, -3.0):
        found = judged(new, -9.0, control="placebo")
        assert found.reason_verdict is None and found.control_difference.mean > 0


def test_bundled_data_is_named():
    assert judged(3.0, data="digits").sentence == "Works here on digits."
    assert judged(0.0, data="digits").sentence == "Makes no difference that matters here on digits."


@pytest.mark.parametrize(
    ("new", "equivalence", "sentence"),
    [
        (0.0, False, "As good as plain here."),
        (0.0, True, "As good as plain here, and no better."),
        (3.0, False, "As good as plain here."),
        (3.0, True, "Better than plain here, not the same."),
        (-3.0, False, "Falls short of plain here."),
        (-1.0, False, "12 seeds cannot tell here."),
    ],
)
def test_as_good_as(new, equivalence, sentence):
    assert judged(new, kind="as good as", equivalence=equivalence).sentence == sentence


def test_none_wins_judges_every_method_by_its_own_interval():
    # One wins on half of the seeds, the other on the rest: the best of both per seed would win.
    question = Question("none wins", "plain", ("a", "b"), 1.0)
    data = values(plain=[0.0] * 20, a=[2.2, -2.2] * 10, b=[-2.2, 2.2] * 10)
    assert judge(question, data).verdict == "undecided"
    data = values(plain=[0.0] * 20, a=[0.6, -0.6] * 10, b=[-0.6, 0.6] * 10)
    assert judge(question, data).sentence == "None wins here."
    data["a"] = dict.fromkeys(data["a"], 1.5)
    assert judge(question, data).sentence == "a wins here."
    data["b"] = dict.fromkeys(data["b"], 1.5)
    assert judge(question, data).sentence == "a and b win here."


def test_a_ratio_is_a_factor_with_a_geometric_mean():
    question = Question(
        "ratio", "slow", ("fast",), 1.2, sense="better", higher_is_better=False, control="half"
    )
    seconds = values(slow=[2.0, 4.0] * 6, fast=[1.0, 1.0] * 6, half=[1.5, 1.5] * 6)
    found = judge(question, seconds)
    shown = found.differences["fast"]
    assert shown.mean == pytest.approx(math.sqrt(8)) and shown.per_seed[1001] == pytest.approx(4.0)
    logs = interval([math.log(2), math.log(4)] * 6)
    assert (shown.low, shown.high) == pytest.approx((math.exp(logs.low), math.exp(logs.high)))
    assert found.control_difference.low == pytest.approx(1.5)
    assert (found.verdict, found.reason_verdict) == ("supported", "stated reason")


def test_deterministic_values_are_judged():
    question = Question("better", "plain", ("new",), 0.01)
    found = judge(question, values(plain=[0.2] * 10, new=[0.3] * 10))
    assert (found.verdict, found.thirds) == ("supported", 3)
    assert found.differences["new"].low == found.differences["new"].high


def test_a_verdict_near_a_boundary_is_borderline():
    question = Question("better", "plain", ("new",), 1.0)
    for center, expected in ((1.1, True), (3.0, False), (0.0, False)):
        found = judge(question, values(plain=[0.0] * 12, new=spread_around(center)))
        assert borderline(question, found.differences) is expected


@pytest.mark.parametrize("ratio", [False, True])
def test_a_small_run_agrees_with_a_record_or_differs(ratio):
    question = Question("ratio" if ratio else "better", "plain", ("new",), 1.5 if ratio else 1.0)

    def found(center, n=5):
        return differences(question, values(plain=[10.0] * n, new=spread_around(center, n)), "plain")

    recorded = found(12.0, n=12)
    assert agrees(question, recorded, found(12.05), 12) and not agrees(question, recorded, found(13.0), 12)
