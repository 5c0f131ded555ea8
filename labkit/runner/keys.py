"""The key of a result: everything that it depended on, and whether that still holds.

A result is valid while the code of the notebook and of the labkit files it imported, its parameters, its
claims and its data are the same. Library versions are recorded too; a difference makes it *stale*, no more.
"""

import tomllib
from functools import lru_cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import labkit
from labkit.runner import notebooks
from labkit.runner.requests import canonical_json
from labkit.runner.syntax import digest, hash_cells, hash_file

__all__ = [
    "EDITED",
    "FORMAT",
    "changes",
    "claims",
    "counts",
    "hash_outputs",
    "key",
    "package",
    "parts",
    "stale",
]

FORMAT = 1
EDITED = "was edited by hand"
RECORD = "application/vnd.labkit.record+json"
PARTS = ("parameters", "notebook", "files", "claims", "data")
# Files (of the labkit package) that can't change a number, so they don't end a result: how it is made and
# stored, how it is drawn, the catalogue's facts, lists and lookups. What data sets hold, their hashes tell.
# Drawings age, numbers don't: a kept result shows the figures of the day it was made, and a run with
# `--fresh` draws them anew.
_NOT_RESULT = ("runner/", "cli/", "show/", "papers/", "ledger.py")
_NOT_RESULT += ("data/registry.py", "data/card.py", "__init__.py")


def package(root: Path) -> Path:
    """The labkit that a checkout's notebooks import: its own, or the installed one where it has none."""
    own = Path(root) / "labkit"
    return own if (own / "__init__.py").is_file() else Path(labkit.__file__).parent


def counts(file: str) -> bool:
    """Whether a file, named from the labkit package on, can change a result's numbers."""
    return not file.startswith(_NOT_RESULT)


def hash_notebook(notebook: dict) -> str:
    """The hash of a notebook's code; text, bootstrap and parameters cells don't count."""
    return hash_cells(tuple(notebooks.text(cell) for cell in notebooks.code_cells(notebook)))


def hash_claim(entry: dict) -> str:
    """The hash of a registered claim, as `labkit.claims` computes it."""
    return digest(canonical_json(entry))


def claims(folder: Path, name: str, notebook: dict) -> dict[str, str]:
    """Claim -> hash: the claims of the notebook's own paper, and of the papers whose records it shows.

    folder: the labkit package.  name: the notebook's.
    """
    part, paper = name.split("/")[0], name.split("/")[-1]
    files = {folder / part / f"{paper.replace('-', '_')}.toml"}
    for record in records(notebook):
        files |= set(folder.glob(f"*/{str(record.get('paper', '')).replace('-', '_')}.toml"))
    return {key: value for file in sorted(files) for key, value in _claims(file).items()}


def _judged(notebook: dict) -> dict[str, str]:
    """Claim -> hash as the records in a notebook's outputs have it."""
    return {record["claim"]: record["hash"] for record in records(notebook) if "hash" in record}


def _claims(file: Path) -> dict[str, str]:
    if not file.is_file():
        return {}
    entries = tomllib.loads(file.read_text(encoding="utf-8")).get("claims", [])
    return {entry["id"]: hash_claim(entry) for entry in entries}


def records(notebook: dict) -> list[dict]:
    """The claims' records in a notebook's outputs: the stable fields, with the others under "volatile"."""
    found = []
    for cell in notebook["cells"]:
        for output in cell.get("outputs", []):
            if RECORD in output.get("data", {}):
                volatile = output.get("metadata", {}).get(RECORD, {})
                found.append({**output["data"][RECORD], "volatile": volatile})
    return found


def hash_outputs(result: dict) -> str:
    """The hash of what the computing cells show, so that an edit by hand is found."""
    return digest(canonical_json([cell["outputs"] for cell in notebooks.code_cells(result)]))


def parts(folder: Path, name: str, executed: dict, request_parameters: dict, report: dict) -> dict:
    """The parts of a result's key.

    folder: the labkit package that was imported.  executed: the notebook.  report: the kernel's account,
    from `labkit.runner.provenance`.
    """
    files = filter(counts, report.get("files", []))
    return {
        "parameters": request_parameters,
        "notebook": hash_notebook(executed),
        "files": {file: hash_file(folder / file) for file in files if (folder / file).suffix == ".py"},
        # What the kernel judged by counts, should the file have been edited since.
        "claims": claims(folder, name, executed) | _judged(executed),
        "data": report.get("data", {}),
    }


def key(record: dict) -> str:
    """The hash of all parts together. record: a result's ``metadata.labkit``."""
    return digest(canonical_json({part: record.get(part) for part in PARTS}))


def changes(root: Path, name: str, result: dict) -> list[str]:
    """What keeps a result from being valid, in words; empty where it is valid.

    result: an executed notebook.
    """
    record = result["metadata"].get("labkit")
    if not isinstance(record, dict):
        return ["never executed by the runner"]
    if record.get("format") != FORMAT:
        return [f"recorded in format {record.get('format')!r}, this runner writes {FORMAT}"]
    if record.get("status") != "ok":
        return [f"it failed: {record.get('error', 'no reason recorded')}"]
    if record.get("key") != key(record):
        return [f"its record {EDITED}"]
    # Results of before the outputs were hashed have none.
    if record.get("outputs", hash_outputs(result)) != hash_outputs(result):
        return [f"what it shows {EDITED}"]
    source = notebooks.read(notebooks.path(root, name))
    found = [] if record["notebook"] == hash_notebook(source) else ["the notebook's code changed"]
    if record["notebook"] != hash_notebook(result):
        found.append("its outputs belong to other code")
    if set(record["parameters"]) != set(notebooks.parameters(source)):
        found.append("the notebook has other parameters now")
    folder = package(root)
    # An older record may name files that don't count today; its key is still that of what it recorded.
    for file, recorded in record["files"].items():
        if not counts(file):
            continue
        found += _changed(
            f"labkit/{file}", recorded, hash_file(folder / file) if (folder / file).is_file() else None
        )
    found += _compare("claim", record["claims"], claims(folder, name, result))
    for dataset, recorded in record["data"].items():
        found += _changed(f"data set {dataset}", recorded, fingerprint(dataset) or recorded)
    return found


def _compare(kind: str, recorded: dict[str, str], current: dict[str, str]) -> list[str]:
    found = [
        message
        for name in recorded
        for message in _changed(f"{kind} {name}", recorded[name], current.get(name))
    ]
    return found + [f"{kind} {name} is new" for name in current if name not in recorded]


def _changed(what: str, recorded: str, current: str | None) -> list[str]:
    if current is None:
        return [f"{what} is gone"]
    return [] if recorded == current else [f"{what} changed"]


@lru_cache
def fingerprint(name: str) -> str | None:
    """The hash of data or shipped weights today, your own folders included; None where they are not here."""
    from labkit import data, weights

    kind, _, which = name.partition("/")
    if kind == "weights":
        return weights.fingerprint(which) if which in weights.names() else None
    if name not in data.names() and not (Path(name).is_absolute() and Path(name).exists()):
        return None
    try:
        return data.fingerprint(name)
    except (OSError, ValueError):
        return None


def stale(record: dict) -> dict[str, tuple[str, str | None]]:
    """Libraries whose version differs from the recorded one: name -> (then, now).

    record: a result's ``metadata.labkit``. Python itself doesn't count, because one record serves all.
    """
    found = {}
    for name, then in record.get("versions", {}).items():
        now = _version(name)
        # "2.11.0+cpu" and "2.11.0" are two builds of one version
        if name != "python" and _public(now) != _public(then):
            found[name] = (then, now)
    return found


def _version(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None


def _public(number: str | None) -> str | None:
    return number.split("+")[0] if number else number
