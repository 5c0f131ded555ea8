"""Encoders of ``sentence-transformers``: train a small one from scratch, load any, make vectors of texts."""

from collections.abc import Sequence

import numpy as np
import torch

from labkit.data.build import check_count
from labkit.seeding import generator, seeded

__all__ = ["encode", "load_encoder", "train_encoder"]


def load_encoder(name: str, *, device: str = "cpu"):
    """A ``SentenceTransformer`` from the hub or a folder, such as "BAAI/bge-small-en-v1.5".

    Code that comes with a model is never run. Raises ModuleNotFoundError without sentence-transformers.
    """
    return _package().SentenceTransformer(name, device=str(device), trust_remote_code=False)


def train_encoder(
    queries: Sequence[str],
    passages: Sequence[str],
    tokenizer,
    *,
    width: int = 128,
    steps: int = 300,
    batch_size: int = 128,
    lr: float = 1e-2,
    scale: float = 20.0,
    seed: int = 0,
):
    r"""Train a small encoder from scratch: a vector for each token, averaged over the text.

    Pairs of a query and a passage that answers it; every other passage of the batch is a wrong one
    (``MultipleNegativesRankingLoss`` of sentence-transformers; Henderson and others, 2017):

    .. math:: -\frac 1B \sum_i \log \frac{\exp(\text{scale} \cdot \cos(q_i, p_i))}
        {\sum_j \exp(\text{scale} \cdot \cos(q_i, p_j))}

    queries, passages: as many of the one as of the other, at least two pairs.  tokenizer: a fast tokenizer
    of ``transformers``, such as :func:`labkit.language.tokenizer` makes.  width: of the vectors.
    steps, batch_size, lr: of Adam; a batch has each pair at most once.  scale: above 0.
    Returns a ``SentenceTransformer``, the same for the same seed.
    Raises ValueError for texts that don't pair up or numbers outside their ranges, ModuleNotFoundError
    without sentence-transformers.
    """
    if len(queries) != len(passages) or len(queries) < 2:
        raise ValueError(
            f"queries and passages must be two or more pairs, got {len(queries)} and {len(passages)}"
        )
    for name, value in {"width": width, "steps": steps, "batch_size": batch_size}.items():
        check_count(name, value)
    if not lr > 0 or not scale > 0:
        raise ValueError(f"lr and scale must be above 0, got {lr!r} and {scale!r}")
    package = _package()
    from sentence_transformers.sentence_transformer.losses import MultipleNegativesRankingLoss
    from sentence_transformers.sentence_transformer.modules import StaticEmbedding

    with seeded(seed):
        module = StaticEmbedding(tokenizer.backend_tokenizer, embedding_dim=width)
    encoder = package.SentenceTransformer(modules=[module], device="cpu")
    loss_of = MultipleNegativesRankingLoss(encoder, scale=scale)
    optimizer = torch.optim.Adam(encoder.parameters(), lr=lr)
    draw, order = generator(seed), []
    encoder.train()
    for _ in range(steps):
        if len(order) < min(batch_size, len(queries)):
            order = torch.randperm(len(queries), generator=draw).tolist()
        chosen, order = order[:batch_size], order[batch_size:]
        pair = [encoder.preprocess([side[i] for i in chosen]) for side in (queries, passages)]
        loss = loss_of(pair, None)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return encoder.eval()


def encode(encoder, texts: Sequence[str], *, batch_size: int = 256) -> np.ndarray:
    """The vectors of texts, of length 1: float32[N, D].

    encoder: a ``SentenceTransformer``.  Raises TypeError for a single text.
    """
    if isinstance(texts, str):
        raise TypeError("texts must be a list of texts, got one text")
    return encoder.encode(
        list(texts),
        batch_size=batch_size,
        show_progress_bar=False,
        convert_to_numpy=True,
        normalize_embeddings=True,
    )


def _package():
    try:
        import sentence_transformers
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError(
            "encoders need the package sentence-transformers: pip install sentence-transformers"
        ) from error
    return sentence_transformers
