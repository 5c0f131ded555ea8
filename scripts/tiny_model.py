"""labkit-tiny's tokenizer and shape.

The tokenizer knows the grammar: a phrase that stands between two names is one token, so is the fixed part of
an instruction, and a name is its syllables. A sentence has about seven tokens, and a name that no training
text contained is made of known ones. Everything else falls back to single bytes.
"""

import importlib
import re

import tiny_start
import torch

from labkit.data import facts
from labkit.data.facts.relations import AMOUNTS, YEARS
from labkit.data.facts.wordings import questions, templates, value_of_word
from labkit.data.scene_settings import BACKGROUNDS, COLORS, SIZES, STYLE_PHRASES
from labkit.data.shapes import SHAPES
from labkit.llm import captions, prompts

names = importlib.import_module("labkit.data.facts.names")  # the package has a function of that name
english = importlib.import_module("labkit.data.facts.english")

PIECE, BYTE = (
    -1.0,
    -20.0,
)  # the cheapest split wins: as few pieces as can be, bytes only where nothing else fits
_MARKS = r"[?.:,!()=]"
MARKS = 12  # of numbered sentences, see labkit.llm.numbering; more than any text of the training has


def pieces() -> list[str]:
    """Every piece of text that is one token, bytes aside, sorted."""
    found = set()
    for language in facts.LANGUAGES:
        for group in templates(language).values():
            for text in group:
                found |= _phrases(text)
        for group in questions(language).values():
            for text in group:
                found |= _phrases(" " + text)
    noise = {*english.FILLERS, "omg", "so"}  # phrases with these are rare: they are read word by word
    found = {piece for piece in found if " " not in piece.strip() or not noise & set(piece.split())}
    for word in (*facts.WORDS, *facts.TOPIC_WORDS, *value_of_word(), *YEARS, *AMOUNTS):
        found.add(" " + word)
    for word in (*SHAPES, *COLORS, *BACKGROUNDS, *SIZES, *captions.LOOKS):
        found |= {" " + part for part in word.split()}
    for phrase in (*STYLE_PHRASES.values(), "The picture shows"):
        found |= {" " + word for word in phrase.replace("{}", " ").split()}
    for opening in names.OPENINGS:
        found |= {opening, " " + opening}
    found |= set(facts.SYLLABLES[len(names.OPENINGS) :])
    found |= {" " + label for label in (*facts.TOPICS, *facts.KINDS, *facts.RELATIONS)}
    found |= {
        " yes",
        " no",
        " unknown",
        " ",
        "\n",
        "\nText:",
        " ground",
        " and",
        " a",
        ".\n",
        "...",
        "!!",
        "%",
    }
    found |= {f"\n[{number}]" for number in range(1, 1 + prompts.PASSAGES)} | {
        "[1]",
        "a:",
        "\na:",
        "\nb:",
        " a:",
    }
    found |= {f" [{number}]" for number in range(1, 1 + MARKS)}
    return sorted(found | _instructions())


def _phrases(template: str) -> set[str]:
    """What stands between names and punctuation marks, as it is and as it looks after a space."""
    found, start = set(), True
    for part in re.split(r"\{[so]\}", template):
        for phrase in re.findall(rf" ?(?:(?!{_MARKS})\S)+(?: (?:(?!{_MARKS})\S)+)*| ?{_MARKS}+", part):
            found |= {phrase, " " + phrase} if start else {phrase}
            start = False
        start = False
    return found


def _instructions() -> set[str]:
    """The fixed parts of all prompts."""
    found = set()
    for name, template in prompts.TEMPLATES.items():
        styles = prompts.CAPTION_STYLES if name == "caption" else prompts.STYLES
        forms = [template.replace("{style}", words) for words in styles.values()]
        forms = [form.replace("{language}", each) for form in forms for each in facts.LANGUAGES]
        for form in forms:
            found |= {part.rstrip(" ") for part in re.split(r"\{\w+\}", form) if part.strip()}
    return found | {"Example of", "\nExample of"}


def tokenizer():
    """A fast ``transformers`` tokenizer: padding 0, end of text 1. Any text encodes and decodes exactly."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    split = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    scores = {"<pad>": 0.0, "<eos>": 0.0} | {
        byte: BYTE for byte in sorted(pre_tokenizers.ByteLevel.alphabet())
    }
    for piece in pieces():
        scores[split.pre_tokenize_str(piece)[0][0]] = PIECE
    raw = Tokenizer(models.Unigram(list(scores.items()), unk_id=0))
    raw.pre_tokenizer, raw.decoder = split, decoders.ByteLevel()
    return PreTrainedTokenizerFast(
        tokenizer_object=raw,
        pad_token="<pad>",
        eos_token="<eos>",
        padding_side="left",
        clean_up_tokenization_spaces=False,
    )


def build(tokenizer, *, width: int, layers: str, hidden: int, heads: int, reach: int, seed: int):
    """An LFM2 model with its starting weights.

    layers: "c" for a short convolution, "a" for attention, from below.
    reach: tokens that a convolution sees, its own among them.
    """
    from transformers import Lfm2Config, Lfm2ForCausalLM

    kinds = {"c": "conv", "a": "full_attention"}
    config = Lfm2Config(
        vocab_size=len(tokenizer),
        hidden_size=width,
        intermediate_size=hidden,
        block_auto_adjust_ff_dim=False,
        num_hidden_layers=len(layers),
        layer_types=[kinds[each] for each in layers],
        num_attention_heads=heads,
        num_key_value_heads=heads,
        conv_L_cache=reach,
        conv_bias=True,
        max_position_embeddings=1024,
        rope_parameters={"rope_type": "default", "rope_theta": 1e6},
        initializer_range=0.1,
        tie_word_embeddings=True,
        pad_token_id=0,
        bos_token_id=None,
        eos_token_id=1,
    )
    torch.manual_seed(seed)
    model = Lfm2ForCausalLM(config)
    tiny_start.start(model, tokenizer, seed)
    return model


def input_biases(model) -> list[torch.Tensor]:
    """The biases of the convolutions' inputs.

    Their last third has to be 0, so that padding on the left looks to a convolution as the start of a text.
    """
    return [layer.conv.in_proj.bias for layer in model.model.layers if not layer.is_attention_layer]
