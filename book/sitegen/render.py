"""Run Jupyter Book on the staged tree, as seldom and as little as possible."""

import json
import shutil
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

from sitegen.staging import digest

# Whatever every page depends on: when one of these changes, all pages are rendered again.
FRAME = ("_config.yml", "_toc.yml", "book/_ext/", "book/_static/", "book/references.bib")
TOOLS = ("jupyter-book", "sphinx", "sphinx-book-theme", "myst-nb", "sphinx-mathjax-offline")

REDIRECT = """<!doctype html>
<html lang="en">
<head><meta charset="utf-8"><title>labkit</title>
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="refresh" content="0; url=book/index.html"></head>
<body><main><h1>labkit</h1><p><a href="book/index.html">To the book</a></p></main></body>
</html>
"""


def run(out: Path, files: dict[str, bytes], *, code: str, fresh: bool = False) -> int:
    """Render out/source into out/html; returns Jupyter Book's exit status, 0 where nothing was to do.

    files: the staged tree.  code: hash of the sources whose docstrings are rendered.  fresh: render all.
    """
    tools = " ".join(f"{name} {version(name)}" for name in TOOLS)
    frame = digest({name: content for name, content in files.items() if name.startswith(FRAME)})
    stamp = {"frame": f"{frame} {tools}", "pages": digest(files), "code": code}
    stamp_file = out / "stamp.json"
    before = json.loads(stamp_file.read_text()) if stamp_file.exists() else {}
    if before == stamp and not fresh and (out / "html" / "index.html").exists():
        print("  nothing has changed")
        return 0
    # A build that failed leaves no stamp: its warnings must come again, so its pages are rendered again.
    stamp_file.unlink(missing_ok=True)
    if fresh or before.get("frame") != stamp["frame"]:
        for folder in ("html", ".doctrees"):
            shutil.rmtree(out / folder, ignore_errors=True)
    status = _jupyter_book(out)
    if status == 0:
        _finish(out / "html", files)
        stamp_file.write_text(json.dumps(stamp))
    return status


def _jupyter_book(out: Path) -> int:
    """Run it on out/source; it writes to out/html, since `out` is named as it wants."""
    if out.name != "_build":
        raise ValueError(f"out: Jupyter Book writes to a folder named _build, got {out}")
    command = [
        sys.executable,
        "-c",
        "from jupyter_book.cli.main import main; main()",
        "build",
        str(out / "source"),
    ]
    command += ["--path-output", str(out.parent), "-n", "-W", "--keep-going", "-q"]
    return subprocess.run(command, check=False).returncode


def _finish(html: Path, files: dict[str, bytes]) -> None:
    """What Jupyter Book leaves out: the way in, the ledger's downloads."""
    (html / "index.html").write_text(REDIRECT, encoding="utf-8")
    for name in ("book/ledger.csv", "book/ledger.json"):
        (html / name).write_bytes(files[name])
    # GitHub Pages would drop folders whose names start with an underscore.
    (html / ".nojekyll").touch()
