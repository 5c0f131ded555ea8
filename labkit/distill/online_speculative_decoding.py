r"""Speculative decoding: a small draft guesses several tokens, the target checks them all in one call.

A guess :math:`x \sim q` is kept with probability :math:`\min(1, p(x) / q(x))`. At the first that is not, the
token is drawn from :math:`\max(0, p - q)`, normalized; where all are kept, the same call gives one more. So
every token has the target's distribution :math:`p`, whatever the draft: only the speed depends on it,
through the acceptance rate

.. math:: \alpha = \mathbb{E} \sum_x \min(p(x), q(x)).

*Online* speculative decoding keeps training the draft on what it serves, to raise that rate:
``labkit.distill.online_distillation``. What a rate is worth: ``labkit.distill.speculative_cost``.
Liu, Hu, Bailis, Cheung, Deng, Stoica, Zhang (2023). *Online Speculative Decoding.* arXiv:2310.07177; code:
LiuXiaoxuanPKU/OSD. It serves one request at a time, as that code does.
"""

import inspect
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from labkit.data.build import real as number

__all__ = ["Replay", "Speculated", "Verified", "acceptance_rate", "generate", "probabilities", "replay"]
__all__ += ["residual", "speculative_generate", "verify"]


class Verified(NamedTuple):
    """How many guesses are kept, from the first on; the token after them, which is the target's own."""

    accepted: int
    token: int


class Speculated(NamedTuple):
    """What :func:`speculative_generate` wrote, and what it took.

    tokens: int64[N], without the prompt.  accepted, checked, proposed: guesses that were kept, that were
    compared with the target (up to the first not kept), and that were made.  overlap: sum over p and q of
    the checked positions of sum_x min(p, q).  rejected: int64[R], the places, in prompt and text together, of
    the tokens that stand where a guess was not kept.  target_calls, draft_calls: forward passes.
    """

    tokens: Tensor
    accepted: int
    checked: int
    proposed: int
    overlap: float
    rejected: Tensor
    target_calls: int
    draft_calls: int

    @property
    def acceptance(self) -> float:
        """The acceptance rate, in [0, 1]: the mean overlap at checked positions; the bonus token is none."""
        return self.overlap / self.checked if self.checked else float("nan")

    @property
    def tokens_per_call(self) -> float:
        """Tokens written per forward pass of the target; plain decoding has 1."""
        return len(self.tokens) / self.target_calls


class Replay(NamedTuple):
    """Where a text's guesses were checked and kept: bool[B, T] each; calls of the target: int64[B]."""

    checked: Tensor
    accepted: Tensor
    target_calls: Tensor

    @property
    def rejected(self) -> Tensor:
        """Where a guess was not kept: bool[B, T]."""
        return self.checked & ~self.accepted


def probabilities(logits: Tensor, temperature: float = 1.0) -> Tensor:
    """The distribution that tokens are drawn from: float32[..., V]; at temperature 0 all on the likeliest.

    >>> probabilities(torch.tensor([1.0, 3.0, 2.0]), 0)
    tensor([0., 1., 0.])
    """
    number("temperature", temperature, 0, float("inf"))
    if temperature == 0:
        return F.one_hot(logits.argmax(dim=-1), logits.shape[-1]).float()
    return (logits.float() / temperature).softmax(dim=-1)


def acceptance_rate(p: Tensor, q: Tensor) -> Tensor:
    """Probability that a guess drawn from q is kept: sum_x min(p, q), float[...] from float[..., V].

    >>> acceptance_rate(torch.tensor([0.5, 0.5, 0.0]), torch.tensor([0.25, 0.0, 0.75])).item()
    0.25
    """
    _same_shape(p, q)
    return torch.minimum(p, q).sum(dim=-1)


def residual(p: Tensor, q: Tensor) -> Tensor:
    """What a rejected guess is replaced from: max(0, p - q), normalized; float[..., V].

    Where p equals q nothing is ever rejected but by rounding, and p itself is returned.

    >>> residual(torch.tensor([0.5, 0.5, 0.0]), torch.tensor([0.25, 0.0, 0.75]))
    tensor([0.3333, 0.6667, 0.0000])
    """
    _same_shape(p, q)
    left = (p - q).clamp(min=0)
    total = left.sum(dim=-1, keepdim=True)
    return torch.where(total > 0, left / total.clamp(min=torch.finfo(p.dtype).tiny), p)


def verify(p: Tensor, q: Tensor, guesses: Tensor, *, generator: torch.Generator | None = None) -> Verified:
    """Keep the guesses up to the first rejected one, and give the token that follows them.

    p: float[k + 1, V], the target's distribution at each guess and after the last; q: float[k, V], the
    draft's, from which the guesses int64[k] were drawn; k may be 0.  Raises ValueError where shapes differ.
    """
    count = len(guesses)
    if len(p) != count + 1 or len(q) != count or p.shape[-1] != q.shape[-1]:
        raise ValueError(f"p, q and guesses must be [k + 1, V], [k, V], [k]: {p.shape}, {q.shape}, {count}")
    draws = torch.rand(count, generator=generator, device=p.device)
    at = torch.arange(count, device=p.device)
    kept = draws * q[at, guesses] < p[at, guesses]
    accepted = int(kept.long().cumprod(dim=0).sum())
    last = residual(p[accepted], q[accepted]) if accepted < count else p[accepted]
    return Verified(accepted, int(torch.multinomial(last, 1, generator=generator)))


@torch.no_grad()
def speculative_generate(
    target: nn.Module,
    draft: nn.Module,
    prompt: Tensor,
    *,
    max_tokens: int,
    k: int = 4,
    temperature: float = 1.0,
    end: int | None = None,
    generator: torch.Generator | None = None,
) -> Speculated:
    """Write with the target's distribution, faster than the target by itself where the draft guesses well.

    target, draft: causal models of ``transformers`` with the same tokenizer and on one device; both keep
    their caches, which are cut back after a rejection.  prompt: int64[T].  max_tokens: to write, from 1 up.
    k: guesses per call of the target, from 1 up; at the end fewer.  temperature: of both; 0 takes the
    likeliest token.  end: the token at which a text ends; it is the last one then.
    Raises ValueError for other numbers, an empty prompt, vocabularies that differ, a text longer than a
    model's context, and for a model whose state cannot be cut back.
    """
    _check(prompt, max_tokens, temperature, target, draft)
    if k < 1:
        raise ValueError(f"k must be at least 1, got {k}")
    sizes = [model.config.get_text_config().vocab_size for model in (target, draft)]
    if sizes[0] != sizes[1]:
        raise ValueError(f"target and draft must have one vocabulary, they have {sizes[0]} and {sizes[1]}")
    begin, limit = len(prompt), len(prompt) + max_tokens
    text = F.pad(prompt, (0, max_tokens))
    reader, guesser = _Reader(target), _Reader(draft)
    at, accepted, checked, proposed, overlap, rejected = begin, 0, 0, 0, 0.0, []
    while at < limit and (end is None or at == begin or not (text[begin:at] == end).any()):
        count = min(k, limit - at - 1)  # the call itself gives one token
        q = []
        for step in range(at, at + count):
            q.append(probabilities(guesser.read(text[:step], 1), temperature))
            text[step] = torch.multinomial(q[-1][0], 1, generator=generator)
        p = probabilities(reader.read(text[: at + count], count + 1), temperature)
        q = torch.cat(q) if q else p[:0]
        found = verify(p, q, text[at : at + count], generator=generator)
        looked = min(found.accepted + 1, count)
        overlap += float(acceptance_rate(p[:looked], q[:looked]).sum())
        accepted, checked, proposed = accepted + found.accepted, checked + looked, proposed + count
        at += found.accepted
        if found.accepted < count:
            rejected.append(at)
        text[at] = found.token
        reader.cut(at)
        guesser.cut(at)
        at += 1
    stop = (text[begin:at] == end).nonzero() if end is not None else []
    at = begin + int(stop[0]) + 1 if len(stop) else at
    places = torch.tensor([place for place in rejected if place < at], dtype=torch.long, device=text.device)
    return Speculated(
        text[begin:at], accepted, checked, proposed, overlap, places, reader.calls, guesser.calls
    )


@torch.no_grad()
def generate(
    model: nn.Module,
    prompts: Tensor,
    *,
    max_tokens: int,
    temperature: float = 1.0,
    generator: torch.Generator | None = None,
) -> Tensor:
    """Plain decoding with a cache, one token per call: int64[B, max_tokens] from prompts int64[B, T].

    Arguments and errors as :func:`speculative_generate`. Nothing ends a text early.
    """
    _check(prompts, max_tokens, temperature, model, rows=True)
    reader, text = _Reader(model), prompts
    for _ in range(max_tokens):
        p = probabilities(reader.read(text, 1)[..., -1, :], temperature)
        text = torch.cat([text, torch.multinomial(p, 1, generator=generator)], dim=1)
    return text[:, prompts.shape[1] :]


class _Reader:
    """A model and its cache: reads only what it has not read yet."""

    def __init__(self, model: nn.Module):
        from transformers import DynamicCache

        self.model, self.seen, self.calls = model.eval(), 0, 0
        self.cache = DynamicCache(config=model.config)
        # Convolutions and sliding windows keep only their last state, unless told to keep what came before.
        self.records = hasattr(self.cache, "activate_past_recording")
        if self.records:
            self.cache.activate_past_recording()
        few = "logits_to_keep" in inspect.signature(model.forward).parameters
        self.keeps = (lambda count: {"logits_to_keep": count}) if few else (lambda count: {})

    def read(self, text: Tensor, count: int) -> Tensor:
        """Logits after the last ``count`` tokens of int64[T] or [B, T]: float[count, V] or [B, count, V]."""
        new = text[..., self.seen :]
        rows = new if new.ndim == 2 else new[None]
        found = self.model(
            input_ids=rows, past_key_values=self.cache, use_cache=True, **self.keeps(count)
        ).logits[:, -count:]
        self.seen, self.calls = text.shape[-1], self.calls + 1
        return found if new.ndim == 2 else found[0]

    def cut(self, length: int) -> None:
        """Forget all but the first ``length`` tokens."""
        surplus = max(0, self.seen - length)
        if self.records:
            self.cache.crop(-surplus)
        elif surplus:
            kinds = set(getattr(self.model.config, "layer_types", None) or ["full_attention"])
            if kinds - {"full_attention"}:
                raise ValueError(f"this version of transformers cannot cut back layers of {sorted(kinds)}")
            self.cache.crop(-surplus)
        self.seen -= surplus


def replay(
    p: Tensor, q: Tensor, tokens: Tensor, *, k: int = 4, generator: torch.Generator | None = None
) -> Replay:
    """What speculative decoding would have done while writing texts that the target wrote by itself.

    Decoding never changes the distribution of the text, so a text of the target is a text of the pair. A
    token x at a checked place came from the draft with probability min(1, q(x) / p(x)): drawing that
    gives the checks, rejections and calls their exact joint distribution, without decoding anew.

    p, q: float[B, T, V], both distributions at each written token.  tokens: int64[B, T], drawn from p.
    k: guesses per call.  Raises ValueError for shapes that differ or k below 1.
    """
    _same_shape(p, q)
    if k < 1 or p.shape[:2] != tokens.shape:
        raise ValueError(f"k must be 1 or more and tokens [B, T]: {k}, {tuple(tokens.shape)}")
    rows, length = tokens.shape
    share = (q.gather(2, tokens[..., None]) / p.gather(2, tokens[..., None]))[..., 0]
    lucky = torch.rand(rows, length, generator=generator, device=p.device) < share
    checked, place = torch.zeros_like(lucky), torch.zeros(rows, dtype=torch.long, device=p.device)
    calls, count = torch.zeros_like(place), torch.zeros_like(place)
    for t in range(length):
        fresh = place == 0
        calls += fresh
        count = torch.where(fresh, min(k, length - t - 1), count)
        checked[:, t] = place < count
        place = torch.where(checked[:, t] & lucky[:, t], place + 1, 0)
    return Replay(checked, checked & lucky, calls)


def _same_shape(p: Tensor, q: Tensor) -> None:
    if p.shape != q.shape:
        raise ValueError(f"p and q must have one shape, got {tuple(p.shape)} and {tuple(q.shape)}")


def _check(prompt: Tensor, max_tokens: int, temperature: float, *models: nn.Module, rows: bool = False):
    number("temperature", temperature, 0, float("inf"))
    if prompt.ndim != 1 + rows or prompt.shape[-1] == 0:
        wanted = "int64[B, T]" if rows else "int64[T]"
        raise ValueError(f"prompt must be {wanted} with T of 1 or more, got {tuple(prompt.shape)}")
    if max_tokens < 1:
        raise ValueError(f"max_tokens must be at least 1, got {max_tokens}")
    for model in models:
        context = getattr(model.config.get_text_config(), "max_position_embeddings", None)
        if context is not None and prompt.shape[-1] + max_tokens > context:
            raise ValueError(
                f"prompt and max_tokens must fit a context of {context}, got "
                f"{prompt.shape[-1]} + {max_tokens}"
            )
