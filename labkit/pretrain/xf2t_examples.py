"""Pairs of English facts and sentences in three languages, with names whose ends are hard to see.

The sentences are those of the facts grammar (English and two invented languages with another order of
words). Names have one or two words. In some, the second word is a relation's label, as in *City of Joy* or
*The Director*: then the string "Ba teacher mayor Fi" has two readings, and only structure tells which is
meant. How many names are so is a setting of this module, ``ambiguity``, and not a property of any real data.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from labkit.data import facts

__all__ = ["LABELS", "Pairs", "masked_copies", "pairs", "vocabulary"]

LABELS = {
    "born_in": "birthplace",
    "lives_in": "residence",
    "works_for": "employer",
    "taught_by": "teacher",
    "based_in": "headquarters",
    "led_by": "director",
    "makes": "product",
    "mayor": "mayor",
    "designed_by": "designer",
}
NAMES = [syllable for syllable in facts.SYLLABLES if syllable[0].isupper()][:24]


class Pairs(NamedTuple):
    """Per example: its facts, the language, the sentence, and the names that the sentence contains."""

    facts: list[list[tuple[str, str, str]]]
    languages: list[str]
    sentences: list[str]
    names: list[list[str]]

    def only(self, language: str) -> "Pairs":
        """The examples of one language."""
        kept = [i for i, each in enumerate(self.languages) if each == language]
        return Pairs(*([column[i] for i in kept] for column in self))

    def __add__(self, other: "Pairs") -> "Pairs":
        return Pairs(*(a + b for a, b in zip(self, other, strict=True)))


def pairs(
    count: int,
    *,
    rng: np.random.Generator,
    languages: Sequence[str] = facts.LANGUAGES,
    ambiguity: float = 0.3,
) -> Pairs:
    """Draw pairs, the languages in turn. One fact each, with one wording per relation and language.

    ambiguity: of the names with two words (half of all), the share whose second word is a label, in [0, 1].
    Raises ValueError for a count below 1, another language, or an ambiguity outside [0, 1].

    >>> drawn = pairs(3, rng=np.random.default_rng(0), ambiguity=0)
    >>> drawn.languages
    ['english', 'tavi', 'orsk']
    """
    if count < 1:
        raise ValueError(f"count must be at least 1, got {count}")
    if not 0 <= ambiguity <= 1:
        raise ValueError(f"ambiguity must lie in [0, 1], got {ambiguity}")
    for language in languages:
        if language not in facts.LANGUAGES:
            raise ValueError(f"languages must be among {facts.LANGUAGES}, got {language!r}")
    drawn = Pairs([], [], [], [])
    for i in range(count):
        relation = str(rng.choice(list(LABELS)))
        subject, obj = _name(rng, ambiguity), _name(rng, ambiguity)
        while subject == obj:
            obj = _name(rng, ambiguity)
        language = languages[i % len(languages)]
        drawn.facts.append([(subject, LABELS[relation], obj)])
        drawn.languages.append(language)
        drawn.sentences.append(_sentence(relation, subject, obj, language))
        drawn.names.append([subject, obj])
    return drawn


def masked_copies(sentences: Sequence[str], *, share: float = 0.15, rng: np.random.Generator) -> list[str]:
    """The sentences with a share of their words replaced by <mask>: what pretraining reads and restores."""
    if not 0 <= share <= 1:
        raise ValueError(f"share must lie in [0, 1], got {share}")
    return [
        " ".join("<mask>" if rng.random() < share else word for word in sentence.split())
        for sentence in sentences
    ]


def vocabulary() -> list[str]:
    """All words that inputs and sentences may contain, for :func:`labkit.language.lexicon`."""
    frame = ["rdf", "to", "text", ":", ".", *facts.LANGUAGES]
    words = {
        word.strip(".,")
        for relation in LABELS
        for language in facts.LANGUAGES
        for word in _sentence(relation, "Ba", "Be", language).split()
    }
    return sorted({*frame, *LABELS.values(), *NAMES, *words})


def _name(rng: np.random.Generator, ambiguity: float) -> str:
    word = str(rng.choice(NAMES))
    if rng.random() < 0.5:
        return word
    pool = list(LABELS.values()) if rng.random() < ambiguity else NAMES
    second = str(rng.choice(pool))
    return f"{word} {second}" if rng.random() < 0.5 else f"{second} {word}"


def _sentence(relation: str, subject: str, obj: str, language: str) -> str:
    """The grammar's sentence, said of two names that it knows, which are then exchanged for ours."""
    kinds, rng = facts.RELATIONS[relation], np.random.default_rng(0)
    first = second = facts.name(kinds.subject_kind, rng)
    while first == second:
        second = facts.name(kinds.object_kind, rng)
    said = facts.say(facts.Fact(first, relation, second), language=language, rng=np.random.default_rng(0))
    return said.replace(first, "\0").replace(second, obj).replace("\0", subject)
