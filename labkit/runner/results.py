"""Results: executed notebooks, committed or kept under ``.labkit/results``, and which of them to use."""

import logging
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

from labkit.runner import keys, notebooks
from labkit.runner.outputs import merge
from labkit.runner.requests import Request, at_least, request

__all__ = [
    "Status",
    "Validity",
    "best",
    "find",
    "last_seconds",
    "load",
    "out_of_date",
    "status",
    "store",
    "valid",
]

_log = logging.getLogger("labkit.runner")


class Validity(NamedTuple):
    """Whether a result still holds, and what changed where it does not."""

    ok: bool
    reason: str


class Status(NamedTuple):
    """How a notebook stands.

    word: "judged" or "executed" (a valid result, at `judge` or above or below), "failed", "changed" (its
    outputs are of other code, parameters, claims or data) or "not run".
    reason: what changed or failed.  stale: libraries that have another version now.
    """

    word: str
    reason: str = ""
    stale: dict = {}  # noqa: RUF012 (read only)


def folder(root: Path, name: str) -> Path:
    """Where a notebook's results are kept."""
    return Path(root) / ".labkit" / "results" / name


def result_file(root: Path, wanted: Request, failed: bool = False) -> Path:
    """The file of a request's result; a failure is kept beside a success, and does not replace it."""
    file = folder(root, wanted.name) / wanted.file
    return file.with_suffix(".failed.ipynb") if failed else file


def store(root: Path, wanted: Request, result: dict) -> Path:
    """Keep a result, whole or not at all; a success removes the failure of the same request."""
    failed = result["metadata"]["labkit"]["status"] == "failed"
    file = result_file(root, wanted, failed)
    notebooks.write(file, result)
    if not failed:
        result_file(root, wanted, failed=True).unlink(missing_ok=True)
    return file


def load(file: Path) -> dict | None:
    """A result's notebook; None where there is none, or, with one line in the log, a corrupt one."""
    try:
        return notebooks.read(file)
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as error:
        _tell(f"a result is not readable and counts as missing: {error}")
        return None


@lru_cache(maxsize=256)
def _tell(message: str) -> None:
    """One line in the log, once: a result is looked at several times on the way to an answer."""
    _log.warning("%s", message)


def _record(result: dict | None) -> dict:
    """A result's ``metadata.labkit``; empty for none."""
    record = (result or {}).get("metadata", {}).get("labkit")
    return record if isinstance(record, dict) else {}


def _recorded_parameters(result: dict | None) -> dict:
    parameters = _record(result).get("parameters")
    return parameters if isinstance(parameters, dict) else {}


def valid(path: Path, root: Path | None = None) -> Validity:
    """Whether an executed notebook, committed or kept, is a result that still holds.

    path: ``notebooks/<name>.ipynb`` or a file below ``.labkit/results/<name>/``.
    root: the checkout; found from the path where it is not given.
    """
    path = Path(path).resolve()
    root = Path(root).resolve() if root else notebooks.find_root(path.parent)
    committed = (root / "notebooks") in path.parents
    if committed:
        name = path.relative_to(root / "notebooks").with_suffix("").as_posix()
    else:
        name = path.parent.relative_to(root / ".labkit" / "results").as_posix()
    return _validity(root, name, load(path), committed)


def _validity(root: Path, name: str, result: dict | None, committed: bool) -> Validity:
    if result is None:
        return Validity(False, "there is no such result")
    if not notebooks.path(root, name).exists():
        return Validity(False, f"there is no notebook {name}")
    changed = keys.changes(root, name, result)
    if not changed and committed:
        recorded, defaults = result["metadata"]["labkit"]["parameters"], request(root, name).parameters
        other = [p for p in defaults if p != "profile" and recorded[p] != defaults[p]]
        changed = [f"parameter {p} was {recorded[p]!r} and is {defaults[p]!r}" for p in other]
    shown = "; ".join(changed[:3]) + (f"; and {len(changed) - 3} more" if len(changed) > 3 else "")
    return Validity(not changed, shown)


def find(root: Path, wanted: Request) -> Path | None:
    """The valid result that answers a request: the committed one first, then those kept. None without one.

    Unless the profile was asked for by name, the result of a larger one does as well.
    """
    committed = notebooks.path(root, wanted.name)
    if _answers(load(committed), wanted) and _holds(committed, root):
        return committed
    profiles = [wanted.profile] if wanted.exact or not wanted.profile else at_least(wanted.profile)
    for profile in reversed(profiles):
        file = result_file(root, wanted if profile == wanted.profile else wanted.with_profile(profile))
        if file.exists() and _holds(file, root):
            return refreshed(root, wanted.name, file)
    return None


def _holds(file: Path, root: Path) -> bool:
    """Whether a result is valid; one that was edited by hand is told, since nothing else shows it."""
    validity = valid(file, root)
    if keys.EDITED in validity.reason:
        _tell(f"a result counts as missing, {validity.reason}: {file}")
    return validity.ok


def _answers(result: dict | None, wanted: Request) -> bool:
    recorded = _recorded_parameters(result)
    profile = recorded.get("profile")
    exact = wanted.exact or wanted.profile is None
    if profile != wanted.profile and (exact or profile not in at_least(wanted.profile)):
        return False
    return recorded | {"profile": None} == wanted.parameters | {"profile": None}


def refreshed(root: Path, name: str, file: Path) -> Path:
    """A kept result with the text, comments and ids that the notebook has now; its outputs are the same."""
    source, result = notebooks.read(notebooks.path(root, name)), notebooks.read(file)
    current = merge(source, result)
    current["metadata"]["labkit"] = result["metadata"]["labkit"]
    if current["cells"] != result["cells"]:
        notebooks.write(file, current)
    return file


def best(root: Path, name: str) -> Path:
    """The notebook to render: the committed one if valid, else the newest valid result, else a failure.

    The last is told by ``metadata.labkit.status``. A notebook without any of them is returned as it is.
    Only results at the default parameters count; a smoke run only where there is nothing larger.
    """
    wanted = request(root, name)
    found = find(root, wanted)
    if found:
        return found
    by_age = sorted(folder(root, name).glob("*.ipynb"), key=lambda file: file.stat().st_mtime, reverse=True)
    ordinary = [file for file in by_age if _has_defaults(load(file), wanted)]
    for file in ordinary:
        if valid(file, root).ok:
            return refreshed(root, name, file)
    failed = [file for file in ordinary if file.name.endswith(".failed.ipynb")]
    committed = notebooks.path(root, name)
    return failed[0] if failed and not valid(committed, root).ok else committed


def _has_defaults(result: dict | None, wanted: Request) -> bool:
    recorded = _recorded_parameters(result)
    return recorded | {"profile": None} == wanted.parameters | {"profile": None}


def status(root: Path, name: str) -> Status:
    """How a notebook stands, for lists."""
    file = best(root, name)
    record = _record(load(file))
    if not record:
        return Status("not run")
    if record.get("status") == "failed":
        return Status("failed", record.get("error", ""))
    validity = valid(file, root)
    if not validity.ok:
        return Status("changed", validity.reason)
    judged = record["profile"] in at_least("judge")
    return Status("judged" if judged else "executed", "", keys.stale(record))


def out_of_date(root: Path, wanted: Request) -> Request | None:
    """The request that makes a valid but stale result anew, at its profile; None where none is stale."""
    found = find(root, wanted)
    record = _record(load(found)) if found else {}
    if not keys.stale(record):
        return None
    return wanted.with_profile(record["profile"]) if record.get("profile") else wanted


def last_seconds(root: Path, wanted: Request) -> float | None:
    """How long the same request took last time, on whatever code; None where that is not known."""
    files = [
        result_file(root, wanted),
        result_file(root, wanted, failed=True),
        notebooks.path(root, wanted.name),
    ]
    for record in map(_record, map(load, files)):
        if record.get("profile") == wanted.profile and record.get("seconds"):
            return record["seconds"]
    return None
