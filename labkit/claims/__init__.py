"""Claims: registered before they are judged, tested over seeds, judged by computation.

A claim stands in its paper's TOML file; :func:`claim` finds it, ``claim.test(experiment, P)`` tests
it. The verdict is computed from paired differences by the rules of `labkit.statistics`; the record
of it stays in the notebook's own output, and the ledger is built from nothing else.
"""

from labkit.claims import records
from labkit.claims.entry import Claim
from labkit.claims.records import MIME, committed
from labkit.claims.result import ClaimError, Result
from labkit.claims.testing import show, test
from labkit.papers import get
from labkit.papers.order import nearest

__all__ = ["MIME", "Claim", "ClaimError", "Result", "check", "claim", "committed", "of", "show", "test"]


def claim(id: str) -> Claim:
    """The registered claim of that id: a paper's id for its headline, "<paper>/<name>" for the others.

    Raises ValueError for an unknown paper or claim (with the nearest ids), and ValueError or
    TypeError, naming the field, where the entry itself is wrong.
    """
    if not isinstance(id, str):
        raise TypeError(f"id must be a text such as 'resizemix', got {id!r}")
    paper = id.partition("/")[0]
    found = {each.id: each for each in of(paper)}
    if not found:
        raise ValueError(f"paper {paper!r} has registered no claim yet")
    if id not in found:
        raise ValueError(f"id = {id!r} is no registered claim{nearest(id, found)}")
    return found[id]


def of(paper: str) -> list[Claim]:
    """All registered claims of a paper, checked, in the order of its file; the headline must be one.

    Raises as :func:`claim`.
    """
    found = [Claim.from_entry(entry) for entry in get(paper).claims]
    ids = [each.id for each in found]
    for each in found:
        if each.paper != paper:
            raise ValueError(f"claim {each.id} stands in the file of {paper}")
        if ids.count(each.id) > 1:
            raise ValueError(f"claim {each.id} is registered twice")
    if found and paper not in ids:
        raise ValueError(f"paper {paper!r} has claims but no headline: it needs one, if only to say why not")
    return found


def check(record: dict, registered: Claim | None = None) -> list[str]:
    """What is wrong with a record that claims to judge, in words; an empty list where nothing is.

    record: as `labkit.ledger.collect` gives it.  registered: the claim, by default looked up. Catches
    an entry edited after it was judged (a margin, say), wrong seeds, n or attempt, and a verdict that
    the record's own values do not give.
    """
    return records.check(record, claim(record["claim"]) if registered is None else registered)
