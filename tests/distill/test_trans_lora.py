"""Trans-LoRA: adapters of one base, the odds of the discriminator, the distribution that a filter keeps."""

import copy
import sys
from collections import Counter

import pytest
import torch

from labkit import language
from labkit.distill import trans_lora as module
from labkit.distill.trans_lora import (
    Discriminator,
    TransferBundle,
    add_lora,
    answer,
    fit_lora,
    speaking,
    synthesize_inputs,
    train_discriminator,
    transfer_inputs,
)
from labkit.seeding import generator

WORDS = ["red", "green", "blue", "black"]
DESKS = ["north", "south", "east", "west"]
TOKENIZER = language.lexicon([*WORDS, *DESKS, "to", "yes", "no", "real"], texts=None)
MLP = ["gate_proj", "up_proj", "down_proj"]
PROMPTS = [f"{word}\nto:" for word in WORDS]


@pytest.fixture
def rejection_filter():
    """The function under test; put your own version here."""
    return module.rejection_filter


@pytest.fixture
def transfer_lora():
    return module.transfer_lora


def base(seed=0, tokenizer=TOKENIZER, width=64):
    """An untrained model that can be sure of a word: its logits, of tied embeddings, are large enough."""
    model = language.causal(tokenizer, width=width, layers=1, heads=2, mixing=False, seed=seed)
    with torch.no_grad():
        model.get_input_embeddings().weight.mul_(4)
    return model


def routed(desks, seed=0, steps=100):
    """A source model whose adapter sends each word to a desk."""
    model = add_lora(base(seed), targets=MLP, seed=seed)
    fit_lora(model, TOKENIZER, PROMPTS, [f" {desk}" for desk in desks], steps=steps, lr=0.02, seed=seed)
    return model


def weights(model, part):
    return {name: value.clone() for name, value in model.state_dict().items() if part in name}


def equal(a, b):
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


# Adapters


def test_an_adapter_is_a_low_rank_change_of_the_layer():
    model = base()
    layer = model.model.layers[0].mlp.up_proj
    plain, inputs = layer.weight.detach().clone(), torch.randn(5, 64, generator=generator(0))
    add_lora(model, rank=3, alpha=12, seed=1)
    adapted = model.model.layers[0].mlp.up_proj
    down, up = adapted.lora_A["task"].weight, adapted.lora_B["task"].weight
    assert down.shape == (3, 64) and not up.any()
    assert torch.equal(adapted(inputs), inputs @ plain.T), "a new adapter changes nothing"
    with torch.no_grad():
        up.normal_(generator=generator(2))
    expected = inputs @ (plain + 12 / 3 * up @ down).T
    torch.testing.assert_close(adapted(inputs), expected)


def test_dora_comes_from_peft_as_well():
    model = add_lora(base(), rank=2, use_dora=True)
    assert any("magnitude" in name for name, _ in model.named_parameters())


def test_adapters_share_a_base_and_leave_each_other_alone():
    model = routed(DESKS)
    before = weights(model, "task"), weights(model, "base_layer")
    bare, said = answer(model, TOKENIZER, PROMPTS, adapter=None), answer(model, TOKENIZER, PROMPTS)
    assert said == DESKS and bare == answer(base(), TOKENIZER, PROMPTS, adapter=None)
    train_discriminator(model, TOKENIZER, ["red"], ["blue"], steps=5, lr=0.03, targets=MLP)
    assert equal(before[0], weights(model, "task")) and equal(before[1], weights(model, "base_layer"))
    assert model.active_adapter == "task" and answer(model, TOKENIZER, PROMPTS) == said


def test_speaking_restores_what_was_active():
    model = routed(DESKS, steps=5)
    add_lora(model, name="other")
    with speaking(model, "task"):
        assert model.active_adapter == "task"
        with speaking(model, None):
            pass
    assert model.active_adapter == "other"
    with speaking(base(), None) as bare:
        assert not hasattr(bare, "peft_config")
    with pytest.raises(ValueError, match=r"must be one of \['task', 'other'\].*'client'"):
        answer(model, TOKENIZER, PROMPTS, adapter="client")
    with pytest.raises(ValueError, match="None for a model without adapters, got 'task'"):
        answer(base(), TOKENIZER, PROMPTS)
    inner = base()
    add_lora(inner)
    with pytest.raises(ValueError, match="the model that add_lora returned"), speaking(inner, None):
        pass


def test_first_weights_come_from_the_seed():
    first, again, other = (weights(add_lora(base(), seed=s), "lora_A") for s in (0, 0, 1))
    assert equal(first, again) and not equal(first, other)


def test_without_peft_it_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "peft", None)
    with pytest.raises(ModuleNotFoundError, match="pip install peft"):
        add_lora(base())


# The discriminator


def test_the_score_is_the_share_of_the_real():
    """A word that real inputs have three times as often as synthetic ones gets odds of three."""
    real = ["red"] * 30 + ["green"] * 10 + ["blue"] * 2
    synthetic = ["red"] * 10 + ["green"] * 30 + ["blue"] * 2
    judge = train_discriminator(
        base(), TOKENIZER, real, synthetic, steps=100, lr=0.02, batch_size=84, targets=MLP, template="{input}"
    )
    torch.testing.assert_close(
        judge.score(["red", "green", "blue"]),
        torch.tensor([0.75, 0.25, 0.5], dtype=torch.float64),
        atol=0.03,
        rtol=0,
    )


def test_shuffled_answers_teach_nothing():
    real, synthetic = ["red"] * 40, ["blue"] * 40
    scores = {}
    for shuffled in (False, True):
        judge = train_discriminator(
            base(),
            TOKENIZER,
            real,
            synthetic,
            steps=50,
            lr=0.02,
            batch_size=80,
            shuffled=shuffled,
            targets=MLP,
            template="{input}",
        )
        scores[shuffled] = judge.score(["red", "blue"])
    assert scores[False][0] > 0.9 and scores[False][1] < 0.1
    assert (scores[True] - 0.5).abs().max() < 0.2


def test_its_answers_may_be_any_two_words():
    model = base()
    kept = train_discriminator(
        model, TOKENIZER, ["red"], ["blue"], steps=40, lr=0.03, words=(" north", " south")
    )
    turned = Discriminator(kept.model, TOKENIZER, words=(" south", " north"))
    torch.testing.assert_close(kept.score(["red", "blue"]), 1 - turned.score(["red", "blue"]))
    with pytest.raises(ValueError, match="two different answers"):
        train_discriminator(model, TOKENIZER, ["red"], ["blue"], steps=1, name="new", words=(" a", " a"))
    with pytest.raises(ValueError, match="'discriminator' already"):
        train_discriminator(kept.model, TOKENIZER, ["red"], ["blue"], steps=1)


# The filter


def test_sampling_gives_the_real_distribution(rejection_filter):
    """Drawn from q and accepted with the odds of the true posterior, inputs have the distribution p."""
    from scipy.stats import chisquare

    p, q = torch.tensor([0.5, 0.3, 0.15, 0.05]), torch.tensor([0.2, 0.3, 0.2, 0.3])
    drawn = torch.multinomial(q, 6000, replacement=True, generator=generator(0))
    found = rejection_filter(
        [WORDS[i] for i in drawn], (p / (p + q)).double()[drawn], mode="sample", generator=generator(1)
    )
    counts = [Counter(found.kept)[word] for word in WORDS]
    assert chisquare(counts, p.double().numpy() / float(p.double().sum()) * sum(counts)).pvalue > 0.01
    assert chisquare(counts, q.double().numpy() / float(q.double().sum()) * sum(counts)).pvalue < 1e-6
    assert found.acceptance == pytest.approx(float((q * p / q / (p / q).max()).sum()), abs=0.03)


def test_the_threshold_keeps_what_lies_above_it_in_random_order(rejection_filter):
    scores = torch.linspace(0, 1, 101, dtype=torch.float64)
    names = [str(i) for i in range(101)]
    found = rejection_filter(names, scores, threshold=0.7, generator=generator(0))
    assert sorted(map(int, found.kept)) == list(range(71, 101)) and found.kept != names[71:]
    assert found.seen == 101 and found.acceptance == pytest.approx(30 / 101)
    few = rejection_filter(names, scores, 5, threshold=0.7, generator=generator(0))
    assert few.kept == found.kept[:5] and few.acceptance == found.acceptance
    best = rejection_filter(names, scores, 3, mode="top")
    assert best.kept == ["100", "99", "98"]


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"mode": "best"}, "mode must be one of threshold, sample, top, got 'best'"),
        ({"mode": "top"}, "needs n"),
        ({"scores": torch.rand(3)}, "one for each candidate"),
        ({"candidates": [], "scores": torch.rand(0)}, "not none"),
        ({"scores": torch.tensor([0.5, 1.2])}, r"lie in \[0, 1\]"),
        ({"threshold": 1.5}, "threshold"),
        ({"scores": torch.tensor([0.1, 0.2])}, "accepts 0.00% .* less than 1%.*lower temperature"),
    ],
)
def test_errors_of_the_filter(rejection_filter, settings, message):
    given = {"candidates": ["a", "b"], "scores": torch.tensor([0.9, 0.1])} | settings
    with pytest.raises(ValueError, match=message):
        rejection_filter(given.pop("candidates"), given.pop("scores"), **given)


# Inputs


def test_inputs_are_written_by_the_bare_model_after_the_seeds(monkeypatch):
    asked = []

    def told(model, tokenizer, prompts, **settings):
        asked.extend(prompts)
        return [" red ", "", "green", "north"] * (len(prompts) // 4)

    monkeypatch.setattr(language, "generate", told)
    found = synthesize_inputs(routed(DESKS, steps=1), TOKENIZER, ["green", "blue", "black"], 8, shots=2)
    assert found == ["red", "north"] * 2, "neither empty ones nor copies of a seed"
    assert len(asked) == 8 and len(set(asked)) > 1
    for prompt in asked:
        first, second, last = prompt.split("\n")
        assert {first, second} < {"green", "blue", "black"} and first != second and last == ""
    asked.clear()
    synthesize_inputs(base(), TOKENIZER, ["green", "blue"], 4, shots=0)
    assert set(asked) == {TOKENIZER.eos_token}


def test_as_many_inputs_as_asked_for_are_kept(monkeypatch):
    def drawn(model, tokenizer, prompts, *, seed, **settings):
        chosen = torch.randint(len(WORDS), (len(prompts), 2), generator=generator(seed))
        return [f"{WORDS[a]} {WORDS[b]}" for a, b in chosen.tolist()]

    monkeypatch.setattr(language, "generate", drawn)
    model, seeds, settings = base(), ["red green", "green blue"], dict(shots=2)
    plain = transfer_inputs(model, TOKENIZER, seeds, 30, discriminator=None, **settings)
    assert len(plain.kept) == 30 and not {*plain.kept} & {*seeds}

    class NoRed:
        def score(self, texts):
            return torch.tensor([0.2 if "red" in text else 0.8 for text in texts], dtype=torch.float64)

    kept = transfer_inputs(model, TOKENIZER, seeds, 30, discriminator=NoRed(), **settings)
    assert len(kept.kept) == 30 and not any("red" in text for text in kept.kept)
    assert kept.seen > 30 and 0 < kept.acceptance < 1
    again = transfer_inputs(model, TOKENIZER, seeds, 30, discriminator=NoRed(), **settings)
    assert again == kept
    with pytest.raises(RuntimeError, match="of 30 inputs after 1 rounds"):
        transfer_inputs(model, TOKENIZER, seeds, 30, discriminator=NoRed(), rounds=1, **settings)
    with pytest.raises(ValueError, match="has no end"):
        transfer_inputs(model, TOKENIZER, seeds, 30, discriminator=None, mode="top")


@pytest.mark.parametrize(
    ("seeds", "settings", "message"),
    [
        (["red"], {}, "seeds must be 2 or more"),
        ("red green", {}, "seeds must be 2 or more"),
        (["red", " "], {}, "none empty"),
        (["red", "blue"], {"shots": 3}, "shots"),
        (["red", "blue"], {"n": 0}, "n "),
    ],
)
def test_errors_of_writing(seeds, settings, message):
    with pytest.raises(ValueError, match=message):
        synthesize_inputs(base(), TOKENIZER, seeds, **({"n": 4, "shots": 2} | settings))


# Distillation


def test_the_target_learns_what_the_source_says(transfer_lora):
    """Right or wrong: labels come from the source and its adapter alone; also across tokenizers."""
    wrong = DESKS[1:] + DESKS[:1]
    source = routed(wrong)
    kept = copy.deepcopy(source.state_dict())
    other = language.tokenizer(PROMPTS + DESKS, size=290)
    for tokenizer in (TOKENIZER, other):
        model = base(7, tokenizer, width=96)
        target = transfer_lora(
            source, TOKENIZER, model, tokenizer, PROMPTS, steps=100, targets=MLP, lr=0.02, seed=1
        )
        assert answer(target, tokenizer, PROMPTS) == wrong
    assert equal(kept, source.state_dict())


def test_divergence_learns_distributions(transfer_lora):
    """With KL the student has the teacher's probabilities, also of what it does not say."""
    source = add_lora(base(0), targets=MLP)
    prompts, desks = ["red\nto:"] * 4, [" north", " north", " north", " south"]
    fit_lora(source, TOKENIZER, prompts, desks, steps=60, lr=0.02)
    rows = language.pairs(prompts[:1], [" north"], TOKENIZER)

    def chances(model):
        with torch.no_grad():
            logits = model.eval()(input_ids=rows.tokens, use_cache=False).logits[0]
        return logits[int(rows.mask[0].int().argmax()) - 1].softmax(dim=-1)

    known = chances(source)
    gaps = {}
    for loss in ("ce", "kl"):
        target = transfer_lora(
            source, TOKENIZER, base(3), TOKENIZER, prompts, steps=100, targets=MLP, lr=0.02, loss=loss
        )
        gaps[loss] = float((chances(target) - known).abs().max())
    assert known.max() < 0.9 and gaps["kl"] < 0.06 < 0.1 < gaps["ce"]


def test_errors_of_distillation(transfer_lora):
    source, target = routed(DESKS, steps=20), base(1)
    with pytest.raises(ValueError, match="loss must be 'ce' or 'kl', got 'mse'"):
        transfer_lora(source, TOKENIZER, target, TOKENIZER, PROMPTS, steps=1, loss="mse")
    other = language.tokenizer(WORDS, size=270)
    with pytest.raises(ValueError, match="one vocabulary"):
        transfer_lora(source, TOKENIZER, base(1, other), other, PROMPTS, steps=1, loss="kl")
    with pytest.raises(ValueError, match="prompts must be 1 or more"):
        transfer_lora(source, TOKENIZER, target, TOKENIZER, [], steps=1)
    silent = add_lora(base(0))
    fit_lora(silent, TOKENIZER, PROMPTS, [""] * 4, steps=40, lr=0.03)
    with pytest.raises(ValueError, match="replies nothing to any of the 4"):
        transfer_lora(silent, TOKENIZER, target, TOKENIZER, PROMPTS, steps=1)
    with pytest.raises(ValueError, match="rank"):
        add_lora(base(), rank=0)


# What is kept


def test_the_bundle_comes_back_from_its_folder(tmp_path):
    model = routed(DESKS)
    judge = train_discriminator(model, TOKENIZER, ["red", "green"], ["blue"], steps=20, lr=0.03)
    bundle = TransferBundle(model, ["red", "green"], 40)
    bundle.save(tmp_path)
    found = TransferBundle.load(tmp_path, base())
    assert (found.seeds, found.size) == (["red", "green"], 40)
    assert answer(found.model, TOKENIZER, PROMPTS) == DESKS
    torch.testing.assert_close(found.judge(TOKENIZER).score(WORDS), judge.score(WORDS))
    files = sorted(str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*") if path.is_file())
    stored = {name for name in files if name.endswith((".safetensors", ".json"))}
    assert "transfer.json" in stored and "task/adapter_model.safetensors" in stored
    assert sum(path.stat().st_size for path in tmp_path.rglob("*.safetensors")) < 200_000
