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
from labkit.data.facts.loader import SOURCE
from labkit.data.facts.names import KINDS, SYLLABLES, name, names
from labkit.data.facts.pages import PAGE_WORDS, Page, pages, review
from labkit.data.facts.relations import RELATIONS, VALUES, Fact, Relation
from labkit.data.facts.topics import TOPIC_WORDS, TOPICS, Labelled, labelled, message, posterior
from labkit.data.facts.views import Document, Evidence, Pair, Report, evidence, to_sqlite
from labkit.data.facts.wordings import LANGUAGES, STYLES, WORDS
from labkit.data.facts.worlds import World, world

__all__ = [
    "KINDS",
    "LANGUAGES",
    "PAGE_WORDS",
    "RELATIONS",
    "SOURCE",
    "STYLES",
    "SYLLABLES",
    "TOPICS",
    "TOPIC_WORDS",
    "VALUES",
    "WORDS",
    "Asked",
    "Document",
    "Evidence",
    "Fact",
    "Labelled",
    "Page",
    "Pair",
    "Passage",
    "Question",
    "Relation",
    "Report",
    "Statement",
    "World",
    "document",
    "evidence",
    "labelled",
    "message",
    "name",
    "names",
    "pages",
    "passage",
    "posterior",
    "question",
    "read",
    "read_question",
    "read_statements",
    "review",
    "say",
    "to_sqlite",
    "world",
]
