"""The inputs of Trans-LoRA: written after a few seeds, judged, and rejected until they look real."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor, nn

from labkit import language
from labkit.data.build import check_count
from labkit.data.build import real as number
from labkit.distill.adapters import add_lora, checked_texts, fit_lora, speaking
from labkit.seeding import generator as draws_of

__all__ = ["MODES", "Discriminator", "Filtered", "rejection_filter", "synthesize_inputs"]
__all__ += ["train_discriminator", "transfer_inputs"]

MODES = ("threshold", "sample", "top")
LEAST = 0.01  # below this share of accepted inputs the seeds, the generator or the discriminator is wrong
REAL = "{input}\nIs this a real request?"  # what the discriminator is asked; it answers yes or no
SEEDS = "{examples}\n"  # a base model continues a list of examples; an instruct model wants words around it


class Filtered(NamedTuple):
    """What a filter kept, in random order; how many it saw; and the share of them that it would accept."""

    kept: list[str]
    seen: int
    acceptance: float


def synthesize_inputs(
    model: nn.Module,
    tokenizer,
    seeds: Sequence[str],
    n: int,
    *,
    shots: int = 3,
    template: str = SEEDS,
    max_tokens: int = 64,
    stop: Sequence[str] = ("\n",),
    temperature: float = 1.0,
    batch_size: int = 256,
    seed: int = 0,
) -> list[str]:
    """The bare model writes ``n`` inputs, each after ``shots`` of the seeds in random order.

    Empty replies and copies of a seed count as written, and are left out: the list may be shorter.
    seeds: the kept inputs, two or more.  shots: how many of them one prompt shows, 0 to all.
    template: the prompt; ``{examples}`` becomes one line per example. Without shots, the token for the
    beginning or the end of a text stands alone.
    max_tokens, stop, temperature, seed: as in :func:`labkit.language.generate`.
    Raises ValueError for fewer than two seeds, an empty one, and shots outside 0 to their number.

    >>> words = language.tokenizer(["one two\\ntwo three\\n"], size=270)
    >>> model = language.causal(words, width=16, layers=1, heads=2)
    >>> len(synthesize_inputs(model, words, ["one two", "two three"], 4, shots=2, max_tokens=3)) <= 4
    True
    """
    seeds = checked_texts("seeds", seeds, least=2)
    check_count("n", n)
    check_count("shots", shots, low=0, high=len(seeds))
    draws = draws_of(seed)
    blank = tokenizer.bos_token or tokenizer.eos_token
    prompts = []
    for _ in range(n):
        chosen = [seeds[i] for i in torch.randperm(len(seeds), generator=draws)[:shots].tolist()]
        prompts.append(template.format(examples="\n".join(chosen)) if chosen else blank)
    with speaking(model, None):
        said = language.generate(
            model,
            tokenizer,
            prompts,
            max_tokens=max_tokens,
            stop=stop,
            temperature=temperature,
            seed=seed,
            batch_size=batch_size,
        )
    known = set(seeds)
    return [text for text in (each.strip() for each in said) if text and text not in known]


@dataclass(frozen=True)
class Discriminator:
    """Tells inputs that a client would send from inputs that a model wrote: an adapter of the source model.

    model, tokenizer: the source model's, with the adapter ``name``.  template: the question, with the text
    at ``{input}``.  words: the two answers, for real and for synthetic.
    """

    model: nn.Module
    tokenizer: object
    name: str = "discriminator"
    template: str = REAL
    words: tuple[str, str] = (" yes", " no")

    def score(self, texts: Sequence[str], *, batch_size: int = 256) -> Tensor:
        """Probability that each text is real, of the two answers: float64[N] in [0, 1]."""
        asked = [self.template.format(input=text) for text in checked_texts("texts", texts)]
        with speaking(self.model, self.name):
            yes, no = (
                language.log_likelihoods(
                    self.model, self.tokenizer, asked, [word] * len(asked), batch_size=batch_size
                )
                for word in self.words
            )
        return (yes - no).sigmoid()


def train_discriminator(
    model: nn.Module,
    tokenizer,
    real: Sequence[str],
    synthetic: Sequence[str],
    *,
    steps: int,
    name: str = "discriminator",
    template: str = REAL,
    words: tuple[str, str] = (" yes", " no"),
    shuffled: bool = False,
    rank: int = 8,
    alpha: float | None = None,
    targets: str | Sequence[str] = "all-linear",
    seed: int = 0,
    **settings,
) -> Discriminator:
    """Add an adapter to the *source* model that answers whether an input is real, and train it.

    real: the client's inputs.  synthetic: what the source model wrote after the seeds.  Batches draw from
    both as they are: give as many of each, and the score's odds are the ratio of their densities.
    shuffled: the control: the same texts, answers and steps, the answers in random order.
    rank, alpha, targets, seed: of the adapter.  settings: of :func:`fit_lora` (lr, batch_size).  The adapter
    that was active stays so.
    Raises ValueError where a list is empty or holds an empty text, where the two words are the same, or
    the name is taken.
    """
    real, synthetic = checked_texts("real", real), checked_texts("synthetic", synthetic)
    if words[0] == words[1]:
        raise ValueError(f"words must be two different answers, got {words}")
    said = [words[0]] * len(real) + [words[1]] * len(synthetic)
    if shuffled:
        said = [said[i] for i in torch.randperm(len(said), generator=draws_of(seed)).tolist()]
    before = getattr(model, "active_adapter", None)
    adapted = add_lora(model, name=name, rank=rank, alpha=alpha, targets=targets, seed=seed)
    prompts = [template.format(input=text) for text in (*real, *synthetic)]
    fit_lora(adapted, tokenizer, prompts, said, steps=steps, seed=seed, **settings)
    if before is not None:
        adapted.set_adapter(before)
    return Discriminator(adapted, tokenizer, name, template, words)


def rejection_filter(
    candidates: Sequence[str],
    scores: Tensor,
    n: int | None = None,
    *,
    mode: str = "threshold",
    threshold: float = 0.5,
    generator: torch.Generator | None = None,
) -> Filtered:
    """Keep up to ``n`` of the candidates by their scores; all that are accepted where n is None.

    candidates: texts.  scores: float[N] in [0, 1], as :meth:`Discriminator.score` gives them.
    mode: "threshold" accepts a score above ``threshold``; "sample" accepts with the odds score / (1 - score),
    relative to the largest odds, at most those of 0.95: rejection sampling, exact where the score is the true
    posterior; "top" takes the ``n`` highest scores, which gives up variety.
    Raises ValueError for another mode, lengths that differ, no candidates, a score outside [0, 1], "top"
    without n, and where less than one in a hundred is accepted.

    >>> rejection_filter(["a", "b", "c"], torch.tensor([0.9, 0.2, 0.8]), mode="top", n=1)
    Filtered(kept=['a'], seen=3, acceptance=0.3333333333333333)
    """
    if mode not in MODES:
        raise ValueError(f"mode must be one of {', '.join(MODES)}, got {mode!r}")
    if len(candidates) == 0 or scores.shape != (len(candidates),):
        raise ValueError(
            f"scores must be one for each candidate, and not none: {tuple(scores.shape)}, {len(candidates)}"
        )
    if not ((scores >= 0) & (scores <= 1)).all():
        raise ValueError("scores must lie in [0, 1]")
    number("threshold", threshold, 0, 1)
    if mode == "top":
        if n is None:
            raise ValueError("mode 'top' needs n, the number to keep")
        chosen = scores.argsort(descending=True, stable=True)[:n].tolist()
        return Filtered([candidates[i] for i in chosen], len(candidates), len(chosen) / len(candidates))
    if mode == "sample":
        odds = scores.clamp(max=0.95) / (1 - scores.clamp(max=0.95))
        chance = odds / odds.max().clamp(min=torch.finfo(odds.dtype).tiny)
        accepted = torch.rand(len(scores), generator=generator, device=scores.device) < chance
    else:
        accepted = scores > threshold
    share = accepted.double().mean().item()
    if share < LEAST:
        raise ValueError(
            f"the discriminator accepts {share:.2%} of the inputs, less than {LEAST:.0%}: look at what is "
            "written and at the scores; more shots, a lower temperature, other seeds, or a threshold below "
            f"{threshold} may help"
        )
    order = torch.randperm(len(scores), generator=generator).tolist()
    kept = [candidates[i] for i in order if accepted[i]]
    return Filtered(kept[:n], len(candidates), share)


def transfer_inputs(
    model: nn.Module,
    tokenizer,
    seeds: Sequence[str],
    n: int,
    *,
    discriminator: Discriminator | None,
    mode: str = "threshold",
    threshold: float = 0.5,
    rounds: int = 20,
    seed: int = 0,
    **writing,
) -> Filtered:
    """The target model writes, the discriminator rejects, until ``n`` inputs are kept.

    discriminator: None keeps all that is written.  rounds: at most so many times ``n`` inputs are written.
    mode, threshold: of :func:`rejection_filter`; not "top".  writing: of :func:`synthesize_inputs`.
    Raises ValueError for mode "top", and RuntimeError, with the acceptance rate, where too few are kept.
    """
    if mode == "top":
        raise ValueError("mode must be 'threshold' or 'sample': the best of what is written has no end")
    kept: list[str] = []
    seen, shares = 0, []
    for turn in range(rounds):
        written = synthesize_inputs(model, tokenizer, seeds, n, seed=1_000 * seed + turn, **writing)
        if not written:
            continue
        if discriminator is None:
            found = Filtered(written, len(written), 1.0)
        else:
            scores = discriminator.score(written)
            found = rejection_filter(
                written, scores, mode=mode, threshold=threshold, generator=draws_of(1_000 * seed + turn)
            )
        kept, seen = kept + found.kept, seen + found.seen
        shares.append(found.acceptance * found.seen)
        if len(kept) >= n:
            return Filtered(kept[:n], seen, sum(shares) / seen)
    raise RuntimeError(
        f"{len(kept)} of {n} inputs after {rounds} rounds of {n}; of {seen} that were written and were not "
        f"empty, {sum(shares):.0f} were accepted: give more rounds, or look at what is written"
    )
