"""Questions over the tables of a ``facts`` world that need what no column holds, and their exact answers.

As in TAG-Bench (Biswal and others, 2024) there are four types, match, comparison, ranking and aggregation,
and half of the questions need knowledge, half reasoning over text. The tables lack one column, what a city
is known for; a model that has read of the cities knows it (``labkit.retrieve.tag_roles``). They have another
one that SQL can only search for letters: a note on each product, about one of eight topics.
"""

import re
from typing import NamedTuple

import numpy as np

from labkit.data import facts
from labkit.data.build import check_count, stream
from labkit.retrieve.sql import Database
from labkit.retrieve.tag import Condition, Plan

__all__ = ["GROUPS", "Market", "Question", "make_tag_bench", "market", "parse"]

TYPES = ("match", "comparison", "ranking", "aggregation")
GROUPS = tuple((kind, needs) for needs in ("knowledge", "reasoning", "relations") for kind in TYPES)
COMPANIES = "FROM company c WHERE c.founded > {year}"
PRODUCTS = "FROM product p JOIN company c ON p.maker = c.name WHERE p.costs > {coins}"
SORTED = "FROM product p WHERE p.kind_of = '{sort}'"
# (type, needs) -> the question, FROM and WHERE, what is selected, and the order; keys and values follow.
TEMPLATES = {
    ("match", "knowledge"): (
        "who leads the oldest company founded after {year} that is based in a city known for {good}?",
        COMPANIES, "c.led_by", "c.founded, c.name LIMIT 1",
    ),
    ("comparison", "knowledge"): (
        "how many companies founded after {year} were founded before {company}?",
        COMPANIES, "count(*)", "",
    ),
    ("ranking", "knowledge"): (
        "which companies founded after {year} and based in a city known for {good} are the oldest, "
        "up to three, oldest first?",
        COMPANIES, "c.name", "c.founded, c.name LIMIT 3",
    ),
    ("aggregation", "knowledge"): (
        "what do the products above {coins} coins cost together that come from a city known for {good}?",
        PRODUCTS, "sum(p.costs)", "",
    ),
    ("match", "reasoning"): (
        "who makes the dearest of the products above {coins} coins with a note about {topic}?",
        PRODUCTS, "p.maker", "p.costs DESC, p.name LIMIT 1",
    ),
    ("comparison", "reasoning"): (
        "how many products above {coins} coins have a note about {topic}?",
        PRODUCTS, "count(*)", "",
    ),
    ("ranking", "reasoning"): (
        "which products above {coins} coins with a note about {topic} are the dearest, up to three, "
        "dearest first?",
        PRODUCTS, "p.name", "p.costs DESC, p.name LIMIT 3",
    ),
    ("aggregation", "reasoning"): (
        "what do the products above {coins} coins with a note about {topic} cost together?",
        PRODUCTS, "sum(p.costs)", "",
    ),
    ("match", "relations"): (
        "who leads the oldest company founded after {year}?",
        COMPANIES, "c.led_by", "c.founded, c.name LIMIT 1",
    ),
    ("comparison", "relations"): (
        "how many products cost more than {coins} coins?",
        PRODUCTS, "count(*)", "",
    ),
    ("ranking", "relations"): (
        "which things of the kind {sort} are the dearest, up to three, dearest first?",
        SORTED, "p.name", "p.costs DESC, p.name LIMIT 3",
    ),
    ("aggregation", "relations"): (
        "what do all things of the kind {sort} cost together?",
        SORTED, "sum(p.costs)", "",
    ),
}  # fmt: skip
SLOTS = {"year": r"\d{4}", "coins": r"\d+"}  # all others: a word
FORMS = {
    group: re.compile(
        re.sub(
            r"\\\{(\w+)\\\}",
            lambda slot: f"(?P<{slot[1]}>{SLOTS.get(slot[1], '[A-Za-z]+')})",
            re.escape(text),
        )
    )
    for group, (text, *_) in TEMPLATES.items()
}


class Question(NamedTuple):
    """text; type, needs: one of GROUPS; gold: the exact answer; rows: how many the exact part leaves."""

    text: str
    type: str
    needs: str
    gold: list
    rows: int


class Market(NamedTuple):
    """Tables, and what is known besides.

    tables: name -> column -> values.  known_for: city -> good, of cities in the tables and of others.
    topic: note -> topic.  outside: companies that are in no table -> year of their foundation.
    memory: name -> a sentence, all that a model can have read.
    """

    seed: int
    tables: dict[str, dict[str, list]]
    known_for: dict[str, str]
    topic: dict[str, str]
    outside: dict[str, int]
    memory: dict[str, str]

    def texts(self) -> dict[str, str]:
        """Each company and product as a text: key -> text, for retrieval."""
        company, product = self.tables["company"], self.tables["product"]
        city = dict(zip(company["name"], company["based_in"], strict=True))
        out = {
            name: f"company {name}, based in {town}, led by {leader}, founded in {year}"
            for name, town, leader, year in zip(*company.values(), strict=True)
        }
        return out | {
            name: f"product {name}, kind {sort}, costs {coins} coins, "
            f"made by company {maker} in {city[maker]}, note: {note}"
            for name, sort, coins, maker, note in zip(*product.values(), strict=True)
        }


def market(seed: int, *, size: int = 200) -> Market:
    """Draw the tables: ``size`` companies and as many products, in ``size // 5`` cities, or in 6.

    Twice as many cities again, and 40 companies, exist without being in the tables.

    >>> here = market(0, size=30)
    >>> len(here.tables["company"]["name"]), len(set(here.tables["company"]["based_in"])) <= 6
    (30, True)
    """
    check_count("size", size, low=6, high=2000)
    cities = max(6, size // 5)
    relations = ("based_in", "led_by", "founded", "makes", "known_for", "costs", "kind_of")
    counts = {"people": size, "companies": size, "cities": cities, "products": size}
    inside = facts.world(seed, **counts, relations=relations, syllables=3)
    counts = {"people": 0, "companies": 40, "cities": 2 * cities, "products": 0}
    outside = facts.world(seed + 10**6, **counts, relations=relations, syllables=3, avoid=inside)
    rng = stream(seed, "tag", "notes")
    company, product = inside.tables()["company"], inside.tables()["product"]
    topics = [facts.TOPICS[rng.integers(len(facts.TOPICS))] for _ in product["name"]]
    product["note"] = [facts.message(each, typicality=0.8, rng=rng) for each in topics]
    told = [fact for fact in inside.facts if fact.relation == "known_for"]
    told += [fact for fact in outside.facts if fact.relation in ("known_for", "founded")]
    columns = {"company": ("name", "based_in", "led_by", "founded")}
    columns["product"] = ("name", "kind_of", "costs", "maker", "note")
    tables = {
        name: {column: table[column] for column in columns[name]}
        for name, table in (("company", company), ("product", product))
    }
    return Market(
        seed,
        tables,
        {fact.subject: fact.object for fact in told if fact.relation == "known_for"},
        dict(zip(product["note"], topics, strict=True)),
        {fact.subject: int(fact.object) for fact in told if fact.relation == "founded"},
        {fact.subject: facts.say(fact, rng=stream(seed, "tag", fact.subject)) for fact in told},
    )


def parse(text: str) -> Plan:
    """A question in SQL: what an error-free parser makes of it. ValueError for a question of another form.

    >>> parse("how many products cost more than 50 coins?").final.format(where="TRUE")
    'SELECT count(*) FROM product p JOIN company c ON p.maker = c.name WHERE p.costs > 50 AND TRUE'
    """
    for group, form in FORMS.items():
        if found := form.fullmatch(text):
            return _plan(group, found.groupdict())
    raise ValueError(f"no such question is known: {text!r}")


def _plan(group: tuple[str, str], slots: dict[str, str]) -> Plan:
    _, source, selected, order = TEMPLATES[group]
    source, needs = source.format(**slots), group[1]
    alias = "c" if "FROM company" in source else "p"
    value = "c.based_in" if needs == "knowledge" else "p.note" if needs == "reasoning" else f"{alias}.name"
    condition, hole = None, " AND {where}"
    if "good" in slots:
        condition = Condition("knows", f"{{value}} is known for {slots['good']}.")
    elif "topic" in slots:
        condition = Condition("reads", slots["topic"], facts.TOPICS)
    elif "company" in slots:
        condition, hole = (
            Condition("recalls", f"when was {slots['company']} founded?"),
            hole + " AND c.founded < {known}",
        )
    sorting = f" ORDER BY {order}" if order else ""
    whole = sorting.partition(" LIMIT")[0] or f" ORDER BY {alias}.name"
    frame = f"SELECT {alias}.name AS key, {value} AS value {source}{whole}"
    return Plan(frame, f"SELECT {selected} {source}{hole}{sorting}", f"{alias}.name", value, condition)


def make_tag_bench(
    here: Market, database: Database, *, n_per_group: int = 5, seed: int = 0
) -> list[Question]:
    """``n_per_group`` questions of each of the eight groups, and half as many of the four relational ones.

    How many rows the exact part of a question leaves is drawn from 8 to all of them, evenly on a logarithmic
    scale.  No gold answer is empty, and none is a count or sum of nothing.
    """
    check_count("n_per_group", n_per_group)
    rng, out = stream(here.seed, "tag", "questions", str(seed)), []
    for group in GROUPS:
        wanted = n_per_group if group[1] != "relations" else -(-n_per_group // 2)
        out += [_question(here, database, group, rng) for _ in range(wanted)]
    return out


def _question(here: Market, database: Database, group: tuple[str, str], rng: np.random.Generator) -> Question:
    founded, costs = here.tables["company"]["founded"], here.tables["product"]["costs"]
    for _ in range(1000):
        share = float(np.exp(rng.uniform(np.log(min(8 / len(costs), 1)), 0)))
        slots = {
            "year": sorted(founded)[::-1][round(share * (len(founded) - 1))] - 1,
            "coins": sorted(costs)[::-1][round(share * (len(costs) - 1))] - 1,
            "good": facts.VALUES["good"][rng.integers(12)],
            "topic": facts.TOPICS[rng.integers(len(facts.TOPICS))],
            "sort": facts.VALUES["sort"][rng.integers(12)],
            "company": list(here.outside)[rng.integers(len(here.outside))],
        }
        text = TEMPLATES[group][0].format(**slots)
        plan = parse(text)
        gold = _gold(here, database, plan)
        if gold and gold[0]:
            return Question(text, *group, gold, _rows(here, plan.frame))
    raise ValueError(f"no question of type {group} has an answer in tables of {len(costs)} rows")


def _rows(here: Market, frame: str) -> int:
    """How many rows a frame has: its one condition, counted."""
    column, limit = re.search(r"\.(\w+) [>=] '?(\w+)'?", frame[frame.index("WHERE") :]).groups()
    table = here.tables["company" if column == "founded" else "product"][column]
    return sum(value > int(limit) if limit.isdigit() else value == limit for value in table)


def _gold(here: Market, database: Database, plan: Plan) -> list:
    condition = plan.condition
    where, parameters, known = "TRUE", {}, "NULL"
    if condition is not None and condition.kind == "recalls":
        known = here.outside[condition.ask.split()[2]]
    elif condition is not None:
        reads = condition.kind == "reads"
        truth = here.topic if reads else here.known_for
        wanted = condition.ask if reads else condition.ask.split()[-1].rstrip(".")
        where = f"list_contains($kept, {plan.value})"
        parameters = {"kept": [value for value, label in truth.items() if label == wanted]}
    return database.query(plan.final.format(where=where, known=known), parameters).first()
