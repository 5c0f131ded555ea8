"""What the oracle needs of the grammar of ``facts``: drawing, inventing, falsifying, telling languages."""

import re
from collections.abc import Sequence
from functools import cache

import numpy as np

from labkit.data import facts
from labkit.data.facts import Fact, wordings
from labkit.data.facts.english import ENGLISH
from labkit.data.facts.names import kind_of_name

__all__ = ["Typical", "falsify", "invent", "language_of", "names_in", "topic", "understood"]


class Typical(np.random.Generator):
    """Draws of whole numbers that fall on the lowest with probability ``typicality``, for picks from lists.

    What stands first in the grammar's lists is the most usual wording. The draws come from ``source``.
    """

    def __init__(self, typicality: float, source: np.random.Generator):
        super().__init__(source.bit_generator)
        self.typicality = typicality

    def integers(self, low, high=None):
        drawn = super().integers(low, high)
        usual = self.typicality > 0 and self.random() < self.typicality
        return (0 if high is None else low) if usual else drawn


def language_of(text: str) -> str:
    """The language of a text, by its words; english where it has none that tells."""
    words = [word.lower() for word in wordings.tokens(text)]
    scores = {language: sum(word in _words(language) for word in words) for language in facts.LANGUAGES}
    return max(scores, key=scores.get)


def names_in(text: str) -> list[str]:
    """The names in a text, each once, in order."""
    return [word for word in dict.fromkeys(re.findall(r"[A-Z][a-z]+", text)) if _kind(word)]


def understood(text: str) -> None:
    """Raise ValueError for a text whose words the grammar does not have. (An advertisement is fine.)"""
    words = [word for word in wordings.tokens(text) if word.isalpha()]
    strange = [word for word in words if word.lower() not in _all_words() and not _kind(word)]
    if 2 * len(strange) > len(words):
        raise ValueError(
            "the oracle speaks only the grammars of 'facts' and 'scenes', it does not understand "
            f"{text[:80]!r}; for other texts take llm.local or llm.endpoint"
        )


def falsify(fact: Fact, among: Sequence[Fact], rng: np.random.Generator, *, part: str = "object") -> Fact:
    """The fact with another object (or subject): of the same kind, from ``among`` where one is there."""
    right = getattr(fact, part)
    relation = facts.RELATIONS[fact.relation]
    kind = relation.object_kind if part == "object" else relation.subject_kind
    if kind in facts.VALUES:
        others = [value for value in facts.VALUES[kind] if value != right]
    else:
        met = dict.fromkeys(name for each in among for name in (each.subject, each.object))
        others = [name for name in met if name not in (fact.subject, fact.object) and _kind(name) == kind]
    wrong = others[rng.choice(len(others))] if others else invent(right, [fact.subject, fact.object], rng)
    return fact._replace(**{part: wrong})


def invent(name: str, taken: Sequence[str], rng: np.random.Generator) -> str:
    """A new name of the same kind."""
    while (new := facts.name(_kind(name), rng)) in taken or new == name:
        pass
    return new


def topic(
    label: str, examples: Sequence[str], count: int, rng: np.random.Generator, *, typicality: float
) -> list[Fact]:
    """Invented facts of a class.

    label: a relation, its noun ("birthplace"), or a kind of thing ("company"); for any other label the
    relations are those of the examples, in which case at least one must be readable, or ValueError.
    typicality: how often the first of the relations, or values, is taken.
    """
    label = label.strip().lower().replace(" ", "_")
    nouns = {words.key: relation for relation, words in ENGLISH.items()}
    if label in facts.KINDS:
        relations = [name for name, relation in facts.RELATIONS.items() if relation.subject_kind == label]
    elif label in facts.RELATIONS or label in nouns:
        relations = [nouns.get(label, label)]
    else:
        relations = [fact.relation for text in examples for fact in facts.read(text)]
    if not relations:
        known = ", ".join((*facts.TOPICS, *facts.KINDS, *facts.RELATIONS))
        raise ValueError(f"the oracle can't write about {label!r} without examples of it; it knows {known}")
    picks = Typical(typicality, rng)
    said: list[Fact] = []
    subjects: dict[str, str] = {}  # kind -> whom this text is about
    for _ in range(count):
        relation = relations[picks.integers(len(relations))]
        kinds = facts.RELATIONS[relation]
        subject = subjects.setdefault(kinds.subject_kind, facts.name(kinds.subject_kind, rng))
        while kinds.one_object and any(each[:2] == (subject, relation) for each in said):
            subject = subjects[kinds.subject_kind] = facts.name(kinds.subject_kind, rng)
        if kinds.object_kind in facts.VALUES:
            values = facts.VALUES[kinds.object_kind]
            thing = values[picks.integers(len(values))]
        else:
            thing = invent(facts.name(kinds.object_kind, rng), [subject], rng)
        said.append(Fact(subject, relation, thing))
    return said


def _kind(name: str) -> str | None:
    try:
        return kind_of_name(name)
    except ValueError:
        return None


@cache
def _words(language: str) -> frozenset[str]:
    """The lower-case words of a language's sentences and questions, and its words for values."""
    groups = (*wordings.templates(language).values(), *wordings.questions(language).values())
    text = " ".join(template for group in groups for template in group)
    values = [wordings.translate(value, language) for kind in facts.VALUES.values() for value in kind]
    shown = re.sub(r"\{\w\}", " ", text)
    return frozenset(word for word in (*wordings.tokens(shown), *values) if word.isalpha() and word.islower())


@cache
def _all_words() -> frozenset[str]:
    return frozenset(word.lower() for word in (*facts.WORDS, *facts.TOPIC_WORDS))
