"""Make the fault table anew: what goes wrong in a run on purpose, and what the run after it finds.

    python scripts/measure_faults.py [book/performance/faults.json]

The faults are those of the tests (``tests/runner/faults.py``), in real processes; POSIX only, and the full
file system takes root. About two minutes on two cores. The book's page *Performance* shows the file.
"""

import json
import os
import platform
import sys
import tempfile
from importlib.metadata import version
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
OUT = ROOT / "book" / "performance" / "faults.json"
COLUMNS = {
    "what": "What was done",
    "runs": "Asked for",
    "before": "Done before",
    "cut": "Cut short or void",
    "executed": "Done after",
    "seconds": "Seconds",
    "lost": "Lost",
    "twice": "Twice",
}


# Name -> what it is, and the function of tests/runner/faults.py that does it.
FAULTS = {
    "killed": ("The command killed (kill -9) with two notebooks at work", "killed"),
    "interrupted": ("Ctrl-C with two notebooks at work", "interrupted"),
    "full disk": ("No space left for one of the results, then space again", "full_disk"),
    "two at once": ("Two commands for the same notebooks, started together", "at_once"),
    "kernel died": ("Two kernels that end in a cell, then mended", "dying"),
    "corrupt": ("Five of six kept results cut, emptied or edited by hand", "corrupt"),
    "worker killed": ("One of two Dask workers killed (kill -9) in a sweep", "worker_killed"),
}


def measure() -> list[dict]:
    """One row for each fault."""
    sys.path.insert(0, str(ROOT))
    from tests.runner import faults

    rows = []
    for name, (what, function) in FAULTS.items():
        with tempfile.TemporaryDirectory(prefix="faults-") as folder:
            found = getattr(faults, function)(faults.Book(Path(folder)))
        rows.append({"fault": name, "what": what} | found._asdict())
        print(f"{name}: {found}", flush=True)
    return rows


def main() -> None:
    out = Path(sys.argv[1]) if len(sys.argv) > 1 else OUT
    machine = {"cores": os.cpu_count(), "system": platform.system(), "python": platform.python_version()}
    machine |= {name: version(name) for name in ("papermill", "ipykernel", "distributed", "filelock")}
    content = {"columns": COLUMNS, "faults": measure(), "machine": machine}
    out.parent.mkdir(parents=True, exist_ok=True)
    out.write_text(json.dumps(content, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
