"""Training side by side: the numbers of one by one, ties, padding, rates, errors."""

import copy

import pytest
import torch

from labkit import language, training
from labkit.pretrain import side_by_side

VOCABULARY, LENGTH = 40, 12


@pytest.fixture
def fit_side_by_side():
    """The function under test; a reader's own version runs through the same tests."""
    return side_by_side.fit_side_by_side


def model(seed=0, width=16, **settings):
    return language.causal(VOCABULARY, width=width, layers=1, heads=2, context=LENGTH, seed=seed, **settings)


def rows(seed, count=10):
    """Rows of which the last is padding from its middle on."""
    drawn = torch.Generator().manual_seed(seed)
    tokens = torch.randint(3, VOCABULARY, (count, LENGTH), generator=drawn)
    tokens[-1, LENGTH // 2 :] = 0
    return tokens


@pytest.mark.parametrize("mixing", [True, False])
def test_each_model_ends_where_it_would_alone(fit_side_by_side, mixing):
    data, rates = [rows(1), rows(2, count=7), rows(3)], [1e-2, 1e-3, 3e-3]
    models = [model(mixing=mixing) for _ in data]
    alone = [
        language.fit(copy.deepcopy(each), tokens, steps=5, batch_size=4, lr=rate, seed=9)
        for each, tokens, rate in zip(models, data, rates, strict=True)
    ]
    together = fit_side_by_side(models, data, steps=5, batch_size=4, lr=rates, seed=9)
    for one, other, each in zip(alone, together, models, strict=True):
        assert other.model is each and not each.training
        torch.testing.assert_close(other.losses, one.losses, atol=1e-4, rtol=1e-4)
        for name, value in one.model.state_dict().items():
            torch.testing.assert_close(each.state_dict()[name], value, atol=1e-3, rtol=1e-3)


def test_tied_weights_stay_tied(fit_side_by_side):
    models = [model(), model(seed=1)]
    fit_side_by_side(models, [rows(1), rows(2)], steps=2, batch_size=4)
    for each in models:
        assert each.lm_head.weight is each.get_input_embeddings().weight


def test_models_do_not_touch_each_other(fit_side_by_side):
    """What one model learns does not depend on what stands beside it."""
    first = [model(), model()]
    second = copy.deepcopy(first)
    fit_side_by_side(first, [rows(1), rows(2)], steps=4, batch_size=4, lr=1e-2)
    fit_side_by_side(second, [rows(1), rows(3)], steps=4, batch_size=4, lr=1e-2)
    same = zip(first[0].parameters(), second[0].parameters(), strict=True)
    assert all(torch.allclose(a, b, atol=1e-5) for a, b in same)
    other = zip(first[1].parameters(), second[1].parameters(), strict=True)
    assert not all(torch.allclose(a, b, atol=1e-3) for a, b in other)


def test_a_row_with_nothing_to_predict_is_left_out(fit_side_by_side):
    tokens = rows(1)
    single = torch.zeros_like(tokens[:1])
    single[0, 0] = 5
    losses = [
        fit_side_by_side([model()], [each], steps=3, batch_size=4)[0].losses
        for each in (tokens, torch.cat([tokens, single]))
    ]
    torch.testing.assert_close(*losses)


@pytest.mark.parametrize(
    ("models", "data", "settings", "told"),
    [
        ([], [], {}, "not none"),
        ([0], [1, 2], {}, "as many"),
        ([0], [1], {"lr": [1e-3, 1e-3]}, "as many"),
        ([0], [1], {"steps": 0}, "steps"),
        ([0], [1], {"batch_size": 11}, "batch_size"),
    ],
)
def test_what_does_not_fit_is_named(fit_side_by_side, models, data, settings, told):
    models, data = [model(seed) for seed in models], [rows(seed) for seed in data]
    with pytest.raises(ValueError, match=told):
        fit_side_by_side(models, data, **{"steps": 1, "batch_size": 4} | settings)


def test_labels_need_a_loss_and_as_many_rows(fit_side_by_side):
    with pytest.raises(ValueError, match="together, or neither"):
        fit_side_by_side([model()], [rows(1)], labels=[rows(1)], steps=1)
    for labels, told in (([rows(1)[:4]], "labels for 4"), ([rows(1)] * 2, "as many")):
        with pytest.raises(ValueError, match=told):
            fit_side_by_side([model()], [rows(1)], labels=labels, loss=last_token, steps=1, batch_size=4)


def last_token(model, tokens, labels, *, progress, generator):
    """Cross-entropy of the last token alone, with a share that grows with the training."""
    logits = model(input_ids=tokens, use_cache=False).logits[:, -2]
    return (1 + progress) * torch.nn.functional.cross_entropy(logits, labels[:, -1])


def test_a_loss_of_ones_own(fit_side_by_side):
    """Labels, seeds and rates of their own; a weight that asks for no gradient stays."""
    data, labels, models = [rows(1), rows(2)], [rows(3), rows(4)], [model(seed=1), model(seed=2)]
    frozen = models[0].get_input_embeddings().weight.requires_grad_(False)
    before = frozen.clone()
    shared = dict(steps=5, batch_size=4, loss=last_token)
    alone = [
        training.fit(copy.deepcopy(each), tokens, wanted, lr=rate, seed=seed, **shared)
        for each, tokens, wanted, rate, seed in zip(models, data, labels, (1e-2, 1e-3), (7, 8), strict=True)
    ]
    together = fit_side_by_side(models, data, labels=labels, lr=(1e-2, 1e-3), seed=(7, 8), **shared)
    for one, other in zip(alone, together, strict=True):
        torch.testing.assert_close(other.losses, one.losses, atol=1e-4, rtol=1e-4)
    assert torch.equal(models[0].get_input_embeddings().weight, before)


def test_models_and_rows_must_have_one_shape(fit_side_by_side):
    with pytest.raises(ValueError, match="architecture"):
        fit_side_by_side([model(), model(width=32)], [rows(1), rows(2)], steps=1, batch_size=4)
    with pytest.raises(ValueError, match="one T"):
        fit_side_by_side([model(), model()], [rows(1), rows(2)[:, :8]], steps=1, batch_size=4)


def test_a_loss_that_is_not_finite_says_whose(fit_side_by_side):
    models = [model(), model()]
    with torch.no_grad():
        models[1].get_input_embeddings().weight.fill_(float("nan"))
    with pytest.raises(FloatingPointError, match="model 1"):
        fit_side_by_side(models, [rows(1), rows(2)], steps=2, batch_size=4)
