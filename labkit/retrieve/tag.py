r"""TAG, table-augmented generation: a database and a language model answer a question together.

.. math:: \mathrm{syn}(R) \to Q, \qquad \mathrm{exec}(Q) \to T, \qquad \mathrm{gen}(R, T) \to A.

A request :math:`R` is turned into a query :math:`Q`, the query is executed, and an answer is made from the
table :math:`T`. Text2SQL is the case in which gen does nothing, retrieval the one in which exec finds a few
rows. In a hand-written TAG pipeline exec also calls the model, as a semantic operator over *all* rows that
the exact part leaves, and the exact part goes on from there.
Biswal, Patel, Jha, Kamsetty, Liu, Gonzalez, Guestrin, Zaharia (2024). *Text2SQL is Not Enough: Unifying AI
and Databases with TAG.* arXiv:2408.14717; code: TAG-Research/TAG-Bench.

Simplified: what each method makes of a question comes from one parser of templates, which is never wrong.
What TAG is compared with: ``labkit.retrieve.tag_baselines``; questions: ``labkit.retrieve.tag_benchmark``.
"""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, Protocol

import numpy as np

from labkit.retrieve.semantic_operators import SemanticOps
from labkit.retrieve.sql import Database, SQLRefused

__all__ = ["Answer", "Condition", "Plan", "Query", "TAGPipeline", "Table", "Writer", "exact_list_match"]
__all__ += ["from_memory", "hand_written_tag", "identity", "needs_rows", "satisfied"]


class Condition(NamedTuple):
    """The part of a question that no column holds.

    kind: "knows" (ask is a statement about ``{value}``, from the model's knowledge), "states" (ask is what
    the text ``{value}`` is to say), "reads" (ask is the one of ``labels`` that the text is to have) or
    "recalls" (ask is a question, whose answer is a number that the SQL needs).
    """

    kind: str
    ask: str
    labels: tuple[str, ...] = ()


class Plan(NamedTuple):
    """A question in SQL, with a hole where the condition belongs.

    frame: a SELECT of columns ``key`` and ``value``: all rows that the exact part leaves, in the question's
    order.  final: a SELECT of the answer, with ``{where}`` for the hole (``{known}`` for what is recalled).
    key, value: the two columns as ``final`` calls them.  condition: None for a purely relational question.
    """

    frame: str
    final: str
    key: str
    value: str
    condition: Condition | None


class Query(NamedTuple):
    """What syn makes: SQL with its parameters, and the model calls that this took."""

    plan: Plan | None
    sql: str
    parameters: dict[str, Any]
    lm_calls: int


class Table(NamedTuple):
    """What exec gives: rows, the model calls so far, and how many rows a model has seen."""

    query: Query
    rows: list[dict[str, Any]]
    lm_calls: int
    rows_seen: int


class Answer(NamedTuple):
    """value: the list, None where a statement was refused.  lm_calls, rows_seen: what it took."""

    value: list | None
    lm_calls: int
    rows_seen: int


class Writer(Protocol):
    """The model that writes queries: it sees the question and the schema, and no rows."""

    def plan(self, question: str) -> Plan:
        """The question in SQL."""
        ...

    def number(self, question: str) -> tuple[int | None, int]:
        """A number from memory, and the calls it took."""
        ...

    def names(self, statement: str) -> tuple[list[str], int]:
        """For which ``{value}`` a statement is true, from memory."""
        ...

    def words(self, label: str, labels: Sequence[str]) -> tuple[list[str], int]:
        """Words by which a text with this label is found, and none with the others."""
        ...


class TAGPipeline:
    """The three steps: ``syn(question)``, ``exec(query)``, ``gen(question, table)``.

    >>> double = TAGPipeline(lambda r: r, lambda q: 2 * q, lambda r, t: Answer([t], 0, 0))
    >>> double.answer(4).value
    [8]
    """

    def __init__(self, syn: Callable, exec: Callable, gen: Callable):
        self.syn, self.exec, self.gen = syn, exec, gen

    def answer(self, question) -> Answer:
        """Answer one question; a statement that the database refuses gives no answer."""
        try:
            return self.gen(question, self.exec(self.syn(question)))
        except SQLRefused:
            return Answer(None, 0, 0)


def exact_list_match(predicted: Sequence | None, gold: Sequence, *, ordered: bool = True) -> bool:
    """Whether a list is the right one: every item, none besides, and in order where ``ordered``.

    Numbers are compared as numbers, all else as text without white space around it.  None is never right.
    Raises TypeError for a text in the place of a list.

    >>> [exact_list_match(["Ur", "Tir"], ["Tir", "Ur"], ordered=ordered) for ordered in (True, False)]
    [False, True]
    """
    if predicted is None:
        return False
    lists = []
    for name, items in (("predicted", predicted), ("gold", gold)):
        if isinstance(items, str):
            raise TypeError(f"{name} must be a list, got the text {items!r}")
        lists.append([_plain(item) for item in items])
    return lists[0] == lists[1] if ordered else sorted(lists[0]) == sorted(lists[1])


def satisfied(condition: Condition, values: Sequence[str], operators: SemanticOps) -> tuple[list[str], int]:
    """Those of the values that meet a condition, by one semantic operator; and its calls."""
    rows = [{"value": value} for value in values]
    if condition.kind in ("knows", "states"):
        text = "{value}" if condition.kind == "states" else None
        found = operators.sem_filter(rows, condition.ask, text=text)
        return [row["value"] for row in found.rows], found.lm_calls
    found = operators.sem_map(rows, condition.labels, "label", text="{value}")
    return [row["value"] for row in found.rows if row["label"] == condition.ask], found.lm_calls


def hand_written_tag(
    database: Database, writer: Writer, operators: SemanticOps, *, shuffled: np.random.Generator | None = None
) -> TAGPipeline:
    """SQL, then a semantic operator over the distinct values that are left, then SQL again.

    shuffled: a control that makes the same calls, and then gives the verdicts to other values at random.
    """

    def syn(question: str) -> Query:
        plan = writer.plan(question)
        return from_memory(plan, writer) or Query(plan, plan.frame, {}, 0)

    def execute(query: Query) -> Table:
        plan, seen, calls = query.plan, 0, query.lm_calls
        if needs_rows(plan):
            values = database.query(f"SELECT DISTINCT value FROM ({plan.frame}) ORDER BY value").first()
            kept, more = satisfied(plan.condition, values, operators)
            if shuffled is not None:
                kept = [values[i] for i in shuffled.permutation(len(values))[: len(kept)]]
            seen, calls = len(values), calls + more
            where = f"list_contains($kept, {plan.value})"
            query = Query(plan, plan.final.format(where=where), {"kept": kept}, calls)
        return Table(query, database.query(query.sql, query.parameters).records(), calls, seen)

    return TAGPipeline(syn, execute, identity)


def needs_rows(plan: Plan) -> bool:
    """Whether rows have to be judged."""
    return plan.condition is not None and plan.condition.kind != "recalls"


def from_memory(plan: Plan, writer: Writer) -> Query | None:
    """The query of a question that is relational, once a number is remembered; None for all others."""
    if needs_rows(plan):
        return None
    known, calls = (None, 0) if plan.condition is None else writer.number(plan.condition.ask)
    return Query(plan, plan.final.format(where="TRUE", known="NULL" if known is None else known), {}, calls)


def identity(_question: str, table: Table) -> Answer:
    """The gen that adds nothing: the first column is the answer."""
    value = [next(iter(row.values())) for row in table.rows]
    return Answer(value, table.lm_calls, table.rows_seen)


def _plain(item) -> str:
    number = isinstance(item, int | float) and not isinstance(item, bool)
    return f"{float(item):.9g}" if number else str(item).strip()
