"""``facts``: a small world of people, companies, cities and products, spoken through a grammar."""

from labkit.data.facts.asking import Asked, Question, question, read_question
from labkit.data.facts.grammar import (
    Passage,
    Statement,
    document,
    passage,
    read,
    read_statements,
    say,
)
from labkit.data.facts.names import KINDS, SYLLABLES, name, names
from labkit.data.facts.relations import RELATIONS, VALUES, Fact, Relation
from labkit.data.facts.wordings import LANGUAGES, STYLES, WORDS
from labkit.data.facts.worlds import World, world

__all__ = [
    "KINDS",
    "LANGUAGES",
    "RELATIONS",
    "STYLES",
    "SYLLABLES",
    "VALUES",
    "WORDS",
    "Asked",
    "Fact",
    "Passage",
    "Question",
    "Relation",
    "Statement",
    "World",
    "document",
    "name",
    "names",
    "passage",
    "question",
    "read",
    "read_question",
    "read_statements",
    "say",
    "world",
]
