r"""HARD: distil on augmentations that are learnt, where teacher and student still disagree.

Distillation asks the student to agree with the teacher, but only on the images at hand. What the teacher
does elsewhere, such as to see a digit wherever it stands, is not asked. HARD trains an *augmentor*
:math:`A_\phi(x, \epsilon)` beside the student, against it: with the loss of distillation

.. math::

    \ell(x) = \tau^2\, \mathrm{KL}\bigl(\mathrm{softmax}(T(x)/\tau)\,\|\,\mathrm{softmax}(S(x)/\tau)\bigr)

the student lowers :math:`\ell(x) + \ell(A_\phi(x, \epsilon))`, and the augmentor raises
:math:`\ell(A_\phi(x, \epsilon))`, through teacher and student, which are both frozen meanwhile. They take
turns: the student until its loss on augmented images is below a lower threshold, the augmentor until it is
above an upper one. No labels are used: the teacher's answer is the label.

Nix, Burg, Sinz (2023). *HARD: Hard Augmentations for Robust Distillation.* arXiv:2305.14890. There is no
public code that we know of. The abstract fixes the principle; the turns, the thresholds and the inside of the
augmentors (``labkit.distill.learned_augmentors``) are reconstructed. The cap on the augmentor's steps in
one turn, ``max_aug_steps``, is ours: it bounds the cost.
"""

from collections.abc import Callable, Iterable, Iterator
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from labkit.distill.learned_augmentors import AffineAugmentor, LatentAugmentor, MixAugmentor

__all__ = ["AffineAugmentor", "History", "LatentAugmentor", "MixAugmentor", "batches", "hard_distill"]
__all__ += ["kd_loss"]


class History(NamedTuple):
    """What :func:`hard_distill` did, step by step of the student.

    clean, augmented: float[steps], the losses of the student on both halves, before its step; the same where
    nothing is augmented.
    turns: int64[steps], steps of the augmentor before each step of the student.
    aug_losses: float[augmentor_steps], the augmentor's loss before each of its steps.
    """

    clean: Tensor
    augmented: Tensor
    turns: Tensor
    aug_losses: Tensor

    @property
    def augmentor_steps(self) -> int:
        """Steps of the augmentor in all."""
        return int(self.turns.sum())


def kd_loss(student_logits: Tensor, teacher_logits: Tensor, temperature: float = 2.0) -> Tensor:
    """Temperature squared times KL(teacher || student) of the softened classes, mean over the batch; in nats.

    student_logits, teacher_logits: float[B, K].  temperature: above 0, or ValueError.
    Hinton, Vinyals, Dean (2015), arXiv:1503.02531: the square keeps the gradient's size.

    >>> kd_loss(torch.zeros(1, 2), torch.tensor([[0.0, 200.0]])).item() / 4  # log 2
    0.6931471824645996
    """
    if not temperature > 0:
        raise ValueError(f"temperature must be above 0, got {temperature}")
    if student_logits.shape != teacher_logits.shape or student_logits.ndim != 2:
        shapes = f"{list(student_logits.shape)} and {list(teacher_logits.shape)}"
        raise ValueError(f"logits must be float[B, K] of one shape, got {shapes}")
    student = (student_logits / temperature).log_softmax(dim=1)
    teacher = (teacher_logits / temperature).log_softmax(dim=1)
    return F.kl_div(student, teacher, reduction="batchmean", log_target=True) * temperature**2


def batches(images: Tensor, size: int, *, generator: torch.Generator | None = None) -> Iterator[Tensor]:
    """Batches of images without end, drawn without replacement, epoch after epoch.

    size: images per batch; all of them where there are fewer.

    >>> next(batches(torch.rand(8, 1, 4, 4), 3)).shape
    torch.Size([3, 1, 4, 4])
    """
    size, order = min(size, len(images)), torch.empty(0, dtype=torch.long)
    while True:
        if len(order) < size:
            order = torch.randperm(len(images), generator=generator)
        chosen, order = order[:size], order[size:]
        yield images[chosen]


def hard_distill(
    teacher: nn.Module,
    student: nn.Module,
    loader: Iterable,
    augmentor: Callable[..., Tensor] | None,
    *,
    steps: int,
    low: float = 0.7,
    high: float = 2.0,
    max_aug_steps: int = 1,
    lr_student: float = 2e-3,
    lr_augmentor: float = 2e-3,
    mix: float = 0.5,
    temperature: float = 2.0,
    maximize: bool = True,
    watch: Callable[[int], None] | None = None,
    generator: torch.Generator | None = None,
) -> History:
    """Train the student, in place, for ``steps`` steps; and the augmentor in between, where it can be.

    teacher: frozen, that is ``teacher.requires_grad_(False)``; it stays in evaluation mode.
    loader: gives batches of images float[B, C, H, W], or tuples that begin with them; begun anew at its end.
    augmentor: called as ``augmentor(images, generator=g)``. A module with parameters is trained (see
    ``labkit.distill.learned_augmentors``); anything else is a fixed augmentation; None is plain distillation,
    without an augmented half.
    low, high: thresholds of the loss on augmented images, in nats times temperature squared. Once the
    student's is below ``low``, the augmentor takes its turn, until its loss is above ``high``.
    max_aug_steps: of one turn; 0 leaves the augmentor as it is.  lr_student, lr_augmentor: of Adam.
    mix: weight of the augmented half in the student's loss, in [0, 1].
    maximize: False lets the augmentor *lower* the disagreement, a control.
    watch: called with the number of each step of the student before it is taken, to look at the two.
    Raises ValueError where low is not below high, a number is out of range, images are not [B, C, H, W],
    the loader is empty, or the teacher has parameters that are trained; RuntimeError where the augmentor
    should have learnt, but the student's loss never fell below ``low``.

    >>> from labkit import models
    >>> teacher, student = (models.cnn(classes=2, in_channels=1, seed=s) for s in (0, 1))
    >>> history = hard_distill(
    ...     teacher.requires_grad_(False), student, batches(torch.rand(8, 1, 8, 8), 4),
    ...     AffineAugmentor(), steps=3, low=10.0, high=20.0, max_aug_steps=2,
    ... )
    >>> history.augmentor_steps, history.clean.shape
    (4, torch.Size([3]))
    """
    _check(teacher, steps, low, high, max_aug_steps, mix)
    parameters = [p for p in getattr(augmentor, "parameters", list)() if p.requires_grad]
    learns = bool(parameters) and max_aug_steps > 0
    stepper = torch.optim.Adam(student.parameters(), lr=lr_student, fused=True)
    raiser = torch.optim.Adam(parameters, lr=lr_augmentor, maximize=maximize, fused=True) if learns else None
    images = _endless(loader)
    clean, augmented, turns, aug_losses = [], [], [], []
    teacher.eval()
    student.train()

    def disagreement(batch):
        return kd_loss(student(batch), teacher(batch), temperature)

    easy = False
    for step in range(steps):
        before = len(aug_losses)
        if learns and easy:
            student.eval()  # no statistics, no dropout; the teacher's mode it is all along
            while len(aug_losses) < before + max_aug_steps:
                value = disagreement(augmentor(next(images), generator=generator))
                raiser.zero_grad()
                value.backward(inputs=parameters)  # through both networks, into neither
                raiser.step()
                aug_losses.append(value.detach())
                if value.item() > high:
                    break
            student.train()
        if watch is not None:
            watch(step)
        batch = next(images)
        with torch.no_grad():
            both = batch if augmentor is None else torch.cat([batch, augmentor(batch, generator=generator)])
            target = teacher(both)
        answer = student(both)
        count = len(batch)
        plain = hard = kd_loss(answer[:count], target[:count], temperature)
        if augmentor is not None:
            hard = kd_loss(answer[count:], target[count:], temperature)
        stepper.zero_grad()
        ((1 - mix) * plain + mix * hard).backward()
        stepper.step()
        easy = hard.item() < low
        clean.append(plain.detach())
        augmented.append(hard.detach())
        turns.append(len(aug_losses) - before)
    student.eval()
    if learns and not aug_losses and steps > 1:
        best = torch.stack(augmented).min().item()
        raise RuntimeError(
            f"the augmentor never learnt: the student's loss on augmented images never fell below low={low}; "
            f"its least was {best:.3g}. Raise low (and high), or train longer"
        )
    return History(
        torch.stack(clean),
        torch.stack(augmented),
        torch.tensor(turns),
        torch.stack(aug_losses) if aug_losses else torch.empty(0),
    )


def _endless(loader: Iterable) -> Iterator[Tensor]:
    """Images, batch after batch; the loader is begun anew when it ends."""
    while True:
        empty = True
        for batch in loader:
            empty = False
            images = batch[0] if isinstance(batch, (tuple, list)) else batch
            if images.ndim != 4 or not images.is_floating_point():
                raise ValueError(
                    f"loader must give images float[B, C, H, W], got {images.dtype}{list(images.shape)}"
                )
            yield images
        if empty:
            raise ValueError("loader must give at least one batch, and be one that can begin anew")


def _check(teacher: nn.Module, steps: int, low: float, high: float, max_aug_steps: int, mix: float) -> None:
    if not 0 <= low < high:
        raise ValueError(f"thresholds must satisfy 0 <= low < high, got {low} and {high}")
    if steps < 1 or max_aug_steps < 0:
        raise ValueError(
            f"steps must be 1 or more and max_aug_steps 0 or more, got {steps} and {max_aug_steps}"
        )
    if not 0 <= mix <= 1:
        raise ValueError(f"mix must lie in [0, 1], got {mix}")
    if any(p.requires_grad for p in teacher.parameters()):
        raise ValueError("teacher must be frozen: teacher.requires_grad_(False)")
