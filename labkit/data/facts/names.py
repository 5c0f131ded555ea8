"""Names of people, companies, cities and products, put together from a fixed inventory of syllables.

A name is an opening syllable of two letters with a capital, then syllables of three letters; the last
one tells the kind. So every name, seen or not, splits in one way into known pieces.
"""

import numpy as np

from labkit.data.source import suggest

__all__ = ["ENDINGS", "KINDS", "OPENINGS", "SYLLABLES", "kind_of_name", "name", "names", "pieces"]

OPENINGS = tuple(c + v for c in "BDFGKLMNRTV" for v in "aeiou")[:40]
ENDINGS = {
    "person": ("len", "rik", "sha", "vin", "bel", "tor", "mus", "dra", "nik", "gan"),
    "company": ("tex", "cor", "dyn", "lux", "zon", "fex", "gro", "mak", "pex", "tra"),
    "city": ("bur", "ham", "dal", "wik", "pol", "fel", "sto", "gat", "row", "mer"),
    "product": ("pix", "zip", "bot", "jet", "kit", "pad", "vox", "tab", "rox", "nib"),
}
KINDS = tuple(ENDINGS)
SYLLABLES = OPENINGS + tuple(each for endings in ENDINGS.values() for each in endings)

_KIND_OF_ENDING = {ending: kind for kind, endings in ENDINGS.items() for ending in endings}
_INNER = SYLLABLES[len(OPENINGS) :]


def name(kind: str, rng: np.random.Generator, *, syllables: int = 2) -> str:
    """Draw one name.

    kind: "person", "company", "city" or "product". syllables: 2 to 4; with two there are 400 names
    of each kind, every further one multiplies them by 40.

    >>> name("city", np.random.default_rng(0))
    'Musto'
    """
    _check(kind, syllables)
    middle = [_INNER[i] for i in rng.integers(len(_INNER), size=syllables - 2)]
    opening = OPENINGS[rng.integers(len(OPENINGS))]
    ending = ENDINGS[kind][rng.integers(len(ENDINGS[kind]))]
    return "".join([opening, *middle, ending])


def names(
    kind: str,
    count: int,
    rng: np.random.Generator,
    *,
    syllables: int = 2,
    taken: frozenset[str] | set[str] = frozenset(),
) -> list[str]:
    """Draw ``count`` different names, none of them in ``taken``.

    Raises ValueError where there are not enough of that length.
    """
    _check(kind, syllables)
    room = len(OPENINGS) * len(ENDINGS[kind]) * len(_INNER) ** (syllables - 2)
    used = sum(1 for each in taken if _is(each, kind, syllables))
    if count > room - used:
        raise ValueError(
            f"{count} different names of a {kind} with {syllables} syllables do not exist, only "
            f"{room - used}; take syllables={syllables + 1}"
        )
    drawn: dict[str, None] = {}
    while len(drawn) < count:
        new = name(kind, rng, syllables=syllables)
        if new not in taken:
            drawn[new] = None
    return list(drawn)


def pieces(word: str) -> list[str]:
    """The syllables of a name.

    >>> pieces("Mulensto")
    ['Mu', 'len', 'sto']

    Raises ValueError for a word that is no name.
    """
    parts = [word[:2], *(word[i : i + 3] for i in range(2, len(word), 3))]
    if len(parts) < 2 or parts[0] not in OPENINGS or any(each not in _INNER for each in parts[1:]):
        raise ValueError(f"{word!r} is not made of the syllables of labkit.data.facts")
    return parts


def kind_of_name(word: str) -> str:
    """What a name names: "person", "company", "city" or "product". ValueError if it is no name."""
    return _KIND_OF_ENDING[pieces(word)[-1]]


def _is(word: str, kind: str, syllables: int) -> bool:
    try:
        parts = pieces(word)
    except ValueError:
        return False
    return len(parts) == syllables and _KIND_OF_ENDING[parts[-1]] == kind


def _check(kind: str, syllables: int) -> None:
    if kind not in ENDINGS:
        raise ValueError(f"kind {kind!r}: {suggest(kind, KINDS)}")
    if isinstance(syllables, bool) or not isinstance(syllables, int) or not 2 <= syllables <= 4:
        raise ValueError(f"syllables must be 2, 3 or 4, got {syllables!r}")
