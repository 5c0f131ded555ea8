"""Recall on a public set of questions: XQuAD's English paragraphs. Needs a copy in LABKIT_DATA."""

import os
import re

import numpy as np
import pytest

from labkit import data, language, retrieval

pytestmark = pytest.mark.skipif("LABKIT_DATA" not in os.environ, reason="XQuAD is read from LABKIT_DATA")


def test_recall_on_xquad(record_property):
    """All 240 paragraphs; BM25, an encoder trained on the paragraphs alone, and both fused.

    The encoder never sees a question: a sentence stands in for one, the rest of its paragraph answers.
    """
    table = [row for split in data.load("xquad").values() for row in split]
    passages = list(dict.fromkeys(row["context"] for row in table))
    queries = [row["question"] for row in table]
    right = [{passages.index(row["context"])} for row in table]
    pairs = []
    for passage in passages:
        lines = re.split(r"(?<=[.!?])\s+", passage)
        pairs += [(line, " ".join(lines[:i] + lines[i + 1 :])) for i, line in enumerate(lines) if lines[1:]]
    tokenizer = language.tokenizer(passages, size=4000)
    encoder = retrieval.train_encoder(*zip(*pairs, strict=True), tokenizer, width=64, steps=60, batch_size=64)
    dense = retrieval.DenseIndex(retrieval.encode(encoder, passages), passages)
    found = {
        "BM25": retrieval.BM25Index(passages).search(queries, k=50),
        "dense": dense.search(retrieval.encode(encoder, queries), k=50),
    }
    found["fused"] = retrieval.fuse(*found.values(), k=50)
    recall = {
        name: {k: float(retrieval.recall_at(k, hits.ids, right).mean()) for k in (1, 5, 20)}
        for name, hits in found.items()
    }
    record_property("recall", recall)
    print({name: {k: round(value, 3) for k, value in row.items()} for name, row in recall.items()})
    assert (len(passages), len(queries)) == (240, 1190)
    chance = 5 / len(passages)
    assert recall["BM25"][5] > recall["dense"][5] > 10 * chance
    assert all(np.diff(list(row.values())).min() >= 0 for row in recall.values())
