r"""Untie the Knots (UtK): cut the documents of a long window into chunks, and shuffle the chunks of all.

Where short documents are packed into a long window, the next token still hangs on the few before it. UtK
keeps the documents and the next-token loss, and changes the order. A document of :math:`n` tokens is cut
into :math:`h` chunks, each cut is marked by a pair of *knot* tokens :math:`e_j, s_j`, and the chunks of
all documents of the window are permuted together:

.. math:: (c_1 e_1,\; s_1 c_2 e_2,\; \dots,\; s_{h-1} c_h)_{\text{doc } 1, 2, \dots}
          \;\longrightarrow\; \text{one uniform permutation of them all}

To go on with :math:`c_2` the model has to find :math:`c_1`, perhaps the whole window away. As an option each
chunk gets a random name, and after a document's last chunk the model writes the names of all of them in
order (*backtracing*). Knots and names are not trained on; the list of names is.
Tian, Zheng, Chen, Wang, Zhang, Zhang (2024). *Untie the Knots: An Efficient Data Augmentation Strategy for
Long-Context Pre-Training in Language Models.* arXiv:2409.04774; details from the authors' code.
Other than there: names are distinct within a window (there drawn one by one); the last document's list
names its last chunk (there another one, by a wrong index); no fixed chunks of 1,024 tokens.
"""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

__all__ = ["Backtrace", "Tangled", "interleave_round_robin", "tie_knots", "tie_windows", "untie"]


class Backtrace(NamedTuple):
    """The tokens of the backtracing task: ``<D> name </D>`` and ``<S> name <s> name </S>``.

    open, close, start, between, end: five reserved tokens.  alphabet: the tokens that names are made of.
    length: tokens per name; the authors draw six characters of 62.
    """

    open: int
    close: int
    start: int
    between: int
    end: int
    alphabet: Sequence[int]
    length: int = 6


class Tangled(NamedTuple):
    """A window after tying.

    tokens: int64[T].  mask: bool[T], False where a token's prediction is not trained on.
    provenance: int64[T, 3], for each token its document, chunk and position in the document; -1 for
    inserted tokens.
    """

    tokens: np.ndarray
    mask: np.ndarray
    provenance: np.ndarray


class _Piece(NamedTuple):
    document: int
    chunk: int
    start: int
    tokens: np.ndarray


def tie_knots(
    tokens: np.ndarray,
    *,
    eod: int,
    knots: Sequence[int],
    tied: float = 0.3,
    chunks: Sequence[float] = (0.0, 0.5, 0.5),
    cut: str = "random",
    keep_order: bool = False,
    shuffle: bool = True,
    backtrace: Backtrace | None = None,
    length: int | None = None,
    rng: np.random.Generator,
) -> Tangled:
    """Cut, tie and shuffle one packed window.

    tokens: int[T], documents that end with ``eod``; the window may cut the last one off.
    knots: at least 2 (h - 1) reserved tokens for documents of up to h chunks; ``knots[2 j]`` ends chunk j,
    ``knots[2 j + 1]`` starts the next.  tied: probability that the window is tied; else each document
    stays one chunk.  chunks: probabilities of 1, 2, 3, … chunks for each document of a tied window.
    A document with fewer tokens than chunks is not cut.
    cut: "random" places, each set of them as likely as any other, or "equal" lengths.
    keep_order: the chunks of a document stay in their order among themselves; off, as in the authors' code.
    shuffle: False leaves every chunk in its place, with the same cuts and knots: the matched control.
    backtrace: its tokens, or None for no such task.  The last chunk of the last document stays last.
    length: tokens to keep, by default T: what is inserted pushes the end of the window out.
    rng: drawn from in the order of the authors' code; the draws before names do not depend on
    ``keep_order``, ``shuffle`` and ``backtrace``.
    Raises ValueError for too few knots, probabilities that do not sum to 1, reserved tokens that occur
    in the window or twice, an alphabet with too few names, or an unknown ``cut``.

    >>> window = np.array([5, 6, 7, 0, 8, 9, 8, 0])
    >>> rng = np.random.default_rng(5)
    >>> tie_knots(window, eod=0, knots=(1, 2), tied=1, chunks=(0, 1), length=99, rng=rng).tokens.tolist()
    [2, 7, 0, 8, 9, 1, 5, 6, 1, 2, 8, 0]
    """
    tokens = _window(tokens)
    reserved = [*knots, *(backtrace[:5] if backtrace else ())]
    _check_reserved(tokens, reserved, eod)
    if len(knots) < 2 * (len(chunks) - 1):
        raise ValueError(f"knots: {len(chunks)} chunks take {2 * (len(chunks) - 1)} tokens, got {len(knots)}")
    pieces = _cut(tokens, eod, tied, chunks, cut, rng)
    order = _tangle([piece.document for piece in pieces], keep_order, rng)
    if not shuffle:
        order = np.arange(len(pieces))
    many = np.bincount([piece.document for piece in pieces]) > 1
    names = _names(backtrace, len(pieces), rng) if backtrace else None
    left = np.bincount([piece.document for piece in pieces])
    parts = []
    for i in order:
        piece = pieces[i]
        left[piece.document] -= 1
        named = names is not None and many[piece.document]
        if named:
            parts.append(_inserted([backtrace.open, *names[i], backtrace.close], trained=False))
        if piece.chunk > 0:
            parts.append(_inserted([knots[2 * piece.chunk - 1]], trained=False))
        parts.append(_content(piece))
        if i + 1 < len(pieces) and pieces[i + 1].document == piece.document:
            parts.append(_inserted([knots[2 * piece.chunk]], trained=False))
        if named and left[piece.document] == 0:  # the chunk of its document that comes last
            listed = [names[k] for k, other in enumerate(pieces) if other.document == piece.document]
            parts.append(_inserted([backtrace.start], trained=False))
            parts.append(_inserted(_joined(listed, backtrace), trained=True))
    return _assemble(parts, reserved, backtrace, len(tokens) if length is None else length)


def untie(tangled: Tangled) -> list[np.ndarray]:
    """The documents as they were, in order: the exact inverse of tying, of as much as was kept.

    >>> window = np.array([5, 6, 7, 0, 8, 9, 8, 0])
    >>> tangled = tie_knots(window, eod=0, knots=(1, 2), tied=1, chunks=(0, 1), length=99,
    ...                     rng=np.random.default_rng(5))
    >>> [document.tolist() for document in untie(tangled)]
    [[5, 6, 7, 0], [8, 9, 8, 0]]
    """
    own = tangled.provenance[:, 0] >= 0
    tokens, (document, _, position) = tangled.tokens[own], tangled.provenance[own].T
    order = np.lexsort((position, document))
    breaks = np.flatnonzero(np.diff(document[order])) + 1
    return np.split(tokens[order], breaks) if len(order) else []


def interleave_round_robin(
    tokens: np.ndarray,
    *,
    eod: int,
    tied: float = 1.0,
    chunks: Sequence[float] = (0.0, 0.5, 0.5),
    cut: str = "random",
    rng: np.random.Generator,
) -> Tangled:
    """The older interleaving that the authors' code has as a baseline: first chunks, second chunks, …

    The documents take turns in their order, without knots, names or a shuffle.  Arguments, errors and
    result as in :func:`tie_knots`; nothing is inserted, so nothing is lost and everything is trained on.

    >>> window = np.array([5, 6, 7, 0, 8, 9, 8, 0])
    >>> rng = np.random.default_rng(0)
    >>> interleave_round_robin(window, eod=0, chunks=(0, 1), cut="equal", rng=rng).tokens.tolist()
    [5, 6, 8, 9, 7, 0, 8, 0]
    """
    tokens = _window(tokens)
    pieces = _cut(tokens, eod, tied, chunks, cut, rng)
    turns = sorted(pieces, key=lambda piece: (piece.chunk, piece.document))
    return _assemble([_content(piece) for piece in turns], [], None, len(tokens))


def tie_windows(
    windows: np.ndarray | Tensor, tie: Callable[..., Tangled], *, seed: int
) -> tuple[Tensor, Tensor]:
    """Tie many windows, each with a generator of its own: tokens int64[N, T] and mask bool[N, T].

    windows: int[N, T].  tie: called as ``tie(window, rng=rng)``, such as a partial of :func:`tie_knots`.
    Window i comes out the same whatever the others are, as in the authors' data set.

    >>> from functools import partial
    >>> tie = partial(tie_knots, eod=0, knots=(1, 2), tied=1, chunks=(0, 1))
    >>> tokens, mask = tie_windows(np.array([[5, 6, 7, 0, 8, 9, 8, 0]] * 4), tie, seed=0)
    >>> tokens.shape, mask.dtype
    (torch.Size([4, 8]), torch.bool)
    """
    made = [tie(np.asarray(window), rng=np.random.default_rng([seed, i])) for i, window in enumerate(windows)]
    if not made:
        raise ValueError("windows must not be empty")
    columns = zip(*((each.tokens, each.mask) for each in made), strict=True)
    tokens, mask = (torch.from_numpy(np.stack(column)) for column in columns)
    return tokens, mask


def _window(tokens: np.ndarray) -> np.ndarray:
    tokens = np.asarray(tokens)
    if tokens.ndim != 1 or not len(tokens) or tokens.dtype.kind not in "iu":
        raise ValueError(f"tokens must be integers int[T], T >= 1, got {tokens.dtype}{list(tokens.shape)}")
    return tokens.astype(np.int64)


def _check_reserved(tokens: np.ndarray, reserved: list[int], eod: int) -> None:
    if len({*reserved, eod}) <= len(reserved):
        raise ValueError(f"knots, backtrace and eod must be different tokens, got {[*reserved, eod]}")
    if (found := np.intersect1d(tokens, reserved)).size:
        raise ValueError(f"tokens must not contain reserved ones, got {found.tolist()}")


def _cut(tokens, eod: int, tied: float, chunks: Sequence[float], cut: str, rng) -> list[_Piece]:
    """The chunks of all documents, in the order of the window."""
    if not 0 <= tied <= 1:
        raise ValueError(f"tied must lie in [0, 1], got {tied}")
    if not len(chunks) or min(chunks) < 0 or abs(sum(chunks) - 1) > 1e-6:
        raise ValueError(f"chunks must be probabilities that sum to 1, got {tuple(chunks)}")
    if cut not in ("random", "equal"):
        raise ValueError(f"cut must be 'random' or 'equal', got {cut!r}")
    whole = [1.0] + [0.0] * (len(chunks) - 1)
    chances = chunks if rng.choice(2, 1, p=[1 - tied, tied])[0] else whole
    ends = np.flatnonzero(tokens == eod) + 1
    pieces = []
    for document, part in enumerate(part for part in np.split(tokens, ends) if len(part)):
        count, size = rng.choice(len(chances), 1, p=chances)[0] + 1, len(part)
        if size < count:
            places = []
        elif cut == "random":
            places = np.sort(1 + rng.choice(size - 1, count - 1, replace=False))
        else:
            places = size // count * np.arange(1, count)
        starts = [0, *places]
        parts = np.split(part, places)
        pieces += [_Piece(document, k, *each) for k, each in enumerate(zip(starts, parts, strict=True))]
    return pieces


def _tangle(documents: Sequence[int], keep_order: bool, rng: np.random.Generator) -> np.ndarray:
    """For each place of the new window, which piece stands there; the last piece stays last."""
    places = rng.permutation(len(documents) - 1)
    if keep_order:  # the places of a document, sorted, go to its chunks in their order
        owner = np.asarray(documents[:-1])
        for document in np.unique(owner):
            places[owner == document] = np.sort(places[owner == document])
    return np.append(np.argsort(places), len(documents) - 1)


def _names(backtrace: Backtrace, count: int, rng: np.random.Generator) -> list[np.ndarray]:
    """A name for each piece, all different."""
    letters, size = np.asarray(backtrace.alphabet), backtrace.length
    possible = len(letters) ** size
    if possible < count:
        raise ValueError(f"backtrace: {len(letters)} tokens make {possible} names, {count} are needed")
    numbers = rng.choice(possible, count, replace=False)
    return [letters[number // len(letters) ** np.arange(size) % len(letters)] for number in numbers]


def _joined(names: list[np.ndarray], backtrace: Backtrace) -> list[int]:
    """What is trained on after ``<S>``: the names, a token between each two, and ``</S>``."""
    between = [token for name in names for token in (*name, backtrace.between)]
    return [*between[:-1], backtrace.end]


def _content(piece: _Piece) -> tuple[np.ndarray, bool, np.ndarray]:
    positions = piece.start + np.arange(len(piece.tokens))
    columns = np.full_like(positions, piece.document), np.full_like(positions, piece.chunk), positions
    return piece.tokens, True, np.stack(columns, axis=1)


def _inserted(tokens: Sequence[int], *, trained: bool) -> tuple[np.ndarray, bool, np.ndarray]:
    return np.asarray(tokens, np.int64), trained, np.full((len(tokens), 3), -1)


def _assemble(parts, reserved: list[int], backtrace: Backtrace | None, length: int) -> Tangled:
    tokens = np.concatenate([part for part, _, _ in parts])[:length]
    mask = np.concatenate([np.full(len(part), trained) for part, trained, _ in parts])[:length]
    provenance = np.concatenate([origin for _, _, origin in parts])[:length]
    # What follows a knot, a name or a list can't be known from it: it is not trained on either.
    blind = [token for token in reserved if backtrace is None or token not in backtrace[2:4]]
    mask[1:] &= ~np.isin(tokens[:-1], blind)
    return Tangled(tokens, mask, provenance)
