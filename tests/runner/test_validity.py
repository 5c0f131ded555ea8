"""What keeps a result valid, what ends it, and which is used: results copied and edited, no kernels."""

import json
import logging
import random

import pytest
from PIL import Image

from labkit import runner
from labkit.runner import keys, notebooks, results
from tests.runner.conftest import Checkout, outputs

NAME = "augment/images/toy"
IMPORTS = "import labkit.data, labkit.show\nfrom labkit import tool\n"


@pytest.fixture
def checkout(executed, tmp_path) -> Checkout:
    """A copy of the executed checkout, to be edited."""
    return executed[0].copy(tmp_path / "book")


@pytest.fixture
def kept(checkout):
    """The kept result of the toy notebook at `book`."""
    return results.result_file(checkout.root, runner.request(checkout.root, NAME))


def edit_cell(checkout: Checkout, index: int, change):
    path = checkout.path(NAME)
    notebook = json.loads(path.read_text())
    notebook["cells"][index]["source"] = change
    path.write_text(json.dumps(notebook))


def edit_record(path, **changes):
    notebook = json.loads(path.read_text())
    record = notebook["metadata"]["labkit"]
    record |= changes
    record["key"] = keys.key(record)
    path.write_text(json.dumps(notebook))


def test_a_result_is_valid_while_nothing_changes(checkout, kept):
    assert runner.valid(kept) == (True, "")
    assert runner.best(checkout.root, NAME).name.startswith("judge-")


@pytest.mark.parametrize(
    ("file", "old", "new"),
    [
        ("labkit/tool.py", "Twice as much.", "Two times as much."),
        ("labkit/tool.py", "# a comment", "# another one"),
        ("labkit/tool.py", "2 * value", "(2\n            * value)"),
        ("labkit/augment/toy.toml", 'id = "toy"\n\n', 'id = "toy"\ntitle = "Toys"\n\n'),
        ("labkit/augment/toy.toml", "margin = 0.5", "margin = 0.50  # the same"),
    ],
)
def test_docstrings_comments_layout_and_facts_do_not_end_it(checkout, kept, file, old, new):
    checkout.edit(file, old, new)
    assert runner.valid(kept).ok


@pytest.mark.parametrize(
    ("file", "old", "new", "reason"),
    [
        ("labkit/tool.py", "2 * value", "3 * value", "labkit/tool.py changed"),
        ("labkit/augment/toy.toml", "margin = 0.5", "margin = 0.4", "claim toy changed"),
        (
            "labkit/augment/toy.toml",
            'id = "toy"\nstatement',
            'id = "toy/new"\nstatement',
            "claim toy is gone",
        ),
    ],
)
def test_code_and_claims_end_it(checkout, kept, file, old, new, reason):
    checkout.edit(file, old, new)
    assert not runner.valid(kept).ok
    assert reason in runner.valid(kept).reason


UNCOUNTED = ("show/figures.py", "show/__init__.py", "papers/facts.py", "ledger.py", "data/registry.py")
UNCOUNTED += ("data/card.py", "__init__.py", "runner/pool.py", "cli/parser.py")
COUNTED = ("augment/__init__.py", "data/__init__.py", "data/digits.py", "claims/judging.py", "statistics.py")


def test_which_files_count():
    """Drawings age, numbers don't: what draws, lists and stores is no part of the key."""
    package = keys.package(".")
    assert all((package / file).is_file() for file in (*UNCOUNTED, *COUNTED)), "a file that was renamed"
    assert not any(map(keys.counts, UNCOUNTED))
    assert all(map(keys.counts, COUNTED))


def test_a_file_that_does_not_count_ends_no_result(checkout, kept):
    """Nor does one that an older runner recorded: its hash may differ, the record's own key holds."""
    (checkout.root / "labkit" / "show" / "__init__.py").write_text("another = 'drawing'")
    assert runner.valid(kept).ok
    recorded = json.loads(kept.read_text())["metadata"]["labkit"]["files"]
    edit_record(kept, files=recorded | {"show/__init__.py": "0" * 16, "papers/gone.py": "1" * 16})
    assert runner.valid(kept).ok
    edit_record(kept, files=recorded | {"gone.py": "1" * 16})
    assert runner.valid(kept) == (False, "labkit/gone.py is gone")


def test_a_file_or_notebook_that_is_gone_ends_it(checkout, kept):
    (checkout.root / "labkit" / "tool.py").unlink()
    assert runner.valid(kept) == (False, "labkit/tool.py is gone")
    checkout.path(NAME).unlink()
    assert runner.valid(kept) == (False, f"there is no notebook {NAME}")


def test_the_notebooks_code_ends_it_and_its_setup_does_not(checkout, kept):
    edit_cell(checkout, 0, "# Another title")
    edit_cell(checkout, 1, "import sys  # bootstrap\nimport os")
    edit_cell(checkout, 3, IMPORTS + "size = tool.double( size )  # twice")
    assert runner.valid(kept).ok
    edit_cell(checkout, 3, IMPORTS + "size = tool.double(size + 1)")
    assert runner.valid(kept) == (False, "the notebook's code changed")


def test_what_is_shown_is_the_text_of_today(checkout, kept):
    edit_cell(checkout, 0, "# Another title")
    found = results.find(checkout.root, runner.request(checkout.root, NAME, {"profile": "book"}))
    assert found == kept
    shown = notebooks.read(found)
    assert shown["cells"][0]["source"] == "# Another title"
    assert outputs(shown)[-1]["data"]["text/plain"] == "6"
    assert runner.valid(found).ok


def test_parameters(checkout, kept):
    """Another default is another request; another name ends the result."""
    edit_cell(checkout, 2, "profile = 'book'\nseed = None\nsize = 4")
    assert results.find(checkout.root, runner.request(checkout.root, NAME)) is None
    assert results.find(checkout.root, runner.request(checkout.root, NAME, {"size": 3})) is not None
    edit_cell(checkout, 2, "profile = 'book'\nseed = None\nwidth = 3")
    assert runner.valid(kept) == (False, "the notebook has other parameters now")


def test_data(checkout, kept, monkeypatch):
    """The letters are hashed anew; a name that can't be had here counts as recorded."""
    monkeypatch.setattr(keys, "fingerprint", {"letters": "another", "my own": None}.get)
    assert runner.valid(kept) == (False, "data set letters changed")


def test_a_folder_of_ones_own_is_hashed_anew(tmp_path):
    for name in ("cat/1.png", "cat/2.png", "dog/1.png", "dog/2.png"):
        file = tmp_path / name
        file.parent.mkdir(exist_ok=True)
        Image.new("L", (8, 8), len(name)).save(file)
    fingerprint = keys.fingerprint.__wrapped__
    before = fingerprint(str(tmp_path))
    assert before and fingerprint(str(tmp_path)) == before
    Image.new("L", (8, 8), 99).save(tmp_path / "cat" / "1.png")
    assert fingerprint(str(tmp_path)) not in (before, None)
    assert fingerprint(str(tmp_path / "gone")) is None


def test_the_records_own_integrity(checkout, kept):
    edit_record(kept, format=0)
    assert "format 0" in runner.valid(kept).reason
    edit_record(kept, format=1, status="failed", error="KeyError: 'x'")
    assert runner.valid(kept) == (False, "it failed: KeyError: 'x'")
    edit_record(kept, status="ok")
    assert runner.valid(kept).ok
    notebook = json.loads(kept.read_text())
    notebook["metadata"]["labkit"]["files"]["tool.py"] = "0" * 16
    kept.write_text(json.dumps(notebook))
    assert runner.valid(kept) == (False, "its record was edited by hand")
    del notebook["metadata"]["labkit"]
    kept.write_text(json.dumps(notebook))
    assert runner.valid(kept) == (False, "never executed by the runner")


def test_outputs_of_other_code_are_no_result(checkout, kept):
    notebook = json.loads(kept.read_text())
    notebook["cells"][-1]["source"] = "size + 1"
    kept.write_text(json.dumps(notebook))
    assert runner.valid(kept) == (False, "its outputs belong to other code")


def test_other_versions_make_it_stale_and_no_more(checkout, kept):
    versions = {"python": "3.0.0", "numpy": "0.1", "torch": "none"}
    edit_record(kept, versions=versions)
    assert runner.valid(kept).ok
    found = runner.stale({"versions": versions})
    assert set(found) == {"numpy", "torch"} and found["numpy"][0] == "0.1"
    import numpy

    assert not runner.stale({"versions": {"numpy": numpy.__version__ + "+cpu"}}), (
        "another build is no other version"
    )


def test_what_is_out_of_date_is_made_anew_as_it_was(checkout, kept):
    judged = results.result_file(checkout.root, runner.request(checkout.root, NAME).with_profile("judge"))
    wanted = runner.request(checkout.root, NAME)
    assert results.out_of_date(checkout.root, wanted) is None
    edit_record(judged, versions={"numpy": "0.1"})
    assert results.out_of_date(checkout.root, wanted).profile == "judge"
    checkout.edit("labkit/tool.py", "2 * value", "3 * value")
    assert results.out_of_date(checkout.root, wanted) is None, "there is no valid result"


def test_the_claims_hash_is_that_of_labkit_claims():
    """One definition in two places would drift apart silently."""
    from labkit.claims.entry import Claim

    entry = {"id": "toy", "role": "headline", "statement": "Größer ≥ kleiner.", "claimed_by": "us"}
    entry |= {"testable": False, "why_not_testable": "It is a toy."}
    assert keys.hash_claim(entry) == Claim.from_entry(entry).hash


def test_the_hash_that_a_record_was_judged_by_counts(result):
    """Should the margin be edited while the notebook runs, the result is of the old one."""
    copied = json.loads(json.dumps(result))
    (output,) = (o for o in outputs(copied) if keys.RECORD in o.get("data", {}))
    output["data"][keys.RECORD]["hash"] = "judged"
    parts = keys.parts(keys.package("."), NAME, copied, {}, {})
    assert parts["claims"] == {"toy": "judged"}


def test_finished_ones_are_not_run_again(checkout, monkeypatch):
    monkeypatch.setattr("labkit.runner.pool._Run", lambda *_: pytest.fail("executed"))
    wanted = [runner.request(checkout.root, NAME), runner.request(checkout.root, NAME, {"profile": "book"})]
    assert [outcome.word for outcome in runner.run(checkout.root, wanted)] == ["valid", "valid"]


def test_fresh_executes_whatever_there_is(checkout, monkeypatch):
    monkeypatch.setattr("labkit.runner.pool.execute", lambda task: json.loads(kept.read_text()))
    wanted = runner.request(checkout.root, NAME)
    kept = results.result_file(checkout.root, wanted)
    (outcome,) = runner.run(checkout.root, [wanted], fresh=True)
    assert outcome.word == "ok"


def test_a_larger_profile_answers_unless_one_is_named(checkout, kept):
    kept.unlink()
    found = results.find(checkout.root, runner.request(checkout.root, NAME))
    assert found.name.startswith("judge-")
    assert results.find(checkout.root, runner.request(checkout.root, NAME, {"profile": "book"})) is None
    assert results.find(checkout.root, runner.request(checkout.root, NAME, {"profile": "full"})) is None


def test_a_corrupt_result_counts_as_missing_and_is_told(checkout, kept, caplog):
    wanted = runner.request(checkout.root, NAME, {"profile": "book"})
    for content in ("{", '{"cells": 3}', "[]", '{"cells": [], "metadata": []}'):
        kept.write_text(content)
        with caplog.at_level(logging.WARNING):
            assert results.find(checkout.root, wanted) is None
            assert results.find(checkout.root, wanted) is None
    told = [message for message in caplog.messages if "counts as missing" in message and str(kept) in message]
    assert len(told) == len(caplog.messages) == 3, "once for each thing that is wrong"
    assert runner.best(checkout.root, NAME).exists()


def places(value, path=()):
    """Every place in a tree of JSON."""
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, inner in items:
        yield (*path, key)
        yield from places(inner, (*path, key))


def damaged(notebook: dict, place: tuple, change) -> dict:
    """A copy with one place changed, or taken out where the change is None."""
    copied = json.loads(json.dumps(notebook))
    *above, key = place
    inner = copied
    for step in above:
        inner = inner[step]
    if change is None:
        del inner[key]
    else:
        inner[key] = change
    return copied


def test_whatever_is_done_to_a_kept_result(checkout, kept, result):
    """It is no result any more, or all that it shows and was made from is still there. Nothing raises."""
    wanted = runner.request(checkout.root, NAME, {"profile": "book"})
    draw = random.Random(0)
    chosen = 2 * list(places(result))
    told, survived = outputs(result), 0
    for place in chosen:
        change = draw.choice([None, 7, "x", [], {}, [7], {"x": 7}])
        kept.write_text(json.dumps(damaged(result, place, change)))
        found = results.find(checkout.root, wanted)
        runner.best(checkout.root, NAME)
        runner.status(checkout.root, NAME)
        if found is not None:
            survived += 1
            now = notebooks.read(found)
            assert outputs(now) == told, place
            record = now["metadata"]["labkit"]
            assert all(record[part] == result["metadata"]["labkit"][part] for part in keys.PARTS), place
    assert 0 < survived < len(chosen) / 2


def test_best(checkout, kept):
    """The committed one if valid, else a valid one, else the failure, else the notebook as it is."""
    judged = results.result_file(checkout.root, runner.request(checkout.root, NAME).with_profile("judge"))
    assert runner.best(checkout.root, NAME) == judged
    assert runner.status(checkout.root, NAME).word == "judged"
    judged.unlink()
    assert runner.best(checkout.root, NAME) == kept
    assert runner.status(checkout.root, NAME).word == "executed"
    checkout.edit("labkit/tool.py", "2 * value", "3 * value")
    assert runner.best(checkout.root, NAME) == checkout.path(NAME)
    assert runner.status(checkout.root, NAME) == ("not run", "", {})
    failed = runner.best(checkout.root, "start/fails")
    assert json.loads(failed.read_text())["metadata"]["labkit"]["status"] == "failed"
    assert runner.status(checkout.root, "start/fails").word == "failed"


def test_a_success_removes_the_failure_before_it(checkout, kept):
    wanted = runner.request(checkout.root, NAME)
    result = json.loads(kept.read_text())
    failed = json.loads(kept.read_text())
    failed["metadata"]["labkit"] |= {"status": "failed", "error": "E: x"}
    path = results.store(checkout.root, wanted, failed)
    assert path.exists() and kept.exists(), "a failure does not replace a success"
    results.store(checkout.root, wanted, result)
    assert not path.exists()


def test_committing(checkout, kept):
    wanted = runner.request(checkout.root, NAME).with_profile("judge")
    (outcome,) = runner.run(checkout.root, [wanted])
    assert runner.commit(checkout.root, outcome)
    committed = checkout.path(NAME)
    assert runner.valid(committed) == (True, "")
    (outcome,) = runner.run(checkout.root, [runner.request(checkout.root, NAME)])
    assert outcome.path == runner.best(checkout.root, NAME) == committed
    assert not runner.commit(checkout.root, outcome), "it is there already"
    assert notebooks.parameters(notebooks.read(committed))["profile"] == "book", "the cell keeps its defaults"
    edit_cell(checkout, 2, "profile = 'book'\nseed = None\nsize = 4")
    assert runner.valid(committed) == (False, "parameter size was 3 and is 4")


def test_what_must_not_be_committed(checkout, executed):
    with pytest.raises(ValueError, match="ZeroDivisionError"):
        runner.commit(checkout.root, executed[1]["start/fails"])
    wanted = runner.request(checkout.root, NAME, {"size": 5})
    with pytest.raises(ValueError, match="not the notebook's defaults"):
        runner.commit(checkout.root, runner.Outcome(wanted, "ok", checkout.path(NAME)))


def test_a_full_disk_is_a_failure_of_that_notebook(checkout, monkeypatch):
    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("labkit.runner.pool.execute", lambda task: {})
    monkeypatch.setattr("labkit.runner.results.store", full)
    (outcome,) = runner.run(checkout.root, [runner.request(checkout.root, NAME)], fresh=True)
    assert (outcome.word, outcome.ok) == ("failed", False)
    assert "No space left" in outcome.reason


def test_no_room_to_refresh_a_valid_result(checkout, kept, monkeypatch):
    """It is told, and the others go on."""

    def full(*_):
        raise OSError(28, "No space left on device", "somewhere")

    edit_cell(checkout, 0, "# Another title")
    monkeypatch.setattr("labkit.runner.notebooks.write", full)
    wanted = [runner.request(checkout.root, NAME, {"profile": profile}) for profile in ("book", "judge")]
    found = list(runner.run(checkout.root, wanted))
    assert [outcome.word for outcome in found] == ["failed", "failed"]
    assert found[0].reason == "No space left on device, so the result could not be kept: somewhere"


def test_writing_leaves_the_old_file_or_the_new_one(tmp_path, monkeypatch):
    file = tmp_path / "a.ipynb"
    file.write_text("old")
    monkeypatch.setattr("os.replace", lambda *_: (_ for _ in ()).throw(OSError("full")))
    with pytest.raises(OSError, match="full"):
        notebooks.write_text(file, "new")
    assert file.read_text() == "old"
    assert list(tmp_path.iterdir()) == [file], "no temporary file is left"


def test_seconds_of_last_time(checkout):
    wanted = runner.request(checkout.root, NAME)
    assert results.last_seconds(checkout.root, wanted) > 0
    assert results.last_seconds(checkout.root, wanted.with_profile("full")) is None
