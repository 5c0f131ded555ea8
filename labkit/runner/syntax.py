"""Code as hashes of its syntax: the same for other comments, docstrings and line breaks.

Python's own ``ast.dump`` differs between versions (3.12 added fields, 3.13 leaves empty ones out), so the
text that is hashed is made here, from what the versions have in common. A test holds it to fixed values.
"""

import ast
import hashlib
from functools import lru_cache
from pathlib import Path

__all__ = ["canonical", "hash_cells", "hash_file"]

_DOCUMENTED = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)
# Where a name is read or written follows from where it stands; `kind` is the u of u"text".
_SKIPPED = ("ctx", "kind", "type_comment", "type_ignores")


def digest(text: str) -> str:
    """The first 16 hexadecimal digits of a text's SHA-256."""
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def canonical(node) -> str:
    """A syntax tree as text: docstrings, positions, empty fields and formatting left out.

    node: an ``ast`` node, a list of them, or a value inside one.

    >>> canonical(ast.parse("x = 1  # one").body[0])
    "Assign(targets=[Name(id='x')], value=Constant(value=1))"
    """
    if isinstance(node, list):
        return f"[{', '.join(map(canonical, node))}]"
    if not isinstance(node, ast.AST):
        return ascii(node)
    fields = ((name, _field(node, name, value)) for name, value in sorted(ast.iter_fields(node)))
    kept = (f"{name}={canonical(value)}" for name, value in fields if not _empty(node, name, value))
    return f"{type(node).__name__}({', '.join(kept)})"


def _field(node: ast.AST, name: str, value):
    """A field as it counts: without the docstring, and f-strings with their plain pieces joined."""
    if isinstance(node, _DOCUMENTED) and name == "body" and _is_docstring(value[0] if value else None):
        return value[1:]
    if isinstance(node, ast.JoinedStr) and name == "values":
        return _joined(value)
    return value


def _empty(node: ast.AST, name: str, value) -> bool:
    if name in _SKIPPED:
        return True
    if value is None:  # the constant None is a value, everywhere else None means "not there"
        return not isinstance(node, ast.Constant | ast.MatchSingleton)
    return value == [] or (name == "format_spec" and not _joined(value.values))


def _is_docstring(statement) -> bool:
    value = getattr(statement, "value", None)
    return (
        isinstance(statement, ast.Expr) and isinstance(value, ast.Constant) and isinstance(value.value, str)
    )


def _joined(values: list[ast.expr]) -> list[ast.expr]:
    """The pieces of an f-string, neighbouring plain pieces as one: versions cut them differently."""
    pieces: list[ast.expr] = []
    for value in values:
        plain = isinstance(value, ast.Constant)
        if plain and pieces and isinstance(pieces[-1], ast.Constant):
            pieces[-1] = ast.Constant(pieces[-1].value + value.value)
        elif not plain or value.value:
            pieces.append(value)
    return pieces


@lru_cache(maxsize=1024)
def hash_cells(sources: tuple[str, ...]) -> str:
    """The hash of a notebook's code, given the sources of its code cells in order."""
    return digest("\n".join(map(_cell, sources)))


def _cell(source: str) -> str:
    """One cell as text. A closing semicolon counts, since it hides the cell's value."""
    try:
        body = ast.parse(source).body
    except SyntaxError:
        body = _with_magics(source)
    shown = " quiet" if source.rstrip().endswith(";") else ""
    # A text on a cell's first line is a value that is displayed, so here it is no docstring.
    return source if body is None else canonical(body) + shown


def _with_magics(source: str) -> list[ast.stmt] | None:
    """The statements of a cell with magics such as ``%timeit``; None where it is no Python even then."""
    from IPython.core.inputtransformer2 import TransformerManager

    try:
        return ast.parse(TransformerManager().transform_cell(source)).body
    except SyntaxError:
        return None


def hash_file(file: Path | str) -> str:
    """The hash of a Python file's code, or of its bytes where it does not parse."""
    status = Path(file).stat()
    return _hash_file(str(file), status.st_mtime_ns, status.st_size)


@lru_cache(maxsize=4096)
def _hash_file(file: str, modified: int, size: int) -> str:
    content = Path(file).read_bytes()
    try:
        return digest(canonical(ast.parse(content)))
    except (SyntaxError, ValueError):
        return hashlib.sha256(content).hexdigest()[:16]
