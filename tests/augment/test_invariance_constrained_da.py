"""Invariance-constrained augmentation: exact distributions of chains, closed forms of multipliers."""

import math
from functools import partial

import pytest
import torch
import torch.nn.functional as F
from scipy.stats import chisquare
from torch import nn

from labkit import models, training
from labkit.augment import invariance_constrained_da as icl
from labkit.augment.invariance_constrained_da import (
    WIDE,
    ConstrainedLoss,
    Constraint,
    trivial_augment,
)
from labkit.operations import OPERATIONS, apply


@pytest.fixture
def metropolis_hastings():
    """The function under test; a reader's own version runs through the same tests."""
    return icl.metropolis_hastings


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


class Identity(nn.Module):
    """A model whose output is its input: with `first` as loss, an image's loss is its first value."""

    def forward(self, images):
        return images


def first(logits, labels):
    return logits[:, 0]


def one_of(losses, weights=None):
    """A discrete family: transformation k turns any image into one whose loss is losses[k]."""
    losses = torch.as_tensor(losses)
    weights = torch.ones(len(losses)) if weights is None else torch.as_tensor(weights)

    def propose(images, *, generator):
        chosen = torch.multinomial(weights, len(images), replacement=True, generator=generator)
        return losses[chosen][:, None], chosen

    return propose


def counts(chain, kinds):
    return torch.bincount(chain.parameters, minlength=kinds).double()


ANGLES = [0.05, 0.1, 0.2, 0.4, 0.8, 1.6, 1.5, 1.2, 0.9, 0.6, 0.3, 0.15]  # a loss for each of 12 angles


@pytest.mark.parametrize("weights", [None, [1.0, 2, 3, 4, 5, 6, 6, 5, 4, 3, 2, 1]])
def test_long_chains_draw_in_proportion_to_the_loss(metropolis_hastings, weights):
    images, labels = torch.zeros(2000, 1), torch.zeros(2000, dtype=torch.long)
    propose = one_of(ANGLES, weights)
    chain = metropolis_hastings(
        Identity(), images, labels, propose, steps=50, loss=first, generator=generator()
    )
    exact = torch.tensor(ANGLES).double() * torch.tensor(weights or [1.0] * 12).double()
    assert chisquare(counts(chain, 12), 2000 * exact / exact.sum()).pvalue > 0.01


@pytest.mark.parametrize("steps", [1, 2, 3])
def test_short_chains_have_the_distribution_that_enumeration_gives(metropolis_hastings, steps):
    losses = torch.tensor([0.2, 0.5, 1.0, 2.0], dtype=torch.double)
    move = (losses / losses[:, None]).clamp(max=1) / 4  # from row to column
    move += torch.diag(1 - move.sum(dim=1))
    exact = torch.full((4,), 0.25, dtype=torch.double) @ torch.linalg.matrix_power(move, steps - 1)
    images, labels = torch.zeros(20_000, 1), torch.zeros(20_000, dtype=torch.long)
    chain = metropolis_hastings(
        Identity(), images, labels, one_of(losses), steps=steps, loss=first, generator=generator(3)
    )
    assert chisquare(counts(chain, 4), 20_000 * exact).pvalue > 0.01


def test_share_of_accepted_proposals_is_the_expected_one(metropolis_hastings):
    losses = torch.tensor([0.5, 1.0])
    images, labels = torch.zeros(20_000, 1), torch.zeros(20_000, dtype=torch.long)
    draw = partial(metropolis_hastings, Identity(), images, labels, one_of(losses), loss=first)
    assert draw(generator=generator()).accepted == pytest.approx((1 + 1 + 1 + 0.5) / 4, abs=0.01)
    assert math.isnan(draw(steps=1, generator=generator()).accepted)


@pytest.mark.parametrize("bad", [0.0, math.inf, math.nan])
def test_a_proposal_without_a_finite_ratio_is_rejected(metropolis_hastings, bad):
    """0 over a positive loss is never accepted, as infinite and undefined losses are not."""
    start = torch.tensor([0.0] * 50 + [1.0] * 50)[:, None]

    def propose(images, *, generator):
        proposed = torch.full_like(images, bad)
        proposed[:100] = start
        return proposed, torch.arange(len(images))

    chain = metropolis_hastings(
        Identity(), torch.zeros(100, 1), torch.zeros(100, dtype=torch.long), propose, loss=first
    )
    assert torch.equal(chain.images, start) and torch.equal(chain.parameters, torch.arange(100))
    assert chain.accepted == 0


def test_a_positive_loss_always_replaces_zero(metropolis_hastings):
    def propose(images, *, generator):
        return torch.tensor([0.0] * 50 + [0.01] * 50)[:, None], torch.arange(len(images))

    labels = torch.zeros(50, dtype=torch.long)
    chain = metropolis_hastings(Identity(), torch.zeros(50, 1), labels, propose, loss=first)
    assert torch.equal(chain.parameters, torch.arange(50, 100))


def test_images_parameters_and_losses_belong_together(metropolis_hastings):
    model, labels = models.cnn(classes=3, in_channels=1).eval(), torch.arange(64) % 3
    images = torch.rand(64, 1, 12, 12, generator=generator())

    def darken(images, *, generator):
        factor = torch.rand(len(images), generator=generator)
        return images * factor[:, None, None, None], factor

    chain = metropolis_hastings(model, images, labels, darken, steps=4, generator=generator(1))
    assert torch.equal(chain.images, images * chain.parameters[:, None, None, None])
    expected = F.cross_entropy(model(chain.images), labels, reduction="none")
    assert torch.allclose(chain.losses, expected, atol=1e-5)


def test_only_one_forward_pass_and_no_trace_in_the_model(metropolis_hastings):
    model, calls = models.cnn(classes=2, in_channels=1).train(), []
    model.register_forward_hook(lambda *args: calls.append(torch.is_grad_enabled()))
    before = {name: value.clone() for name, value in model.state_dict().items()}
    images, labels = torch.rand(8, 1, 12, 12), torch.arange(8) % 2
    copy, state = images.clone(), torch.get_rng_state()
    first_run, second_run = (
        metropolis_hastings(model, images, labels, trivial_augment, steps=5, generator=generator(7))
        for _ in range(2)
    )
    assert calls == [False, False]
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert model.training and not first_run.losses.requires_grad
    assert torch.equal(first_run.images, second_run.images) and torch.equal(images, copy)
    assert torch.equal(state, torch.get_rng_state())


# The multiplier


@pytest.mark.parametrize("loss, start", [(0.9, 0.0), (0.1, 1.0), (0.5, 0.3)])
def test_the_multiplier_of_a_constant_loss_moves_on_a_straight_line_down_to_zero(loss, start):
    constraint = Constraint(trivial_augment, margin=0.5, dual_lr=0.05, multiplier=start)
    for _ in range(100):
        constraint.update(torch.tensor(loss))
    expected = [max(0.0, start + 0.05 * (loss - 0.5) * (t + 1)) for t in range(100)]
    assert torch.stack(constraint.multipliers).tolist() == pytest.approx(expected, abs=1e-4)


class Scalar(nn.Module):
    """One parameter w; the loss on an image x is (w - x)^2."""

    def __init__(self):
        super().__init__()
        self.w = nn.Parameter(torch.tensor(2.0))

    def forward(self, images):
        return (self.w - images) ** 2


def to_zero(images, *, generator):
    return torch.zeros_like(images), torch.zeros(len(images))


def test_trajectory_is_that_of_primal_descent_and_dual_ascent_written_down_by_hand():
    """min (w - 2)^2 subject to w^2 <= 1/4: the saddle point is w = 1/2, gamma = 3."""
    model, constraint = Scalar(), Constraint(to_zero, margin=0.25, dual_lr=0.2)
    loss = ConstrainedLoss([constraint], loss=first)
    stepper = torch.optim.SGD(model.parameters(), lr=0.05)
    images, labels = torch.full((4, 1), 2.0), torch.zeros(4, dtype=torch.long)
    w, gamma = 2.0, 0.0
    for step in range(400):
        value = loss(model, images, labels, generator=generator())
        stepper.zero_grad()
        value.backward()
        stepper.step()
        # both steps from the same point: the multiplier sees the loss before the step of w
        w, gamma = w - 0.05 * (2 * (w - 2) + gamma * 2 * w), max(0.0, gamma + 0.2 * (w * w - 0.25))
        if step < 50:
            assert (model.w.item(), float(constraint.multiplier)) == pytest.approx((w, gamma), rel=1e-4)
    assert model.w.item() == pytest.approx(0.5, abs=1e-3)
    assert float(constraint.multiplier) == pytest.approx(3, abs=1e-2)
    assert constraint.report().status == "met"


def test_the_report_tells_a_slack_from_an_infeasible_margin():
    reports = {}
    for name, loss in (("slack", 0.2), ("infeasible", 1.5)):
        constraint = Constraint(trivial_augment, margin=0.5, dual_lr=0.1, name=name)
        for step in range(40):
            constraint.update(torch.tensor(loss + 0.01 * (-1) ** step))
        reports[name] = constraint.report()
    assert (reports["slack"].status, reports["slack"].multiplier) == ("slack", 0)
    assert reports["infeasible"].status == "not met"
    assert reports["infeasible"].multiplier == pytest.approx(40 * 0.1 * 1.0, rel=1e-3)
    assert "not met, loss 1.5 for a margin of 0.5, multiplier 4 still rising" in str(reports["infeasible"])


def test_each_family_has_its_own_multiplier():
    """w is pulled to 1; staying near 0 is asked for, and violated; staying near 1 costs nothing."""

    def to_one(images, *, generator):
        return torch.ones_like(images), torch.zeros(len(images))

    wrong = Constraint(to_zero, margin=0.25, dual_lr=0.05, name="wrong")
    right = Constraint(to_one, margin=0.5, dual_lr=0.05, name="right")
    model, loss = Scalar(), ConstrainedLoss([wrong, right], loss=first)
    stepper = torch.optim.SGD(model.parameters(), lr=0.05)
    images, labels = torch.ones(4, 1), torch.zeros(4, dtype=torch.long)
    for _ in range(400):
        stepper.zero_grad()
        loss(model, images, labels).backward()
        stepper.step()
    assert float(wrong.multiplier) == pytest.approx(1, abs=0.05)  # the saddle point is w = 1/2, gamma = 1
    assert float(right.multiplier) == 0
    assert len(loss.clean) == len(wrong.losses) == 400


@pytest.mark.parametrize("gammas", [(0.0,), (1.5,), (0.5, 2.0)])
def test_added_losses_are_weighted_by_the_multipliers(gammas):
    proposals = [one_of([0.3]), one_of([0.7])]
    constraints = [
        Constraint(propose, margin=9.0, dual_lr=1e-9, name=str(i), multiplier=gamma)
        for i, (propose, gamma) in enumerate(zip(proposals, gammas, strict=False))
    ]
    loss = ConstrainedLoss(constraints, loss=first)
    value = loss(Identity(), torch.full((5, 1), 0.2), torch.zeros(5, dtype=torch.long))
    expected = 0.2 + sum(gamma * each for gamma, each in zip(gammas, (0.3, 0.7), strict=False))
    assert float(value) == pytest.approx(expected)
    assert [float(each.losses[0]) for each in constraints] == pytest.approx([0.3, 0.7][: len(gammas)])


@pytest.mark.parametrize("gammas", [(0.0,), (3.0,), (1.0, 2.0)])
def test_sampled_images_are_replaced_as_often_as_the_multipliers_say(gammas):
    seen = []

    class Watched(Identity):
        def forward(self, images):
            if torch.is_grad_enabled():
                seen.append(images.flatten())
            return images

    constraints = [
        Constraint(one_of([1.0 + i]), margin=0.25, dual_lr=0.1, name=str(i), multiplier=gamma)
        for i, gamma in enumerate(gammas)
    ]
    loss = ConstrainedLoss(constraints, mode="sample", loss=first)
    count = 40_000
    loss(Watched(), torch.zeros(count, 1), torch.zeros(count, dtype=torch.long), generator=generator())
    assert len(seen) == 1  # one gradient pass, whatever the number of constraints
    for i, gamma in enumerate(gammas):
        assert (seen[0] == 1 + i).double().mean() == pytest.approx(gamma / (1 + sum(gammas)), abs=0.01)
        moved = gamma + 0.1 * (1 + i - 0.25)
        assert float(constraints[i].multiplier) == pytest.approx(moved)


@pytest.mark.parametrize("mode", ["add", "sample"])
def test_training_under_a_constraint_is_reproducible_and_learns(mode):
    labels = torch.arange(64) % 2
    images = torch.rand(64, 1, 12, 12, generator=generator()) * 0.3
    images[labels == 1, :, 4:8, 4:8] += 0.6

    def run():
        constraint = Constraint(trivial_augment, margin=0.4, dual_lr=0.05)
        loss = ConstrainedLoss([constraint], mode=mode)
        model = models.cnn(classes=2, in_channels=1)
        fitted = training.fit(model, images, labels, steps=60, batch_size=32, lr=0.01, loss=loss)
        return training.accuracy(fitted.model, images, labels), torch.stack(constraint.multipliers)

    (accuracy, gammas), (_, again) = run(), run()
    assert torch.equal(gammas, again) and accuracy > 90
    assert gammas.max() > gammas[0]


# TrivialAugment


def test_trivial_augment_draws_operations_and_levels_uniformly():
    images = torch.rand(6000, 1, 4, 4, generator=generator())
    _, drawn = trivial_augment(images, generator=generator(1))
    operations = torch.bincount(drawn[:, 0].long(), minlength=len(WIDE))
    levels = torch.bincount((drawn[:, 1] * 30).round().long(), minlength=31)
    assert chisquare(operations).pvalue > 0.01 and chisquare(levels).pvalue > 0.01
    assert (drawn[:, 1] * 30 - (drawn[:, 1] * 30).round()).abs().max() < 1e-4


def test_trivial_augment_applies_what_it_says():
    """Operations without a sign: with one, the sign is drawn too."""
    images = torch.rand(32, 3, 16, 16, generator=generator())
    unsigned = {name: each for name, each in OPERATIONS.items() if not each.signed}
    changed, drawn = trivial_augment(images, operations=unsigned, generator=generator(2))
    assert torch.equal(changed, apply(images, unsigned, drawn[:, 0].long(), drawn[:, 1]))


def test_the_wide_space_has_the_ranges_of_the_published_code():
    assert list(WIDE) == list(OPERATIONS) and len(WIDE) == 14
    ends = {name: WIDE[name].end for name in WIDE}
    assert (ends["rotate"], ends["shear_x"], ends["translate_y"], ends["posterize"]) == (135, 0.99, 1, 2)
    for name in ("color", "contrast", "brightness", "sharpness"):  # from 0.01 to almost twice
        assert (2 - ends[name], ends[name]) == pytest.approx((0.01, 1.99))
    assert OPERATIONS["rotate"].end == 30


# Bad input


@pytest.mark.parametrize(
    "options, named",
    [
        ({"margin": -0.1}, "margin"),
        ({"margin": math.nan}, "margin"),
        ({"dual_lr": 0.0}, "dual_lr must be above 0"),
        ({"dual_lr": -1e-4}, "dual_lr must be above 0"),
        ({"steps": 0}, "steps must be at least 1"),
        ({"multiplier": -1.0}, "multiplier"),
    ],
)
def test_a_bad_constraint_is_named(options, named):
    with pytest.raises(ValueError, match=named):
        Constraint(trivial_augment, **({"margin": 0.5} | options))


def test_a_report_needs_some_updates():
    with pytest.raises(ValueError, match="at least 4 updates, got 0"):
        Constraint(trivial_augment, margin=0.5).report()


@pytest.mark.parametrize(
    "count, steps, propose, loss, named",
    [
        (4, 0, one_of([1.0]), first, "steps must be at least 1, got 0"),
        (3, 2, one_of([1.0]), first, "got 4 and 3"),
        (4, 2, one_of([1.0, -2.0]), first, "0 or more"),
        (4, 2, lambda images, generator: (images[:4], images[:4]), first, "8 images and parameters"),
        (4, 2, lambda images, generator: (images, images[:4]), first, "8 images and parameters"),
    ],
)
def test_a_bad_chain_is_named(metropolis_hastings, count, steps, propose, loss, named):
    labels = torch.zeros(count, dtype=torch.long)
    with pytest.raises(ValueError, match=named):
        metropolis_hastings(
            Identity(), torch.zeros(4, 1), labels, propose, steps=steps, loss=loss, generator=generator()
        )


def test_a_bad_loss_is_named():
    constraint = Constraint(trivial_augment, margin=0.5)
    with pytest.raises(ValueError, match="different names, got \\[\\]"):
        ConstrainedLoss([])
    with pytest.raises(ValueError, match="different names"):
        ConstrainedLoss([constraint, Constraint(trivial_augment, margin=1.0)])
    with pytest.raises(ValueError, match="mode must be 'add' or 'sample', got 'both'"):
        ConstrainedLoss([constraint], mode="both")


def test_trivial_augment_refuses_an_empty_space_and_a_single_level():
    images = torch.rand(2, 3, 8, 8)
    with pytest.raises(ValueError, match="operations must not be empty"):
        trivial_augment(images, operations={})
    with pytest.raises(ValueError, match="levels must be at least 2, got 1"):
        trivial_augment(images, levels=1)
