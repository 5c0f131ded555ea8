import numpy as np
import pytest
import torch
from sklearn.datasets import load_digits

from labkit import data
from labkit.data.photos import PHOTOGRAPHS, regions


def test_digits_are_scikit_learns():
    batch = data.tensors(data.load("digits", "train"))
    originals = {tuple(image): label for image, label in zip(*load_digits(return_X_y=True), strict=True)}
    for image, label in zip(batch.images, batch.labels, strict=True):
        assert originals[tuple((image.flatten() * 16).round().tolist())] == label


def test_digits_of_both_splits_are_all_of_them_and_stratified():
    train, test = (data.tensors(part) for part in data.load("digits", seed=2).values())
    assert len(train.labels) + len(test.labels) == 1797
    total = train.labels.bincount() + test.labels.bincount()
    assert (test.labels.bincount() - total * 360 / 1797).abs().max() < 1


def test_digit_lies_in_its_box_and_is_the_digit():
    plain = data.tensors(data.load("digits", "train", size=50, seed=1))
    placed = data.tensors(data.load("digits", "train", size=50, seed=1, canvas=40))
    assert torch.equal(plain.labels, placed.labels)
    for small, large, (box,) in zip(plain.images, placed.images, placed.extra["boxes"], strict=True):
        top, left, bottom, right = box.tolist()
        side = (bottom - top, right - left)
        expected = torch.nn.functional.interpolate(small[None], size=side, mode="bilinear")[0]
        assert (large[:, top:bottom, left:right] - expected).abs().max() < 1.01 / 255


def test_without_clutter_nothing_is_outside_the_box():
    batch = data.tensors(data.load("digits", "train", size=50, canvas=40, clutter=0))
    for image, (box,) in zip(batch.images, batch.extra["boxes"], strict=True):
        top, left, bottom, right = box.tolist()
        image[:, top:bottom, left:right] = 0
        assert image.max() == 0


@pytest.mark.parametrize("seed", range(5))
def test_train_and_test_patches_share_no_pixel_and_are_a_patch_apart(seed):
    parts = {split: data.tensors(part) for split, part in data.load("photos", seed=seed).items()}
    for k in range(len(PHOTOGRAPHS)):
        train, test = (part.extra["region"][part.labels == k] for part in parts.values())
        assert len(train) and len(test)
        # The gap between two squares is the larger of the gaps by rows and by columns
        gap = torch.maximum(test[:, None, :2] - train[None, :, 2:], train[None, :, :2] - test[:, None, 2:])
        assert gap.amax(dim=2).min() >= 32


@pytest.mark.parametrize("shape", [(300, 451), (512, 512), (872, 1000)])
def test_regions_are_inside_and_leave_room_for_the_largest_patch(shape):
    found = regions(shape, largest=48, seed=0, name="any")
    boxes = np.concatenate(list(found.values()))
    assert (boxes >= 0).all() and (boxes[:, 2:] <= shape).all()
    assert (boxes[:, 2:] - boxes[:, :2] >= 48).all()
    assert 0.15 <= len(found["test"]) / len(boxes) <= 0.4


def test_a_patch_at_zoom_one_is_the_photograph():
    from pathlib import Path

    import skimage
    from PIL import Image

    batch = data.tensors(data.load("photos", "test", test_size=30, zoom=(1, 1), color=True))
    for image, label, region in zip(batch.images, batch.labels, batch.extra["region"], strict=True):
        file, _ = list(PHOTOGRAPHS.values())[label]
        photograph = Image.open(Path(skimage.__file__).parent / "data" / file).convert("RGB")
        top, left, bottom, right = region.tolist()
        expected = np.asarray(photograph)[top:bottom, left:right]
        assert np.array_equal((image * 255).round().byte().permute(1, 2, 0).numpy(), expected)


def test_patches_are_grey_unless_colour_is_asked_for():
    grey, color = (
        data.tensors(data.load("photos", "test", test_size=100, color=color)) for color in (False, True)
    )
    assert (grey.images[:, :1] == grey.images).all()
    colored = (color.images[:, :1] != color.images).flatten(1).any(1)
    names = list(PHOTOGRAPHS)
    assert colored[color.labels == names.index("tissue")].all()
    assert not colored[color.labels == names.index("brick")].any()


def test_every_photograph_is_equally_frequent():
    batch = data.tensors(data.load("photos", "train", size=200))
    assert batch.labels.bincount().tolist() == [20] * 10
