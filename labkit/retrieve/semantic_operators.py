"""Semantic operators: filter, map, top-k and aggregate by a language model, over the rows of a table.

They take rows (dictionaries) and any role of ``labkit.llm``. Each writes one prompt per row, asks every
distinct prompt once, and reports how many were asked: what is judged is usually a column with few distinct
values, so that calls are saved by asking before the join, not after it.
After LOTUS (Patel and others, 2024, arXiv:2407.11418), on which the hand-written pipelines of
``labkit.retrieve.tag`` are modelled.
"""

import math
import re
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from labkit.data.build import check_count
from labkit.llm import LLM, prompts

__all__ = ["Aggregated", "Semantic", "SemanticOps", "fill"]

Row = Mapping[str, Any]


class Semantic(NamedTuple):
    """Rows, and what they cost.

    rows: dictionaries, new ones where a column was added.  confidence: for each of them the probability of
    the reply, in [0, 1], NaN where the model tells none or none belongs to the row.  lm_calls: distinct
    prompts that were asked.
    """

    rows: list[dict[str, Any]]
    confidence: list[float]
    lm_calls: int


class Aggregated(NamedTuple):
    """One text for many rows, and the calls it took."""

    text: str
    lm_calls: int


class SemanticOps:
    """The operators over one language model.

    lm: any role.  It must follow the instructions ``judge``, ``classify`` and ``answer`` of
    ``labkit.llm.prompts``; those of them that are used.

    >>> from labkit.llm import oracle
    >>> notes = {"Nobur": "Nobur is known for wine.", "Dudal": "Dudal is known for tea."}
    >>> rows = [{"city": city, "note": note} for city, note in notes.items()]
    >>> found = SemanticOps(oracle()).sem_filter(rows, "{city} is known for wine.", text="{note}")
    >>> [row["city"] for row in found.rows], found.lm_calls
    (['Nobur'], 2)
    """

    def __init__(self, lm: LLM):
        self.lm = lm

    def sem_filter(self, rows: Sequence[Row], statement: str, *, text: str | None = None) -> Semantic:
        """Keep the rows of which the model says that the statement is true, in their order.

        statement, text: templates over the columns.  text: what is judged by; None for the columns that the
        statement names, so that the model has to know the rest.
        Raises ValueError for a column that the rows do not have.
        """
        if text is None:
            text = "; ".join(f"{name}: {{{name}}}" for name in _names(statement)) or statement
        asked = [prompts.judge(fill(text, row), fill(statement, row)) for row in rows]
        replies, calls = self._ask(asked, "judge")
        kept = [(dict(row), sure) for row, (said, sure) in zip(rows, replies, strict=True) if said]
        return Semantic([row for row, _ in kept], [sure for _, sure in kept], calls)

    def sem_map(self, rows: Sequence[Row], labels: Sequence[str], name: str, *, text: str) -> Semantic:
        """Add a column: which of the labels fits the text best; None where the reply is none of them.

        Raises ValueError for a column that the rows do not have, or a name that they have already.
        """
        if any(name in row for row in rows):
            raise ValueError(f"name {name!r}: the rows have such a column already")
        asked = [prompts.classify(fill(text, row), labels) for row in rows]
        replies, calls = self._ask(asked, "classify")
        known = {label.lower(): label for label in labels}
        mapped = [
            {**row, name: known.get(said.lower())} for row, (said, _) in zip(rows, replies, strict=True)
        ]
        return Semantic(mapped, [sure for _, sure in replies], calls)

    def sem_topk(self, rows: Sequence[Row], criterion: str, k: int, *, text: str) -> Semantic:
        """The k rows that meet a criterion best, best first, by comparing pairs.

        criterion: what is compared, such as "more technical". Quickselect in rounds, so that all pairs of a
        round are asked together: about 2 n comparisons for n rows, and k log k to sort those chosen.
        Rows with one text tie and keep their order.  Raises ValueError for no rows, k outside
        [1, number of rows], or an unknown column.
        """
        if not rows:
            raise ValueError("sem_topk needs one row or more, got none")
        check_count("k", k, high=len(rows))
        texts, calls = [fill(text, row) for row in rows], 0

        def split(group: list[int]) -> tuple[list[int], int, list[int]]:
            """Those above the pivot, the pivot, and those below."""
            nonlocal calls
            pivot, *others = sorted(group, key=lambda place: (place != group[len(group) // 2], place))
            told = {}
            unequal = [place for place in others if texts[place] != texts[pivot]]
            asked = [_pair(criterion, texts[place], texts[pivot]) for place in unequal]
            replies, count = self._ask(asked, "classify")
            calls += count
            for place, (said, _) in zip(unequal, replies, strict=True):
                told[place] = said.lower() == "first"
            above = [place for place in others if told.get(place, place < pivot)]
            return above, pivot, [place for place in others if place not in above]

        def best(group: list[int], count: int) -> list[int]:
            if count <= 0 or not group:
                return []
            above, pivot, below = split(group)
            return [*best(above, count), pivot, *best(below, count - len(above) - 1)][:count]

        chosen = best(list(range(len(rows))), k)
        return Semantic([dict(rows[place]) for place in chosen], [math.nan] * k, calls)

    def sem_agg(self, rows: Sequence[Row], question: str, *, text: str) -> Aggregated:
        """One answer over all rows: a tree of calls, each over as many texts as one prompt takes.

        A level's answers are the next level's texts; "unknown" is left out, and the only answer that is left
        is the result.  No rows: unknown, without a call.
        """
        texts, calls = [fill(text, row) for row in rows], 0
        while texts:
            groups = [texts[i : i + prompts.PASSAGES] for i in range(0, len(texts), prompts.PASSAGES)]
            replies, count = self._ask([prompts.answer(question, group) for group in groups], "answer")
            calls += count
            texts = [said for said, _ in replies if said != prompts.UNKNOWN]
            if len(set(texts)) == 1 or len(groups) == 1:
                return Aggregated(texts[0] if texts else prompts.UNKNOWN, calls)
        return Aggregated(prompts.UNKNOWN, calls)

    def _ask(self, asked: list[str], instruction: str) -> tuple[list[tuple[Any, float]], int]:
        """(what the reply says, its probability) for each prompt; the number of distinct prompts."""
        distinct = list(dict.fromkeys(asked))
        kind = prompts.INSTRUCTIONS[instruction]
        done = self.lm.complete(distinct, max_tokens=kind.max_tokens) if distinct else []
        said = {}
        for prompt, each in zip(distinct, done, strict=True):
            sure = math.nan if each.logprobs is None else math.exp(sum(each.logprobs))
            said[prompt] = (kind.parse(each.text), sure)
        return [said[prompt] for prompt in asked], len(distinct)


def fill(template: str, row: Row) -> str:
    """A template with a row's values in the place of its {columns}.

    Raises ValueError, with the columns that there are, for one that the row does not have.

    >>> fill("{city} lies on the coast.", {"city": "Tir"})
    'Tir lies on the coast.'
    """
    for name in _names(template):
        if name not in row:
            raise ValueError(f"template {template!r}: no column {name!r}; the rows have {', '.join(row)}")
    return re.sub(r"\{(\w+)\}", lambda found: str(row[found[1]]), template)


def _names(template: str) -> list[str]:
    return list(dict.fromkeys(re.findall(r"\{(\w+)\}", template)))


def _pair(criterion: str, first: str, second: str) -> str:
    return prompts.classify(f"Which is {criterion}?\nfirst: {first}\nsecond: {second}", ["first", "second"])
