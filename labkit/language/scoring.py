"""What a language model finds likely: nats per token, bits per character, the likeliest option."""

import math
import re
import string
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from labkit.language.generation import generate
from labkit.language.training import IGNORED, targets

__all__ = ["answer_accuracy", "bits_per_character", "choose", "log_likelihoods", "nats_per_token", "same"]


@torch.no_grad()
def nats_per_token(model: nn.Module, tokens: Tensor, mask: Tensor | None = None, *, batch_size: int = 64):
    """Mean negative log-likelihood of the counted tokens, in nats: the logarithm of the perplexity.

    tokens: int64[N, T], padded on the right.  mask: bool[N, T], True where a token counts; where None, all
    but padding. The first token of a row never counts: nothing precedes it.
    Raises ValueError where the shapes differ or nothing counts.
    """
    labels = targets(model, tokens, mask)
    counted = int((labels[:, 1:] != IGNORED).sum())
    if counted == 0:
        raise ValueError("no token counts: the mask is False after the first position of every row")
    total = 0.0
    for part, label in zip(tokens.split(batch_size), labels.split(batch_size), strict=True):
        total -= float(_log_probabilities(model, part, label).double().sum())
    return total / counted


@torch.no_grad()
def bits_per_character(model: nn.Module, tokenizer, texts: Sequence[str], *, batch_size: int = 64) -> float:
    """Bits that the model needs per character of the texts, each with its end: compares tokenizations.

    Nats per token depend on how many characters a token holds; this does not. The first token is predicted
    from the token for the beginning of a text, or where there is none, from the end of the one before.
    Raises ValueError for no texts, or only empty ones.
    """
    if isinstance(texts, str) or not any(texts):
        raise ValueError("texts must be a sequence of strings, and not all empty")
    first = tokenizer.bos_token_id if tokenizer.bos_token_id is not None else tokenizer.eos_token_id
    ids = tokenizer(list(texts), add_special_tokens=False)["input_ids"]
    rows = [([first], [*row, tokenizer.eos_token_id]) for row in ids]
    return -sum(_scores(model, rows, batch_size).tolist()) / sum(map(len, texts)) / math.log(2)


@torch.no_grad()
def log_likelihoods(
    model: nn.Module, tokenizer, prompts: Sequence[str], answers: Sequence[str], *, batch_size: int = 64
) -> Tensor:
    """log p(answer | prompt) of each pair, in nats: float64[N], the sum over the answer's tokens.

    An answer usually begins with a space, which belongs to its first token. Padding does not change the
    result. Raises ValueError where the two differ in number, or an answer or the prompts are empty.
    """
    if len(prompts) != len(answers) or len(prompts) == 0:
        raise ValueError(f"prompts and answers must be as many, and not none: {len(prompts)}, {len(answers)}")
    starts = tokenizer(list(prompts))["input_ids"]
    ends = tokenizer(list(answers), add_special_tokens=False)["input_ids"]
    for prompt, answer, start, end in zip(prompts, answers, starts, ends, strict=True):
        if not start or not end:
            raise ValueError(f"prompt and answer must not be empty, got {prompt!r} and {answer!r}")
    return _scores(model, list(zip(starts, ends, strict=True)), batch_size)


def choose(
    model: nn.Module,
    tokenizer,
    prompts: Sequence[str],
    options: Sequence,
    *,
    per: str = "answer",
    batch_size: int = 64,
) -> Tensor:
    """Index of the likeliest option of each prompt: int64[N].

    options: for each prompt its list of str; or one list of str for all.
    per: "answer" compares log-likelihoods; "token" and "character" divide them by the option's length,
    which keeps long options from losing for their length alone.
    Raises ValueError for another ``per`` and for prompts or options that are empty.

    >>> from labkit import language
    >>> words = language.tokenizer(["a b c"], size=259)
    >>> choose(language.causal(words), words, ["a", "b"], [" b", " c"]).shape
    torch.Size([2])
    """
    if per not in ("answer", "token", "character"):
        raise ValueError(f"per must be 'answer', 'token' or 'character', got {per!r}")
    if len(prompts) == 0 or len(options) == 0:
        raise ValueError("prompts and options must not be empty")
    lists = [options] * len(prompts) if isinstance(options[0], str) else list(options)
    if len(lists) != len(prompts) or not all(lists):
        raise ValueError(f"each of the {len(prompts)} prompts must have options, got {len(lists)} lists")
    flat = [option for each in lists for option in each]
    asked = [prompt for prompt, each in zip(prompts, lists, strict=True) for _ in each]
    scores = log_likelihoods(model, tokenizer, asked, flat, batch_size=batch_size)
    if per == "token":
        ids = tokenizer(flat, add_special_tokens=False)["input_ids"]
        scores = scores / torch.tensor([len(row) for row in ids])
    elif per == "character":
        scores = scores / torch.tensor([len(option) for option in flat])
    parts = scores.split([len(each) for each in lists])
    return torch.stack([part.argmax() for part in parts])


def same(reply: str, answer: str) -> bool:
    """Whether two answers are equal but for capitals, punctuation, articles and spaces (as SQuAD does it).

    >>> same("The Red  Fox.", "red fox")
    True
    """
    return _plain(reply) == _plain(answer)


def answer_accuracy(
    model: nn.Module,
    tokenizer,
    prompts: Sequence[str],
    answers: Sequence[str],
    *,
    by: str = "likelihood",
    options: Sequence | None = None,
    max_tokens: int = 16,
    stop: Sequence[str] = ("\n",),
    batch_size: int = 64,
) -> float:
    """Percentage of the prompts that are answered right, in [0, 100].

    by: "likelihood" takes the likeliest of ``options`` (as :func:`choose`; where None, all different
    answers); "generation" writes up to ``max_tokens`` tokens greedily, up to ``stop``, and compares with
    :func:`same`.  answers: str, as an option is written, so usually with a space in front.
    Raises ValueError for another ``by``, numbers that differ, or an answer that is no option.
    """
    if by not in ("likelihood", "generation"):
        raise ValueError(f"by must be 'likelihood' or 'generation', got {by!r}")
    if len(prompts) != len(answers) or len(prompts) == 0:
        raise ValueError(f"prompts and answers must be as many, and not none: {len(prompts)}, {len(answers)}")
    if by == "generation":
        replies = generate(model, tokenizer, prompts, max_tokens=max_tokens, stop=stop, batch_size=batch_size)
        return 100 * sum(map(same, replies, answers)) / len(answers)
    options = sorted(set(answers)) if options is None else options
    lists = [options] * len(prompts) if isinstance(options[0], str) else list(options)
    for answer, each in zip(answers, lists, strict=True):
        if answer not in each:
            raise ValueError(f"each answer must be among its options, {answer!r} is not")
    chosen = choose(model, tokenizer, prompts, lists, batch_size=batch_size)
    hits = [each[i] == answer for each, i, answer in zip(lists, chosen.tolist(), answers, strict=True)]
    return 100 * sum(hits) / len(answers)


def _plain(text: str) -> str:
    text = text.lower().translate(str.maketrans("", "", string.punctuation))
    return " ".join(re.sub(r"\b(a|an|the)\b", " ", text).split())


def _log_probabilities(model: nn.Module, tokens: Tensor, labels: Tensor) -> Tensor:
    """log p of each counted token given those before it, 0 elsewhere: float[B, T - 1]."""
    device = next(model.parameters()).device
    tokens, labels = tokens.to(device), labels.to(device)
    logits = model(input_ids=tokens[:, :-1], use_cache=False).logits.float()
    flat = F.cross_entropy(
        logits.flatten(0, 1), labels[:, 1:].flatten(), ignore_index=IGNORED, reduction="none"
    )
    return -flat.view(len(tokens), -1).cpu()


def _scores(model: nn.Module, rows: list[tuple[list[int], list[int]]], batch_size: int) -> Tensor:
    """log p(end | start) of pairs of token ids, in batches of similar length: float64[N].

    Padded on the right, where a causal model does not look: no attention mask is needed.
    """
    training, scores = model.training, torch.zeros(len(rows), dtype=torch.float64)
    model.eval()
    order = sorted(range(len(rows)), key=lambda i: len(rows[i][0]) + len(rows[i][1]))
    for at in range(0, len(rows), batch_size):
        chosen = order[at : at + batch_size]
        longest = max(len(rows[i][0]) + len(rows[i][1]) for i in chosen)
        tokens = torch.zeros(len(chosen), longest, dtype=torch.long)
        labels = torch.full_like(tokens, IGNORED)
        for k, i in enumerate(chosen):
            start, end = rows[i]
            tokens[k, : len(start) + len(end)] = torch.tensor(start + end)
            labels[k, len(start) : len(start) + len(end)] = torch.tensor(end)
        scores[chosen] = _log_probabilities(model, tokens, labels).double().sum(dim=1)
    model.train(training)
    return scores
