"""labkit-tiny's tokenizer, shape and starting weights.

The tokenizer knows the grammar: a phrase that stands between two names is one token, so is the fixed part of
an instruction, and a name is its syllables. A sentence has about seven tokens, and a name that no training
text contained is made of known ones. Everything else falls back to single bytes.
"""

import importlib
import re

import torch

from labkit.data import facts
from labkit.data.facts.relations import AMOUNTS, YEARS
from labkit.data.facts.wordings import questions, templates, value_of_word
from labkit.data.scene_settings import BACKGROUNDS, COLORS, SIZES, STYLE_PHRASES
from labkit.data.shapes import SHAPES
from labkit.llm import captions, prompts
from labkit.seeding import generator

names = importlib.import_module("labkit.data.facts.names")  # the package has a function of that name
english = importlib.import_module("labkit.data.facts.english")

PIECE, BYTE = (
    -1.0,
    -20.0,
)  # the cheapest split wins: as few pieces as can be, bytes only where nothing else fits
_MARKS = r"[?.:,!()=]"


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


def build(vocabulary: int, *, width: int, layers: str, hidden: int, heads: int, reach: int, seed: int):
    """An LFM2 model. layers: "c" for a short convolution, "a" for attention, from below.

    reach: tokens that a convolution sees, its own among them.
    """
    from transformers import Lfm2Config, Lfm2ForCausalLM

    kinds = {"c": "conv", "a": "full_attention"}
    config = Lfm2Config(
        vocab_size=vocabulary,
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
    start(model, generator(seed))
    return model


@torch.no_grad()
def widen(model, reach: int):
    """The same model, with convolutions that see more tokens; what they see anew counts nothing at first."""
    from transformers import Lfm2Config

    config = Lfm2Config.from_dict(model.config.to_dict() | {"conv_L_cache": reach})
    wider = type(model)(config)
    weights = model.state_dict()
    for name, value in weights.items():
        if name.endswith("conv.conv.weight"):
            weights[name] = torch.nn.functional.pad(value, (reach - value.shape[-1], 0))
    wider.load_state_dict(weights)
    wider.tie_weights()
    for bias in input_biases(wider):
        bias[2 * config.hidden_size :] = 0.0
    return wider


def input_biases(model) -> list[torch.Tensor]:
    """The biases of the convolutions' inputs.

    Their last third has to be 0, so that padding on the left looks to a convolution as the start of a text.
    """
    return [layer.conv.in_proj.bias for layer in model.model.layers if not layer.is_attention_layer]


@torch.no_grad()
def start(model, draws: torch.Generator) -> None:
    """Starting weights with which copying works from the first step.

    To continue a name one must find where it began before and take what followed. That needs two layers
    which are useless without each other, and plain random weights take thousands of steps to find
    them. Here the first convolution starts as a plain shift (it shows each position the two tokens before
    it), and the first attention compares the token at hand with the token *before* each earlier position,
    and passes on what stands there. All of it is trained from there on.
    """
    width, heads = model.config.hidden_size, model.config.num_attention_heads
    convolutions = [layer.conv for layer in model.model.layers if not layer.is_attention_layer]
    attentions = [layer.self_attn for layer in model.model.layers if layer.is_attention_layer]
    half, size = width // 2, width // heads
    for number, conv in enumerate(convolutions):
        read, write = _orthogonal(width, draws), _orthogonal(width, draws)
        conv.in_proj.weight[: 2 * width] *= 0.2  # the two gates begin near 1
        conv.in_proj.bias[: 2 * width] = 1.0
        conv.in_proj.bias[2 * width :] = 0.0
        conv.in_proj.weight[2 * width :] = read
        for bias in (conv.conv.bias, conv.out_proj.bias):
            bias.zero_()
        conv.conv.weight.zero_()
        conv.conv.weight[:half, 0, -2] = 1.0  # half of the channels: one token back; the others: two
        conv.conv.weight[half:, 0, -3] = 1.0
        conv.out_proj.weight.copy_((0.02 if number else 0.1) * write)
        if number == 0:
            first_read, first_write = read, write
    for number, attention in enumerate(attentions):
        values = _orthogonal(width, draws)
        attention.v_proj.weight.copy_(values)
        attention.out_proj.weight.copy_((0.02 if number else 1.0) * values.T)
        if number == 0:
            for head in range(heads):
                rows = slice(head * size, (head + 1) * size)
                turn = _orthogonal(half, draws)[:size]
                attention.q_proj.weight[rows] = turn @ first_read[:half]
                attention.k_proj.weight[rows] = turn @ first_write[:, :half].T
            attention.q_layernorm.weight.fill_(2.0)
            attention.k_layernorm.weight.fill_(2.0)
    for layer in model.model.layers:
        layer.feed_forward.w2.weight *= 0.03


def _orthogonal(size: int, draws: torch.Generator) -> torch.Tensor:
    return torch.linalg.qr(torch.randn(size, size, generator=draws))[0]
