"""One seeded world: its things, all that is true of them, and the views of it that tasks need."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np

from labkit.data import build
from labkit.data.facts.names import KINDS, names
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
