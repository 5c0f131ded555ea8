import math
from dataclasses import FrozenInstanceError, replace

import pytest

from labkit import claims, papers
from labkit.claims import Claim
from tests.claims.conftest import ENTRY, make_claim


def register(monkeypatch, *entries):
    """Let these be the claims in the file of resizemix."""
    paper = replace(papers.get("resizemix"), claims=tuple(entries))
    monkeypatch.setattr(claims, "get", lambda id: paper if id == paper.id else papers.get(id))


def test_a_claim_has_the_fields_of_its_entry():
    claim = make_claim()
    assert claim.methods == ("new",) and claim.margin == 1.0 and claim.paper == "resizemix"
    assert claim.seeds == list(range(1000, 1012)) and make_claim(attempt=3).seeds[0] == 3000
    assert claim.settings == {"size": 0.3}
    with pytest.raises(FrozenInstanceError):
        claim.margin = 0.1


def test_the_hash_is_of_the_whole_entry_and_not_of_its_order():
    claim = make_claim()
    assert len(claim.hash) == 16 and int(claim.hash, 16) >= 0
    assert Claim.from_entry(dict(reversed(ENTRY.items()))).hash == claim.hash
    for changes in ({"margin": 0.9}, {"statement": "Other."}, {"settings": {"size": 0.2}}, {"control": None}):
        assert make_claim(**changes).hash != claim.hash


def test_it_prints_what_is_registered():
    text, page = str(make_claim()), make_claim()._repr_html_()
    for part in (
        "new better than plain",
        "control: placebo",
        "1 point",
        "12, from 1000 (attempt 1)",
        "4 trials",
    ):
        assert part in text and part in page
    assert "&lt;" in make_claim(statement="a < b")._repr_html_()


def test_a_recalled_figure_is_not_printed():
    assert "79 %" in str(make_claim(reported={"value": "79 %", "source": "abstract"}))
    assert "79 %" not in str(make_claim(reported={"value": "79 %", "source": "recalled"}))


@pytest.mark.parametrize(
    ("changes", "error", "message"),
    [
        ({"margin": None}, ValueError, "missing margin"),
        ({"margins": 1.0}, ValueError, "unknown field 'margins'"),
        ({"margin": "1"}, TypeError, "margin must be int or float"),
        ({"n": True}, TypeError, "n must be int"),
        ({"higher_is_better": 1}, TypeError, "higher_is_better must be bool"),
        ({"margin": 0.0}, ValueError, "margin = 0.0"),
        ({"margin": math.inf}, ValueError, "margin = inf"),
        ({"n": 9}, ValueError, "n = 9, but it takes at least 10 seeds"),
        ({"n": 1001}, ValueError, "at most 1000 seeds"),
        ({"attempt": 0}, ValueError, "attempt = 0"),
        ({"role": "study"}, ValueError, "role = 'study'"),
        ({"id": "resizemix/other"}, ValueError, "role = 'headline'"),
        ({"id": "resizemix/"}, ValueError, "id = "),
        ({"claimed_by": "me"}, ValueError, "claimed_by = 'me', but it takes one of paper, us"),
        ({"evidence": "real data"}, ValueError, "evidence = 'real data'"),
        ({"evidence": "bundled real data"}, ValueError, "data = None"),
        ({"kind": "best"}, ValueError, "kind = 'best'"),
        ({"kind": "ratio", "margin": 1.2}, ValueError, "sense = None"),
        ({"kind": "ratio", "sense": "better"}, ValueError, "margin = 1.0, but it takes a number above 1"),
        ({"sense": "better"}, ValueError, "sense = 'better'"),
        ({"equivalence": True}, ValueError, "equivalence = True"),
        ({"kind": "none wins"}, ValueError, "kind = 'none wins'"),
        ({"kind": "none wins", "method": None, "control": None}, ValueError, "methods = None"),
        ({"methods": ["new"]}, ValueError, "methods = "),
        ({"method": None}, ValueError, "method = None"),
        ({"method": "plain"}, ValueError, "baseline = 'plain'"),
        ({"control": "sham"}, ValueError, "'sham' too"),
        ({"variants": ["plain", "new", "new"]}, ValueError, "distinct names"),
        ({"reported": {"value": "1"}}, ValueError, "reported = "),
        ({"reported": {"value": "1", "source": "blog"}}, ValueError, "reported = "),
        ({"testable": False}, ValueError, "why_not_testable = None"),
        ({"why_not_testable": "no"}, ValueError, "why_not_testable = 'no'"),
        ({"tuned": [{"variant": "plain"}]}, ValueError, "tuned = "),
        ({"settings": {"together": True}}, ValueError, "settings = "),
        ({"statement": " "}, ValueError, "statement = "),
    ],
)
def test_a_wrong_entry_is_named(changes, error, message):
    with pytest.raises(error, match=f"claim .*{message}"):
        make_claim(**changes)


def tuned(variant, trials=1, seeds=(0,)):
    return {"variant": variant, "knobs": ["lr"], "trials": trials, "seeds": list(seeds)}


@pytest.mark.parametrize(
    ("tuning", "message"),
    [
        ([tuned("plain", seeds=[0, 1000])], "all below 1000"),
        ([tuned("plain", seeds=[])], "design seeds"),
        ([tuned("other")], "variants plain, new, placebo"),
        ([tuned("plain", trials=0)], "trials of 1 or more"),
        ([tuned("plain", 3), tuned("new", 4)], "as many trials for the baseline"),
        ([tuned("new")], "as many trials for the baseline"),
    ],
)
def test_tuning_is_fair_and_on_design_seeds(tuning, message):
    with pytest.raises(ValueError, match=message):
        make_claim(tuned=tuning)


def test_where_none_is_to_win_the_methods_are_tuned_as_much_as_the_baseline():
    none = {"kind": "none wins", "method": None, "control": None, "methods": ["new", "placebo"]}
    with pytest.raises(ValueError, match="as many trials for each method"):
        make_claim(**none, tuned=[tuned("plain"), tuned("new")])
    make_claim(**none, tuned=[tuned("plain"), tuned("new"), tuned("placebo")])


def test_registered_claims_are_found_by_id(monkeypatch):
    register(monkeypatch, ENTRY, ENTRY | {"id": "resizemix/label-truth", "role": "mechanism"})
    assert claims.claim("resizemix") == make_claim()
    assert claims.claim("resizemix/label-truth").role == "mechanism"
    with pytest.raises(ValueError, match=r"no registered claim.*'resizemix/label-truth'"):
        claims.claim("resizemix/label-trut")
    with pytest.raises(ValueError, match="registered no claim yet"):
        claims.claim("uda")
    with pytest.raises(ValueError, match="did you mean 'resizemix'"):
        claims.claim("resizmix")
    with pytest.raises(TypeError, match="id must be a text"):
        claims.claim(3)


@pytest.mark.parametrize(
    ("entries", "message"),
    [
        ([ENTRY, ENTRY], "registered twice"),
        ([ENTRY | {"id": "uda"}], "stands in the file of resizemix"),
        ([ENTRY | {"id": "resizemix/x", "role": "study"}], "no headline"),
    ],
)
def test_the_claims_of_a_paper_are_checked_together(monkeypatch, entries, message):
    register(monkeypatch, *entries)
    with pytest.raises(ValueError, match=message):
        claims.of("resizemix")


def test_every_registered_claim_is_sound():
    for paper in papers.all():
        assert claims.of(paper.id) or paper.planned, f"{paper.id} is written, so it registers its headline"
