"""The catalogue: the 139 papers of the book, their chapters, and the twelve-week path.

The facts of a paper stand in ``labkit/<part>/<paper_id>.toml`` (hyphens become underscores); the order of
parts, chapters and papers, the weeks and the doors of the page on choosing a method stand once, in
``labkit/catalogue.toml``. Everything is read once, checked, and kept: a wrong field is a `ValueError` or a
`TypeError` that names the file and the field.

>>> from labkit import papers
>>> paper = papers.get("resizemix")
>>> paper.title, paper.year, paper.notebook
('ResizeMix: Mixing Data with Preserved Object Information and True Labels', 2020, 'augment/images/resizemix')
>>> len(papers.all())
139
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cache

from labkit.papers.facts import KINDS, SOURCES, Paper, read
from labkit.papers.order import CATALOGUE, CHAPTERS, DOORS, PARTS, ROOT, Chapter, Door, Part, nearest

__all__ = ["CHAPTERS", "DOORS", "KINDS", "PARTS", "SOURCES", "Chapter", "Door", "Paper", "Part", "Week"]
__all__ += ["all", "bibtex", "get", "ids", "read", "start", "weeks"]


@dataclass(frozen=True)
class Week:
    """A week of the twelve-week path: ``notebooks`` are names such as ``"augment/images/resizemix"``."""

    number: int
    title: str
    notebooks: tuple[str, ...]
    papers: tuple[Paper, ...]


start: tuple[Chapter, ...] = tuple(PARTS["start"].chapters.values())
"""The nine foundations, in order; their notebooks treat no paper."""


def ids() -> tuple[str, ...]:
    """The papers' ids in the book's order, without reading their files.

    >>> ids()[:2]
    ('randaugment', 'resizemix')
    """
    return tuple(paper for chapter in CHAPTERS.values() for paper in chapter.papers)


@cache
def _all() -> dict[str, Paper]:
    """Every paper by id, with the checks that need more than one file."""
    weekly = {name for week in CATALOGUE["weeks"] for name in week["notebooks"]}
    found = {}
    for chapter in CHAPTERS.values():
        for name in chapter.papers:
            path = ROOT / chapter.part / f"{name.replace('-', '_')}.toml"
            if not path.exists():
                raise ValueError(f"{path}: missing, but catalogue.toml lists {name!r}")
            paper = read(path)
            if (paper.part, paper.chapter) != (chapter.part, chapter.id):
                raise ValueError(f"{path}: chapter: catalogue.toml lists it in {chapter.part}/{chapter.id}")
            if paper.core != (name in weekly):
                raise ValueError(f"{path}: core = {paper.core}: catalogue.toml's weeks say otherwise")
            found[name] = paper
    present = {path for part in PARTS for path in (ROOT / part).glob("*.toml")}
    if stray := present - {paper.path for paper in found.values()}:
        raise ValueError(f"{min(stray)}: catalogue.toml doesn't list it")
    return found


def all() -> list[Paper]:
    """Every paper, in the order of the book."""
    return list(_all().values())


def get(id: str) -> Paper:
    """The paper of that id.

    Raises
    ------
    ValueError
        There is no such paper; the message names the nearest ids.
    """
    if id not in _all():
        raise ValueError(f"id = {id!r} is no paper{nearest(str(id), _all())}")
    return _all()[id]


def weeks() -> tuple[Week, ...]:
    """The twelve-week path through the core papers.

    >>> weeks()[1].title, weeks()[0].notebooks
    ('Augmenting images', ('start/fair-test', 'start/know-your-data'))
    """
    path = []
    for number, entry in enumerate(CATALOGUE["weeks"], 1):
        foundations = PARTS["start"].chapters
        named = [foundations[name] if name in foundations else get(name) for name in entry["notebooks"]]
        chosen = tuple(item for item in named if isinstance(item, Paper))
        path.append(Week(number, entry["title"], tuple(item.notebook for item in named), chosen))
    return tuple(path)


def bibtex() -> str:
    """The bibliography, one BibTeX entry per paper, its id as the key (``book/references.bib`` is this text).

    A paper whose authors haven't been verified has none, and is sorted by its title.
    """
    return "\n".join(_entry(paper) for paper in all())


def _entry(paper: Paper) -> str:
    title = re.sub(r"[&%#_]", r"\\\g<0>", paper.title)
    # The outer braces keep the capitals of the title.
    lines = {"author": " and ".join(paper.authors), "title": f"{{{title}}}", "year": str(paper.year)}
    if not paper.authors:
        lines = {"key": paper.title} | lines
    if paper.arxiv:
        lines |= {"eprint": paper.arxiv, "archiveprefix": "arXiv", "url": paper.arxiv_url}
    body = "".join(f"  {name} = {{{text}}},\n" for name, text in lines.items() if text)
    return f"@misc{{{paper.id},\n{body}}}\n"
