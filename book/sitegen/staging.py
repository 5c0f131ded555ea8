"""The staged tree: the pages as Jupyter Book reads them, written only where they changed."""

import hashlib
import json
import re
from pathlib import Path

# A reader wants the experiment, not the lines that install it or set its size: those start folded, under
# these words.
FOLDED = {
    "bootstrap": "Set-up: install labkit where it is missing",
    "parameters": "Parameters of this notebook",
    "injected-parameters": "Parameters of this run",
}


def write_tree(root: Path, files: dict[str, bytes]) -> list[str]:
    """Make the folder hold exactly these files; returns the names of those written or removed.

    A file whose content is already right is left alone, so that its date tells Sphinx nothing is new.
    """
    changed = []
    for name, content in files.items():
        path = root / name
        if path.is_file() and path.read_bytes() == content:
            continue
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
        changed.append(name)
    present = [path for path in root.rglob("*") if path.is_file()] if root.exists() else []
    for path in present:
        if path.relative_to(root).as_posix() not in files:
            path.unlink()
            changed.append(path.relative_to(root).as_posix())
    return sorted(changed)


def read_tree(root: Path, pattern: str = "**/*") -> dict[str, bytes]:
    """The files under a folder by their relative name, Python's caches left out."""
    paths = (path for path in root.glob(pattern) if path.is_file() and "__pycache__" not in path.parts)
    return {path.relative_to(root).as_posix(): path.read_bytes() for path in sorted(paths)}


def digest(files: dict[str, bytes]) -> str:
    """One hash of names and contents."""
    whole = hashlib.sha256()
    for name in sorted(files):
        whole.update(f"{name}\0{len(files[name])}\0".encode())
        whole.update(files[name])
    return whole.hexdigest()


def notebook(content: bytes, *, appendix: str = "") -> tuple[bytes, bool]:
    """A notebook as its page shows it, and whether it failed.

    The set-up cells start folded. A failed notebook says so at its top. appendix: Markdown put at its end.
    """
    book = json.loads(content)
    for cell in book["cells"]:
        tags = cell["metadata"].get("tags", [])
        for tag in FOLDED.keys() & set(tags):
            cell["metadata"] |= {"tags": [*tags, "hide-cell"], "mystnb": {"code_prompt_show": FOLDED[tag]}}
    status = book["metadata"].get("labkit", {})
    failed = status.get("status") == "failed"
    if failed:
        book["cells"].insert(_below_title(book["cells"]), _markdown("labkit-failed", failure(status)))
    if appendix:
        book["cells"].append(_markdown("labkit-appendix", appendix))
    return json.dumps(book, indent=1, ensure_ascii=False).encode(), failed


def failure(status: dict) -> str:
    """The note at the top of a failed notebook. status: the notebook's `metadata.labkit`."""
    error = re.sub(r"\x1b\[[0-9;]*m", "", str(status.get("error", ""))).strip()  # a terminal's colours
    lines = [
        ":::{admonition} This notebook failed",
        ":class: error",
        "Its last run stopped with an error. What ran before it is shown below, and nothing here is judged.",
    ]
    if error:
        lines += ["```text", error.replace("```", "'''"), "```"]
    return "\n".join([*lines, ":::"])


def _below_title(cells: list[dict]) -> int:
    """Where a note belongs: below the cell that holds the title, since the title must come first."""
    for index, cell in enumerate(cells):
        if cell["cell_type"] == "markdown" and "".join(cell["source"]).lstrip().startswith("# "):
            return index + 1
    return 0


def _markdown(name: str, text: str) -> dict:
    return {"cell_type": "markdown", "id": name, "metadata": {}, "source": text}
