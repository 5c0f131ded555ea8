"""Text from a language model: batches, stop strings, seeds, and how likely the model found it."""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn

from labkit.seeding import seeded

__all__ = ["Generation", "complete", "generate"]


class Generation(NamedTuple):
    """A text without its prompt and stop string; tokens read and written; log p of the written, in nats.

    ``log_probabilities`` has one entry per written token (the end of text among them, where it came), under
    the model itself, whatever the temperature; it is None where they were not asked for.
    """

    text: str
    tokens_in: int
    tokens_out: int
    log_probabilities: list[float] | None = None


def generate(model: nn.Module, tokenizer, prompts: Sequence[str], **settings) -> list[str]:
    """The texts that :func:`complete` gives, and nothing else. Arguments and errors as there."""
    return [reply.text for reply in complete(model, tokenizer, prompts, **settings)]


@torch.no_grad()
def complete(
    model: nn.Module,
    tokenizer,
    prompts: Sequence[str],
    *,
    max_tokens: int = 64,
    stop: Sequence[str] = (),
    temperature: float = 0.0,
    seed: int = 0,
    batch_size: int = 32,
    log_probabilities: bool = False,
) -> list[Generation]:
    """Continue each prompt until the end of text, a stop string or ``max_tokens`` tokens.

    model: any causal or encoder-decoder model of ``transformers``, used in evaluation mode.
    prompts: str, as many as you like; they run in batches of similar length, padded on the left.
    stop: strings at which a text ends; they are not part of it.  temperature: 0 takes the likeliest token,
    above 0 draws.  seed: of the draws; the global random state stays as it was.
    Raises ValueError for an empty prompt, max_tokens below 1, a negative temperature, an empty stop string.
    """
    stop = (stop,) if isinstance(stop, str) else tuple(stop)
    if isinstance(prompts, str):
        raise TypeError("prompts must be a sequence of strings, got one string")
    if max_tokens < 1:
        raise ValueError(f"max_tokens must be at least 1, got {max_tokens}")
    if temperature < 0:
        raise ValueError(f"temperature must not be negative, got {temperature}")
    if not all(stop):
        raise ValueError("stop strings must not be empty")
    rows = tokenizer(list(prompts))["input_ids"] if len(prompts) else []
    for prompt, row in zip(prompts, rows, strict=True):
        if not row:
            raise ValueError(f"prompts must not be empty, got {prompt!r}")

    training, replies = model.training, [None] * len(rows)
    model.eval()
    order = sorted(range(len(rows)), key=lambda i: len(rows[i]))
    with seeded(seed):
        for at in range(0, len(rows), batch_size):
            chosen = order[at : at + batch_size]
            written, logits = _written(
                model, tokenizer, [rows[i] for i in chosen], max_tokens, stop, temperature, log_probabilities
            )
            for k, i in enumerate(chosen):
                replies[i] = _reply(
                    model, tokenizer, len(rows[i]), written[k], stop, None if logits is None else logits[k]
                )
    model.train(training)
    return replies


def _written(model, tokenizer, rows, max_tokens, stop, temperature, keep_logits):
    """Token ids written after each row, int64[B, at most max_tokens], and their logits [B, ., V] or None."""
    from transformers import GenerationConfig, StoppingCriteriaList

    device, longest = next(model.parameters()).device, max(map(len, rows))
    pad = tokenizer.pad_token_id if tokenizer.pad_token_id is not None else tokenizer.eos_token_id
    ids, mask = torch.full((len(rows), longest), pad), torch.zeros(len(rows), longest, dtype=torch.long)
    for k, row in enumerate(rows):
        ids[k, longest - len(row) :] = torch.tensor(row)
        mask[k, longest - len(row) :] = 1
    skip = 1 if model.config.is_encoder_decoder else longest
    draws = dict(do_sample=False)
    if temperature:  # all settings that a published model may bring along, so that only temperature counts
        draws = dict(do_sample=True, temperature=float(temperature), top_k=0, top_p=1.0)
    config = GenerationConfig(
        max_new_tokens=max_tokens,
        num_beams=1,
        repetition_penalty=1.0,
        pad_token_id=pad,
        eos_token_id=_ends(model, tokenizer),
        output_logits=keep_logits,
        return_dict_in_generate=True,
        **draws,
    )
    out = model.generate(
        input_ids=ids.to(device),
        attention_mask=mask.to(device),
        generation_config=config,
        stopping_criteria=StoppingCriteriaList([_StopAt(tokenizer, stop, skip)] if stop else []),
    )
    logits = torch.stack(out.logits, dim=1).float().cpu() if keep_logits else None
    return out.sequences[:, skip:].cpu(), logits


class _StopAt:
    """A stopping criterion: a row is done when what it has written contains a stop string."""

    def __init__(self, tokenizer, stop: tuple[str, ...], skip: int):
        self.tokenizer, self.stop, self.skip = tokenizer, stop, skip
        self.window = 1 + max(len(text.encode()) for text in stop)  # a token holds at least one byte

    def __call__(self, ids: Tensor, scores, **_) -> Tensor:
        tails = self.tokenizer.batch_decode(ids[:, max(self.skip, ids.shape[1] - self.window) :])
        return torch.tensor([any(text in tail for text in self.stop) for tail in tails], device=ids.device)


def _ends(model, tokenizer) -> list[int]:
    given = getattr(model.generation_config, "eos_token_id", None)
    ends = given if isinstance(given, list) else [given]
    return sorted({end for end in (*ends, tokenizer.eos_token_id) if end is not None})


def _reply(model, tokenizer, tokens_in: int, ids: Tensor, stop, logits: Tensor | None) -> Generation:
    """Cut one row at its end of text, then its text at the first stop string."""
    ends = torch.isin(ids, torch.tensor(_ends(model, tokenizer))).nonzero().flatten().tolist()
    body = ids[: ends[0]] if ends else ids
    written = ids[: ends[0] + 1] if ends else ids
    text = tokenizer.decode(body, skip_special_tokens=True)
    found = [text.index(each) for each in stop if each in text]
    if found:
        text = text[: min(found)]
        written = ids[: _tokens_until(tokenizer, body, stop)]
    values = None
    if logits is not None:
        chosen = logits[: len(written)].log_softmax(dim=-1).gather(1, written[:, None])
        values = chosen.flatten().tolist()
    return Generation(text, tokens_in, len(written), values)


def _tokens_until(tokenizer, body: Tensor, stop) -> int:
    """How many tokens were written when the first stop string was complete."""
    for count in range(1, len(body) + 1):
        text = tokenizer.decode(body[:count], skip_special_tokens=True)
        if any(each in text for each in stop):
            return count
    return len(body)
