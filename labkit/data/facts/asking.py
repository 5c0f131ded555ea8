"""Questions about single facts, and how they are understood."""

from functools import cache
from typing import NamedTuple

import numpy as np

from labkit.data.facts import wordings
from labkit.data.facts.grammar import fill_slots
from labkit.data.facts.relations import RELATIONS, Fact, check_relation
from labkit.data.facts.wordings import LANGUAGES, smooth, tokens
from labkit.data.source import suggest

__all__ = ["Asked", "Question", "question", "read_question"]


class Question(NamedTuple):
    """text: ends with a question mark. answer: a name or a value. fact: what has to be known."""

    text: str
    answer: str
    fact: Fact


class Asked(NamedTuple):
    """What a question asks: the ``ask`` ("object" or "subject") of a relation, the other one ``given``."""

    relation: str
    ask: str
    given: str


def question(
    fact: Fact, *, ask: str = "object", language: str = "english", rng: np.random.Generator
) -> Question:
    """Ask for the object of a fact, or for its subject; the wording is drawn.

    The answer is this fact's; where ``RELATIONS[relation].one_subject`` is False, other subjects may
    answer a question for the subject as well.

    >>> question(Fact("Nobur", "mayor", "Balen"), rng=np.random.default_rng(0)).answer
    'Balen'
    """
    if ask not in ("object", "subject"):
        raise ValueError(f"ask must be 'object' or 'subject', got {ask!r}")
    if language not in LANGUAGES:
        raise ValueError(f"language {language!r}: {suggest(language, LANGUAGES)}")
    check_relation(fact.relation)
    texts = wordings.questions(language)[fact.relation, ask]
    value = wordings.translate(fact.object, language)
    text = texts[rng.integers(len(texts))].replace("{s}", fact.subject).replace("{o}", value)
    answer = value if ask == "object" else fact.subject
    return Question(f"{text}?", answer, fact)


def read_question(text: str) -> Asked | None:
    """What a question asks; None where the grammar has no such question. Reads one question.

    >>> read_question("who is the mayor of Nobur?")
    Asked(relation='mayor', ask='object', given='Nobur')
    """
    words = smooth(tokens(text.strip().rstrip("?!. ")))
    pattern, values = fill_slots(words, {})
    entry = _patterns().get(pattern) if len(values) == 1 else None
    return None if entry is None else Asked(*entry, values[0])


@cache
def _patterns() -> dict[tuple[str, ...], tuple[str, str]]:
    table: dict[tuple[str, ...], tuple[str, str]] = {}
    for language in LANGUAGES:
        for (relation, ask), texts in wordings.questions(language).items():
            kinds = RELATIONS[relation]
            slot = f"<{kinds.subject_kind if ask == 'object' else kinds.object_kind}>"
            for text in texts:
                words = smooth(tokens(text.replace("{s}", " SS ").replace("{o}", " SS ")))
                key = tuple(slot if word == "SS" else word for word in words)
                entry = table.setdefault(key, (relation, ask))
                assert entry == (relation, ask), f"{key} asks two things"
    return table
