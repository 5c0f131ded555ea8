"""Training several networks at once: the numbers of training them one by one."""

import functools

import pytest
import torch
from torch import nn

from labkit import models, training
from labkit.seeding import generator
from labkit.together import fit_together

SEEDS = [3, 7, 11]


@pytest.fixture
def fit():
    """The function under test."""
    return fit_together


def data(classes: int = 4, count: int = 40):
    """Three data sets of 8x8 images with a class that can be learnt, in double precision."""
    draws = generator(0)
    labels = torch.randint(classes, (len(SEEDS), count), generator=draws)
    images = torch.rand(len(SEEDS), count, 1, 8, 8, generator=draws, dtype=torch.double)
    images[..., 0, 0] += labels[..., None]
    return images, labels


NETWORKS = {
    "cnn": lambda seed: models.cnn(4, in_channels=1, channels=(4, 8), seed=seed).double(),
    "mlp": lambda seed: models.mlp(4, inputs=64, widths=(16,), seed=seed).double(),
}


def noisy(images, *, generator):
    return images + 0.1 * torch.rand(images.shape, generator=generator, dtype=images.dtype)


def late(model, images, labels, *, progress, generator):
    """A loss that changes on the way, and reads soft labels."""
    logits = model(images)
    return nn.functional.cross_entropy(logits, labels) + progress * logits.square().mean()


SETTINGS = {
    "plain": {},
    "augmented": {"augment": noisy},
    "another loss": {"loss": late},
    "SGD, constant": {
        "optimizer": functools.partial(torch.optim.SGD, momentum=0.9),
        "schedule": training.constant,
        "lr": 0.05,
    },
    "all in one batch": {"batch_size": 100},
}


@pytest.mark.parametrize("network", NETWORKS)
@pytest.mark.parametrize("settings", SETTINGS.values(), ids=SETTINGS)
def test_the_numbers_are_those_of_one_by_one(fit, network, settings):
    """Parameters, running statistics and losses, over several epochs; in double precision, to 1e-9."""
    images, labels = data()
    settings = {"steps": 12, "batch_size": 16} | settings
    together = [NETWORKS[network](seed) for seed in SEEDS]
    fits = fit(together, images, labels, seeds=SEEDS, **settings)
    for number, seed in enumerate(SEEDS):
        alone = NETWORKS[network](seed)
        expected = training.fit(alone, images[number], labels[number], seed=seed, **settings)
        assert fits[number].model is together[number] and not together[number].training
        torch.testing.assert_close(fits[number].losses, expected.losses, rtol=1e-9, atol=1e-9)
        state = together[number].state_dict()
        for name, value in alone.state_dict().items():
            torch.testing.assert_close(state[name], value, rtol=1e-9, atol=1e-9, msg=name)


def test_in_single_precision_predictions_agree(fit):
    """Rounding differs and nothing else, so that trained networks say the same."""
    images, labels = data()
    images = images.float()
    fits = fit([models.mlp(4, inputs=64, seed=s) for s in SEEDS], images, labels, steps=60, seeds=SEEDS)
    for number, seed in enumerate(SEEDS):
        alone = models.mlp(4, inputs=64, seed=seed)
        training.fit(alone, images[number], labels[number], steps=60, seed=seed)
        logits = training.predict(fits[number].model, images[number])
        torch.testing.assert_close(logits, training.predict(alone, images[number]), rtol=1e-2, atol=1e-2)


def test_soft_labels_and_a_list_of_data(fit):
    images, labels = data()
    soft = [nn.functional.one_hot(row, 4).double() for row in labels]
    hard = fit([NETWORKS["mlp"](s) for s in SEEDS], images, labels, steps=5)
    same = fit([NETWORKS["mlp"](s) for s in SEEDS], list(images), soft, steps=5)
    torch.testing.assert_close(hard[1].losses, same[1].losses)


def test_the_global_random_state_is_left_alone(fit):
    images, labels = data()
    before = torch.get_rng_state()
    fit([NETWORKS["cnn"](s) for s in SEEDS], images, labels, steps=2)
    assert torch.equal(before, torch.get_rng_state())


def test_bad_input(fit):
    images, labels = data()
    networks = [NETWORKS["mlp"](s) for s in SEEDS]
    with pytest.raises(ValueError, match="steps must be at least 1, got 0"):
        fit(networks, images, labels, steps=0)
    with pytest.raises(ValueError, match="models must not be empty"):
        fit([], images, labels, steps=1)
    with pytest.raises(ValueError, match="models must be of one architecture"):
        fit([*networks[:2], NETWORKS["cnn"](0)], images, labels, steps=1)
    with pytest.raises(ValueError, match="images must be as many as models: got 2 for 3"):
        fit(networks, images[:2], labels, steps=1)
    with pytest.raises(ValueError, match="seeds must be as many as models: got 1 for 3"):
        fit(networks, images, labels, steps=1, seeds=[0])
    with pytest.raises(ValueError, match="as many for every model, and not none: got"):
        fit(networks, images, [*labels[:2], labels[2][:5]], steps=1)


def test_what_draws_by_itself_is_refused(fit):
    """Dropout takes its noise from the global state, which could not be that of one by one."""
    images, labels = data()
    dropping = [nn.Sequential(nn.Flatten(), nn.Linear(64, 4), nn.Dropout(0.5)).double() for _ in SEEDS]
    with pytest.raises(RuntimeError, match="random"):
        fit(dropping, images, labels, steps=1)


def test_a_loss_that_is_not_finite_is_named(fit):
    images, labels = data()
    images[1] = float("nan")
    with pytest.raises(FloatingPointError, match="the loss of seed 7 is nan at step 0 of 3"):
        fit([NETWORKS["mlp"](s) for s in SEEDS], images, labels, steps=3, seeds=SEEDS)
