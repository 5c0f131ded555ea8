"""Data importance: the recursion against enumeration, autograd and the published one; pruning and votes."""

from itertools import product

import numpy as np
import pytest
import torch

from labkit.retrieve import data_importance, data_pruning
from labkit.retrieve.data_importance import (
    approximate_gradient,
    brute_force_gradient,
    chance_of_use,
    expected_utility,
    importance_gradient,
    learn_importance,
    pad,
)
from labkit.retrieve.data_pruning import hit_rate, kept_sources, leave_one_out, prune_threshold, vote


@pytest.fixture
def multilinear_gradient():
    """The function under test: put your own in its place."""
    return data_importance.multilinear_gradient


@pytest.fixture
def rng():
    return np.random.default_rng(0)


CASES = [(1, 1), (5, 1), (8, 3), (10, 4), (11, 10), (6, 9)]


@pytest.mark.parametrize(("ranks", "k"), CASES)
@pytest.mark.parametrize("kind", ["binary", "graded", "negative", "corners"])
def test_gradient_is_that_of_all_sub_corpora(multilinear_gradient, rng, ranks, k, kind):
    weights = rng.random(ranks)
    if kind == "corners":
        weights = rng.choice([0.0, 0.5, 1.0], ranks)
    utilities = {"binary": rng.random(ranks) < 0.5, "negative": rng.normal(size=ranks)}
    utilities = np.asarray(utilities.get(kind, rng.random(ranks)), float)
    found = multilinear_gradient(utilities, weights, k=k)
    assert found.dtype == np.float64
    np.testing.assert_allclose(found, brute_force_gradient(utilities, weights, k=k), atol=1e-14)


def test_gradient_is_the_derivative_of_the_expected_utility(multilinear_gradient, rng):
    """Against automatic differentiation of the sum over sub-corpora."""
    utilities, k = rng.random(7), 3
    weights = torch.tensor(rng.random(7), requires_grad=True)
    total = torch.zeros((), dtype=torch.float64)
    for present in product((0, 1), repeat=7):
        kept = torch.tensor(present)
        chance = torch.where(kept > 0, weights, 1 - weights).prod()
        total = total + chance * sum(utilities[np.flatnonzero(present)][:k]) / k
    total.backward()
    known = weights.detach().numpy()
    np.testing.assert_allclose(multilinear_gradient(utilities, known, k=k), weights.grad, atol=1e-14)
    assert expected_utility(utilities, known, k=k) == pytest.approx(total.item(), abs=1e-14)


def published(u, p, k):
    """The recursion as the published code writes it: one boundary for each distinct utility."""
    count, values = len(p), sorted(set(u))
    before, after = np.zeros((k + 1, count + 2)), np.zeros((k + 1, count + 2))
    before[0, 0] = after[0, count + 1] = 1
    edge = np.zeros((k + 1, count + 2, len(values)))
    for j in range(1, count + 1):
        before[:, j] = before[:, j - 1] * (1 - p[j - 1])
        before[1:, j] += before[:-1, j - 1] * p[j - 1]
    for j in range(count, 0, -1):
        after[:, j] = after[:, j + 1] * (1 - p[j - 1])
        after[1:, j] += after[:-1, j + 1] * p[j - 1]
        edge[1:, j] = edge[1:, j + 1] * (1 - p[j - 1]) + edge[:-1, j + 1] * p[j - 1]
        edge[1, j, values.index(u[j - 1])] += p[j - 1]
    gradient = np.zeros(count)
    for i in range(1, count + 1):
        for a in range(k):
            room = sum(after[b, i + 1] for b in range(k - a))
            gradient[i - 1] += u[i - 1] / k * before[a, i - 1] * room
            for e, value in enumerate(values):
                gradient[i - 1] += (u[i - 1] - value) / k * before[a, i - 1] * edge[k - a, i + 1, e]
    return gradient


@pytest.mark.parametrize("k", [1, 5, 20])
def test_gradient_is_that_of_the_published_recursion(multilinear_gradient, rng, k):
    utilities, weights = rng.random((3, 40)).round(1), rng.random((3, 40))
    wanted = [published(u.tolist(), p.tolist(), k) for u, p in zip(utilities, weights, strict=True)]
    np.testing.assert_allclose(multilinear_gradient(utilities, weights, k=k), wanted, atol=1e-14)


def test_many_questions_are_as_one_by_one(multilinear_gradient, rng, monkeypatch):
    monkeypatch.setattr(data_importance, "CHUNK", 7)
    utilities, weights = rng.random((4, 5, 12)), rng.random((4, 5, 12))
    found = multilinear_gradient(utilities, weights, k=3)
    for place in np.ndindex(4, 5):
        alone = multilinear_gradient(utilities[place], weights[place], k=3)
        np.testing.assert_allclose(found[place], alone, atol=1e-15)
    assert multilinear_gradient(np.zeros((0, 3)), np.zeros((0, 3)), k=2).shape == (0, 3)


def test_where_all_are_present_it_is_leaving_one_out(multilinear_gradient, rng):
    utilities, k = rng.random(9), 4
    top = utilities[:k].sum()
    wanted = [(top - np.delete(utilities, i)[:k].sum()) / k for i in range(9)]
    np.testing.assert_allclose(multilinear_gradient(utilities, np.ones(9), k=k), wanted, atol=1e-15)


def test_without_competition_the_gradient_is_never_negative(multilinear_gradient, rng):
    utilities, weights = rng.integers(0, 2, (20, 6)), rng.random((20, 6))
    np.testing.assert_allclose(multilinear_gradient(utilities, weights, k=6), utilities / 6)
    assert multilinear_gradient(utilities, weights, k=2).min() < 0


def test_chance_of_use_is_that_of_drawn_corpora(rng):
    weights, k = np.array([0.9, 0.2, 0.6, 1.0, 0.5]), 2
    present = rng.random((100_000, 5)) < weights
    used = present & (present.cumsum(axis=1) <= k)
    np.testing.assert_allclose(chance_of_use(weights, k=k), used.mean(axis=0), atol=0.006)


# Sources


def retrieved(rng, count=50, ranks=10, size=20):
    sources = np.array([rng.permutation(size)[:ranks] for _ in range(count)])
    return sources, rng.integers(0, 2, (count, ranks)).astype(float)


@pytest.mark.parametrize("threads", [1, 3])
def test_gradient_by_sources_adds_up_the_questions(rng, monkeypatch, threads):
    monkeypatch.setattr(data_importance, "CHUNK", 8)
    sources, utilities = retrieved(rng)
    sources[3, 6:] = -1  # a shorter list
    weights, wanted = rng.random(20), np.zeros(20)
    for row, u in zip(sources, utilities, strict=True):
        row, u = row[row >= 0], u[row >= 0]
        np.add.at(wanted, row, data_importance.multilinear_gradient(u, weights[row], k=3) / len(sources))
    found = importance_gradient(sources, utilities, weights, k=3, threads=threads)
    np.testing.assert_allclose(found, wanted, atol=1e-15)


@pytest.mark.parametrize("epsilon", [0.3, 0.05, 1e-3])
def test_a_cut_list_is_within_its_bound(multilinear_gradient, rng, epsilon):
    utilities, weights = 2 * rng.random((300, 60)), rng.uniform(0.2, 1, (300, 60))
    exact = multilinear_gradient(utilities, weights, k=4)
    gap = np.abs(multilinear_gradient(utilities, weights, k=4, epsilon=epsilon) - exact).max()
    assert 0 < gap <= epsilon * 2 / 4


def test_the_approximation_keeps_its_promise(rng):
    """Off by more than epsilon / k in at most a share delta of the draws (here in none)."""
    sources, utilities = retrieved(rng, count=6000, ranks=12, size=15)
    weights, few, epsilon, misses = np.full(15, 0.5), 3, 0.2, 0
    exact = importance_gradient(sources, utilities, weights, k=few)
    for draw in range(40):
        found = approximate_gradient(
            sources,
            utilities,
            weights,
            k=few,
            epsilon=epsilon,
            delta=0.1,
            generator=np.random.default_rng(draw),
        )
        misses += np.abs(found - exact).max() > epsilon / few
    assert not np.array_equal(found, exact)
    assert misses <= 4


def test_ascent_raises_the_expected_utility_and_finds_the_good_sources(rng):
    reliability = np.array([0.95] * 6 + [0.15] * 6)
    sources = np.array([rng.permutation(12) for _ in range(80)])
    utilities = (rng.random((80, 12)) < reliability[sources]).astype(float)
    weights = [learn_importance(sources, utilities, n_sources=13, k=3, epochs=n) for n in (0, 5, 100)]
    values = [expected_utility(utilities, each[sources], k=3).mean() for each in weights]
    assert values[0] < values[1] <= values[2] + 1e-9
    assert weights[2][:6].mean() > 0.7 and weights[2][6:12].max() < 0.1
    assert weights[2][12] == 0.5  # never retrieved


def test_groups_share_their_mean(rng):
    sources, utilities = retrieved(rng)
    groups = np.arange(20) // 4
    one = learn_importance(sources, utilities, n_sources=20, k=3, epochs=1, groups=groups)
    alone = learn_importance(sources, utilities, n_sources=20, k=3, epochs=1)
    np.testing.assert_allclose(one, np.repeat(alone.reshape(5, 4).mean(axis=1), 4))
    many = learn_importance(sources, utilities, n_sources=20, k=3, epochs=30, groups=groups)
    assert all(len(set(many[groups == g])) == 1 for g in range(5)) and many.max() <= 1


def test_pad():
    assert pad([[1.0], [2.0, 3.0]], fill=0.0).tolist() == [[1.0, 0.0], [2.0, 3.0]]
    assert pad([]).shape == (0, 0)


# Pruning and votes


def majority(answers, keep, k):
    kept = [a for a, each in zip(answers, keep, strict=True) if each and a >= 0][:k]
    return max(kept, key=lambda a: (kept.count(a), -kept.index(a))) if kept else -1


def test_vote_is_the_majority_of_the_first_that_are_kept(rng):
    answers, keep = rng.integers(-1, 4, (300, 9)), rng.random((300, 9)) < 0.6
    for k in (1, 2, 5, 9):
        wanted = [majority(a.tolist(), each, k) for a, each in zip(answers, keep, strict=True)]
        assert vote(answers, k=k, keep=keep).tolist() == wanted


def test_votes_may_be_weighed(rng):
    assert vote([[4, 7, 7]], k=1, votes=[[0.5, 0.3, 0.3]]) == [7]
    assert vote([[4, 7, 7]], k=1, votes=[[0.6, 0.3, 0.3]]) == [4]  # a tie goes to the first
    assert vote([[4, 7, -1]], k=1, votes=[[0.0, 0.0, 1.0]]) == [-1]
    answers = rng.integers(0, 5, (50, 8))
    plain = (np.arange(8) < 3) * np.ones((50, 1))
    assert np.array_equal(vote(answers, k=3), vote(answers, k=3, votes=plain))


def test_threshold_is_the_best_of_its_percentiles_and_of_equals_the_largest(rng):
    sources, _ = retrieved(rng, count=60, ranks=8, size=15)
    right = np.arange(60)
    answers = np.where(sources < 10, 1000 + sources, right[:, None])  # ten sources are always wrong
    weights = np.append(sources.max() + np.arange(15.0), 0.0)  # the sixteenth is never seen
    found = prune_threshold(sources, answers, right, weights, k=3)
    assert max(found.accuracies) == found.accuracies[range(0, 100, 5).index(found.percentile)]
    assert all(a < max(found.accuracies) for a in found.accuracies[found.percentile // 5 + 1 :])
    kept = kept_sources(weights, found.threshold, sources)
    assert kept[10:].any() and not kept[:9].any() and kept[15]
    assert kept_sources(weights, found.threshold)[15] == (weights[15] >= found.threshold)


def test_rivals_against_their_definitions(rng):
    sources, _ = retrieved(rng)
    answers, correct = rng.integers(0, 3, sources.shape), rng.integers(0, 3, 50)
    utilities = answers == correct[:, None]
    hits = hit_rate(sources, utilities, n_sources=21)
    loo = leave_one_out(sources, answers, correct, n_sources=21, k=3)
    whole = np.mean(vote(answers, k=3) == correct)
    for s in range(20):
        assert hits[s] == pytest.approx(utilities[sources == s].mean())
        without = [majority(a.tolist(), row != s, 3) for a, row in zip(answers, sources, strict=True)]
        assert loo[s] == pytest.approx(whole - np.mean(np.array(without) == correct))
    assert hits[20] == 0.5 and loo[20] == 0


# Bad input

S, U, W = np.array([[0, 1]]), np.array([[1.0, 0.0]]), np.array([0.5, 0.5])


@pytest.mark.parametrize(
    ("call", "said"),
    [
        (lambda: data_importance.multilinear_gradient([1.0], [0.5], k=0), "k must be"),
        (lambda: data_importance.multilinear_gradient([1.0], [1.5], k=1), r"weights must lie in \[0, 1\]"),
        (lambda: data_importance.multilinear_gradient([1.0], [np.nan], k=1), "weights must lie"),
        (lambda: data_importance.multilinear_gradient([1.0], [0.5, 0.5], k=1), "one shape"),
        (lambda: data_importance.multilinear_gradient([1.0], [0.5], k=1, epsilon=2), "epsilon must lie"),
        (lambda: brute_force_gradient(np.ones(16), np.ones(16), k=1), "15 documents at most"),
        (lambda: chance_of_use([0.5, -0.1], k=1), "weights must lie"),
        (lambda: importance_gradient([[0, 2]], U, W, k=1), r"sources must lie in \[-1, 2\), got 0 to 2"),
        (lambda: importance_gradient([[0, -2]], U, W, k=1), "sources must lie"),
        (lambda: importance_gradient(S, U[:, :1], W, k=1), r"one shape \[N, M\]"),
        (lambda: importance_gradient(S[:0], U[:0], W, k=1), "N from 1 up"),
        (lambda: importance_gradient(S, U, W[None], k=1), r"of shape \[S\]"),
        (lambda: importance_gradient(S, U, W, k=1, threads=0), "threads must be"),
        (
            lambda: approximate_gradient(S, U, W, k=1, epsilon=0, delta=0.1, generator=None),
            "epsilon must lie",
        ),
        (
            lambda: approximate_gradient(S, -U, W, k=1, epsilon=1, delta=0.1, generator=None),
            "not be negative",
        ),
        (lambda: learn_importance(S, U, n_sources=2, k=1, lr=0), "lr must be above 0"),
        (lambda: learn_importance(S, U, n_sources=1, k=1), "sources must lie"),
        (lambda: learn_importance(S, U, n_sources=2, k=1, epochs=-1), "epochs must be"),
        (lambda: learn_importance(S, U, n_sources=2, k=1, groups=[0]), "groups must be 2 numbers"),
        (lambda: vote([1, 2], k=1), r"answers must be of shape \[N, M\]"),
        (lambda: vote([[1, 2]], k=0), "k must be"),
        (lambda: vote([[1, 2]], k=1, keep=[True]), "keep must have the shape"),
        (lambda: vote([[1, 2]], k=1, votes=[[0.1]]), "votes must have the shape"),
        (lambda: prune_threshold(S, S, [0], W, k=1, percentiles=()), "percentiles must not be empty"),
        (lambda: prune_threshold(S, S, [0, 1], W, k=1), "correct of"),
        (lambda: prune_threshold(S + 1, S, [0], W, k=1), "sources must lie"),
        (lambda: hit_rate(S, U[:, :1], n_sources=2), "one shape"),
        (lambda: leave_one_out(S, S, [0], n_sources=1, k=1), "sources must lie"),
        (lambda: data_pruning.kept_sources(W, 0.5, [[2]]), "sources must lie"),
    ],
)
def test_bad_input(call, said):
    with pytest.raises(ValueError, match=said):
        call()
