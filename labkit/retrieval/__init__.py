"""What the chapters on retrieval are built from: chunks, indexes, encoders, and how well a ranking does.

Indexes are those of ``bm25s`` and ``faiss``, encoders those of ``sentence-transformers``: the extra
``retrieve``. Here they get one interface, files without pickle, and errors that say what is wrong.

>>> index = BM25Index(["the cat sat", "a dog ran", "the cat and the dog"])
>>> index.search(["cat"], k=2).ids.tolist()
[[0, 2]]
"""

from labkit.retrieval.chunks import Chunk, chunks
from labkit.retrieval.encoders import encode, load_encoder, train_encoder
from labkit.retrieval.indexes import BM25Index, DenseIndex, Hits, fuse
from labkit.retrieval.ranking import ndcg_at, recall_at, reciprocal_rank

__all__ = ["BM25Index", "Chunk", "DenseIndex", "Hits", "chunks", "encode", "fuse", "load_encoder"]
__all__ += ["ndcg_at", "recall_at", "reciprocal_rank", "train_encoder"]
