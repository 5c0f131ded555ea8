r"""reStructured pre-training (RST): mine the annotations that pages carry, and train on them as questions.

A page stores information in a form that is hard to fetch: a review here, its stars somewhere else. A *signal*
is a tuple of such fields, extracted from the page, for instance (text, stars). *Prompt forms* turn each tuple
into pairs of a source and a target, and the model is pre-trained to write targets:

.. math:: (f_1, \dots, f_k) = \mathrm{extract}(\text{page}), \qquad
          x = \mathrm{source}(f), \; y = \mathrm{target}(f), \qquad
          L = -\sum_t \log p(y_t \mid x, y_{<t})

Signals of different sizes are mixed by temperature, the large ones capped: with :math:`n_s` pairs, signal
:math:`s` gets a share proportional to :math:`\min(n_s, \mathrm{cap})^{1/T}`. A task is then a look-up: it is
asked in the form in which its signal was stored.
Yuan, Liu (2022). *reStructured Pre-training.* arXiv:2206.11147; which signals, from which sources, from the
authors' repository. Other than there, the model may be a decoder alone: then a row holds source and target,
and only the target counts in the loss. Cap and temperature are T5's way of mixing tasks.
"""

import string
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch

from labkit.language import Rows

__all__ = ["Pair", "PromptForm", "Signal", "mix", "restructure", "shuffle_targets", "signal_shares"]


@dataclass(frozen=True)
class Signal:
    """One kind of annotation.

    name: of the signal.  fields: the names of a tuple's fields.
    extract: called with a document, returns a list of dicts with these fields (as str), empty where the
    document carries no such annotation.
    """

    name: str
    fields: tuple[str, ...]
    extract: Callable[[str], list[dict[str, str]]]

    def tuples(self, document: str) -> list[dict[str, str]]:
        """The document's tuples. ValueError where one lacks a field or has another."""
        found = self.extract(document)
        for each in found:
            if set(each) != set(self.fields):
                raise ValueError(
                    f"signal {self.name!r} must extract {', '.join(self.fields)}, got {', '.join(each)}"
                )
        return found


@dataclass(frozen=True)
class PromptForm:
    """How tuples of a signal are asked: text with ``{field}`` in it.

    signal: its name.  source, target: templates; the target keeps the space before it.
    options: for a choice, the targets that can be; empty for free generation.
    Raises ValueError for an empty template, or a target without a field.
    """

    signal: str
    source: str
    target: str
    options: tuple[str, ...] = ()

    def __post_init__(self):
        if not self.source or not _fields(self.target):
            raise ValueError(f"a form needs a source and a field in its target, got {self!r}")

    def fill(self, fields: Mapping[str, str]) -> tuple[str, str]:
        """(source, target) of one tuple.

        ValueError where a template names a field that is not there, or the target is none of the options.

        >>> form = PromptForm("rating", "{text} how many stars?", " {stars}", options=(" 1", " 2"))
        >>> form.fill({"text": "awful.", "stars": "1"})
        ('awful. how many stars?', ' 1')
        """
        missing = (_fields(self.source) | _fields(self.target)) - set(fields)
        if missing:
            raise ValueError(
                f"the form of {self.signal!r} needs {', '.join(sorted(missing))}, got {', '.join(fields)}"
            )
        source, target = self.source.format(**fields), self.target.format(**fields)
        if self.options and target not in self.options:
            raise ValueError(f"target {target!r} of {self.signal!r} is none of its options {self.options}")
        return source, target


class Pair(NamedTuple):
    """A prompted example of a signal."""

    source: str
    target: str
    signal: str


def restructure(
    documents: Sequence[str],
    signals: Sequence[Signal],
    forms: Sequence[PromptForm],
    *,
    per_signal_cap: int | None = None,
    rng: np.random.Generator,
) -> list[Pair]:
    """Mine documents: every tuple of every signal in every form of it, document by document.

    per_signal_cap: at most so many pairs of one signal, drawn at random; None for all.
    Raises ValueError for a signal without a form, a form without a signal, or one that no document has.
    """
    names = [signal.name for signal in signals]
    asked: dict[str, list[PromptForm]] = {name: [] for name in names}
    for form in forms:
        if form.signal not in asked:
            raise ValueError(f"a form is for {form.signal!r}, the signals are {', '.join(names)}")
        asked[form.signal].append(form)
    found: dict[str, list[Pair]] = {}
    for signal in signals:
        if not asked[signal.name]:
            raise ValueError(f"signal {signal.name!r} has no form")
        tuples = [each for document in documents for each in signal.tuples(document)]
        if not tuples:
            raise ValueError(f"none of {len(documents)} documents has the signal {signal.name!r}")
        pairs = [Pair(*form.fill(each), signal.name) for each in tuples for form in asked[signal.name]]
        keep = np.sort(rng.permutation(len(pairs))[:per_signal_cap])
        found[signal.name] = [pairs[i] for i in keep]
    return [pair for name in names for pair in found[name]]


def shuffle_targets(pairs: Sequence[Pair], *, rng: np.random.Generator) -> list[Pair]:
    """The control: within each signal, targets change places. Forms stay, what they say is lost."""
    out = list(pairs)
    for name in dict.fromkeys(pair.signal for pair in pairs):
        places = [i for i, pair in enumerate(pairs) if pair.signal == name]
        for i, j in zip(places, rng.permutation(places), strict=True):
            out[i] = pairs[i]._replace(target=pairs[j].target)
    return out


def signal_shares(
    pairs: Sequence[Pair], *, cap: int | None = None, temperature: float = 1.0
) -> dict[str, float]:
    """The share of each signal in training, proportional to min(count, cap) ** (1 / temperature).

    >>> pairs = [Pair("", "", "a")] * 900 + [Pair("", "", "b")] * 100
    >>> signal_shares(pairs, cap=300)
    {'a': 0.75, 'b': 0.25}
    """
    if not temperature > 0 or (cap is not None and cap < 1):
        raise ValueError(f"temperature must be positive and cap 1 or more, got {temperature} and {cap}")
    counts: dict[str, int] = {}
    for pair in pairs:
        counts[pair.signal] = counts.get(pair.signal, 0) + 1
    weights = {name: min(count, cap or count) ** (1 / temperature) for name, count in counts.items()}
    return {name: weight / sum(weights.values()) for name, weight in weights.items()}


def mix(
    pairs: Sequence[Pair],
    texts: Sequence[str],
    tokenizer,
    *,
    rows: int,
    length: int,
    share: float = 0.5,
    cap: int | None = None,
    temperature: float = 1.0,
    rng: np.random.Generator,
) -> Rows:
    """Rows for pre-training: whole texts in some, whole pairs in the others, in random order.

    share: of the rows that hold pairs, in [0, 1]; 0 is plain pre-training on the texts, at the same
    number of tokens. cap, temperature: see :func:`signal_shares`. Texts are taken in random order, each
    once before one comes again; so are the pairs of a signal. A row is filled with as many as fit, padding
    after. Of texts every token counts, of pairs the target and the end of text.
    Returns tokens int64[rows, length], mask bool[rows, length].
    Raises ValueError for a text or pair that is longer than a row, or a share without what it needs.
    """
    if not 0 <= share <= 1 or rows < 1 or length < 2:
        raise ValueError(
            f"share must lie in [0, 1], rows from 1, length from 2; got {share}, {rows}, {length}"
        )
    of_pairs = round(share * rows)
    if (of_pairs and not pairs) or (of_pairs < rows and not texts):
        raise ValueError(
            f"share {share} needs {'pairs' if of_pairs and not pairs else 'texts'}, there are none"
        )
    end = tokenizer.eos_token_id
    made: list[tuple[list[int], list[bool]]] = []
    if of_pairs:
        sources = tokenizer([pair.source for pair in pairs])["input_ids"]
        targets = tokenizer([pair.target for pair in pairs], add_special_tokens=False)["input_ids"]
        items = [
            (s + t + [end], [False] * len(s) + [True] * (len(t) + 1))
            for s, t in zip(sources, targets, strict=True)
        ]
        shares = signal_shares(pairs, cap=cap, temperature=temperature)
        groups = [[i for i, p in enumerate(pairs) if p.signal == name] for name in shares]
        made += _filled(items, _draw(groups, list(shares.values()), rng), of_pairs, length)
    if of_pairs < rows:
        ids = tokenizer(list(texts))["input_ids"]
        items = [([*each, end], [True] * (len(each) + 1)) for each in ids]
        made += _filled(items, _draw([list(range(len(texts)))], [1.0], rng), rows - of_pairs, length)
    tokens = torch.full((rows, length), tokenizer.pad_token_id)
    mask = torch.zeros(rows, length, dtype=torch.bool)
    for row, i in enumerate(rng.permutation(rows)):
        ids, counted = made[i]
        tokens[row, : len(ids)] = torch.tensor(ids)
        mask[row, : len(ids)] = torch.tensor(counted)
    return Rows(tokens, mask)


def _draw(groups: list[list[int]], shares: list[float], rng: np.random.Generator):
    """Indices without end: a group by its share, in it one after the other in random order."""
    queues: list[list[int]] = [[] for _ in groups]
    while True:
        g = int(rng.choice(len(groups), p=shares))
        if not queues[g]:
            queues[g] = rng.permutation(groups[g]).tolist()
        yield queues[g].pop()


def _filled(items, order, rows: int, length: int) -> list[tuple[list[int], list[bool]]]:
    """As many whole items per row as fit."""
    out: list[tuple[list[int], list[bool]]] = []
    ids: list[int] = []
    counted: list[bool] = []
    while len(out) < rows:
        item, mask = items[next(order)]
        if len(item) > length:
            raise ValueError(
                f"a row must hold the longest text or pair, {len(item)} tokens, length is {length}"
            )
        if len(ids) + len(item) > length:
            out.append((ids, counted))
            ids, counted = [], []
        ids, counted = ids + item, counted + mask
    return out


def _fields(template: str) -> set[str]:
    return {name for _, name, _, _ in string.Formatter().parse(template) if name}
