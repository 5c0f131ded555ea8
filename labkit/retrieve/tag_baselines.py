"""What TAG is compared with: one SQL statement, SQL and a reader, retrieved rows and a reader.

All are :class:`labkit.retrieve.tag.TAGPipeline`. The reader judges every row that it is given just as the
semantic operators would, may overlook rows, and filters, counts, sorts and adds the others without error. One
that overlooks nothing differs from TAG only in the rows that it gets to see; real models are worse.
"""

from typing import NamedTuple

from labkit.data.build import check_count, check_seed, real, stream
from labkit.retrieval.indexes import BM25Index
from labkit.retrieve.semantic_operators import SemanticOps
from labkit.retrieve.sql import Database
from labkit.retrieve.tag import (
    Answer,
    Plan,
    Query,
    Table,
    TAGPipeline,
    Writer,
    from_memory,
    identity,
    needs_rows,
    satisfied,
)

__all__ = ["Reader", "row_rag", "text2sql", "text2sql_lm"]


class Reader(NamedTuple):
    """The model that answers from rows: a stand-in, see the module.

    operators: with which it judges.  overlook: the probability in [0, 1] that it passes over a row; drawn
    from ``seed`` for each row of each question.
    """

    operators: SemanticOps
    overlook: float = 0.0
    seed: int = 0

    def read(self, database: Database, writer: Writer, plan: Plan, keys: list[str], calls: int) -> Answer:
        """The answer as it would be if the rows with these keys were all there are."""
        real("overlook", self.overlook, 0, 1)
        check_seed(self.seed)
        draws = stream(self.seed, "tag", "overlook", plan.final).random(len(keys))
        noticed = [key for key, draw in zip(keys, draws, strict=True) if draw >= self.overlook]
        where, parameters, known = f"list_contains($keys, {plan.key})", {"keys": noticed}, None
        if needs_rows(plan):
            values = list(dict.fromkeys(_held(database, plan, noticed).values()))
            parameters["kept"], _ = satisfied(plan.condition, values, self.operators)
            where += f" AND list_contains($kept, {plan.value})"
        elif plan.condition is not None:
            known, _ = writer.number(plan.condition.ask)
        sql = plan.final.format(where=where, known="NULL" if known is None else known)
        return Answer(database.query(sql, parameters).first(), calls, len(keys))


def text2sql(database: Database, writer: Writer) -> TAGPipeline:
    """One SQL statement; its result is the answer.

    What the writer knows goes into the statement: names that it remembers as ``IN (...)``, words that it
    would expect in a text as ``LIKE``.
    """

    def syn(question: str) -> Query:
        plan = writer.plan(question)
        if not needs_rows(plan):
            return from_memory(plan, writer)
        if plan.condition.kind == "knows":
            names, calls = writer.names(plan.condition.ask)
            where = f"{plan.value} IN ({', '.join(map(_quoted, names))})" if names else "FALSE"
        else:
            words, calls = writer.words(plan.condition.ask, plan.condition.labels)
            likes = [f"{plan.value} LIKE {_quoted(f'%{word}%')}" for word in words]
            where = f"({' OR '.join(likes)})" if likes else "FALSE"
        return Query(plan, plan.final.format(where=where), {}, calls)

    def execute(query: Query) -> Table:
        return Table(query, database.query(query.sql).records(), query.lm_calls, 0)

    return TAGPipeline(syn, execute, identity)


def text2sql_lm(database: Database, writer: Writer, reader: Reader, *, context: int = 20) -> TAGPipeline:
    """SQL fetches the rows that a question is about, in its order; a model answers from the first of them.

    context: how many rows it reads, from 1 up.  The reader counts as one call.
    """
    check_count("context", context)

    def syn(question: str) -> Query:
        plan = writer.plan(question)
        return from_memory(plan, writer) or Query(plan, plan.frame, {}, 1)

    def execute(query: Query) -> Table:
        rows = database.query(query.sql).records()
        if needs_rows(query.plan):
            rows = rows[:context]
        return Table(query, rows, query.lm_calls + 1, len(rows))

    def gen(question: str, table: Table) -> Answer:
        if not needs_rows(table.query.plan):
            return identity(question, table)
        keys = [row["key"] for row in table.rows]
        return reader.read(database, writer, table.query.plan, keys, table.lm_calls)

    return TAGPipeline(syn, execute, gen)


def row_rag(
    database: Database,
    writer: Writer,
    reader: Reader,
    rows: dict[str, str],
    *,
    k: int = 5,
    rerank: int | None = None,
) -> TAGPipeline:
    """The k rows nearest to the question, by BM25, and the same reader.

    rows: key -> the row as text.  rerank: of so many rows the model first says which are relevant; these
    come first. A row is relevant if it meets the condition; that is one call per row.
    """
    keys, index = list(rows), BM25Index(list(rows.values()))
    check_count("k", k, high=len(keys))
    check_count("rerank", k if rerank is None else rerank, low=k)

    def syn(question: str) -> Query:
        return Query(writer.plan(question), question, {}, 0)

    def execute(query: Query) -> Table:
        count = min(rerank or k, len(keys))
        found = [keys[place] for place in index.search([query.sql], k=count).ids[0]]
        calls = 0
        if rerank is not None and needs_rows(query.plan):
            held = _held(database, query.plan, found)
            kept, _ = satisfied(query.plan.condition, list(dict.fromkeys(held.values())), reader.operators)
            found.sort(key=lambda key: held.get(key) not in kept)  # stable: BM25's order among equals
            calls = count
        return Table(query, [{"key": key} for key in found[:k]], calls, count)

    def gen(question: str, table: Table) -> Answer:
        keys = [row["key"] for row in table.rows]
        answer = reader.read(database, writer, table.query.plan, keys, table.lm_calls + 1)
        return answer._replace(rows_seen=table.rows_seen)

    return TAGPipeline(syn, execute, gen)


def _held(database: Database, plan: Plan, keys: list[str]) -> dict[str, str]:
    """key -> value of those rows of the frame that have one of the keys."""
    sql = f"SELECT key, value FROM ({plan.frame}) WHERE list_contains($keys, key)"
    return dict(database.query(sql, {"keys": keys}).rows)


def _quoted(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"
