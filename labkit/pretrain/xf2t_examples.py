"""Pairs of English facts and sentences in other languages, with names whose ends are hard to see.

The sentences are those of the facts grammar (two invented languages with an order of words of their own,
and English). The world is small, four relations and sixteen syllables, so that a model of a hundred
thousand weights learns it in seconds. Names have one or two words. In some, one word is a relation's label,
as in *Teacher's Village*: then the string "Ba teacher employer Fi" has two readings, and only structure
tells which is meant. How many names are so is a setting of this module, ``ambiguity``, and not a property
of any real data.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from labkit.data import facts

__all__ = ["LABELS", "Pairs", "masked_copies", "pairs", "sentence", "vocabulary"]

LABELS = {
    "born_in": "birthplace",
    "lives_in": "residence",
    "works_for": "employer",
    "taught_by": "teacher",
}
LANGUAGES = ("tavi", "orsk")  # that the sentences are in by default: not the language of the facts
NAMES = [syllable for syllable in facts.SYLLABLES if syllable[0].isupper()][:16]


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
    languages: Sequence[str] = LANGUAGES,
    ambiguity: float = 0.3,
) -> Pairs:
    """Draw pairs, the languages in turn. One fact each, with one wording per relation and language.

    ambiguity: of the names with two words (half of all), the share in which one word is a label, in [0, 1].
    Raises ValueError for a count below 1, another language, or an ambiguity outside [0, 1].

    >>> drawn = pairs(3, rng=np.random.default_rng(0), ambiguity=0)
    >>> drawn.languages
    ['tavi', 'orsk', 'tavi']
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
        drawn.sentences.append(sentence(relation, subject, obj, language))
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
        for word in sentence(relation, "Ba", "Be", language).split()
    }
    return sorted({*frame, *LABELS.values(), *NAMES, *words})


def _name(rng: np.random.Generator, ambiguity: float) -> str:
    word = str(rng.choice(NAMES))
    if rng.random() < 0.5:
        return word
    pool = list(LABELS.values()) if rng.random() < ambiguity else NAMES
    second = str(rng.choice(pool))
    return f"{word} {second}" if rng.random() < 0.5 else f"{second} {word}"


def sentence(relation: str, subject: str, obj: str, language: str) -> str:
    """What the grammar says: of two names that it knows, which are then exchanged for these.

    relation: one of ``LABELS``.  language: one of ``facts.LANGUAGES``. Raises ValueError for others.

    >>> sentence("works_for", "Ba teacher", "Fi", "tavi")
    'ka Ba teacher ne Fi sova.'
    """
    if relation not in LABELS:
        raise ValueError(f"relation must be among {tuple(LABELS)}, got {relation!r}")
    if language not in facts.LANGUAGES:
        raise ValueError(f"language must be among {facts.LANGUAGES}, got {language!r}")
    kinds, rng = facts.RELATIONS[relation], np.random.default_rng(0)
    first = second = facts.name(kinds.subject_kind, rng)
    while first == second:
        second = facts.name(kinds.object_kind, rng)
    said = facts.say(facts.Fact(first, relation, second), language=language, rng=np.random.default_rng(0))
    return said.replace(first, "\0").replace(second, obj).replace("\0", subject)
