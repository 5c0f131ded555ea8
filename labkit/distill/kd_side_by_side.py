r"""Students of different teachings, trained side by side: one step runs once for all of them.

Where ways to distill are compared, many students of one architecture take as many steps from one start, and
one step of such a small network is mostly the calling of operations. Here the weights of all are stacked, and
the step runs once (``torch.func.vmap``). Batches, schedule and optimizer are, student by student, those of
:func:`labkit.distill.kd_llm_survey.distill`.

The loss is the cross-entropy to a distribution :math:`q` at every token that counts,

.. math:: -\frac{1}{M} \sum_{m=1}^{M} \sum_v q_{mv} \log p_\theta(v \mid \text{what stands before } m).

With all of :math:`q` on the token that stands there it is supervised training; with the teacher's
probabilities it has the gradient of the forward divergence, which is less by their entropy.
"""

import copy
from collections.abc import Callable, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.func import functional_call, vmap

from labkit.language import Rows
from labkit.seeding import generator
from labkit.training import ADAMW, Fit, cosine

__all__ = ["distill_side_by_side"]


def distill_side_by_side(
    students: Sequence[nn.Module],
    rows: Sequence[Rows],
    *,
    aims: Sequence[Sequence[Tensor] | None] | None = None,
    steps: int,
    batch_size: int = 32,
    lr: float | Sequence[float] = 3e-3,
    weight_decay: float = 0.05,
    optimizer: Callable[..., torch.optim.Optimizer] = ADAMW,
    schedule: Callable[[float], float] = cosine,
    seed: int = 0,
) -> list[Fit]:
    """Train each student, in place, on its own rows: what one call of ``distill`` for each gives.

    The numbers are the same but for the rounding of sums that are added in another order.

    students: causal models of ``transformers``, of one architecture, whose head is one linear layer.
    rows: of prompts and answers, one :class:`labkit.language.Rows` per student; the number of rows may
    differ, ``batch_size`` must not pass it.
    aims: per student None, for the tokens themselves, or the distributions ``q``: one float[m, V] per row,
    with one line per token that counts.  lr: one for all, or one for each.  The other arguments: see
    :func:`labkit.training.fit`; the seed of the batches is one for all.
    Raises ValueError for no students, lists of other lengths, students of different shapes, aims that do not
    fit their rows, a batch larger than the rows, or steps < 1; FloatingPointError, with the step and the
    student's place, where a loss is not finite (looked at every 50 steps).

    >>> from labkit import language
    >>> students = [language.causal(30, width=16, layers=1, heads=2) for _ in range(2)]
    >>> rows = language.Rows(torch.full((4, 6), 5), torch.ones(4, 6, dtype=torch.bool))
    >>> [fit.losses.shape for fit in distill_side_by_side(students, [rows, rows], steps=3, batch_size=4)]
    [torch.Size([3]), torch.Size([3])]
    """
    students, rows = list(students), list(rows)
    aims = [None] * len(students) if aims is None else list(aims)
    rates = [lr] * len(students) if isinstance(lr, int | float) else list(lr)
    _check(students, rows, aims, rates, steps, batch_size)
    device = next(students[0].parameters()).device
    longest = max(each.tokens.shape[1] for each in rows)
    rows = [Rows(_wide(each.tokens, longest), _wide(each.mask, longest)) for each in rows]
    soft = any(aim is not None for aim in aims)
    weights = [dict(student.named_parameters()) for student in students]
    stepper = optimizer(
        [{"params": list(own.values()), "lr": rate} for own, rate in zip(weights, rates, strict=True)],
        lr=rates[0],
        weight_decay=weight_decay,
    )
    skeleton = _Head(copy.deepcopy(students[0]))  # the architecture alone; its numbers come from the stacks
    skeleton.model.set_attn_implementation("eager")  # the fused one runs a stack piece by piece
    skeleton.train()

    def one(weights, tokens, places, counted, aim):
        log_p = functional_call(skeleton, weights, (tokens, places)).log_softmax(-1)
        found = (aim * log_p).sum(-1) if soft else log_p.gather(-1, aim[..., None])[..., 0]
        return -(found * counted).sum() / counted.sum()

    each, losses = vmap(one), []
    shuffles = [generator(seed) for _ in students]
    orders = [torch.empty(0, dtype=torch.long) for _ in students]
    for step in range(steps):
        batches = []
        for k, (shuffle, own) in enumerate(zip(shuffles, rows, strict=True)):
            if len(orders[k]) < batch_size:
                orders[k] = torch.randperm(len(own.tokens), generator=shuffle)
            batches.append(orders[k][:batch_size])
            orders[k] = orders[k][batch_size:]
        tokens = torch.stack([own.tokens[chosen] for own, chosen in zip(rows, batches, strict=True)])
        kept = torch.stack([own.mask[chosen, 1:] for own, chosen in zip(rows, batches, strict=True)])
        last = int(kept.any(0).any(0).nonzero().max()) + 1  # what comes later cannot matter
        kept, aim = kept[..., :last], tokens[..., 1 : last + 1]
        most = int(kept.sum(-1).max())
        # Those that count come first.
        places = kept.int().argsort(dim=-1, descending=True, stable=True)[..., :most]
        counted, aim = kept.gather(-1, places), aim.gather(-1, places)
        if soft:
            aim = F.one_hot(aim, students[0].config.vocab_size).float()
            for k, (own, chosen) in enumerate(zip(aims, batches, strict=True)):
                if own is not None:
                    aim[k][counted[k]] = torch.cat([own[i] for i in chosen.tolist()]).cpu()
        stacked = {f"model.{name}": torch.stack([own[name] for own in weights]) for name in weights[0]}
        given = (tokens[..., :last], places, counted.float(), aim)
        values = each(stacked, *(part.to(device) for part in given))
        for group, rate in zip(stepper.param_groups, rates, strict=True):
            group["lr"] = rate * schedule((step + 1) / steps)
        stepper.zero_grad(set_to_none=True)
        values.sum().backward()
        stepper.step()
        losses.append(values.detach())
        if (step % 50 == 0 or step == steps - 1) and not torch.isfinite(losses[-1]).all():
            place = int((~torch.isfinite(losses[-1])).nonzero()[0])
            raise FloatingPointError(f"the loss of student {place} is not finite at step {step} of {steps}")
    curves = torch.stack(losses, dim=1)
    return [Fit(student.eval(), curve) for student, curve in zip(students, curves, strict=True)]


class _Head(nn.Module):
    """The logits at some places of each row, int64[B, m]: the head is dear, and most places don't count."""

    def __init__(self, model: nn.Module):
        super().__init__()
        self.model = model

    def forward(self, tokens: Tensor, places: Tensor) -> Tensor:
        states = self.model.base_model(input_ids=tokens, use_cache=False).last_hidden_state
        chosen = states.gather(1, places[..., None].expand(-1, -1, states.shape[-1]))
        return self.model.get_output_embeddings()(chosen)


def _wide(values: Tensor, longest: int) -> Tensor:
    """Rows of one length: zeros at the end, which no token that counts can see."""
    return F.pad(values, (0, longest - values.shape[1]))


def _check(students, rows, aims, rates, steps, batch_size) -> None:
    if steps < 1:
        raise ValueError(f"steps must be at least 1, got {steps}")
    counts = [len(students), len(rows), len(aims), len(rates)]
    if not students or len(set(counts)) > 1:
        raise ValueError(f"students, rows, aims and rates must be as many, and not none: {counts}")
    shapes = [{name: tuple(value.shape) for name, value in one.named_parameters()} for one in students]
    if any(shape != shapes[0] for shape in shapes):
        raise ValueError("students must be of one architecture, with weights of the same shapes")
    for place, (own, aim) in enumerate(zip(rows, aims, strict=True)):
        if not 1 <= batch_size <= (count := len(own.tokens)):
            raise ValueError(
                f"batch_size must be from 1 to the {count} rows of student {place}, got {batch_size}"
            )
        wanted = [(count, students[0].config.vocab_size) for count in own.mask[:, 1:].sum(1).tolist()]
        if aim is not None and [tuple(each.shape) for each in aim] != wanted:
            raise ValueError(
                f"the aims of student {place} must be one float[m, V] per row, a line per counted token"
            )
