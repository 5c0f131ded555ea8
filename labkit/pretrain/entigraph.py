r"""EntiGraph: a small library becomes a large corpus, by discussing its entities pair by pair.

To keep a fact, a language model must meet it many times, in other words, orders and connections. A small
library says it once. EntiGraph asks a language model for the entities of each document :math:`D`, and then,
for pairs and triples of them, how they are related in the light of that document:

.. math:: \{E_1, \dots, E_n\} \sim \mathrm{LM}(\text{entities}, D), \qquad
          \tilde D_{i_1 \dots i_k} \sim \mathrm{LM}(\text{relations}, D, E_{i_1}, \dots, E_{i_k}),
          \quad k = 2, 3

Pairs grow with the square of :math:`n`, triples with its cube. The pretrained model goes on training on all
these texts, with a replayed block of its earlier data now and then. Nothing is added to what the documents
say; it is rearranged.

The authors' toy model of this is in :mod:`labkit.pretrain.entigraph_theory`.

Yang, Band, Li, Candès, Hashimoto (2024). *Synthetic continued pretraining.* arXiv:2409.07431; details from
the authors' code. Other than there: the document's summary, which their code adds to the corpus and their
paper does not mention, is left out, and replay is drawn for each block, as in their code.
"""

from collections.abc import Sequence
from itertools import combinations
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from labkit.data.build import check_count, real

__all__ = ["Choice", "EntiGraph", "Rephrase", "ReplayMix", "SynthText"]
__all__ += ["closed_book_accuracy", "continued_pretrain", "corpus", "extract_entities"]


class SynthText(NamedTuple):
    """A synthetic text, and the entities it was asked to relate; none for a rephrased document."""

    text: str
    entities: tuple[str, ...] = ()


class Choice(NamedTuple):
    """A multiple-choice question: ``options`` follow the ``prompt``; ``answer`` is the right one's index."""

    prompt: str
    options: tuple[str, ...]
    answer: int


def extract_entities(document: str, llm, *, seed: int = 0) -> list[str]:
    """The entities of a document that stand in it word for word, in the order of the model's list.

    llm: see :class:`labkit.llm.LLM`.  A name that the document does not hold is dropped: what is said of
    it could not be grounded there.  Raises ValueError for an empty document.
    """
    from labkit.llm import prompts, texts

    [reply] = texts(llm, [prompts.entities(_text(document))], max_tokens=256, seed=seed)
    return [name for name in prompts.INSTRUCTIONS["entities"].parse(reply) if name in document]


class EntiGraph:
    """Discusses the entities of a document, pair by pair and triple by triple.

    llm: see :class:`labkit.llm.LLM`; it gets the document in every prompt.
    pairs, triples: how many to discuss, drawn without repetition; "all" for every one. The paper takes
    all pairs and as many triples as its budget allows.
    temperature: of the texts.  max_tokens: of each.
    Raises ValueError or TypeError for a number below 0, or both 0.

    >>> EntiGraph(None, triples=4)
    EntiGraph(pairs=all, triples=4)
    """

    def __init__(
        self, llm, *, pairs: str | int = "all", triples: str | int = 0, temperature=1.0, max_tokens=160
    ):
        self.llm, self.pairs, self.triples = llm, _amount("pairs", pairs), _amount("triples", triples)
        if pairs == 0 == triples:
            raise ValueError("pairs and triples are both 0: nothing would be written")
        self.parameters = {"temperature": temperature, "max_tokens": max_tokens}

    def __repr__(self) -> str:
        return f"EntiGraph(pairs={self.pairs}, triples={self.triples})"

    def synthesize(self, document: str, rng: np.random.Generator) -> list[SynthText]:
        """One text for each chosen pair, then for each chosen triple; names in random order.

        Raises ValueError for an empty document, one with fewer than two entities, and one with fewer
        pairs or triples than were asked for.
        """
        from labkit.llm import prompts, texts

        entities = extract_entities(document, self.llm, seed=int(rng.integers(2**31)))
        if len(entities) < 2:
            raise ValueError(f"document must have two entities or more, got {entities}: {document[:60]!r}")
        groups = _choose(entities, 2, self.pairs, rng) + _choose(entities, 3, self.triples, rng)
        asked = [prompts.relate(document, *group) for group in groups]
        replies = texts(self.llm, asked, seed=int(rng.integers(2**31)), **self.parameters)
        parse = prompts.INSTRUCTIONS["relate"].parse
        written = [SynthText(parse(reply), group) for reply, group in zip(replies, groups, strict=True)]
        return [each for each in written if each.text]  # where the document says nothing of a pair


class Rephrase:
    """The baseline: the whole document in other words, once in each style, as often as it is asked.

    llm: see :class:`labkit.llm.LLM`.  styles: some of ``labkit.llm.prompts.STYLES``, or ValueError. The
    paper's baseline has three prompts: easy, medium and hard words.

    >>> Rephrase(None)
    Rephrase(styles=('simple', 'plain', 'encyclopedia'))
    """

    def __init__(self, llm, styles: Sequence[str] = ("simple", "plain", "encyclopedia"), *, temperature=1.0):
        from labkit.llm import prompts

        self.llm, self.styles, self.temperature = llm, tuple(styles), temperature
        unknown = [style for style in self.styles if style not in prompts.STYLES]
        if unknown or not self.styles:
            raise ValueError(f"styles must be some of {', '.join(prompts.STYLES)}, got {list(styles)}")

    def __repr__(self) -> str:
        return f"Rephrase(styles={self.styles})"

    def synthesize(self, document: str, rng: np.random.Generator) -> list[SynthText]:
        """One text per style. Raises ValueError for an empty document."""
        from labkit.llm import prompts, texts

        asked = [prompts.rewrite(_text(document), style) for style in self.styles]
        parameters = {"temperature": self.temperature, "max_tokens": 256, "seed": int(rng.integers(2**31))}
        parse = prompts.INSTRUCTIONS["rewrite"].parse
        return [SynthText(parse(reply)) for reply in texts(self.llm, asked, **parameters)]


def corpus(
    method, documents: Sequence[str], *, tokens: int, tokenizer, rng: np.random.Generator
) -> list[SynthText]:
    """Texts about all documents, of ``tokens`` tokens in all, or a text more: what makes corpora comparable.

    method: has ``synthesize(document, rng)``. It goes through the documents again and again, with new
    draws each time, until there is enough; the texts are shuffled.
    Raises ValueError for tokens < 1, no document, or a round that yields nothing.
    """
    check_count("tokens", tokens)
    if not documents:
        raise ValueError("documents must not be empty")
    made, count = [], 0
    while count < tokens:
        fresh = [text for document in documents for text in method.synthesize(document, rng)]
        if not fresh:
            raise ValueError(f"{method} wrote nothing about any of {len(documents)} documents")
        for place in rng.permutation(len(fresh)):
            if count < tokens:
                made.append(fresh[place])
                count += len(tokenizer(fresh[place].text)["input_ids"])
    return [made[place] for place in rng.permutation(len(made))]


class ReplayMix:
    """Blocks of new text, each replaced by one of earlier data with a fixed probability, anew at each visit.

    blocks, replay: int64[N, T] and int64[M, T].  rate: the probability, in [0, 1); the paper's is 0.1.
    Raises ValueError for a rate outside, blocks of two lengths, or none.

    >>> mix = ReplayMix(torch.zeros(4, 2, dtype=torch.long), torch.ones(4, 2, dtype=torch.long), rate=0.5)
    >>> mix.draw(8, generator=torch.Generator().manual_seed(0)).shape
    torch.Size([8, 2])
    """

    def __init__(self, blocks: Tensor, replay: Tensor, *, rate: float = 0.1):
        self.blocks, self.replay, self.rate = blocks, replay, real("rate", rate, 0, 1)
        if rate == 1:
            raise ValueError("rate must lie in [0, 1), got 1: no new block would be seen")
        if blocks.shape[1:] != replay.shape[1:] or not len(blocks) or not len(replay):
            shapes = [list(each.shape) for each in (blocks, replay)]
            raise ValueError(f"blocks and replay must be int64[N, T] and int64[M, T], got {shapes}")

    def draw(self, count: int, *, generator: torch.Generator | None = None) -> Tensor:
        """``count`` blocks int64[count, T] to train on in this order: epochs, each in an order of its own."""
        epochs = -(-check_count("count", count) // len(self.blocks))
        order = [torch.randperm(len(self.blocks), generator=generator) for _ in range(epochs)]
        tokens = self.blocks[torch.cat(order)[:count]].clone()
        replaced = torch.rand(count, generator=generator) < self.rate
        chosen = torch.randint(len(self.replay), (int(replaced.sum()),), generator=generator)
        tokens[replaced] = self.replay[chosen]
        return tokens


def continued_pretrain(
    model,
    blocks: Tensor,
    replay: Tensor,
    *,
    steps: int,
    batch_size: int = 16,
    lr: float,
    rate: float = 0.1,
    seed=0,
):
    """Go on training a language model in place, on blocks mixed with replay; gives a ``training.Fit``.

    It sees ``steps * batch_size`` blocks, whatever their number: fewer new blocks mean more epochs.
    The other arguments: see :class:`ReplayMix` and ``labkit.language.fit``.
    """
    from labkit import language
    from labkit.seeding import generator

    check_count("steps", steps), check_count("batch_size", batch_size)
    tokens = ReplayMix(blocks, replay, rate=rate).draw(steps * batch_size, generator=generator(seed))
    return language.fit(model, tokens, steps=steps, batch_size=batch_size, lr=lr, seed=seed)


def closed_book_accuracy(model, tokenizer, questions: Sequence[Choice]) -> float:
    """The percentage of questions whose right option the model finds the likeliest, without any document.

    Raises ValueError for no questions, or an answer that is no index of its options.
    """
    from labkit import language

    if not questions or any(not 0 <= each.answer < len(each.options) for each in questions):
        raise ValueError("questions must not be empty, and each answer the index of one of its options")
    prompts, options = [each.prompt for each in questions], [list(each.options) for each in questions]
    chosen = language.choose(model, tokenizer, prompts, options)
    return 100 * float(np.mean([int(c) == q.answer for c, q in zip(chosen, questions, strict=True)]))


def _amount(name: str, value: str | int) -> str | int:
    return value if value == "all" else check_count(name, value, low=0)


def _choose(
    entities: list[str], size: int, wanted: str | int, rng: np.random.Generator
) -> list[tuple[str, ...]]:
    """Groups of entities without repetition, each in random order: no end of a relation comes first."""
    groups = list(combinations(entities, size))
    if wanted != "all" and wanted > len(groups):
        raise ValueError(f"{wanted} groups of {size} asked for, {len(entities)} entities have {len(groups)}")
    chosen = rng.permutation(len(groups))[: None if wanted == "all" else wanted]
    return [tuple(rng.permutation(groups[place]).tolist()) for place in chosen]


def _text(document: str) -> str:
    if not isinstance(document, str):
        raise TypeError(f"document must be text, got {document!r}")
    if not document.strip():
        raise ValueError("document must not be empty")
    return document
