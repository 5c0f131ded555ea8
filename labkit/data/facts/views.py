"""What tasks need of a world: documents, questions with evidence, tables, histories, reports, pairs."""

from collections.abc import Iterable
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from labkit.data import build
from labkit.data.facts import grammar
from labkit.data.facts.asking import question
from labkit.data.facts.names import KINDS
from labkit.data.facts.relations import RELATIONS, YEARS, Fact

if TYPE_CHECKING:
    import sqlite3

    from labkit.data.facts.worlds import World

__all__ = [
    "Document",
    "Evidence",
    "Pair",
    "Report",
    "documents",
    "evidence",
    "history",
    "pairs",
    "reports",
    "to_sqlite",
]


class Document(NamedTuple):
    """title: the entity it is about. text. statements: as :func:`~labkit.data.facts.passage` has them."""

    title: str
    text: str
    statements: list[grammar.Statement]


class Evidence(NamedTuple):
    """A question whose answer stands in a context.

    answer_start, answer_end: characters of the answer in the context; start, end: of the sentence
    that says so.
    """

    question: str
    answer: str
    context: str
    answer_start: int
    answer_end: int
    start: int
    end: int
    fact: Fact


class Report(NamedTuple):
    """What one source says about a fact. ``said`` is what the text states, ``true`` whether it is so."""

    text: str
    source: str
    said: Fact
    true: bool


class Pair(NamedTuple):
    """A question and a passage. ``right``: whether the passage states the fact that is asked for."""

    query: str
    passage: str
    fact: Fact
    stated: Fact
    right: bool


def documents(
    here: "World",
    *,
    facts: Iterable[Fact] | None = None,
    kinds: tuple[str, ...] = KINDS,
    most: int | None = None,
    rng: np.random.Generator,
    **writing,
) -> list[Document]:
    """One document for each entity that is the subject of a fact, its facts in random order.

    facts: None for all of the world's. kinds: of the entities. most: the largest number of facts in one
    document, None for all. writing: ``style``, ``language``, ``inverse``, ``reference`` of
    :func:`~labkit.data.facts.document`.
    """
    grouped: dict[str, list[Fact]] = {}
    for fact in here.facts if facts is None else facts:
        grouped.setdefault(fact.subject, []).append(fact)
    out = []
    for name, group in grouped.items():
        if here.entities[name] in kinds:
            order = [group[i] for i in rng.permutation(len(group))][:most]
            out.append(Document(name, *grammar.passage(order, rng=rng, **writing)))
    return out


def evidence(document: Document | grammar.Passage, *, ask: str = "object", rng, language: str = "english"):
    """One question for each statement of a document whose answer it names: a list of Evidence.

    A sentence that refers to its subject without the name ("this city") answers no question for it.
    """
    out = []
    for statement in document.statements:
        asked = question(statement.fact, ask=ask, language=language, rng=rng)
        sentence = document.text[statement.start : statement.end]
        words = grammar.places(sentence)
        place = next((start for word, start in words if word == asked.answer), None)
        if statement.year is not None and place is not None:  # the year in front is not the answer
            later = [start for word, start in words[2:] if word == asked.answer]
            place = later[0] if later else None
        if place is not None:
            start = statement.start + place
            span = (start, start + len(asked.answer), statement.start, statement.end)
            out.append(Evidence(asked.text, asked.answer, document.text, *span, statement.fact))
    return out


def tables(here: "World") -> dict[str, dict[str, list]]:
    """The world as tables of a data base: kind -> column -> values, one row for each entity.

    A column for each relation with one object ("name" first), None where there is none; years and
    amounts are integers. What companies make is the column ``maker`` of products.
    """
    rows: dict[tuple[str, str], str] = {}
    for fact in here.facts:
        if fact.relation == "makes":
            rows[fact.object, "maker"] = fact.subject
        else:
            rows[fact.subject, fact.relation] = fact.object
    out: dict[str, dict[str, list]] = {}
    for kind in KINDS:
        names = here.named(kind)
        columns = [name for name, each in RELATIONS.items() if each.subject_kind == kind and each.one_object]
        columns += ["maker"] if kind == "product" else []
        out[kind] = {"name": names}
        for column in columns:
            number = column != "maker" and RELATIONS[column].object_kind in ("year", "amount")
            values = [rows.get((name, column)) for name in names]
            out[kind][column] = [int(v) if number and v is not None else v for v in values]
    return out


def to_sqlite(tables: dict[str, dict[str, list]], connection: "sqlite3.Connection") -> None:
    """Write tables into a data base of the standard library's sqlite3."""
    for table, columns in tables.items():
        types = [
            f'"{name}" {"INTEGER" if any(isinstance(v, int) for v in values) else "TEXT"}'
            for name, values in columns.items()
        ]
        connection.execute(f'CREATE TABLE "{table}" ({", ".join(types)})')
        marks = ", ".join("?" * len(columns))
        rows = zip(*columns.values(), strict=True)
        connection.executemany(f'INSERT INTO "{table}" VALUES ({marks})', rows)
    connection.commit()


def history(here: "World", *, changes: int = 2, rng: np.random.Generator) -> list[tuple[Fact, str]]:
    """(fact, year from which it held), in the order of years, for the relations that change.

    Every such fact of the world gets ``changes`` earlier versions with other objects; the last is the
    world's own.
    """
    changes = build.check_count("changes", changes, low=0, high=20)
    out = []
    for fact in here.facts:
        if RELATIONS[fact.relation].dated:
            others = [each for each in here.candidates(fact) if each not in (fact.object, fact.subject)]
            if len(others) < changes:
                raise ValueError(f"{changes} changes of {fact} need as many other objects, not {len(others)}")
            earlier = [others[i] for i in rng.permutation(len(others))[:changes]]
            years = sorted(YEARS[i] for i in rng.permutation(len(YEARS))[: changes + 1])
            out += [
                (fact._replace(object=thing), year)
                for thing, year in zip([*earlier, fact.object], years, strict=True)
            ]
    return sorted(out, key=lambda dated: dated[1])


def reports(
    here: "World",
    fact: Fact,
    sources: dict[str, float],
    *,
    count: int = 5,
    agree: bool = True,
    wrong: int = 3,
    rng: np.random.Generator,
    **writing,
) -> list[Report]:
    """What different sources say about one fact.

    sources: name -> reliability, the probability of stating the truth. count: how many of them speak,
    drawn without repetition. agree: all false reports state the same wrong object; else one of ``wrong``.
    writing: as for :func:`~labkit.data.facts.say`.
    """
    count = build.check_count("count", count, high=len(sources))
    others = [each for each in here.candidates(fact) if each not in (fact.object, fact.subject)]
    wrong = 1 if agree else build.check_count("wrong", wrong)
    if len(others) < wrong:
        raise ValueError(f"{fact} has {len(others)} other objects in this world, fewer than wrong={wrong}")
    false = [others[i] for i in rng.permutation(len(others))[:wrong]]
    names = list(sources)
    out = []
    for i in rng.permutation(len(names))[:count]:
        true = bool(rng.random() < build.real("reliability", sources[names[i]], 0, 1))
        said = fact if true else fact._replace(object=false[rng.integers(wrong)])
        out.append(Report(grammar.say(said, rng=rng, **writing), names[i], said, true))
    return out


def pairs(
    here: "World",
    count: int,
    *,
    noise: float = 0.3,
    aliases: dict[str, tuple[str, ...]] | None = None,
    facts: list[Fact] | None = None,
    styles: tuple[str, ...] = ("plain", "encyclopedia", "dialogue"),
    rng: np.random.Generator,
) -> list[Pair]:
    """Questions with passages as they are mined: some passages state another fact.

    noise: the probability of a wrong passage, drawn from all other facts. aliases: further names
    (:meth:`World.aliases`): the passage then calls its entities by one of all their names.
    """
    count = build.check_count("count", count)
    noise = build.real("noise", noise, 0, 1)
    pool = here.facts if facts is None else facts
    if len(pool) < 2:
        raise ValueError(f"pairs need two facts or more, got {len(pool)}")
    out = []
    for _ in range(count):
        i = int(rng.integers(len(pool)))
        right = bool(rng.random() >= noise)
        j = i if right else int((i + rng.integers(1, len(pool))) % len(pool))
        style = styles[rng.integers(len(styles))]
        renamed = pool[j]
        if aliases is not None:
            renamed = Fact(
                _alias(pool[j].subject, aliases, rng), pool[j].relation, _alias(pool[j].object, aliases, rng)
            )
        text = grammar.say(renamed, style=style, inverse=rng.random() < 0.5, rng=rng)
        out.append(Pair(question(pool[i], rng=rng).text, text, pool[i], pool[j], right))
    return out


def _alias(name: str, aliases: dict[str, tuple[str, ...]], rng: np.random.Generator) -> str:
    known = (name, *aliases.get(name, ()))
    return known[rng.integers(len(known))]
