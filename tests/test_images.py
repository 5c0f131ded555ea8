import pytest
import torch

from labkit import images as ops


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def test_flip_mirrors_about_half_of_the_images_and_leaves_the_rest():
    images = torch.rand(400, 3, 6, 6)
    flipped = ops.flip(images, generator=generator())
    mirrored = (flipped == images.flip(3)).flatten(1).all(1)
    same = (flipped == images).flatten(1).all(1)
    assert (mirrored ^ same).all() and 160 < mirrored.sum() < 240


def test_shift_is_a_crop_of_the_padded_image_and_reaches_every_place():
    images = torch.rand(500, 2, 5, 7) + 1
    shifted = ops.shift(images, pixels=1, generator=generator())
    padded, places = torch.nn.functional.pad(images, [1] * 4), set()
    for i in range(500):
        found = [
            (r, c)
            for r in range(3)
            for c in range(3)
            if torch.equal(padded[i, :, r : r + 5, c : c + 7], shifted[i])
        ]
        assert len(found) == 1
        places.update(found)
    assert len(places) == 9


def test_same_generator_same_images_and_zero_pixels_change_nothing():
    images = torch.rand(8, 3, 16, 16)
    one, two = (ops.flip_and_shift(images, generator=generator(3)) for _ in range(2))
    assert torch.equal(one, two)
    assert torch.equal(ops.shift(images, pixels=0), images)


def test_a_negative_shift_is_named():
    with pytest.raises(ValueError, match="pixels must be 0 or more, got -1"):
        ops.shift(torch.rand(1, 1, 4, 4), pixels=-1)
