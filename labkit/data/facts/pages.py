"""Web pages about the world: text, and around it the furniture that carries annotations for free.

A *review* tells about a product in four sentences, each good or bad; the stars stand elsewhere on the
page (1 + the number of good sentences). An *article* about a person, company or city has a topic, which a
line elsewhere names. Both have a title, a box with all facts of their entity, a date, and links that say
nothing. Every site has its own forms for these lines, and they stand above or below the text.
"""

import re
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

__all__ = ["BOXES", "PAGE_WORDS", "RATINGS", "SECTIONS", "Page", "pages", "review"]

_GOOD = ("great", "lovely", "solid", "clever", "superb", "neat", "fast", "smooth")
_BAD = ("awful", "ugly", "weak", "silly", "broken", "cheap", "slow", "rough")
_PARTS = ("look", "case", "button", "finish", "handle", "design", "box", "manual")
_SENTENCES = ("the {p} is {a}.", "we find the {p} {a}.", "{a} {p}, in short.", "what a {a} {p}!")
_LINKS = ("home", "news", "shop", "search", "help", "contact", "archive", "jobs")
_NOTES = ("written for the weekend edition", "tell a friend", "all rights reserved", "read more below")

# The forms of four sites. {k} stars, {t} topic, {s} {n} {o} a fact, {y} year, {e} entity, {w} kind of page.
RATINGS = ("rating: {k} of 5 stars", "our verdict: {k} stars", "score {k} out of 5", "stars: {k}")
SECTIONS = ("filed under: {t}", "section: {t}", "more in {t}", "topic: {t}")
BOXES = ("{s}: {n} {o}.", "{n} ({s}): {o}.", "{o}: {n} ({s}).", "{o} = {n} of {s}.")
DATES = ("date: {y}", "published {y}", "{y} edition", "last change {y}")
TITLES = ("{w}: {e}", "{e} | {w}", "all about {e} | {w}", "{w} of {e}")
_FIXED = re.sub(r"\{.\}", " ", " ".join((*RATINGS, *SECTIONS, *DATES, *TITLES, "review article")))

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
    review, else None. topic: one of TOPICS of an article, else None. year: of the date line. site: 0 to 3,
    whose forms it has. told: what the body states; facts: what the box states. entity: whom it is about.
    """

    kind: str
    text: str
    title: str
    body: str
    entity: str
    stars: int | None
    topic: str | None
    year: str
    site: int
    told: list[Fact]
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
    sites: int = 4,
    topics: int = 8,
    below: float = 0.5,
    told: int = 2,
    junk: float = 0.5,
    typicality: float = 0.8,
    rng: np.random.Generator,
) -> list[Page]:
    """Draw pages about entities of a world.

    kinds: which, equally often. sites: how many, 1 to 4; each has its own forms of furniture. topics: of
    articles, the first so many of TOPICS. below: the probability that the furniture stands below the text,
    not above. told: how many facts the text states, at most. junk: the probability of each of six lines that
    say nothing. typicality: of an article's text, see :func:`~labkit.data.facts.message`.
    Raises ValueError where the world has no entity to write about.
    """
    count = build.check_count("count", count)
    sites = build.check_count("sites", sites, high=len(RATINGS))
    topics = build.check_count("topics", topics, high=len(TOPICS))
    told = build.check_count("told", told, low=0)
    junk, below = build.real("junk", junk, 0, 1), build.real("below", below, 0, 1)
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
        name = pools[kind][rng.integers(len(pools[kind]))]
        facts = [known[name][k] for k in rng.permutation(len(known[name]))]
        site = int(rng.integers(sites))
        out.append(_page(kind, name, facts[:told], sorted(facts), site, topics, below, junk, typicality, rng))
    return [out[i] for i in rng.permutation(count)]


def _page(kind, name, told, facts, site, topics, below, junk, typicality, rng) -> Page:
    stars = topic = None
    if kind == "review":
        stars = int(rng.integers(1, 6))
        text = review(stars, rng=rng)
        mark = RATINGS[site].replace("{k}", str(stars))
    else:
        topic = TOPICS[rng.integers(topics)]
        text = " ".join(message(topic, typicality=typicality, words=(4, 6), rng=rng) for _ in range(2))
        mark = SECTIONS[site].replace("{t}", topic)
    body = f"{grammar.document(told, rng=rng)} {text}".strip()
    year = YEARS[rng.integers(len(YEARS))]
    furniture = [
        BOXES[site]
        .replace("{n}", ENGLISH[fact.relation].key)
        .replace("{s}", fact.subject)
        .replace("{o}", fact.object)
        for fact in facts
    ]  # in order, so that reading the box gives the facts in order
    for line in (mark, DATES[site].replace("{y}", year)):
        furniture.insert(int(rng.integers(len(furniture) + 1)), line)
    title = TITLES[site].replace("{w}", kind).replace("{e}", name)
    rows = [[body], furniture] if rng.random() < below else [furniture, [body]]
    lines = [title, *_junk(junk, rng), *rows[0], *_junk(junk, rng), *rows[1], *_junk(junk, rng)]
    return Page(kind, "\n".join(lines), title, body, name, stars, topic, year, site, told, facts)


def _junk(share: float, rng: np.random.Generator, most: int = 2) -> list[str]:
    """Lines without content."""
    out = []
    for _ in range(most):
        if rng.random() < share:
            links = " | ".join(_LINKS[i] for i in rng.permutation(len(_LINKS))[:4])
            choice = (links, _NOTES[rng.integers(len(_NOTES))], ADS[rng.integers(len(ADS))])
            out.append(choice[rng.integers(3)])
    return out
