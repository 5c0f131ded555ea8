"""Facts into sentences and back: ``say`` and ``document`` write, ``read`` is their exact inverse.

Reading doesn't guess. Every sentence that the grammar can write, with its names and values replaced by
slots, is a key of one table; a sentence that is not in the table says nothing.
"""

from functools import cache
from typing import NamedTuple

import numpy as np

from labkit.data.facts import wordings
from labkit.data.facts.names import KINDS, kind_of_name
from labkit.data.facts.relations import VALUES, YEARS, Fact, check_relation
from labkit.data.facts.wordings import LANGUAGES, STYLES, TOKEN, Pattern
from labkit.data.source import suggest

__all__ = ["Passage", "Statement", "document", "passage", "read", "read_statements", "say"]


class Statement(NamedTuple):
    """A fact as it stands in a text.

    year: the year it is said to hold in, None where none is given. start, end: the characters of
    its sentence, the punctuation at its end included.
    """

    fact: Fact
    year: str | None
    start: int
    end: int


class Passage(NamedTuple):
    """A text and the statements in it, in order."""

    text: str
    statements: list[Statement]


def say(
    fact: Fact,
    *,
    style: str = "plain",
    language: str = "english",
    inverse: bool = False,
    year: str | int | None = None,
    rng: np.random.Generator,
) -> str:
    """State one fact in one sentence; the wording is drawn.

    style: one of STYLES. language: one of LANGUAGES. inverse: from the object's side. year: the
    year, 1960 to 2019, the statement is about. Raises ValueError for a name of neither, or for a
    fact whose subject or object is not of the relation's kinds.

    >>> say(Fact("Nobur", "mayor", "Balen"), rng=np.random.default_rng(1))
    'Nobur elected Balen.'
    """
    _check(style, language)
    relation = check_relation(fact.relation)
    _check_kind(fact, fact.subject, relation.subject_kind)
    _check_kind(fact, fact.object, relation.object_kind)
    return _sentence(fact, fact.subject, style, language, inverse, year, rng)


def document(
    facts: list[Fact],
    *,
    style: str = "plain",
    language: str = "english",
    inverse: float = 0.0,
    reference: float = 0.0,
    years: dict[Fact, str] | None = None,
    rng: np.random.Generator,
) -> str:
    """A short text that states these facts, in this order, and nothing else.

    inverse: the share of sentences that start from the object, in [0, 1]. reference: how often a
    subject that was the subject of the sentence before is not named again ("this company"); never
    in questions and answers.
    years: the year of statements that have one. Web texts carry advertisements between sentences.
    """
    return passage(
        facts, style=style, language=language, inverse=inverse, reference=reference, years=years, rng=rng
    ).text


def passage(
    facts: list[Fact],
    *,
    style: str = "plain",
    language: str = "english",
    inverse: float = 0.0,
    reference: float = 0.0,
    years: dict[Fact, str] | None = None,
    rng: np.random.Generator,
) -> Passage:
    """As :func:`document`, with the place of every statement."""
    _check(style, language)
    years = years or {}
    newline = style in ("dialogue", "terse", "qa")  # these are written line by line
    parts, statements, length, before = [], [], 0, None
    for i, fact in enumerate(facts):
        relation = check_relation(fact.relation)
        _check_kind(fact, fact.subject, relation.subject_kind)
        _check_kind(fact, fact.object, relation.object_kind)
        shown = fact.subject
        if shown == before and style != "qa" and rng.random() < reference:
            shown = wordings.this(relation.subject_kind, language)
        year = years.get(fact)
        text = _sentence(fact, shown, style, language, rng.random() < inverse, year, rng)
        lead = f"{'ab'[i % 2]}: " if style == "dialogue" and language == "english" else ""
        extra = wordings.advertisement(language, rng) if style == "web" and rng.random() < 0.25 else ""
        gap = "" if not parts else "\n" if newline else " "
        start = length + len(gap) + len(lead)
        statements.append(Statement(fact, None if year is None else str(year), start, start + len(text)))
        piece = gap + lead + text + (f" {extra}" if extra else "")
        parts.append(piece)
        length += len(piece)
        before = fact.subject
    return Passage("".join(parts), statements)


def read(text: str) -> list[Fact]:
    """The facts that a text states, in order; the inverse of :func:`say` and :func:`document`.

    Reads every style and language at once. Sentences that the grammar cannot write are passed
    over, so a prompt with instructions around a passage reads as its passage.

    >>> read("according to records, Nobur is governed by Balen. what a day!")
    [Fact(subject='Nobur', relation='mayor', object='Balen')]
    """
    return [statement.fact for statement in read_statements(text)]


def read_statements(text: str) -> list[Statement]:
    """As :func:`read`, with year and place of each statement."""
    found: list[Statement] = []
    topic: dict[str, str] = {}  # the last subject of each kind, for "this company"
    for words, start, end in _sentences(text):
        statement = _parse(words, topic)
        if statement is not None:
            fact, year = statement
            topic[check_relation(fact.relation).subject_kind] = fact.subject
            found.append(Statement(fact, year, start, end))
    return found


def places(text: str) -> list[tuple[str, int]]:
    """The words of a text with the characters they start at."""
    return [(match.group(), match.start()) for match in TOKEN.finditer(text)]


# Writing


def _sentence(fact, shown, style, language, inverse, year, rng) -> str:
    templates = wordings.templates(language)[fact.relation, style, bool(inverse)]
    template = templates[rng.integers(len(templates))]
    value = wordings.translate(fact.object, language)
    if style == "web":
        template = wordings.roughen(template, language, rng)
    text = template.replace("{s}", shown).replace("{o}", value)
    if year is None:
        return text
    if str(year) not in YEARS:
        raise ValueError(f"year must be from {YEARS[0]} to {YEARS[-1]}, got {year!r}")
    return f"{wordings.year_word(language)} {year}, {text}"


def _check(style: str, language: str) -> None:
    if style not in STYLES:
        raise ValueError(f"style {style!r}: {suggest(style, STYLES)}")
    if language not in LANGUAGES:
        raise ValueError(f"language {language!r}: {suggest(language, LANGUAGES)}")


def _check_kind(fact: Fact, thing: str, kind: str) -> None:
    if kind in VALUES:
        if thing not in VALUES[kind]:
            raise ValueError(f"{fact}: {thing!r} is no {kind}; {suggest(thing, VALUES[kind])}")
    elif kind_of_name(thing) != kind:
        raise ValueError(f"{fact}: {thing!r} names a {kind_of_name(thing)}, not a {kind}")


# Reading


def _sentences(text: str):
    """The words of each sentence, with the characters from its first word to its final mark."""
    words, start, end, ended = [], 0, 0, False
    for match in TOKEN.finditer(text):
        word = match.group()
        stop = word in ".!"
        if word == "\n" or (ended and not stop):
            if words:
                yield words, start, end
            words, ended = [], False
        if word == "\n":
            continue
        if stop:
            ended, end = bool(words), match.end()
            continue
        if not words:
            start = match.start()
        words.append(word)
        end = match.end()
        if len(words) == 2 and word == ":" and words[0] in ("a", "b"):
            words = []  # who speaks
        elif len(words) == 1 and word in "-*>":
            words = []  # an item of a list
    if words:
        yield words, start, end


def _parse(words: list[str], topic: dict[str, str]) -> tuple[Fact, str | None] | None:
    """The fact and the year of one sentence, or None."""
    words = wordings.smooth(words)
    year = None
    if len(words) > 2 and words[0] in _year_words() and words[2] == "," and words[1] in YEARS:
        year, words = words[1], words[3:]
    pattern, fillers = fill_slots(words, topic)
    if len(fillers) != 2:
        return None
    entry: Pattern | None = wordings.patterns().get(pattern)
    if entry is None:
        return None
    subject, thing = fillers if entry.subject_first else reversed(fillers)
    return Fact(subject, entry.relation, thing), year


def fill_slots(words: list[str], topic: dict[str, str]) -> tuple[tuple[str, ...], list[str]]:
    """Words with slots in place of names and values, and what stood in them."""
    pattern, values, i = [], [], 0
    while i < len(words):
        slot, value, used = _slot(words, i, topic)
        pattern.append(slot)
        values += [] if value is None else [value]
        i += used
    return tuple(pattern), values


def _slot(words: list[str], i: int, topic: dict[str, str]) -> tuple[str, str | None, int]:
    """The slot at a place of a sentence, its value, and how many words it takes."""
    word = words[i]
    kind = wordings.this_kinds().get(word)
    if word == "this" and i + 1 < len(words) and words[i + 1] in KINDS:
        kind = words[i + 1]
    if kind is not None:
        used = 2 if word == "this" else 1
        return (f"<{kind}>", topic[kind], used) if kind in topic else (word, None, used)
    value = wordings.value_of_word().get(word)
    if value is not None:
        return f"<{value[0]}>", value[1], 1
    kind = _kind(word)
    return (f"<{kind}>", word, 1) if kind else (word.lower(), None, 1)


@cache
def _year_words() -> frozenset[str]:
    return frozenset(wordings.year_word(language) for language in LANGUAGES)


@cache
def _kind(word: str) -> str | None:
    if not word[0].isupper():
        return None
    try:
        return kind_of_name(word)
    except ValueError:
        return None
