"""All sentences of the grammar: from the wordings of a language to templates, and back from patterns."""

import re
from functools import cache
from typing import NamedTuple

import numpy as np

from labkit.data.facts.english import (
    ADS,
    ENGLISH,
    FILLERS,
    FRAMES,
    MISSPELT,
    NOUN_FRAMES,
)
from labkit.data.facts.invented import INVENTED
from labkit.data.facts.relations import RELATIONS, VALUES

__all__ = [
    "LANGUAGES",
    "STYLES",
    "TOKEN",
    "WORDS",
    "Pattern",
    "advertisement",
    "patterns",
    "questions",
    "roughen",
    "smooth",
    "templates",
    "this",
    "this_kinds",
    "tokens",
    "translate",
    "value_of_word",
    "year_word",
]

STYLES = ("plain", "encyclopedia", "web", "dialogue", "qa", "simple", "terse")
LANGUAGES = ("english", *INVENTED)
TOKEN = re.compile(r"[A-Za-z]+|\d+|[^\sA-Za-z\d]|\n")


def tokens(text: str) -> list[str]:
    """Words, numbers and single punctuation marks; line breaks stay.

    >>> tokens("a: Nobur, in 1987.")
    ['a', ':', 'Nobur', ',', 'in', '1987', '.']
    """
    return TOKEN.findall(text)


class Pattern(NamedTuple):
    """What a sentence with its slots says: which relation, and whether the subject comes first."""

    relation: str
    subject_first: bool


# Templates


@cache
def templates(language: str) -> dict[tuple[str, str, bool], tuple[str, ...]]:
    """(relation, style, inverse) -> the sentences with {s} and {o}, three or more of each."""
    build = _english if language == "english" else _invented
    return {
        (relation, style, inverse): tuple(dict.fromkeys(build(relation, style, inverse, language)))
        for relation in RELATIONS
        for style in STYLES
        for inverse in (False, True)
    }


@cache
def questions(language: str) -> dict[tuple[str, str], tuple[str, ...]]:
    """(relation, "object" or "subject" asked for) -> the questions, with {s} or {o}, without the mark."""
    if language != "english":
        words = INVENTED[language]
        return {
            (relation, ask): (text.replace("{v}", words.verbs[relation]),)
            for relation in RELATIONS
            for ask, text in (("object", words.ask), ("subject", words.ask_back))
        }
    table = {}
    for relation, words in ENGLISH.items():
        unit = " coins" if relation == "costs" else ""
        table[relation, "object"] = (words.ask, f"which {words.key} does {{s}} have")
        table[relation, "subject"] = (words.ask_back, f"who or what has {{o}}{unit} as {words.key}")
    return table


def _english(relation: str, style: str, inverse: bool, language: str) -> list[str]:
    words = ENGLISH[relation]
    plain = words.plain_back if inverse else words.plain
    formal = words.formal_back if inverse else words.formal
    casual = words.casual_back if inverse else words.casual
    if style in ("simple", "terse"):
        noun = words.simple if style == "simple" else words.key
        return [text.replace("{n}", noun) for text in NOUN_FRAMES[f"{style}_back" if inverse else style]]
    if style == "qa":
        return _asked(questions(language), NOUN_FRAMES["qa"], relation, inverse)
    clauses = {"plain": plain, "encyclopedia": formal, "dialogue": casual}.get(style)
    if style == "web":  # broken order: what stands behind is put in front
        clauses = [*casual, *plain, *(_broken(each) for each in (*casual, *plain))]
    return [frame.replace("{c}", clause) for clause in clauses for frame in FRAMES[style]]


def _invented(relation: str, style: str, inverse: bool, language: str) -> list[str]:
    words = INVENTED[language]
    if style == "qa":
        return _asked(questions(language), words.qa, relation, inverse)
    if style == "terse":
        texts = words.terse_back if inverse else words.terse
    else:
        clauses = words.back if inverse else words.forward
        texts = [frame.replace("{c}", clause) for clause in clauses for frame in words.frames[style]]
    return [text.replace("{v}", words.verbs[relation]) for text in texts]


def _asked(table, frames, relation: str, inverse: bool) -> list[str]:
    ask, answer = ("subject", "{s}") if inverse else ("object", "{o}")
    return [
        frame.replace("{q}", question).replace("{a}", answer)
        for question in table[relation, ask]
        for frame in frames
    ]


def _broken(clause: str) -> str:
    """``{s} lives in {o}`` -> ``{o}, {s} lives in``; other orders stay."""
    for last in ("{o}", "{s}"):
        if clause.endswith(f" {last}"):
            return f"{last}, {clause[: -len(last) - 1]}"
    return clause


# Words


def translate(value: str, language: str) -> str:
    """A value in another language; names and numbers are the same in all."""
    return value if language == "english" else INVENTED[language].values.get(value, value)


def this(kind: str, language: str) -> str:
    """How a text refers to a thing that it has just named."""
    return f"this {kind}" if language == "english" else INVENTED[language].this[kind]


def year_word(language: str) -> str:
    return "in" if language == "english" else INVENTED[language].year


def advertisement(language: str, rng: np.random.Generator) -> str:
    texts = ADS if language == "english" else INVENTED[language].ads
    return texts[rng.integers(len(texts))]


@cache
def this_kinds() -> dict[str, str]:
    """The invented words for "this person" and the like -> kind."""
    return {word: kind for words in INVENTED.values() for kind, word in words.this.items()}


@cache
def value_of_word() -> dict[str, tuple[str, str]]:
    """A word that is a value, in any language -> (kind, the English value)."""
    table = {value: (kind, value) for kind, values in VALUES.items() for value in values}
    for words in INVENTED.values():
        table |= {word: table[value] for value, word in words.values.items()}
    return table


# Noise of the web style, and how it is taken out again


def roughen(template: str, language: str, rng: np.random.Generator) -> str:
    """Put in filler words (one in ten) and, in English, the usual misspellings (one in four)."""
    fillers = FILLERS if language == "english" else INVENTED[language].fillers
    out = []
    for word in template.split():
        if out and rng.random() < 0.1:
            out.append(fillers[rng.integers(len(fillers))])
        wrong = MISSPELT.get(word) if language == "english" else None
        out.append(wrong if wrong and rng.random() < 0.25 else word)
    return " ".join(out)


@cache
def _noise() -> tuple[frozenset[str], dict[str, str]]:
    fillers = {*FILLERS, *(word for words in INVENTED.values() for word in words.fillers)}
    return frozenset(fillers), {wrong: right for right, wrong in MISSPELT.items()}


def smooth(words: list[str]) -> list[str]:
    """Words without fillers, spelt right."""
    fillers, right = _noise()
    return [right.get(word, word) for word in words if word not in fillers]


# Patterns


@cache
def patterns() -> dict[tuple[str, ...], Pattern]:
    """Every sentence of every language, its slots by kind -> what it says.

    Raises AssertionError if two facts could be said in the same words: then the grammar is broken.
    """
    table: dict[tuple[str, ...], Pattern] = {}
    for language in LANGUAGES:
        for (relation, _, _), texts in templates(language).items():
            kinds = RELATIONS[relation]
            for text in texts:
                order = text.index("{s}") < text.index("{o}")
                slots = text.replace("{s}", " SS ").replace("{o}", " OO ")
                names = {"SS": f"<{kinds.subject_kind}>", "OO": f"<{kinds.object_kind}>"}
                words = smooth(tokens(slots))
                for sentence in _split(words):
                    if "SS" in sentence:
                        key = tuple(names.get(word, word) for word in sentence)
                        entry = table.setdefault(key, Pattern(relation, order))
                        assert entry == Pattern(relation, order), f"{key} says two things"
    return table


def _split(words: list[str]) -> list[list[str]]:
    sentences: list[list[str]] = [[]]
    for word in words:
        if word in ".!":
            sentences.append([])
        else:
            sentences[-1].append(word)
    return sentences


def _words() -> tuple[str, ...]:
    texts = [text for language in LANGUAGES for group in templates(language).values() for text in group]
    texts += [text for language in LANGUAGES for group in questions(language).values() for text in group]
    texts += [" ".join((*FILLERS, *ADS, *MISSPELT.values(), "this person company city product in a b"))]
    for words in INVENTED.values():
        texts.append(" ".join((*words.this.values(), *words.values.values(), *words.fillers, *words.ads)))
        texts.append(words.year)
    texts.append(" ".join(value for kind in ("profession", "good", "sort") for value in VALUES[kind]))
    found = {word for text in texts for word in tokens(text.replace("{s}", " ").replace("{o}", " "))}
    return tuple(sorted(word for word in found if word.isalpha()))


WORDS = _words()
