"""Web pages about the world: text, and around it the furniture that carries annotations for free.

A *review* tells about a product in four sentences, each good or bad; the stars stand elsewhere on the
page (1 + the number of good sentences). An *article* about a person, company or city has a topic, which its
"filed under" line names. Both have a title, a box of facts, a date, and links that say nothing.
"""

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from labkit.data import build
from labkit.data.facts import grammar
from labkit.data.facts.english import ADS, ENGLISH
from labkit.data.facts.relations import YEARS, Fact
from labkit.data.facts.topics import TOPICS, message
from labkit.data.facts.wordings import tokens

if TYPE_CHECKING:
    from labkit.data.facts.worlds import World

__all__ = ["PAGE_WORDS", "Page", "pages", "review"]

_GOOD = ("great", "lovely", "solid", "clever", "superb", "neat", "fast", "smooth")
_BAD = ("awful", "ugly", "weak", "silly", "broken", "cheap", "slow", "rough")
_PARTS = ("look", "case", "button", "finish", "handle", "design", "box", "manual")
_SENTENCES = ("the {p} is {a}.", "we find the {p} {a}.", "{a} {p}, in short.", "what a {a} {p}!")
_LINKS = ("home", "news", "shop", "search", "help", "contact", "archive", "jobs")
_NOTES = ("written for the weekend edition", "tell a friend", "all rights reserved", "read more below")

_FIXED = "review: article: rating: of 5 stars filed under: date:"

PAGE_WORDS = tuple(
    dict.fromkeys(
        word
        for text in (*_GOOD, *_BAD, *_PARTS, *_SENTENCES, *_LINKS, *_NOTES, _FIXED)
        for word in tokens(text.replace("{p}", "").replace("{a}", ""))
        if word.isalpha()
    )
)


class Page(NamedTuple):
    """A page and all that is known about it.

    kind: "review" or "article". text: the whole page. body: the running text alone. stars: 1 to 5 of a
    review, else None. topic: one of TOPICS of an article, else None. year: of the date line.
    body_facts: what the body states; facts: what the box states. entity: whom it is about.
    """

    kind: str
    text: str
    title: str
    body: str
    entity: str
    stars: int | None
    topic: str | None
    year: str
    body_facts: list[Fact]
    facts: list[Fact]


def review(stars: int, *, rng: np.random.Generator) -> str:
    """Four sentences of which ``stars - 1`` are good and the others bad, in random order.

    >>> review(5, rng=np.random.default_rng(0)).count("awful")
    0
    """
    good = build.check_count("stars", stars, low=1, high=5) - 1
    out = []
    for is_good in rng.permutation([True] * good + [False] * (4 - good)):
        words = _GOOD if is_good else _BAD
        sentence = _SENTENCES[rng.integers(len(_SENTENCES))]
        part = _PARTS[rng.integers(len(_PARTS))]
        out.append(sentence.replace("{p}", part).replace("{a}", words[rng.integers(len(words))]))
    return " ".join(out)


def pages(
    here: "World",
    count: int,
    *,
    kinds: tuple[str, ...] = ("review", "article"),
    junk: float = 0.5,
    typicality: float = 0.8,
    rng: np.random.Generator,
) -> list[Page]:
    """Draw pages about entities of a world.

    kinds: which, equally often. junk: the probability of each of six lines that say nothing.
    typicality: of an article's text, see :func:`~labkit.data.facts.topics.message`.
    Raises ValueError where the world has no entity to write about.
    """
    count = build.check_count("count", count)
    junk = build.real("junk", junk, 0, 1)
    known: dict[str, list[Fact]] = {}
    for fact in here.facts:
        known.setdefault(fact.subject, []).append(fact)
    pools = {
        "review": [name for name in known if here.entities[name] == "product"],
        "article": [name for name in known if here.entities[name] != "product"],
    }
    for kind in kinds:
        if kind not in pools:
            raise ValueError(f"kinds must be of 'review' and 'article', got {kind!r}")
        if not pools[kind]:
            raise ValueError(f"this world has nobody to write a {kind} about")
    out = []
    for i in range(count):
        kind = kinds[i % len(kinds)]
        pool = pools[kind]
        name = pool[rng.integers(len(pool))]
        out.append(_page(kind, name, known[name], junk, typicality, rng))
    return [out[i] for i in rng.permutation(count)]


def _page(kind, name, facts, junk, typicality, rng) -> Page:
    order = [facts[i] for i in rng.permutation(len(facts))]
    told, boxed = order[:1], order[1:]
    stars = topic = None
    if kind == "review":
        stars = int(rng.integers(1, 6))
        body = review(stars, rng=rng)
        mark = f"rating: {stars} of 5 stars"
    else:
        topic = TOPICS[rng.integers(len(TOPICS))]
        parts = [message(topic, typicality=typicality, words=(4, 6), rng=rng) for _ in range(2)]
        body = " ".join(parts)
        mark = f"filed under: {topic}"
    body = f"{grammar.document(told, rng=rng)} {body}"
    year = YEARS[rng.integers(len(YEARS))]
    box = [f"{name}: {ENGLISH[fact.relation].key} {fact.object}." for fact in boxed]
    title = f"{kind}: {name}"
    tail = list(box)  # in order, so that reading the page gives the facts in order
    for line in (mark, f"date: {year}"):
        tail.insert(int(rng.integers(len(tail) + 1)), line)
    lines = [title, *_junk(junk, rng, 2), body, *_junk(junk, rng, 2), *tail, *_junk(junk, rng, 2)]
    return Page(kind, "\n".join(lines), title, body, name, stars, topic, year, told, boxed)


def _junk(share: float, rng: np.random.Generator, most: int) -> list[str]:
    """Lines without content."""
    out = []
    for _ in range(most):
        if rng.random() < share:
            links = " | ".join(_LINKS[i] for i in rng.permutation(len(_LINKS))[:4])
            choice = (links, _NOTES[rng.integers(len(_NOTES))], ADS[rng.integers(len(ADS))])
            out.append(choice[rng.integers(3)])
    return out
