"""Ways to elicit a language model's knowledge, and the account of its tokens.

Labelling, expansion, curation, features: the representatives of :mod:`labkit.distill.kd_llm_survey` that
ask the teacher; what the student then does with the replies is there. Every token that the teacher writes,
and every position at which it gives a distribution on a text that it did not write, is booked in a
:class:`Ledger`, so that ways are compared at equal teacher tokens.
"""

import re
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from labkit import language

__all__ = ["TEMPLATES", "Example", "Ledger", "Teacher", "curation", "expansion", "features", "hidden_states"]
__all__ += ["endless", "labelling", "renamed"]

# What a base model continues; an instruct model wants its own words around these.
TEMPLATES = {
    "answer": "{input}",
    "more": "Write one more task like this one.\nTask: {seed}\nTask:",
    "about": "Write a task about this topic.\nTopic: {topic}\nTask:",
}


class Example(NamedTuple):
    """An input as it was given or written, and the teacher's answer to it."""

    input: str
    answer: str


@dataclass
class Ledger:
    """What distillation cost: tokens read, written and scored by the teacher, and what became of them.

    written: tokens that the teacher wrote.  scored: positions of texts by others at which it gave a
    distribution.  read: tokens of its prompts.  dropped: inputs that it wrote in vain (empty, known
    already, or held out).
    """

    written: int = 0
    scored: int = 0
    read: int = 0
    dropped: int = 0

    @property
    def tokens(self) -> int:
        """Written and scored: what the budget counts."""
        return self.written + self.scored


class Teacher:
    """A causal language model of ``transformers`` in the teacher's role, with its account.

    model, tokenizer: the student must share the tokenizer where distributions are compared.
    templates: see :data:`TEMPLATES`; those given replace these.  max_tokens: of an input, and of an answer.
    stop: strings that end what it writes.  white_box: False where its distributions are not to be had.
    Raises ValueError for an unknown template or max_tokens below 1.
    """

    def __init__(
        self,
        model: nn.Module,
        tokenizer,
        *,
        templates: dict[str, str] | None = None,
        max_tokens: int = 64,
        stop: Sequence[str] = (),
        white_box: bool = True,
    ):
        if unknown := sorted(set(templates or {}) - set(TEMPLATES)):
            raise ValueError(f"templates must be from {', '.join(TEMPLATES)}, got {', '.join(unknown)}")
        if max_tokens < 1:
            raise ValueError(f"max_tokens must be at least 1, got {max_tokens}")
        self.model, self.tokenizer, self.white_box = model.eval(), tokenizer, white_box
        self.templates = TEMPLATES | (templates or {})
        self.max_tokens, self.stop, self.ledger = max_tokens, stop, Ledger()

    def prompt(self, text: str) -> str:
        """An input as the student will see it, too."""
        return self.templates["answer"].format(input=text)

    def write(self, prompts: Sequence[str], *, temperature: float, seed: int) -> list[str]:
        """Continue each prompt; what is read and written is booked."""
        replies = language.complete(
            self.model,
            self.tokenizer,
            prompts,
            max_tokens=self.max_tokens,
            stop=self.stop,
            temperature=temperature,
            seed=seed,
            batch_size=256,
        )
        self.ledger.written += sum(reply.tokens_out for reply in replies)
        self.ledger.read += sum(reply.tokens_in for reply in replies)
        return [reply.text for reply in replies]


# Eliciting


def labelling(
    teacher: Teacher,
    inputs: Sequence[str],
    *,
    budget: int,
    passes: int | None = None,
    temperature: float = 1.0,
    seed: int = 0,
) -> list[Example]:
    """The teacher answers the inputs, in random order, until its tokens are spent.

    Where inputs are fewer than the budget can answer, they are gone through again and again: with a
    temperature above 0 each pass is another draw of the answer.
    budget: tokens that the teacher may write, at least its ``max_tokens``; never exceeded.
    passes: the most answers to one input, from 1 up; None for as many as the budget pays for.
    Raises ValueError for a smaller budget, passes below 1, no inputs, or an empty one.
    """
    inputs = _texts("inputs", inputs)
    _budget(budget, teacher.max_tokens)
    if passes is not None and passes < 1:
        raise ValueError(f"passes must be at least 1, got {passes}")
    order, found, asked = endless(len(inputs), np.random.default_rng(seed)), [], 0
    for count, draw in _rounds(teacher, budget, teacher.max_tokens, seed):
        count = count if passes is None else min(count, passes * len(inputs) - asked)
        if count == 0:
            break
        asked += count
        chosen = [inputs[next(order)] for _ in range(count)]
        answers = teacher.write([teacher.prompt(text) for text in chosen], temperature=temperature, seed=draw)
        found += [Example(*pair) for pair in zip(chosen, answers, strict=True) if pair[1].strip()]
    return found


def expansion(
    teacher: Teacher,
    seeds: Sequence[str],
    *,
    budget: int,
    avoid: Collection[str] = (),
    temperature: float = 1.0,
    seed: int = 0,
) -> list[Example]:
    """The teacher writes inputs like the seeds, one seed shown at a time, and answers them.

    What it writes empty, twice, as a seed stands, or as one of ``avoid`` (held-out inputs) is dropped, and
    paid for.  budget: of inputs and answers together, at least twice ``max_tokens``; never exceeded.
    Raises ValueError as :func:`labelling`.
    """
    return _invent(teacher, "more", "seed", seeds, budget, {*seeds, *avoid}, temperature, seed)


def curation(
    teacher: Teacher,
    topics: Sequence[str],
    *,
    budget: int,
    avoid: Collection[str] = (),
    temperature: float = 1.0,
    seed: int = 0,
) -> list[Example]:
    """The teacher writes inputs on topics, each as often as the others, and answers them.

    No input is needed, a list of topics is.  Other arguments and errors as :func:`expansion`.
    """
    return _invent(teacher, "about", "topic", topics, budget, set(avoid), temperature, seed)


def _invent(teacher, template, slot, cues, budget, known, temperature, seed) -> list[Example]:
    cues = _texts(f"{slot}s", cues)
    _budget(budget, 2 * teacher.max_tokens)
    order, found = endless(len(cues), np.random.default_rng(seed)), []
    for count, draw in _rounds(teacher, budget, 2 * teacher.max_tokens, seed):
        prompts = [teacher.templates[template].format(**{slot: cues[next(order)]}) for _ in range(count)]
        fresh = []
        for text in teacher.write(prompts, temperature=temperature, seed=draw):
            if text.strip() and text not in known:
                known.add(text)
                fresh.append(text)
        teacher.ledger.dropped += count - len(fresh)
        if fresh:
            asked = [teacher.prompt(text) for text in fresh]
            answers = teacher.write(asked, temperature=temperature, seed=draw + 1)
            found += [Example(*pair) for pair in zip(fresh, answers, strict=True) if pair[1].strip()]
    return found


def renamed(text: str, groups: Sequence[Sequence[str]], *, rng: np.random.Generator) -> str:
    """The control: a new input by rule, each of its names replaced by another of the same group.

    groups: lists of words; a word of none stays. The same name gets the same new one throughout.

    >>> renamed("Nobur elected Balen", [["Nobur", "Kadal"], ["Balen", "Lomus"]], rng=np.random.default_rng(0))
    'Kadal elected Lomus'
    """
    place = {word: group for group in groups for word in group}
    new: dict[str, str] = {}

    def other(found: re.Match) -> str:
        word = found.group()
        if word not in place:
            return word
        if word not in new:
            free = [each for each in place[word] if each != word and each not in new.values()]
            new[word] = free[rng.integers(len(free))] if free else word
        return new[word]

    return re.sub(r"\w+", other, text)


def features(teacher: Teacher, rows: language.Rows, *, written: bool = False) -> list[Tensor]:
    """The teacher's logits for each counted token of each row: a list of float[m, V].

    rows: as :func:`labkit.language.pairs` makes them.  written: True where the teacher wrote these very
    tokens, so that its distributions came along and are not booked again.
    Raises TypeError where the teacher is a black box.
    """
    return _positions(teacher, rows, written, lambda out: out.logits)


def hidden_states(teacher: Teacher, rows: language.Rows, *, written: bool = False) -> list[Tensor]:
    """The teacher's last hidden states at the same positions: a list of float[m, D]. As :func:`features`."""
    return _positions(teacher, rows, written, lambda out: out.hidden_states[-1])


@torch.no_grad()
def _positions(teacher, rows, written, pick) -> list[Tensor]:
    if not teacher.white_box:
        raise TypeError("this loss needs distributions or hidden states, and the teacher is a black box")
    if not written:
        teacher.ledger.scored += int(rows.mask[:, 1:].sum())
    found, device = [], next(teacher.model.parameters()).device
    for tokens, mask in zip(rows.tokens.split(64), rows.mask.split(64), strict=True):
        out = teacher.model(input_ids=tokens[:, :-1].to(device), use_cache=False, output_hidden_states=True)
        found += [values[kept] for values, kept in zip(pick(out).cpu(), mask[:, 1:], strict=True)]
    return found


def endless(count: int, rng: np.random.Generator) -> Iterator[int]:
    """The numbers below ``count`` in random order, then again in another one, without end.

    Raises ValueError, when the first is taken, for a count below 1.
    """
    if count < 1:
        raise ValueError(f"count must be at least 1, got {count}: there is nothing to go through")
    while True:
        yield from rng.permutation(count).tolist()


def _rounds(teacher: Teacher, budget: int, most: int, seed: int) -> Iterator[tuple[int, int]]:
    """(how many requests, seed of the draws), none of which can pass the budget.

    A request takes ``most`` tokens at most, and mostly fewer: what is left over goes into the next round,
    down to a fiftieth of the budget.
    """
    start, turn = teacher.ledger.written, 0
    least = max(most, budget // 50)
    while (left := budget - (teacher.ledger.written - start)) >= least:
        count = left // most
        yield count, 1_000_003 * seed + 2 * turn
        turn += 1


def _texts(name: str, texts: Sequence[str]) -> list[str]:
    if isinstance(texts, str) or len(texts) == 0 or not all(text.strip() for text in texts):
        raise ValueError(f"{name} must be strings, at least one, and none empty, got {texts!r}")
    return list(texts)


def _budget(budget: int, least: int) -> None:
    if budget < least:
        raise ValueError(f"budget must be at least {least} tokens, for one reply, got {budget}")
