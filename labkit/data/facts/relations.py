"""What can be said: facts, the relations between kinds of things, and the values that are no names."""

from typing import NamedTuple

from labkit.data.source import suggest

__all__ = [
    "AMOUNTS",
    "GOODS",
    "PROFESSIONS",
    "RELATIONS",
    "SORTS",
    "VALUES",
    "YEARS",
    "Fact",
    "Relation",
    "check_relation",
]


class Fact(NamedTuple):
    """One statement about the world; all three are strings. ``relation`` is a key of RELATIONS."""

    subject: str
    relation: str
    object: str


class Relation(NamedTuple):
    """What a relation connects.

    subject_kind, object_kind: "person", "company", "city", "product", or for objects also a value:
    "profession", "good", "sort", "year", "amount".
    one_object: a subject has at most one object at a time.  one_subject: an object has at most one
    subject, so that the inverse question has one answer.  dated: objects change over the years.
    """

    subject_kind: str
    object_kind: str
    one_object: bool = True
    one_subject: bool = False
    dated: bool = False


RELATIONS = {
    "born_in": Relation("person", "city"),
    "lives_in": Relation("person", "city", dated=True),
    "works_for": Relation("person", "company", dated=True),
    "profession": Relation("person", "profession"),
    "taught_by": Relation("person", "person"),
    "based_in": Relation("company", "city", dated=True),
    "led_by": Relation("company", "person", one_subject=True, dated=True),
    "makes": Relation("company", "product", one_object=False, one_subject=True),
    "founded": Relation("company", "year"),
    "mayor": Relation("city", "person", one_subject=True, dated=True),
    "known_for": Relation("city", "good"),
    "designed_by": Relation("product", "person"),
    "costs": Relation("product", "amount"),
    "kind_of": Relation("product", "sort"),
}

PROFESSIONS = (
    "baker", "doctor", "farmer", "singer", "painter", "pilot",
    "lawyer", "writer", "sailor", "gardener", "judge", "tailor",
)  # fmt: skip
GOODS = (
    "cheese", "honey", "silk", "glass", "wine", "salt", "bread", "paper", "roses", "tea", "fish", "copper",
)  # fmt: skip
SORTS = (
    "lamp", "chair", "boat", "clock", "radio", "camera", "kettle", "bicycle", "guitar", "tent", "knife",
    "drone",
)  # fmt: skip
YEARS = tuple(str(year) for year in range(1960, 2020))
AMOUNTS = tuple(str(coins) for coins in range(10, 100))
VALUES = {"profession": PROFESSIONS, "good": GOODS, "sort": SORTS, "year": YEARS, "amount": AMOUNTS}


def check_relation(relation: str) -> Relation:
    """The description of a relation; ValueError, with the nearest ones, where there is none."""
    if relation not in RELATIONS:
        raise ValueError(f"no relation is called {relation!r}; {suggest(relation, RELATIONS)}")
    return RELATIONS[relation]
