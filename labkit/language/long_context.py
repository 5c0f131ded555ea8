"""Long contexts: a larger rotary base, and needles that a causal language model has to find again.

A needle is a pair of key and value hidden in a long text and asked for at its end, as in RULER (Hsieh and
others, 2024, arXiv:2404.06654); accuracy is measured for each length of the text and each depth of the
needle. Everything here takes any causal language model of ``transformers``.
"""

import copy
import inspect
from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import nn

from labkit.seeding import seeded

__all__ = ["Needle", "NeedleScore", "needle_suite", "raise_rope_base", "text_needles"]


class Needle(NamedTuple):
    """A text with a needle in it, the question, and the answer.

    tokens: int64[L].  answer: how many tokens at the end are the answer.  distance: tokens from the
    start of the needle to the start of the answer.
    """

    tokens: np.ndarray
    answer: int
    distance: int


class NeedleScore(NamedTuple):
    """One cell of the suite: accuracy in percent, for texts of ``length`` tokens and needles at ``depth``.

    distance: the mean distance of its needles, in tokens.
    """

    length: int
    depth: float
    distance: float
    accuracy: float


def raise_rope_base(model: nn.Module, factor: float, *, context: int | None = None) -> nn.Module:
    """A copy of a model whose rotary base is ``factor`` times as large: positions turn more slowly.

    model: of ``transformers``, with rotary positions of one base, or ValueError.  factor: > 0.
    context: the copy's ``max_position_embeddings``; by default the model's own.

    >>> from transformers import LlamaConfig, LlamaForCausalLM
    >>> sizes = {"hidden_size": 8, "intermediate_size": 8, "num_hidden_layers": 1, "num_attention_heads": 2}
    >>> model = LlamaForCausalLM(LlamaConfig(vocab_size=16, **sizes))
    >>> raise_rope_base(model, 5).config.rope_parameters["rope_theta"]
    50000.0
    """
    if not factor > 0:
        raise ValueError(f"factor must be positive, got {factor}")
    config = copy.deepcopy(model.config)
    rope = getattr(config, "rope_parameters", None) or {}
    if "rope_theta" not in rope:
        raise ValueError(f"model must have rotary positions of one base, {type(model).__name__} has {rope}")
    config.rope_parameters = {**rope, "rope_theta": float(rope["rope_theta"] * factor)}
    if context is not None:
        config.max_position_embeddings = context
    with seeded(0):  # a new model draws weights that are replaced at once
        longer = type(model)(config)
    weight = next(model.parameters())
    longer.to(weight.device, weight.dtype).load_state_dict(model.state_dict())
    return longer.train(model.training)


@torch.no_grad()
def needle_suite(
    model: nn.Module,
    make: Callable[..., Needle],
    *,
    lengths: Sequence[int],
    depths: Sequence[float],
    n: int = 32,
    batch_size: int = 32,
    seed: int = 0,
) -> list[NeedleScore]:
    """How often a model gives a hidden value back, for each length of text and depth of the needle.

    make: called as ``make(length, depth, rng)``, gives a `Needle` of exactly that length; such as
    :func:`text_needles`.  depths: from 0, the start of the text, to 1, its end.  n: needles per cell.
    Right is an answer of which every token is the likeliest after the ones before it, which is what
    greedy decoding gives. The same seed gives the same needles to every model.
    Raises ValueError for a depth outside [0, 1], n or batch_size below 1, or a needle of another length.
    """
    if n < 1 or batch_size < 1:
        raise ValueError(f"n and batch_size must be at least 1, got {n} and {batch_size}")
    if wrong := [depth for depth in depths if not 0 <= depth <= 1]:
        raise ValueError(f"depths must lie in [0, 1], got {wrong}")
    training, scores = model.training, []
    model.eval()
    for length in lengths:
        for depth in depths:
            rng = np.random.default_rng([seed, length, round(1e6 * depth)])
            needles = [make(length, depth, rng) for _ in range(n)]
            if wrong := {len(needle.tokens) for needle in needles} - {length}:
                raise ValueError(f"make must give needles of {length} tokens, got {sorted(wrong)}")
            batches = [needles[i : i + batch_size] for i in range(0, n, batch_size)]
            hits = [hit for batch in batches for hit in _found(model, batch)]
            distance = float(np.mean([needle.distance for needle in needles]))
            scores.append(NeedleScore(length, depth, distance, 100 * float(np.mean(hits))))
    model.train(training)
    return scores


def _found(model: nn.Module, needles: list[Needle]) -> list[bool]:
    """For each needle, whether every token of its answer is the likeliest one."""
    tokens = torch.from_numpy(np.stack([needle.tokens for needle in needles]))
    last = 1 + max(needle.answer for needle in needles)
    # A long text times a large vocabulary does not fit in memory: only the last logits are computed.
    few = {"logits_to_keep": last} if "logits_to_keep" in inspect.signature(model.forward).parameters else {}
    logits = model(input_ids=tokens.to(next(model.parameters()).device), use_cache=False, **few).logits
    right = logits[:, -last:-1].argmax(dim=2).cpu() == tokens[:, 1 - last :]
    return [bool(row[len(row) - needle.answer :].all()) for row, needle in zip(right, needles, strict=True)]


def text_needles(
    tokenizer, texts: Sequence[str], *, digits: int = 5, names: Sequence[str] | None = None
) -> Callable[[int, float, np.random.Generator], Needle]:
    """Needles in real text, as RULER's: "The special number of … is 48213.", asked for at the end.

    tokenizer: of ``transformers``.  texts: the haystack; a random stretch of them is taken.
    digits: of the number.  names: the keys; by default invented words of three syllables.
    The needle stands where a sentence ends, as near to its depth as one does.
    Raises ValueError for no texts, digits below 1, or a length that has no room.
    """
    stream = np.asarray([t for text in texts for t in _encode(tokenizer, text + "\n")], np.int64)
    if not len(stream):
        raise ValueError("texts must hold at least one token")
    if digits < 1:
        raise ValueError(f"digits must be at least 1, got {digits}")
    ends = [token for token in np.unique(stream) if tokenizer.decode([token])[-1:] in tuple(".!?\n")]
    after = np.isin(stream, ends)
    opening = [token for token in tokenizer("")["input_ids"] if token == tokenizer.bos_token_id]

    def make(length: int, depth: float, rng: np.random.Generator) -> Needle:
        name = rng.choice(names) if names is not None else _name(rng)
        value = str(rng.integers(10 ** (digits - 1), 10**digits))
        needle = _encode(tokenizer, f" The special number of {name} is {value}.\n")
        question = f"\nWhat is the special number of {name}? The special number of {name} is"
        question, answer = _encode(tokenizer, question), _encode(tokenizer, f" {value}")
        room = length - len(opening) - len(needle) - len(question) - len(answer)
        if room < 1:
            raise ValueError(f"length: needle and question take {length - room} tokens of {length}")
        hay = (rng.integers(len(stream)) + np.arange(room)) % len(stream)
        places = np.append(0, 1 + np.flatnonzero(after[hay]))  # where a sentence may begin
        place = places[np.abs(places - depth * room).argmin()]
        text = [*opening, *stream[hay[:place]], *needle, *stream[hay[place:]], *question, *answer]
        distance = length - len(answer) - len(opening) - int(place)
        return Needle(np.asarray(text, np.int64), len(answer), distance)

    return make


def _encode(tokenizer, text: str) -> list[int]:
    return tokenizer(text, add_special_tokens=False)["input_ids"]


def _name(rng: np.random.Generator) -> str:
    return "".join(rng.choice(list(letters)) for letters in ("bdfgklmnprstvz", "aeiou") * 3).capitalize()
