"""Try the book as Colab would run it: `make colab`, or ``python scripts/colab_check.py``.

1. An environment of its own with Colab's versions (``scripts/colab-versions.txt``), kept in
   ``.labkit/colab`` and made again when that file changes.
2. The wheel is built and installed there with pip's usual resolution. No package that was there may change,
   and nothing may be added but labkit-book and what Colab itself lacks (`LACKING`).
3. Every notebook, with the bootstrap cell of the published copy, is executed at ``smoke`` from an empty
   folder by that environment's kernel.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from contextlib import contextmanager
from pathlib import Path
from unittest.mock import patch

import publish

ROOT = Path(__file__).resolve().parent.parent
VERSIONS = ROOT / "scripts" / "colab-versions.txt"
FOLDER = ROOT / ".labkit" / "colab"
KERNEL = "labkit-colab"

# IPython 7.34 asks for jedi, which Colab takes out of its image: whatever pip installs there brings it back.
# BM25 and nearest vectors come with the extra `retrieve`, which notebooks on retrieval install.
LACKING = {"jedi", "bm25s", "faiss-cpu"}


def pip(python: Path, *arguments: str) -> str:
    """Run pip in the environment of `python` and return what it printed; an error shows its messages.

    ``-I``: nothing that a variable such as PYTHONPATH lends counts as installed.
    """
    command = [str(python), "-I", "-m", "pip", "--disable-pip-version-check", *arguments]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError(f"pip {' '.join(arguments)} failed:\n{done.stdout}{done.stderr}")
    return done.stdout


def installed(python: Path) -> dict[str, str]:
    """Return name -> version of every package in the environment of `python`, pip included."""
    rows = json.loads(pip(python, "list", "--format=json"))
    return {row["name"].lower().replace("_", "-").replace(".", "-"): row["version"] for row in rows}


def environment(folder: Path = FOLDER) -> Path:
    """Return the Python of the environment with Colab's versions, making it if it isn't there."""
    wanted = hashlib.sha256(VERSIONS.read_bytes() + sys.version.encode()).hexdigest()
    python, stamp = folder / "bin" / "python", folder / "versions.sha256"
    if not (stamp.exists() and stamp.read_text() == wanted):
        shutil.rmtree(folder, ignore_errors=True)
        subprocess.run([sys.executable, "-m", "venv", str(folder)], check=True)
        pip(python, "install", "--no-deps", "--requirement", str(VERSIONS))
        stamp.write_text(wanted)
    return python


def build_wheel(folder: Path) -> Path:
    """Build labkit-book's wheel into `folder` with the build backend that is installed here."""
    command = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(folder), str(ROOT)]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError(f"building the wheel failed:\n{done.stdout}{done.stderr}")
    (wheel,) = folder.glob("*.whl")
    return wheel


def differences(before: dict[str, str], after: dict[str, str]) -> list[str]:
    """Say what installing labkit-book changed beyond adding it and what Colab lacks.

    >>> differences({"numpy": "2.1.3"}, {"numpy": "2.4.0", "labkit-book": "0.1.0", "jedi": "0.20"})
    ['numpy: 2.1.3 -> 2.4.0']
    """
    names = sorted((before.keys() | after.keys()) - LACKING - {"labkit-book"})
    return [
        f"{name}: {before.get(name, 'absent')} -> {after.get(name, 'absent')}"
        for name in names
        if before.get(name) != after.get(name)
    ]


def install(python: Path, wheel: Path) -> list[str]:
    """Install `wheel` into the environment of `python`; return what changed there that must not change."""
    for name in sorted(LACKING | {"labkit-book"}):
        pip(python, "uninstall", "--yes", name)
    before = installed(python)
    pip(python, "install", f"{wheel}[retrieve]")
    return differences(before, installed(python))


@contextmanager
def kernel(python: Path, folder: Path):
    """Register in `folder`, for the time of the block, the Jupyter kernel `KERNEL` run by `python`."""
    place = folder / "kernels" / KERNEL
    place.mkdir(parents=True)
    # -E and -s: no packages but the environment's own
    arguments = [str(python), "-E", "-s", "-m", "ipykernel_launcher", "-f", "{connection_file}"]
    quiet = {"PYDEVD_DISABLE_FILE_VALIDATION": "1"}
    spec = {"argv": arguments, "display_name": KERNEL, "language": "python", "env": quiet}
    (place / "kernel.json").write_text(json.dumps(spec))
    with patch.dict(os.environ, JUPYTER_PATH=str(folder)):
        yield KERNEL


def execute(notebook: Path, name: str, folder: Path) -> Path:
    """Execute the published form of `notebook` at ``smoke`` in the new `folder`; return the result."""
    import nbformat
    import papermill

    source = folder.with_suffix(".source.ipynb")
    nbformat.write(publish.publishable(notebook, commit="0" * 40), source)
    folder.mkdir()
    result = folder.with_suffix(".ipynb")
    papermill.execute_notebook(
        source, result, {"profile": "smoke"}, kernel_name=name, cwd=folder, progress_bar=False
    )
    return result


def check(notebooks: list[Path]) -> None:
    """Run the whole check, printing each step with its seconds; RuntimeError if a package changed."""
    start = time.perf_counter()

    def say(text: str) -> None:
        print(f"{time.perf_counter() - start:6.1f} s  {text}", flush=True)

    python = environment()
    say(f"environment with Colab's versions: {FOLDER.relative_to(ROOT)}")
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        changed = install(python, build_wheel(folder))
        if changed:
            raise RuntimeError(
                "installing labkit-book changed packages that Colab has:\n" + "\n".join(changed)
            )
        say("wheel built and installed; no package changed")
        with kernel(python, folder / "jupyter") as name:
            for number, notebook in enumerate(notebooks):
                execute(notebook, name, folder / f"run-{number}")
                say(f"executed {notebook.relative_to(ROOT)}")


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("notebooks", nargs="*", type=Path, help="files to execute; without: every notebook")
    given = parser.parse_args().notebooks
    check([path.resolve() for path in given] or publish.notebooks())


if __name__ == "__main__":
    main()
