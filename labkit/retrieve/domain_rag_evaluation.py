r"""How much of what was retrieved is evidence, token by token: recall, precision, IoU and precision omega.

A question needs the tokens :math:`R` of a text: one span, or several that are apart. A retriever brings the
tokens :math:`T` of its best chunks. Then

.. math:: \mathrm{recall} = \frac{|R \cap T|}{|R|}, \qquad \mathrm{precision} = \frac{|R \cap T|}{|T|}, \qquad
          \mathrm{IoU} = \frac{|R \cap T|}{|R \cup T|}, \qquad \Omega = \frac{|R|}{|F|}

where :math:`F` is the union of all chunks that hold any token of :math:`R`. Precision omega, :math:`\Omega`,
judges the chunks alone: it is the precision of a retriever that finds all of them and nothing else.
Jadon, Patil, Kumar (2025). *Enhancing Domain-Specific Retrieval-Augmented Generation: Synthetic Data
Generation and Evaluation using Reasoning Models.* Its code could not be read. The definitions are those of
Chroma's ``chunking_evaluation`` (Smith and Troynikov, 2024), which uses the same names; it measures in
characters, here it is in tokens. How texts are cut: ``labkit.retrieve.span_chunks``; where questions with
spans come from: ``labkit.retrieve.span_questions``.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

import numpy as np

from labkit.data.build import check_count
from labkit.retrieve.span_chunks import Span, check_spans, chunk_texts, tokens_of

__all__ = ["Scores", "TokenScores", "chunk_sweep", "cut_to_budget", "evaluate", "precision_omega"]
__all__ += ["token_scores"]

OVERLAPS = ("union", "sum")


class TokenScores(NamedTuple):
    """One question: recall, precision, iou, each in [0, 1]."""

    recall: float
    precision: float
    iou: float


class Scores(NamedTuple):
    """Many questions: recall, precision, iou, float64[Q] each."""

    recall: np.ndarray
    precision: np.ndarray
    iou: np.ndarray

    def mean(self) -> TokenScores:
        """The means over the questions."""
        return TokenScores(*(float(each.mean()) for each in self))


def token_scores(
    references: Sequence[Span], retrieved: Sequence[Span], *, overlap: str = "union"
) -> TokenScores:
    """Recall, precision and IoU of one question.

    references, retrieved: spans (start, end) of token places, start included, end not; in any order, and
    they may overlap.  overlap: what the size of T is. "union" counts each token once; "sum", as Chroma's
    code, as often as it was retrieved, so that overlapping chunks cost twice. Nothing retrieved scores 0.
    Raises ValueError for no references, an empty or negative span, or another overlap.

    >>> token_scores([(2, 6), (10, 12)], [(0, 5), (10, 15)])
    TokenScores(recall=0.8333333333333334, precision=0.5, iou=0.45454545454545453)
    """
    if overlap not in OVERLAPS:
        raise ValueError(f"overlap must be one of {', '.join(OVERLAPS)}, got {overlap!r}")
    needed, found = union(references), union(check_spans("retrieved", retrieved))
    if not needed:
        raise ValueError("references must not be empty: a question needs evidence")
    both, wanted = _shared(needed, found), _size(needed)
    brought = _size(found) if overlap == "union" else _size(retrieved)
    if not both:
        return TokenScores(0.0, 0.0, 0.0)
    return TokenScores(both / wanted, both / brought, both / (brought + wanted - both))


def precision_omega(references: Sequence[Span], chunks: Sequence[Span]) -> float:
    """The precision of a perfect retriever: of all chunks that hold a needed token, the share needed.

    A chunk that only touches a reference holds none of it. Needed tokens that no chunk holds count for
    nothing, above or below.  Raises ValueError for no references, an empty span, or no chunk that fits.

    >>> precision_omega([(2, 6)], [(0, 4), (4, 8), (8, 12)])
    0.5
    """
    needed = union(references)
    if not needed:
        raise ValueError("references must not be empty: a question needs evidence")
    spans = np.array(check_spans("chunks", chunks)).reshape(-1, 2)
    holds = np.zeros(len(spans), dtype=bool)
    for start, end in needed:
        holds |= (spans[:, 0] < end) & (spans[:, 1] > start)
    if not holds.any():
        raise ValueError("chunks must hold some token of the references, none does")
    whole = union([tuple(span) for span in spans[holds].tolist()])
    return _shared(needed, whole) / _size(whole)


def cut_to_budget(chunks: Sequence[Span], budget: int) -> list[Span]:
    """The first chunks, so many tokens in all; the last one is cut at its end.

    >>> cut_to_budget([(20, 30), (0, 10), (50, 60)], 15)
    [(20, 30), (0, 5)]
    """
    left, kept = check_count("budget", budget), []
    for start, end in chunks:
        if left == 0:
            break
        kept.append((start, min(end, start + left)))
        left -= kept[-1][1] - start
    return kept


def evaluate(
    references: Sequence[Sequence[Span]],
    chunks: Sequence[Span],
    ranking: np.ndarray,
    *,
    k: int | None = None,
    budget: int | None = None,
    overlap: str = "union",
) -> Scores:
    """Score the best chunks of each question.

    references: the spans of each question.  chunks: the spans that were indexed.  ranking: int64[Q, n], the
    chunks' numbers, best first, as an index of ``labkit.retrieval`` gives them.
    k: how many chunks count.  budget: how many *tokens* count, the last chunk cut (:func:`cut_to_budget`).
    Give one of the two.  overlap: see :func:`token_scores`.
    Raises ValueError for both or none, k above n, a budget that the n chunks do not fill, or shapes that
    differ.

    >>> evaluate([[(0, 4)]], [(0, 4), (4, 8)], np.array([[1, 0]]), k=2).precision.tolist()
    [0.5]
    """
    ranking = np.asarray(ranking)
    if ranking.ndim != 2 or len(ranking) != len(references):
        raise ValueError(f"ranking must be [Q, n] with Q = {len(references)} questions, got {ranking.shape}")
    if (k is None) == (budget is None):
        raise ValueError(f"give either k or budget, got k = {k} and budget = {budget}")
    if k is not None:
        check_count("k", k, high=ranking.shape[1])
    rows = []
    for needed, order in zip(references, ranking.tolist(), strict=True):
        found = [chunks[number] for number in order[:k]]
        if budget is not None:
            if _size(found) < budget:
                raise ValueError(f"{len(found)} chunks hold {_size(found)} tokens, fewer than {budget}")
            found = cut_to_budget(found, budget)
        rows.append(token_scores(needed, found, overlap=overlap))
    return Scores(*np.array(rows, dtype=float).reshape(-1, 3).T)


def chunk_sweep(
    text: str,
    questions: Sequence,
    chunkings: Mapping[str, Sequence[Span]],
    retrievers: Mapping[str, Callable],
    *,
    k: int = 5,
    overlap: str = "union",
) -> list[dict]:
    """Score every way to cut a text with every retriever: one row each, means over the questions.

    questions: with ``question`` and ``references``, such as ``labkit.retrieve.span_questions`` makes.
    chunkings: name -> spans of tokens.  retrievers: name -> a function of the chunks' texts that returns a
    function (queries, k) -> int64[Q, k], the numbers of the best chunks.
    Columns: chunks, retriever, recall, precision, iou, omega (which no retriever changes).
    Raises ValueError where there are no questions, or fewer chunks than k.

    >>> from labkit.retrieval import BM25Index
    >>> from labkit.retrieve.span_chunks import fixed_chunks
    >>> from labkit.retrieve.span_questions import SpanQA
    >>> asked = [SpanQA("who eats fish", [(0, 4)])]
    >>> text = "The cat eats fish. The dog eats meat."
    >>> row, = chunk_sweep(text, asked, {"five": fixed_chunks(10, 5)},
    ...                    {"BM25": lambda texts: lambda q, k: BM25Index(texts).search(q, k).ids}, k=1)
    >>> row["recall"], row["omega"]
    (1.0, 0.8)
    """
    if not questions:
        raise ValueError("questions must not be empty")
    places, rows = tokens_of(text), []
    references = [each.references for each in questions]
    for name, chunks in chunkings.items():
        passages = chunk_texts(text, chunks, places=places)
        omega = float(np.mean([precision_omega(needed, chunks) for needed in references]))
        for other, build in retrievers.items():
            check_count("k", k, high=len(chunks))
            ranking = build(passages)([each.question for each in questions], k)
            found = evaluate(references, chunks, ranking, k=k, overlap=overlap).mean()
            rows.append({"chunks": name, "retriever": other, **found._asdict(), "omega": omega})
    return rows


def union(spans: Sequence[Span]) -> list[Span]:
    """The same tokens as spans that are apart, in order; spans that touch become one.

    >>> union([(5, 7), (0, 3), (2, 5)])
    [(0, 7)]
    """
    merged: list[Span] = []
    for start, end in sorted(check_spans("spans", spans)):
        if merged and start <= merged[-1][1]:
            merged[-1] = (merged[-1][0], max(merged[-1][1], end))
        else:
            merged.append((start, end))
    return merged


def _shared(some: Sequence[Span], others: Sequence[Span]) -> int:
    """How many tokens two unions have in common."""
    return sum(max(0, min(a[1], b[1]) - max(a[0], b[0])) for a in some for b in others)


def _size(spans: Sequence[Span]) -> int:
    return sum(end - start for start, end in spans)
