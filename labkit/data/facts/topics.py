"""Short texts of eight topics in four pairs that are easily confused, with the exact posterior.

The content words of a text are drawn independently: with probability ``typicality`` from the words of
its topic (its own, those that it shares with its neighbour and, now and then, the neighbour's own), else
from words that say nothing. Words that link them don't depend on the topic. So Bayes' rule gives the
probability of each topic exactly.
"""

from functools import cache
from typing import NamedTuple

import numpy as np

from labkit.data import build
from labkit.data.facts.wordings import tokens
from labkit.data.source import suggest

__all__ = [
    "NEIGHBOUR",
    "TOPICS",
    "TOPIC_WORDS",
    "Labelled",
    "labelled",
    "message",
    "posterior",
    "topic_words",
]

_OWN = {
    "weather": "rain wind storm cloud snow sky",
    "travel": "train hotel beach flight map ticket",
    "food": "soup bake spice oven sauce plate",
    "health": "nurse pill pain sleep fever heart",
    "music": "song drum choir band tune concert",
    "film": "actor scene screen script director cinema",
    "money": "bank loan tax coin debt bill",
    "work": "team task meeting desk project shift",
}
_SHARED = {
    ("weather", "travel"): "summer road sea cold season",
    ("food", "health"): "fruit diet kitchen fresh body",
    ("music", "film"): "stage star show sound fan",
    ("money", "work"): "pay office contract plan report",
}
_OPEN = "day people week friend group story idea place end part way side"
_LINKS = ("and", "with", "near", "about", "then", "or", "after", "for")
_OPENERS = ("", "today: ", "a note on ", "more on ", "they say ", "we saw ")

TOPICS = tuple(_OWN)
NEIGHBOUR = {a: b for pair in _SHARED for a, b in (pair, pair[::-1])}
_CONTENT = tuple(dict.fromkeys(" ".join((*_OWN.values(), *_SHARED.values(), _OPEN)).split()))
_NEUTRAL = " ".join((*_LINKS, *_OPENERS)).replace(":", "").split()
TOPIC_WORDS = tuple(dict.fromkeys((*_CONTENT, *_NEUTRAL, *TOPICS)))


class Labelled(NamedTuple):
    """text; label: what an annotator wrote; truth: the topic it was written for; both indices of TOPICS."""

    text: str
    label: int
    truth: int


@cache
def topic_words(typicality: float = 0.5) -> np.ndarray:
    """Probability of each content word given the topic: float[8, W], rows sum to 1; read-only.

    Own words carry 0.55 of a topic's part, shared ones 0.3, the neighbour's own 0.15; within a
    group the first word is the most frequent (weights 1, 1/2, 1/3 ...).
    """
    typicality = build.real("typicality", typicality, 0, 1)
    place = {word: i for i, word in enumerate(_CONTENT)}
    table = np.zeros((len(TOPICS), len(_CONTENT)))

    def put(row: int, words: str, mass: float):
        weights = 1 / np.arange(1, len(words.split()) + 1)
        for word, weight in zip(words.split(), weights / weights.sum(), strict=True):
            table[row, place[word]] += mass * weight

    for pair, shared in _SHARED.items():
        for topic in pair:
            row = TOPICS.index(topic)
            put(row, _OWN[topic], 0.55 * typicality)
            put(row, shared, 0.3 * typicality)
            put(row, _OWN[NEIGHBOUR[topic]], 0.15 * typicality)
            put(row, _OPEN, 1 - typicality)
    table.setflags(write=False)
    return table


def message(
    label: str | int,
    *,
    other: str | int | None = None,
    share: float = 0.5,
    typicality: float = 0.5,
    power: float = 1.0,
    words: tuple[int, int] = (8, 12),
    rng: np.random.Generator,
) -> str:
    """Write one text of a topic, or of a mixture of two.

    label, other: a topic, by name or index. share: the part of ``label`` where there is another one: the
    words are drawn from the geometric mixture p_label^share p_other^(1 - share). power: above 1 the
    writer keeps to the most usual words (p^power, normalized), as language models do. words: lowest and
    highest number of content words.

    >>> message("music", rng=np.random.default_rng(3)).split()[:3]
    ['tune', 'friend', 'day']
    """
    table = topic_words(typicality)
    share = build.real("share", share, 0, 1)
    power = build.real("power", power, 0.01, 100)
    p = table[_index(label)]
    if other is not None:
        with np.errstate(divide="ignore", invalid="ignore"):
            p = p**share * table[_index(other)] ** (1 - share)
    p = p**power / (p**power).sum()
    low, high = words
    count = rng.integers(build.check_count("words", low), build.check_count("words", high, low=int(low)) + 1)
    drawn = [_CONTENT[i] for i in rng.choice(len(_CONTENT), int(count), p=p)]
    text = _OPENERS[rng.integers(len(_OPENERS))] + drawn[0]
    for word in drawn[1:]:
        link = f" {_LINKS[rng.integers(len(_LINKS))]}" if rng.random() < 0.4 else ""
        text += f"{link} {word}"
    return text + "."


def posterior(texts: list[str], *, typicality: float = 0.5) -> np.ndarray:
    """Probability of each topic given each text, all topics equally frequent: float[B, 8].

    typicality: that of the writer; 1 needs texts whose words agree with one topic at least.
    """
    if isinstance(texts, str):
        raise TypeError("texts must be a list of texts, got one text")
    place = {word: i for i, word in enumerate(_CONTENT)}
    with np.errstate(divide="ignore"):
        logs = np.log(topic_words(typicality))
    scores = np.zeros((len(texts), len(TOPICS)))
    for row, text in enumerate(texts):
        for word in tokens(text):
            if word in place:
                scores[row] += logs[:, place[word]]
    best = scores.max(axis=1, keepdims=True)
    if len(texts) and not np.isfinite(best).all():
        raise ValueError("a text has words of several topics, which cannot be at typicality 1")
    scores = np.exp(scores - best)
    return scores / scores.sum(axis=1, keepdims=True)


def labelled(
    count: int,
    *,
    topics: int | tuple[str, ...] = 8,
    typicality: float = 0.5,
    label_noise: float = 0.0,
    words: tuple[int, int] = (8, 12),
    rng: np.random.Generator,
) -> list[Labelled]:
    """Texts of several topics, equally frequent, in random order.

    topics: how many of TOPICS (neighbours follow each other), or which. label_noise: the probability
    that a label is another one of these topics.
    """
    count = build.check_count("count", count)
    noise = build.real("label_noise", label_noise, 0, 1)
    if isinstance(topics, int):
        topics = TOPICS[: build.check_count("topics", topics, low=2, high=len(TOPICS))]
    which = np.array([_index(topic) for topic in topics])
    if len(set(which.tolist())) < 2:
        raise ValueError(f"topics must name at least two different ones, got {topics!r}")
    truth = rng.permutation(np.resize(np.arange(len(which)), count))
    shift = rng.integers(1, len(which), count) * (rng.random(count) < noise)
    labels = which[(truth + shift) % len(which)]
    return [
        Labelled(message(int(true), typicality=typicality, words=words, rng=rng), int(label), int(true))
        for label, true in zip(labels, which[truth], strict=True)
    ]


def _index(topic: str | int) -> int:
    if isinstance(topic, str):
        if topic not in TOPICS:
            raise ValueError(f"topic {topic!r}: {suggest(topic, TOPICS)}")
        return TOPICS.index(topic)
    return build.check_count("topic", topic, low=0, high=len(TOPICS) - 1)
