"""labkit-tiny as it is shipped: its size, its hash, and that it follows every instruction."""

import hashlib
import json
from pathlib import Path

import pytest
import tiny_model
import tiny_quality
import torch
from scipy.stats import binom

from labkit import llm, weights
from labkit.llm import prompts

ROOT = Path(__file__).resolve().parent.parent.parent
TABLE = json.loads((ROOT / "book" / "models" / "labkit-tiny.json").read_text(encoding="utf-8"))
N = 32  # prompts per instruction: a broken model fails all of them, so that few tell


@pytest.fixture(scope="module")
def role():
    return llm.tiny()


def test_the_weights_are_small_and_those_of_the_table():
    folder = weights.path("labkit-tiny")
    file = folder / "model.safetensors"
    assert file.stat().st_size == TABLE["bytes"] <= 8_000_000
    assert hashlib.sha256(file.read_bytes()).hexdigest() == TABLE["sha256"]
    assert not [each.name for each in folder.iterdir() if each.suffix in (".bin", ".pt", ".pkl", ".new")]


def test_transformers_loads_the_folder_and_counts_its_parameters():
    from transformers import AutoModelForCausalLM, AutoTokenizer

    folder = weights.path("labkit-tiny")
    model = AutoModelForCausalLM.from_pretrained(folder)
    assert sum(p.numel() for p in model.parameters()) == TABLE["parameters"] <= 3_000_000
    tokenizer = AutoTokenizer.from_pretrained(folder)
    assert len(tokenizer) == TABLE["vocabulary"] == model.config.vocab_size
    assert tokenizer.get_vocab() == tiny_model.tokenizer().get_vocab()  # the grammar has not changed since


def test_any_text_encodes_and_decodes_exactly(role):
    for text in ("Nobur elected Balen.\na: yes, (x) = 12!!", "näht\n\t  漢字 12.5%", " [9] \n[3]"):
        assert role.tokenizer.decode(role.tokenizer(text)["input_ids"]) == text


@pytest.mark.parametrize("name", TABLE["instructions"])
def test_it_follows_the_instruction_for_names_it_never_met(role, name):
    """No worse than the table says: to be right so rarely has a chance of more than one in a thousand."""
    turns = tiny_quality.examination(name, N, seed=20_000)
    replies = tiny_quality.replies(role, turns)
    found = sum(tiny_quality.exact(turn, reply) for turn, reply in zip(turns, replies, strict=True))
    known = min(TABLE["instructions"][name]["exact"] / 100, 0.99)
    assert found > 0 and binom.cdf(found, N, known) > 0.001


def test_broken_weights_would_be_noticed(role):
    """One matrix of zeros, and the answers are gone."""
    turns = tiny_quality.examination("answer", N, seed=20_000)
    matrix = role.model.model.layers[1].self_attn.out_proj.weight
    kept = matrix.detach().clone()
    try:
        with torch.no_grad():
            matrix.zero_()
        replies = tiny_quality.replies(role, turns)
    finally:
        with torch.no_grad():
            matrix.copy_(kept)
    assert sum(tiny_quality.exact(turn, reply) for turn, reply in zip(turns, replies, strict=True)) < N / 2


def test_a_reply_does_not_depend_on_its_neighbours(role):
    """Padding on the left looks to the convolutions as the start of a text does."""
    turns = tiny_quality.examination("answer", 6, seed=30_000)
    asked = [turn.prompt for turn in turns]
    ids = [torch.tensor([role.tokenizer(prompt)["input_ids"]]) for prompt in asked]
    longest = max(each.shape[1] for each in ids)
    with torch.no_grad():
        for each in ids:
            alone = role.model(each).logits[0, -1]
            room = longest + 3 - each.shape[1]
            padded = torch.nn.functional.pad(each, (room, 0))
            seen = torch.nn.functional.pad(torch.ones_like(each), (room, 0))
            place = (seen.cumsum(1) - 1).clamp(min=0)
            beside = role.model(padded, attention_mask=seen, position_ids=place).logits[0, -1]
            torch.testing.assert_close(alone, beside, atol=1e-3, rtol=1e-3)


def test_the_oracle_gives_the_replies_it_is_taught(role):
    """Answers and judgements are worked out where the prompt is drawn; the oracle says the same."""
    import tiny_examples

    from labkit.data.build import stream

    for name in ("answer", "judge"):
        rng = stream(0, "test", name)
        turns = [turn for _ in range(20) for turn in tiny_examples.draw(name, rng)]
        assert llm.texts(llm.oracle(), [turn.prompt for turn in turns]) == [turn.reply for turn in turns]
        assert all(prompts.read(turn.prompt).instruction == name for turn in turns)
