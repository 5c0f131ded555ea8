"""A sweep: one notebook over the product of parameter values, its records as one tidy table."""

import io
from collections.abc import Iterable
from pathlib import Path

from labkit.runner import keys, notebooks, requests, results
from labkit.runner.pool import Outcome
from labkit.runner.requests import Request
from labkit.runner.syntax import digest

__all__ = ["plan", "save", "table"]


def plan(root: Path, name: str, lists: dict[str, list]) -> list[Request]:
    """The requests of a sweep, all checked before any of them runs.

    lists: parameter -> values. Raises ValueError and TypeError as `requests.request` does.
    """
    return [requests.request(root, name, given) for given in requests.product(lists)]


def table(outcomes: Iterable[Outcome]):
    """One row for each run, claim, variant and seed, as a ``pandas.DataFrame``.

    Columns: every parameter of the notebook, then paper, claim, variant, seed, value, seconds (of the run)
    and status. A run without records has one row without a value, and so has a failed one. Where the
    notebook has a parameter ``seed``, the column is the record's seed, which is the same.
    """
    import pandas

    rows = [row for outcome in outcomes for row in _rows(outcome)]
    return pandas.DataFrame(rows)


def _rows(outcome: Outcome) -> list[dict]:
    result = (results.load(outcome.path) if outcome.path else None) or {"cells": [], "metadata": {}}
    made = result["metadata"].get("labkit", {})
    # The result's own parameters: a larger profile's may have answered the request.
    parameters = made.get("parameters", outcome.request.parameters)
    run = {name: _cell(value) for name, value in parameters.items()}
    end = {"seconds": made.get("seconds", outcome.seconds), "status": "ok" if outcome.ok else outcome.word}
    rows = []
    for record in keys.records(result):
        about = {"paper": record.get("paper"), "claim": record.get("claim")}
        for variant, values in record["volatile"].get("values", {}).items():
            for seed, value in values.items():
                rows.append(
                    run | about | {"variant": variant, "seed": int(seed), "value": float(value)} | end
                )
    if rows:
        return rows
    nothing = {"paper": None, "claim": None, "variant": None, "seed": run.get("seed"), "value": None}
    return [run | nothing | end]


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
