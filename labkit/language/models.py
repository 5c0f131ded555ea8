"""Small language models as ``transformers`` configurations: what is written for them runs on real ones."""

import logging
from contextlib import contextmanager

import torch

from labkit.seeding import seeded

__all__ = ["causal", "encoder_decoder", "load", "masked", "save"]


def _without_kernel_advice(record: logging.LogRecord) -> bool:
    return "causal_conv1d" not in record.getMessage()


# Each process would be told to install a GPU kernel, which a short convolution of small width doesn't need.
logging.getLogger("transformers.integrations.hub_kernels").addFilter(_without_kernel_advice)


def causal(
    vocabulary,
    *,
    width: int = 64,
    layers: int = 2,
    heads: int = 4,
    context: int = 256,
    mixing: bool = True,
    seed: int = 0,
):
    """A small decoder that predicts the next token, with rotary attention.

    With ``mixing``, a short convolution (each position sees the two before it) stands before the attention
    (the LFM2 architecture): it learns to look a fact up in its context much sooner than attention alone,
    which first has to build that convolution from two layers. Without, it is a plain Llama.

    vocabulary: a tokenizer, or the number of tokens (then padding is 0 and end of text 1).
    width: of a token's vector, a multiple of twice ``heads``.  layers: of attention, each with a
    feed-forward layer; mixing adds one convolution, also with one.  context: longest text in tokens, as the
    configuration says it; nothing stops longer ones.  seed: of the weights.
    Raises ValueError for sizes below 1 and a width that the heads do not divide.

    >>> model = causal(300, width=32, layers=1, heads=2)
    >>> model(torch.zeros(1, 5, dtype=torch.long)).logits.shape
    torch.Size([1, 5, 300])
    """
    from transformers import Lfm2Config, Lfm2ForCausalLM, LlamaConfig, LlamaForCausalLM

    size, ids = _vocabulary(vocabulary)
    _sizes(width, heads, layers=layers, context=context)
    shared = dict(
        vocab_size=size,
        hidden_size=width,
        num_attention_heads=heads,
        num_key_value_heads=heads,
        max_position_embeddings=context,
        initializer_range=INITIAL,
        rope_parameters={"rope_type": "default", "rope_theta": 1e6},
        tie_word_embeddings=True,
        bos_token_id=None,
        **ids,
    )
    if not mixing:
        config = LlamaConfig(intermediate_size=3 * width, num_hidden_layers=layers, **shared)
        return _built(LlamaForCausalLM, config, seed)
    config = Lfm2Config(
        intermediate_size=2 * width,
        block_auto_adjust_ff_dim=False,
        num_hidden_layers=layers + 1,
        layer_types=["conv"] + ["full_attention"] * layers,
        **shared,
    )
    return _built(Lfm2ForCausalLM, config, seed, _open_gates)


INITIAL = 0.1  # the usual 0.02 is for widths of thousands; at 64 learning then starts hundreds of steps late


def _open_gates(model) -> None:
    """Start the convolutions as plain ones: y = C * conv(B * x) with the gates B and C near 1.

    Drawn at random, the gates multiply what the neighbours say by noise that depends on the token itself,
    and look-ups are learnt several times later. The architecture has no bias to hold a constant, so one
    coordinate of every embedding does: it starts at the same value, and the gates read it.
    """
    with torch.no_grad():
        embedding = model.get_input_embeddings().weight
        embedding[:, 0] = 3 * INITIAL
        constant = 3 * INITIAL / embedding.square().mean(dim=1).sqrt().mean()  # as the norm hands it on
        for layer in model.model.layers:
            if hasattr(layer, "conv"):
                gates = layer.conv.in_proj.weight[: 2 * embedding.shape[1]]
                gates *= 0.3
                gates[:, 0] = 1 / constant
                layer.conv.conv.weight.normal_(std=0.5)
                layer.conv.out_proj.weight *= 2


def masked(
    vocabulary, *, width: int = 64, layers: int = 2, heads: int = 4, context: int = 256, seed: int = 0
):
    """A small encoder that fills in masked tokens (BERT). Arguments and errors as :func:`causal`.

    >>> masked(300, width=32, layers=1, heads=2)(torch.zeros(1, 5, dtype=torch.long)).logits.shape
    torch.Size([1, 5, 300])
    """
    from transformers import BertConfig, BertForMaskedLM

    size, ids = _vocabulary(vocabulary)
    _sizes(width, heads, layers=layers, context=context)
    config = BertConfig(
        vocab_size=size,
        hidden_size=width,
        intermediate_size=4 * width,
        num_hidden_layers=layers,
        num_attention_heads=heads,
        max_position_embeddings=context,
        initializer_range=0.05,
        hidden_dropout_prob=0.0,
        attention_probs_dropout_prob=0.0,
        **ids,
    )
    return _built(BertForMaskedLM, config, seed)


def encoder_decoder(
    vocabulary, *, width: int = 64, layers: int = 2, heads: int = 4, seed: int = 0, dropout: float = 0.0
):
    """A small encoder and decoder that reads one text and writes another (T5, the form of mT5).

    layers: of the encoder, and of the decoder.  Other arguments and errors as :func:`causal`.

    >>> model = encoder_decoder(300, width=32, layers=1, heads=2)
    >>> model(torch.zeros(1, 5, dtype=torch.long), labels=torch.ones(1, 3, dtype=torch.long)).logits.shape
    torch.Size([1, 3, 300])
    """
    from transformers import T5Config, T5ForConditionalGeneration

    size, ids = _vocabulary(vocabulary)
    _sizes(width, heads, layers=layers)
    config = T5Config(
        vocab_size=size,
        d_model=width,
        d_kv=width // heads,
        d_ff=2 * width,
        num_layers=layers,
        num_decoder_layers=layers,
        num_heads=heads,
        dropout_rate=dropout,
        feed_forward_proj="gated-gelu",
        decoder_start_token_id=ids["pad_token_id"],
        **ids,
    )
    return _built(T5ForConditionalGeneration, config, seed)


def load(name: str, *, kind: str = "causal", device: str = "cpu"):
    """Read ``(model, tokenizer)`` from a folder or the hub, in evaluation mode, safetensors only.

    kind: "causal", "masked" or "encoder_decoder".  A tokenizer without a padding token gets its end token.
    Raises ValueError for another kind; OSError, with the reason, for a name that cannot be read.
    """
    import transformers

    kinds = {"causal": "CausalLM", "masked": "MaskedLM", "encoder_decoder": "Seq2SeqLM"}
    if kind not in kinds:
        raise ValueError(f"kind must be one of {', '.join(kinds)}, got {kind!r}")
    with _quiet():
        model = getattr(transformers, f"AutoModelFor{kinds[kind]}").from_pretrained(
            name, use_safetensors=True
        )
    tokenizer = transformers.AutoTokenizer.from_pretrained(name)
    if tokenizer.pad_token_id is None:
        tokenizer.pad_token = tokenizer.eos_token
    return model.to(device).eval(), tokenizer


def save(model, tokenizer, folder) -> None:
    """Write model (safetensors) and tokenizer into a folder, which every Auto class then reads."""
    with _quiet():
        model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)


@contextmanager
def _quiet():
    """No progress bar for a model that takes a millisecond: it would end up in a notebook's outputs."""
    from transformers.utils import logging as progress

    shown = progress.is_progress_bar_enabled()
    progress.disable_progress_bar()
    try:
        yield
    finally:
        if shown:
            progress.enable_progress_bar()


def _built(kind, config, seed: int, then=None):
    with seeded(seed):
        model = kind(config)
        if then is not None:
            then(model)
    return model.eval()


def _vocabulary(vocabulary) -> tuple[int, dict[str, int]]:
    if isinstance(vocabulary, int):
        if vocabulary < 3:
            raise ValueError(f"vocabulary must have at least 3 tokens, got {vocabulary}")
        return vocabulary, {"pad_token_id": 0, "eos_token_id": 1}
    if not hasattr(vocabulary, "eos_token_id"):
        raise TypeError(f"vocabulary must be a tokenizer or a number, got {type(vocabulary).__name__}")
    return len(vocabulary), {"pad_token_id": vocabulary.pad_token_id, "eos_token_id": vocabulary.eos_token_id}


def _sizes(width: int, heads: int, **others: int) -> None:
    for name, value in dict(width=width, heads=heads, **others).items():
        if value < 1:
            raise ValueError(f"{name} must be at least 1, got {value}")
    if width % (2 * heads):
        raise ValueError(f"width must be a multiple of twice heads, got width {width} and heads {heads}")
