import copy
import functools
import json

import pytest

from labkit import ledger
from labkit.claims import check, records
from labkit.claims.result import Result
from tests.claims.conftest import P, commit, experiment, make_claim


@pytest.fixture(autouse=True)
def quiet(monkeypatch):
    monkeypatch.setattr(Result, "display", lambda result: None)


@pytest.fixture
def record():
    result = make_claim().test(experiment, P())
    return json.loads(json.dumps({**result.record, "measured": result.volatile}))


def test_a_margin_edited_after_judging_is_caught(record):
    problems = check(record, make_claim(margin=0.5))
    assert problems == ["the entry was edited after it was judged: margin was 1.0 and is 0.5 now"]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"statement": "Other."}, "statement was"),
        ({"n": 14}, "judged with n = 12, registered is 14"),
        ({"attempt": 2}, "judged with attempt = 1, registered is 2"),
        ({"control": None}, "control was 'placebo' and is None now"),
        ({"settings": {"size": 0.2}}, "settings was"),
    ],
)
def test_so_is_every_other_field(record, changes, message):
    assert any(message in problem for problem in check(record, make_claim(**changes)))


@pytest.mark.parametrize(
    ("path", "value", "message"),
    [
        (["verdict"], "leaning", "its verdict is 'leaning', its values give 'supported'"),
        (["sentence"], "Works everywhere.", "its sentence is"),
        (["reason_verdict"], None, "its reason_verdict is None"),
        (["profile"], "book", "judges nothing"),
        (["seeds"], list(range(12)), "judged on 12 seeds, 0 to 11, attempt 1 has seeds 1000 to 1011"),
        (["seeds"], list(range(1000, 1011)), "judged on 11 seeds"),
        (["failed_seeds"], [1003], "1 seeds failed"),
        (["measured", "values", "new", "1000"], -500.0, "its values give"),
        (["measured", "values", "new"], {}, "every variant on every seed"),
        (["measured"], {}, "values it was judged from are missing"),
        (["measured", "settings"], {"size": 0.2}, "run with settings"),
        (["hash"], "0" * 16, "edited after it was judged: its hash"),
    ],
)
def test_a_record_edited_by_hand_is_caught(record, path, value, message):
    edited = copy.deepcopy(record)
    place = edited
    for key in path[:-1]:
        place = place[key]
    place[path[-1]] = value
    assert check(record, make_claim()) == []
    assert any(message in problem for problem in check(edited, make_claim()))


def test_the_seeds_of_an_attempt_judge_one_entry(monkeypatch):
    commit(monkeypatch, make_claim().test(experiment, P()))
    again = make_claim(margin=0.5).test(experiment, P())
    assert "margin was 1.0 and is 0.5 now" in again.verdict and "set attempt = 2" in again.verdict
    assert make_claim(margin=0.5, attempt=2).test(experiment, P()).verdict == "supported"
    # words may be bettered, and the same test repeated
    assert make_claim(statement="Better words.").test(experiment, P()).verdict == "supported"


def test_an_attempt_does_not_go_back(monkeypatch):
    commit(monkeypatch, make_claim(attempt=2).test(experiment, P()))
    assert make_claim().test(experiment, P()).verdict == "not judged: attempt 2 was judged already"


def test_the_seeds_of_an_attempt_judge_one_experiment(monkeypatch):
    commit(monkeypatch, make_claim().test(experiment, P()))

    def same(seed, size=0.3):
        """Other words, the same values."""
        return experiment(seed, size)

    def other(seed, size=0.3):
        return experiment(seed + 1, size)

    assert make_claim().test(same, P()).verdict == "supported"
    assert "the experiment's code" in make_claim().test(other, P()).verdict
    assert make_claim(attempt=2).test(other, P()).verdict == "supported"


def helper(seed):
    return experiment(seed)


def calls_the_helper(seed, size):
    return max(helper(s)["new"] for s in (seed,))


def test_the_code_of_an_experiment_holds_the_functions_of_its_own_notebook():
    source = records.source_of(functools.partial(calls_the_helper, size=1))
    assert "def calls_the_helper" in source and "def helper" in source and "def experiment" not in source
    assert records.source_of(len) is None


def test_a_comment_or_a_docstring_is_no_change():
    old = 'def f(seed):\n    """Old."""\n    return seed  # why\n'
    assert not records._code_differs(old, "def f(seed):\n    return (seed)\n")
    assert records._code_differs(old, "def f(seed):\n    return seed + 1\n")
    assert not records._code_differs(None, old)


def test_the_shipped_records_hold_and_are_those_of_the_notebooks(monkeypatch, request):
    monkeypatch.undo()  # the committed ones, for once
    root = request.config.rootpath
    if records.PATH.exists():
        for record in json.loads(records.PATH.read_text(encoding="utf-8")):
            assert check(record) == [], record["claim"]
        assert json.loads(records.PATH.read_text(encoding="utf-8")) == ledger.judged_records(root)
    else:
        assert ledger.judged_records(root) == [], "labkit ledger --write was forgotten"
