"""What book/performance.md takes from measured files: speed, notebooks, faults and the endpoint."""

import json
from pathlib import Path

LIBRARIES = ("labkit", "kornia", "albumentations")


def substitutions(folder: Path, results: dict[str, Path]) -> dict[str, str]:
    """The page's values as Markdown. folder: book/performance.  results: name -> best result of a notebook.

    Raises FileNotFoundError where a measured file is missing.
    """
    speed = json.loads((folder / "speed.json").read_text(encoding="utf-8"))
    faults, together, endpoint = (
        json.loads((folder / f"{name}.json").read_text(encoding="utf-8"))
        for name in ("faults", "together", "endpoint")
    )
    machine = speed["machine"]
    return {
        "processor": machine["processor"],
        "versions": ", ".join(f"{name} {number}" for name, number in machine["versions"].items()),
        "speed": speed_table(speed["rows"]),
        "notebooks": notebook_table(results),
        "faults": measured_table(faults["columns"], faults["faults"]),
        "endpoint": measured_table(endpoint["columns"], endpoint["rows"]),
        "endpoint_sum": endpoint_sum(endpoint["rows"]),
        "together": measured_table(together["columns"], together["rows"]),
    }


def speed_table(rows: list[dict]) -> str:
    """Operations by libraries. rows: {"operation", "images", "side", "library", "milliseconds"}.

    >>> print(speed_table([{"operation": "rotate", "images": 8, "side": 32, "library": "kornia",
    ...                     "milliseconds": 1.25}]).splitlines()[-1])
    | rotate | 8 of 32x32 | – | **1.25** | – |
    """
    batches: dict[tuple, dict[str, float]] = {}
    for row in rows:
        batch = (row["images"], row["side"], row["operation"])
        batches.setdefault(batch, {})[row["library"]] = row["milliseconds"]
    lines = [f"| operation | images | {' | '.join(LIBRARIES)} |", f"|---|---|{'---:|' * len(LIBRARIES)}"]
    for (images, side, operation), found in sorted(batches.items(), key=lambda item: item[0][1]):
        best = min(found.values())
        cells = [_time(found.get(name), best) for name in LIBRARIES]
        lines.append(f"| {operation} | {images} of {side}x{side} | {' | '.join(cells)} |")
    return "\n".join(lines)


def _time(milliseconds: float | None, best: float) -> str:
    if milliseconds is None:
        return "–"
    text = f"{milliseconds:.3g}"
    return f"**{text}**" if milliseconds == best else text


def notebook_table(results: dict[str, Path]) -> str:
    """Seconds of every executed notebook, on one core. results: name -> file."""
    lines = ["| notebook | profile | seconds |", "|---|---|---:|"]
    for name, file in results.items():
        made = json.loads(file.read_text(encoding="utf-8"))["metadata"].get("labkit", {})
        if "seconds" in made:
            lines.append(
                f"| [{name}](../notebooks/{name}.ipynb) | {made['profile']} | {made['seconds']:.0f} |"
            )
    return "\n".join(lines)


def measured_table(columns: dict[str, str], rows: list[dict]) -> str:
    """A table of a measured file: its columns (key -> heading), one line for each of its rows.

    >>> print(measured_table({"what": "What", "seconds": "Seconds"}, [{"what": "kill -9", "seconds": 2.345}]))
    | What | Seconds |
    |---|---:|
    | kill -9 | 2.35 |
    """
    words = [isinstance(rows[0][key], str) for key in columns]
    lines = [f"| {' | '.join(columns.values())} |", f"|{''.join('---|' if w else '---:|' for w in words)}"]
    for row in rows:
        cells = (f"{row[key]:.3g}" if isinstance(row[key], float) else f"{row[key]}" for key in columns)
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def endpoint_sum(rows: list[dict]) -> str:
    """One sentence over all rows of the endpoint's table.

    >>> endpoint_sum([{"requests": 9, "faults": 2, "lost": 0, "twice": 0}] * 2)
    '18 requests, 4 faults; completions lost: 0, paid twice: 0.'
    """
    total = {name: sum(row[name] for row in rows) for name in ("requests", "faults", "lost", "twice")}
    return (
        f"{total['requests']} requests, {total['faults']} faults; "
        f"completions lost: {total['lost']}, paid twice: {total['twice']}."
    )
