"""Rows of tokens, and training on them: next-token prediction through :func:`labkit.training.fit`."""

from collections.abc import Sequence
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from labkit import training

__all__ = ["IGNORED", "Rows", "fit", "next_token_loss", "pack", "pairs", "targets"]

IGNORED = -100  # the label of a position that does not count, in torch and in transformers


class Rows(NamedTuple):
    """tokens int64[N, T], padded on the right; mask bool[N, T], True where the token counts in the loss."""

    tokens: Tensor
    mask: Tensor


def pack(texts: Sequence[str], tokenizer, *, length: int) -> Tensor:
    """Join texts, each followed by the end-of-text token, and cut the stream into rows: int64[N, length].

    No token is lost: the last row is filled up with padding, which :func:`fit` and
    :func:`nats_per_token <labkit.language.nats_per_token>` do not count.
    Raises ValueError for no texts, a length below 2, or a tokenizer without an end-of-text token.
    """
    if isinstance(texts, str) or len(texts) == 0:
        raise ValueError("texts must be a sequence of strings, and not empty")
    if length < 2:
        raise ValueError(f"length must be at least 2, got {length}")
    end = tokenizer.eos_token_id
    if end is None:
        raise ValueError("the tokenizer must have an end-of-text token (eos_token)")
    stream = []
    for ids in tokenizer(list(texts), add_special_tokens=False)["input_ids"]:
        stream += ids
        stream.append(end)
    fill = tokenizer.pad_token_id if tokenizer.pad_token_id is not None else end
    stream += [fill] * (-len(stream) % length)
    return torch.tensor(stream).view(-1, length)


def pairs(prompts: Sequence[str], answers: Sequence[str], tokenizer, *, length: int | None = None) -> Rows:
    """Rows of prompt, answer and end of text, of which only the answer and the end count.

    length: of the rows; the longest pair where None.  Put the space between the two at the front of the
    answer: that is where most tokenizers keep it.
    Raises ValueError where prompts and answers differ in number, are none, or a pair is longer than length.
    """
    if len(prompts) != len(answers) or len(prompts) == 0:
        raise ValueError(f"prompts and answers must be as many, and not none: {len(prompts)}, {len(answers)}")
    starts = tokenizer(list(prompts))["input_ids"]
    ends = tokenizer(list(answers), add_special_tokens=False)["input_ids"]
    rows = [start + end + [tokenizer.eos_token_id] for start, end in zip(starts, ends, strict=True)]
    longest = max(map(len, rows))
    length = longest if length is None else length
    if longest > length:
        raise ValueError(f"length must be at least {longest}, the longest pair, got {length}")
    tokens = torch.full((len(rows), length), tokenizer.pad_token_id)
    mask = torch.zeros(len(rows), length, dtype=torch.bool)
    for i, row in enumerate(rows):
        tokens[i, : len(row)] = torch.tensor(row)
        mask[i, len(starts[i]) : len(row)] = True
    return Rows(tokens, mask)


def targets(model: nn.Module, tokens: Tensor, mask: Tensor | None = None) -> Tensor:
    """Labels int64[N, T]: the tokens themselves, -100 where they do not count.

    mask: bool[N, T]; where None, all count except padding (the model's ``pad_token_id``, where it is not
    the end of text as well). The shift by one is the loss's, as in transformers.
    Raises ValueError where the shapes differ.
    """
    if tokens.ndim != 2 or tokens.shape[1] < 2:
        raise ValueError(f"tokens must be int64[N, T] with T of at least 2, got {tuple(tokens.shape)}")
    if mask is None:
        pad, end = model.config.pad_token_id, model.config.eos_token_id
        ends = end if isinstance(end, list) else [end]
        mask = torch.ones_like(tokens, dtype=torch.bool) if pad is None or pad in ends else tokens != pad
    if mask.shape != tokens.shape:
        raise ValueError(f"mask must have the shape of tokens, got {mask.shape} and {tokens.shape}")
    return tokens.masked_fill(~mask.bool(), IGNORED)


def next_token_loss(model: nn.Module, tokens: Tensor, labels: Tensor, **_) -> Tensor:
    """Mean cross-entropy, in nats, of each counted token given those before it.

    tokens, labels: int64[B, T]; labels are -100 where a token does not count.
    """
    last = int((labels != IGNORED).any(dim=0).nonzero().max())  # what comes later cannot matter
    logits = model(input_ids=tokens[:, :last], use_cache=False).logits
    return F.cross_entropy(logits.flatten(0, 1), labels[:, 1 : last + 1].flatten(), ignore_index=IGNORED)


def fit(
    model: nn.Module,
    tokens: Tensor,
    *,
    steps: int,
    batch_size: int = 32,
    lr: float = 3e-3,
    mask: Tensor | None = None,
    seed: int = 0,
    **settings,
) -> training.Fit:
    """Train a causal language model, in place, on rows of tokens.

    tokens: int64[N, T], padded on the right.  mask: bool[N, T], True where a token counts in the loss;
    where None, all but padding.  A row in which nothing counts, such as a last one of :func:`pack` with a
    single token, is left out.  steps, batch_size (rows), lr, seed and ``settings``: as
    :func:`labkit.training.fit` (schedule, weight_decay, ema, loss ...).
    Raises ValueError as that, and where the mask's shape differs or nothing counts in any row.

    >>> from labkit import language
    >>> model = language.causal(300, width=32, layers=1, heads=2)
    >>> fit(model, torch.ones(4, 8, dtype=torch.long), steps=2).losses.shape
    torch.Size([2])
    """
    labels = targets(model, tokens, mask)
    counted = (labels[:, 1:] != IGNORED).any(dim=1)
    if not counted.any():
        raise ValueError(f"tokens must have one that counts in some row; in none of {len(tokens)} there is")
    tokens, labels = tokens[counted], labels[counted]
    settings.setdefault("loss", next_token_loss)
    return training.fit(
        model, tokens, labels, steps=steps, batch_size=batch_size, lr=lr, seed=seed, **settings
    )
