r"""Few-shot extraction of a recommender: what its lists give away to someone who holds a few real histories.

A black box answers a history of clicks with a ranked list of k items. A surrogate is trained to rank like it.
The histories that are asked are written click by click, from pieces of real ones: at each step the next
click comes from the list just received, with a learnt probability :math:`\rho_t`, or from the other items,
and is drawn, not the likeliest. The surrogate learns the order of the lists, and a loss repairs both
directions in which its own list S differs from the list V of the black box:

.. math::

    L = \sum_{i \in V \setminus S} [\tau_S - s_i + m]_+ + \sum_{j \in S \setminus V} [s_j - \tau_V + m]_+,

with :math:`s` the surrogate's scores, :math:`\tau_S` its k-th score and :math:`\tau_V` the mean score of the
items in both lists.

Zhang, Liu (2024). *Few-shot Model Extraction Attacks against Sequential Recommender Systems.*
arXiv:2411.11677; no code is published. The abstract names the parts; how :math:`\rho_t` is trained, the loop
and both losses are reconstructed here. The listwise loss and the attack without data are those of Yue, He,
Zeng, McAuley (2021), *Black-Box Attacks on Sequential Recommenders via Data-Free Model Extraction*,
arXiv:2109.01165; code: Yueeeeeeee/RecSys-Extraction-Attack. For audits of models that are your own.
"""

from collections.abc import Callable
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from labkit import training
from labkit.data import build
from labkit.distill.black_box_recommender import BlackBoxRecommender
from labkit.distill.click_histories import PAD
from labkit.distill.sequential_recommenders import Attention, attention

__all__ = ["Generated", "InteractionSampler", "SourceSignal", "bidirectional_repair_loss"]
__all__ += ["extraction_loss", "fit_generator", "generate_sequences", "listwise_margin_loss", "negatives"]
__all__ += ["pieces"]


class SourceSignal(nn.Module):
    """The determinant signal: one layer and a sigmoid on the sampler's state give rho in (0, 1).

    width: of the state. rho is the probability that the next click is one of the list.
    """

    def __init__(self, width: int):
        super().__init__()
        self.layer = nn.Linear(width, 1)
        nn.init.zeros_(self.layer.weight)  # an untrained signal is a fair coin
        nn.init.zeros_(self.layer.bias)

    def forward(self, hidden: Tensor) -> Tensor:
        """Logits of rho: float[...] from states float[..., width]."""
        return self.layer(hidden)[..., 0]


class InteractionSampler(nn.Module):
    """The probabilistic interaction sampler: self-attention over item, category and place, side by side.

    items: how many.  categories: int64[N], the items' metadata, or None.  length: the longest history.
    ``forward`` gives scores float[B, T, N] after each click, ``hidden`` the states, ``scores`` both's link.
    """

    def __init__(self, items: int, categories: Tensor | None = None, *, width=32, length=32, seed=0):
        super().__init__()
        if categories is None:
            categories = torch.zeros(items, dtype=torch.long)
        self.reader: Attention = attention(
            items, width=width, length=length, categories=categories, seed=seed
        )
        self.width = width

    def hidden(self, sequences: Tensor) -> Tensor:
        """The state after each click: float[B, T, width]."""
        return self.reader.hidden(sequences)

    def scores(self, hidden: Tensor) -> Tensor:
        """Scores of all items as the next click, float[..., N]."""
        return self.reader.scores(hidden)

    def forward(self, sequences: Tensor) -> Tensor:
        return self.reader(sequences)


class Generated(NamedTuple):
    """Written histories and what the black box said while they were written.

    sequences: int64[B, T].  lists: int64[B, T, k], after each click.  listed: bool[B, T], whether a click was
    drawn from the list before it; false for the seeds.
    """

    sequences: Tensor
    lists: Tensor
    listed: Tensor


def fit_generator(
    sampler: InteractionSampler,
    signal: SourceSignal,
    sequences: Tensor,
    lists: Tensor,
    *,
    steps: int = 100,
    batch_size: int = 32,
    lr: float = 0.01,
    weight_decay: float = 0.05,
    seed: int = 0,
) -> None:
    """Train sampler and signal on the few real histories, in place.

    The sampler learns each next click. The signal learns whether that click stood in the list which the
    black box had given before it.  sequences: int64[B, T].  lists: int64[B, T, k], of ``query_prefixes``.
    """
    following = sequences[:, 1:]
    known = following != PAD
    hits = (lists[:, :-1] == following[..., None]).any(dim=-1).float()
    targets = torch.where(known, hits, -1.0)
    both = nn.ModuleDict({"sampler": sampler, "signal": signal})

    def loss(model, rows, targets, **_):
        known = targets >= 0
        hidden = model["sampler"].hidden(rows[:, :-1])[known]
        clicks = F.cross_entropy(model["sampler"].scores(hidden), rows[:, 1:][known])
        return clicks + F.binary_cross_entropy_with_logits(model["signal"](hidden), targets[known])

    training.fit(
        both, sequences, targets, steps=steps, batch_size=batch_size, lr=lr, weight_decay=weight_decay,
        loss=loss, seed=seed,
    )  # fmt: skip


def pieces(sequences: Tensor, count: int, length: int, *, generator: torch.Generator | None = None) -> Tensor:
    """Random pieces of real histories, to begin from: int64[count, length] from int64[B, T].

    Each is drawn with the same chance, whatever history it is in. Raises ValueError where no history has
    ``length`` clicks.

    >>> pieces(torch.tensor([[5, 6, -1], [7, -1, -1]]), 2, 2)
    tensor([[5, 6],
            [5, 6]])
    """
    build.check_count("count", count)
    build.check_count("length", length)
    windows = sequences.unfold(1, length, 1) if length <= sequences.shape[1] else sequences[:, :0, None]
    whole = windows[(windows != PAD).all(dim=-1)]
    if not len(whole):
        raise ValueError(f"length must be that of a piece of some history, got {length}")
    return whole[torch.randint(len(whole), (count,), generator=generator)]


@torch.no_grad()
def generate_sequences(
    recommender: BlackBoxRecommender,
    sampler: InteractionSampler | None,
    signal: SourceSignal | float,
    seeds: Tensor,
    *,
    length: int,
    items: int,
    popularity: Tensor | None = None,
    generator: torch.Generator | None = None,
) -> Generated:
    """Write histories click by click, each from the list of the black box or from the other items.

    seeds: int64[B, S], the first clicks.  length: clicks of a history, more than S.  items: how many there
    are.  signal: gives rho from the sampler's state; or a number in [0, 1], the same at every step.
    sampler: its scores weigh the items of the list; None: all of them alike.  popularity: float[N], the
    weights of the items outside the list; None: the sampler's probabilities, or all alike without one.
    Every click costs one query, so B x length in all.
    With ``sampler=None, signal=1.0`` and single random items as seeds this is the attack without data of Yue
    and others; with ``signal=0.0``, random histories.
    Raises ValueError for other shapes and numbers, BudgetExceeded.
    """
    if seeds.ndim != 2 or not 0 < seeds.shape[1] < length or (seeds < 0).any():
        raise ValueError(f"seeds must be items [B, S] with 0 < S < {length}, got {tuple(seeds.shape)}")
    learnt = isinstance(signal, SourceSignal)
    if learnt and sampler is None:
        raise ValueError("signal reads the sampler's state: give a sampler, or a number as signal")
    if not learnt:
        build.real("signal", signal, 0, 1)
    if popularity is not None and (popularity.shape != (items,) or not (popularity > 0).all()):
        raise ValueError(f"popularity must be {items} numbers above 0, got {tuple(popularity.shape)}")
    rows, start = seeds.shape
    sequences = F.pad(seeds, (0, length - start), value=PAD)
    listed = torch.zeros_like(sequences, dtype=torch.bool)
    lists = [recommender.query_prefixes(seeds)]
    even = torch.zeros(rows, items, device=seeds.device)
    for step in range(start, length):
        now = lists[-1][:, -1]
        hidden = sampler.hidden(sequences[:, :step])[:, -1] if sampler is not None else None
        scores = even if sampler is None else sampler.scores(hidden)
        rho = signal(hidden).sigmoid() if learnt else torch.full((rows,), float(signal), device=seeds.device)
        inside = torch.rand(rows, generator=generator, device=seeds.device) < rho
        outside = scores if popularity is None else popularity.log().expand(rows, items)
        # One weight for each item; those of the other source get none.
        member = torch.zeros(rows, items, dtype=torch.bool, device=seeds.device).scatter(1, now, True)
        logits = torch.where(inside[:, None], scores, outside).masked_fill(
            member != inside[:, None], -torch.inf
        )
        sequences[:, step] = torch.multinomial(logits.softmax(dim=-1), 1, generator=generator)[:, 0]
        listed[:, step] = inside
        lists.append(recommender.query(sequences[:, : step + 1])[:, None])
    return Generated(sequences, torch.cat(lists, dim=1), listed)


def negatives(lists: Tensor, items: int, *, generator: torch.Generator | None = None) -> Tensor:
    """As many items as each list has, none of them in it, all alike: int64[..., k] from int64[..., k].

    Raises ValueError where a list holds all items.

    >>> negatives(torch.tensor([[1, 0]]), 3)
    tensor([[2, 2]])
    """
    size = lists.shape[-1]
    if size >= items:
        raise ValueError(f"items must be more than a list has, got {items} and {size}")
    ordered = lists.sort(dim=-1).values
    # The r-th item outside the list is r plus the listed ones that come before it.
    draws = torch.randint(items - size, lists.shape, generator=generator, device=lists.device)
    gaps = ordered - torch.arange(size, device=lists.device)
    return draws + torch.searchsorted(gaps, draws, right=True)


def listwise_margin_loss(
    scores: Tensor, lists: Tensor, others: Tensor, *, margin_order: float = 0.5, margin_others: float = 0.5
) -> Tensor:
    """Each item of a list above the next one by a margin, and above an item outside it; a mean each.

    scores: float[M, N].  lists: int64[M, k], best first.  others: int64[M, k], items outside the lists.
    The margins are those of Yue and others' code.

    >>> listwise_margin_loss(torch.tensor([[3.0, 2.0, 0.0]]), torch.tensor([[1, 0]]), torch.tensor([[2, 2]]))
    tensor(1.5000)
    """
    ranked = scores.gather(-1, lists)
    order = (ranked[..., 1:] - ranked[..., :-1] + margin_order).clamp(min=0)
    apart = (scores.gather(-1, others) - ranked + margin_others).clamp(min=0)
    return (order.mean() if lists.shape[-1] > 1 else 0.0) + apart.mean()


def bidirectional_repair_loss(scores: Tensor, lists: Tensor, *, margin: float = 0.5) -> Tensor:
    """Lift what the black box lists and the surrogate misses, lower what only the surrogate lists.

    scores: float[M, N], the surrogate's; its own lists are taken from them anew, with as many items.
    lists: int64[M, k], of the black box.  A sum over the items of each row, the mean over rows. Only those
    items get a gradient: the two thresholds are constants.

    >>> bidirectional_repair_loss(torch.tensor([[3.0, 2.0, 0.0]]), torch.tensor([[0, 2]]))
    tensor(2.5000)
    """
    own = scores.detach().topk(lists.shape[-1], dim=-1)
    same = lists[..., :, None] == own.indices[..., None, :]
    missed, extra = ~same.any(dim=-1), ~same.any(dim=-2)
    theirs, ours = scores.gather(-1, lists), scores.gather(-1, own.indices)
    shared = ~missed | missed.all(dim=-1, keepdim=True)  # where nothing is shared, all of theirs
    bar = own.values[..., -1:]
    level = (theirs.detach() * shared).sum(dim=-1, keepdim=True) / shared.sum(dim=-1, keepdim=True)
    lift = ((bar - theirs + margin).clamp(min=0) * missed).sum(dim=-1)
    lower = ((ours - level + margin).clamp(min=0) * extra).sum(dim=-1)
    return (lift + lower).mean()


def extraction_loss(gamma: float = 0.03, *, margin: float = 0.5, **margins) -> Callable[..., Tensor]:
    """The surrogate's loss, for :func:`labkit.training.fit` on histories and the lists after each click.

    gamma: weight of the repair; 0 leaves it out.  margin: of the repair.  margins: of the listwise loss.
    Called with int64[B, T] as images and int64[B, T, k] as labels. Raises ValueError for a negative gamma.

    >>> from labkit import training
    >>> rows = torch.tensor([[1, 2, -1]])
    >>> box = BlackBoxRecommender(attention(9), k=2)
    >>> loss = extraction_loss(0.1)
    >>> training.fit(attention(9, seed=1), rows, box.query_prefixes(rows), steps=2, loss=loss).losses.shape
    torch.Size([2])
    """
    build.real("gamma", gamma, 0, float("inf"))

    def loss(model, sequences, lists, *, progress=0.0, generator=None):
        known = lists[..., 0] != PAD
        scores, wanted = model(sequences)[known], lists[known]
        others = negatives(wanted, scores.shape[-1], generator=generator)
        value = listwise_margin_loss(scores, wanted, others, **margins)
        return value + gamma * bidirectional_repair_loss(scores, wanted, margin=margin) if gamma else value

    return loss
