r"""The student of Distilled Decoding: from a noise sequence to the whole sequence in one pass.

Along the teacher's path stand the states :math:`X^t = (x_1..x_t, \epsilon_{t+1}..\epsilon_L)`: the first t
positions are data, the others still noise. From :math:`X^t`, for t in a small set of starts, the student
predicts all of :math:`X^L`, by two heads: logits over the codebook and a vector,

.. math:: \mathcal L = \sum_{l > t} -\log q(x_l \mid X^t) + \lambda\,\lVert \hat x_l - x_l \rVert^2 .

One step predicts everything from noise. Two steps keep the first positions of that, put the noise back
into the others, and predict those again. Parts and order as in the authors' sampling code; the regression
loss and its weight are ours, since their training code was not released.
"""

import copy
from collections.abc import Sequence
from functools import partial
from itertools import pairwise
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from labkit import training
from labkit.seeding import seeded

__all__ = [
    "Sample",
    "Student",
    "dense_student",
    "distill",
    "distill_loss",
    "intermediate",
    "sample",
    "student_from_teacher",
]


class Sample(NamedTuple):
    """tokens int64[B, L], vectors float[B, L, D] as a decoder takes them, and the number of passes."""

    tokens: Tensor
    vectors: Tensor
    passes: int


class Student(nn.Module):
    """Reads class, noise and data; tells for every position which code comes out.

    trunk: a module from float[B, 1 + L, W] (the class first) to the same shape.  codebook: float[V, D].
    length: L.  classes: how many; 1 where there are none.  width: W.
    """

    def __init__(self, trunk: nn.Module, codebook: Tensor, *, length: int, classes: int, width: int):
        super().__init__()
        codes, dim = codebook.shape
        self.trunk, self.length = trunk, length
        self.register_buffer("codebook", codebook.clone())
        self.token = nn.Linear(dim, width)
        self.label = nn.Embedding(classes, width)
        self.is_data = nn.Embedding(2, width)
        self.logits = nn.Linear(width, codes)
        self.vector = nn.Linear(width, dim)
        nn.init.normal_(self.is_data.weight, std=0.02)  # a mark; it must not drown what it marks

    def forward(self, x: Tensor, labels: Tensor, start: Tensor) -> tuple[Tensor, Tensor]:
        """x float[B, L, D], labels int64[B], start int64[B] -> logits float[B, L, V], vectors [B, L, D].

        start: how many positions of each row are data already.  Raises ValueError for another shape.
        """
        if x.ndim != 3 or x.shape[1:] != (self.length, self.codebook.shape[1]):
            wanted = f"[B, {self.length}, {self.codebook.shape[1]}]"
            raise ValueError(f"x must be {wanted}, got {tuple(x.shape)}")
        place = torch.arange(self.length + 1, device=x.device)
        known = (place <= start[:, None]).long()  # the class, at place 0, is always known
        read = torch.cat([self.label(labels)[:, None], self.token(x)], dim=1) + self.is_data(known)
        hidden = self.trunk(read)[:, 1:]
        return self.logits(hidden), self.vector(hidden)


class _Dense(nn.Module):
    """A trunk that reads all positions at once: one hidden vector, residual layers, back to positions."""

    def __init__(self, places: int, width: int, hidden: int, layers: int):
        super().__init__()
        self.read = nn.Linear(places * width, hidden)
        self.layers = nn.ModuleList(
            nn.Sequential(nn.LayerNorm(hidden), nn.Linear(hidden, hidden), nn.GELU()) for _ in range(layers)
        )
        self.write = nn.Linear(hidden, places * width)

    def forward(self, x: Tensor) -> Tensor:
        hidden = F.gelu(self.read(x.flatten(1)))
        for layer in self.layers:
            hidden = hidden + layer(hidden)
        return self.write(hidden).view_as(x)


class _Layers(nn.Module):
    """A trunk that is the body of a causal ``transformers`` model, fed with vectors instead of tokens."""

    def __init__(self, body: nn.Module):
        super().__init__()
        self.body = body

    def forward(self, x: Tensor) -> Tensor:
        return self.body(inputs_embeds=x, use_cache=False).last_hidden_state


def dense_student(
    codebook: Tensor,
    *,
    length: int,
    classes: int = 1,
    width: int = 16,
    hidden: int = 256,
    layers: int = 2,
    seed: int = 0,
) -> Student:
    """A :class:`Student` for short sequences, whose trunk is a dense network: quick to train on a CPU.

    codebook: float[V, D].  length: L.  classes: 1 where there are none.  width: of a position's vector.
    hidden, layers: of the residual trunk.  seed: of the weights.
    Raises ValueError for sizes below 1.

    >>> student = dense_student(torch.randn(16, 2), length=6)
    >>> logits, _ = student(torch.randn(3, 6, 2), torch.zeros(3, dtype=torch.long), torch.zeros(3))
    >>> logits.shape
    torch.Size([3, 6, 16])
    """
    for name, value in {"length": length, "classes": classes, "width": width, "hidden": hidden}.items():
        if value < 1:
            raise ValueError(f"{name} must be at least 1, got {value}")
    with seeded(seed):
        trunk = _Dense(length + 1, width, hidden, layers)
        return Student(trunk, codebook, length=length, classes=classes, width=width)


def student_from_teacher(
    model: nn.Module, codebook: Tensor, *, length: int, classes: int = 1, seed: int = 0
) -> Student:
    """A :class:`Student` that starts as its teacher, the paper's choice for large models.

    Layers, class embeddings and the head over the codes are copied from the teacher; the layers that read
    vectors and mark data, and the head for vectors, are new.
    model: as :class:`CachedTeacher <labkit.distill.distilled_decoding.CachedTeacher>`, with positions for
    L + 1 tokens.  codebook, length, classes, seed: as :func:`dense_student`.
    Raises ValueError where the model's vocabulary has no room for the codes and classes.

    >>> from labkit import language
    >>> teacher = language.causal(16 + 1, width=16, layers=1, heads=2)
    >>> student = student_from_teacher(teacher, torch.randn(16, 2), length=6)
    >>> torch.equal(student.logits.weight, teacher.get_output_embeddings().weight[:16])
    True
    """
    words, codes = model.get_input_embeddings().weight, len(codebook)
    if len(words) < codes + classes:
        raise ValueError(
            f"the model must have {codes + classes} tokens, one per code and class, got {len(words)}"
        )
    with seeded(seed):
        trunk = _Layers(copy.deepcopy(model.base_model))
        student = Student(trunk, codebook, length=length, classes=classes, width=words.shape[1])
    with torch.no_grad():
        student.label.weight.copy_(words[codes : codes + classes])
        student.logits.weight.copy_(model.get_output_embeddings().weight[:codes])
        student.logits.bias.zero_()
    return student.to(words.device)


def intermediate(x: Tensor, noise: Tensor, start: Tensor) -> Tensor:
    """The state X^t: the first ``start`` positions of x, the noise in all others.

    x, noise: float[B, L, D].  start: int64[B].

    >>> intermediate(torch.ones(1, 3, 1), torch.zeros(1, 3, 1), torch.tensor([2])).flatten()
    tensor([1., 1., 0.])
    """
    known = torch.arange(x.shape[1], device=x.device) < start[:, None]
    return torch.where(known[..., None], x, noise)


def distill_loss(
    student: Student,
    noise: Tensor,
    targets: Tensor,
    *,
    starts: Sequence[int] = (0,),
    weight: float = 1.0,
    generator: torch.Generator | None = None,
    **_,
) -> Tensor:
    """Cross-entropy of the codes plus ``weight`` times the squared error of the vectors, where noise stands.

    noise: float[B, L, D].  targets: int64[B, L + 1], the tokens and, last, the class.  starts: from which
    each row draws its t.  Both parts are means over the positions that are still noise.
    """
    tokens, labels = targets[:, :-1], targets[:, -1]
    choice = torch.randint(len(starts), (len(noise),), generator=generator, device=noise.device)
    start = torch.tensor(starts, device=noise.device)[choice]
    vectors = student.codebook[tokens]
    logits, told = student(intermediate(vectors, noise, start), labels, start)
    open_ = torch.arange(noise.shape[1], device=noise.device) >= start[:, None]
    loss = F.cross_entropy(logits[open_], tokens[open_])
    return loss + weight * (told - vectors)[open_].square().mean() if weight else loss


def distill(
    student: Student,
    pairs,
    *,
    starts: Sequence[int] = (0,),
    steps: int,
    batch_size: int = 256,
    lr: float = 3e-3,
    weight: float = 1.0,
    seed: int = 0,
    **settings,
) -> training.Fit:
    """Train the student, in place, to tell the whole sequence from noise or from a partly decoded state.

    pairs: :class:`Pairs <labkit.distill.distilled_decoding.Pairs>`.  starts: the numbers of decoded
    positions it will be asked from, 0 first.  weight: of the vectors in the loss.  steps, batch_size, lr,
    seed and ``settings``: as :func:`labkit.training.fit`.
    Raises ValueError as that, and where starts does not rise from 0 to below L.

    >>> from labkit.distill.distilled_decoding import Pairs
    >>> noise, tokens = torch.randn(9, 4, 2), torch.zeros(9, 4, dtype=torch.long)
    >>> pairs = Pairs(noise, tokens, torch.zeros(9, dtype=torch.long))
    >>> distill(dense_student(torch.randn(3, 2), length=4), pairs, starts=(0, 2), steps=5).losses.shape
    torch.Size([5])
    """
    check_starts(starts, student.length)
    targets = torch.cat([pairs.tokens, pairs.labels[:, None]], dim=1)
    settings.setdefault("weight_decay", 0.0)
    return training.fit(
        student,
        pairs.noise,
        targets,
        steps=steps,
        batch_size=batch_size,
        lr=lr,
        loss=partial(distill_loss, starts=tuple(starts), weight=weight),
        seed=seed,
        **settings,
    )


@torch.no_grad()
def sample(
    student: Student,
    noise: Tensor,
    labels: Tensor | None = None,
    *,
    starts: Sequence[int] = (0,),
    split: int | None = None,
    generator: torch.Generator | None = None,
) -> Sample:
    """Decode noise in as many passes as there are starts.

    noise: float[B, L, D], standard normal.  labels: int64[B]; class 0 where None.
    starts: (0,) is one step; (0, 8) then keeps the first 8 positions, puts the noise back into the others,
    and predicts those again.  split: positions from here on are given by the head for vectors, as in
    the authors' code; None leaves all to the codes.  generator: draws codes from the logits instead of
    taking the likeliest, for a student that has not learnt a function of the noise.
    Raises ValueError where starts does not rise from 0 to below L.

    >>> made = sample(dense_student(torch.randn(3, 2), length=4), torch.randn(5, 4, 2), starts=(0, 2))
    >>> made.tokens.shape, made.passes
    (torch.Size([5, 4]), 2)
    """
    check_starts(starts, student.length)
    split = student.length if split is None else split
    labels = torch.zeros(len(noise), dtype=torch.long, device=noise.device) if labels is None else labels
    x, tokens = noise, torch.zeros(noise.shape[:2], dtype=torch.long, device=noise.device)
    open_ = torch.arange(student.length, device=noise.device)
    student.eval()
    for t in starts:
        start = torch.full((len(noise),), t, device=noise.device)
        logits, told = student(intermediate(x, noise, start), labels, start)
        if generator is None:
            drawn = logits.argmax(dim=-1)
        else:
            flat = torch.multinomial(logits.softmax(dim=-1).flatten(0, 1), 1, generator=generator)
            drawn = flat.view_as(tokens)
        tokens = torch.where(open_ >= t, drawn, tokens)
        vectors = torch.where((open_ >= split)[:, None], told, student.codebook[tokens])
        x = torch.where((open_ >= t)[:, None], vectors, x)
    return Sample(tokens, x, len(starts))


def check_starts(starts: Sequence[int], length: int) -> None:
    """Refuse starts that do not rise from 0 to below the length."""
    given = list(starts)
    if not given or given[0] != 0 or any(a >= b for a, b in pairwise(given)):
        raise ValueError(f"starts must rise and begin with 0, got {given}")
    if given[-1] >= length:
        raise ValueError(f"starts must lie below the length of {length}, got {given}")
