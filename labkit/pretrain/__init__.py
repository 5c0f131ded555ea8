"""Pretrain: choose, rewrite, mix and document the data that a model learns from first.

One module per paper: domain corpora, rewriting of text, choosing of documents, mixtures and
schedules, pairs of images and text, graphs, and the provenance of data. All comparisons hold the
number of training tokens (or pairs) equal, so that a gain comes from which data was used and not
from how much. Modules are imported by name; nothing is imported here.
"""
