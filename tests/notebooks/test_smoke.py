"""Every notebook as a reader runs it: plain papermill, then again, compared by nbval."""

import os
import subprocess
import sys
from pathlib import Path

import nbformat.v4 as v4
import papermill
import pytest

from labkit import runner
from labkit.runner import notebooks

ROOT = Path(__file__).resolve().parents[2]


def nbval(file: Path) -> subprocess.CompletedProcess:
    """Execute a notebook again and compare the cells tagged ``nbval-check-output``."""
    command = [sys.executable, "-m", "pytest", "--nbval-lax", "--nbval-current-env", "-p", "no:cacheprovider"]
    one_thread = {"OMP_NUM_THREADS": "1", "LABKIT_HEADLESS": "1"}
    return subprocess.run(
        [*command, "-c", os.devnull, "--rootdir", str(file.parent), str(file)],
        cwd=file.parent, env=os.environ | one_thread, capture_output=True, text=True,
    )  # fmt: skip


@pytest.mark.parametrize("name", runner.names(ROOT))
def test_notebook(name, tmp_path, monkeypatch):
    """From an empty folder, at `smoke`, twice, with the same outputs where it counts."""
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    monkeypatch.chdir(tmp_path)
    executed = tmp_path / "executed.ipynb"
    papermill.execute_notebook(
        notebooks.path(ROOT, name), executed, parameters={"profile": "smoke"}, progress_bar=False
    )
    done = nbval(executed)
    assert done.returncode == 0, done.stdout[-3000:]


@pytest.mark.parametrize(("code", "status"), [("print('the same')", 0), ("import os\nprint(os.getpid())", 1)])
def test_the_comparison_can_fail(tmp_path, code, status):
    cell = v4.new_code_cell(code, metadata={"tags": ["nbval-check-output"]})
    notebook = v4.new_notebook(cells=[cell])
    notebook.metadata["kernelspec"] = {"display_name": "Python 3", "language": "python", "name": "python3"}
    papermill.execute_notebook(notebook, tmp_path / "a.ipynb", progress_bar=False)
    done = nbval(tmp_path / "a.ipynb")
    assert done.returncode == status, done.stdout
