"""Data sets: bundled, synthetic, from a hub, or your own, all by ``load``."""

from labkit.data.card import Card, Composition
from labkit.data.loading import card, fingerprint, load
from labkit.data.registry import loaded, names
from labkit.data.tensors import Batch, tensors

__all__ = ["Batch", "Card", "Composition", "card", "fingerprint", "load", "loaded", "names", "tensors"]
