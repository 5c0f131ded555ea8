import numpy as np
import pytest
import torch
import torch.nn.functional as F
from PIL import Image
from scipy.stats import ks_2samp, kstest

from labkit.augment import resizemix
from labkit.augment.resizemix import MixedBatch, crop_mix, cutmix, mixed_cross_entropy, patch_truth


@pytest.fixture
def resize_mix():
    """The function under test; a reader's own version runs through the same tests."""
    return resizemix.resize_mix


def batch_of(count=6, height=20, width=28, seed=0):
    images = torch.rand(count, 3, height, width, generator=torch.Generator().manual_seed(seed))
    return images, torch.arange(count)


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("mode", ["nearest", "area", "bilinear"])
def test_patch_is_the_whole_source_image_and_nothing_else_changes(resize_mix, seed, mode):
    images, labels = batch_of(seed=seed)
    batch = resize_mix(images, labels, mode=mode, generator=generator(seed))
    for i, (top, left, bottom, right) in enumerate(batch.boxes.tolist()):
        source = images[batch.source[i]][None]
        expected = images[i].clone()
        expected[:, top:bottom, left:right] = F.interpolate(
            source, size=(bottom - top, right - left), mode=mode
        )[0]
        assert torch.allclose(batch.images[i], expected)


def test_area_patch_agrees_with_pillow(resize_mix):
    images, labels = batch_of(height=32, width=32)
    images = (images * 255).round()
    batch = resize_mix(images, labels, scale=(0.5, 0.5), mode="area", generator=generator())
    top, left, bottom, right = batch.boxes[0].tolist()
    source = images[batch.source[0]].byte().permute(1, 2, 0).numpy()
    half = torch.tensor(np.asarray(Image.fromarray(source).reduce(2))).permute(2, 0, 1).float()
    assert (
        batch.images[0, :, top:bottom, left:right] - half
    ).abs().max() <= 0.5  # Pillow rounds to whole values


def test_label_weight_is_the_area_that_is_left(resize_mix):
    batch = resize_mix(*batch_of(), generator=generator(1))
    top, left, bottom, right = batch.boxes[0].tolist()
    assert batch.weight == pytest.approx(1 - (bottom - top) * (right - left) / (20 * 28))


def test_side_ratio_is_uniform_between_the_bounds(resize_mix):
    draws = generator(3)
    images, labels = torch.zeros(2, 1, 1000, 1000), torch.arange(2)
    boxes = [resize_mix(images, labels, generator=draws).boxes[0] for _ in range(200)]
    sides = [float(bottom - top) / 1000 for top, _, bottom, _ in boxes]
    assert kstest(sides, "uniform", args=(0.1, 0.7)).pvalue > 0.01


def test_one_side_ratio_per_batch_and_every_image_has_its_own_place(resize_mix):
    boxes = resize_mix(*batch_of(count=64), scale=(0.3, 0.3), generator=generator()).boxes
    assert len(set(map(tuple, (boxes[:, 2:] - boxes[:, :2]).tolist()))) == 1
    assert len(set(map(tuple, boxes[:, :2].tolist()))) > 30


def test_positions_reach_every_border_and_never_leave_the_image(resize_mix):
    boxes = resize_mix(*batch_of(count=2048), scale=(0.5, 0.5), generator=generator()).boxes
    assert boxes.amin(0).tolist() == [0, 0, 10, 14]
    assert boxes.amax(0).tolist() == [10, 14, 20, 28]


@pytest.mark.parametrize("mix", ["resize_mix", "crop_mix", "cutmix"])
def test_same_generator_same_batch_and_inputs_untouched(mix):
    mix = getattr(resizemix, mix)
    images, labels = batch_of()
    before = images.clone()
    first, second = (mix(images, labels, generator=generator(7)) for _ in range(2))
    assert torch.equal(first.images, second.images) and torch.equal(images, before)
    state = torch.get_rng_state()
    mix(images, labels, generator=generator(7))
    assert torch.equal(state, torch.get_rng_state())


def test_control_differs_from_the_method_in_the_content_of_the_patch_only(resize_mix):
    images, labels = batch_of()
    method = resize_mix(images, labels, generator=generator(5))
    control = crop_mix(images, labels, generator=generator(5))
    assert method.weight == control.weight
    assert torch.equal(method.boxes, control.boxes) and torch.equal(method.order, control.order)
    for i, (top, left, bottom, right) in enumerate(control.boxes.tolist()):
        expected = images[i].clone()
        expected[:, top:bottom, left:right] = images[control.order[i], :, top:bottom, left:right]
        assert torch.equal(control.images[i], expected)


@pytest.mark.parametrize("seed", range(8))
def test_cutmix_weighs_by_the_clipped_box(seed):
    images, labels = batch_of()
    batch = cutmix(images, labels, generator=generator(seed))
    top, left, bottom, right = batch.boxes[0].tolist()
    assert batch.weight == pytest.approx(1 - (bottom - top) * (right - left) / (20 * 28))
    inside = torch.zeros(20, 28, dtype=torch.bool)
    inside[top:bottom, left:right] = True
    assert torch.equal(batch.images, torch.where(inside, images[batch.order], images))


@pytest.mark.parametrize("alpha", [1.0, 0.4])
def test_cutmix_areas_are_distributed_as_in_the_published_algorithm(alpha):
    """Two samples: ours, and algorithm A1 of Yun et al. written down with NumPy."""
    images, labels, draws = torch.zeros(2, 1, 100, 100), torch.arange(2), generator(11)
    ours = [1 - cutmix(images, labels, alpha=alpha, generator=draws).weight for _ in range(400)]
    random, published = np.random.default_rng(0), []
    for _ in range(400):
        half = int(100 * np.sqrt(1 - random.beta(alpha, alpha))) // 2
        row, col = random.integers(100, size=2)
        sides = [min(at + half, 100) - max(at - half, 0) for at in (row, col)]
        published.append(sides[0] * sides[1] / 100**2)
    assert ks_2samp(ours, published).pvalue > 0.01


def test_loss_is_the_mixture_of_two_cross_entropies(resize_mix):
    batch = resize_mix(*batch_of(), generator=generator())
    logits = torch.randn(6, 6, generator=generator())
    soft = batch.weight * F.one_hot(batch.target, 6) + (1 - batch.weight) * F.one_hot(batch.source, 6)
    assert torch.allclose(mixed_cross_entropy(logits, batch), F.cross_entropy(logits, soft))


def test_a_shrunken_image_keeps_its_whole_object_and_a_crop_does_not(resize_mix):
    masks = torch.zeros(256, 32, 32, dtype=torch.bool)
    masks[:, 4:12, 20:28] = True  # one small object, off centre
    resized = patch_truth(resize_mix, masks, scale=(0.5, 0.5), generator=generator())
    cropped = patch_truth(crop_mix, masks, scale=(0.5, 0.5), generator=generator())
    assert torch.equal(resized.kept, torch.ones(256))
    assert (cropped.kept == 0).float().mean() > 0.2


def test_truth_of_the_patch_is_counted_pixel_by_pixel():
    """Against a count by hand: the left half of image 1 is pasted onto image 0 and the reverse."""

    def left_half(images, labels):
        order = torch.tensor([1, 0])
        mixed = images.clone()
        mixed[..., :4] = images[order][..., :4]
        boxes = torch.tensor([[0, 0, 8, 4]] * 2)
        return MixedBatch(mixed, labels, labels[order], 0.5, boxes, order, 1.0)

    masks = torch.zeros(2, 8, 8, dtype=torch.bool)
    masks[0, 0, 2:8] = True  # 6 pixels, 2 of them in the left half
    masks[1, 0:3, 3:5] = True  # 6 pixels, 3 of them in the left half
    truth = patch_truth(left_half, masks)
    assert truth.label.tolist() == [0.5, 0.5]
    assert truth.visible.tolist() == pytest.approx([3 / (3 + 4), 2 / (2 + 3)])
    assert truth.kept.tolist() == pytest.approx([3 / 6, 2 / 6])
    assert truth.left.tolist() == pytest.approx([4 / 6, 3 / 6])


@pytest.mark.parametrize("scale", [(0.0, 0.5), (0.6, 0.5), (0.5, 1.0), (-0.1, 0.5)])
@pytest.mark.parametrize("mix", [resizemix.resize_mix, crop_mix])
def test_a_bad_scale_is_named(mix, scale):
    with pytest.raises(ValueError, match="0 < low"):
        mix(*batch_of(), scale=scale)


@pytest.mark.parametrize("mix", [resizemix.resize_mix, crop_mix, cutmix])
def test_a_single_image_cannot_be_mixed(mix):
    with pytest.raises(ValueError, match="at least two images"):
        mix(*batch_of(count=1))


def test_a_patch_under_one_pixel_is_refused(resize_mix):
    with pytest.raises(ValueError, match="smaller than one pixel"):
        resize_mix(*batch_of(height=8, width=8), scale=(0.1, 0.1))


def test_a_bad_alpha_is_named():
    with pytest.raises(ValueError, match="alpha must be positive, got 0"):
        cutmix(*batch_of(), alpha=0)


def test_an_empty_mask_is_refused(resize_mix):
    with pytest.raises(ValueError, match="empty"):
        patch_truth(resize_mix, torch.zeros(4, 16, 16, dtype=torch.bool))
