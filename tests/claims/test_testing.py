import json
import math
import random

import numpy as np
import pytest
import torch

from labkit.claims import MIME, ClaimError, check, claim, committed
from labkit.claims.result import Result
from tests.claims.conftest import ENTRY, P, commit, experiment, make_claim


@pytest.fixture
def displayed(monkeypatch):
    """The results shown, in order."""
    shown = []
    monkeypatch.setattr(Result, "display", lambda result: shown.append(result))
    return shown


def joined(result):
    """A record as the ledger reads it: through JSON, stable fields and "measured"."""
    return json.loads(json.dumps({**result.record, "measured": result.volatile}, allow_nan=False))


def test_at_judge_the_claims_seeds_judge(displayed):
    seen = []
    result = make_claim().test(lambda seed, size: seen.append(seed) or experiment(seed), P("judge"))
    assert seen == list(range(1000, 1012)) and displayed == [result]
    assert (result.verdict, result.reason_verdict, result.thirds) == ("supported", "stated reason", 3)
    assert result.sentence == "Works here, for the stated reason."
    assert result.difference.mean == pytest.approx(3, abs=0.6) and list(result.difference.per_seed) == seen
    assert check(joined(result), make_claim()) == []


@pytest.mark.parametrize(
    ("profile", "seed", "seeds", "verdict"),
    [
        ("smoke", None, [0, 1], "not judged: smoke"),
        ("book", None, [0, 1, 2, 3, 4], "not judged: no record yet"),
        ("full", None, list(range(1000, 1012)), "supported"),
        ("judge", 7, [7], "not judged: one seed"),
        ("smoke", 1003, [1003], "not judged: one seed"),
    ],
)
def test_every_profile_has_its_seeds(displayed, profile, seed, seeds, verdict):
    result = make_claim().test(experiment, P(profile, seed))
    assert result.record["seeds"] == seeds == list(result.values["plain"])
    assert result.verdict == verdict and result.record["profile"] == profile


def test_a_second_attempt_takes_the_next_thousand(displayed):
    assert make_claim(attempt=2).test(experiment, P()).record["seeds"] == list(range(2000, 2012))


def test_the_experiment_gets_the_registered_settings(displayed):
    seen = []
    make_claim().test(lambda seed, **given: seen.append(given) or experiment(seed), P("smoke"))
    assert seen == [{"size": 0.3}] * 2


def test_changed_settings_run_but_are_not_judged(displayed):
    result = make_claim().test(experiment, P(), size=0.1)
    assert result.verdict == "not judged: settings differ" and result.reason_verdict is None
    assert result.seeds == list(range(12))  # design seeds: those that judge are not looked at
    assert "size = 0.1, registered 0.3" in result.sentence and result.volatile["settings"] == {"size": 0.1}
    assert make_claim().test(experiment, P(), size=0.3).verdict == "supported"
    assert make_claim().test(experiment, P(), size=np.float64(0.3)).verdict == "supported"
    pair = make_claim(settings={"size": [0.1, 0.2]})
    assert pair.test(lambda seed, size: experiment(seed), P(), size=(0.1, 0.2)).verdict == "supported"


def test_an_unknown_setting_and_a_deaf_experiment_are_refused():
    with pytest.raises(ValueError, match=r"no setting 'sise'; it has size"):
        make_claim().test(experiment, P(), sise=0.1)
    with pytest.raises(TypeError, match=r"must take \(seed, size\)"):
        make_claim().test(lambda seed: experiment(seed), P())
    with pytest.raises(TypeError, match="settings must be numbers, texts"):
        make_claim().test(experiment, P(), size=experiment)
    with pytest.raises(TypeError, match="must be a function"):
        make_claim().test(experiment(0), P())


@pytest.mark.parametrize("value", [math.nan, math.inf, "a lot", None])
def test_a_value_that_is_no_number_is_a_failure_with_its_name(displayed, value):
    def broken(seed, size):
        return experiment(seed) | ({"new": value} if seed == 1003 else {})

    with pytest.raises(ClaimError, match=r"1 of 12 seeds failed: seed 1003: 'new' is"):
        make_claim().test(broken, P())
    [result] = displayed
    assert list(result.failures) == [1003] and len(result.values["plain"]) == 11
    assert result.verdict == "not judged: 1 of 12 seeds failed" and result.record["failed_seeds"] == [1003]
    assert "seed 1003 failed" in repr(result) and "seed 1003" in result._repr_mimebundle_()[0]["text/html"]


def test_a_seed_that_raises_is_kept_and_the_others_are_shown(displayed):
    def broken(seed, size):
        if seed in (1002, 1005):
            raise RuntimeError("loss exploded")
        return experiment(seed)

    with pytest.raises(ClaimError, match=r"2 of 12.*1002: RuntimeError: loss exploded.*1005") as caught:
        make_claim().test(broken, P())
    assert isinstance(caught.value.__cause__, RuntimeError)
    assert displayed[0].volatile["failures"].keys() == {"1002", "1005"}
    assert check(joined(displayed[0]), make_claim()) == ["2 seeds failed"]


def test_even_if_all_fail_there_is_a_record(displayed):
    with pytest.raises(ClaimError, match="12 of 12"):
        make_claim().test(lambda seed, size: 1 / 0, P())
    assert displayed[0].judgement is None and displayed[0].record["failed_seeds"] == make_claim().seeds


def test_an_interrupt_shows_what_was_finished(displayed):
    def slow(seed, size):
        if seed == 1004:
            raise KeyboardInterrupt
        return experiment(seed)

    with pytest.raises(KeyboardInterrupt):
        make_claim().test(slow, P())
    assert displayed[0].verdict == "not judged: interrupted after 4 of 12 seeds"
    assert list(displayed[0].values["new"]) == [1000, 1001, 1002, 1003]


@pytest.mark.parametrize(
    ("returned", "message"),
    [
        ({"plain": 1.0, "new": 2.0}, "'plain', 'new', 'placebo'; missing: 'placebo'"),
        ({"plain": 1, "new": 2, "placebo": 3, "extra": 4}, "not known: 'extra'"),
        ([1, 2, 3], "got list"),
    ],
)
def test_wrong_variants_end_the_run_at_once_and_are_named(displayed, returned, message):
    calls = []
    with pytest.raises(ValueError, match=message):
        make_claim().test(lambda seed, size: calls.append(seed) or returned, P())
    assert calls == [1000] and displayed == []


def test_seeds_together_give_what_seeds_one_by_one_give(displayed):
    def stacked(seeds, size):
        columns = [experiment(seed) for seed in seeds]
        return {name: torch.tensor([c[name] for c in columns], dtype=torch.float64) for name in columns[0]}

    one_by_one, together = make_claim().test(experiment, P()), make_claim().test(stacked, P(), together=True)
    assert one_by_one.values == together.values and one_by_one.record == together.record
    assert together.volatile["seconds"]["per_seed"].keys() == {"all"}


def test_together_keeps_the_seeds_without_nan_and_names_a_wrong_length(displayed):
    def stacked(seeds, size, cut=None):
        columns = {name: [experiment(seed)[name] for seed in seeds][:cut] for name in experiment(0)}
        columns["new"][1] = math.nan
        return columns

    with pytest.raises(ClaimError, match="1 of 12 seeds failed: seed 1001: 'new' is nan"):
        make_claim().test(stacked, P(), together=True)
    with pytest.raises(ValueError, match=r"'plain' must be 12 numbers"):
        make_claim().test(lambda seeds, size: stacked(seeds, size, cut=5), P(), together=True)
    with pytest.raises(ClaimError, match="12 of 12 seeds failed"):
        make_claim().test(lambda seeds, size: 1 / 0, P(), together=True)


def test_tensors_and_arrays_of_one_number_are_numbers(displayed):
    result = make_claim().test(
        lambda seed, size: {k: torch.tensor(v) for k, v in experiment(seed).items()}, P()
    )
    assert result.verdict == "supported" and type(result.values["new"][1000]) is float


def test_global_randomness_is_fixed_by_the_seed_and_left_as_it_was(displayed):
    def careless(seed, size):
        return {name: torch.rand(()) + random.random() + np.random.rand() for name in experiment(seed)}

    torch.manual_seed(5)
    expected = torch.rand(1)
    torch.manual_seed(5)
    first, second = (make_claim().test(careless, P("smoke")).values for _ in range(2))
    assert first == second and first["new"][0] != first["new"][1] and torch.equal(torch.rand(1), expected)


def test_a_ratio_needs_values_above_zero(displayed):
    ratio = make_claim(kind="ratio", sense="better", margin=1.01)
    with pytest.raises(ClaimError, match="'plain' is -1, but a ratio needs values above 0"):
        ratio.test(lambda seed, size: experiment(seed) | ({"plain": -1} if seed == 1001 else {}), P())
    assert ratio.test(experiment, P()).difference.mean == pytest.approx(73 / 70, rel=0.02)


def test_a_reader_agrees_with_the_record_or_differs(displayed, monkeypatch):
    commit(monkeypatch, make_claim().test(experiment, P()))
    result = make_claim().test(experiment, P("book"))
    assert result.verdict == "agrees" and result.sentence.endswith("Works here, for the stated reason.")
    result = make_claim().test(lambda seed, size: experiment(seed, size=0.1), P("book"))
    assert result.verdict == "differs"
    monkeypatch.setattr("labkit.data.loaded", lambda: {"topics": "new", "digits": "same"})
    committed("resizemix")["measured"]["data"].update(topics="old", digits="same")
    assert make_claim().test(experiment, P("book")).sentence.endswith("Not the record's data: topics.")
    edited = make_claim(margin=0.5).test(experiment, P("book"))
    assert "margin was 1.0 and is 0.5 now" in edited.verdict


def test_the_stable_part_is_the_same_in_two_runs_and_holds_no_seconds(displayed):
    first, second = (make_claim().test(experiment, P())._repr_mimebundle_() for _ in range(2))
    assert first[0] == second[0] and set(first[0]) == {MIME, "text/html", "text/plain"}
    assert set(first[0][MIME]) >= {"paper", "claim", "hash", "role", "evidence", "variants", "n", "attempt"}
    volatile = first[1][MIME]
    assert volatile["seconds"]["total"] > 0 and volatile["versions"]["torch"] == torch.__version__
    assert set(volatile["device"]) == {"type", "name", "capability", "threads"} and "data" in volatile
    assert volatile["experiment"].startswith("def experiment") and volatile["entry"] == ENTRY
    json.dumps(first, allow_nan=False)


def test_the_page_says_verdict_by_word_and_symbol_with_numbers_folded(displayed):
    page = make_claim(statement="a < b").test(experiment, P())._repr_mimebundle_()[0]["text/html"]
    for part in (
        "▲ supported",
        "a &lt; b",
        "Margin 1 point;",
        "attempt 1",
        "claimed by the paper",
        "<details>",
    ):
        assert part in page
    assert "background" not in page and 'alt="' in page and len(page) < 60_000


def test_outside_a_notebook_the_result_is_printed(capsys):
    make_claim().test(experiment, P("smoke"))
    assert "a smoke run only shows that the code runs" in capsys.readouterr().out


def test_a_claim_that_cannot_be_tested_is_shown_with_its_reason(displayed):
    entry = {k: ENTRY[k] for k in ("id", "role", "statement", "claimed_by")}
    claim_without = type(make_claim()).from_entry(
        entry | {"testable": False, "why_not_testable": "Needs robots."}
    )
    result = claim_without.show()
    assert result.record["verdict"] == "not testable here" and "Needs robots." in result.sentence
    assert "∅" in result._repr_mimebundle_()[0]["text/html"]
    with pytest.raises(ValueError, match=r"Needs robots\. Use claim.show"):
        claim_without.test(experiment, P())
    with pytest.raises(ValueError, match="can be tested"):
        make_claim().show()


def test_labkit_claim_is_this():
    import labkit

    assert labkit.claim is claim
