import pytest
import torch

from labkit import language

TEXTS = ["Kalo lives in Paris and sings.", "Sem lives in Rome. He was born there.", "Riva makes lamps."]
PROMPTS = ["Kalo lives in", "Sem", "Riva makes", "Sem lives in Rome. He"]


@pytest.fixture(scope="module")
def words():
    return language.tokenizer(TEXTS, size=300)


@pytest.fixture(scope="module", params=["mixing", "plain", "gpt2"])
def model(request, words):
    if request.param == "gpt2":
        from transformers import GPT2Config, GPT2LMHeadModel

        config = GPT2Config(vocab_size=len(words), n_positions=64, n_embd=32, n_layer=1, n_head=2)
        config.eos_token_id = config.bos_token_id = words.eos_token_id
        model = GPT2LMHeadModel(config)
    else:
        model = language.causal(words, width=32, layers=1, heads=2, mixing=request.param == "mixing")
    rows = language.pairs(["K", "S", "R"], [t[1:] for t in TEXTS], words)
    language.fit(model, rows.tokens, mask=rows.tokens != 0, steps=80, lr=1e-2)
    return model


def by_hand(model, words, prompt, count):
    """Greedy, one token at a time, without cache, batch or padding."""
    ids = words(prompt)["input_ids"]
    start = len(ids)
    with torch.no_grad():
        for _ in range(count):
            token = int(model(torch.tensor([ids])).logits[0, -1].argmax())
            if token == words.eos_token_id:
                break
            ids = [*ids, token]
    return words.decode(ids[start:])


def test_a_batch_writes_what_each_prompt_alone_does(model, words):
    wanted = [by_hand(model, words, prompt, 20) for prompt in PROMPTS]
    assert language.generate(model, words, PROMPTS, max_tokens=20, batch_size=4) == wanted
    assert language.generate(model, words, PROMPTS, max_tokens=20, batch_size=1) == wanted


def test_log_probabilities_are_those_of_the_text(model, words):
    for reply, prompt in zip(
        language.complete(model, words, PROMPTS, max_tokens=6, log_probabilities=True), PROMPTS, strict=True
    ):
        ids = words(prompt)["input_ids"]
        assert reply.tokens_in == len(ids) and len(reply.log_probabilities) == reply.tokens_out
        written = words(reply.text)["input_ids"]
        if words.decode(written) != reply.text or len(written) != reply.tokens_out:
            continue  # another split of the same text, or an end of text after it
        total = language.log_likelihoods(model, words, [prompt], [reply.text])
        assert sum(reply.log_probabilities) == pytest.approx(float(total), abs=1e-3)


@pytest.mark.parametrize("stop", [(" in",), ("z", "iv"), "s"])
def test_it_stops_at_the_first_stop_string_and_leaves_it_out(model, words, stop):
    full = language.generate(model, words, PROMPTS, max_tokens=20)
    cut = language.generate(model, words, PROMPTS, max_tokens=20, stop=stop)
    for long, short in zip(full, cut, strict=True):
        at = [long.index(each) for each in ((stop,) if isinstance(stop, str) else stop) if each in long]
        assert short == (long[: min(at)] if at else long)


def test_stopping_early_writes_fewer_tokens(model, words):
    full, cut = (
        language.complete(model, words, ["Sem lives"], max_tokens=20, stop=stop)[0] for stop in ((), (".",))
    )
    assert cut.tokens_out <= full.tokens_out and "." not in cut.text


def test_draws_come_from_the_seed_and_leave_the_global_state(model, words):
    torch.manual_seed(3)
    before = torch.get_rng_state()

    def draw(seed):
        return language.generate(model, words, PROMPTS, max_tokens=12, temperature=1.5, seed=seed)

    assert draw(0) == draw(0) != draw(1)
    assert torch.equal(before, torch.get_rng_state())


def test_a_low_temperature_is_greedy(model, words):
    cold = language.generate(model, words, PROMPTS, max_tokens=8, temperature=1e-3)
    assert cold == language.generate(model, words, PROMPTS, max_tokens=8)


def test_the_settings_that_a_model_brings_along_do_not_count(model, words):
    plain = language.generate(model, words, PROMPTS, max_tokens=12)
    kept, model.generation_config.repetition_penalty = model.generation_config.repetition_penalty, 9.0
    assert language.generate(model, words, PROMPTS, max_tokens=12) == plain
    model.generation_config.repetition_penalty = kept


def test_encoder_decoders_work_too(words):
    model = language.encoder_decoder(words, width=32, layers=1, heads=2)
    replies = language.complete(model, words, ["Kalo", "Sem lives"], max_tokens=5)
    assert len(replies) == 2 and all(reply.tokens_out <= 5 for reply in replies)


def test_nothing_is_printed_or_warned_of(model, words, capfd, recwarn):
    language.generate(model, words, PROMPTS, max_tokens=3)
    language.generate(model, words, PROMPTS, max_tokens=3, temperature=1.0, stop=("a",))
    assert capfd.readouterr() == ("", "") and not recwarn.list


def test_no_prompts_no_replies(model, words):
    assert language.generate(model, words, []) == []


def test_bad_input(words):
    model = language.causal(words, width=32, layers=1, heads=2)
    with pytest.raises(TypeError, match="prompts must be a sequence"):
        language.generate(model, words, "one prompt")
    with pytest.raises(ValueError, match="prompts must not be empty"):
        language.generate(model, words, ["a", ""])
    with pytest.raises(ValueError, match="max_tokens must be at least 1"):
        language.generate(model, words, ["a"], max_tokens=0)
    with pytest.raises(ValueError, match="temperature must not be negative"):
        language.generate(model, words, ["a"], temperature=-1)
    with pytest.raises(ValueError, match="stop strings must not be empty"):
        language.generate(model, words, ["a"], stop=("",))
