"""A guarded SQL engine for statements that a language model wrote: reading only, no files, bounded.

The engine is ``duckdb``, in memory. One statement at a time is let through, and only if the engine's own
parser says that it is a SELECT that calls no functions but those of ``FUNCTIONS``. The connection has no
access to files, networks, extensions or Python variables, and its settings are locked. A timer interrupts
what takes too long; results and memory are bounded.

The list of functions is needed beside the limits: ``repeat('x', 2000000000)`` is a single value, built in
one piece that no timer interrupts, outside the memory that is counted.
"""

import json
import threading
from collections.abc import Iterator, Mapping, Sequence
from importlib import import_module
from typing import Any, NamedTuple

from labkit.data.build import check_count, real

__all__ = ["Database", "Result", "SQLRefused"]

SETTINGS = {
    "enable_external_access": "false",
    "autoload_known_extensions": "false",
    "autoinstall_known_extensions": "false",
    "python_enable_replacements": "false",  # else FROM name would read a variable of the caller
    "threads": "1",
}

#: What a statement may call; operators are functions to the parser, ``~~`` is LIKE. None of them reads
#: anything but its arguments, or makes a long value of short ones.
FUNCTIONS = frozenset([
    "+", "-", "*", "/", "//", "%", "~~", "!~~", "~~*", "!~~*", "abs", "any_value", "arg_max", "arg_min",
    "avg", "coalesce", "contains", "count", "count_star", "dense_rank", "ends_with", "first",
    "greatest", "last", "least", "length", "list_contains", "lower", "max", "median", "min", "mode",
    "nullif", "prefix", "rank", "round", "row_number", "starts_with", "stddev", "strlen", "substr",
    "substring", "sum", "trim", "upper",
])  # fmt: skip


class SQLRefused(ValueError):
    """A statement that was not run, or not to its end; the message says why."""


class Result(NamedTuple):
    """What a statement gave.  columns: names.  rows: tuples in the order of the statement."""

    columns: list[str]
    rows: list[tuple]

    def records(self) -> list[dict[str, Any]]:
        """One dictionary per row."""
        return [dict(zip(self.columns, row, strict=True)) for row in self.rows]

    def first(self) -> list:
        """The first column, as a list."""
        return [row[0] for row in self.rows]


class Database:
    """Tables that can be asked in SQL, and not changed.

    tables: name -> column -> values, all columns of a table equally long, as ``World.tables()`` has them.
    A column with a float in it is a DOUBLE, one with an integer a BIGINT, all others are VARCHAR; None is
    NULL.
    seconds: for one statement, above 0.  rows: the most that one may return.  megabytes: of memory.
    Raises ValueError for names that are no SQL identifiers, columns of unequal length and numbers out of
    range, ModuleNotFoundError without duckdb.

    >>> here = Database({"city": {"name": ["Tir", "Ur"], "people": [7, 9]}})
    >>> here.query("SELECT name FROM city WHERE people > $least", {"least": 8}).first()
    ['Ur']
    """

    def __init__(
        self,
        tables: Mapping[str, Mapping[str, Sequence]],
        *,
        seconds: float = 2.0,
        rows: int = 10_000,
        megabytes: int = 256,
    ):
        self.seconds = real("seconds", seconds, 1e-3, 3600)
        self.rows = check_count("rows", rows)
        check_count("megabytes", megabytes, low=16)
        for name in [*tables, *(column for columns in tables.values() for column in columns)]:
            if not name.isidentifier():
                raise ValueError(f"tables: {name!r} is no SQL identifier")
        self._duckdb = _package()
        limits = {"memory_limit": f"{megabytes}MB", "temp_directory": ""}
        self._open = self._duckdb.connect(":memory:", config=limits)
        for name, value in SETTINGS.items():
            self._open.execute(f"SET {name} = {value}")
        self._checked: set[str] = set()
        self.schema: dict[str, tuple[str, ...]] = {}
        for table, columns in tables.items():
            self._write(table, columns)
        self._open.execute("SET lock_configuration = true")

    def _write(self, table: str, columns: Mapping[str, Sequence]) -> None:
        lengths = sorted({len(values) for values in columns.values()})
        if len(lengths) != 1:
            raise ValueError(f"tables: the columns of {table} must be equally long, they have {lengths}")
        types = [_type(values) for values in columns.values()]
        named = ", ".join(f'"{name}" {kind}' for name, kind in zip(columns, types, strict=True))
        self._open.execute(f'CREATE TABLE "{table}" ({named})')
        lists = ", ".join(f"unnest(?::{kind}[])" for kind in types)
        self._open.execute(f'INSERT INTO "{table}" SELECT {lists}', [list(c) for c in columns.values()])
        self.schema[table] = tuple(columns)

    def check(self, sql: str) -> None:
        """Raise SQLRefused unless the text is one SELECT, by the parser, that calls FUNCTIONS alone."""
        try:
            statements = self._open.extract_statements(sql)
        except self._duckdb.Error as error:
            raise SQLRefused(f"this is no SQL: {_line(error)}") from None
        if len(statements) != 1:
            raise SQLRefused(f"one statement at a time, got {len(statements)}")
        kind = statements[0].type
        if kind != self._duckdb.StatementType.SELECT:
            raise SQLRefused(f"only SELECT may be run, this is {kind.name}")
        tree = json.loads(self._open.execute("SELECT json_serialize_sql($sql)", {"sql": sql}).fetchone()[0])
        if tree.get("error"):
            raise SQLRefused(f"this kind of SELECT is not run: {tree.get('error_message', sql)}")
        for name in _called(tree):
            if name not in FUNCTIONS:
                raise SQLRefused(f"the function {name} may not be called")

    def query(self, sql: str, parameters: Mapping[str, Any] | None = None) -> Result:
        """Run one SELECT, with values for its ``$name`` parameters.

        Raises SQLRefused for all else: several statements, another kind, unknown names, files, more time,
        rows or memory than allowed. The database answers the next statement as before.
        """
        if sql not in self._checked:
            self.check(sql)
            self._checked.add(sql)
        timer = threading.Timer(self.seconds, self._open.interrupt)
        timer.start()
        try:
            # Read in pieces: a result without end is never held whole.
            found = self._open.execute(sql, dict(parameters) if parameters else None)
            rows = found.fetchmany(self.rows + 1)
        except self._duckdb.InterruptException:
            raise SQLRefused(f"took longer than {self.seconds:g} seconds") from None
        except self._duckdb.Error as error:
            raise SQLRefused(_line(error)) from None
        finally:
            timer.cancel()
            timer.join()
        if len(rows) > self.rows:
            raise SQLRefused(f"more than {self.rows} rows")
        return Result([column[0] for column in found.description], rows)


def _type(values: Sequence) -> str:
    for kind, name in ((float, "DOUBLE"), (int, "BIGINT")):
        if any(isinstance(value, kind) for value in values):
            return name
    return "VARCHAR"


def _called(node) -> Iterator[str]:
    """The names of all functions in a parsed statement, those in its FROM among them."""
    if isinstance(node, dict):
        if "function_name" in node:
            yield node["function_name"].lower()
        node = list(node.values())
    if isinstance(node, list):
        for each in node:
            yield from _called(each)


def _line(error: Exception) -> str:
    return str(error).partition("\n")[0]


def _package():
    try:
        return import_module("duckdb")
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError(
            "the database needs the package duckdb: pip install duckdb", name="duckdb"
        ) from error
