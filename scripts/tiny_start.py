"""labkit-tiny's starting weights: copying works from the first step, tokens of one meaning begin alike."""

import importlib
from collections import defaultdict

import torch

from labkit.data import facts
from labkit.data.facts.wordings import questions, templates, value_of_word
from labkit.seeding import generator

names = importlib.import_module("labkit.data.facts.names")  # the package has a function of that name

MEANING = 0.9  # share of a token's starting vector that says what it means; the rest is its own


def start(model, tokenizer, seed: int) -> None:
    """Give a model its starting weights."""
    draws = generator(seed)
    copying(model, draws)
    meanings(model, tokenizer, draws)


@torch.no_grad()
def copying(model, draws: torch.Generator) -> None:
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


@torch.no_grad()
def meanings(model, tokenizer, draws: torch.Generator) -> None:
    """Let tokens that mean the same begin near each other.

    The grammar has more than a thousand phrases, most of them rare, and each would have to be met often
    until its vector tells what it says. Each aspect of meaning (a relation, a style, a language, a place in
    the sentence, a value, a topic, a kind of name) gets a random vector, and a token starts near the mean
    of the aspects under which the grammar uses it.
    """
    table = model.get_input_embeddings().weight
    vectors = defaultdict(lambda: torch.randn(table.shape[1], generator=draws))
    for token, aspects in sorted(_aspects(tokenizer).items()):
        meaning = sum(weight * vectors[aspect] for aspect, weight in sorted(aspects.items(), key=repr))
        meaning = meaning / max(table.shape[1] ** 0.5, float(meaning.norm()))  # a token of all: almost none
        share = MEANING * float(meaning.norm())
        table[token] = (1 - share) * table[token] + MEANING * float(table[token].norm()) * meaning


def _aspects(tokenizer) -> dict[int, dict]:
    """Token -> aspect of its meaning -> how much oftener it is used so than tokens on the whole."""
    used = _uses(tokenizer)
    groups = defaultdict(lambda: defaultdict(float))  # kind of aspect -> aspect -> how often
    for aspects in used.values():
        for aspect, count in aspects.items():
            groups[aspect[0]][aspect] += count
    found = {}
    for token, aspects in used.items():
        found[token] = {}
        for group in groups.values():
            here = sum(aspects.get(aspect, 0) for aspect in group)
            everywhere = sum(group.values())
            if here:
                for aspect, count in group.items():
                    found[token][aspect] = aspects.get(aspect, 0) / here - count / everywhere
    return found


def _uses(tokenizer) -> dict[int, dict]:
    """Token -> aspect -> how often the grammar uses it so."""
    used = defaultdict(lambda: defaultdict(float))

    def note(text: str, *aspects) -> None:
        ids = tokenizer(text)["input_ids"]
        if len(ids) == 1:
            for aspect in aspects:
                used[ids[0]][aspect] += 1

    syllables = {tokenizer(space + each)["input_ids"][0] for each in names.SYLLABLES for space in ("", " ")}
    for text, asked, *aspects in _sentences():
        first = "o" if "{o}" in text and ("{s}" not in text or text.index("{o}") < text.index("{s}")) else "s"
        filled = text.replace("{s}", "Bagan").replace("{o}", "Dotex")
        for space in ("", " "):
            place, inside = 0, False  # which name of the sentence a token stands before
            for token in tokenizer(space + filled)["input_ids"]:
                if token in syllables:
                    inside = True
                    continue
                place, inside = place + inside, False
                for aspect in (*aspects, ("place", place, first, asked)):
                    used[token][aspect] += 1
    for word, (kind, value) in value_of_word().items():
        note(f" {word}", ("value", value), ("kind", kind))
    for kind, endings in names.ENDINGS.items():
        for ending in endings:
            note(ending, ("kind", kind))
    for relation in facts.RELATIONS:
        note(f" {relation}", ("relation", relation))
    for word in facts.TOPIC_WORDS:
        ids = tokenizer(f" {word}")["input_ids"]
        for topic, chance in zip(facts.TOPICS, facts.posterior([word])[0].tolist(), strict=True):
            used[ids[0]]["topic", topic] += (word == topic) or chance
    return used


def _sentences():
    """Each sentence of the grammar: its template, whether it asks, then the aspects of its meaning."""
    for language in facts.LANGUAGES:
        for (relation, style, _), texts in templates(language).items():
            for text in texts:
                yield text, False, ("relation", relation), ("style", style), ("language", language)
        for (relation, ask), texts in questions(language).items():
            for text in texts:
                yield text, True, ("relation", relation), ("style", f"asks {ask}"), ("language", language)
