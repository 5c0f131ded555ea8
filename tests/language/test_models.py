import pytest
import torch
import torch.nn.functional as F

from labkit import language, training
from labkit.seeding import generator

CONSTRUCTORS = [language.causal, language.masked, language.encoder_decoder]


@pytest.mark.parametrize("build", CONSTRUCTORS)
def test_weights_come_from_the_seed_and_nothing_else(build):
    torch.manual_seed(5)
    before = torch.get_rng_state()
    first, again, other = build(300, seed=1), build(300, seed=1), build(300, seed=2)
    assert torch.equal(before, torch.get_rng_state())
    pairs = list(zip(first.parameters(), again.parameters(), other.parameters(), strict=True))
    assert all(torch.equal(a, b) for a, b, _ in pairs)
    assert any(not torch.equal(a, c) for a, _, c in pairs)


@pytest.mark.parametrize("kind", ["causal", "masked", "encoder_decoder"])
def test_a_folder_gives_the_model_back(kind, tmp_path, capfd):
    words = language.tokenizer(["a b c"], size=270)
    model = getattr(language, kind)(words, width=32, layers=1, heads=2)
    language.save(model, words, tmp_path)
    again, _ = language.load(tmp_path, kind=kind)
    assert (tmp_path / "model.safetensors").exists() and type(again) is type(model)
    assert all(torch.equal(a, b) for a, b in zip(model.parameters(), again.parameters(), strict=True))
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize("mixing", [True, False])
def test_no_token_sees_those_after_it(mixing):
    model = language.causal(50, width=32, layers=2, heads=2, mixing=mixing)
    tokens = torch.randint(3, 50, (2, 12), generator=generator(0))
    changed = tokens.clone()
    changed[:, 7:] = 3
    with torch.no_grad():
        a, b = model(tokens).logits, model(changed).logits
    torch.testing.assert_close(a[:, :7], b[:, :7])
    assert not torch.allclose(a[:, 8:], b[:, 8:])


def test_the_gates_start_open():
    """A convolution whose gates are 1 is linear in its input: twice the input gives twice the output."""
    model = language.causal(50)
    layer = model.model.layers[0]
    with torch.no_grad():
        x = layer.operator_norm(model.model.embed_tokens(torch.arange(3, 50)[None]))
        gates = layer.conv.in_proj(x).chunk(3, dim=-1)[:2]
    for gate in gates:
        assert 0.8 < gate.mean() < 1.2 and gate.std() < 0.6


def look_ups(count, seed, facts=4):
    """Rows "name relation value ." four times, then "? name relation", and the value asked for."""
    draws = generator(seed)
    names = torch.stack([torch.randperm(60, generator=draws)[:facts] for _ in range(count)])
    relations = torch.randint(0, 6, (count, facts), generator=draws)
    values = torch.randint(0, 60, (count, facts), generator=draws)
    stop = torch.full_like(names, 3)
    told = torch.stack([4 + names, 64 + relations, 70 + values, stop], dim=2).flatten(1)
    asked, row = torch.randint(0, facts, (count,), generator=draws), torch.arange(count)
    question = torch.stack([torch.full((count,), 2), told[row, 4 * asked], told[row, 4 * asked + 1]], dim=1)
    return torch.cat([told, question, 70 + values[row, asked][:, None]], dim=1)


def test_mixing_learns_to_look_up_and_plain_attention_does_not_in_that_time():
    def hits(mixing):
        model, rows = language.causal(130, layers=1, mixing=mixing), look_ups(12_000, seed=0)
        mask = torch.zeros_like(rows, dtype=torch.bool)
        mask[:, -1] = True
        language.fit(model, rows, mask=mask, steps=180, batch_size=64, schedule=training.constant)
        test = look_ups(400, seed=1)
        with torch.no_grad():
            return float((model(test).logits[:, -2].argmax(dim=1) == test[:, -1]).float().mean())

    with_mixing, without = hits(True), hits(False)
    assert with_mixing > 0.6 and without < 0.4  # 0.25 is: some value of the four


def test_the_masked_model_reads_both_sides():
    model = language.masked(50, width=32, layers=1, heads=2)
    tokens = torch.randint(3, 50, (1, 8), generator=generator(0))
    changed = tokens.clone()
    changed[:, -1] = 3
    with torch.no_grad():
        assert not torch.allclose(model(tokens).logits[:, 0], model(changed).logits[:, 0])


def test_the_encoder_decoder_learns_to_copy():
    model = language.encoder_decoder(40, width=32, layers=1, heads=2)
    tokens = torch.randint(3, 40, (256, 6), generator=generator(0))

    def loss(model, rows, labels, **_):
        return F.cross_entropy(model(input_ids=rows, labels=labels).logits.flatten(0, 1), labels.flatten())

    losses = training.fit(model, tokens, tokens, steps=60, batch_size=32, loss=loss).losses
    assert losses[-1] < 0.95 * losses[0]


def test_bad_input():
    for build in CONSTRUCTORS:
        with pytest.raises(ValueError, match="width must be a multiple of twice heads"):
            build(300, width=60, heads=4)
        with pytest.raises(ValueError, match="layers must be at least 1, got 0"):
            build(300, layers=0)
        with pytest.raises(ValueError, match="vocabulary must have at least 3"):
            build(1)
        with pytest.raises(TypeError, match="vocabulary must be a tokenizer or a number"):
            build("words")
    with pytest.raises(ValueError, match="kind must be one of"):
        language.load("somewhere", kind="image")
    with pytest.raises(OSError):
        language.load("/nowhere/at/all")
