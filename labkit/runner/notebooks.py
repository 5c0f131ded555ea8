"""Notebooks as files: where they are, what their cells hold, and how they are read and written."""

import ast
import json
import os
import tempfile
from pathlib import Path

from labkit.papers.order import nearest

__all__ = [
    "code_cells",
    "find_root",
    "names",
    "parameters",
    "path",
    "read",
    "resolve",
    "tags",
    "text",
    "write",
]

# Cells that set a notebook up; they are no part of what it computes.
SETUP_TAGS = ("bootstrap", "parameters", "injected-parameters")


def find_root(start: Path | str = ".") -> Path:
    """The checkout that a folder lies in: the nearest folder upward with ``notebooks/`` and ``labkit/``.

    Raises FileNotFoundError where there is none.
    """
    start = Path(start).resolve()
    for folder in (start, *start.parents):
        if (folder / "notebooks").is_dir() and (folder / "labkit").is_dir():
            return folder
    raise FileNotFoundError(
        f"{start} is not inside a checkout of the book (a folder with notebooks/ and labkit/); "
        "change into one, or name it with --root"
    )


def path(root: Path, name: str) -> Path:
    """Where the notebook of that name is, such as ``"augment/images/resizemix"``."""
    return Path(root) / "notebooks" / f"{name}.ipynb"


def names(root: Path) -> list[str]:
    """The names of all notebooks of a checkout, sorted."""
    folder = Path(root) / "notebooks"
    found = (file.relative_to(folder) for file in folder.rglob("*.ipynb"))
    visible = (file for file in found if not any(part.startswith(".") for part in file.parts))
    return sorted(file.with_suffix("").as_posix() for file in visible)


def resolve(root: Path, targets: list[str]) -> list[str]:
    """The notebooks that targets mean: a full name, a paper's id, a part or a chapter; all without targets.

    Raises ValueError for a target that means none, with the nearest names.
    """
    known = names(root)
    if not targets:
        return known
    found = [name for target in targets for name in _matching(target, known)]
    return list(dict.fromkeys(found))


def _matching(target: str, known: list[str]) -> list[str]:
    wanted = target.strip("/").removeprefix("notebooks/").removesuffix(".ipynb")
    matching = [name for name in known if wanted in (name, name.split("/")[-1])]
    matching = matching or [name for name in known if name.startswith(f"{wanted}/")]
    if matching:
        return matching
    from labkit import papers

    if wanted.split("/")[-1] in papers.ids():
        raise ValueError(f"{target}: this paper is planned, it has no notebook yet")
    short = [name.split("/")[-1] for name in known]
    raise ValueError(f"no notebook, chapter or part is called {target!r}{nearest(wanted, [*short, *known])}")


def read(file: Path) -> dict:
    """A notebook's content. Raises OSError where there is none, ValueError where it is not a notebook."""
    try:
        content = json.loads(Path(file).read_text(encoding="utf-8"))
    except ValueError as error:
        raise ValueError(f"{file}: not readable as a notebook ({error})") from error
    if not isinstance(content, dict) or not isinstance(content.get("cells"), list):
        raise ValueError(f"{file}: not a notebook (it has no cells)")
    if not isinstance(content.setdefault("metadata", {}), dict):
        raise ValueError(f"{file}: not a notebook (its metadata are no table)")
    for number, cell in enumerate(content["cells"], start=1):
        if not _is_cell(cell):
            raise ValueError(f"{file}: not a notebook (cell {number} is none)")
        cell["source"] = text(cell)
        for output in cell.get("outputs", []):
            _join_lines(output)
    return content


def _is_cell(cell) -> bool:
    """Whether a cell has what is read of it, each of its own kind."""
    if not isinstance(cell, dict) or not isinstance(cell.get("cell_type"), str):
        return False
    metadata = cell.setdefault("metadata", {})
    if not isinstance(metadata, dict) or not _is_text(metadata.get("tags", [])):
        return False
    if not _is_text(cell.get("source")):
        return False
    if cell["cell_type"] != "code":
        return True
    outputs, _ = cell.setdefault("outputs", []), cell.setdefault("execution_count", None)
    return isinstance(outputs, list) and all(map(_is_output, outputs))


def _is_output(output) -> bool:
    if not isinstance(output, dict) or not isinstance(output.get("output_type"), str):
        return False
    if output["output_type"] == "stream":
        return isinstance(output.get("name"), str) and _is_text(output.get("text"))
    return all(isinstance(output.get(part, {}), dict) for part in ("data", "metadata"))


def _is_text(value) -> bool:
    """A string, or a list of them."""
    return isinstance(value, str) or (isinstance(value, list) and all(isinstance(x, str) for x in value))


def _join_lines(output: dict) -> None:
    """The format lets a long text be a list of lines; here it is always one string."""
    if isinstance(output.get("text"), list):
        output["text"] = "".join(output["text"])
    data = output.get("data", {})
    for kind, value in data.items():
        if isinstance(value, list) and not kind.endswith("json"):
            data[kind] = "".join(map(str, value))


def write(file: Path, content: dict) -> None:
    """Write a notebook whole or not at all: readers see the old file or the new one."""
    import nbformat  # splits long strings into lines, as every notebook editor does

    write_text(file, nbformat.writes(nbformat.from_dict(content)) + "\n")


def write_text(file: Path, content: str) -> None:
    """Write a text file whole or not at all."""
    write_bytes(file, content.encode())


def write_bytes(file: Path, content: bytes) -> None:
    """Write a file whole or not at all; the folder is made where it is missing."""
    file = Path(file)
    file.parent.mkdir(parents=True, exist_ok=True)
    handle, temporary = tempfile.mkstemp(dir=file.parent, prefix=f".{file.name}.")
    try:
        with os.fdopen(handle, "wb") as stream:
            stream.write(content)
            stream.flush()
            os.fsync(stream.fileno())  # some file systems say only here that they are full
        # mkstemp makes files that only their owner can read; a notebook is an ordinary file.
        os.chmod(temporary, 0o644)
        os.replace(temporary, file)
    except BaseException as error:
        Path(temporary).unlink(missing_ok=True)
        if isinstance(error, OSError) and error.errno and error.filename is None:
            error.filename = str(file)
        raise


def text(cell: dict) -> str:
    """A cell's source as one string; the format allows a list of lines too."""
    return "".join(cell["source"])


def tags(cell: dict) -> list[str]:
    """A cell's tags."""
    return cell.get("metadata", {}).get("tags", [])


def code_cells(notebook: dict) -> list[dict]:
    """The code cells that compute: all but those that set up (bootstrap and parameters)."""
    cells = (cell for cell in notebook["cells"] if cell["cell_type"] == "code")
    return [cell for cell in cells if not set(SETUP_TAGS) & set(tags(cell))]


def tagged(notebook: dict, tag: str) -> dict | None:
    """The first cell with a tag."""
    return next((cell for cell in notebook["cells"] if tag in tags(cell)), None)


def parameters(notebook: dict) -> dict:
    """The parameters and their defaults: the plain assignments of the cell tagged ``parameters``.

    Raises ValueError where the cell holds anything else, or a value that is no literal.

    >>> cell = {"cell_type": "code", "source": "profile = 'book'\\nseed = None",
    ...         "metadata": {"tags": ["parameters"]}}
    >>> parameters({"cells": [cell]})
    {'profile': 'book', 'seed': None}
    """
    cell = tagged(notebook, "parameters")
    if cell is None:
        return {}
    try:
        statements = ast.parse(text(cell)).body
        return dict(_assignment(statement) for statement in statements)
    except (SyntaxError, ValueError) as error:
        raise ValueError(
            f"the parameters cell takes lines such as `size = 3`, nothing else ({error})"
        ) from error


def _assignment(statement: ast.stmt) -> tuple[str, object]:
    targets = getattr(statement, "targets", [getattr(statement, "target", None)])
    if len(targets) != 1 or not isinstance(targets[0], ast.Name) or isinstance(statement, ast.AugAssign):
        raise ValueError(f"got `{ast.unparse(statement)}`")
    return targets[0].id, ast.literal_eval(statement.value)
