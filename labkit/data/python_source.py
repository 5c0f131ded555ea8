"""The source files of Python's standard library and of installed packages, parsed and never executed."""

import ast
import importlib.util
import sysconfig
from functools import cache
from pathlib import Path
from typing import NamedTuple

__all__ = ["Module", "Part", "modules"]

# Not prose or code to learn from: tests, tables of characters, copies of other projects, games.
LEFT_OUT = {"test", "tests", "idlelib", "site-packages", "dist-packages", "lib2to3", "ensurepip", "distutils"}
LEFT_OUT |= {"pydoc_data", "turtledemo", "encodings", "__pycache__", "tkinter", "_vendor", "externals"}
PACKAGES = {"numpy": "numpy", "scikit-learn": "sklearn"}  # as their projects are called, and as imported


class Part(NamedTuple):
    """A function, method or class that has a docstring.

    name: with the classes around it, "Fraction.limit_denominator".
    signature: of a function, one line from "def" to ":".  code: of a function, without its docstring, from
    column 0. Both are empty for a class, and for a function that has no code but its docstring.
    """

    name: str
    docstring: str
    signature: str
    code: str


class Module(NamedTuple):
    """One source file: its dotted name, its own docstring and its documented parts, in order."""

    name: str
    docstring: str
    parts: list[Part]


@cache
def modules(library: str) -> tuple[Module, ...]:
    """All modules of a library, by name; those that do not parse, or hold no docstring, are left out.

    library: "standard library", "numpy" or "scikit-learn".
    Raises ValueError for another name, FileNotFoundError where the sources are not installed.

    >>> fractions = next(each for each in modules("standard library") if each.name == "fractions")
    >>> fractions.docstring
    'Fraction, infinite-precision, rational numbers.'
    """
    root = _root(library)
    prefix = () if library == "standard library" else (PACKAGES[library],)
    found = []
    for path in sorted(root.rglob("*.py")):
        inside = path.relative_to(root).with_suffix("").parts
        if not any(part in LEFT_OUT or part.startswith(("config-", "_sysconfigdata")) for part in inside):
            module = _read(path, ".".join((*prefix, *inside)).removesuffix(".__init__"))
            found += [module] if module is not None else []
    return tuple(found)


def _root(library: str) -> Path:
    if library == "standard library":
        root = Path(sysconfig.get_paths()["stdlib"])
        if not (root / "fractions.py").is_file():
            raise FileNotFoundError(f"this Python came without the sources of its library: none below {root}")
        return root
    if library not in PACKAGES:
        raise ValueError(f"library must be 'standard library', {sorted(PACKAGES)}, got {library!r}")
    spec = importlib.util.find_spec(PACKAGES[library])
    if spec is None:
        raise FileNotFoundError(f"{library} is not installed")
    return Path(spec.origin).parent


def _read(path: Path, name: str) -> Module | None:
    text = path.read_text(encoding="utf-8", errors="replace")
    if '"""' not in text and "'''" not in text:
        return None
    try:
        tree = ast.parse(text)
    except (SyntaxError, ValueError):  # a template, or text that is no Python
        return None
    parts = list(_parts(tree.body, "", text.splitlines()))
    docstring = ast.get_docstring(tree) or ""
    return Module(name, docstring, parts) if docstring or parts else None


def _parts(body: list, outer: str, lines: list[str]):
    for node in body:
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            docstring = ast.get_docstring(node)
            if docstring:
                yield Part(outer + node.name, docstring, *_code(node, lines))
            if isinstance(node, ast.ClassDef):
                yield from _parts(node.body, f"{outer}{node.name}.", lines)


def _code(node, lines: list[str]) -> tuple[str, str]:
    """The signature of a documented function and its code without the docstring; empty for anything else."""
    docstring = node.body[0]
    if isinstance(node, ast.ClassDef) or len(node.body) < 2:
        return "", ""
    if not node.lineno < docstring.lineno <= docstring.end_lineno < node.body[1].lineno:
        return "", ""  # the docstring shares a line with code
    kind = "async def" if isinstance(node, ast.AsyncFunctionDef) else "def"
    result = f" -> {ast.unparse(node.returns)}" if node.returns else ""
    kept = lines[node.lineno - 1 : docstring.lineno - 1] + lines[docstring.end_lineno : node.end_lineno]
    indent = node.col_offset
    # A text of several lines may start further left than the function: it stays as it is.
    code = "\n".join(line if line[:indent].strip() else line[indent:].rstrip() for line in kept)
    return f"{kind} {node.name}({ast.unparse(node.args)}){result}:", code
