"""The indexes against brute force and against ``bm25s`` and ``faiss`` used directly; files; errors."""

import re

import bm25s
import faiss
import numpy as np
import pytest

from labkit import data, retrieval
from labkit.retrieval import BM25Index, DenseIndex, Hits


@pytest.fixture(scope="module")
def texts() -> list[str]:
    table = data.load("prose", "train", size=60)
    cut = [chunk.text for text in table["text"] for chunk in retrieval.chunks(text, words=60)]
    return cut[:600]


def words(text: str) -> list[str]:
    return re.findall(r"\w+", text.lower())


def bm25(query: str, passages: list[str], k1: float, b: float) -> np.ndarray:
    """The formula of the docstring, term by term."""
    bags = [words(text) for text in passages]
    mean = np.mean([len(bag) for bag in bags])
    scores = np.zeros(len(bags))
    for term in words(query):
        holding = sum(term in bag for bag in bags)
        weight = np.log(1 + (len(bags) - holding + 0.5) / (holding + 0.5))
        for place, bag in enumerate(bags):
            often = bag.count(term)
            scores[place] += weight * often / (often + k1 * (1 - b + b * len(bag) / mean))
    return scores


@pytest.mark.parametrize(("k1", "b"), [(1.5, 0.75), (0.9, 0.4), (2.0, 0.0)])
def test_bm25_is_its_formula(texts, k1, b):
    index, query = BM25Index(texts[:80], k1=k1, b=b), "the names that a class statement binds"
    hits = index.search([query], k=80)
    expected = bm25(query, texts[:80], k1, b)
    np.testing.assert_allclose(hits.scores[0], expected[hits.ids[0]], rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(hits.scores[0], -np.sort(-expected), rtol=1e-4, atol=1e-5)


def test_bm25_ranks_as_bm25s_itself(texts):
    queries = [" ".join(text.split()[5:12]) for text in texts[::20]]
    peer = bm25s.BM25(k1=1.5, b=0.75)
    peer.index([words(text) for text in texts], show_progress=False)
    direct = peer.retrieve([words(query) for query in queries], k=10, show_progress=False)
    hits = BM25Index(texts).search(queries, k=10)
    np.testing.assert_array_equal(hits.ids, direct.documents)
    np.testing.assert_array_equal(hits.scores, direct.scores)


def test_the_nearest_are_those_of_brute_force_and_of_faiss_itself():
    rng = np.random.default_rng(0)
    vectors, queries = rng.normal(size=(500, 24)), rng.normal(size=(40, 24))
    hits = DenseIndex(vectors, [str(i) for i in range(500)]).search(queries, k=10)
    peer = faiss.IndexFlatIP(24)
    peer.add(vectors.astype(np.float32))
    np.testing.assert_array_equal(hits.ids, peer.search(queries.astype(np.float32), 10)[1])
    np.testing.assert_array_equal(hits.ids, np.argsort(-queries @ vectors.T, axis=1)[:, :10])


def test_cosine_forgets_the_length():
    vectors = np.array([[1.0, 0.1], [50.0, 50.0], [0.0, 0.2]])
    query = [[2.0, 0.1]]
    assert DenseIndex(vectors, list("abc")).search(query, k=1).ids[0, 0] == 1
    hits = DenseIndex(vectors, list("abc"), cosine=True).search(query, k=3)
    assert hits.ids[0].tolist() == [0, 1, 2]
    assert abs(hits.scores).max() <= 1 + 1e-6


def test_input_vectors_are_left_alone():
    vectors = np.array([[3.0, 4.0]], dtype=np.float32)
    DenseIndex(vectors, ["a"], cosine=True).search(vectors, k=1)
    assert vectors.tolist() == [[3.0, 4.0]]


@pytest.mark.parametrize("count", [0, 3])
def test_an_index_comes_back_from_its_folder(tmp_path, count):
    texts = ["Ana leads Bogro.", "Bogro makes boats — «ça va»?", "Nobody knows.\nNobody asks."][:count]
    BM25Index(texts, k1=1.2, b=0.5).save(tmp_path / "words")
    DenseIndex(np.eye(3)[:count], texts, cosine=True, encoder="mine").save(tmp_path / "vectors")
    by_words, dense = BM25Index.load(tmp_path / "words"), DenseIndex.load(tmp_path / "vectors")
    assert by_words.passages == dense.passages == texts
    assert (by_words.k1, by_words.b, dense.cosine, dense.encoder) == (1.2, 0.5, True, "mine")
    assert not list(tmp_path.rglob("*.pkl"))
    if count:
        before = BM25Index(texts, k1=1.2, b=0.5).search(["who asks about bogro"], k=3)
        np.testing.assert_array_equal(by_words.search(["who asks about bogro"], k=3).ids, before.ids)
        assert dense.search(np.eye(3)[[2]], k=1, encoder="mine").ids.tolist() == [[2]]


def test_nothing_stored_holds_a_pickle(tmp_path):
    BM25Index(["a b", "b c"]).save(tmp_path)
    for file in tmp_path.glob("*.npy"):
        np.load(file, allow_pickle=False)


def test_fusion_adds_reciprocal_ranks():
    one, two = Hits(None, np.array([[7, 3, 5]])), Hits(None, np.array([[3, 9, 7]]))
    fused = retrieval.fuse(one, two, k=3)
    assert fused.ids.tolist() == [[3, 7, 9]]
    np.testing.assert_allclose(fused.scores[0], [1 / 62 + 1 / 61, 1 / 61 + 1 / 63, 1 / 62], rtol=1e-6)


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: BM25Index("one text"), TypeError, "passages must be a list of texts"),
        (lambda: BM25Index(["a"], k1=-1), ValueError, "k1 must be 0 or more, got -1"),
        (lambda: BM25Index(["a"], b=2), ValueError, r"b must be in \[0, 1\], got 2"),
        (lambda: BM25Index([]).search(["a"], k=1), ValueError, "the index is empty"),
        (lambda: BM25Index(["a"]).search("a", k=1), TypeError, "queries must be a list of texts"),
        (lambda: BM25Index(["a"]).search([], k=1), ValueError, "no queries"),
        (lambda: BM25Index(["a"]).search(["a"], k=2), ValueError, "k must be"),
        (lambda: DenseIndex(np.eye(2), ["a"]), ValueError, "one for each of 1 passages, got 2"),
        (lambda: DenseIndex(np.ones(2), ["a"]), ValueError, r"shape \[number, dimension\]"),
        (lambda: DenseIndex([[np.nan]], ["a"]), ValueError, "vectors must be finite"),
        (lambda: DenseIndex(np.zeros((0, 2)), []).search(np.eye(2), k=1), ValueError, "index is empty"),
        (lambda: DenseIndex(np.eye(2), ["a", "b"]).search(np.eye(3), k=1), ValueError, "3 dimensions"),
        (
            lambda: DenseIndex(np.eye(2), ["a", "b"], encoder="x").search(np.eye(2), k=1, encoder="y"),
            ValueError,
            "vectors come from 'y' and the index was made with 'x'",
        ),
        (lambda: retrieval.fuse(k=1), ValueError, "one or more"),
        (
            lambda: retrieval.fuse(Hits(None, np.zeros((1, 2))), Hits(None, np.zeros((2, 2))), k=1),
            ValueError,
            "all of the same queries",
        ),
        (lambda: retrieval.fuse(Hits(None, np.zeros((1, 2))), k=3), ValueError, "k must be"),
        (lambda: retrieval.fuse(Hits(None, np.zeros((1, 2))), k=1, constant=0), ValueError, "constant"),
    ],
)
def test_bad_input_is_named(call, error, message):
    with pytest.raises(error, match=message):
        call()


def test_a_folder_that_is_no_such_index_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"holds no index: it has no index\.json"):
        BM25Index.load(tmp_path)
    DenseIndex(np.eye(2), ["a", "b"]).save(tmp_path)
    with pytest.raises(ValueError, match="holds a DenseIndex, not a BM25Index"):
        BM25Index.load(tmp_path)
    (tmp_path / "passages.json").write_text('["a"]')
    with pytest.raises(ValueError, match="damaged: 1 passages, not 2"):
        DenseIndex.load(tmp_path)
    DenseIndex(np.eye(3), ["a", "b", "c"]).save(tmp_path / "other")
    DenseIndex(np.eye(2), ["a", "b"]).save(tmp_path)
    (tmp_path / "other" / "vectors.faiss").replace(tmp_path / "vectors.faiss")
    with pytest.raises(ValueError, match="does not fit"):
        DenseIndex.load(tmp_path)
