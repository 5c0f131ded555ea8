import csv
import json
from dataclasses import replace

import nbformat
import pytest

from labkit import claims, ledger, papers
from labkit.claims.result import Result
from tests.claims.conftest import ENTRY, P, commit, experiment, make_claim

MECHANISM = ENTRY | {"id": "resizemix/label-truth", "role": "mechanism", "evidence": "exact"}
UDA = ENTRY | {"id": "uda", "evidence": "by construction"}
ROBOTS = {"id": "alice", "role": "headline", "statement": "Robots learn.", "claimed_by": "paper"}
ROBOTS |= {"testable": False, "why_not_testable": "Needs robots."}


@pytest.fixture(autouse=True)
def made_up_claims(monkeypatch):
    """Four claims in the files of three papers; nothing is displayed or drawn."""
    entries = {"resizemix": (ENTRY, MECHANISM), "uda": (UDA,), "alice": (ROBOTS,)}
    known = {paper.id: replace(paper, claims=entries.get(paper.id, ())) for paper in papers.all()}
    monkeypatch.setattr(papers, "all", lambda: list(known.values()))
    monkeypatch.setattr(claims, "get", known.__getitem__)
    monkeypatch.setattr(Result, "display", lambda result: None)
    monkeypatch.setattr(Result, "_picture", lambda result: "")  # tested elsewhere, and slow


def write_notebook(root, name, *results, error=False):
    """An executed notebook with the outputs of these results, through nbformat."""
    outputs = []
    for result in results:
        data, metadata = result._repr_mimebundle_()
        outputs.append(nbformat.v4.new_output("display_data", data=data, metadata=metadata))
    if error:
        outputs.append(nbformat.v4.new_output("error", ename="E", evalue="e", traceback=[]))
    book = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell("claim.test()", outputs=outputs)])
    nbformat.validate(book)
    path = root / "notebooks" / f"{name}.ipynb"
    path.parent.mkdir(parents=True, exist_ok=True)
    nbformat.write(book, path)
    return path


def row_of(root, claim, **settings):
    [row] = [row for row in ledger.rows(root, **settings) if row["claim"] == claim]
    return row


def judged(entry=ENTRY, profile="judge", trial=experiment):
    return claims.Claim.from_entry(entry).test(trial, P(profile))


def test_records_come_back_from_a_notebook_as_they_were(tmp_path):
    result = judged()
    [record] = ledger.collect(write_notebook(tmp_path, "augment/images/resizemix", result))
    assert record == json.loads(json.dumps({**result.record, "measured": result.volatile}))
    assert claims.check(record) == []


def test_every_paper_has_a_row_and_all_columns(tmp_path):
    table = ledger.rows(tmp_path)
    assert {row["paper"] for row in table} == {paper.id for paper in papers.all()} and len(table) == 140
    assert all(tuple(row) == ledger.COLUMNS for row in table)
    assert sum(row["status"] == "planned" for row in table) == 136
    assert row_of(tmp_path, "resizemix")["status"] == "not judged"
    robots = row_of(tmp_path, "alice")
    assert (robots["status"], robots["why"]) == ("not testable", "Needs robots.")


def test_a_judged_claim_fills_its_row(tmp_path):
    result = judged()
    write_notebook(tmp_path, "augment/images/resizemix", result)
    row = row_of(tmp_path, "resizemix")
    assert (row["status"], row["verdict"], row["thirds"], row["profile"]) == (
        "judged",
        "supported",
        3,
        "judge",
    )
    assert (row["difference"], row["low"], row["high"]) == result.difference[:3]
    assert row["control_difference"] == result.control_difference.mean
    assert row["sentence"] == result.sentence and row["seconds"] > 0 and row["counted"]
    assert row["borderline"] is False and row["why"] == ""
    assert row_of(tmp_path, "resizemix/label-truth")["status"] == "not judged"


def test_a_small_run_judges_nothing(tmp_path):
    write_notebook(tmp_path, "augment/images/resizemix", judged(profile="book"), judged(profile="smoke"))
    assert row_of(tmp_path, "resizemix")["status"] == "not judged"


def test_a_margin_edited_after_judging_makes_the_record_void(tmp_path):
    write_notebook(tmp_path, "augment/images/resizemix", judged(ENTRY | {"margin": 0.5}))
    row = row_of(tmp_path, "resizemix")
    assert row["status"] == "void" and row["verdict"] == row["sentence"] == "" and row["difference"] is None
    assert "margin was 0.5 and is 1.0 now" in row["why"] and not row["counted"]


def test_other_versions_make_it_stale(tmp_path):
    result = judged()
    result.volatile["versions"]["torch"] = "1.0.0"
    write_notebook(tmp_path, "augment/images/resizemix", result)
    row = row_of(tmp_path, "resizemix")
    assert (row["status"], row["verdict"]) == ("stale", "supported") and "torch 1.0.0" in row["why"]


def test_failures_are_told(tmp_path):
    def broken(seed, size):
        return experiment(seed) | ({"new": float("nan")} if seed == 1003 else {})

    claim, shown = make_claim(), []
    with pytest.MonkeyPatch.context() as patch, pytest.raises(claims.ClaimError):
        patch.setattr(Result, "display", lambda result: shown.append(result))
        claim.test(broken, P())
    write_notebook(tmp_path, "augment/images/resizemix", *shown, error=True)
    row = row_of(tmp_path, "resizemix")
    assert (row["status"], row["why"]) == ("failed", "seed 1003: 'new' is nan")
    row = row_of(tmp_path, "resizemix/label-truth")
    assert row["status"] == "failed" and "stopped before" in row["why"]


def test_the_notebook_to_read_can_be_another(tmp_path):
    path = write_notebook(tmp_path / "cache", "any", judged())
    find = {"augment/images/resizemix": path}.get
    assert row_of(tmp_path, "resizemix", find=find)["status"] == "judged"


def test_full_scale_records_stand_in_their_own_files(tmp_path):
    write_notebook(tmp_path, "augment/images/resizemix", judged())
    result = judged(MECHANISM, "full")
    path = ledger.save({**result.record, "measured": result.volatile}, tmp_path)
    assert path == tmp_path / "notebooks/augment/records/resizemix--label-truth.full.json"
    row = row_of(tmp_path, "resizemix/label-truth")
    assert (row["status"], row["profile"]) == ("judged", "full")
    result = judged(profile="full")
    ledger.save({**result.record, "measured": result.volatile}, tmp_path)
    both = [row["profile"] for row in ledger.rows(tmp_path) if row["claim"] == "resizemix"]
    assert both == ["judge", "full"]
    assert ledger.tally(ledger.rows(tmp_path)) == {"supported": 1}


def test_the_tally_counts_headlines_that_are_not_true_by_construction(tmp_path):
    write_notebook(tmp_path, "augment/images/resizemix", judged(), judged(MECHANISM))
    write_notebook(tmp_path, "augment/unlabelled/uda", judged(UDA))
    assert row_of(tmp_path, "uda")["verdict"] == "supported"
    assert ledger.tally(ledger.rows(tmp_path)) == {"supported": 1}


def test_changed_verdicts_are_listed(tmp_path):
    before = ledger.rows(tmp_path)
    write_notebook(tmp_path, "augment/images/resizemix", judged())
    after = ledger.rows(tmp_path)
    told = "supported, stated reason (attempt 1)"
    [change] = ledger.changes(before, after)
    assert change == {"claim": "resizemix", "profile": "judge", "before": "", "after": told}
    assert ledger.changes(after, after) == []
    other = [dict(row) for row in after]
    next(row for row in other if row["claim"] == "resizemix")["verdict"] = "leaning"
    assert ledger.changes(after, other)[0]["after"] == "leaning, stated reason (attempt 1)"


def test_the_ledger_is_written_as_json_and_csv(tmp_path):
    write_notebook(tmp_path, "augment/images/resizemix", judged())
    table = ledger.rows(tmp_path)
    as_json, as_csv = ledger.write(table, tmp_path / "out")
    assert json.loads(as_json.read_text()) == table
    with as_csv.open(newline="") as file:
        read = list(csv.DictReader(file))
    assert len(read) == len(table) and tuple(read[0]) == ledger.COLUMNS
    assert [row["verdict"] for row in read] == [row["verdict"] for row in table]


def test_a_recalled_figure_stays_out(tmp_path, monkeypatch):
    for source, shown in (("abstract", "79 %"), ("recalled", "")):
        entry = ENTRY | {"reported": {"value": "79 %", "source": source}}
        paper = replace(papers.get("resizemix"), claims=(entry,))
        monkeypatch.setattr(
            claims, "get", lambda id, paper=paper: paper if id == paper.id else papers.get(id)
        )
        assert row_of(tmp_path, "resizemix")["reported"] == shown


def test_shipped_records_are_the_valid_ones_and_stay_until_a_valid_one_comes(tmp_path, monkeypatch):
    first = judged()
    path = write_notebook(tmp_path, "augment/images/resizemix", first, judged(MECHANISM, "book"))
    shipped = ledger.write_records(tmp_path, path=tmp_path / "records.json")
    [record] = json.loads(shipped.read_text())
    assert record["claim"] == "resizemix" and claims.check(record) == []
    # The margin is edited, the notebook run again: it judges nothing, and the record stays to say so.
    commit(monkeypatch, first)
    paper = replace(papers.get("resizemix"), claims=(ENTRY | {"margin": 0.5},))
    monkeypatch.setattr(claims, "get", lambda id: paper if id == "resizemix" else papers.get(id))
    again = judged(ENTRY | {"margin": 0.5})
    assert again.verdict.startswith("not judged: changed after attempt 1 was judged, set attempt = 2")
    write_notebook(tmp_path, "augment/images/resizemix", again)
    assert "margin was 1.0" in row_of(tmp_path, "resizemix")["why"]
    assert ledger.judged_records(tmp_path) == [record]
    assert path.exists()


def test_what_is_no_notebook_is_named(tmp_path):
    path = tmp_path / "broken.ipynb"
    path.write_text("{")
    with pytest.raises(ValueError, match=r"broken\.ipynb: no notebook or record"):
        ledger.collect(path)
