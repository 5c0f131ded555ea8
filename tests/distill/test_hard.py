"""HARD: the disagreement and its gradient, the turns, and augmentors against loops and peers."""

import copy

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from labkit import models
from labkit.distill import hard, learned_augmentors
from labkit.distill.learned_augmentors import (
    VAE,
    AffineAugmentor,
    LatentAugmentor,
    MixAugmentor,
    fit_vae,
    random_affine,
)
from labkit.seeding import generator


@pytest.fixture
def kd_loss():
    return hard.kd_loss


@pytest.fixture
def hard_distill():
    return hard.hard_distill


def pair(frozen=True):
    """A teacher and a student that disagree, for images of 8x8 in two classes."""
    teacher = models.cnn(classes=2, in_channels=1, channels=(4, 4), seed=0).eval()
    with torch.no_grad():
        teacher.head.weight *= 10
    student = models.mlp(2, inputs=64, widths=(16,), seed=1)
    return teacher.requires_grad_(not frozen), student


def pictures(count=16, side=8, seed=0):
    return torch.rand(count, 1, side, side, generator=generator(seed))


# --- the loss


@pytest.mark.parametrize("temperature", [1.0, 2.0, 5.0])
def test_loss_is_the_softened_kl_written_out(kd_loss, temperature):
    student, teacher = torch.randn(2, 5, 4, generator=generator(1)).unbind()
    p, q = (teacher / temperature).softmax(1), (student / temperature).softmax(1)
    by_hand = sum(float(p[i, k] * (p[i, k] / q[i, k]).log()) for i in range(5) for k in range(4)) / 5
    assert kd_loss(student, teacher, temperature).item() == pytest.approx(temperature**2 * by_hand, rel=1e-5)


def test_gradient_hardly_depends_on_a_high_temperature(kd_loss):
    """Hinton and others: with the square the gradient tends to the difference of the centred logits / K."""
    teacher = torch.randn(3, 4, generator=generator(2))
    student = torch.zeros(3, 4, requires_grad=True)
    kd_loss(student, teacher, 1000.0).backward()
    expected = -(teacher - teacher.mean(1, keepdim=True)) / 4 / 3
    assert torch.allclose(student.grad, expected, atol=1e-3)


def test_loss_is_zero_for_equal_logits_and_shifted_ones(kd_loss):
    logits = torch.randn(3, 4, generator=generator(3))
    assert kd_loss(logits + 7, logits).item() == pytest.approx(0, abs=1e-6)


# --- the augmentors


def test_affine_augmentor_warps_as_affine_grid_of_torch_does():
    augmentor, images = AffineAugmentor(spread=1.0, seed=3), pictures()
    noise = torch.randn(16, 8, generator=generator(5))
    grid = F.affine_grid(augmentor.matrices(noise), images.shape, align_corners=False)
    expected = F.grid_sample(images, grid, align_corners=False)
    assert torch.allclose(augmentor(images, generator=generator(5)), expected, atol=1e-5)


def test_affine_parameters_stay_within_their_bounds():
    ranges = (0.1, 0.2, 0.3, 0.0, 0.5, 0.6)
    augmentor = AffineAugmentor(ranges=ranges, spread=50.0)
    change = augmentor.matrices(torch.randn(500, 8, generator=generator(0))) - torch.eye(2, 3)
    reached = change.abs().amax(0).flatten()
    assert torch.allclose(reached, torch.tensor(ranges), atol=1e-3)


def test_a_move_to_the_edge_is_a_move_of_whole_pixels():
    """tx of one half-width moves the content by half the width."""
    augmentor, images = AffineAugmentor(), pictures()
    augmentor.matrices = lambda noise: torch.tensor([[1.0, 0, 1, 0, 1, 0]]).view(1, 2, 3).repeat(16, 1, 1)
    moved = augmentor(images)
    assert torch.allclose(moved[..., :4], images[..., 4:], atol=1e-6)
    assert torch.equal(moved[..., 4:], torch.zeros_like(moved[..., 4:]))


def test_random_affine_is_uniform_in_the_same_bounds():
    """A map of the corner coordinates: a shift alone, whose mean and spread are those of the uniform."""
    ramp = torch.linspace(-1 + 1 / 64, 1 - 1 / 64, 64).expand(4000, 1, 1, 64)
    moved = random_affine(ramp, ranges=(0, 0, 0.5, 0, 0, 0), generator=generator(4))
    shift = moved[:, 0, 0, 31:33].mean(1)
    assert shift.abs().max() <= 0.5 + 1e-4
    assert shift.std().item() == pytest.approx(0.5 / 3**0.5, rel=0.05)


def test_mix_shows_the_warped_image_where_the_mask_is_one_and_its_partner_where_it_is_zero():
    augmentor, images = MixAugmentor(ranges=[0] * 6, grid=2), pictures(4)
    cells = torch.tensor([1.0, 1.0, 0.0, 0.0]).view(1, 1, 2, 2)
    augmentor.masks = lambda noise: cells.expand(4, 1, 2, 2)
    mixed = augmentor(images, generator=generator(0))
    assert torch.allclose(mixed[:, :, :2], images[:, :, :2], atol=1e-6)
    assert torch.allclose(mixed[:, :, -2:], images.roll(1, 0)[:, :, -2:], atol=1e-6)


def test_an_untrained_mix_hardly_mixes():
    masks = MixAugmentor().masks(torch.randn(64, 8, generator=generator(0)))
    assert masks.mean() > 0.9 and masks.min() > 0.5


def test_latent_step_stays_within_the_radius_and_the_autoencoder_is_left_alone():
    vae = VAE((1, 8, 8), latent=4)
    before = copy.deepcopy(vae.state_dict())
    augmentor = LatentAugmentor(vae, radius=0.5, spread=50.0)
    codes = []
    vae.decode = lambda code: codes.append(code) or torch.zeros(len(code), 1, 8, 8)
    images = pictures(64)
    augmentor(images, generator=generator(0))
    step = codes[0] - vae.encode(images)[0]
    assert 0.49 < step.abs().max().item() <= 0.5 + 1e-5
    assert not any(p.requires_grad for p in vae.parameters())
    assert all(torch.equal(before[name], value) for name, value in vae.state_dict().items())


def test_the_autoencoder_learns_to_reproduce():
    """Two kinds of stripes: after training, what comes back is nearer to the image than the mean image is."""
    stripes = torch.zeros(64, 1, 8, 8)
    stripes[:32, :, ::2], stripes[32:, :, :, ::2] = 1.0, 1.0
    vae = fit_vae(VAE((1, 8, 8), latent=2), stripes, steps=100)
    back = vae.decode(vae.encode(stripes)[0])
    assert (back - stripes).square().mean() < 0.2 * (stripes.mean(0) - stripes).square().mean()


@pytest.mark.parametrize(
    "augmentor", [AffineAugmentor(), MixAugmentor(), LatentAugmentor(VAE((1, 8, 8), latent=4))]
)
def test_augmentors_draw_from_their_generator_alone_and_noise_matters(augmentor):
    images, state = pictures(), torch.get_rng_state()
    first, again, other = (augmentor(images, generator=generator(seed)) for seed in (1, 1, 2))
    assert first.shape == images.shape
    assert torch.equal(first, again) and not torch.equal(first, other)
    assert torch.equal(state, torch.get_rng_state())


@pytest.mark.parametrize(
    "augmentor", [AffineAugmentor(), MixAugmentor(), LatentAugmentor(VAE((1, 8, 8), latent=4))]
)
def test_the_disagreement_reaches_every_weight_of_the_augmentor(augmentor, kd_loss):
    teacher, student = pair()
    images = augmentor(pictures(), generator=generator(0))
    kd_loss(student(images), teacher(images)).backward()
    learnt = [p for p in augmentor.parameters() if p.requires_grad]
    assert learnt and all(p.grad is not None and p.grad.abs().sum() > 0 for p in learnt)


# --- the game


class Shift(nn.Module):
    """An augmentor of one parameter, whose loss can be drawn: the images plus a constant."""

    def __init__(self):
        super().__init__()
        self.amount = nn.Parameter(torch.tensor(0.1))

    def forward(self, images, *, generator=None):
        return images + self.amount


@pytest.mark.parametrize("maximize", [True, False])
def test_the_augmentor_climbs_the_disagreement_of_both_networks(hard_distill, kd_loss, maximize):
    """Its first step has the sign of the numeric slope of the loss, taken through teacher and student."""
    teacher, student = pair()
    augmentor, images = Shift(), pictures()
    options = {"low": 1e6, "high": 2e6, "max_aug_steps": 1, "lr_student": 0.0, "lr_augmentor": 1e-3}
    hard_distill(teacher, student, [images], augmentor, steps=2, maximize=maximize, **options)

    def loss(amount):
        with torch.no_grad():
            return kd_loss(student(images + amount), teacher(images + amount)).item()

    slope = (loss(0.11) - loss(0.09)) / 0.02
    assert abs(slope) > 1e-3
    moved = augmentor.amount.item() - 0.1
    assert moved == pytest.approx(1e-3 * (1 if maximize == (slope > 0) else -1), rel=1e-3)


def test_one_step_of_the_student_is_that_of_the_two_losses(hard_distill, kd_loss):
    teacher, student = pair()
    expected = copy.deepcopy(student)
    images = pictures()
    hard_distill(teacher, student, [images], lambda x, generator: 1 - x, steps=1, mix=0.3, lr_student=0.01)
    stepper = torch.optim.Adam(expected.parameters(), lr=0.01)
    losses = [kd_loss(expected(x), teacher(x)) for x in (images, 1 - images)]
    (0.7 * losses[0] + 0.3 * losses[1]).backward()
    stepper.step()
    for ours, theirs in zip(student.parameters(), expected.parameters(), strict=True):
        assert torch.allclose(ours, theirs, atol=1e-6)


def test_plain_distillation_is_that_of_the_images_alone(hard_distill, kd_loss):
    teacher, student = pair()
    expected, images = copy.deepcopy(student), pictures()
    history = hard_distill(teacher, student, [images], None, steps=1, lr_student=0.01)
    stepper = torch.optim.Adam(expected.parameters(), lr=0.01)
    loss = kd_loss(expected(images), teacher(images))
    loss.backward()
    stepper.step()
    assert history.clean.item() == history.augmented.item() == pytest.approx(loss.item(), rel=1e-5)
    assert all(
        torch.allclose(a, b, atol=1e-6)
        for a, b in zip(student.parameters(), expected.parameters(), strict=True)
    )


def test_turns_follow_the_thresholds(hard_distill):
    """After each student step below `low` a turn; it ends once above `high`, or at the cap."""
    teacher, student = pair()
    history = hard_distill(
        teacher, student, [pictures()], AffineAugmentor(seed=2), steps=40, low=0.05, high=0.2,
        max_aug_steps=3, lr_student=0.01, lr_augmentor=0.05, generator=generator(0),
    )  # fmt: skip
    before = torch.cat([torch.tensor([float("inf")]), history.augmented[:-1]])
    assert torch.equal(history.turns > 0, before < 0.05)
    assert 0 < history.augmentor_steps == len(history.aug_losses)
    at = 0
    for turn in history.turns.tolist():
        values = history.aug_losses[at : at + turn]
        assert (values[:-1] <= 0.2).all()
        assert turn in (0, 3) or values[-1] > 0.2
        at += turn


def test_the_student_has_statistics_of_its_own_steps_only(hard_distill):
    """Batch normalization: in the augmentor's turn the student is evaluated, not trained."""
    teacher, _ = pair()
    students = [models.cnn(classes=2, in_channels=1, channels=(4, 4), seed=1) for _ in range(2)]
    for student, cap in zip(students, (0, 3), strict=True):
        hard_distill(
            teacher, student, [pictures()], Shift(), steps=3, low=1e6, high=2e6, max_aug_steps=cap,
            lr_student=0.0, lr_augmentor=0.0,
        )  # fmt: skip
    counts = [int(student.body[1].num_batches_tracked) for student in students]
    assert counts == [3, 3]
    assert torch.allclose(students[0].body[1].running_mean, students[1].body[1].running_mean)


def test_the_teacher_is_left_as_it_was(hard_distill):
    teacher, student = pair()
    before = copy.deepcopy(teacher.state_dict())
    hard_distill(teacher, student, [pictures()], AffineAugmentor(), steps=4, low=9.0, high=10.0)
    assert all(torch.equal(before[name], value) for name, value in teacher.state_dict().items())
    assert not teacher.training and all(p.grad is None for p in teacher.parameters())


def test_the_augmentors_turn_leaves_no_gradient_in_the_student(hard_distill):
    """Before the second step stands the gradient of the student's first step, and nothing of the turn."""
    gradients = []
    for cap in (0, 2):
        teacher, student = pair()

        def watch(step, student=student):
            if step == 1:
                gradients.append([p.grad.clone() for p in student.parameters()])

        hard_distill(
            teacher,
            student,
            [pictures()],
            Shift(),
            steps=2,
            low=1e6,
            high=2e6,
            max_aug_steps=cap,
            watch=watch,
        )
    assert all(torch.equal(a, b) for a, b in zip(*gradients, strict=True))


@pytest.mark.parametrize("augmentor", [AffineAugmentor(), lambda images, generator: images])
def test_without_turns_nothing_of_the_augmentor_changes(hard_distill, augmentor):
    teacher, student = pair()
    before = copy.deepcopy(getattr(augmentor, "state_dict", dict)())
    history = hard_distill(teacher, student, [pictures()], augmentor, steps=3, max_aug_steps=0)
    assert history.augmentor_steps == 0
    assert all(
        torch.equal(before[name], value) for name, value in getattr(augmentor, "state_dict", dict)().items()
    )


def test_it_finds_the_move_that_the_student_does_not_know(hard_distill):
    """The teacher sees a bar wherever it stands, the student saw it in the middle: the augmentor moves it."""
    bars = torch.zeros(64, 1, 9, 9)
    bars[::2, :, 3:6, 4], bars[1::2, :, 4, 3:6] = 1.0, 1.0  # upright or lying

    class Pooled(nn.Module):
        def forward(self, images):
            upright = F.conv2d(images, torch.ones(1, 1, 3, 1), padding=(1, 0)).amax((1, 2, 3))
            lying = F.conv2d(images, torch.ones(1, 1, 1, 3), padding=(0, 1)).amax((1, 2, 3))
            return 4 * torch.stack([upright, lying], dim=1)

    moves = {}
    for cap in (0, 2):
        augmentor = AffineAugmentor(ranges=(0, 0, 0.7, 0, 0, 0.7), spread=0.03)
        student = models.mlp(2, inputs=81, widths=(32,), seed=0)
        draws = generator(0)
        hard_distill(
            Pooled(), student, hard.batches(bars, 16, generator=draws), augmentor, steps=60, low=1.0,
            high=3.0, max_aug_steps=cap, lr_student=5e-3, lr_augmentor=1e-2, generator=draws,
        )  # fmt: skip
        noise = torch.randn(200, 8, generator=generator(1))
        moves[cap] = augmentor.matrices(noise)[:, :, 2].abs().mean().item()
    assert moves[2] > 2 * moves[0]


def test_loaders_with_labels_and_of_finite_length_are_taken(hard_distill):
    from torch.utils.data import DataLoader, TensorDataset

    teacher, student = pair()
    loader = DataLoader(TensorDataset(pictures(), torch.arange(16)), batch_size=8)
    history = hard_distill(teacher, student, loader, lambda x, generator: x, steps=5)
    assert torch.allclose(history.clean, history.augmented)


def test_a_watcher_sees_every_step_before_it_is_taken(hard_distill):
    teacher, student = pair()
    seen, first = [], copy.deepcopy(student.head.weight)

    def watch(step):
        seen.append((step, torch.equal(student.head.weight, first)))

    hard_distill(teacher, student, [pictures()], lambda x, generator: 1 - x, steps=3, watch=watch)
    assert seen == [(0, True), (1, False), (2, False)]


def test_every_image_comes_once_per_epoch():
    images = torch.arange(6.0).view(6, 1, 1, 1)
    stream = hard.batches(images, 2, generator=generator(0))
    epoch = torch.cat([next(stream) for _ in range(3)]).flatten().tolist()
    assert sorted(epoch) == list(range(6))


# --- bad input


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"low": 2.0, "high": 2.0}, "low < high, got 2.0 and 2.0"),
        ({"steps": 0}, "steps must be 1 or more"),
        ({"max_aug_steps": -1}, "max_aug_steps 0 or more"),
        ({"mix": 1.5}, "mix must lie"),
        ({"loader": []}, "at least one batch"),
        ({"loader": [torch.rand(4, 64)]}, r"float\[B, C, H, W\], got torch.float32\[4, 64\]"),
    ],
)
def test_bad_input_is_named(hard_distill, options, message):
    teacher, student = pair()
    options = {"steps": 2, "loader": [pictures()]} | options
    with pytest.raises(ValueError, match=message):
        hard_distill(teacher, student, options.pop("loader"), AffineAugmentor(), **options)


def test_a_teacher_that_is_not_frozen_is_refused(hard_distill):
    teacher, student = pair(frozen=False)
    with pytest.raises(ValueError, match="frozen"):
        hard_distill(teacher, student, [pictures()], AffineAugmentor(), steps=1)


def test_an_augmentor_that_never_had_a_turn_is_an_error(hard_distill):
    teacher, student = pair()
    with pytest.raises(RuntimeError, match="never fell below low=1e-09"):
        hard_distill(teacher, student, [pictures()], AffineAugmentor(), steps=3, low=1e-9, high=1.0)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: hard.kd_loss(torch.zeros(2, 3), torch.zeros(2, 3), 0), "temperature"),
        (lambda: hard.kd_loss(torch.zeros(2, 3), torch.zeros(2, 4)), "one shape"),
        (lambda: AffineAugmentor(ranges=(1, 2)), "six numbers"),
        (lambda: random_affine(pictures(), ranges=(1, 1, 1, 1, 1, -1)), "six numbers"),
        (lambda: MixAugmentor(grid=0), "grid"),
        (lambda: LatentAugmentor(VAE((1, 8, 8), latent=2), radius=0), "radius"),
        (lambda: AffineAugmentor()(torch.zeros(8, 8)), "images must be"),
    ],
)
def test_bad_parts_are_named(call, message):
    with pytest.raises(ValueError, match=message):
        call()


def test_the_module_says_what_is_in_it():
    assert all(hasattr(hard, name) for name in hard.__all__)
    assert all(hasattr(learned_augmentors, name) for name in learned_augmentors.__all__)
