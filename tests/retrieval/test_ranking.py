"""Chunks and the measures of a ranking, against brute force and scikit-learn."""

import numpy as np
import pytest
from sklearn.metrics import ndcg_score

from labkit import retrieval


@pytest.fixture(scope="module")
def case():
    """40 rankings of 30 passages with 1 to 4 relevant ones."""
    rng = np.random.default_rng(1)
    ids = np.array([rng.permutation(30) for _ in range(40)])
    return ids, [set(rng.choice(30, size=rng.integers(1, 5), replace=False).tolist()) for _ in range(40)]


def test_ndcg_is_scikit_learns(case):
    ids, relevant = case
    for k in (1, 5, 30):
        ours = retrieval.ndcg_at(k, ids, relevant)
        for row, wanted, value in zip(ids, relevant, ours, strict=True):
            truth = np.isin(np.arange(30), list(wanted)).astype(float)
            scores = np.empty(30)
            scores[row] = np.arange(30, 0, -1)
            assert value == pytest.approx(ndcg_score([truth], [scores], k=k))


def test_recall_and_reciprocal_rank_by_hand(case):
    ids, relevant = case
    for k in (1, 3, 30):
        expected = [
            len(set(row[:k].tolist()) & want) / len(want) for row, want in zip(ids, relevant, strict=True)
        ]
        np.testing.assert_allclose(retrieval.recall_at(k, ids, relevant), expected)
    first = [
        1 + min(row.tolist().index(one) for one in want) for row, want in zip(ids, relevant, strict=True)
    ]
    np.testing.assert_allclose(retrieval.reciprocal_rank(ids, relevant), 1 / np.array(first))


def test_a_passage_found_twice_counts_once():
    assert retrieval.recall_at(2, [[1, 1]], [{1, 2}]).tolist() == [0.5]
    assert retrieval.ndcg_at(2, [[1, 1]], [{1}]).tolist() == [1.0]


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: retrieval.recall_at(3, [[1, 2]], [{1}]), "k must be"),
        (lambda: retrieval.recall_at(1, [1, 2], [{1}]), r"shape \[queries, places\]"),
        (lambda: retrieval.recall_at(1, [[1]], []), "as many collections as queries, 1, got 0"),
        (lambda: retrieval.ndcg_at(1, [[1]], [set()]), "one or more passages for each query"),
        (lambda: retrieval.chunks("a b", words=0), "words must be"),
        (
            lambda: retrieval.chunks("a b", words=2, overlap=2),
            "overlap must be from 0 to words - 1 = 1, got 2",
        ),
    ],
)
def test_bad_input_is_named(call, message):
    with pytest.raises(ValueError, match=message):
        call()


@pytest.mark.parametrize(("words", "overlap"), [(1, 0), (4, 0), (4, 3), (5, 2), (100, 10)])
def test_chunks_cover_the_text_and_know_their_place(words, overlap):
    text = "  one two\nthree  four five six\tseven eight nine ten eleven "
    made = retrieval.chunks(text, words=words, overlap=overlap)
    assert all(text[each.start : each.end] == each.text for each in made)
    assert all(len(each.text.split()) == words for each in made[:-1])
    seen = made[0].text.split()
    for each in made[1:]:
        seen += each.text.split()[overlap:]
    assert seen == text.split()


def test_no_words_no_chunks():
    assert retrieval.chunks(" \n", words=3) == []
