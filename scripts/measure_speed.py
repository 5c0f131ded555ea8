"""Measure the benchmarks anew, for the book's Performance page: python scripts/measure_speed.py.

Runs tests/benchmarks with pytest-benchmark and writes the medians to book/performance/speed.json. Run it on a
machine that does nothing else; the numbers are shown, and nothing depends on them.
"""

import argparse
import json
import os
import platform
import subprocess
import sys
import tempfile
from importlib.metadata import version
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
OUT = ROOT / "book" / "performance" / "speed.json"
LIBRARIES = ("torch", "kornia", "albumentations", "opencv-python-headless", "numpy")


def measure() -> dict:
    """Run the benchmarks, and keep what the page shows."""
    with tempfile.TemporaryDirectory() as folder:
        report = Path(folder) / "report.json"
        command = [sys.executable, "-m", "pytest", "tests/benchmarks", f"--benchmark-json={report}"]
        subprocess.run(command, cwd=ROOT, check=True, env=os.environ | {"OMP_NUM_THREADS": "1"})
        found = json.loads(report.read_text(encoding="utf-8"))
    return reduced(found) | {"machine": machine(found)}


def reduced(report: dict) -> dict:
    """The table: operation, batch, library, median in milliseconds. report: pytest-benchmark's."""
    rows = [
        bench["extra_info"] | {"milliseconds": float(f"{1000 * bench['stats']['median']:.3g}")}
        for bench in report["benchmarks"]
    ]
    return {"rows": rows}


def machine(report: dict) -> dict:
    """What the numbers belong to: processor, Python, libraries."""
    processor = report["machine_info"].get("cpu", {}).get("brand_raw", platform.machine())
    versions = {name: version(name) for name in LIBRARIES}
    return {"processor": processor, "python": platform.python_version(), "versions": versions}


def main() -> None:
    """Measure and write."""
    argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    ).parse_args()
    OUT.parent.mkdir(parents=True, exist_ok=True)
    OUT.write_text(json.dumps(measure(), indent=1) + "\n", encoding="utf-8")
    print(f"Written: {OUT.relative_to(ROOT)}")


if __name__ == "__main__":
    main()
