"""Decoding with a draft beside transformers, in the same run. Times are shown and never asserted."""

import copy

import pytest
import torch

from labkit import language
from labkit.distill.online_speculative_decoding import generate, speculative_generate
from labkit.seeding import generator

pytestmark = pytest.mark.benchmark(max_time=0.3, min_rounds=5)
TOKENS, K = 32, 4
WAYS = ["plain, labkit", "plain, transformers", "speculative, labkit", "assisted, transformers"]


@pytest.fixture(scope="module")
def pair():
    """A target of 24 layers, of which all but the first add zero, and a draft that agrees with most of it."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    small = language.causal(500, width=64, layers=1, mixing=False)
    target = language.causal(500, width=64, layers=24, mixing=False)
    target.load_state_dict(small.state_dict(), strict=False)
    for layer in target.model.layers[1:]:
        torch.nn.init.zeros_(layer.self_attn.o_proj.weight)
        torch.nn.init.zeros_(layer.mlp.down_proj.weight)
    draft = copy.deepcopy(small)
    with torch.no_grad():
        for weight in draft.parameters():
            weight += 0.1 * weight.std(correction=0) * torch.randn(weight.shape, generator=generator(1))
    own = draft.generation_config
    own.num_assistant_tokens, own.num_assistant_tokens_schedule = K, "constant"
    own.assistant_confidence_threshold = 0.0
    yield target, draft
    torch.set_num_threads(threads)


@pytest.mark.parametrize("name", WAYS)
def test_greedy_decoding(benchmark, pair, name):
    target, draft = pair
    prompt = torch.randint(2, 500, (8,), generator=generator(0))
    settings = dict(do_sample=False, max_new_tokens=TOKENS, eos_token_id=None, pad_token_id=0)
    settings |= dict(input_ids=prompt[None], attention_mask=torch.ones_like(prompt[None]))
    ways = {
        "plain, labkit": lambda: generate(target, prompt[None], max_tokens=TOKENS, temperature=0)[0],
        "plain, transformers": lambda: target.generate(**settings)[0, 8:],
        "speculative, labkit": lambda: (
            speculative_generate(target, draft, prompt, max_tokens=TOKENS, k=K, temperature=0).tokens
        ),
        "assisted, transformers": lambda: target.generate(assistant_model=draft, **settings)[0, 8:],
    }
    benchmark.group = f"greedy decoding, {TOKENS} tokens, a target of 24 layers"
    benchmark.extra_info = {"operation": name, "library": name.split(", ")[1]}
    assert benchmark(ways[name]).tolist() == ways["plain, labkit"]().tolist()
