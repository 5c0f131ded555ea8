"""*Paths*, *Choose* and *Performance*: what they say, and what they say of papers that are not written."""

import json
from types import SimpleNamespace

import pytest
from sitegen import guides, performance

from labkit.papers import CHAPTERS, DOORS, PARTS, Chapter, Door, Part, Week

BLANK = {"paper": "b", "role": "", "status": "planned", "verdict": "", "difference": None, "why": ""}
BLANK |= {"statement": "", "kind": "", "unit": "", "evidence": "", "sentence": ""}
JUDGED = BLANK | {
    "paper": "a",
    "role": "headline",
    "status": "judged",
    "verdict": "negligible",
    "statement": "A beats B.",
    "difference": -0.5,
    "low": -1.25,
    "high": 0.25,
    "unit": "points",
    "kind": "better",
    "evidence": "bundled real data",
}
ROWS = {"a": [JUDGED], "b": [BLANK]}


def paper(name, **facts):
    facts = {"use_when": {}, "avoid_when": {}, "try_first": (), "cost": ""} | facts
    return SimpleNamespace(id=name, title=f"{name.upper()}: long", notebook=f"augment/images/{name}", **facts)


PAPERS = {
    "a": paper("a", use_when={"few": "It is $cheap$."}, try_first=("few",), cost="1 ms."),
    "b": paper("b", use_when={"few": "Never shown, since nothing of it is written."}),
}
CHAPTER = Chapter("images", "augment", "Images", ("a", "b"))
CHOOSE = {
    "doors": {"few": Door("few", "Few labels", ("augment/images",))},
    "chapters": {"augment/images": CHAPTER},
}


def choose(papers=None, rows=ROWS, notebooks=frozenset({"augment/images/a"})):
    return guides.choose_page(**CHOOSE, papers=papers or PAPERS, notebooks=set(notebooks), rows=rows)


def test_a_judged_paper_speaks_with_its_evidence():
    made = choose()
    assert "**Try first**" in made and "**Then**" not in made and "**Don't**" not in made
    assert r"[A](../notebooks/augment/images/a.ipynb) (a): It is \$cheap\$." in made
    assert "1 ms." in made and "negligible" in made
    assert "A beats B. Measured: −0.5 points [−1.25, +0.25], bundled real data." in made
    assert (
        "(1 of 2 papers)" in made
        and "[Images](../notebooks/augment/images/index) (1 of 2 papers planned)" in made
    )


def test_a_planned_paper_says_nothing_yet():
    assert "Never shown" not in choose()
    made = choose(rows={"a": [BLANK], "b": [BLANK]})
    assert "No paper that opens this door has been judged yet." in made and "cheap" not in made


def test_what_to_avoid_comes_last():
    both = paper("a", use_when={"few": "Yes."}, avoid_when={"few": "No."})
    made = choose({"a": both, "b": PAPERS["b"]})
    assert made.index("**Consider**") < made.index("Yes.") < made.index("**Don't**") < made.index("No.")


def test_a_registered_claim_that_was_not_judged_says_so():
    waiting = JUDGED | {"status": "not testable", "verdict": "", "difference": None, "why": "Too large."}
    assert "A beats B. not testable: Too large." in choose(rows={"a": [waiting], "b": [BLANK]})


def test_paths_tell_minutes_seconds_and_what_is_planned():
    part = Part("augment", "Augment", {"images": CHAPTER})
    week = Week(1, "First", ("augment/images/a", "augment/images/b"), ())
    there = {"augment/images/a": (12, 55), "augment/images/index": (9, 50)}
    made = guides.paths([PARTS["start"], part], PAPERS, [week], there, ROWS)
    assert "planned</span> A fair test" in made["foundations"]
    assert made["chapters"] == "- [Images](../notebooks/augment/images/index.ipynb) (9 min, 50 s)"
    row = made["weeks"].splitlines()[-1]
    assert "[A](../notebooks/augment/images/a.ipynb) (12 min, 55 s)" in row and "| 12 min |" in row
    assert "planned</span> B" in row
    nothing = guides.paths([PARTS["start"], part], PAPERS, [week], {}, ROWS)
    assert "planned" in nothing["chapters"] and "| – |" in nothing["weeks"]


def test_every_door_leads_to_chapters_that_there_are():
    assert all(name in CHAPTERS for door in DOORS.values() for name in door.chapters)
    led = {name for door in DOORS.values() for name in door.chapters}
    assert len(led) > 20 and all(door.chapters for door in DOORS.values())
    assert {name.split("/")[0] for name in led} == set(PARTS) - {"start"}


def test_the_head_line_gives_minutes_and_seconds(tmp_path):
    file = tmp_path / "a.ipynb"
    head = "# A\n\n*Needs: nothing · 12 min to read · 55 s to run · not core*"
    file.write_text(json.dumps({"cells": [{"source": [head]}]}))
    assert guides.times(file) == (12, 55)
    file.write_text(json.dumps({"cells": [{"source": ["# A"]}]}))
    with pytest.raises(ValueError, match=r"a\.ipynb: no head line"):
        guides.times(file)


def test_the_fastest_library_is_bold_and_a_missing_one_is_a_dash():
    row = {"operation": "rotate", "images": 8, "side": 32}
    rows = [
        row | {"library": "labkit", "milliseconds": 2.0},
        row | {"library": "kornia", "milliseconds": 10.0},
    ]
    made = performance.speed_table([row | {"side": 224, "library": "labkit", "milliseconds": 0.5}, *rows])
    assert made.splitlines()[2:] == [
        "| rotate | 8 of 32x32 | **2** | 10 | – |",
        "| rotate | 8 of 224x224 | **0.5** | – | – |",
    ]


def test_executed_notebooks_become_rows(tmp_path):
    file = tmp_path / "a.ipynb"
    file.write_text(json.dumps({"metadata": {"labkit": {"profile": "judge", "seconds": 99.6}}}))
    other = tmp_path / "b.ipynb"
    other.write_text(json.dumps({"metadata": {}}))
    made = performance.notebook_table({"start/a": file, "start/b": other})
    assert "| [start/a](../notebooks/start/a.ipynb) | judge | 100 |" in made and "start/b" not in made
