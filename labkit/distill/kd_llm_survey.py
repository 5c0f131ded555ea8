r"""Distillation of language models: ways to ask a teacher, ways to train the student, one account of tokens.

The survey sorts distillation by how knowledge is *elicited* and how it is *distilled*. Elicited here by
labelling (the teacher answers given inputs), expansion (it writes inputs like a few seeds, then answers),
curation (it writes inputs on given topics), features (its distributions or hidden states) and feedback (it
judges what the student wrote). Distilled by supervised training, a divergence, similarity, ranking or
reinforcement:

.. math::

    \min_\theta\; \mathbb{E}_{x \sim \mathcal{X},\; y \sim p_T(\cdot \mid x)} \sum_t
    D\bigl(p_T(\cdot \mid x, y_{<t}),\; p_\theta(\cdot \mid x, y_{<t})\bigr)

with :math:`-\log p_\theta(y_t)` in place of :math:`D` where only the text is known. Augmentation changes
:math:`\mathcal{X}`, the loss changes :math:`D`. Every token that the teacher writes, and every position at
which it gives a distribution on a text that it did not write, is booked in a :class:`Ledger`, so that ways
are compared at equal teacher tokens.

Xu, Li, Tao, Shen, Cheng, Li, Xu, Tao, Zhou (2024). *A Survey on Knowledge Distillation of Large Language
Models.* arXiv:2402.13116. A survey has no method of its own: these are representatives, in our own code.
The reward of reinforcement is the teacher's log-likelihood; a learned reward model is left out.
"""

import copy
from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from labkit import language, training
from labkit.distill import kd_losses
from labkit.distill.kd_elicit import Teacher, endless, features

__all__ = ["Preferences", "distill", "on_policy", "preferences", "rank", "reinforce"]


class _Learner(nn.Module):
    """A student, and where hidden states are compared, the projection to the teacher's size."""

    def __init__(self, student: nn.Module, width: int | None):
        super().__init__()
        self.student = student
        own = student.get_input_embeddings().weight.shape[1]
        self.project = nn.Linear(own, width, bias=False) if width else None
        if width:
            nn.init.orthogonal_(self.project.weight)


def distill(
    student: nn.Module,
    rows: language.Rows,
    *,
    loss: Callable[[Tensor, Tensor], Tensor] | None = None,
    soft: Sequence[Tensor] | None = None,
    hidden: Sequence[Tensor] | None = None,
    weight: float = 1.0,
    seed: int = 0,
    **settings,
) -> training.Fit:
    """Train the student, in place, on rows of prompts and answers.

    loss: without ``soft``, called with (student's logits float[M, V], labels int64[M]), cross-entropy where
    None; with it, called with (student's, teacher's logits), such as kd_losses.forward_kl.
    soft: of :func:`features`, one per row.
    hidden: of :func:`hidden_states`; ``weight`` x (1 - cosine) is added to the loss.
    settings: steps, batch_size, lr, schedule ... of :func:`labkit.training.fit`.
    Raises ValueError where soft or hidden are not as many as rows or fit neither rows nor vocabulary.
    """
    if soft is not None and loss is None:
        raise ValueError("soft needs a loss that compares logits, such as kd_losses.forward_kl")
    mask, counts = rows.mask[:, 1:], rows.mask[:, 1:].sum(1).tolist()
    for name, given in (("soft", soft), ("hidden", hidden)):
        if given is not None and [len(each) for each in given] != counts:
            raise ValueError(f"{name} must have one entry per row, with one line per counted token")
    loss = loss or nn.functional.cross_entropy
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        learner = _Learner(student, None if hidden is None else hidden[0].shape[1])

    def value(learner, tokens, chosen, **_):
        kept, which = mask[chosen.cpu()].to(tokens.device), chosen.tolist()
        last = int(kept.any(0).nonzero().max()) + 1  # what comes later cannot matter
        out = learner.student(
            input_ids=tokens[:, :last], use_cache=False, output_hidden_states=hidden is not None
        )
        kept = kept[:, :last]
        aim = tokens[:, 1 : last + 1][kept] if soft is None else _gather(soft, which, tokens.device)
        total = loss(out.logits[kept], aim)
        if hidden is not None:
            ours = learner.project(out.hidden_states[-1][kept])
            total = total + weight * kd_losses.similarity(ours, _gather(hidden, which, tokens.device))
        return total

    device = next(student.parameters()).device
    fitted = training.fit(
        learner.to(device), rows.tokens, torch.arange(len(rows.tokens)), loss=value, seed=seed, **settings
    )
    return training.Fit(student.eval(), fitted.losses)


def on_policy(
    student: nn.Module,
    teacher: Teacher,
    inputs: Sequence[str],
    *,
    budget: int,
    loss: Callable[[Tensor, Tensor], Tensor],
    steps: int,
    rounds: int = 4,
    seed: int = 0,
    **settings,
) -> list[float]:
    """The student answers, the teacher gives its distribution at each of those tokens, the student learns.

    In ``rounds`` rounds, each with new answers of the student as it then is (temperature 1) to inputs drawn
    at random, and its share of budget and steps.
    budget: positions that the teacher may score; never exceeded.  loss: of :func:`distill` with ``soft``.
    Returns the mean loss of each round. Raises TypeError where the teacher is a black box, ValueError where
    a round's share of the budget would not pay for one answer.
    """
    losses = []
    for turn, rows in enumerate(_rounds(student, teacher, inputs, budget, rounds, seed)):
        part = {"soft": features(teacher, rows), "steps": max(1, steps // rounds), "seed": seed + turn}
        losses.append(distill(student, rows, loss=loss, **part, **settings).losses.mean().item())
    return losses


def reinforce(
    student: nn.Module,
    teacher: Teacher,
    inputs: Sequence[str],
    *,
    budget: int,
    steps: int,
    rounds: int = 4,
    seed: int = 0,
    **settings,
) -> list[float]:
    """The student answers, the teacher's log p is the reward, answers above the mean become likelier.

    Policy gradient (REINFORCE): in each round, log p of an answer under the student times its advantage,
    which is its reward less the round's mean, over the round's spread.
    rounds, budget, errors: as :func:`on_policy`.  settings: batch_size, lr ... of
    :func:`labkit.training.fit`.  Returns the mean reward of each round, in nats.
    """
    rewards = []
    for turn, rows in enumerate(_rounds(student, teacher, inputs, budget, rounds, seed)):
        scores = _scores(teacher, rows)
        rewards.append(scores.mean().item())
        advantage = (scores - scores.mean()) / scores.std(correction=0).clamp_min(1e-6)

        def value(model, tokens, chosen, rows=rows, advantage=advantage, **_):
            kept = rows.mask[chosen.cpu()].to(tokens.device)
            return -(advantage[chosen.cpu()].to(tokens.device) * _log_p(model, tokens, kept)).mean()

        part = {"steps": max(1, steps // rounds), "seed": seed + turn}
        training.fit(student, rows.tokens, torch.arange(len(rows.tokens)), loss=value, **part, **settings)
    student.eval()
    return rewards


class Preferences(NamedTuple):
    """Two answers of the student to each prompt; the teacher finds the first likelier."""

    better: language.Rows
    worse: language.Rows


def preferences(
    student: nn.Module, teacher: Teacher, inputs: Sequence[str], *, budget: int, seed: int = 0
) -> Preferences:
    """The student answers each input twice (temperature 1), the teacher ranks the two by log p.

    budget: positions that the teacher may score, both answers together; never exceeded. Pairs of equal
    answers teach nothing and are left out, but are paid for.
    Raises as :func:`on_policy`, and ValueError where no pair differs.
    """
    share = _share(budget, 1, 2 * (teacher.max_tokens + 1))
    order = endless(len(inputs), np.random.default_rng(seed))
    prompts = [teacher.prompt(inputs[next(order)]) for _ in range(share // teacher.max_tokens)]
    both = _answered(student, teacher, prompts + prompts, seed)
    half = len(prompts)
    cost = (both.mask[:half].sum(1) + both.mask[half:].sum(1)).cumsum(0)
    kept = int((cost <= share).sum())
    place = torch.cat([torch.arange(kept), half + torch.arange(kept)])
    rows = language.Rows(both.tokens[place], both.mask[place])
    scores = _scores(teacher, rows).view(2, kept)
    differ = (rows.tokens[:kept] != rows.tokens[kept:]).any(1)
    if not differ.any():
        raise ValueError("the student gave the same answer twice to every input: nothing to rank")
    first = torch.where(scores[0] >= scores[1], 0, kept) + torch.arange(kept)
    second = (first + kept) % (2 * kept)
    return Preferences(
        *(language.Rows(rows.tokens[side[differ]], rows.mask[side[differ]]) for side in (first, second))
    )


def rank(
    student: nn.Module, pairs: Preferences, *, beta: float = 0.1, seed: int = 0, **settings
) -> training.Fit:
    """Train the student, in place, to prefer the better answers: direct preference optimization.

    The reference is the student as it comes. beta: see ``labkit.distill.kd_losses.ranking``.
    settings: steps, batch_size, lr ... of :func:`labkit.training.fit`.
    """
    tokens = torch.stack([pairs.better.tokens, pairs.worse.tokens], 1)
    mask = torch.stack([pairs.better.mask, pairs.worse.mask], 1)
    before = copy.deepcopy(student).eval()

    def value(model, tokens, chosen, **_):
        kept = mask[chosen.cpu()].to(tokens.device)
        with torch.no_grad():
            reference = _pair_log_p(before, tokens, kept)
        return kd_losses.ranking(*_pair_log_p(model, tokens, kept), reference=reference, beta=beta)

    fitted = training.fit(student, tokens, torch.arange(len(tokens)), loss=value, seed=seed, **settings)
    return training.Fit(student.eval(), fitted.losses)


def _pair_log_p(model: nn.Module, tokens: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
    """log p of both answers of each pair, int64[B, 2, T] -> two float[B]."""
    better, worse = _log_p(model, tokens.flatten(0, 1), mask.flatten(0, 1)).view(-1, 2).unbind(1)
    return better, worse


def _log_p(model: nn.Module, tokens: Tensor, mask: Tensor) -> Tensor:
    """log p of the counted tokens of each row, int64[B, T] -> float[B]."""
    logits = model(input_ids=tokens[:, :-1], use_cache=False).logits.log_softmax(-1)
    values = logits.gather(2, tokens[:, 1:, None])[..., 0]
    return (values * mask[:, 1:]).sum(1)


def _scores(teacher: Teacher, rows: language.Rows) -> Tensor:
    """The teacher's log p of each row, which is booked: float[N]."""
    return torch.stack(
        [
            logits.log_softmax(-1).gather(1, tokens[1:][mask[1:], None].cpu()).sum()
            for logits, tokens, mask in zip(features(teacher, rows), *rows, strict=True)
        ]
    )


def _rounds(student, teacher, inputs, budget, rounds, seed) -> Iterator[language.Rows]:
    """Answers of the student as it is when they are asked for, each round within its share of the budget."""
    order, share = (
        endless(len(inputs), np.random.default_rng(seed)),
        _share(budget, rounds, teacher.max_tokens + 1),
    )
    for turn in range(rounds):
        prompts = [teacher.prompt(inputs[next(order)]) for _ in range(2 * share // teacher.max_tokens)]
        rows = _answered(student, teacher, prompts, seed + turn)
        yield _first(rows, int((rows.mask.sum(1).cumsum(0) <= share).sum()))


def _answered(student, teacher: Teacher, prompts: Sequence[str], seed: int) -> language.Rows:
    """Rows of prompts and what the student answers at temperature 1; one that was cut gets an end, too."""
    replies = language.generate(
        student,
        teacher.tokenizer,
        prompts,
        max_tokens=teacher.max_tokens,
        stop=teacher.stop,
        temperature=1.0,
        seed=seed,
        batch_size=256,
    )
    return language.pairs(prompts, replies, teacher.tokenizer)


def _first(rows: language.Rows, count: int) -> language.Rows:
    return language.Rows(rows.tokens[:count], rows.mask[:count])


def _share(budget: int, rounds: int, least: int) -> int:
    """The positions of one round."""
    if rounds < 1 or budget // rounds < least:
        raise ValueError(f"budget must be at least {least} tokens a round, got {budget} for {rounds} rounds")
    return budget // rounds


def _gather(parts: Sequence[Tensor], which: Sequence[int], device) -> Tensor:
    """The lines of some rows, one after the other."""
    return torch.cat([parts[i] for i in which]).to(device)
