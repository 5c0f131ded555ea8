"""A sweep: one notebook over the product of parameter values, its records as one tidy table."""

import io
from collections.abc import Iterable, Iterator
from pathlib import Path

from labkit.runner import keys, notebooks, requests, results
from labkit.runner.pool import Outcome
from labkit.runner.requests import Request
from labkit.runner.syntax import digest

__all__ = ["parameters", "plan", "save", "table"]

# What a row says of what was measured, here of nothing.
_MEASURED = dict.fromkeys(("paper", "claim", "metric", "unit", "variant", "seed"))
_MEASURED |= dict.fromkeys(("value", "difference", "verdict", "reason"))
_COLUMNS = ("run", *_MEASURED, "seconds", "status", "error")


def plan(root: Path, name: str, lists: dict[str, list]) -> list[Request]:
    """The requests of a sweep, all checked before any of them runs.

    lists: parameter -> values. Raises ValueError and TypeError as `requests.request` does.
    """
    return [requests.request(root, name, given) for given in requests.product(lists)]


def table(outcomes: Iterable[Outcome]):
    """One row for each run, claim, variant and seed, as a ``pandas.DataFrame``.

    Columns, in this order:

    - run: the number of the run, from 0 on, in the order of ``outcomes``
    - every parameter of the notebook. A parameter with the name of another column here is called
      "parameter: <name>"; ``seed`` is the record's seed, which is the same.
    - paper, claim, metric, unit, variant, seed
    - value: what was measured
    - difference: value less that of the claim's baseline on the same seed; empty for the baseline
    - verdict: the claim's in this run, or why it has none; reason: the same, of the reason given
    - seconds (of the run), status ("ok", "failed", ...) and error

    A run without records has one row without a value, and so has a failed one.
    """
    import pandas

    rows = [row for number, outcome in enumerate(outcomes) for row in _rows(number, outcome)]
    return pandas.DataFrame(rows)


def parameters(frame) -> list[str]:
    """The columns of a table that hold parameters."""
    return [column for column in frame.columns if column not in _COLUMNS]


def _rows(number: int, outcome: Outcome) -> list[dict]:
    result = (results.load(outcome.path) if outcome.path else None) or {"cells": [], "metadata": {}}
    made = result["metadata"].get("labkit", {})
    # The result's own parameters: a larger profile's may have answered the request.
    given = made.get("parameters", outcome.request.parameters)
    run = {"run": number} | {_named(name): _cell(value) for name, value in given.items() if name != "seed"}
    end = {"seconds": made.get("seconds", outcome.seconds), "status": "ok" if outcome.ok else outcome.word}
    end["error"] = None if outcome.ok else outcome.reason
    rows = [row for record in keys.records(result) for row in _measured(record)]
    return [run | row | end for row in rows or [_MEASURED | {"seed": given.get("seed")}]]


def _measured(record: dict) -> Iterator[dict]:
    """A row for each variant and seed of a record."""
    entry, values = record["volatile"].get("entry", {}), record["volatile"].get("values", {})
    about = {name: record.get(name) for name in ("paper", "claim")}
    about |= {name: entry.get(name) for name in ("metric", "unit")}
    end = {"verdict": record.get("verdict"), "reason": record.get("reason_verdict")}
    baseline = entry.get("baseline")
    for variant, row in values.items():
        for seed, value in row.items():
            other = None if variant == baseline else values.get(baseline, {}).get(seed)
            difference = None if other is None else float(value) - float(other)
            numbers = {"seed": int(seed), "value": float(value), "difference": difference}
            yield _MEASURED | about | {"variant": variant} | numbers | end


def _named(parameter: str) -> str:
    return f"parameter: {parameter}" if parameter in _COLUMNS else parameter


def _cell(value):
    """A parameter as a cell of the table: lists as text, since a column holds one type."""
    return requests.canonical_json(value) if isinstance(value, list | dict) else value


def default_stem(root: Path, name: str, lists: dict[str, list]) -> Path:
    """Where a sweep's table goes unless told otherwise: the same place for the same sweep."""
    short = name.split("/")[-1]
    return Path(root) / ".labkit" / "sweeps" / f"{short}-{digest(requests.canonical_json([name, lists]))}"


def save(frame, stem: Path) -> tuple[Path, Path]:
    """Write a table as ``<stem>.csv`` and ``<stem>.parquet``, each whole or not at all."""
    files = stem.with_name(f"{stem.name}.csv"), stem.with_name(f"{stem.name}.parquet")
    notebooks.write_text(files[0], frame.to_csv(index=False))
    buffer = io.BytesIO()
    frame.to_parquet(buffer, index=False)
    notebooks.write_bytes(files[1], buffer.getvalue())
    return files
