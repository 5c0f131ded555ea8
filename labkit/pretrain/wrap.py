r"""WRAP: pre-train on real passages and on their rephrases in chosen styles, half and half.

A frozen instruction model rewrites each passage of the corpus in a style that it is asked for. It adds no
knowledge: everything it says comes from the passage. A language model is then trained from scratch on both.
With a share :math:`\rho` of rephrases the loss is

.. math:: L(\theta) = (1 - \rho)\, \mathbb{E}_{x \sim \mathrm{real}} [-\log p_\theta(x)]
          + \rho\, \mathbb{E}_{x \sim \mathrm{real},\ s} [-\log p_\theta(r_s(x))],
          \qquad \rho = \tfrac{1}{2}

where :math:`r_s(x)` is passage :math:`x` said in style :math:`s`. All is compared at equal training tokens.
Maini, Seto, Bai, Grangier, Zhang, Jaitly (2024). *Rephrasing the Web: A Recipe for Compute and
Data-Efficient Language Modeling.* arXiv:2401.16380. There is no official code; the instructions to the
rephraser are those of ``labkit.llm.prompts``, in our own words.
"""

import math
import re
from collections.abc import Callable, Mapping, Sequence
from itertools import pairwise
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from labkit import language
from labkit.data.build import real as number
from labkit.llm import LLM, prompts

__all__ = ["STYLES", "Domain", "Mixture", "Rephrase", "Rephrased", "clean", "domain_perplexity"]
__all__ += ["mean_perplexity", "mixture", "rephrase", "split_passages", "token_noise"]
__all__ += ["tokens_to_reach", "wrap"]

# The paper's four styles, and what the rephraser is asked for.
STYLES = {"easy": "simple", "wikipedia": "encyclopedia", "hard": "terse", "qa": "qa"}

# How chatty models announce a reply: a first line, or its start up to a colon.
ANNOUNCED = re.compile(
    r"(?:sure|certainly|of course|okay|here (?:is|are)|here's)\b(?:[^\n:]{0,80}:\s*|[^\n]{0,80}\n+)", re.I
)


class Rephrase(NamedTuple):
    """A passage said otherwise; the place of that passage; the style as it was asked for."""

    text: str
    source: int
    style: str


class Rephrased(NamedTuple):
    """kept: the rephrases.  left_out: place of a passage without one -> why ("empty", "short", "cut")."""

    kept: list[Rephrase]
    left_out: dict[int, str]


class Mixture(NamedTuple):
    """Rows int64[N, T] in random order; bool[N], which are rephrases; passes through each corpus."""

    tokens: Tensor
    synthetic: Tensor
    passes_real: float
    passes_synthetic: float


class Domain(NamedTuple):
    """How well texts are predicted: perplexity per token, bits per character."""

    perplexity: float
    bits: float


def split_passages(
    document: str, *, max_tokens: int = 300, count: Callable[[str], int] | None = None
) -> list[str]:
    """Cut a document into passages of whole sentences, since a rephraser drops content of longer ones.

    max_tokens: of a passage, from 1 up, or ValueError.  count: text -> tokens; None counts words.
    A sentence that is longer alone is cut between words; a word is never cut, and nothing is lost.

    >>> split_passages("One two three. Four five! Six.", max_tokens=5)
    ['One two three. Four five!', 'Six.']
    """
    if max_tokens < 1:
        raise ValueError(f"max_tokens must be at least 1, got {max_tokens}")
    count = count or (lambda text: len(text.split()))
    ends = [0, *(found.end() for found in re.finditer(r"[.!?]+\s+|\n+", document)), len(document)]
    pieces = []
    for start, end in pairwise(ends):
        sentence = document[start:end]
        pieces += [sentence] if count(sentence) <= max_tokens else re.findall(r"\s*\S+\s*", sentence)
    passages = [""]
    for piece in pieces:
        if passages[-1].strip() and count(passages[-1] + piece) > max_tokens:
            passages.append("")
        passages[-1] += piece
    return [passage.strip() for passage in passages if passage.strip()]


def clean(reply: str) -> str:
    """A reply without what announces it, and without quotes around it.

    >>> clean("Sure! Here is a paraphrase: Nobur elected Balen.")
    'Nobur elected Balen.'
    """
    text = reply.strip()
    return text[found.end() if (found := ANNOUNCED.match(text)) else 0 :].strip().strip('"').strip()


def rephrase(
    llm: LLM,
    passages: Sequence[str],
    style: str,
    *,
    max_tokens: int = 256,
    temperature: float = 0.0,
    shortest: float = 0.25,
    keep_cut: bool = False,
    seed: int = 0,
) -> Rephrased:
    """Say each passage in a style.

    llm: any role of ``labkit.llm``.  style: one of :data:`STYLES` or of ``labkit.llm.prompts.STYLES``.
    max_tokens, temperature, seed: of the request.  shortest: a reply with fewer words than this share of
    the passage's, in [0, 1], is left out, as are empty ones and, without ``keep_cut``, cut ones.
    Raises ValueError for another style, an empty passage, or shortest outside its range.

    >>> from labkit.llm import oracle
    >>> rephrase(oracle(), ["omg Nobur elected lol Balen!"], "qa").kept[0].text
    'question: who is the mayor of Nobur? answer: Balen.'
    """
    number("shortest", shortest, 0, 1)
    asked = STYLES.get(style, style)
    if asked not in prompts.STYLES:
        raise ValueError(f"style must be one of {', '.join({**STYLES, **prompts.STYLES})}, got {style!r}")
    requests = [prompts.rewrite(passage, asked) for passage in passages]
    replies = llm.complete(requests, max_tokens=max_tokens, temperature=temperature, seed=seed)
    kept, left_out = [], {}
    for place, (passage, reply) in enumerate(zip(passages, replies, strict=True)):
        text = clean(reply.text)
        if not text:
            left_out[place] = "empty"
        elif reply.finish == "length" and not keep_cut:
            left_out[place] = "cut"
        elif len(text.split()) < shortest * len(passage.split()):
            left_out[place] = "short"
        else:
            kept.append(Rephrase(text, place, style))
    return Rephrased(kept, left_out)


def mixture(
    real: Tensor, synthetic: Tensor | None = None, *, rows: int, share: float = 0.5, seed: int = 0
) -> Mixture:
    """Draw training rows: exactly round(share x rows) rephrases, the others real, in random order.

    real, synthetic: int64[N, T] and int64[M, T], as :func:`labkit.language.pack` makes them; both are gone
    through in passes, each in a new order. So training has the same number of tokens, however many there are.
    rows: of the result, from 1 up.  share: of rephrases, in [0, 1]; 1 leaves the real text out.
    Raises ValueError for other numbers, a kind that is needed and has no rows, or rows of different lengths.

    >>> mixed = mixture(torch.zeros(4, 8), torch.ones(2, 8), rows=12)
    >>> mixed.tokens.mean().item(), mixed.passes_real, mixed.passes_synthetic
    (0.5, 1.5, 3.0)
    """
    number("share", share, 0, 1)
    if rows < 1:
        raise ValueError(f"rows must be at least 1, got {rows}")
    if synthetic is None:
        synthetic, share = real[:0], 0.0
    if real.shape[1:] != synthetic.shape[1:]:
        raise ValueError(f"real and synthetic must have rows of one length: {real.shape}, {synthetic.shape}")
    wanted, rng, chosen = round(share * rows), np.random.default_rng(seed), []
    for name, corpus, count in (("real", real, rows - wanted), ("synthetic", synthetic, wanted)):
        if count and not len(corpus):
            raise ValueError(f"{name} must have rows, it has none")
        passes = [rng.permutation(len(corpus)) for _ in range(-(-count // max(len(corpus), 1)))]
        order = np.concatenate([np.empty(0, np.int64), *passes])[:count]
        chosen.append(corpus[torch.from_numpy(order)])
    order = torch.from_numpy(rng.permutation(rows))
    kind = torch.arange(rows) >= rows - wanted
    seen = [len(part) / max(len(corpus), 1) for part, corpus in zip(chosen, (real, synthetic), strict=True)]
    return Mixture(torch.cat(chosen)[order], kind[order], *seen)


def wrap(
    llm: LLM,
    documents: Sequence[str],
    tokenizer,
    *,
    rows: int,
    length: int,
    styles: Sequence[str] = ("wikipedia", "qa"),
    share: float = 0.5,
    seed: int = 0,
    **settings,
) -> Mixture:
    """The whole recipe: documents in, training rows out.

    styles: each passage is rephrased once; the styles take turns.  rows, share, seed: see :func:`mixture`.
    length: tokens per row.  settings: see :func:`rephrase`.  Passages have at most 300 tokens.
    Raises ValueError as these do, and where no rephrase is kept.
    """
    if isinstance(styles, str) or not styles:
        raise ValueError(f"styles must be names, at least one, got {styles!r}")
    passages = []
    for document in documents:
        passages += split_passages(document, count=lambda text: len(tokenizer(text)["input_ids"]))
    said = []
    for turn, style in enumerate(styles):
        said += rephrase(llm, passages[turn :: len(styles)], style, seed=seed, **settings).kept
    if not said:
        raise ValueError(f"none of {len(passages)} passages has a rephrase; lower shortest?")
    texts = list(documents), [each.text for each in said]
    packed = [language.pack(each, tokenizer, length=length) for each in texts]
    # The last row is not full; where it has one token alone, nothing in it can be predicted.
    full = [each[:-1] if len(each) > 1 else each for each in packed]
    return mixture(*full, rows=rows, share=share, seed=seed)


def token_noise(
    text: str,
    *,
    rng: np.random.Generator,
    delete: float = 0.1,
    swap: float = 0.1,
    replace: float = 0.1,
    synonyms: Mapping[str, Sequence[str]] | None = None,
) -> str:
    """The control: new text from old by noise on its words, without a rephraser.

    delete, swap, replace: the share of words dropped, exchanged with the next one, or replaced by one of
    their ``synonyms``; each in [0, 1] or ValueError. At least one word stays.

    >>> rng = np.random.default_rng(1)
    >>> token_noise("one two three four", rng=rng, delete=0, swap=0, replace=1, synonyms={"two": ["2"]})
    'one 2 three four'
    """
    for name, value in {"delete": delete, "swap": swap, "replace": replace}.items():
        number(name, value, 0, 1)
    words, synonyms = text.split(" "), synonyms or {}
    kept = [word for word in words if rng.random() >= delete] or [words[rng.integers(len(words))]]
    for place, word in enumerate(kept):
        if word in synonyms and rng.random() < replace:
            kept[place] = synonyms[word][rng.integers(len(synonyms[word]))]
        if rng.random() < swap:
            kept[place : place + 2] = kept[place : place + 2][::-1]
    return " ".join(kept)


def domain_perplexity(
    model: nn.Module, tokenizer, domains: Mapping[str, Sequence[str]], *, length: int = 64
) -> dict[str, Domain]:
    """How well a model of ``transformers`` predicts the texts of each domain, ``length`` tokens at a time.

    Perplexities of two tokenizers do not compare; bits per character do, and both are given.
    Raises ValueError for a domain without texts.
    """
    found = {}
    for name, texts in domains.items():
        rows = language.pack(texts, tokenizer, length=length)
        nats = language.nats_per_token(model, rows)
        tokens = sum(map(len, tokenizer(list(texts), add_special_tokens=False)["input_ids"])) + len(texts)
        found[name] = Domain(math.exp(nats), nats * tokens / math.log(2) / sum(map(len, texts)))
    return found


def mean_perplexity(found: Mapping[str, Domain], names: Sequence[str] | None = None) -> float:
    """Geometric mean of the perplexities of some domains, None for all: each counts alike.

    >>> mean_perplexity({"a": Domain(4.0, 1.0), "b": Domain(9.0, 1.0)})
    6.0
    """
    logs = [math.log(found[name].perplexity) for name in (found if names is None else names)]
    if not logs:
        raise ValueError("names must not be empty")
    return round(math.exp(sum(logs) / len(logs)), 12)


def tokens_to_reach(curve: Sequence[tuple[float, float]], level: float) -> float:
    """Training tokens at which a falling curve first reaches a level; infinity where it does not.

    curve: (tokens, value) with tokens that rise from above 0, or ValueError; between two points it is
    straight in the logarithm of the tokens. One that starts at or below the level gives its first tokens.

    >>> tokens_to_reach([(100, 8.0), (400, 4.0)], 6.0)
    200.0
    """
    tokens = [place for place, _ in curve]
    if not tokens or tokens[0] <= 0 or any(a >= b for a, b in pairwise(tokens)):
        raise ValueError(f"curve must have tokens that rise from above 0, got {tokens}")
    if curve[0][1] <= level:
        return float(curve[0][0])
    for (start, before), (end, after) in pairwise(curve):
        if after <= level:
            return round(start * (end / start) ** ((before - level) / (before - after)), 9)
    return math.inf
