r"""Losses of distillation on logits, hidden states and rankings.

With the teacher's distribution :math:`T` and the student's :math:`S` over the next token:

.. math::

    \text{forward:}\quad & \mathrm{KL}(T \,\|\, S) = \sum_v T_v \log \frac{T_v}{S_v} \\
    \text{reverse:}\quad & \mathrm{KL}(S \,\|\, T) \\
    \text{generalized Jensen-Shannon:}\quad
    & \beta\, \mathrm{KL}(T \,\|\, M) + (1 - \beta)\, \mathrm{KL}(S \,\|\, M),
      \qquad M = \beta T + (1 - \beta) S

The first wants the student to give probability wherever the teacher does (it covers modes), the second
forbids it where the teacher does not (it seeks a mode), the third lies between: divided by
:math:`\beta (1 - \beta)` it tends to the first for :math:`\beta \to 0` and to the second for
:math:`\beta \to 1`. The divergences are those of Agarwal and others (2024), *On-Policy Distillation of
Language Models* (GKD), the ranking is that of Rafailov and others (2023), *Direct Preference Optimization*.
"""

import math

import torch
import torch.nn.functional as F
from torch import Tensor

__all__ = ["forward_kl", "generalized_jsd", "ranking", "reverse_kl", "similarity", "smoothed"]


def forward_kl(student: Tensor, teacher: Tensor, mask: Tensor | None = None) -> Tensor:
    """Mean KL(teacher || student) over the counted positions, in nats; the gradient reaches the student.

    student, teacher: logits float[..., V] of one vocabulary.  mask: bool[...], True where a position
    counts; all where None. The sum is divided by the number of positions that count, not by padding.
    Raises ValueError for shapes that differ (so for two vocabularies), or where nothing counts.

    >>> forward_kl(torch.zeros(1, 2), torch.tensor([[0.0, 100.0]])).item()  # log 2
    0.6931471824645996
    """
    _check(student, teacher, mask)
    return _mean(_kl(teacher, student), mask)


def reverse_kl(student: Tensor, teacher: Tensor, mask: Tensor | None = None) -> Tensor:
    """Mean KL(student || teacher), in nats. Arguments and errors as :func:`forward_kl`.

    Taken on sequences that the student wrote it is what MiniLLM minimizes, up to the score of the
    sampling; on the teacher's sequences it is another loss, with the same minimum.

    >>> alike = torch.tensor([[1.0, 2.0]])
    >>> reverse_kl(alike, alike + 5).item()  # logits may be shifted
    0.0
    """
    _check(student, teacher, mask)
    return _mean(_kl(student, teacher), mask)


def generalized_jsd(
    student: Tensor, teacher: Tensor, mask: Tensor | None = None, *, beta: float = 0.5
) -> Tensor:
    """Mean generalized Jensen-Shannon divergence, in nats. Arguments and errors as :func:`forward_kl`.

    beta: the teacher's share in the mixture, in (0, 1), or ValueError. At one half it is symmetric and at
    most log 2. Near 0 and 1 the value vanishes; see the head of this module for the limits.

    >>> far = torch.tensor([[100.0, 0.0]])
    >>> generalized_jsd(far, far.flip(1)).item()  # log 2
    0.6931471824645996
    """
    _check(student, teacher, mask)
    if not 0 < beta < 1:
        raise ValueError(f"beta must lie in (0, 1), got {beta}: its limits are forward_kl and reverse_kl")
    ours, theirs = student.log_softmax(-1), teacher.log_softmax(-1)
    mixed = torch.logaddexp(theirs + math.log(beta), ours + math.log1p(-beta))
    return _mean(beta * _kl(theirs, mixed) + (1 - beta) * _kl(ours, mixed), mask)


def similarity(student: Tensor, teacher: Tensor, mask: Tensor | None = None) -> Tensor:
    """Mean of 1 - cosine between hidden states, in [0, 2].

    student, teacher: float[..., D]; a projection brings the student's to the teacher's size beforehand.
    mask and errors as :func:`forward_kl`.

    >>> similarity(torch.tensor([[1.0, 0.0]]), torch.tensor([[0.0, 3.0]])).item()
    1.0
    """
    _check(student, teacher, mask)
    return _mean(1 - F.cosine_similarity(student, teacher, dim=-1), mask)


def ranking(better: Tensor, worse: Tensor, *, reference: tuple[Tensor, Tensor], beta: float = 0.1) -> Tensor:
    r"""Direct preference optimization: mean of :math:`-\log\sigma(\beta\,(\Delta_+ - \Delta_-))`.

    :math:`\Delta` is log p of an answer under the student minus the same under the reference.
    better, worse: float[B], log p of the preferred and of the other answer, each summed over its tokens.
    reference: the same two under the model that the student started from; no gradient is taken there.
    beta: how dear it is to move away from the reference, above 0.
    Raises ValueError for shapes that differ or another beta.

    >>> ranking(torch.zeros(3), torch.zeros(3), reference=(torch.zeros(3), torch.zeros(3))).item()  # log 2
    0.6931471824645996
    """
    if not beta > 0:
        raise ValueError(f"beta must be above 0, got {beta}")
    shapes = {each.shape for each in (better, worse, *reference)}
    if len(shapes) != 1 or better.ndim != 1:
        raise ValueError(f"better, worse and both references must be float[B], got {sorted(shapes)}")
    gain = (better - reference[0].detach()) - (worse - reference[1].detach())
    return -F.logsigmoid(beta * gain).mean()


def smoothed(logits: Tensor, labels: Tensor, *, share: float) -> Tensor:
    """Mean cross-entropy with ``share`` of each target spread evenly over the vocabulary: a control.

    Its targets are soft as a teacher's are, and hold nothing of what the teacher knows.
    logits: float[M, V].  labels: int64[M].  share: in [0, 1), or ValueError.

    >>> round(smoothed(torch.zeros(1, 4), torch.tensor([2]), share=0.3).item(), 4)  # log 4
    1.3863
    """
    if not 0 <= share < 1:
        raise ValueError(f"share must lie in [0, 1), got {share}")
    return F.cross_entropy(logits, labels, label_smoothing=share)


def _kl(one: Tensor, other: Tensor) -> Tensor:
    """KL(one || other) of each position, from logits or logarithms of probabilities: float[...]."""
    one, other = one.log_softmax(-1), other.log_softmax(-1)
    # torch's kl_div(input, target) is KL(target || input): the arguments are the other way round.
    return F.kl_div(other, one, log_target=True, reduction="none").sum(-1)


def _mean(values: Tensor, mask: Tensor | None) -> Tensor:
    return values.mean() if mask is None else (values * mask).sum() / mask.sum()


def _check(student: Tensor, teacher: Tensor, mask: Tensor | None) -> None:
    if student.shape != teacher.shape:
        raise ValueError(
            f"student and teacher must have one shape, and one vocabulary, got {tuple(student.shape)} "
            f"and {tuple(teacher.shape)}"
        )
    if mask is not None and mask.shape != student.shape[:-1]:
        raise ValueError(f"mask must have the shape {tuple(student.shape[:-1])}, got {tuple(mask.shape)}")
    if student.numel() == 0 or (mask is not None and not mask.any()):
        raise ValueError("nothing counts: there is no position, or the mask is False everywhere")
