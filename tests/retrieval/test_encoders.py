"""Training a small encoder: what it learns, its loss, that it repeats, files, errors."""

import numpy as np
import pytest
import torch

from labkit import language, retrieval


@pytest.fixture(scope="module")
def pairs():
    """Synonyms: each query shares no word with its passage."""
    rng, letters = np.random.default_rng(0), "abcdefghij"
    names = [a + b for a in letters[:4] for b in letters]
    queries = [f"ask q{name} w{letters[rng.integers(9)]}" for name in names]
    passages = [f"tell p{name} v{letters[rng.integers(9)]}" for name in names]
    return queries, passages, language.lexicon({w for t in queries + passages for w in t.split()})


@pytest.fixture(scope="module")
def trained(pairs):
    return retrieval.train_encoder(*pairs, width=32, steps=80, batch_size=20)


def test_it_learns_pairs_that_share_no_word(pairs, trained):
    queries, passages, _ = pairs
    index = retrieval.DenseIndex(retrieval.encode(trained, passages), passages)
    hits = index.search(retrieval.encode(trained, queries), k=1)
    before = retrieval.train_encoder(*pairs, width=32, steps=1, lr=1e-9)
    start = retrieval.encode(before, queries) @ retrieval.encode(before, passages).T
    assert (hits.ids[:, 0] == np.arange(len(queries))).mean() > 0.95
    assert (start.argmax(1) == np.arange(len(queries))).mean() < 0.3


def test_vectors_are_means_of_their_tokens_at_length_one(pairs, trained):
    text = pairs[1][3]
    table = next(trained.parameters())
    ids = pairs[2].backend_tokenizer.encode(text, add_special_tokens=False).ids
    mean = table[ids].mean(0)
    np.testing.assert_allclose(
        retrieval.encode(trained, [text])[0], (mean / mean.norm()).detach().numpy(), rtol=1e-4, atol=1e-6
    )


def test_the_same_seed_gives_the_same_encoder(pairs):
    first, second, other = (
        retrieval.encode(retrieval.train_encoder(*pairs, width=8, steps=3, seed=seed), pairs[0])
        for seed in (1, 1, 2)
    )
    assert (first == second).all() and (first != other).any()


def test_global_randomness_is_left_alone(pairs):
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    retrieval.train_encoder(*pairs, width=8, steps=2)
    assert torch.equal(torch.rand(3), expected)


def test_it_is_saved_and_loaded_as_any_other(pairs, trained, tmp_path):
    trained.save(str(tmp_path))
    again = retrieval.load_encoder(str(tmp_path))
    np.testing.assert_array_equal(retrieval.encode(again, pairs[0]), retrieval.encode(trained, pairs[0]))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"queries": ["a"]}, "two or more pairs, got 1 and 40"),
        ({"steps": 0}, "steps must be"),
        ({"lr": 0}, "lr and scale must be above 0, got 0"),
    ],
)
def test_bad_input_is_named(pairs, change, message):
    call = {"queries": pairs[0], "passages": pairs[1], "tokenizer": pairs[2]} | change
    with pytest.raises(ValueError, match=message):
        retrieval.train_encoder(**call)


def test_one_text_is_no_list(trained):
    with pytest.raises(TypeError, match="a list of texts"):
        retrieval.encode(trained, "text")
