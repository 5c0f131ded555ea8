"""What book/models.md takes from the measured tables of the shipped weights: figures and tables."""

import json
from pathlib import Path


def substitutions(folder: Path) -> dict[str, str]:
    """The page's values as Markdown. folder: book/models.

    Raises FileNotFoundError where a measured table is missing.
    """
    tiny = json.loads((folder / "labkit-tiny.json").read_text(encoding="utf-8"))
    kinds = {"c": "short convolution", "a": "attention"}
    return {
        "tiny_parameters": f"{tiny['parameters']:,}",
        "tiny_megabytes": f"{tiny['bytes'] / 1e6:.1f}",
        "tiny_vocabulary": f"{tiny['vocabulary']:,}",
        "tiny_width": str(tiny["width"]),
        "tiny_layers": ", ".join(kinds[each] for each in tiny["layers"]),
        "tiny_command": f"`{tiny['command']}`",
        "tiny_seconds": f"{tiny['seconds']:,}",
        "tiny_steps": f"{tiny['steps']:,}",
        "tiny_tokens": f"{tiny['tokens'] / 1e6:.0f}",
        "tiny_hash": f"`{tiny['sha256']}`",
        "tiny_table": instruction_table(tiny["instructions"]),
        "tiny_errors": errors(tiny["instructions"]),
    }


def instruction_table(instructions: dict[str, dict]) -> str:
    """One line per instruction.

    instructions: name -> {"exact means", "n", "exact", "by size", "oracle", "replies per second"}.

    >>> row = {"exact means": "the same yes or no", "n": 300, "exact": 97.3, "oracle": 100.0,
    ...        "replies per second": 410.2,
    ...        "by size": {"1 fact": {"n": 50, "exact": 100.0}, "4 to 6 facts": {"n": 150, "exact": 96.0}}}
    >>> print(instruction_table({"judge": row}).splitlines()[-1])
    | judge | the same yes or no | 300 | **97.3** | 1 fact: 100.0 · 4 to 6 facts: 96.0 | 100.0 | 410 |
    """
    lines = [
        "| instruction | exact means | n | exact, % | by length | the oracle, % | replies per second |",
        "|---|---|---:|---:|---|---:|---:|",
    ]
    for name, row in instructions.items():
        speed = f"{row['replies per second']:.0f}"
        sizes = " · ".join(f"{each}: {part['exact']:.1f}" for each, part in row["by size"].items())
        cells = [name, row["exact means"], str(row["n"]), f"**{row['exact']:.1f}**", sizes]
        cells += [f"{row['oracle']:.1f}", speed]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def errors(instructions: dict[str, dict]) -> str:
    """One error of each instruction that has some: the prompt, the reply wanted, the reply got."""
    parts = []
    for name, row in instructions.items():
        if row["errors"]:
            error = row["errors"][0]
            shown = f"{error['prompt']}\n\nwanted: {error['wanted']}\n\ngot:    {error['got']}"
            parts.append(f"*{name}*\n\n```text\n{shown.replace('```', '')}\n```")
    return "\n\n".join(parts)
