"""Cut a text into chunks that are spans of its tokens: of one size, by sentences, or where the subject turns.

A token is a word or a punctuation mark. Chunks carry their places from the start, because a chunk that is
looked up in the text afterwards may be found at the wrong one of several places.
"""

import re
from collections.abc import Sequence
from itertools import pairwise

import numpy as np

from labkit.data.build import check_count

__all__ = ["Span", "chunk_texts", "fixed_chunks", "semantic_chunks", "sentence_chunks", "tokens_of"]

Span = tuple[int, int]  # places of tokens, or of characters: the first, and the one after the last

TOKEN = re.compile(r"\w+|[^\w\s]")
END = re.compile(r"[.!?:;](?=\s)|\n[ \t]*\n")  # where a sentence, or a piece of a list, ends


def tokens_of(text: str) -> list[Span]:
    """Where the tokens are: (first character, the one after the last) each.

    >>> tokens_of("a[10] = x.")
    [(0, 1), (1, 2), (2, 4), (4, 5), (6, 7), (8, 9), (9, 10)]
    """
    return [match.span() for match in TOKEN.finditer(text)]


def fixed_chunks(n_tokens: int, size: int, overlap: int = 0) -> list[Span]:
    """Chunks of so many tokens; the last may be shorter, and none lies wholly in the one before.

    overlap: tokens that a chunk shares with the one before it, below size.
    Raises ValueError for n_tokens or size below 1, or an overlap outside [0, size).

    >>> fixed_chunks(10, 4, overlap=1)
    [(0, 4), (3, 7), (6, 10)]
    """
    check_count("n_tokens", n_tokens)
    check_count("size", size)
    if not 0 <= overlap < size:
        raise ValueError(f"overlap must be from 0 to size - 1 = {size - 1}, got {overlap}")
    starts = range(0, max(1, n_tokens - overlap), size - overlap)
    return [(start, min(start + size, n_tokens)) for start in starts]


def sentence_chunks(text: str, *, size: int | None = None) -> list[Span]:
    """Sentences, as spans of tokens that together cover the text.

    A sentence ends at one of ``. ! ? : ;`` before white space, or at an empty line.
    size: put neighbours together up to so many tokens, and cut what is longer; None does neither.
    Raises ValueError for a text without tokens or a size below 1.

    >>> text = "One two. Three four five! Six."
    >>> sentence_chunks(text), sentence_chunks(text, size=7)
    ([(0, 3), (3, 7), (7, 9)], [(0, 7), (7, 9)])
    """
    ends = np.array([end for _, end in tokens_of(text)])
    if not len(ends):
        raise ValueError("text must hold tokens, it has none")
    cuts = [int(np.searchsorted(ends, match.end(), side="right")) for match in END.finditer(text)]
    pieces = [(a, b) for a, b in pairwise([0, *cuts, len(ends)]) if a < b]
    if size is None:
        return pieces
    check_count("size", size)
    chunks: list[Span] = []
    for start, end in pieces:
        if chunks and end - chunks[-1][0] <= size:
            chunks[-1] = (chunks[-1][0], end)
        else:
            chunks += [(at, min(at + size, end)) for at in range(start, end, size)]
    return chunks


def semantic_chunks(pieces: Sequence[Span], embeddings, *, size: int) -> list[Span]:
    r"""Put neighbouring pieces together where they are alike, at most ``size`` tokens.

    Of all ways to cut, that with the largest sum, over the chunks, of :math:`\sum_{i<j} (s_{ij} - \bar s)`:
    the cosine of each two pieces in one chunk, less the mean over pairs that are neighbours. It is found
    exactly, by dynamic programming, as in Chroma's cluster chunker [recalled].
    pieces: neighbouring spans of tokens in order, such as sentences.  embeddings: float[N, D], one each.
    A piece longer than size stays alone.  Raises ValueError for shapes that differ or a size below 1.

    >>> semantic_chunks([(0, 3), (3, 6), (6, 9)], [[1, 0], [1, 0], [0, 1]], size=9)
    [(0, 6), (6, 9)]
    """
    check_count("size", size)
    vectors = np.asarray(embeddings, dtype=float)
    count = len(pieces)
    if vectors.ndim != 2 or len(vectors) != count or not count:
        raise ValueError(f"embeddings must be [N, D] with N = {count} pieces, got {vectors.shape}")
    vectors = vectors / np.linalg.norm(vectors, axis=1, keepdims=True).clip(min=1e-12)
    mean = float((vectors[1:] * vectors[:-1]).sum(axis=1).mean()) if count > 1 else 0.0
    best, come = [0.0] + [-np.inf] * count, [0] * (count + 1)
    for end in range(1, count + 1):
        inside = 0.0
        for start in range(end - 1, -1, -1):
            if start < end - 1:
                if pieces[end - 1][1] - pieces[start][0] > size:
                    break
                inside += float((vectors[start + 1 : end] @ vectors[start] - mean).sum())
            if best[start] + inside > best[end]:
                best[end], come[end] = best[start] + inside, start
    chunks, end = [], count
    while end:
        chunks.append((pieces[come[end]][0], pieces[end - 1][1]))
        end = come[end]
    return chunks[::-1]


def chunk_texts(text: str, chunks: Sequence[Span], *, places: list[Span] | None = None) -> list[str]:
    """The text of each chunk, as it stands.

    places: ``tokens_of(text)``, where it is known.  Raises ValueError for a span outside the text.

    >>> chunk_texts("One two. Three!", [(0, 3), (3, 5)])
    ['One two.', 'Three!']
    """
    places = tokens_of(text) if places is None else places
    check_spans("chunks", chunks, len(places))
    return [text[places[start][0] : places[end - 1][1]] for start, end in chunks]


def check_spans(name: str, spans: Sequence[Span], limit: int | None = None) -> Sequence[Span]:
    """The spans, or a ValueError for one that is empty, negative or goes beyond the text."""
    for start, end in spans:
        if not 0 <= start < end or (limit is not None and end > limit):
            within = "" if limit is None else f" <= {limit}"
            raise ValueError(f"{name} must be spans with 0 <= start < end{within}, got ({start}, {end})")
    return spans
