"""Two indexes with one interface, BM25 by ``bm25s`` and nearest vectors by ``faiss``, and their fusion."""

import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from labkit.data.build import check_count

__all__ = ["BM25Index", "DenseIndex", "Hits", "fuse"]

ABOUT, PASSAGES, VECTORS = "index.json", "passages.json", "vectors.faiss"


class Hits(NamedTuple):
    """The best passages of each query, best first: scores float32[Q, k], ids int64[Q, k]."""

    scores: np.ndarray
    ids: np.ndarray


class BM25Index:
    """Passages that can be asked by their words (Robertson and Zaragoza, 2009; Lucene's form of it).

    .. math:: s(q, d) = \\sum_{t \\in q} \\log\\Bigl(1 + \\frac{N - n_t + 1/2}{n_t + 1/2}\\Bigr)
        \\frac{f_{t,d}}{f_{t,d} + k_1 (1 - b + b\\, |d| / \\overline{|d|})}

    A word is a run of letters, digits and underscores, in lower case; no word is left out, none is stemmed.
    A score of 0 says that a passage has none of the query's words.

    passages: texts, any number.  k1: from 0 up, how soon more of the same word stops to count.
    b: in [0, 1], how much long passages are held back.
    Raises TypeError for a single text, ValueError for k1 or b outside their ranges, ModuleNotFoundError
    without bm25s.

    >>> index = BM25Index(["Ana leads Bogro.", "Bogro makes boats."])
    >>> index.search(["who leads bogro?"], k=1).ids
    array([[0]])
    """

    def __init__(self, passages: Sequence[str], *, k1: float = 1.5, b: float = 0.75):
        if not k1 >= 0:
            raise ValueError(f"k1 must be 0 or more, got {k1!r}")
        if not 0 <= b <= 1:
            raise ValueError(f"b must be in [0, 1], got {b!r}")
        self.passages = _texts("passages", passages)
        self.k1, self.b = k1, b
        self._bm25 = _package("bm25s").BM25(k1=k1, b=b)
        if self.passages:
            self._bm25.index([_words(text) for text in self.passages], show_progress=False)

    def __len__(self) -> int:
        return len(self.passages)

    def search(self, queries: Sequence[str], k: int) -> Hits:
        """The k best passages of each query.

        Raises TypeError for a single text, ValueError for an empty index, no queries, or k outside
        [1, number of passages].
        """
        queries = _texts("queries", queries)
        _check_search(len(queries), k, len(self))
        asked = [_words(text) for text in queries]
        found = self._bm25.retrieve(asked, k=k, show_progress=False)
        return Hits(found.scores.astype(np.float32), found.documents.astype(np.int64))

    def save(self, folder: str | Path) -> None:
        """Write the index into a folder, with its passages; nothing is pickled."""
        about = {"kind": "BM25Index", "passages": len(self), "k1": self.k1, "b": self.b}
        _write(folder, about, self.passages)
        if self.passages:
            self._bm25.save(str(folder), show_progress=False)

    @classmethod
    def load(cls, folder: str | Path) -> "BM25Index":
        """Read what :meth:`save` wrote.

        Raises FileNotFoundError where there is no index, ValueError for one of another kind or a damaged one.
        """
        about, passages = _read(folder, "BM25Index")
        index = cls([], k1=about["k1"], b=about["b"])
        if passages:
            index._bm25 = type(index._bm25).load(str(folder), show_progress=False)
        index.passages = passages
        return index


class DenseIndex:
    """Passages that can be asked by a vector: exact search for the largest inner product.

    vectors: float[N, D], one for each passage; as float32.  passages: N texts.  cosine: bring all vectors to
    length 1 first, so that the inner product is the cosine.  encoder: the name of what made the vectors;
    :meth:`search` refuses vectors that are said to come from another one.
    Raises ValueError for vectors that are not of rank 2, not finite or not as many as the passages,
    ModuleNotFoundError without faiss.

    >>> index = DenseIndex(np.eye(3), ["x", "y", "z"])
    >>> index.search(np.array([[0.1, 0.9, 0.2]]), k=2).ids
    array([[1, 2]])
    """

    def __init__(self, vectors, passages: Sequence[str], *, cosine: bool = False, encoder: str = ""):
        self.passages = _texts("passages", passages)
        vectors = _vectors("vectors", vectors, cosine)
        if len(vectors) != len(self.passages):
            raise ValueError(f"vectors must be one for each of {len(self)} passages, got {len(vectors)}")
        self.cosine, self.encoder, self.dimension = cosine, encoder, vectors.shape[1]
        self._faiss = _package("faiss").IndexFlatIP(self.dimension)
        self._faiss.add(vectors)

    def __len__(self) -> int:
        return len(self.passages)

    def search(self, vectors, k: int, *, encoder: str | None = None) -> Hits:
        """The k passages with the largest inner product with each vector.

        vectors: float[Q, D].  encoder: the name of what made them, to be compared with the index's own.
        Raises ValueError for an empty index, no vectors, k outside [1, number of passages], vectors of
        another dimension than the index's or from another encoder.
        """
        vectors = _vectors("vectors", vectors, self.cosine)
        _check_search(len(vectors), k, len(self))
        if vectors.shape[1] != self.dimension:
            raise ValueError(
                f"vectors have {vectors.shape[1]} dimensions and the index has {self.dimension}: "
                "it was made with another encoder"
            )
        if encoder is not None and encoder != self.encoder:
            raise ValueError(f"vectors come from {encoder!r} and the index was made with {self.encoder!r}")
        return Hits(*self._faiss.search(vectors, k))

    def save(self, folder: str | Path) -> None:
        """Write the index into a folder, with its passages; nothing is pickled."""
        about = {"kind": "DenseIndex", "passages": len(self), "dimension": self.dimension}
        _write(folder, about | {"cosine": self.cosine, "encoder": self.encoder}, self.passages)
        _package("faiss").write_index(self._faiss, str(Path(folder) / VECTORS))

    @classmethod
    def load(cls, folder: str | Path) -> "DenseIndex":
        """Read what :meth:`save` wrote.

        Raises FileNotFoundError where there is no index, ValueError for one of another kind or a damaged one.
        """
        about, passages = _read(folder, "DenseIndex")
        stored = _package("faiss").read_index(str(Path(folder) / VECTORS))
        if (stored.ntotal, stored.d) != (len(passages), about["dimension"]):
            raise ValueError(f"folder {folder} is damaged: {VECTORS} does not fit {PASSAGES}; save it again")
        index = cls(np.zeros((0, about["dimension"])), [], cosine=about["cosine"], encoder=about["encoder"])
        index._faiss, index.passages = stored, passages
        return index


def fuse(*rankings: Hits, k: int, constant: float = 60.0) -> Hits:
    """Reciprocal rank fusion (Cormack and others, 2009): a passage scores the sum of 1 / (constant + rank).

    rankings: of the same queries over the same passages.  k: from 1 up, not more than each ranking has.
    constant: above 0; the larger, the less the first place counts for.
    Raises ValueError for no rankings, another number of queries, or k or constant outside their ranges.

    >>> by_words, by_meaning = Hits(None, np.array([[4, 1, 2]])), Hits(None, np.array([[1, 3, 4]]))
    >>> fuse(by_words, by_meaning, k=2).ids
    array([[1, 4]])
    """
    if not rankings or len({len(hits.ids) for hits in rankings}) > 1:
        raise ValueError("rankings must be one or more, all of the same queries")
    check_count("k", k, high=min(hits.ids.shape[1] for hits in rankings))
    if not constant > 0:
        raise ValueError(f"constant must be above 0, got {constant!r}")
    scores, ids = [], []
    for rows in zip(*(hits.ids.tolist() for hits in rankings), strict=True):
        total: dict[int, float] = {}
        for row in rows:
            for rank, number in enumerate(row, 1):
                total[number] = total.get(number, 0.0) + 1 / (constant + rank)
        best = sorted(total, key=lambda number: (-total[number], number))[:k]
        ids.append(best)
        scores.append([total[number] for number in best])
    return Hits(np.array(scores, np.float32), np.array(ids, np.int64))


def _package(name: str):
    """A package of the extra ``retrieve``, or ModuleNotFoundError with what to do."""
    from importlib import import_module

    try:
        return import_module(name)
    except ModuleNotFoundError as error:
        install = {"faiss": "faiss-cpu"}.get(name, name)
        raise ModuleNotFoundError(f"this index needs the package {install}: pip install {install}") from error


def _words(text: str) -> list[str]:
    return re.findall(r"\w+", text.lower())


def _texts(name: str, texts: Sequence[str]) -> list[str]:
    if isinstance(texts, str):
        raise TypeError(f"{name} must be a list of texts, got one text")
    return list(texts)


def _vectors(name: str, vectors, cosine: bool) -> np.ndarray:
    vectors = np.array(vectors, dtype=np.float32, order="C")
    if vectors.ndim != 2 or not vectors.shape[1]:
        raise ValueError(f"{name} must be of shape [number, dimension], got {vectors.shape}")
    if not np.isfinite(vectors).all():
        raise ValueError(f"{name} must be finite")
    if cosine:
        vectors /= np.linalg.norm(vectors, axis=1, keepdims=True).clip(min=1e-12)
    return vectors


def _check_search(queries: int, k: int, passages: int) -> None:
    if not passages:
        raise ValueError("the index is empty: it has no passages to find")
    if not queries:
        raise ValueError("no queries: give one or more")
    check_count("k", k, high=passages)


def _write(folder: str | Path, about: dict, passages: list[str]) -> None:
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / PASSAGES).write_text(json.dumps(passages, ensure_ascii=False), encoding="utf-8")
    (folder / ABOUT).write_text(json.dumps(about), encoding="utf-8")


def _read(folder: str | Path, kind: str) -> tuple[dict, list[str]]:
    folder = Path(folder)
    if not (folder / ABOUT).is_file():
        raise FileNotFoundError(f"folder {folder} holds no index: it has no {ABOUT}")
    about = json.loads((folder / ABOUT).read_text(encoding="utf-8"))
    if about["kind"] != kind:
        raise ValueError(f"folder {folder} holds a {about['kind']}, not a {kind}")
    passages = json.loads((folder / PASSAGES).read_text(encoding="utf-8"))
    if len(passages) != about["passages"]:
        raise ValueError(
            f"folder {folder} is damaged: {len(passages)} passages, not {about['passages']}; save it again"
        )
    return about, passages
