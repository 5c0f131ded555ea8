"""The toy model of EntiGraph: simulation, exact mixture, bounds and branching formula against each other."""

import math
from itertools import pairwise

import networkx
import numpy as np
import pytest

from labkit.pretrain import entigraph_theory
from labkit.pretrain.entigraph_theory import (
    branching_curve,
    passing,
    predict_curves,
    random_knowledge,
    shortest_paths,
)


@pytest.fixture
def simulate():
    """The function under test; replace it to test your own."""
    return entigraph_theory.simulate_entigraph


def graph(seed=0, entities=12, p=0.15):
    return random_knowledge(entities, p, np.random.default_rng(seed))


def path(paths, x, y):
    """The entities after x on its path to y; empty where there is none."""
    found = []
    while y != x and paths.parent[x, y] >= 0:
        found, y = [y, *found], paths.parent[x, y]
    return found


# Paths


@pytest.mark.parametrize("seed", range(5))
def test_paths_are_as_short_as_those_of_networkx(seed):
    known = graph(seed, entities=20, p=0.1)
    lengths = dict(
        networkx.all_pairs_shortest_path_length(
            networkx.from_numpy_array(known, create_using=networkx.DiGraph)
        )
    )
    paths = shortest_paths(known)
    for x in range(20):
        for y in range(20):
            assert paths.depth[x, y] == lengths[x].get(y, -1)
            steps = [x, *path(paths, x, y)]
            assert len(steps) - 1 == max(paths.depth[x, y], 0)
            assert all(known[a, b] for a, b in pairwise(steps))


def test_passing_counts_the_draws_that_teach_a_pair():
    known = graph(3)
    paths, counted = shortest_paths(known), np.zeros((12, 12), int)
    for x in range(12):
        for y in range(12):
            for z in path(paths, x, y):
                counted[x, z] += 1
    assert np.array_equal(passing(paths), counted)
    assert counted.sum() == paths.depth[paths.depth > 0].sum()  # every step of every path, once


# Simulation


def slow_simulation(known, steps, rng):
    """The paper's procedure, one text after the other."""
    paths, now = shortest_paths(known), known.copy()
    pairs = [(x, y) for x in range(len(known)) for y in range(len(known)) if x != y]
    shares = [now.sum() / len(pairs)]
    for draw in rng.integers(len(pairs), size=steps):
        x, y = pairs[draw]
        for z in path(paths, x, y):
            now[x, z] = True
        shares.append(now.sum() / len(pairs))
    return np.array(shares)


@pytest.mark.parametrize("seed", range(5))
def test_the_simulation_is_the_procedure_text_by_text(simulate, seed):
    known = graph(seed)
    found = simulate(known, 300, np.random.default_rng(seed))
    assert np.allclose(found, slow_simulation(known, 300, np.random.default_rng(seed)), atol=1e-12)


def test_it_starts_with_the_documents_only_grows_and_ends_with_all_that_paths_connect(simulate):
    known = graph(1)
    shares = simulate(known, 20_000, np.random.default_rng(0))
    assert shares[0] == pytest.approx(known.sum() / 132)
    assert (np.diff(shares) >= 0).all()
    assert shares[-1] == pytest.approx((shortest_paths(known).depth > 0).sum() / 132)


def test_nothing_is_added_where_no_path_leads(simulate):
    islands = np.zeros((6, 6), bool)
    islands[0, 1] = islands[3, 4] = True
    assert np.allclose(simulate(islands, 500, np.random.default_rng(0)), 2 / 30)


def test_one_draw_teaches_the_whole_way(simulate):
    """In a chain of 20, the draw (0, 19) alone teaches 18 new pairs; nothing else can teach so many."""
    chain = np.eye(20, k=1, dtype=bool)
    jumps = np.diff(simulate(chain, 5000, np.random.default_rng(2))) * 380
    assert 4 < jumps.max() <= 18 + 1e-9


# Prediction


def test_the_exact_curve_is_the_mean_of_the_simulation(simulate):
    known, times = graph(2), np.array([0, 1, 5, 20, 80, 300, 1000])
    runs = np.array([simulate(known, 1000, np.random.default_rng(seed))[times] for seed in range(600)])
    error = runs.std(axis=0) / math.sqrt(len(runs))
    assert (np.abs(predict_curves(known, times).exact - runs.mean(axis=0)) <= 4 * error + 1e-12).all()


@pytest.mark.parametrize("seed", range(8))
def test_the_bounds_hold_for_every_graph_and_time(seed):
    rng = np.random.default_rng(seed)
    known = random_knowledge(int(rng.integers(2, 40)), float(rng.random() * 0.3), rng)
    curves = predict_curves(known, np.geomspace(1, 1e5, 50))
    assert (curves.lower <= curves.exact + 1e-12).all() and (curves.exact <= curves.upper + 1e-12).all()
    ends = predict_curves(known, [0, 1e9])
    assert np.allclose(ends.lower, ends.upper) and np.allclose(ends.exact, ends.upper)


def test_generations_of_the_branching_formula_against_drawn_trees():
    """With weights of its own the formula is a mean over trees: drawn here, generation by generation."""
    rng, degree, entities = np.random.default_rng(0), 1.7, 30
    pairs, times = entities * (entities - 1), np.array([100.0, 900.0, 4000.0])
    trees, share = 40_000, 0.0
    born, size = np.ones(trees), np.ones(trees)
    for generation in range(14):
        weight = (degree - 1) / degree ** (generation + 1)
        share = share + weight * np.exp(-np.outer(size, times) / pairs).mean(axis=0)
        born = rng.poisson(degree * born)
        size += born
    left = degree**-14  # generations beyond: hardly any tree is small there, but for those that died out
    extinct = 0.0
    for _ in range(1000):
        extinct = math.exp(degree * (extinct - 1))
    drawn = degree / entities + (1 - extinct) ** 2 * (1 - share)
    assert np.abs(branching_curve(entities, degree, times) - drawn).max() < (1 - extinct) ** 2 * left + 0.005


def test_the_branching_formula_nears_the_exact_curve_as_the_graph_grows():
    def gap(entities):
        times = np.geomspace(0.05, 5, 12) * entities * (entities - 1)
        known = random_knowledge(entities, 3 / entities, np.random.default_rng(0))
        return np.abs(predict_curves(known, times).exact - branching_curve(entities, 3.0, times)).max()

    assert gap(50) < 0.12 and gap(400) < 0.06


def test_the_branching_formula_starts_and_ends_as_the_theorem_says():
    first, last = branching_curve(1000, 3.0, [0, 1e12])
    rho = next(r for r in np.arange(0, 1, 1e-5) if math.exp(3 * (r - 1)) <= r)
    assert first == pytest.approx(0.003, abs=1e-6) and last == pytest.approx(0.003 + (1 - rho) ** 2, abs=1e-4)


def test_random_knowledge_has_its_density():
    known = random_knowledge(400, 0.05, np.random.default_rng(0))
    assert known.sum() == pytest.approx(0.05 * 400 * 399, rel=0.04) and not known.diagonal().any()


# Bad input


@pytest.mark.parametrize(
    "bad", [np.zeros((2, 3), bool), np.ones((3, 3), bool), np.zeros((1, 1), bool), np.zeros(4)]
)
def test_knowledge_of_another_shape_is_refused(bad):
    with pytest.raises(ValueError, match="known must be"):
        shortest_paths(bad)
    with pytest.raises(ValueError, match="known must be"):
        predict_curves(bad, [1])


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: random_knowledge(1, 0.1, np.random.default_rng(0)), "entities must"),
        (lambda: random_knowledge(5, 1.1, np.random.default_rng(0)), "p must"),
        (lambda: entigraph_theory.simulate_entigraph(graph(), 0, np.random.default_rng(0)), "steps must"),
        (lambda: predict_curves(graph(), [-1]), "times must"),
        (lambda: branching_curve(10, 1.0, [1]), "degree must"),
        (lambda: branching_curve(10, 2.0, [-1]), "times must"),
        (lambda: branching_curve(1, 2.0, [1]), "entities must"),
    ],
)
def test_bad_numbers_are_named(call, message):
    with pytest.raises(ValueError, match=message):
        call()
