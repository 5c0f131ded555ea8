import itertools
import re
from pathlib import Path

import pybtex.errors
import pytest
from pybtex.database import parse_file
from pybtex.plugin import find_plugin

from labkit import papers

ROOT = Path(__file__).resolve().parent.parent
EVERY = papers.all()

# How many papers each chapter of the book has. The papers' ids are their files' names.
COUNTS = {
    "augment": {
        "images": 6,
        "views": 7,
        "unlabelled": 3,
        "text": 5,
        "code": 3,
        "recommenders": 3,
        "tables-series-graphs": 6,
    },
    "synthesize": {
        "training-images": 6,
        "boxes-and-masks": 3,
        "bias": 5,
        "loops": 6,
        "sim-to-real": 5,
        "records": 6,
    },
    "pretrain": {
        "domains": 5,
        "rewriting": 6,
        "choosing": 6,
        "mixing": 7,
        "image-text": 6,
        "graphs": 4,
        "provenance": 4,
    },
    "adapt": {"shift": 5, "streams-and-clients": 4, "misinformation": 4},
    "distill": {"students": 6, "decoding": 3},
    "retrieve": {"retrievers": 4, "generation": 4, "trust": 3, "systems": 4},
}
FOUNDATIONS = ["fair-test", "know-your-data", "training", "contrast", "language-models", "diffusion"]
FOUNDATIONS += ["shift-and-pseudo-labels", "retrieval", "your-data"]

GOOD = """
id = "some-paper"
title = "Some Paper"
year = 2024
arxiv = "2401.00001"
code = "someone/some-code"
kind = "method"
family = "some family"
headline = "It gains 3 points [abstract]"
headline_source = "abstract"
part = "augment"
chapter = "images"
core = false
"""


def write(tmp_path, text=GOOD, name="some_paper.toml"):
    path = tmp_path / name
    path.write_text(text, encoding="utf-8")
    return path


def test_the_papers_are_139_in_the_chapters_of_the_book():
    assert len(EVERY) == len({paper.id for paper in EVERY}) == 139
    found = {
        part.id: {chapter.id: len(chapter.papers) for chapter in part.chapters.values()}
        for part in papers.PARTS.values()
        if part.id != "start"
    }
    assert found == COUNTS
    assert list(found) == list(COUNTS) and all(list(found[part]) == list(COUNTS[part]) for part in found)


def test_papers_come_in_the_order_of_the_catalogue():
    assert [paper.id for paper in EVERY] == list(papers.ids())
    for paper in EVERY:
        assert paper.id in papers.CHAPTERS[f"{paper.part}/{paper.chapter}"].papers
    assert [paper.id for paper in EVERY[:6]] == [
        "randaugment",
        "resizemix",
        "madaug",
        "invariance-constrained-da",
        "data-efficient-augmentation",
        "noise-mask",
    ]
    assert EVERY[-1].id == "realrag"


def test_every_fact_has_its_form():
    assert len({paper.title for paper in EVERY}) == 139
    numbers = [paper.arxiv for paper in EVERY if paper.arxiv]
    assert len(numbers) == len(set(numbers)) and all(re.fullmatch(r"\d{4}\.\d{5}", n) for n in numbers)
    for paper in EVERY:
        assert paper.path.parent.name == paper.part
        assert paper.module == f"labkit.{paper.part}.{paper.path.stem}"
        assert paper.arxiv_url == (f"https://arxiv.org/abs/{paper.arxiv}" if paper.arxiv else "")
        assert not paper.code or re.fullmatch(r"https://(github|huggingface)\.co?m?/\S+/\S+", paper.code_url)
        assert not any(name in ("others", "et al.") or "{" in name for name in paper.authors)


def test_a_recalled_headline_is_never_given_as_reported():
    recalled = [paper for paper in EVERY if paper.headline_source == "recalled"]
    assert recalled and all(paper.reported == "" for paper in recalled)
    marked = [paper for paper in EVERY if "recalled" in paper.headline]
    assert marked and all(paper.headline_source == "recalled" for paper in marked)
    for paper in EVERY:
        assert "[" not in paper.reported
        if paper not in recalled:
            assert paper.reported and paper.headline.startswith(paper.reported[:40])


def test_a_paper_is_planned_until_its_module_stands_beside_its_facts(tmp_path):
    paper = papers.read(write(tmp_path))
    assert paper.planned
    (tmp_path / "some_paper.py").touch()
    assert not paper.planned
    assert not papers.get("resizemix").planned


def test_titles_of_parts_chapters_and_doors_are_words():
    named = [*papers.PARTS.values(), *papers.CHAPTERS.values()]
    assert all(item.title and item.title != item.id for item in named)
    assert list(papers.PARTS) == ["start", *COUNTS]
    assert len(papers.DOORS) == 12 and all(papers.DOORS.values())


def test_start_holds_the_nine_foundations():
    assert [chapter.id for chapter in papers.start] == FOUNDATIONS
    assert all(chapter.papers == () and chapter.part == "start" for chapter in papers.start)
    assert papers.start[0].notebook == "start/fair-test"
    assert papers.CHAPTERS["augment/images"].notebook == "augment/images/index"


def test_the_weeks_hold_every_core_paper_once():
    weeks = papers.weeks()
    assert [week.number for week in weeks] == list(range(1, 13))
    held = [paper.id for week in weeks for paper in week.papers]
    assert sorted(held) == sorted(paper.id for paper in EVERY if paper.core)
    assert len(held) == len(set(held)) == 33
    assert weeks[0].notebooks == ("start/fair-test", "start/know-your-data") and weeks[0].papers == ()
    assert weeks[1].notebooks[1] == "augment/images/resizemix"
    assert all(2 <= len(week.notebooks) <= 3 and week.title for week in weeks)


def test_get_gives_the_paper_or_the_nearest_names():
    assert papers.get("resizemix").notebook == "augment/images/resizemix"
    with pytest.raises(ValueError, match=r"'resize-mix' is no paper; did you mean 'resizemix'"):
        papers.get("resize-mix")
    with pytest.raises(ValueError, match=r"'zzzzzz' is no paper; known: randaugment, resizemix, "):
        papers.get("zzzzzz")


def test_read_takes_what_stands_in_the_file(tmp_path):
    extra = """
authors = ["Ada Lovelace"]
cost = "None."
try_first = ["few-labels"]
use_when = {few-labels = "Objects are small."}
avoid_when = {model-too-slow = "It does not help."}
[[claims]]
id = "some-paper"
anything = {at = "all"}
"""
    paper = papers.read(write(tmp_path, GOOD + extra))
    assert paper.authors == ("Ada Lovelace",) and paper.try_first == ("few-labels",)
    assert paper.use_when == {"few-labels": "Objects are small."}
    assert paper.claims == ({"id": "some-paper", "anything": {"at": "all"}},)
    assert paper.reported == "It gains 3 points" and paper.code_url == "https://github.com/someone/some-code"
    assert hash(paper) == hash(papers.read(paper.path))


@pytest.mark.parametrize(
    ("old", "new", "error", "words"),
    [
        ("year = 2024", "year = ", ValueError, "not valid TOML"),
        ("year = 2024", "", ValueError, "missing field.*year"),
        ("year = 2024", 'year = "2024"', TypeError, "year must be int, got '2024'"),
        ("year = 2024", "year = true", TypeError, "year must be int, got True"),
        ("year = 2024", "year = 24", ValueError, "year = 24: takes a year from 1990"),
        ("core = false", "core = 0", TypeError, "core must be bool, got 0"),
        ("family = ", "famly = ", ValueError, "unknown field 'famly'; did you mean 'family'"),
        ('"Some Paper"', '""', ValueError, "title = '': takes a text"),
        ('"Some Paper"', '" Some Paper"', ValueError, "title = ' Some Paper': takes a text"),
        ('"some-paper"', '"some-papers"', ValueError, "id = 'some-papers': the file's name.*'some-paper'"),
        ('"2401.00001"', '"arXiv:2401.00001"', ValueError, "arxiv = 'arXiv:2401.00001': takes a number"),
        ('"someone/some-code"', '"some code"', ValueError, "code = 'some code': takes 'owner/name'"),
        ('"method"', '"recipe"', ValueError, "kind = 'recipe': takes one of method, survey"),
        ('source = "abstract"', 'source = "memory"', ValueError, "headline_source = 'memory': takes one of"),
        ('"augment"', '"augmented"', ValueError, "part = 'augmented': takes one of start, augment"),
        ('"images"', '"loops"', ValueError, "chapter = 'loops': augment has images, views"),
        ("core = false", 'core = false\nauthors = ["A", 1]', ValueError, "authors = .*non-empty strings"),
        ("core = false", 'core = false\nuse_when = {x = "y"}', ValueError, "use_when = .*under the names"),
        ("core = false", 'core = false\ntry_first = ["few-labels"]', ValueError, "try_first = .*use_when"),
        ("core = false", "core = false\nclaims = [1]", ValueError, r"claims = \[1\]: takes \[\[claims\]\]"),
    ],
)
def test_a_wrong_file_is_refused_with_its_name_and_the_field(tmp_path, old, new, error, words):
    assert old in GOOD
    path = write(tmp_path, GOOD.replace(old, new, 1))
    with pytest.raises(error, match=words) as caught:
        papers.read(path)
    assert str(path) in str(caught.value)


def test_the_bibliography_is_in_step_with_the_catalogue():
    written = (ROOT / "book" / "references.bib").read_text(encoding="utf-8")
    assert written == papers.bibtex(), "write papers.bibtex() to book/references.bib"


@pytest.mark.parametrize("style", ["plain", "alpha", "unsrt"])
def test_every_entry_of_the_bibliography_can_be_formatted(style):
    with pybtex.errors.capture() as complaints:
        bibliography = parse_file(ROOT / "book" / "references.bib")
        formatted = find_plugin("pybtex.style.formatting", style)().format_bibliography(bibliography)
        text = {entry.key: entry.text.render(find_plugin("pybtex.backends", "text")()) for entry in formatted}
    assert complaints == [] and set(text) == set(papers.ids())
    for paper in EVERY:
        assert paper.title.replace("--", "–") in text[paper.id] and str(paper.year) in text[paper.id]
        assert all(name in text[paper.id] for name in paper.authors)


def test_the_glossary_defines_each_term_once():
    lines = (ROOT / "book" / "glossary.md").read_text(encoding="utf-8").splitlines()
    first = lines.index("```{glossary}")
    body = lines[first + 1 : lines.index("```", first)]
    terms = [line for line in body if line and not line.startswith(" ")]
    assert len(terms) == len({term.lower() for term in terms}) >= 70
    assert terms == sorted(terms, key=str.lower)
    for line, following in itertools.pairwise(body):
        assert line not in terms or re.match(r"  \S", following), f"{line}: no definition"
