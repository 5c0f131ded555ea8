"""Cut a text into passages that remember where they stood."""

import re
from typing import NamedTuple

from labkit.data.build import check_count

__all__ = ["Chunk", "chunks"]

WORD = re.compile(r"\S+")


class Chunk(NamedTuple):
    """A passage: its text, and its characters in the document, from start (included) to end (excluded)."""

    text: str
    start: int
    end: int


def chunks(text: str, *, words: int, overlap: int = 0) -> list[Chunk]:
    """Cut a text into passages of so many words; the last one may be shorter.

    words: of one passage, from 1 up; a word is what stands between white space.  overlap: words that a
    passage shares with the one before it, below ``words``. A text without words has no passages.
    Raises ValueError for words below 1 or an overlap outside [0, words).

    >>> [chunk.text for chunk in chunks("one two three four five", words=3, overlap=1)]
    ['one two three', 'three four five']
    """
    check_count("words", words)
    if not 0 <= overlap < words:
        raise ValueError(f"overlap must be from 0 to words - 1 = {words - 1}, got {overlap!r}")
    found = [match.span() for match in WORD.finditer(text)]
    made = []
    for first in range(0, len(found), words - overlap):
        part = found[first : first + words]
        made.append(Chunk(text[part[0][0] : part[-1][1]], part[0][0], part[-1][1]))
        if first + words >= len(found):
            break  # the rest is in this passage already
    return made
