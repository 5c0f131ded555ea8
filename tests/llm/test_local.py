"""Local models: a list at once says what each prompt alone says, greedily and token by token."""

import pytest
import torch

from labkit import language, llm

PROMPTS = ["Say something about the number 4.", "Say something.", "about"]
TEMPLATE = "{{ bos_token }}{% for m in messages %}[{{ m['content'] }}]{% endfor %}"
TEMPLATE += "{% if add_generation_prompt %}>{% endif %}"


@pytest.fixture
def local():
    return llm.local


def by_hand(role, prompt: str, count: int) -> tuple[list[int], list[float]]:
    """The likeliest token, again and again, without padding, cache or batch."""
    ids, told = role.tokenizer(prompt)["input_ids"], []
    start = len(ids)
    with torch.no_grad():
        for _ in range(count):
            logs = role.model(torch.tensor([ids])).logits[0, -1].log_softmax(0)
            ids.append(int(logs.argmax()))
            told.append(float(logs.max()))
            if ids[-1] == role.tokenizer.eos_token_id:
                break
    return ids[start:], told


def test_a_batch_says_what_each_says_alone(small):
    for reply, prompt in zip(small.complete(PROMPTS, max_tokens=6), PROMPTS, strict=True):
        ids, told = by_hand(small, prompt, 6)
        assert reply.text == small.tokenizer.decode(ids, skip_special_tokens=True).strip()
        assert (reply.tokens_in, reply.tokens_out) == (len(small.tokenizer(prompt)["input_ids"]), len(ids))
        assert reply.logprobs == pytest.approx(told, abs=1e-4)
        assert reply.finish == ("length" if len(ids) == 6 else "stop")


def test_stop_strings_end_a_reply(small):
    whole = small.complete(PROMPTS, max_tokens=12)
    letter = next(char for char in whole[0].text[1:] if char.isalpha())
    for reply, before in zip(small.complete(PROMPTS, max_tokens=12, stop=[letter]), whole, strict=True):
        assert reply.text == before.text.split(letter)[0].strip()


def test_draws_follow_the_seed(small):
    def drawn(seed):
        return small.complete(PROMPTS, max_tokens=8, temperature=1.0, seed=seed)

    torch.manual_seed(0)
    first = drawn(1)
    torch.manual_seed(99)  # the global state neither matters nor moves
    before = torch.get_rng_state()
    assert drawn(1) == first and torch.equal(torch.get_rng_state(), before)
    assert drawn(2) != first


def test_equal_prompts_get_one_reply(small):
    a, b, c = small.complete([PROMPTS[0], PROMPTS[1], PROMPTS[0]], max_tokens=8, temperature=1.0)
    assert a == c != b


def test_a_folder_and_its_model_say_the_same(local, folder, small):
    role = local(small.model, small.tokenizer, name="mine", batch_size=1)
    replies = local(folder).complete(PROMPTS, max_tokens=5)
    assert role.complete(PROMPTS, max_tokens=5) == replies and replies[0].logprobs is None
    assert (role.name, local(folder).name, repr(role)) == ("mine", "small", "local('mine')")


@pytest.mark.parametrize("begins", [False, True])
def test_the_chat_template_is_used_and_begins_once(local, folder, begins):
    model, tokenizer = language.load(str(folder))
    tokenizer.bos_token, tokenizer.chat_template = tokenizer.pad_token, TEMPLATE
    if begins:  # as a Llama's tokenizer does: encoding puts the beginning of text there by itself
        from tokenizers.processors import TemplateProcessing

        begin = (tokenizer.bos_token, tokenizer.bos_token_id)
        tokenizer.backend_tokenizer.post_processor = TemplateProcessing(
            single=f"{begin[0]} $A", special_tokens=[begin]
        )
        assert tokenizer("a")["input_ids"][0] == tokenizer.bos_token_id
    chat, plain = local(model, tokenizer), local(model, tokenizer, chat=False)
    [reply] = chat.complete(["Say"], max_tokens=5)
    direct = tokenizer.apply_chat_template(
        [{"role": "user", "content": "Say"}], add_generation_prompt=True, return_dict=True
    )["input_ids"]
    assert reply.tokens_in == len(direct)
    shown = "[Say]>" if begins else f"{tokenizer.bos_token}[Say]>"
    assert reply.text == plain.complete([shown], max_tokens=5)[0].text


def test_an_encoder_decoder_is_a_role_as_well(local, small):
    model = language.encoder_decoder(small.tokenizer, width=16, layers=1, heads=2)
    replies = local(model, small.tokenizer).complete(PROMPTS, max_tokens=4)
    assert len(replies) == 3 and all(reply.tokens_out <= 4 for reply in replies)


def test_every_tier_is_a_role(local, folder):
    for role in (llm.oracle(), local(folder)):
        assert isinstance(role, llm.LLM)
        assert llm.texts(role, []) == [] and role.complete([]) == []


def test_the_shipped_model_answers_from_a_passage():
    from labkit import weights

    if "labkit-tiny" not in weights.names():
        pytest.skip("labkit-tiny is not there yet")
    asked = llm.prompts.answer(
        "who is the mayor of Nobur?", ["Nobur elected Balen.", "Balen lives in Dudal."]
    )
    role = llm.tiny()
    assert role.name == "labkit-tiny" and llm.texts(role, [asked], max_tokens=8) == ["Balen"]


BAD = [
    (lambda local, small: local(small.model), TypeError, "tokenizer must be given"),
    (lambda local, small: local("folder", small.tokenizer), TypeError, "tokenizer must be left out"),
    (lambda local, small: local("/no/such/folder"), OSError, "no/such/folder"),
    (lambda local, small: local(small.model, small.tokenizer, chat=True), ValueError, "chat template"),
    (lambda local, small: local(small.model, small.tokenizer, batch_size=0), ValueError, "batch_size"),
    (lambda local, small: small.complete("Say"), TypeError, "prompts must be a list"),
    (lambda local, small: llm.texts(small, ["Say"], temperature=-1), ValueError, "temperature"),
]


@pytest.mark.parametrize(("call", "error", "message"), BAD)
def test_bad_input_is_named(local, small, call, error, message):
    with pytest.raises(error, match=message):
        call(local, small)
