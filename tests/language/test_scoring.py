import math

import pytest
import torch

from labkit import language
from labkit.seeding import generator

TEXTS = ["Kalo lives in Paris.", "Sem lives in Rome.", "Riva makes lamps and sells them."]
PROMPTS = ["Kalo lives in", "Sem", "Riva makes lamps and"]
OPTIONS = [[" Rome", " Paris.", " the town of Paris"], [" lives", " x"], [" sells them.", " lamps", " a"]]


@pytest.fixture(scope="module")
def words():
    return language.tokenizer(TEXTS, size=300)


@pytest.fixture(scope="module", params=["mixing", "plain", "gpt2"])
def model(request, words):
    """Two architectures of ours, and one of another kind: learned positions, no padding token."""
    if request.param == "gpt2":
        from transformers import GPT2Config, GPT2LMHeadModel

        config = GPT2Config(vocab_size=len(words), n_positions=64, n_embd=32, n_layer=1, n_head=2)
        config.eos_token_id = config.bos_token_id = words.eos_token_id
        return GPT2LMHeadModel(config).eval()
    model = language.causal(words, width=32, layers=1, heads=2, mixing=request.param == "mixing")
    language.fit(model, language.pack(TEXTS * 8, words, length=16), steps=40, batch_size=16, lr=1e-2)
    return model


@pytest.fixture
def choose():
    return language.choose


def alone(model, words, prompt, answer):
    """log p(answer | prompt), one token after the other and nothing else in the batch."""
    start, end = words(prompt)["input_ids"], words(answer)["input_ids"]
    total = 0.0
    with torch.no_grad():
        for k, token in enumerate(end):
            logits = model(torch.tensor([start + end[:k]])).logits[0, -1]
            total += float(logits.log_softmax(dim=0)[token])
    return total


def test_nats_per_token_is_the_mean_over_all_that_counts(model):
    tokens = torch.randint(3, 200, (5, 9), generator=generator(0))
    mask = torch.rand(5, 9, generator=generator(1)) < 0.6
    with torch.no_grad():
        logs = model(tokens).logits.log_softmax(dim=2)
    kept = [float(-logs[i, t - 1, tokens[i, t]]) for i in range(5) for t in range(1, 9) if mask[i, t]]
    got = language.nats_per_token(model, tokens, mask, batch_size=2)
    assert got == pytest.approx(sum(kept) / len(kept), abs=1e-5)


def test_log_likelihoods_are_those_of_one_alone(model, words):
    prompts = [prompt for prompt, each in zip(PROMPTS, OPTIONS, strict=True) for _ in each]
    answers = [option for each in OPTIONS for option in each]
    got = language.log_likelihoods(model, words, prompts, answers, batch_size=3)
    wanted = [alone(model, words, *pair) for pair in zip(prompts, answers, strict=True)]
    torch.testing.assert_close(got, torch.tensor(wanted, dtype=torch.float64), atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("per", ["answer", "token", "character"])
def test_choose_is_brute_force(choose, model, words, per):
    sizes = {"answer": lambda o: 1, "token": lambda o: len(words(o)["input_ids"]), "character": len}
    best = []
    for prompt, options in zip(PROMPTS, OPTIONS, strict=True):
        scores = [alone(model, words, prompt, option) / sizes[per](option) for option in options]
        best.append(scores.index(max(scores)))
    assert choose(model, words, PROMPTS, OPTIONS, per=per, batch_size=2).tolist() == best


def test_options_may_be_shared(choose, model, words):
    shared = [" Paris.", " lives", " lamps"]
    each = choose(model, words, PROMPTS, [shared] * 3)
    assert torch.equal(choose(model, words, PROMPTS, shared), each)


def test_bits_per_character_do_not_depend_on_the_tokens():
    """A model without knowledge needs log2 V bits per token, whatever its tokens: per character that is
    the number of tokens (with the end) times log2 V over the number of characters."""
    for size in (259, 300):
        words = language.tokenizer(TEXTS, size=size)
        model = language.causal(words, width=32, layers=1, heads=2)
        with torch.no_grad():
            model.get_input_embeddings().weight.zero_()
        tokens = sum(len(words(text)["input_ids"]) + 1 for text in TEXTS)
        wanted = tokens * math.log2(len(words)) / sum(map(len, TEXTS))
        assert language.bits_per_character(model, words, TEXTS) == pytest.approx(wanted, rel=1e-5)


def test_bits_per_character_are_those_of_one_text_after_the_other(model, words):
    together = language.bits_per_character(model, words, TEXTS, batch_size=2)
    bits = [language.bits_per_character(model, words, [text]) * len(text) for text in TEXTS]
    assert together == pytest.approx(sum(bits) / sum(map(len, TEXTS)), rel=1e-5)


def test_accuracy_by_likelihood_and_by_generation(words):
    model = language.causal(words, width=32, layers=1, heads=2)
    rows = language.pairs(PROMPTS, [" Paris.", " lives in Rome.", " sells them."], words)
    language.fit(model, rows.tokens, mask=rows.mask, steps=60, lr=1e-2)
    answers = [" Paris", " lives in Rome", " lamps"]  # the last is wrong
    generated = language.answer_accuracy(model, words, PROMPTS, answers, by="generation")
    assert generated == pytest.approx(200 / 3)
    right = [" Paris.", " lives in Rome.", " sells them."]
    assert language.answer_accuracy(model, words, PROMPTS, right) == 100
    assert language.answer_accuracy(model, words, PROMPTS, right[::-1]) == pytest.approx(100 / 3)


def test_scoring_leaves_the_mode_as_it_was(model, words):
    model.train()
    language.choose(model, words, ["Sem"], [" a", " b"])
    assert model.training
    model.eval()


def test_bad_input(words):
    model, tokens = language.causal(words, width=32, layers=1, heads=2), torch.ones(1, 4, dtype=torch.long)
    with pytest.raises(ValueError, match="no token counts"):
        language.nats_per_token(model, tokens, torch.zeros(1, 4, dtype=torch.bool))
    with pytest.raises(ValueError, match="texts must be a sequence"):
        language.bits_per_character(model, words, [""])
    with pytest.raises(ValueError, match="prompt and answer must not be empty"):
        language.log_likelihoods(model, words, ["a"], [""])
    with pytest.raises(ValueError, match="as many"):
        language.log_likelihoods(model, words, ["a"], [])
    with pytest.raises(ValueError, match="per must be"):
        language.choose(model, words, ["a"], ["b"], per="word")
    with pytest.raises(ValueError, match="must have options"):
        language.choose(model, words, ["a", "b"], [["c"], []])
    with pytest.raises(ValueError, match="by must be"):
        language.answer_accuracy(model, words, ["a"], ["b"], by="luck")
    with pytest.raises(ValueError, match="among its options"):
        language.answer_accuracy(model, words, ["a"], [" b"], options=[" c", " d"])
