r"""The toy model of EntiGraph: how much is known after so many synthetic texts, simulated and predicted.

What the documents say is a random directed graph: each ordered pair of :math:`V` entities is stated with
probability :math:`p = \lambda / V`, and a model that trains on the documents knows just these pairs. A
synthetic text draws a pair (x, y). Where a path of stated pairs leads from x to y, the text tells it, and
(x, z) becomes known for every z on the shortest one. A pair that k of the :math:`N = V (V - 1)` draws teach
is still unknown after t texts with probability :math:`(1 - k / N)^t`. So knowledge grows as a mixture of
exponentials, up to the pairs that a path connects.

Yang, Band, Li, Candès, Hashimoto (2024). *Synthetic continued pretraining.* arXiv:2409.07431, section 6
and appendix G. Beyond the paper: the mixture of a given graph is counted exactly, and its two bounds hold
for every graph and every t >= 1, where the theorem's hold for large V.
"""

from typing import NamedTuple

import numpy as np

from labkit.data.build import check_count, real

__all__ = ["Curves", "Paths", "branching_curve", "passing", "predict_curves", "random_knowledge"]
__all__ += ["shortest_paths", "simulate_entigraph"]


class Paths(NamedTuple):
    """A shortest path from every entity x to every y, both int64[V, V].

    parent: the entity before y on the path.  depth: its number of steps.  -1 for both where there is no
    path; on the diagonal depth 0 and parent -1.
    """

    parent: np.ndarray
    depth: np.ndarray


class Curves(NamedTuple):
    """Expected shares of known pairs at some times, float[T] each: exact, and two bounds for any graph."""

    exact: np.ndarray
    lower: np.ndarray
    upper: np.ndarray


def random_knowledge(entities: int, p: float, rng: np.random.Generator) -> np.ndarray:
    """What the documents say: bool[V, V], each ordered pair of different entities with probability p.

    >>> random_knowledge(50, 0.1, np.random.default_rng(0)).diagonal().any()
    np.False_
    """
    known = rng.random((check_count("entities", entities, low=2), entities)) < real("p", p, 0, 1)
    np.fill_diagonal(known, False)
    return known


def shortest_paths(known: np.ndarray) -> Paths:
    """Breadth-first search from every entity; of several shortest paths, one through the entity found first.

    known: bool[V, V] with a false diagonal, or ValueError.
    """
    known = _knowledge(known)
    parent, depth = np.full((2, *known.shape), -1)
    for root in range(len(known)):
        depth[root, root], frontier, level = 0, np.array([root]), 0
        while len(frontier):
            level += 1
            edges = known[frontier] & (depth[root] < 0)  # to entities that no shorter path has reached
            new = np.flatnonzero(edges.any(axis=0))
            depth[root, new], parent[root, new] = level, frontier[edges[:, new].argmax(axis=0)]
            frontier = new
    return Paths(parent, depth)


def passing(paths: Paths) -> np.ndarray:
    """How many draws (x, y) teach (x, z), int64[V, V]: z itself, and each y with z on its path from x.

    >>> chain = np.eye(3, k=1, dtype=bool)  # 0 to 1 to 2
    >>> passing(shortest_paths(chain)).tolist()
    [[0, 2, 1], [0, 0, 1], [0, 0, 0]]
    """
    counts = (paths.depth > 0).astype(np.int64)
    for level in range(paths.depth.max(), 1, -1):  # from the far end to the near: each adds to its parent
        x, y = np.nonzero(paths.depth == level)
        np.add.at(counts, (x, paths.parent[x, y]), counts[x, y])
    return counts


def simulate_entigraph(known: np.ndarray, steps: int, rng: np.random.Generator) -> np.ndarray:
    """Share of ordered pairs known after 0, 1, ... ``steps`` synthetic texts: float[steps + 1].

    known: what the documents say, bool[V, V].  Each text draws a pair (x, y); where a path of known pairs
    leads from x to y, then all (x, z) with z on that path become known, (x, y) too; else nothing does.
    """
    paths, count = shortest_paths(known), len(known)
    apart = ~np.eye(count, dtype=bool)
    x, y = np.nonzero(apart)
    drawn = rng.integers(len(x), size=check_count("steps", steps))[::-1]
    learnt = np.full((count, count), steps + 1)
    learnt[x[drawn], y[drawn]] = np.arange(steps, 0, -1)  # written last to first: the first draw stays
    for level in range(paths.depth.max(), 1, -1):  # a parent is learnt no later than what lies behind it
        a, b = np.nonzero(paths.depth == level)
        np.minimum.at(learnt, (a, paths.parent[a, b]), learnt[a, b])
    learnt[paths.depth < 1] = steps + 1
    learnt[known] = 0
    return np.bincount(learnt[apart], minlength=steps + 2)[: steps + 1].cumsum() / len(x)


def predict_curves(known: np.ndarray, times) -> Curves:
    """The expected simulation of one graph, and bounds of it. times: float[T], numbers of texts, >= 0.

    The k of every pair are counted. The lower bound sets all of them to 1, the upper one to their mean,
    since the power is convex in k; so they hold from one text on, t >= 1.
    """
    known, times = _knowledge(known), _times(times)
    counts, pairs = passing(shortest_paths(known)), known.size - len(known)
    k, many = np.unique(counts[(counts > 0) & ~known], return_counts=True)
    share, mean = many.sum() / pairs, (k * many).sum() / max(many.sum(), 1)

    def curve(rates, shares):
        unknown = (1 - rates / pairs) ** times[:, None]
        return known.sum() / pairs + ((1 - unknown) * shares).sum(axis=1)

    return Curves(curve(k, many / pairs), curve(np.ones(1), share), curve(np.array([mean]), share))


def branching_curve(entities: int, degree: float, times) -> np.ndarray:
    r"""The paper's formula for a large random graph: share of known pairs at ``times``, float[T].

    degree: mean number of pairs per entity that the documents state, :math:`\lambda = p V`, > 1.
    The search from an entity is taken for a tree in which everyone has Poisson(:math:`\lambda`) children:

    .. math:: p + (1 - \rho)^2 \Bigl(1 - \sum_{\ell \ge 0} \frac{\lambda - 1}{\lambda^{\ell + 1}}
              \, G_\ell\bigl(e^{-t / V (V - 1)}\bigr)\Bigr), \qquad
              G_{\ell + 1}(s) = s\, e^{\lambda (G_\ell(s) - 1)}, \quad G_0(s) = s

    :math:`G_\ell` generates the number of descendants within :math:`\ell` generations, and :math:`\rho` is
    the chance that such a tree dies out. (The paper writes :math:`(1 - k / N)^t` for :math:`e^{-kt/N}`.)
    Raises ValueError for degree <= 1 (or not finite) or a time below 0.

    >>> branching_curve(100, 3.0, [0, 9900, 1e6]).round(3)
    array([0.03 , 0.685, 0.915])
    """
    check_count("entities", entities, low=2)
    if not 1 < degree < np.inf:
        raise ValueError(f"degree must be above 1 and finite, got {degree}: smaller graphs fall apart")
    s = np.exp(-_times(times) / (entities * (entities - 1)))
    extinct, tree, unknown, weight = 0.0, s, 0.0, (degree - 1) / degree
    while weight > 1e-9:
        unknown, weight, tree = unknown + weight * tree, weight / degree, s * np.exp(degree * (tree - 1))
    for _ in range(10_000):
        extinct = np.exp(degree * (extinct - 1))
    return degree / entities + (1 - extinct) ** 2 * (1 - unknown)


def _knowledge(known) -> np.ndarray:
    known = np.asarray(known, dtype=bool)
    if known.ndim != 2 or len(known) < 2 or known.shape[0] != known.shape[1] or known.diagonal().any():
        raise ValueError(f"known must be bool[V, V], V >= 2, with a false diagonal, got shape {known.shape}")
    return known


def _times(times) -> np.ndarray:
    times = np.atleast_1d(np.asarray(times, dtype=float))
    if not (times >= 0).all():
        raise ValueError("times must be 0 or more")
    return times
