"""The order of the book, from ``labkit/catalogue.toml``: parts, chapters, papers, and the doors."""

from __future__ import annotations

import difflib
import tomllib
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parent.parent


@dataclass(frozen=True)
class Chapter:
    """A chapter: ``id`` is its folder, ``papers`` its papers' ids in order (none in the part `start`)."""

    id: str
    part: str
    title: str
    papers: tuple[str, ...] = ()

    @property
    def notebook(self) -> str:
        """Name of the chapter's own notebook, such as ``"augment/images/index"`` or ``"start/fair-test"``."""
        return f"{self.part}/{self.id}" if self.part == "start" else f"{self.part}/{self.id}/index"


@dataclass(frozen=True)
class Door:
    """A reader's situation: its words, and the chapters, such as ``"augment/images"``, that treat it."""

    id: str
    title: str
    chapters: tuple[str, ...]


@dataclass(frozen=True)
class Part:
    """A part of the book: ``chapters`` maps a chapter's id to the `Chapter`, in order."""

    id: str
    title: str
    chapters: dict[str, Chapter]


def parse(path: Path) -> dict:
    """The content of a TOML file; a `ValueError` that names the file where it isn't TOML."""
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except tomllib.TOMLDecodeError as error:
        raise ValueError(f"{path}: not valid TOML: {error}") from error


def nearest(name: str, known) -> str:
    """The end of an error message for an unknown name: the nearest of those known, or all of them."""
    near = difflib.get_close_matches(name, known, n=3, cutoff=0.6)
    return f"; did you mean {', '.join(map(repr, near))}?" if near else f"; known: {', '.join(known)}"


def _parts() -> dict[str, Part]:
    parts = {}
    for entry in CATALOGUE["parts"]:
        chapters = {
            c["id"]: Chapter(c["id"], entry["id"], c["title"], tuple(c.get("papers", ())))
            for c in entry["chapters"]
        }
        parts[entry["id"]] = Part(entry["id"], entry["title"], chapters)
    return parts


CATALOGUE = parse(ROOT / "catalogue.toml")

PARTS: dict[str, Part] = _parts()
"""The parts of the book in order, from `start` to `retrieve`, each with its chapters."""

CHAPTERS: dict[str, Chapter] = {f"{p.id}/{c.id}": c for p in PARTS.values() for c in p.chapters.values()}
"""All chapters in order, under names such as ``"augment/images"``."""

DOORS: dict[str, Door] = {
    name: Door(name, entry["title"], tuple(entry["chapters"])) for name, entry in CATALOGUE["doors"].items()
}
"""The doors of the page on choosing a method, in order."""
