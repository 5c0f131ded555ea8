"""Markov sources: their entropy is what the formula, the samples and the parts say it is."""

import numpy as np
import pytest
import torch

from labkit.data import build, domains
from labkit.data.domains import Domain


@pytest.fixture
def rng():
    return build.stream(0, "test")


def test_entropy_of_a_chain_with_two_words():
    a, b = 0.2, 0.6  # leaves the first word with probability a, the second with b
    chain = Domain(0, 1, np.array([[1 - a, a], [b, 1 - b]]))

    def h(p):
        return -(p * np.log(p) + (1 - p) * np.log(1 - p))

    np.testing.assert_allclose(chain.stationary, [b / (a + b), a / (a + b)])
    assert chain.entropy == pytest.approx((b * h(a) + a * h(b)) / (a + b), abs=1e-12)


def test_extremes_of_the_entropy():
    cycle = Domain(0, 1, np.roll(np.eye(5), 1, axis=1))
    uniform = Domain(0, 1, np.full((5, 5), 0.2))
    assert cycle.entropy == pytest.approx(0, abs=1e-12)
    assert uniform.entropy == pytest.approx(np.log(5))
    assert uniform.floor(9) == pytest.approx(np.log(5))
    assert cycle.cross_entropy(uniform) == pytest.approx(np.log(5))
    assert uniform.cross_entropy(cycle) == np.inf


@pytest.mark.parametrize("which", [0, 1])
def test_samples_cost_what_the_formula_says(rng, which):
    parts = domains.domains(5, shift=0.4)
    tokens = parts[which].sample(4000, 33, rng=rng)
    for model in parts:
        nats = model.nats(tokens)[:, 1:]
        error = 4 * nats.mean(dim=1).std() / len(nats) ** 0.5
        assert abs(nats.mean() - parts[which].cross_entropy(model)) < error
    own = parts[which].nats(tokens)
    assert abs(own.mean() - parts[which].floor(33)) < 4 * own.mean(dim=1).std() / 4000**0.5


def test_counted_entropy_agrees(rng):
    part = domains.domains(1, 1, words=8, concentration=0.5)[0]
    words = part.sample(20000, 21, rng=rng)[:, 1:] - 1
    counts = np.zeros((8, 8))
    np.add.at(counts, (words[:, :-1].numpy().ravel(), words[:, 1:].numpy().ravel()), 1)
    rows = counts / counts.sum(axis=1, keepdims=True)
    frequency = counts.sum(axis=1) / counts.sum()
    with np.errstate(divide="ignore", invalid="ignore"):
        counted = -np.nansum(frequency[:, None] * rows * np.log(rows))
    assert counted == pytest.approx(part.entropy, abs=0.01)
    np.testing.assert_allclose(frequency, part.stationary, atol=0.01)


def test_sequences_begin_with_their_tag(rng):
    for part in domains.domains(0, 3):
        tokens = part.sample(50, 16, rng=rng)
        assert tokens.dtype == torch.int64 and tokens.shape == (50, 16)
        assert (tokens[:, 0] == part.tag).all()
        assert tokens[:, 1:].min() >= 3 and tokens.max() < part.vocabulary == 65


def test_shift_is_the_distance_from_the_base():
    parts = domains.domains(0, 5, shift=[0, 0.3, 0.6, 1])
    base = parts[0]
    np.testing.assert_array_equal(parts[1].transition, base.transition)
    apart = [np.abs(part.transition - base.transition).sum() for part in parts[1:]]
    assert apart == sorted(apart)
    own = {m: domains.domains(0, 2, shift=m)[1].transition for m in (0.3, 0.6, 1.0)}
    np.testing.assert_allclose(own[0.3], 0.7 * base.transition + 0.3 * own[1.0])
    np.testing.assert_allclose(own[0.6], 0.4 * base.transition + 0.6 * own[1.0])
    more = [part.cross_entropy(base) - part.entropy for part in parts[1:]]
    assert more[0] == pytest.approx(0, abs=1e-12) and more == sorted(more)


def test_a_mixture_has_the_asked_counts(rng):
    parts = domains.domains(0, 3)
    tokens, which = domains.mixture(parts, [1, 0, 3], 40, 8, rng=rng)
    assert torch.bincount(which, minlength=3).tolist() == [10, 0, 30]
    assert (tokens[:, 0] == which).all() and not (which.sort().values == which).all()


def test_the_seed_redraws_everything():
    def draw(seed):
        part = domains.domains(seed)[1]
        return part.transition, part.sample(3, 9, rng=build.stream(seed, "x"))

    (a, x), (b, y), (c, z) = draw(1), draw(1), draw(2)
    assert (a == b).all() and (x == y).all()
    assert (a != c).any() and (x != z).any()


def test_loaded_sequences_and_card():
    settings = {"size": 30, "test_size": 12, "count": 3, "length": 10, "weights": (4, 1, 1)}
    data = domains.load(**settings)
    train = data["train"]
    assert np.bincount(train["label"]).tolist() == [20, 5, 5]
    assert np.bincount(data["test"]["label"]).tolist() == [4, 4, 4]
    assert all(len(row) == 10 for row in train["tokens"])
    assert [row[0] for row in train["tokens"]] == list(train["label"])
    again = domains.load(**settings)["train"]
    assert again["tokens"] == train["tokens"] and again._fingerprint == train._fingerprint
    assert domains.load(**settings | {"seed": 1})["train"]._fingerprint != train._fingerprint
    assert domains.card().composition.classes["base"] == {"train": 1000, "test": 250}
    assert len(domains.fingerprint()) == 16


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda p, r: domains.domains(-1), "seed must be 0 or more"),
        (lambda p, r: domains.domains(0, 0), "count must be"),
        (lambda p, r: domains.domains(0, shift=1.1), "shift must lie"),
        (lambda p, r: domains.domains(0, 3, shift=[0.1]), "each of the 2 other domains, got 1"),
        (lambda p, r: domains.domains(0, words=1), "words must be"),
        (lambda p, r: domains.domains(0, concentration=0), "concentration must lie"),
        (lambda p, r: p[0].sample(0, 8, rng=r), "count must be"),
        (lambda p, r: p[0].sample(2, 1, rng=r), "length must be"),
        (lambda p, r: p[0].floor(1), "length must be"),
        (lambda p, r: p[0].nats(torch.zeros(4, dtype=torch.int64)), "tokens must be"),
        (lambda p, r: p[0].nats(torch.zeros(1, 4, dtype=torch.int64)), "after the tag"),
        (lambda p, r: p[0].cross_entropy(domains.domains(0, words=5)[0]), "not the same"),
        (lambda p, r: domains.mixture(p, [1], 5, 8, rng=r), "weights must be 2 numbers"),
        (lambda p, r: domains.mixture(p, [0, 0], 5, 8, rng=r), "weights must be"),
        (lambda p, r: domains.mixture(p, [1, -1], 5, 8, rng=r), "weights must be"),
        (lambda p, r: domains.mixture(p, [1, 1], 0, 8, rng=r), "count must be"),
        (lambda p, r: domains.load(weights=(1.0,)), "weights must be"),
    ],
)
def test_bad_values_are_named(rng, call, message):
    with pytest.raises(ValueError, match=message):
        call(domains.domains(0), rng)
