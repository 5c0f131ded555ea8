"""Every notebook is as a notebook must be; and each check finds what it is there to find."""

import copy
import json
from pathlib import Path

import nbformat.v4 as v4
import pytest

from labkit import claims, papers, runner
from tests.notebooks import structure
from tests.notebooks.structure import CHECKS, Notebook

ROOT = Path(__file__).resolve().parents[2]
PAPER = papers.get("resizemix")


@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.__name__)
@pytest.mark.parametrize("name", runner.names(ROOT))
def test_notebook(name, check):
    problems = list(check(structure.read(ROOT, name)))
    assert not problems, "\n".join(problems)


def test_every_notebook_stands_where_the_catalogue_has_it():
    known = {paper.notebook for paper in papers.all()} | {chapter.notebook for chapter in papers.start}
    known |= {chapter.notebook for chapter in papers.CHAPTERS.values()}
    assert set(runner.names(ROOT)) <= known
    assert PAPER.notebook in runner.names(ROOT)


def code(source: str, *tags: str, count: int = 1, outputs=()):
    return v4.new_code_cell(
        source, execution_count=count, outputs=list(outputs), metadata={"tags": list(tags)}
    )


def record(**changes):
    stable = {"paper": PAPER.id, "claim": PAPER.id, "verdict": "supported", "profile": "judge"} | changes
    return v4.new_output("display_data", data={claims.MIME: stable, "text/plain": "works"}, metadata={})


def picture(alt: str | None, kind: str = "image/png"):
    metadata = {kind: {"alt": alt}} if alt is not None else {}
    return v4.new_output("display_data", data={kind: "AAAA"}, metadata=metadata)


@pytest.fixture
def good(tmp_path, monkeypatch) -> Notebook:
    """A tiny notebook of a paper with nothing wrong in it, as far as it can be told without executing."""
    head = (
        "# Resize\n\n*Needs: [fair-test](../../start/fair-test.ipynb) · 12 min to read · 45 s to run · core*"
    )
    cells = [
        v4.new_markdown_cell(head),
        code("import labkit", "bootstrap"),
        code("profile = 'book'", "parameters"),
    ]
    cells += [v4.new_markdown_cell(f"## {beat}\n\nWords, $x<y$ and `<b>`.") for beat in structure.BEATS]
    cells[3 + structure.BEATS.index("Read")].metadata["tags"] = ["reads:supported"]
    test = code(f"labkit.claim('{PAPER.id}')", "nbval-check-output", count=2, outputs=[record()])
    cells += [test, code("show", count=3, outputs=[picture("A line rises.")])]
    notebook = Notebook(PAPER.notebook, {}, tmp_path / "resizemix.ipynb", tmp_path)
    replace(notebook, v4.new_notebook(cells=cells))
    # Whether a claim and its record are right is for the tests of `labkit.claims`.
    claim = claims.Claim.from_entry(
        {
            "id": PAPER.id,
            "role": "headline",
            "statement": "So it is.",
            "claimed_by": "paper",
            "testable": False,
        }
        | {"why_not_testable": "A toy."}
    )
    monkeypatch.setattr(claims, "of", lambda paper: [claim])
    return notebook


def replace(notebook: Notebook, content):
    notebook.content = json.loads(json.dumps(content))
    notebook.path.write_text(json.dumps(content))


UNEXECUTED = [check for check in CHECKS if check is not structure.valid]


@pytest.mark.parametrize("check", UNEXECUTED, ids=lambda check: check.__name__)
def test_the_good_notebook_has_no_problem(good, check):
    assert list(check(good)) == []


def find(content: dict, text: str) -> dict:
    return next(cell for cell in content["cells"] if text in cell["source"])


def set_source(text: str, new: str):
    return lambda content: find(content, text).update(source=new)


def retag(text: str, *tags: str):
    return lambda content: find(content, text)["metadata"].update(tags=list(tags))


def prose(text: str):
    return lambda content: content["cells"].append(v4.new_markdown_cell(text))


def shows(output):
    return lambda content: content["cells"].append(code("1", count=9, outputs=[output]))


def html(text: str):
    return shows(v4.new_output("display_data", data={"text/html": text}))


WRONG = [
    (structure.setup_cells, retag("profile"), "0 code cells are tagged 'parameters'"),
    (
        structure.setup_cells,
        retag("profile", "bootstrap", "parameters"),
        "2 code cells are tagged 'bootstrap'",
    ),
    (structure.setup_cells, retag("show", "injected-parameters"), "papermill injected"),
    (structure.setup_cells, set_source("profile", "profile = 'judge'"), "it has 'judge'"),
    (structure.setup_cells, set_source("profile", "seed = None"), "it has None"),
    (
        structure.setup_cells,
        lambda content: content["cells"].insert(0, code("1")),
        "is not the bootstrap cell",
    ),
    (structure.beats, set_source("## Look", "Look"), "its beats are"),
    (structure.beats, set_source("## Look", "## Look\n\n## Idea"), "its beats are"),
    (structure.beats, set_source("## Look", "```\n## Look\n```"), "its beats are"),
    (structure.beats, prose("# Another title"), "2 titles"),
    (structure.head_line, set_source("# Resize", "# Resize\n\n*Needs: nothing · core*"), "no head line"),
    (
        structure.head_line,
        set_source("# Resize", "# R\n\n*Needs: x · 1 min to read · 4 s to run · not core*"),
        "catalogue",
    ),
    (structure.cell_ids, lambda content: content["cells"][0].pop("id"), "without an id"),
    (
        structure.cell_ids,
        lambda content: content["cells"][0].update(id=content["cells"][1]["id"]),
        "the same one",
    ),
    (structure.cell_ids, lambda content: content.update(nbformat_minor=4), "older than 4.5"),
    (structure.size, prose("x" * structure.MAX_BYTES), "less than 1,000,000"),
    (
        structure.executed,
        lambda content: find(content, "show").update(execution_count=None),
        "1 code cells were not",
    ),
    (structure.executed, lambda content: find(content, "show").update(execution_count=1), "out of order"),
    (structure.executed, shows(v4.new_output("error", ename="KeyError", evalue="x")), "an error: KeyError"),
    (structure.machine_paths, shows(v4.new_output("stream", text="/tmp/a.py:3")), "/tmp/a.py"),
    (structure.machine_paths, prose("See /opt/data/digits."), "/opt/data"),
    (structure.machine_paths, prose(f"See {Path.home() / 'data'} or ROOT/data."), "a path of"),
    (structure.plain_markdown, prose("```{note}\nx\n```"), "a MyST directive"),
    (structure.plain_markdown, prose(":::{note}\nx\n:::"), "a MyST directive"),
    (structure.plain_markdown, prose("See {cite}`key`."), "a MyST role"),
    (structure.plain_markdown, prose("(here)=\n# X"), "a MyST label"),
    (structure.plain_markdown, prose("> [!NOTE]\n> x"), "a GitHub note"),
    (structure.plain_markdown, prose("x[^1]"), "a footnote"),
    (structure.plain_markdown, prose("| a | b |\n| --- | --- |\n| 1 | 2 |"), "a table"),
    (structure.plain_markdown, prose('<div class="x">'), "<div>"),
    (structure.plain_markdown, prose("a<br/>b"), "<br>"),
    (structure.alt_texts, shows(picture(None)), "1 pictures without alt text"),
    (structure.alt_texts, shows(picture(" ", "image/svg+xml")), "1 pictures without alt text"),
    (structure.alt_texts, html('<img src="x"><img alt="" src="y">'), "2 pictures without alt text"),
    (structure.alt_texts, html("<svg></svg>"), "1 pictures without alt text"),
    (structure.alt_texts, prose("![](a.png)"), "in the prose"),
    (structure.told, retag("## Use", "says:resizemix:unheard-of"), "'unheard-of' of resizemix, the record"),
    (structure.reading, retag("## Read"), "the headline's record says 'reads:supported'"),
    (structure.reading, retag("## Read", "reads:reversed"), "'reads:supported'"),
    (structure.reading, lambda content: find(content, "labkit.claim").update(outputs=[]), "no-record"),
    (
        structure.registered,
        set_source("labkit.claim", "labkit.claim('resizemix/toy')"),
        "no registered claim",
    ),
    (structure.registered, shows(record(claim="resizemix/toy")), "no registered claim"),
    (
        structure.registered,
        lambda content: find(content, "labkit.claim").update(outputs=[]),
        "has no record here",
    ),
    (structure.compared, retag("labkit.claim"), "is not tagged 'nbval-check-output'"),
]


@pytest.mark.parametrize(("check", "spoil", "message"), WRONG)
def test_what_is_wrong_is_found(good, check, spoil, message):
    content = copy.deepcopy(good.content)
    spoil(content)
    replace(good, content)
    problems = list(check(good))
    assert message in "\n".join(problems)


def test_every_check_was_seen_to_fail():
    assert {check for check, _, _ in WRONG} == set(UNEXECUTED)


def test_a_record_that_does_not_hold_is_found(good, monkeypatch):
    claim = claims.of(PAPER.id)[0]
    object.__setattr__(claim, "testable", True)
    monkeypatch.setattr(claims, "check", lambda record: ["the margin was edited"])
    assert list(structure.registered(good)) == ["the record of resizemix: the margin was edited"]


def test_a_record_of_a_time_is_not_compared(good):
    object.__setattr__(claims.of(PAPER.id)[0], "metric", "seconds per image")
    assert ["records a time" in problem for problem in structure.compared(good)] == [True]
    content = copy.deepcopy(good.content)
    retag("labkit.claim")(content)
    replace(good, content)
    assert list(structure.compared(good)) == []


def test_a_picture_is_not_a_path(good):
    content = copy.deepcopy(good.content)
    html('<img alt="x" src="data:image/png;base64,AAAA /tmp/abc">'.replace(" ", ""))(content)
    replace(good, content)
    assert list(structure.machine_paths(good)) == []


def test_this_machines_own_paths_are_found(good):
    content = copy.deepcopy(good.content)
    prose(f"See {good.root}-data.")(content)
    replace(good, content)
    assert any(str(good.root) in problem for problem in structure.machine_paths(good))


def test_outputs_that_are_no_valid_result_are_found(good):
    (good.root / "notebooks" / "augment" / "images").mkdir(parents=True)
    good.path = runner.notebooks.path(good.root, good.name)
    replace(good, good.content)
    unexecuted, kernel = structure.valid(good)
    assert "never executed by the runner" in unexecuted and "labkit run" in unexecuted
    assert "python3" in kernel
