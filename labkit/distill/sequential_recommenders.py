"""Sequential recommenders, small: two architectures, their training and their quality.

A recommender reads a history of items and scores every item as the next one. Histories are int64[B, T] with
items from 0 up, filled up at the *end* with -1 (``labkit.distill.click_histories``). A model returns
float[B, T, N]: the scores after each click, given that click and those before it, so that one pass answers
for every prefix of a history.

Hidasi, Karatzoglou, Baltrunas, Tikk (2016). *Session-based Recommendations with Recurrent Neural Networks.*
arXiv:1511.06939. Kang, McAuley (2018). *Self-Attentive Sequential Recommendation.* arXiv:1808.09781. Both
are trained here with the cross-entropy over all items, and share one embedding between input and output.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from labkit import training
from labkit.data import build
from labkit.distill.click_histories import PAD
from labkit.seeding import seeded

__all__ = ["Attention", "Recurrent", "attention", "fit", "next_item_loss", "ranking_quality", "recurrent"]


class Recurrent(nn.Module):
    """A gated recurrent unit over item embeddings (GRU4Rec); see :func:`recurrent`."""

    def __init__(self, items: int, width: int):
        super().__init__()
        self.embedding = nn.Embedding(items, width)
        self.reader = nn.GRU(width, width, batch_first=True)
        self.out = nn.Linear(width, width)
        self.bias = nn.Parameter(torch.zeros(items))
        nn.init.normal_(self.embedding.weight, std=width**-0.5)

    def hidden(self, sequences: Tensor) -> Tensor:
        """The state after each click: float[B, T, width] from int64[B, T]."""
        return self.out(self.reader(self.embedding(sequences.clamp(min=0)))[0])

    def forward(self, sequences: Tensor) -> Tensor:
        """Scores of all items after each click: float[B, T, N] from int64[B, T]."""
        return F.linear(self.hidden(sequences), self.embedding.weight, self.bias)


class Attention(nn.Module):
    """Causal self-attention over item embeddings (SASRec); see :func:`attention`.

    ``categories``: int64[N] or None. With them an item is the embedding of its id, of its category and of its
    place in the history, side by side, brought to the model's width by one linear layer. Without them the
    embedding of the place is added, as in SASRec.
    """

    def __init__(self, items: int, width: int, layers: int, heads: int, length: int, categories=None):
        super().__init__()
        self.heads, self.length = heads, length
        self.embedding = nn.Embedding(items, width)
        self.position = nn.Embedding(length, width)
        self.blocks = nn.ModuleList(_Block(width, heads) for _ in range(layers))
        self.norm = nn.LayerNorm(width)
        self.bias = nn.Parameter(torch.zeros(items))
        if categories is not None:
            self.register_buffer("categories", categories.clone())
            self.category = nn.Embedding(int(categories.max()) + 1, width)
            self.join = nn.Linear(3 * width, width)
            self.show = nn.Linear(2 * width, width, bias=False)
        for each in self.modules():
            if isinstance(each, nn.Embedding):
                nn.init.normal_(each.weight, std=width**-0.5)

    def hidden(self, sequences: Tensor) -> Tensor:
        """The state after each click: float[B, T, width]. ValueError for histories that are too long."""
        if sequences.shape[1] > self.length:
            raise ValueError(f"histories must have at most {self.length} clicks, got {sequences.shape[1]}")
        items = sequences.clamp(min=0)
        place = self.position.weight[: sequences.shape[1]]
        state = self.embedding(items)
        if hasattr(self, "join"):
            parts = [state, self.category(self.categories[items]), place.expand_as(state)]
            state = self.join(torch.cat(parts, dim=-1))
        else:
            state = state + place
        for block in self.blocks:
            state = block(state)
        return self.norm(state)

    def scores(self, hidden: Tensor) -> Tensor:
        """Scores of all items, float[..., N], from states float[..., width]."""
        items = self.embedding.weight
        if hasattr(self, "show"):  # items of a category share what is known of it
            items = self.show(torch.cat([items, self.category(self.categories)], dim=-1))
        return F.linear(hidden, items, self.bias)

    def forward(self, sequences: Tensor) -> Tensor:
        """Scores of all items after each click: float[B, T, N] from int64[B, T]."""
        return self.scores(self.hidden(sequences))


class _Block(nn.Module):
    """Attention to the clicks before, then a small network, each added to its input."""

    def __init__(self, width: int, heads: int):
        super().__init__()
        self.heads = heads
        self.first, self.second = nn.LayerNorm(width), nn.LayerNorm(width)
        self.project, self.join = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.feed = nn.Sequential(nn.Linear(width, 2 * width), nn.GELU(), nn.Linear(2 * width, width))

    def forward(self, state: Tensor) -> Tensor:
        rows, length, width = state.shape
        parts = self.project(self.first(state)).view(rows, length, 3, self.heads, width // self.heads)
        query, key, value = parts.permute(2, 0, 3, 1, 4)
        seen = F.scaled_dot_product_attention(query, key, value, is_causal=True)
        state = state + self.join(seen.transpose(1, 2).reshape(rows, length, width))
        return state + self.feed(self.second(state))


def recurrent(items: int, *, width: int = 32, seed: int = 0) -> Recurrent:
    """A recommender that reads with a gated recurrent unit.

    items: how many there are.  width: of embeddings and state.  seed: of the initialization.

    >>> recurrent(50)(torch.tensor([[3, 7, -1]])).shape
    torch.Size([1, 3, 50])
    """
    build.check_count("items", items, low=2)
    build.check_count("width", width)
    with seeded(seed):
        return Recurrent(items, width)


def attention(
    items: int,
    *,
    width: int = 32,
    layers: int = 1,
    heads: int = 2,
    length: int = 32,
    categories: Tensor | None = None,
    seed: int = 0,
) -> Attention:
    """A recommender that reads with causal self-attention.

    length: the longest history.  categories: int64[N], one for each item, or None.  The others as in
    :func:`recurrent`. Raises ValueError where the width is no multiple of the heads, or the categories are
    not one for each item.

    >>> attention(50, length=3)(torch.tensor([[3, 7, -1]])).shape
    torch.Size([1, 3, 50])
    """
    build.check_count("items", items, low=2)
    build.check_count("width", width)
    if width % heads:
        raise ValueError(f"width must be a multiple of heads, got {width} and {heads}")
    if categories is not None and (len(categories) != items or categories.min() < 0):
        raise ValueError(f"categories must be {items} numbers from 0 up, got {len(categories)}")
    with seeded(seed):
        return Attention(items, width, layers, heads, length, categories)


def next_item_loss(model, sequences: Tensor, labels: Tensor, *, progress=0.0, generator=None) -> Tensor:
    """Mean cross-entropy of each next click, in nats; a loss for :func:`labkit.training.fit`.

    labels: what ``fit`` hands on and nobody reads: the next click is in the history itself.
    """
    following = sequences[:, 1:]
    known = following != PAD
    return F.cross_entropy(model(sequences[:, :-1])[known], following[known])


def fit(model: nn.Module, sequences: Tensor, *, steps: int, lr: float = 0.01, seed: int = 0, **settings):
    """Train a recommender on histories int64[B, T] to predict every next click; returns the model.

    settings: those of :func:`labkit.training.fit`.
    """
    return training.fit(
        model, sequences, sequences, steps=steps, lr=lr, loss=next_item_loss, seed=seed, **settings
    ).model


@torch.no_grad()
def ranking_quality(model: nn.Module, sequences: Tensor, *, k: int = 10) -> tuple[float, float]:
    """Hit rate and NDCG at k of the next clicks, in [0, 1]; one item is right: NDCG is 1 / log2(rank + 1).

    >>> ranking_quality(lambda rows: torch.tensor([[[0.0, 2.0, 1.0]]]), torch.tensor([[0, 2]]), k=2)
    (1.0, 0.6309297680854797)
    """
    following = sequences[:, 1:]
    known = following != PAD
    scores, right = model(sequences[:, :-1])[known], following[known]
    rank = (scores > scores.gather(1, right[:, None])).sum(dim=1) + 1
    gain = (rank <= k) / torch.log2(rank + 1.0)
    return (rank <= k).float().mean().item(), gain.mean().item()
