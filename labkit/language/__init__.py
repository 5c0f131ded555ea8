"""Tiny language models: tokenizers, small transformers, training, likelihoods, generation.

Everything but the constructors runs unchanged on any ``transformers`` model.
"""

from labkit.language.generation import Generation, complete, generate
from labkit.language.models import causal, encoder_decoder, load, masked, save
from labkit.language.scoring import (
    answer_accuracy,
    bits_per_character,
    choose,
    log_likelihoods,
    nats_per_token,
    same,
)
from labkit.language.tokens import lexicon, tokenizer
from labkit.language.training import IGNORED, Rows, fit, next_token_loss, pack, pairs, targets

__all__ = ["Generation", "Rows", "complete", "generate"]
__all__ += ["IGNORED", "fit", "next_token_loss", "pack", "pairs", "targets"]
__all__ += ["causal", "encoder_decoder", "lexicon", "load", "masked", "save", "tokenizer"]
__all__ += ["answer_accuracy", "bits_per_character", "choose", "log_likelihoods", "nats_per_token", "same"]
