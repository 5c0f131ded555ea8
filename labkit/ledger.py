"""The ledger: every paper, its claims, and what was measured, from the records and nothing else.

Records stand in the outputs of executed notebooks and, for runs at full scale, in
``notebooks/<part>/records/<claim>.<profile>.json``. Only a record of profile "judge" or "full" on all
seeds of its claim counts as judged. A row's status:

==============  ==================================================================================
planned         the paper has no claim yet
not judged      a claim that has not been judged yet
not testable    a claim that can not be tested here, with the reason
judged          a verdict, computed from the record's values
stale           judged, but with other versions of torch or numpy than are installed now
void            a record that does not hold: its entry was edited after judging, for example
failed          some seeds failed, or the notebook stopped before the claim was judged
==============  ==================================================================================
"""

import csv
import json
from collections.abc import Callable, Iterable
from pathlib import Path

from labkit import claims, papers
from labkit.claims import records
from labkit.claims.judging import borderline, judge

__all__ = [
    "COLUMNS",
    "changes",
    "collect",
    "judged_records",
    "rows",
    "save",
    "tally",
    "write",
    "write_records",
]

_BLANK = {
    "paper": "", "title": "", "year": None, "part": "", "chapter": "", "core": False,
    "claim": "", "role": "", "claimed_by": "", "statement": "", "evidence": "", "kind": "",
    "ratio": False, "metric": "", "unit": "", "baseline": "", "method": "", "control": "",
    "profile": "", "status": "planned", "why": "", "verdict": "", "reason_verdict": "", "sentence": "",
    "difference": None, "low": None, "high": None,
    "control_difference": None, "control_low": None, "control_high": None,
    "margin": None, "n": None, "attempt": None, "thirds": None, "borderline": None, "seconds": None,
    "reported": "", "reported_source": "", "counted": False, "notebook": "",
}  # fmt: skip
_FACTS = ("title", "year", "part", "chapter", "core", "notebook")
#: The columns of the ledger, in order.
COLUMNS = tuple(_BLANK)


def collect(path: Path | str) -> list[dict]:
    """The records in an executed notebook, or of a record file: stable fields, and "measured".

    Raises ValueError where the file is no JSON.
    """
    try:
        content = json.loads(Path(path).read_text(encoding="utf-8"))
    except json.JSONDecodeError as error:
        raise ValueError(f"{path}: no notebook or record: {error}") from error
    if "cells" not in content:
        return [content]
    outputs = [output for cell in content["cells"] for output in cell.get("outputs", ())]
    return [
        {**output["data"][records.MIME], "measured": output.get("metadata", {}).get(records.MIME, {})}
        for output in outputs
        if records.MIME in output.get("data", {})
    ]


def save(record: dict, root: Path | str = ".") -> Path:
    """Write a record to ``notebooks/<part>/records/<claim>.<profile>.json`` below root."""
    part = papers.get(record["paper"]).part
    name = f"{record['claim'].replace('/', '--')}.{record['profile']}.json"
    path = Path(root) / "notebooks" / part / "records" / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(_json(record), encoding="utf-8")
    return path


def rows(root: Path | str = ".", find: Callable[[str], Path | None] | None = None) -> list[dict]:
    """The ledger: at least one row for every paper, with the keys of :data:`COLUMNS`.

    root: the project's folder.  find: from a notebook's name ("augment/images/resizemix") to the
    file to read; by default the committed notebook.
    Raises ValueError for a claim that is wrong (see :func:`labkit.claims.of`).
    """
    table = []
    for paper in papers.all():
        facts = {"paper": paper.id} | {name: getattr(paper, name) for name in _FACTS}
        found, errored = _records(paper, Path(root), find)
        registered = claims.of(paper.id)
        table += [_BLANK | facts | row for claim in registered for row in _claim_rows(claim, found, errored)]
        if not registered:
            table.append(_BLANK | facts)
    return table


def _records(paper, root: Path, find) -> tuple[list[dict], bool]:
    """All records of a paper, and whether its notebook stopped with an error."""
    path = (find or (lambda name: root / "notebooks" / f"{name}.ipynb"))(paper.notebook)
    found, errored = [], False
    if path is not None and Path(path).exists():
        found = collect(path)
        cells = json.loads(Path(path).read_text(encoding="utf-8"))["cells"]
        errored = any(out["output_type"] == "error" for cell in cells for out in cell.get("outputs", ()))
    for file in sorted((root / "notebooks" / paper.part / "records").glob("*.json")):
        found += [record for record in collect(file) if record["paper"] == paper.id]
    return found, errored


def _claim_rows(claim: claims.Claim, found: list[dict], errored: bool) -> list[dict]:
    """One row per judging profile with a record; without any, one that says where the claim stands."""
    row = {
        "claim": claim.id,
        "role": claim.role,
        "claimed_by": claim.claimed_by,
        "statement": claim.statement,
        "evidence": claim.evidence,
        "kind": claim.kind,
        "ratio": claim.question.ratio,
        "metric": claim.metric,
        "unit": claim.unit,
        "baseline": claim.baseline,
        "method": ", ".join(claim.methods),
        "control": claim.control or "",
    }
    if claim.reported and claim.reported["source"] != "recalled":
        row |= {"reported": claim.reported["value"], "reported_source": claim.reported["source"]}
    if not claim.testable:
        return [row | {"status": "not testable", "why": claim.why_not_testable}]
    row |= {"margin": claim.margin, "n": claim.n, "attempt": claim.attempt}
    # The last record of a profile counts: a cell that was run twice leaves the later result.
    judging = {r["profile"]: r for r in found if r["claim"] == claim.id and r["profile"] in records.JUDGING}
    if judging:
        return [row | _record_row(claim, judging[name]) for name in records.JUDGING if name in judging]
    if errored:
        return [row | {"status": "failed", "why": "the notebook stopped before this claim was judged"}]
    return [row | {"status": "not judged", "why": "no record of a judging run yet"}]


def _record_row(claim: claims.Claim, record: dict) -> dict:
    """The columns that a record fills. A record that does not hold fills no verdict."""
    measured = record["measured"]
    row = {"profile": record["profile"], "seconds": measured.get("seconds", {}).get("total")}
    if record["failed_seeds"]:
        told = "; ".join(f"seed {seed}: {text}" for seed, text in measured.get("failures", {}).items())
        return row | {"status": "failed", "why": told}
    problems = records.check(record, claim)
    if record["verdict"].startswith("not judged"):
        problems = [record["sentence"], *problems]
    if problems:
        return row | {"status": "void", "why": "; ".join(problems)}
    found = judge(claim.question, records.values_of(record))
    method, shown = max(found.differences.items(), key=lambda item: item[1].high)  # the strongest of several
    control = found.control_difference
    other = _other_versions(measured["versions"])
    return row | {
        "status": "stale" if other else "judged",
        "why": other,
        "method": method,
        "verdict": record["verdict"],
        "reason_verdict": record["reason_verdict"] or "",
        "sentence": record["sentence"],
        "difference": shown.mean,
        "low": shown.low,
        "high": shown.high,
        "control_difference": control and control.mean,
        "control_low": control and control.low,
        "control_high": control and control.high,
        "thirds": found.thirds,
        "borderline": borderline(claim.question, found.differences),
        "counted": claim.role == "headline" and claim.evidence != "by construction",
    }


def _other_versions(recorded: dict) -> str:
    """Which libraries differ from those of a record, in words; builds of one release are the same."""
    import numpy
    import torch

    told = []
    for name, version in (("torch", torch.__version__), ("numpy", numpy.__version__)):
        old, here = recorded[name].partition("+")[0], version.partition("+")[0]
        if old != here:
            told.append(f"judged with {name} {old}, here is {here}")
    return "; ".join(told)


def tally(table: Iterable[dict]) -> dict[str, int]:
    """How the judged headlines came out: {verdict: count}. What holds by construction is not counted.

    A claim judged at two profiles counts once, by its first row.
    """
    counts: dict[str, int] = {}
    seen = set()
    for row in table:
        if row["counted"] and row["claim"] not in seen:
            seen.add(row["claim"])
            counts[row["verdict"]] = counts.get(row["verdict"], 0) + 1
    return counts


def changes(old: Iterable[dict], new: Iterable[dict]) -> list[dict]:
    """The claims whose verdict, reason or attempt differs between two ledgers, for the changelog.

    Returns rows {"claim", "profile", "before", "after"}; "" where there was or is no verdict.
    """
    before, after = ({(row["claim"], row["profile"]): row for row in table} for table in (old, new))
    found = []
    for key in dict.fromkeys([*before, *after]):
        told = [_told(side.get(key)) for side in (before, after)]
        if told[0] != told[1]:
            found.append({"claim": key[0], "profile": key[1], "before": told[0], "after": told[1]})
    return found


def _told(row: dict | None) -> str:
    if row is None or not row["verdict"]:
        return ""
    reason = f", {row['reason_verdict']}" if row["reason_verdict"] else ""
    return f"{row['verdict']}{reason} (attempt {row['attempt']})"


def write(table: list[dict], folder: Path | str) -> tuple[Path, Path]:
    """Write ``ledger.json`` and ``ledger.csv`` into a folder; returns their paths."""
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    as_json, as_csv = folder / "ledger.json", folder / "ledger.csv"
    as_json.write_text(_json(table), encoding="utf-8")
    with as_csv.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, COLUMNS, lineterminator="\n")
        writer.writeheader()
        writer.writerows(table)
    return as_json, as_csv


def judged_records(root: Path | str = ".", find=None) -> list[dict]:
    """The records to ship with the package: those that judge and hold, in the order of the papers.

    A committed record stays until a valid one takes its place: it is what keeps the seeds of an
    attempt from being judged twice.
    """
    kept = []
    for paper in papers.all():
        found, _ = _records(paper, Path(root), find)
        for claim in claims.of(paper.id):
            for profile in records.JUDGING:
                valid = [
                    r
                    for r in found
                    if (r["claim"], r["profile"]) == (claim.id, profile)
                    and not r["verdict"].startswith("not judged")
                    and not records.check(r, claim)
                ]
                record = valid[-1] if valid else claims.committed(claim.id, profile)
                if record is not None:
                    kept.append(record)
    return kept


def write_records(root: Path | str = ".", find=None, path: Path = records.PATH) -> Path:
    """Write the judged records to the file that the package ships; returns its path."""
    path.write_text(_json(judged_records(root, find)), encoding="utf-8")
    return path


def _json(content) -> str:
    return json.dumps(content, indent=1, ensure_ascii=False, allow_nan=False) + "\n"
