"""Tables as HTML and as plain text."""

from __future__ import annotations

import html
from collections.abc import Mapping, Sequence
from numbers import Integral, Real

__all__ = ["Table", "table"]


class Table:
    """A table that shows itself; ``.html`` and ``.text`` hold its two forms."""

    def __init__(self, columns: list[str], cells: list[list[str]], right: list[bool], caption: str | None):
        self.columns, self.caption = columns, caption
        self.html = _html(columns, cells, right, caption)
        self.text = _text(columns, cells, right, caption)

    def __repr__(self) -> str:
        return self.text

    def _repr_mimebundle_(self, include=None, exclude=None) -> dict:
        return {"text/html": self.html, "text/plain": self.text}


def table(rows, *, caption: str | None = None, columns: Sequence[str] | None = None) -> Table:
    """A table from rows, shown as HTML or, in a terminal, as text.

    rows: a sequence of dicts (a missing key leaves the cell empty), a sequence of sequences (then
    ``columns`` names them), or a dict of equally long columns. columns: which, and in what order.
    Numbers are shown to four significant digits; ``None`` as an empty cell.
    Raises ValueError for no rows, for rows or columns of unequal length, and for an unknown column.

    >>> table([{"variant": "resize", "accuracy": 0.81237}, {"variant": "crop", "accuracy": 0.79}])
    variant  accuracy
    -------  --------
    resize     0.8124
    crop         0.79
    """
    names, values = _read(rows, columns)
    right = [all(isinstance(row[i], Real) or row[i] is None for row in values) for i in range(len(names))]
    return Table(names, [[_show(value) for value in row] for row in values], right, caption)


def _read(rows, columns) -> tuple[list[str], list[list]]:
    if isinstance(rows, Mapping):
        lengths = {str(name): len(column) for name, column in rows.items()}
        if len(set(lengths.values())) > 1:
            raise ValueError(f"rows: columns of a dict have one length, got {lengths}")
        rows = [dict(zip(rows, values, strict=True)) for values in zip(*rows.values(), strict=True)]
    rows = list(rows)
    if not rows:
        raise ValueError("rows: a table takes at least one row, got none")
    if isinstance(rows[0], Mapping):
        known = list(dict.fromkeys(name for row in rows for name in row))
        names = known if columns is None else list(columns)
        unknown = [name for name in names if name not in known]
        if unknown:
            raise ValueError(f"columns: no row has {unknown}; the rows have {known}")
        return [str(name) for name in names], [[row.get(name) for name in names] for row in rows]
    if columns is None:
        raise ValueError("columns: rows given as sequences take the columns' names, got None")
    for i, row in enumerate(rows):
        if len(row) != len(columns):
            raise ValueError(f"rows: row {i} has {len(row)} cells, columns has {len(columns)} names")
    return [str(name) for name in columns], [list(row) for row in rows]


def _show(value) -> str:
    if value is None:
        return ""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, Integral):
        return f"{int(value):,}".replace(",", "\N{NARROW NO-BREAK SPACE}")
    if isinstance(value, Real):
        return f"{float(value):.4g}".replace("-", "\N{MINUS SIGN}")
    return str(value)


def _html(columns, cells, right, caption) -> str:
    align = [f' style="padding:2px 12px;text-align:{"right" if r else "left"}"' for r in right]
    head = "".join(f'<th scope="col"{a}>{html.escape(c)}</th>' for a, c in zip(align, columns, strict=True))
    body = "".join(
        "<tr>"
        + "".join(f"<td{a}>{html.escape(cell)}</td>" for a, cell in zip(align, row, strict=True))
        + "</tr>"
        for row in cells
    )
    title = f'<caption style="color:inherit">{html.escape(caption)}</caption>' if caption else ""
    # A wide table scrolls in its own box; the box can be reached and scrolled by keyboard.
    label = html.escape(caption or "Table", quote=True)
    return (
        f'<div style="overflow-x:auto" role="region" tabindex="0" aria-label="{label}">'
        f"<table>{title}<thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>"
    )


def _text(columns, cells, right, caption) -> str:
    widths = [max(len(row[i]) for row in [columns, *cells]) for i in range(len(columns))]
    lines = [columns, ["-" * width for width in widths], *cells]
    text = [
        "  ".join(
            c.rjust(w) if r else c.ljust(w) for c, w, r in zip(line, widths, right, strict=True)
        ).rstrip()
        for line in lines
    ]
    return "\n".join([caption, *text] if caption else text)
