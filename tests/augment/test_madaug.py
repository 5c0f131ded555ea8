import copy
import math
from functools import partial

import pytest
import torch
import torch.nn.functional as F
from scipy.stats import chisquare
from torch import nn

from labkit import models, operations, training
from labkit.augment import madaug
from labkit.augment.madaug import (
    MADAug,
    Policy,
    Treatment,
    augmented_share,
    look_ahead,
    mixture,
    policy_step,
    treatment,
    uniform,
)
from labkit.operations import EXTRA, OPERATIONS, Operation
from labkit.seeding import seeded

POOL = {name: OPERATIONS[name] for name in ("identity", "rotate", "translate_x", "contrast", "solarize")}


@pytest.fixture
def augment():
    """The function under test; a reader's own version runs through the same tests."""
    return madaug.augment


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def batch_of(count=6, side=12, classes=3, seed=0):
    return torch.rand(count, 1, side, side, generator=generator(seed)), torch.arange(count) % classes


def given_for(count, total, seed=1):
    draws = generator(seed)
    magnitudes = torch.rand(count, total, generator=draws)
    return Treatment(magnitudes, torch.rand(count, total, generator=draws).softmax(dim=1))


class Smooth(nn.Module):
    """A model without kinks, so that finite differences are exact enough."""

    def __init__(self, seed=0):
        super().__init__()
        with seeded(seed):
            self.body = nn.Sequential(nn.Flatten(), nn.Linear(36, 8), nn.Tanh())
            self.head = nn.Linear(8, 3)

    def features(self, images):
        return self.body(images)

    def forward(self, images):
        return self.head(self.features(images))


def added(images, amount):
    """An operation whose derivative by its magnitude *is* 1 at every pixel."""
    return images + amount[:, None, None, None]


def changed(images, amount, by):
    return added(by(images), amount)


# The hypergradient


def test_the_gradient_through_the_step_is_that_of_finite_differences():
    """Where operations are additions, the straight-through gradient is exact: all of it must agree."""
    changes = {"add": lambda x: x, "mirror": lambda x: x.flip(3), "invert": lambda x: 1 - x}
    pool = {name: Operation(partial(changed, by=by), 0.0, 1.0) for name, by in changes.items()}
    model, policy = Smooth().double(), Policy(8, 3).double()
    images, labels = batch_of(side=6)
    held_out, targets = batch_of(side=6, seed=5)
    images, held_out = images.double(), held_out.double()
    with torch.no_grad():
        for weight in policy.parameters():
            weight.copy_(torch.randn(weight.shape, generator=generator(3)))

    def loss():
        mixed = mixture(images, pool, treatment(model, policy, images))
        return look_ahead(model, (mixed, labels), (held_out, targets), lr=0.5)

    exact = torch.autograd.grad(loss(), list(policy.parameters()))
    for weight, gradient in zip(policy.parameters(), exact, strict=True):
        flat = weight.data.view(-1)
        for i in range(0, len(flat), 7):
            kept, step, values = flat[i].item(), 1e-6, []
            for move in (step, -step):
                flat[i] = kept + move
                values.append(loss().item())
            flat[i] = kept
            slope = (values[0] - values[1]) / (2 * step)
            assert slope == pytest.approx(gradient.view(-1)[i].item(), rel=1e-3, abs=1e-9)


@pytest.mark.parametrize("lr", [0.01, 0.5])
def test_the_look_ahead_is_the_loss_after_a_step_that_is_really_taken(lr):
    model = models.cnn(classes=3, in_channels=1)
    images, labels = batch_of()
    held_out, targets = batch_of(seed=5)
    value = look_ahead(model, (images, labels), (held_out, targets), lr=lr)
    other = copy.deepcopy(model).eval()
    F.cross_entropy(other(images), labels).backward()
    torch.optim.SGD(other.parameters(), lr=lr).step()
    assert value.item() == pytest.approx(F.cross_entropy(other(held_out), targets).item(), rel=1e-5)


def test_a_policy_step_leaves_the_model_as_it_was():
    model = models.cnn(classes=3, in_channels=1)
    before, data = copy.deepcopy(model.state_dict()), batch_of()
    policy = Policy(32, len(POOL))
    optimizer = torch.optim.Adam(policy.parameters())
    policy_step(model, policy, optimizer, POOL, data, data, generator=generator())
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert all(weight.grad is None for weight in model.parameters()) and model.training
    assert any(weight.abs().sum() > 0 for weight in policy.parameters())


def test_a_policy_that_no_gradient_reaches_is_an_error():
    class Blind(Smooth):
        def forward(self, images):
            return self.head(torch.zeros(len(images), 8))

    policy = Policy(8, len(POOL))
    optimizer = torch.optim.Adam(policy.parameters())
    data = batch_of(side=6)
    with pytest.raises(RuntimeError, match="gradient of norm 0"):
        policy_step(Blind(), policy, optimizer, POOL, data, data)


def test_an_operation_that_destroys_labels_becomes_unlikely():
    """Bright on the left against bright on the right: the mirror swaps the two classes."""
    draws = generator(0)
    labels = torch.arange(64) % 2
    images = 0.2 * torch.rand(64, 1, 6, 6, generator=draws)
    images[labels == 0, :, :, :3] += 0.6
    images[labels == 1, :, :, 3:] += 0.6
    pool = {
        "identity": OPERATIONS["identity"],
        "mirror": EXTRA["flip_horizontal"],
        "rotate": OPERATIONS["rotate"],
    }
    model, policy = Smooth(), Policy(8, 3)
    optimizer = torch.optim.Adam(policy.parameters(), lr=0.01)
    for _ in range(50):
        policy_step(model, policy, optimizer, pool, (images, labels), (images, labels), generator=draws)
    mirrored = treatment(model, policy, images).probabilities[:, 1]
    assert mirrored.max() < 0.1


# What the policy prescribes


def test_a_new_policy_is_uniform_and_of_medium_strength():
    magnitudes, probabilities = Policy(32, 5)(torch.randn(4, 32, generator=generator()))
    assert torch.allclose(magnitudes, torch.tensor(0.5)) and torch.allclose(probabilities, torch.tensor(0.2))


def test_the_policy_reads_the_live_model_in_evaluation_mode():
    model, policy = models.cnn(classes=3, in_channels=1), Policy(32, 4)
    with torch.no_grad():
        policy.layer.weight.copy_(torch.randn(8, 32, generator=generator()))
    images, _ = batch_of()
    statistics = copy.deepcopy(model.body[1].running_mean)
    first = treatment(model, policy, images)
    alone = treatment(model, policy, images[:1])
    assert torch.allclose(first.probabilities[:1], alone.probabilities, atol=1e-6)  # no batch statistics
    assert model.training and torch.equal(statistics, model.body[1].running_mean)
    assert first.probabilities.std(dim=0).max() > 0.01  # each image has its own
    with torch.no_grad():
        model.body[0].weight.mul_(-1)
    assert not torch.allclose(treatment(model, policy, images).probabilities, first.probabilities)


def test_temperature_divides_the_logits():
    policy, features = Policy(8, 4), torch.randn(5, 8, generator=generator())
    with torch.no_grad():
        policy.layer.weight.copy_(torch.randn(8, 8, generator=generator()))
    sharp, even = policy(features), policy(features, temperature=4.0)
    expected = (sharp.probabilities.log() / 4).softmax(dim=1)
    assert torch.allclose(even.probabilities, expected, atol=1e-6)
    assert torch.equal(sharp.magnitudes, even.magnitudes)


# Training images


def test_operations_are_applied_one_after_the_other(augment):
    images, _ = batch_of(count=40)
    given = given_for(40, len(POOL))
    made = augment(images, POOL, given, k=2, generator=generator(4))
    draws = generator(4)
    chosen = torch.multinomial(given.probabilities, 2, generator=draws)
    strength = given.magnitudes.gather(1, chosen)
    expected = images
    for turn in range(2):
        expected = operations.apply(expected, POOL, chosen[:, turn], strength[:, turn], generator=draws)
    assert torch.equal(made, expected)


def test_an_image_never_gets_an_operation_twice_and_each_by_its_probability(augment):
    """Operations that add different amounts tell which were drawn."""
    count = 20_000
    pool = {f"add {a}": Operation(added, 0.0, float(a)) for a in (1, 10, 100)}
    probabilities = torch.tensor([0.5, 0.3, 0.2]).expand(count, 3)
    given = Treatment(torch.ones(count, 3), probabilities)
    one = augment(torch.zeros(count, 1, 2, 2), pool, given, k=1, generator=generator())[:, 0, 0, 0]
    observed = [(one == amount).sum().item() for amount in (1, 10, 100)]
    assert sum(observed) == count
    assert chisquare(observed, [0.5 * count, 0.3 * count, 0.2 * count]).pvalue > 0.01
    two = augment(torch.zeros(count, 1, 2, 2), pool, given, k=2, generator=generator())[:, 0, 0, 0]
    # without replacement: p1 p2 / (1 - p1) + p2 p1 / (1 - p2) for each pair
    pairs = {11: (0.5, 0.3), 101: (0.5, 0.2), 110: (0.3, 0.2)}
    observed = [(two == total).sum().item() for total in pairs]
    expected = [count * p * q * (1 / (1 - p) + 1 / (1 - q)) for p, q in pairs.values()]
    assert sum(observed) == count and chisquare(observed, expected).pvalue > 0.01


def test_wobble_moves_magnitudes_and_stays_inside(augment):
    pool = {"add": Operation(added, 0.0, 1.0)}
    given = Treatment(torch.full((3000, 1), 0.9), torch.ones(3000, 1))
    made = augment(torch.zeros(3000, 1, 1, 1), pool, given, k=1, wobble=0.3, generator=generator()).flatten()
    assert 0.6 <= made.min() < 0.65 and made.max() == 1.0
    assert 0.25 < (made == 1).float().mean() < 0.42  # a third of (0.6, 1.2) lies above 1


def test_same_generator_same_images_and_inputs_untouched(augment):
    images, _ = batch_of()
    before, given, state = images.clone(), given_for(6, len(POOL)), torch.get_rng_state()
    first, second = (augment(images, POOL, given, generator=generator(7)) for _ in range(2))
    assert torch.equal(first, second) and torch.equal(images, before)
    assert torch.equal(state, torch.get_rng_state())


def test_the_random_policy_is_uniform():
    drawn = uniform(500, 4, generator=generator())
    assert torch.equal(drawn.probabilities, torch.full((500, 4), 0.25))
    assert drawn.magnitudes.min() < 0.02 and drawn.magnitudes.max() > 0.98
    assert torch.equal(uniform(2, 3, magnitude=0.3).magnitudes, torch.full((2, 3), 0.3))


# Exploration


def test_the_mixture_is_the_weighted_sum_of_all_operations():
    images, _ = batch_of()
    given = given_for(6, len(POOL))
    unsigned = {name: operation._replace(signed=False) for name, operation in POOL.items()}
    expected = torch.zeros_like(images)
    for k in range(len(POOL)):
        position = torch.full((6,), k)
        changed = operations.apply(images, unsigned, position, given.magnitudes[:, k])
        expected += given.probabilities[:, k, None, None, None] * changed
    assert torch.allclose(mixture(images, unsigned, given), expected, atol=1e-6)


def test_the_magnitudes_gradient_is_straight_through():
    """Every pixel moves by the probability, whatever the operation does: even for one without a magnitude."""
    images, _ = batch_of()
    given = given_for(6, len(POOL))
    magnitudes = given.magnitudes.requires_grad_()
    weights = torch.rand(images.shape, generator=generator(2))
    (mixture(images, POOL, Treatment(magnitudes, given.probabilities)) * weights).sum().backward()
    assert torch.allclose(
        magnitudes.grad, given.probabilities * weights.sum(dim=(1, 2, 3))[:, None], rtol=1e-4
    )


# The whole method


def test_the_share_of_augmented_images_rises_to_one():
    shares = [augmented_share(epoch, 40) for epoch in range(241)]
    assert shares[0] == pytest.approx(0.01) and shares[-1] == 1.0
    assert shares == sorted(shares)
    assert shares[40] == pytest.approx(math.tanh(1) + 0.01)


def test_only_the_first_images_of_a_batch_are_treated():
    seen, policy = [], Policy(8, 1)

    class Spy(Smooth):
        def forward(self, images):
            seen.append(images)
            return super().forward(images)

    pool = {"add": Operation(added, 100.0, 100.0)}
    data = batch_of(count=20, side=6)
    method = MADAug(policy, pool, data, every=0, k=1, ramp=0.5)
    method(Spy(), *data, progress=0.25, generator=generator())
    assert (seen[-1].amax(dim=(1, 2, 3)) > 50).sum() == int((math.tanh(0.5) + 0.01) * 20)


@pytest.mark.parametrize(
    ("settings", "updates"), [({"every": 3}, 4), ({"every": 3, "start": 0.5}, 2), ({"every": 0}, 0)]
)
def test_the_policy_learns_every_few_steps_from_its_start_on(settings, updates):
    data, policy, watched = batch_of(count=16), Policy(32, len(POOL)), []
    method = MADAug(
        policy, POOL, data, **settings, watch=lambda model, policy, progress: watched.append(progress)
    )
    training.fit(models.cnn(classes=3, in_channels=1), *data, steps=12, batch_size=8, loss=method)
    assert len(watched) == updates
    changed = any(weight.abs().sum() > 0 for weight in policy.parameters())
    assert changed == (updates > 0)


def test_the_same_seed_trains_the_same_policy():
    data, policies = batch_of(count=16), []
    for _ in range(2):
        policy = Policy(32, len(POOL))
        model = models.cnn(classes=3, in_channels=1)
        training.fit(model, *data, steps=9, batch_size=8, loss=MADAug(policy, POOL, data))
        policies.append(policy)
    assert torch.equal(policies[0].layer.weight, policies[1].layer.weight)


# Bad input


@pytest.mark.parametrize("sizes", [{"features": 0, "operations": 3}, {"features": 3, "operations": 0}])
def test_a_policy_needs_features_and_operations(sizes):
    with pytest.raises(ValueError, match="must be at least 1, got"):
        Policy(**sizes)


def test_a_bad_temperature_is_named():
    with pytest.raises(ValueError, match="temperature must be positive, got 0"):
        Policy(2, 2)(torch.rand(1, 2), temperature=0)


@pytest.mark.parametrize(
    ("options", "message"), [({"k": 0}, "k must"), ({"k": 6}, "k must"), ({"wobble": 2}, "wobble must")]
)
def test_bad_options_of_augment_are_named(augment, options, message):
    with pytest.raises(ValueError, match=message):
        augment(batch_of()[0], POOL, given_for(6, 5), **options)


@pytest.mark.parametrize("function", [madaug.augment, mixture])
def test_a_treatment_of_other_images_is_refused(function):
    with pytest.raises(ValueError, match=r"magnitudes must be float\[B, K\] = \(6, 5\)"):
        function(batch_of()[0], POOL, given_for(5, 5))


def test_a_step_without_a_size_is_refused():
    data = batch_of(side=6)
    with pytest.raises(ValueError, match="lr must be positive, got 0"):
        look_ahead(Smooth(), data, data, lr=0)


@pytest.mark.parametrize(("time", "tau"), [(-1, 40), (1, 0), (1, math.nan)])
def test_bad_times_are_named(time, tau):
    with pytest.raises(ValueError, match="time >= 0 and tau > 0"):
        augmented_share(time, tau)


def test_a_magnitude_outside_its_range_is_named():
    with pytest.raises(ValueError, match="magnitude must lie in"):
        uniform(2, 3, magnitude=1.5)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"every": -1}, "every must"),
        ({"start": 2}, "start lie"),
        ({"held_out": (torch.rand(0), torch.rand(0))}, "held_out must"),
    ],
)
def test_bad_settings_of_the_method_are_named(options, message):
    settings = {"policy": Policy(8, 5), "operations": POOL, "held_out": batch_of()} | options
    with pytest.raises(ValueError, match=message):
        MADAug(**settings)


def test_a_model_without_features_is_refused():
    with pytest.raises(TypeError, match="features"):
        treatment(nn.Linear(2, 2), Policy(2, 2), torch.rand(1, 2))
