"""The source of a function or class: its key lines shown, the whole folded below."""

from __future__ import annotations

import html
import inspect
import textwrap
from collections.abc import Sequence
from pathlib import Path

__all__ = ["Source", "source"]


class Source:
    """Source code that shows itself as Markdown: what every notebook viewer highlights."""

    def __init__(self, excerpt: str, markdown: str):
        self.text, self.markdown = excerpt, markdown

    def __repr__(self) -> str:
        return self.text

    def _repr_mimebundle_(self, include=None, exclude=None) -> dict:
        return {"text/markdown": self.markdown, "text/plain": self.text}


def source(obj, lines: str | Sequence[str] | tuple[int, int] | None = None) -> Source:
    """The source code of ``obj``, highlighted; with ``lines``, only those, and all of it folded below.

    obj: a function, method or class written in Python.  lines: a text, or a list of them: each line of
    code that holds one is shown (docstrings are not searched); or (first, last), both counted from 1
    in the source of ``obj``. The signature is always shown; ``...`` stands for lines left out.
    Raises TypeError where ``obj`` has no Python source, ValueError where no line holds a text or the
    numbers are not 1 <= first <= last <= number of lines.

    >>> from labkit.show import table
    >>> print(source(table, lines="_read("))
    def table(rows, *, caption: str | None = None, columns: Sequence[str] | None = None) -> Table:
        ...
        names, values = _read(rows, columns)
        ...
    """
    name, code = getattr(obj, "__qualname__", repr(obj)), _source_of(obj)
    fence = "`" * 3 if "```" not in code else "`" * 5
    if lines is None:
        return Source(code, f"{fence}python\n{code}\n{fence}")
    numbered = code.split("\n")
    head, documentation = _structure(code)
    excerpt = _excerpt(numbered, head, _chosen(lines, numbered, head, documentation, name))
    file = _file_of(obj)
    summary = f"All {len(numbered)} lines of <code>{html.escape(name)}</code>{file}"
    folded = f"<details><summary>{summary}</summary>\n{_highlighted(code)}\n</details>"
    return Source(excerpt, f"{fence}python\n{excerpt}\n{fence}\n\n{folded}")


def _source_of(obj) -> str:
    try:
        code = inspect.getsource(inspect.unwrap(obj) if callable(obj) else obj)
    except (TypeError, OSError) as error:
        message = f"obj: takes a function or class written in Python, got {obj!r} ({error})"
        raise TypeError(message) from error
    return textwrap.dedent(code).rstrip("\n")


def _file_of(obj) -> str:
    """Where the source lies, from the package on; nothing for code of a notebook."""
    parts = Path(inspect.getsourcefile(inspect.unwrap(obj)) or "").parts
    if "labkit" not in parts:
        return ""
    start = len(parts) - 1 - parts[::-1].index("labkit")
    return f" (<code>{html.escape('/'.join(parts[start:]))}</code>)"


def _structure(code: str) -> tuple[int, range]:
    """The number of lines up to the end of the signature, and the lines of the docstring, from 0."""
    import ast

    try:
        node = ast.parse(code).body[0]
    except SyntaxError:  # a lambda cut out of the middle of an expression
        return 0, range(0)
    body = getattr(node, "body", None)
    if not isinstance(body, list):
        return 0, range(0)
    first = body[0]
    is_text = isinstance(first, ast.Expr) and isinstance(first.value, ast.Constant)
    if is_text and isinstance(first.value.value, str):
        return first.lineno - 1, range(first.lineno - 1, first.end_lineno)
    return first.lineno - 1, range(0)


def _chosen(lines, numbered: list[str], head: int, documentation: range, name: str) -> set[int]:
    """The numbers of the lines to show, from 0."""
    if isinstance(lines, tuple) and len(lines) == 2 and all(isinstance(end, int) for end in lines):
        first, last = lines
        if not 1 <= first <= last <= len(numbered):
            raise ValueError(f"lines: takes 1 <= first <= last <= {len(numbered)} for {name}, got {lines}")
        return set(range(first - 1, last))
    texts = [lines] if isinstance(lines, str) else lines
    if not isinstance(texts, (list, tuple)) or not texts or not all(isinstance(t, str) and t for t in texts):
        raise TypeError(f"lines: takes a text, a list of texts or two whole numbers, got {lines!r}")
    chosen: set[int] = set()
    for text in texts:
        found = {
            i for i, line in enumerate(numbered) if text in line and i >= head and i not in documentation
        }
        if not found:
            raise ValueError(f"lines: no line of code in {name} holds {text!r}")
        chosen |= found
    return chosen


def _excerpt(numbered: list[str], head: int, chosen: set[int]) -> str:
    shown = sorted(chosen | set(range(head)))
    result, previous = [], -1
    for i in [*shown, len(numbered)]:
        left_out = [line for line in numbered[previous + 1 : i] if line.strip()]
        if left_out:
            # Indented as the first line left out: so the excerpt still reads as Python.
            result.append(" " * (len(left_out[0]) - len(left_out[0].lstrip())) + "...")
        if i < len(numbered):
            result.append(numbered[i])
        previous = i
    return "\n".join(result)


def _highlighted(code: str) -> str:
    """HTML with the class names of Pygments, which the book's style sheet colours in light and dark.

    Viewers without that style sheet show it in one colour. It must hold no empty line, since one would
    end the block of HTML in Markdown.
    """
    from pygments import highlight
    from pygments.formatters import HtmlFormatter
    from pygments.lexers import PythonLexer

    body = highlight(code, PythonLexer(), HtmlFormatter(nowrap=True)).rstrip("\n")
    filled = "\n".join(line if line.strip() else "<span></span>" for line in body.split("\n"))
    return f'<div class="highlight"><pre>{filled}</pre></div>'
