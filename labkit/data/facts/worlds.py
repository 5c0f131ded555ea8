"""One seeded world: its things, all that is true of them, and the views of it that tasks need."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np

from labkit.data import build
from labkit.data.facts import pages, topics, views
from labkit.data.facts.asking import Question, question
from labkit.data.facts.names import KINDS, names, pieces
from labkit.data.facts.relations import RELATIONS, VALUES, Fact

__all__ = ["World", "world"]


@dataclass(frozen=True)
class World:
    """Things and facts, drawn from ``seed``.

    entities: name -> kind.  facts: all that is true now, in the order of the entities.
    held: the names that only the store knows (see :meth:`split`).
    """

    seed: int
    entities: dict[str, str]
    facts: list[Fact]
    held: frozenset[str] = field(default_factory=frozenset)

    @cached_property
    def _about(self) -> dict[str, list[Fact]]:
        table: dict[str, list[Fact]] = {name: [] for name in self.entities}
        for fact in self.facts:
            table[fact.subject].append(fact)
            if fact.object in table and fact.object != fact.subject:
                table[fact.object].append(fact)
        return table

    def about(self, name: str) -> list[Fact]:
        """The facts in which a name is subject or object. ValueError for an unknown name."""
        if name not in self.entities:
            raise ValueError(f"there is no {name!r} in this world of {len(self.entities)} entities")
        return list(self._about[name])

    def named(self, kind: str) -> list[str]:
        """The names of one kind."""
        if kind not in KINDS:
            raise ValueError(f"kind must be one of {KINDS}, got {kind!r}")
        return [name for name, each in self.entities.items() if each == kind]

    def split(self) -> tuple[list[Fact], list[Fact]]:
        """(known, stored): the facts without, and those with, a name that is held in the store only."""
        known = [fact for fact in self.facts if not {fact.subject, fact.object} & self.held]
        stored = [fact for fact in self.facts if {fact.subject, fact.object} & self.held]
        return known, stored

    def candidates(self, fact: Fact, *, ask: str = "object") -> list[str]:
        """All names or values that could stand where the answer stands, the right one among them."""
        relation = RELATIONS[fact.relation]
        kind = relation.object_kind if ask == "object" else relation.subject_kind
        return list(VALUES[kind]) if kind in VALUES else self.named(kind)

    def aliases(self, count: int = 1) -> dict[str, tuple[str, ...]]:
        """``count`` further names for each entity, of its kind and used by nobody else."""
        count = build.check_count("count", count, low=0)
        out = {}
        for kind in KINDS:
            own = self.named(kind)
            rng = build.stream(self.seed, "facts", "aliases", kind)
            syllables = max([2, *(len(pieces(name)) for name in own)])
            more = names(kind, count * len(own), rng, syllables=syllables, taken=set(self.entities))
            out |= {name: tuple(more[i * count : (i + 1) * count]) for i, name in enumerate(own)}
        return out

    def documents(self, **settings) -> list[views.Document]:
        """One document for each subject; see :func:`labkit.data.facts.views.documents`."""
        return views.documents(self, **settings)

    def questions(
        self, *, ask: str = "both", facts: list[Fact] | None = None, language: str = "english", rng
    ) -> list[Question]:
        """The questions that have one answer in this world.

        ask: "object", "subject" or "both". facts: None for all.
        """
        if ask not in ("object", "subject", "both"):
            raise ValueError(f"ask must be 'object', 'subject' or 'both', got {ask!r}")
        answers = Counter((fact.relation, side, fact[side]) for fact in self.facts for side in (0, 2))
        out = []
        for fact in self.facts if facts is None else facts:
            for side, asked in ((0, "object"), (2, "subject")):
                if ask in (asked, "both") and answers[fact.relation, side, fact[side]] == 1:
                    out.append(question(fact, ask=asked, language=language, rng=rng))
        return out

    def tables(self) -> dict[str, dict[str, list]]:
        """Kind -> column -> values; see :func:`labkit.data.facts.views.tables`."""
        return views.tables(self)

    def history(self, *, changes: int = 2, rng: np.random.Generator) -> list[tuple[Fact, str]]:
        """(fact, year) with earlier versions; see :func:`labkit.data.facts.views.history`."""
        return views.history(self, changes=changes, rng=rng)

    def reports(self, fact: Fact, sources: dict[str, float], **settings) -> list[views.Report]:
        """What sources say about a fact; see :func:`labkit.data.facts.views.reports`."""
        return views.reports(self, fact, sources, **settings)

    def pairs(self, count: int, **settings) -> list[views.Pair]:
        """Questions with passages, some wrong; see :func:`labkit.data.facts.views.pairs`."""
        return views.pairs(self, count, **settings)

    def pages(self, count: int, **settings) -> list[pages.Page]:
        """Web pages with their furniture; see :func:`labkit.data.facts.pages.pages`."""
        return pages.pages(self, count, **settings)

    def labelled(self, count: int, *, rng: np.random.Generator, **settings) -> list[topics.Labelled]:
        """Short texts of topics; see :func:`labkit.data.facts.topics.labelled`."""
        return topics.labelled(count, rng=rng, **settings)


def world(
    seed: int,
    *,
    people: int = 40,
    companies: int = 20,
    cities: int = 12,
    products: int = 20,
    relations: Sequence[str] | None = None,
    held_out: float = 0.0,
    syllables: int = 2,
    avoid: "World | Sequence[str] | frozenset[str]" = frozenset(),
) -> World:
    """Draw a world.

    people, companies, cities, products: how many of each; 0 leaves out the relations that need them.
    relations: which ones, None for all 14. held_out: the share of each kind known to the store only.
    syllables: 2 to 4 per name. avoid: a world, or names, that this world must not share.
    Whatever is asked for "one subject" (who leads what) is a one-to-one assignment, as far as there
    are enough objects. Raises ValueError or TypeError naming the argument.
    """
    seed = build.check_seed(seed)
    counts = {"people": people, "companies": companies, "cities": cities, "products": products}
    for argument, count in counts.items():
        build.check_count(argument, count, low=0)
    held_out = build.real("held_out", held_out, 0, 1)
    chosen = tuple(RELATIONS) if relations is None else tuple(relations)
    for relation in chosen:
        if relation not in RELATIONS:
            raise ValueError(f"relations: {relation!r} is none of {', '.join(RELATIONS)}")
    taken = set(avoid.entities) if isinstance(avoid, World) else set(avoid)
    things = {
        kind: names(kind, count, build.stream(seed, "facts", "names", kind), syllables=syllables, taken=taken)
        for kind, count in zip(KINDS, (people, companies, cities, products), strict=True)
    }
    facts = []
    for relation in chosen:
        facts += _draw(relation, things, build.stream(seed, "facts", relation))
    entities = {name: kind for kind, drawn in things.items() for name in drawn}
    order = {name: i for i, name in enumerate(entities)}
    facts.sort(key=lambda fact: order[fact.subject])
    rng = build.stream(seed, "facts", "held")
    held = []
    for drawn in things.values():
        held += [drawn[i] for i in rng.permutation(len(drawn))[: round(held_out * len(drawn))]]
    return World(seed, entities, facts, frozenset(held))


def _draw(relation: str, things: dict[str, list[str]], rng: np.random.Generator) -> list[Fact]:
    """The facts of one relation."""
    subject_kind, object_kind, _, one_subject, _ = RELATIONS[relation]
    subjects = things[subject_kind]
    objects = things[object_kind] if object_kind in things else list(VALUES[object_kind])
    if not subjects or not objects:
        return []
    if relation == "makes":  # every product has one maker, companies make several or none
        makers = rng.permutation(np.resize(rng.permutation(len(subjects)), len(objects)))
        return [Fact(subjects[m], relation, thing) for m, thing in zip(makers, objects, strict=True)]
    if one_subject:  # no object twice; subjects beyond the number of objects have none
        picks = rng.permutation(len(objects))[: len(subjects)]
        return [Fact(s, relation, objects[i]) for s, i in zip(subjects, picks, strict=False)]
    picks = rng.integers(len(objects), size=len(subjects))
    facts = [Fact(s, relation, objects[i]) for s, i in zip(subjects, picks, strict=True)]
    return [fact for fact in facts if fact.subject != fact.object]  # nobody teaches themselves
