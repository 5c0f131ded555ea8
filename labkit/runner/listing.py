"""The papers and notebooks of a checkout with how they stand, for ``labkit list``."""

from pathlib import Path

from labkit import papers
from labkit.papers.order import nearest
from labkit.runner import notebooks, results

__all__ = ["rows"]


def rows(root: Path, targets: list[str] | None = None) -> list[dict]:
    """One row per paper and per other notebook, in the book's order.

    Keys: notebook, status ("planned" where there is none, else a word of `results.Status`), reason, stale
    (libraries with another version now), core, title.
    targets: parts or chapters ("augment", "augment/images"); ValueError for one that is unknown.
    """
    existing = set(notebooks.names(root))
    found = [
        _row(root, name, name in existing, core, title)
        for name, core, title in _catalogue(existing)
        if not targets
        or any(name == target or name.startswith(f"{target.strip('/')}/") for target in targets)
    ]
    if targets and not found:
        known = [*papers.PARTS, *(f"{chapter.part}/{chapter.id}" for chapter in papers.CHAPTERS.values())]
        raise ValueError(f"no part or chapter is called {targets[0]!r}{nearest(targets[0], known)}")
    return found


def _catalogue(existing: set[str]) -> list[tuple[str, bool, str]]:
    """Name, core or not, and title: chapters with their papers, then notebooks that the catalogue lacks."""
    named = []
    for part in papers.PARTS.values():
        for chapter in part.chapters.values():
            if part.id == "start" or chapter.notebook in existing:
                named.append((chapter.notebook, False, chapter.title))
            ours = (papers.get(id) for id in chapter.papers)
            named += [(paper.notebook, paper.core, paper.title) for paper in ours]
    others = sorted(existing - {name for name, _, _ in named})
    return named + [(name, False, "") for name in others]


def _row(root: Path, name: str, exists: bool, core: bool, title: str) -> dict:
    status = results.status(root, name) if exists else results.Status("planned")
    stale = ", ".join(f"{library} {then} -> {now}" for library, (then, now) in status.stale.items())
    return {
        "notebook": name, "status": status.word, "reason": status.reason, "stale": stale, "core": core,
        "title": title,
    }  # fmt: skip
