"""The facts of one paper, and the checks of the TOML file that holds them."""

from __future__ import annotations

import re
from dataclasses import dataclass, field, fields
from pathlib import Path

from labkit.papers.order import DOORS, PARTS, nearest, parse

KINDS = ("method", "survey", "theory", "benchmark", "dataset", "study", "system")
SOURCES = ("abstract", "code", "page", "recalled")


@dataclass(frozen=True)
class Paper:
    """The facts of one paper, as its TOML file gives them.

    Attributes
    ----------
    id, title : str
        The paper's name in the book, and its exact title.
    year : int
    arxiv : str
        The number of the preprint, such as ``"2012.11101"``; empty where none is known.
    code : str
        The official code: ``owner/name`` on GitHub, ``host/owner/name`` elsewhere, empty where there is none.
    kind : str
        One of ``KINDS``: method, survey, theory, benchmark, dataset, study, system.
    family : str
        The group of methods it belongs to, in a few words.
    headline : str
        The paper's main result, in one sentence; marks such as ``[abstract]`` say where a phrase is from.
    headline_source : str
        The weakest source of the headline: abstract, code (the official repository), page (another public
        page) or recalled (from memory, not checked). See `reported`.
    part, chapter : str
        Where it stands in the book.
    core : bool
        Whether it belongs to the twelve-week path.
    authors : tuple of str
        Names as a source gave them; empty where they haven't been verified.
    use_when, avoid_when : dict
        For the page on choosing a method: a door of `DOORS` to one sentence that says why.
    try_first : tuple of str
        The doors of ``use_when`` at which this is the first thing to try.
    cost : str
        What using it costs, in one sentence.
    claims : tuple of dict
        The registered claims, as in the file (`labkit.claims` checks them).
    path : Path
        The TOML file.
    """

    id: str
    title: str
    year: int
    arxiv: str
    code: str
    kind: str
    family: str
    headline: str
    headline_source: str
    part: str
    chapter: str
    core: bool
    authors: tuple[str, ...] = ()
    use_when: dict[str, str] = field(default_factory=dict, hash=False)
    avoid_when: dict[str, str] = field(default_factory=dict, hash=False)
    try_first: tuple[str, ...] = ()
    cost: str = ""
    claims: tuple[dict, ...] = field(default=(), hash=False)
    path: Path = field(default=Path(), repr=False, compare=False)

    @property
    def module(self) -> str:
        """Its module's name, ``"labkit.augment.resizemix"`` (imported or not, there or not)."""
        return f"labkit.{self.part}.{self.id.replace('-', '_')}"

    @property
    def notebook(self) -> str:
        """Its notebook's name, ``"augment/images/resizemix"``."""
        return f"{self.part}/{self.chapter}/{self.id}"

    @property
    def planned(self) -> bool:
        """Whether it is still to be written: there is no module beside its TOML file."""
        return not self.path.with_suffix(".py").exists()

    @property
    def arxiv_url(self) -> str:
        """Address of the preprint; empty where none is known."""
        return f"https://arxiv.org/abs/{self.arxiv}" if self.arxiv else ""

    @property
    def code_url(self) -> str:
        """Address of the official code; empty where there is none."""
        if not self.code:
            return ""
        return f"https://{self.code}" if "." in self.code.split("/")[0] else f"https://github.com/{self.code}"

    @property
    def reported(self) -> str:
        """The headline as it may be printed: without its source marks, and empty when it is only recalled.

        >>> from labkit.papers import get
        >>> "[" in get("min-k").reported
        False
        """
        return "" if self.headline_source == "recalled" else re.sub(r" *\[[^\]]*\]", "", self.headline)


_TYPES = {"year": int, "core": bool, "authors": list, "use_when": dict, "avoid_when": dict, "try_first": list}
_TYPES["claims"] = list
_OPTIONAL = ("authors", "use_when", "avoid_when", "try_first", "cost", "claims")


def read(path: Path | str) -> Paper:
    """Read and check one paper's TOML file.

    Parameters
    ----------
    path : Path or str
        The file, named after the paper's id with underscores for hyphens.

    Raises
    ------
    ValueError
        The file isn't TOML, lacks a field, has an unknown one, or a field has a value that isn't allowed.
    TypeError
        A field has the wrong type.

    Examples
    --------
    >>> from labkit.papers import get
    >>> read(get("resizemix").path).core
    True
    """
    path = Path(path)
    entry = parse(path)
    known = {f.name: _TYPES.get(f.name, str) for f in fields(Paper) if f.name != "path"}
    for name, value in entry.items():
        if name not in known:
            raise ValueError(f"{path}: unknown field {name!r}{nearest(name, known)}")
        # bool is a kind of int in Python, but `year = true` is no year.
        if type(value) is not known[name]:
            raise TypeError(f"{path}: {name} must be {known[name].__name__}, got {value!r}")
    if missing := [name for name in known if name not in entry and name not in _OPTIONAL]:
        raise ValueError(f"{path}: missing field(s): {', '.join(missing)}")
    _check(path, entry)
    for name in ("authors", "try_first", "claims"):
        entry[name] = tuple(entry.get(name, ()))
    return Paper(**entry, path=path)


def _check(path: Path, entry: dict) -> None:
    """Check the values of a paper's fields, types being right."""

    def demand(ok: bool, name: str, takes: str) -> None:
        if not ok:
            raise ValueError(f"{path}: {name} = {entry.get(name)!r}: {takes}")

    wanted = path.stem.replace("_", "-")
    demand(entry["id"] == wanted, "id", f"the file's name asks for {wanted!r}")
    for name in ("title", "family", "headline"):
        demand(entry[name].strip() == entry[name] != "", name, "takes a text without spaces at its ends")
    demand(1990 <= entry["year"] <= 2100, "year", "takes a year from 1990 to 2100")
    number = re.fullmatch(r"(\d{4}\.\d{4,5})?", entry["arxiv"])
    demand(number is not None, "arxiv", "takes a number such as '2012.11101', or ''")
    address = re.fullmatch(r"([\w.-]+/)+[\w.-]+|", entry["code"])
    demand(address is not None, "code", "takes 'owner/name' on GitHub, 'host/owner/name', or ''")
    demand(entry["kind"] in KINDS, "kind", f"takes one of {', '.join(KINDS)}")
    demand(entry["headline_source"] in SOURCES, "headline_source", f"takes one of {', '.join(SOURCES)}")
    demand(entry["part"] in PARTS, "part", f"takes one of {', '.join(PARTS)}")
    chapters = PARTS[entry["part"]].chapters
    demand(entry["chapter"] in chapters, "chapter", f"{entry['part']} has {', '.join(chapters)}")
    for name in ("authors", "try_first"):
        strings = (isinstance(value, str) and value for value in entry.get(name, ()))
        demand(all(strings), name, "takes a list of non-empty strings")
    for name in ("use_when", "avoid_when"):
        pairs = entry.get(name, {}).items()
        ok = (door in DOORS and isinstance(why, str) for door, why in pairs)
        demand(all(ok), name, f"takes sentences under the names {', '.join(DOORS)}")
    first = set(entry.get("try_first", ())) <= set(entry.get("use_when", {}))
    demand(first, "try_first", "takes names that use_when has too")
    demand(
        all(isinstance(c, dict) for c in entry.get("claims", ())),
        "claims",
        "takes [[claims]] tables",
    )
