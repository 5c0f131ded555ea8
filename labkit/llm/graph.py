"""What connects names in a set of facts: the graph with names as nodes and facts as edges."""

from collections import deque
from collections.abc import Sequence

from labkit.data.facts import Fact

__all__ = ["connecting", "path"]


def path(facts: Sequence[Fact], a: str, b: str) -> list[Fact] | None:
    """The facts along a shortest way from a to b, in its order; None where there is none.

    >>> said = [Fact("Balen", "lives_in", "Dudal"), Fact("Nobur", "mayor", "Balen")]
    >>> [fact.relation for fact in path(said, "Nobur", "Dudal")]
    ['mayor', 'lives_in']
    """
    edges: dict[str, list[tuple[str, Fact]]] = {}
    for fact in facts:
        edges.setdefault(fact.subject, []).append((fact.object, fact))
        edges.setdefault(fact.object, []).append((fact.subject, fact))
    came: dict[str, tuple[str, Fact] | None] = {a: None}
    queue = deque([a])
    while queue and b not in came:
        here = queue.popleft()
        for there, fact in edges.get(here, ()):
            if there not in came:
                came[there] = (here, fact)
                queue.append(there)
    if b not in came:
        return None
    way: list[Fact] = []
    step = came[b]
    while step is not None:
        way.append(step[1])
        step = came[step[0]]
    return way[::-1]


def connecting(facts: Sequence[Fact], names: Sequence[str]) -> list[Fact]:
    """The facts that a text on how the names are related states, each once, in the order of ``facts``.

    For every two names: all facts that have both, else those along a shortest way, else all that have
    one of them.
    """
    said: dict[Fact, None] = {}
    for i, a in enumerate(names):
        for b in names[i + 1 :]:
            direct = [fact for fact in facts if {a, b} <= {fact.subject, fact.object}]
            apart = [fact for fact in facts if {a, b} & {fact.subject, fact.object}]
            said |= dict.fromkeys(direct or path(facts, a, b) or apart)
    return [fact for fact in dict.fromkeys(facts) if fact in said]
