"""Images as short sequences of codes, a small teacher for them, and how far two sets of samples differ.

A stand-in for the vector-quantized autoencoders of the paper's teachers: the code of a patch is its
nearest mean among those that k-means finds. Used by :mod:`labkit.distill.distilled_decoding`.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from labkit import training
from labkit.seeding import seeded

__all__ = [
    "PatchCodes",
    "bigrams",
    "code_teacher",
    "fit_teacher",
    "frechet_distance",
    "independent_sample",
    "total_variation",
]


class PatchCodes:
    """Images as codes of their patches, from left to right and top to bottom.

    images: float[N, C, S, S] to find the means in.  patch: side of a patch in pixels; it divides S.
    codes: V, the number of means.  dim: D, coordinates that a codebook vector keeps (the principal ones);
    all C times patch squared where None.  seed: of k-means.
    codebook: float[V, D], centred and scaled to unit variance, where noise and codes meet. length: L.
    Raises ValueError where the patch does not divide the side, or there are fewer patches than codes.

    >>> coder = PatchCodes(torch.rand(20, 1, 8, 8), patch=2, codes=5)
    >>> tokens = coder.encode(torch.rand(3, 1, 8, 8))
    >>> tokens.shape, coder.decode(tokens).shape
    (torch.Size([3, 16]), torch.Size([3, 1, 8, 8]))
    """

    def __init__(self, images: Tensor, *, patch: int, codes: int, dim: int | None = None, seed: int = 0):
        from sklearn.cluster import KMeans

        self.patch, self.side = patch, images.shape[-1]
        if patch < 1 or images.ndim != 4 or images.shape[-1] != images.shape[-2] or self.side % patch:
            raise ValueError(
                f"images must be [N, C, S, S] with S a multiple of patch, got {tuple(images.shape)}, {patch}"
            )
        pieces = self._cut(images).flatten(0, 1)
        if len(torch.unique(pieces, dim=0)) < codes:
            raise ValueError(f"codes must not exceed the number of different patches, got {codes}")
        self.length = (self.side // patch) ** 2
        means = KMeans(codes, n_init=1, random_state=seed).fit(pieces.double().numpy()).cluster_centers_
        self.means = torch.from_numpy(means).to(images.dtype)
        centred = self.means - self.means.mean(dim=0)
        _, _, axes = torch.linalg.svd(centred, full_matrices=False)
        self.axes = torch.eye(len(centred[0])) if dim is None else axes[:dim]
        self.scale = (centred @ self.axes.T).std()
        self.codebook = centred @ self.axes.T / self.scale

    def _cut(self, images: Tensor) -> Tensor:
        return F.unfold(images, self.patch, stride=self.patch).transpose(1, 2)

    def _paste(self, patches: Tensor) -> Tensor:
        return F.fold(patches.transpose(1, 2), self.side, self.patch, stride=self.patch)

    def encode(self, images: Tensor) -> Tensor:
        """float[B, C, S, S] -> int64[B, L], the nearest mean of each patch."""
        parts = images.split(256)  # all distances at once would not fit for a large data set
        return torch.cat([torch.cdist(self._cut(part), self.means[None]).argmin(dim=-1) for part in parts])

    def decode(self, tokens: Tensor) -> Tensor:
        """int64[B, L] -> float[B, C, S, S]."""
        return self._paste(self.means[tokens])

    def decode_vectors(self, vectors: Tensor) -> Tensor:
        """float[B, L, D], points of the codebook's space -> float[B, C, S, S], in [0, 1]."""
        return self._paste(vectors * self.scale @ self.axes + self.means.mean(dim=0)).clamp(0, 1)


def code_teacher(
    codes: int,
    length: int,
    *,
    classes: int = 1,
    width: int = 48,
    layers: int = 1,
    heads: int = 4,
    seed: int = 0,
):
    """A small GPT-2 for codes: tokens 0 to V - 1 are codes, V + k begins a sequence of class k.

    Learnt positions, as the place in an image says much about a patch.  width, layers, heads: its sizes.
    Raises ValueError for codes, length or classes below 1.

    >>> code_teacher(16, 6)(torch.tensor([[16, 3, 5]])).logits.shape
    torch.Size([1, 3, 17])
    """
    from transformers import GPT2Config, GPT2LMHeadModel

    if min(codes, length, classes) < 1:
        raise ValueError(f"codes, length and classes must be at least 1, got {codes}, {length}, {classes}")
    config = GPT2Config(
        vocab_size=codes + classes,
        n_positions=length + 1,
        n_embd=width,
        n_layer=layers,
        n_head=heads,
        initializer_range=0.1 if width < 128 else 0.02,  # the usual one is for widths of hundreds
        resid_pdrop=0.0,
        embd_pdrop=0.0,
        attn_pdrop=0.0,
        bos_token_id=None,
        eos_token_id=None,
    )
    with seeded(seed):
        return GPT2LMHeadModel(config).eval()


def fit_teacher(model: nn.Module, tokens: Tensor, labels: Tensor, codes: int, **settings) -> training.Fit:
    """Train a teacher, in place, to predict each code from the class and the codes before it.

    tokens: int64[N, L].  labels: int64[N].  codes: V.  settings: as :func:`labkit.training.fit`.

    >>> tokens, labels = torch.zeros(8, 6, dtype=torch.long), torch.zeros(8, dtype=torch.long)
    >>> fit_teacher(code_teacher(16, 6), tokens, labels, 16, steps=3).losses.shape
    torch.Size([3])
    """

    def loss(model, rows, targets, **_):
        logits = model(input_ids=rows, use_cache=False).logits[..., :codes]
        return F.cross_entropy(logits.flatten(0, 1), targets.flatten())

    rows = torch.cat([labels[:, None] + codes, tokens[:, :-1]], dim=1)
    return training.fit(model, rows, tokens, loss=loss, **settings)


def independent_sample(
    tokens: Tensor, count: int, *, labels: Tensor | None = None, wanted: Tensor | None = None, generator=None
) -> Tensor:
    """One step without the map: each position drawn by itself, as it is distributed in ``tokens``.

    This is the best that a network can do that predicts all positions at once and draws them independently.
    tokens: int64[N, L].  count: sequences to draw.  labels int64[N] and wanted int64[count]: with both, each
    position is drawn among the sequences of the wanted class.  Returns int64[count, L].
    Raises ValueError where only one of the two is given, or no sequence has a wanted class.

    >>> independent_sample(torch.tensor([[0, 1], [0, 1]]), 3)
    tensor([[0, 1],
            [0, 1],
            [0, 1]])
    """
    if (labels is None) != (wanted is None):
        raise ValueError("labels and wanted must be given together")
    if labels is None:
        labels, wanted = torch.zeros(len(tokens)), torch.zeros(count)
    found = torch.empty(count, tokens.shape[1], dtype=torch.long)
    for kind in torch.unique(wanted):
        rows, places = (labels == kind).nonzero().flatten(), (wanted == kind).nonzero().flatten()
        if len(rows) == 0:
            raise ValueError(f"wanted must be classes that tokens has, got {kind.item():g}")
        shape = (len(places), tokens.shape[1])
        drawn = rows[torch.randint(len(rows), shape, generator=generator)]
        found[places] = tokens.gather(0, drawn)
    return found


def bigrams(tokens: Tensor, codes: int) -> Tensor:
    """How often each pair of neighbours comes: float64[V, V], sums to 1.  tokens: int64[N, L].

    >>> bigrams(torch.tensor([[0, 1, 1]]), 2)
    tensor([[0.0000, 0.5000],
            [0.0000, 0.5000]], dtype=torch.float64)
    """
    pairs = (tokens[:, :-1] * codes + tokens[:, 1:]).flatten()
    return torch.bincount(pairs, minlength=codes**2).double().view(codes, codes) / len(pairs)


def total_variation(p: Tensor, q: Tensor) -> float:
    """Half the summed distance of two distributions, in [0, 1].  Raises ValueError where shapes differ.

    >>> total_variation(torch.tensor([1.0, 0.0]), torch.tensor([0.5, 0.5]))
    0.5
    """
    if p.shape != q.shape:
        raise ValueError(f"p and q must have one shape, got {tuple(p.shape)} and {tuple(q.shape)}")
    return 0.5 * (p - q).abs().sum().item()


def frechet_distance(features: Tensor, reference: Tensor) -> float:
    r"""The distance of two clouds as if both were Gaussian: that of the FID, on features of your choice.

    .. math:: \lVert \mu - \mu' \rVert^2 + \mathrm{tr}\big(S + S' - 2 (S^{1/2} S' S^{1/2})^{1/2}\big)

    features: float[N, K].  reference: float[M, K].  Computed in float64. It grows as N or M fall: compare at
    equal numbers.  Heusel et al. (2017), arXiv:1706.08500.
    Raises ValueError where K differs or a set has fewer than two rows.

    >>> points = torch.tensor([[0.0], [1.0], [2.0]])
    >>> round(frechet_distance(points + 3, points), 6)
    9.0
    """
    if features.ndim != 2 or features.shape[1:] != reference.shape[1:]:
        raise ValueError(
            f"both must be [N, K] with one K, got {tuple(features.shape)} and {tuple(reference.shape)}"
        )
    if min(len(features), len(reference)) < 2:
        raise ValueError("both must have at least two rows")
    a, b = features.double(), reference.double()
    first, second = (torch.atleast_2d(torch.cov(each.T)) for each in (a, b))
    values, axes = torch.linalg.eigh(first)
    root = axes * values.clamp(min=0).sqrt() @ axes.T
    cross = torch.linalg.eigvalsh(root @ second @ root).clamp(min=0).sqrt().sum()
    shift = (a.mean(dim=0) - b.mean(dim=0)).square().sum()
    return (shift + first.trace() + second.trace() - 2 * cross).item()
