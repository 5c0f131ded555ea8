import copy

import pytest
import torch
import torch.nn.functional as F
from scipy.ndimage import gaussian_filter
from scipy.stats import beta as beta_distribution
from scipy.stats import kstest

from labkit import models, training
from labkit.augment import noise_mask
from labkit.augment.noise_mask import (
    BetaMaskPolicy,
    MaskedLoss,
    average_checkpoints,
    beta_mask_policy,
    cool,
    heat,
    render_mask,
    sample_beta,
)


@pytest.fixture
def policy_gradient_loss():
    """The function under test; a reader's own version runs through the same tests."""
    return noise_mask.policy_gradient_loss


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def small_policy(**options):
    settings = {"image_size": 12, "in_channels": 1, "grid": 4, "kernel": 3, "sigma": 1.0} | options
    return beta_mask_policy(**settings)


def toy(count=32):
    """Two classes that differ in brightness: images float[N, 1, 12, 12], labels int64[N]."""
    labels = torch.arange(count) % 2
    images = 0.3 * torch.rand(count, 1, 12, 12, generator=generator()) + 0.5 * labels[:, None, None, None]
    return images, labels


def one_cell(seed, draws=20_000, target=0.3):
    """Quadratic loss of one cell, its log density, and the leaf log-parameters of each draw."""
    leaves = torch.tensor([0.4, 0.9], dtype=torch.float64).repeat(draws, 1).requires_grad_()
    alpha, beta = leaves.exp().unbind(1)
    cells = sample_beta(alpha, beta, generator=generator(seed))
    return (cells - target) ** 2, torch.distributions.Beta(alpha, beta).log_prob(cells)[:, None], leaves


def mean_and_error(gradients):
    return gradients.mean(0), gradients.std(0) / len(gradients) ** 0.5


@pytest.mark.parametrize("form, baseline", [("reinforce", 0.0), ("reinforce", 0.1), ("released", 0.0)])
def test_gradient_of_one_cell_agrees_with_the_reparameterized_one(policy_gradient_loss, form, baseline):
    """20,000 draws each; with one cell the released loss is the textbook's without a baseline."""
    losses, log_prob, leaves = one_cell(0)
    loss = policy_gradient_loss(losses, log_prob, form=form, baseline=baseline)
    (score,) = torch.autograd.grad(loss * len(losses), leaves)  # the mean of the draws, undone
    with torch.random.fork_rng():
        torch.manual_seed(1)
        alpha, beta = leaves.exp().unbind(1)
        path_loss = (torch.distributions.Beta(alpha, beta).rsample() - 0.3) ** 2
    (path,) = torch.autograd.grad(path_loss.sum(), leaves)
    (ours, error), (theirs, other) = mean_and_error(score), mean_and_error(path)
    assert ((ours - theirs).abs() < 3 * (error**2 + other**2).sqrt()).all()


def test_a_baseline_lowers_the_variance_of_the_gradient(policy_gradient_loss):
    def spread(baseline):
        losses, log_prob, leaves = one_cell(2)
        loss = policy_gradient_loss(losses + 1, log_prob, form="reinforce", baseline=baseline)
        return torch.autograd.grad(loss * len(losses), leaves)[0].std(0)

    assert (spread(1.05) < 0.3 * spread(0.0)).all()


def constant_loss_gradient(policy_gradient_loss, form, grid=6, draws=40_000):
    """The policy's mean gradient where no mask matters: each image has the loss 1."""
    logs = torch.rand(2, grid * grid, generator=generator(3), dtype=torch.float64).requires_grad_()
    alpha, beta = logs.exp().expand(draws, 2, -1).unbind(1)
    cells = sample_beta(alpha, beta, generator=generator(4))
    log_prob = torch.distributions.Beta(alpha, beta).log_prob(cells)
    losses = torch.ones(draws, dtype=torch.float64)
    return logs, torch.autograd.grad(policy_gradient_loss(losses, log_prob, form=form), logs)[0]


def test_the_released_loss_pulls_to_the_uniform_distribution_whatever_the_loss(policy_gradient_loss):
    """Closed form for many cells: half the gradient of log(sum over cells of the integral of p^2)."""
    logs, released = constant_loss_gradient(policy_gradient_loss, "released")
    alpha, beta = logs.exp()

    def log_b(a, b):
        return torch.lgamma(a) + torch.lgamma(b) - torch.lgamma(a + b)

    squared = torch.exp(log_b(2 * alpha - 1, 2 * beta - 1) - 2 * log_b(alpha, beta))
    (drift,) = torch.autograd.grad(squared.sum().log() / 2, logs)
    assert F.cosine_similarity(released.flatten(), drift.flatten(), dim=0) > 0.99
    assert released.norm() == pytest.approx(drift.norm().item(), rel=0.1)
    _, textbook = constant_loss_gradient(policy_gradient_loss, "reinforce")
    # the textbook's gradient is zero but for sampling error, which has no direction
    assert (textbook * drift).sum().abs() < 0.3 * drift.norm() ** 2


def test_forms_on_numbers_by_hand(policy_gradient_loss):
    losses, log_prob = torch.tensor([1.0, 3.0]), torch.tensor([[0.5, 0.25], [2.0, 1.0]]).log()
    released = policy_gradient_loss(losses, log_prob)
    assert released.item() == pytest.approx((torch.tensor([0.75, 3.0]).log() * losses).mean().item())
    textbook = policy_gradient_loss(losses, log_prob, form="reinforce", baseline=2.0)
    by_hand = 2 + (-1 * torch.tensor(0.125).log() + 1 * torch.tensor(2.0).log()) / 2
    assert textbook.item() == pytest.approx(by_hand.item())


def test_where_densities_sum_below_one_the_released_factor_is_negative(policy_gradient_loss):
    """Then the classifier climbs its own cross-entropy; the textbook form never does."""
    losses = torch.tensor([2.0], requires_grad=True)
    log_prob = torch.full((1, 4), 0.2).log()
    (released,) = torch.autograd.grad(policy_gradient_loss(losses, log_prob), losses)
    (textbook,) = torch.autograd.grad(policy_gradient_loss(losses, log_prob, form="reinforce"), losses)
    assert released.item() == pytest.approx(torch.tensor(0.8).log().item()) and released < 0
    assert textbook.item() == 1


@pytest.mark.parametrize("grid, lowest", [(8, 3.0), (64, 8.0)])
def test_on_many_cells_the_released_factor_is_positive(grid, lowest):
    logs = torch.rand(2, 64, grid * grid, generator=generator())
    cells = sample_beta(*logs.exp(), generator=generator())
    factor = torch.distributions.Beta(*logs.exp()).log_prob(cells).logsumexp(dim=1)
    assert factor.min() > lowest


@pytest.mark.parametrize("alpha, beta", [(0.5, 2.0), (1.0, 1.0), (3.0, 1.5)])
def test_samples_follow_the_beta_distribution(alpha, beta):
    drawn = sample_beta(torch.full((4000,), alpha), torch.full((4000,), beta), generator=generator())
    assert kstest(drawn.numpy(), beta_distribution(alpha, beta).cdf).pvalue > 0.01
    assert drawn.min() > 0 and drawn.max() < 1


@pytest.mark.parametrize("size, kernel, sigma", [((12, 12), 5, 1.5), ((20, 28), 7, 2.0)])
def test_mask_agrees_with_scipy(size, kernel, sigma):
    """SciPy's "mirror" is the reflection that leaves the border pixel single."""
    cells = torch.rand(3, 16, generator=generator())
    for mask, drawn in zip(render_mask(cells, size, kernel=kernel, sigma=sigma), cells, strict=True):
        rows = torch.arange(size[0]) * 4 // size[0]
        columns = torch.arange(size[1]) * 4 // size[1]
        enlarged = drawn.reshape(4, 4)[rows][:, columns].numpy()
        expected = gaussian_filter(enlarged, sigma, radius=kernel // 2, mode="mirror")
        assert torch.allclose(mask[0], torch.tensor(expected), atol=1e-5)


def test_a_constant_mask_stays_constant_to_the_border_and_one_cell_covers_all():
    assert torch.allclose(render_mask(torch.full((2, 64), 0.7), (24, 24)), torch.tensor(0.7))
    assert torch.allclose(render_mask(torch.tensor([[0.2]]), (8, 8), kernel=3, sigma=1.0), torch.tensor(0.2))


def test_strength_blends_the_mask_with_one():
    images, _ = toy()
    full, half, none = (
        small_policy(strength=s).eval().sample(images, generator=generator()) for s in (1, 0.5, 0)
    )
    assert torch.equal(full.cells, half.cells)
    assert torch.allclose(half.masks, 0.5 + 0.5 * full.masks) and torch.equal(
        none.masks, torch.ones_like(none.masks)
    )


def test_the_image_itself_has_the_weight_mix_and_the_base_follows_the_batch():
    images, _ = toy()
    policy = small_policy()
    heads = {}
    policy.alpha_head.register_forward_hook(lambda module, given, out: heads.update(alpha=out))
    before = policy.base_alpha.clone()
    alpha, _ = policy(images)
    assert torch.allclose(alpha.log(), 0.9 * before + 0.1 * heads["alpha"], atol=1e-5)
    assert torch.allclose(policy.base_alpha, 0.99 * before + 0.01 * heads["alpha"].mean(0), atol=1e-6)
    assert not policy.base_alpha.requires_grad
    after = policy.base_alpha.clone()
    policy.eval()(images)
    assert torch.equal(policy.base_alpha, after)
    everywhere = small_policy(mix=0.0).eval().sample(images).mean
    assert torch.equal(everywhere[0], everywhere[1])  # without mix, one distribution for all images


def test_no_gradient_runs_through_the_sample():
    drawn = small_policy().sample(toy()[0])
    assert not drawn.masks.requires_grad and not drawn.cells.requires_grad and drawn.log_prob.requires_grad


@pytest.mark.parametrize("form", ["released", "reinforce"])
def test_two_updates_in_a_row_are_those_of_the_joint_loss(policy_gradient_loss, form):
    """The gradients that classifier and policy get are those of one joint backward pass."""
    images, labels = toy()
    model, policy = models.cnn(classes=2, in_channels=1), small_policy()
    joint_model, joint_policy = copy.deepcopy(model), copy.deepcopy(policy).train()
    drawn = joint_policy.sample(images, generator=generator())
    losses = F.cross_entropy(joint_model(images * drawn.masks), labels, reduction="none")
    baseline = losses.mean().detach() if form == "reinforce" else 0.0
    policy_gradient_loss(losses, drawn.log_prob, form=form, baseline=baseline).backward()
    masked = MaskedLoss(policy, lr=1e-6, form=form)
    masked(model, images, labels, progress=0.0, generator=generator()).backward()
    for ours, joint in ((model, joint_model), (policy, joint_policy)):
        for one, other in zip(ours.parameters(), joint.parameters(), strict=True):
            assert torch.allclose(one.grad, other.grad, atol=1e-6)


def test_frozen_policy_does_not_move_and_a_learning_one_does():
    images, labels = toy()
    for lr, moved in ((0.0, False), (0.01, True)):
        policy = small_policy()
        before = copy.deepcopy(policy.state_dict())
        heat(models.cnn(classes=2, in_channels=1), policy, images, labels, steps=4, policy_lr=lr)
        after = policy.state_dict()
        assert any(not torch.equal(before[name], after[name]) for name in before) == moved


def test_the_textbook_policy_learns_to_take_its_noise_away():
    """A fixed classifier needs the brightness that masks take: a low loss asks for light masks."""
    images, labels = toy(64)
    model = training.fit(models.cnn(classes=2, in_channels=1), images, labels, steps=40).model
    policy = small_policy(mix=1.0)
    masked, draws, start = MaskedLoss(policy, lr=0.02, form="reinforce"), generator(), None
    for _ in range(150):
        masked(model.eval(), images, labels, progress=0.0, generator=draws)
        start = policy.sample(images).mean.mean().item() if start is None else start
    assert policy.sample(images).mean.mean().item() > start + 0.1


def test_heating_averages_the_checkpoints_of_the_last_epochs():
    images, labels = toy()
    options = {"batch_size": 16, "seed": 3, "policy_lr": 0.0, "schedule": training.constant}
    states = []

    def loss(network, batch, targets, *, progress, generator):
        if round(progress * 8) in (4, 6):  # two steps an epoch: the ends of epochs 2 and 3 of 4
            states.append(copy.deepcopy(network.state_dict()))
        return MaskedLoss(policy, lr=0.0)(network, batch, targets, progress=progress, generator=generator)

    policy = small_policy()
    plain = models.cnn(classes=2, in_channels=1)
    fit_options = {name: value for name, value in options.items() if name != "policy_lr"}
    training.fit(plain, images, labels, steps=8, loss=loss, **fit_options)
    heated = models.cnn(classes=2, in_channels=1)
    heat(heated, small_policy(), images, labels, steps=8, average=3, **options)
    expected = average_checkpoints([*states, plain.state_dict()])
    assert all(torch.allclose(value, expected[name]) for name, value in heated.state_dict().items())


def test_averaging_is_the_mean_and_counters_stay_whole():
    first, second = (models.cnn(classes=2, seed=seed).state_dict() for seed in (0, 1))
    second["body.1.num_batches_tracked"] += 5
    mean = average_checkpoints([first, second])
    assert torch.allclose(mean["head.weight"], (first["head.weight"] + second["head.weight"]) / 2)
    assert mean["body.1.num_batches_tracked"] == 5 and mean["body.1.num_batches_tracked"].dtype == torch.int64


def test_cooling_is_slow_training_on_clean_images():
    images, labels = toy()
    rates = []

    class Recorder(torch.optim.SGD):
        def step(self, closure=None):
            rates.append(self.param_groups[0]["lr"])
            return super().step(closure)

    cool(models.cnn(classes=2, in_channels=1), images, labels, steps=10, lr=0.001, optimizer=Recorder)
    expected = [0.001 * min(1, (i + 1) / 7) for i in range(10)]
    assert rates == pytest.approx(expected)


def test_same_generator_same_masks_and_the_global_state_is_left_alone():
    images, _ = toy()
    state = torch.get_rng_state()
    first, second = (small_policy().sample(images, generator=generator(7)) for _ in range(2))
    assert torch.equal(first.masks, second.masks) and torch.equal(state, torch.get_rng_state())


@pytest.mark.parametrize(
    "options, message",
    [
        ({"grid": 0}, "grid must be at least 1, got 0"),
        ({"mix": 1.5}, "mix must lie"),
        ({"strength": -0.1}, "strength must lie"),
        ({"base_momentum": 1.1}, "base_momentum must lie"),
    ],
)
def test_a_bad_policy_is_refused(options, message):
    settings = {"features": 4, "grid": 2} | options
    with pytest.raises(ValueError, match=message):
        BetaMaskPolicy(torch.nn.Flatten(), **settings)


def test_a_grid_finer_than_the_image_is_refused():
    with pytest.raises(ValueError, match="at most the image's side, got 16"):
        small_policy(grid=16).sample(toy()[0])
    with pytest.raises(ValueError, match="at most the image's side, got 4"):
        render_mask(torch.rand(2, 16), (3, 3), kernel=1, sigma=1.0)


@pytest.mark.parametrize(
    "cells, options, message",
    [
        ((2, 15), {}, "G \\* G"),
        ((2, 16), {"kernel": 4}, "kernel must be odd"),
        ((2, 16), {"kernel": 25}, "below twice the side"),
        ((2, 16), {"sigma": 0.0}, "sigma must be positive"),
    ],
)
def test_a_bad_mask_is_refused(cells, options, message):
    with pytest.raises(ValueError, match=message):
        render_mask(torch.rand(cells), (12, 12), **({"kernel": 3, "sigma": 1.0} | options))


@pytest.mark.parametrize("alpha, beta, name", [(0.0, 1.0, "alpha"), (1.0, -2.0, "beta")])
def test_parameters_that_are_not_positive_are_named(alpha, beta, name):
    with pytest.raises(ValueError, match=f"{name} must be positive"):
        sample_beta(torch.tensor([alpha]), torch.tensor([beta]))


@pytest.mark.parametrize(
    "losses, log_prob, options, message",
    [
        (torch.tensor(1.0), torch.zeros(2, 4), {}, "one per image"),
        (torch.ones(3), torch.zeros(2, 4), {}, "one per image"),
        (torch.ones(2), torch.zeros(2), {}, "one per image"),
        (torch.ones(2), torch.zeros(2, 4), {"form": "ppo"}, "form must be one of"),
        (torch.ones(2), torch.zeros(2, 4), {"baseline": 0.5}, "baseline must be 0"),
    ],
)
def test_a_bad_loss_is_refused(policy_gradient_loss, losses, log_prob, options, message):
    with pytest.raises(ValueError, match=message):
        policy_gradient_loss(losses, log_prob, **options)


def test_bad_heating_and_cooling_are_refused():
    images, labels = toy()
    model = models.cnn(classes=2, in_channels=1)
    with pytest.raises(ValueError, match="average must be from 1"):
        heat(model, small_policy(), images, labels, steps=2, average=3)
    with pytest.raises(ValueError, match="lr 0 or more"):
        heat(model, small_policy(), images, labels, steps=4, policy_lr=-1.0)
    with pytest.raises(ValueError, match="warmup must lie"):
        cool(model, images, labels, steps=2, lr=0.1, warmup=2.0)
    with pytest.raises(ValueError, match="states must be"):
        average_checkpoints([])
    with pytest.raises(ValueError, match="same names"):
        average_checkpoints([{"a": torch.ones(1)}, {"b": torch.ones(1)}])
