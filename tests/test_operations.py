"""Each operation beside Pillow's, image by image, and what `apply` promises."""

import math

import numpy as np
import pytest
import torch
from PIL import Image, ImageEnhance, ImageOps

from labkit import operations
from labkit.operations import EXTRA, OPERATIONS

LEVEL = 1 / 255 + 1e-6
SIZE = 20


@pytest.fixture(params=[3, 1], ids=["colour", "grey"])
def images(request):
    """Smooth images of bytes, so that a pixel's neighbours differ but not wildly."""
    noise = torch.rand(6, request.param, 5, 5, generator=torch.Generator().manual_seed(0))
    smooth = torch.nn.functional.interpolate(noise, (SIZE, SIZE + 4), mode="bicubic").clamp(0, 1)
    return (smooth * 255).round() / 255


def to_pillow(image):
    values = (image * 255).round().to(torch.uint8).permute(1, 2, 0).numpy()
    return Image.fromarray(values.squeeze(-1) if values.shape[-1] == 1 else values)


def from_pillow(image):
    values = np.asarray(image)
    return torch.from_numpy(values.reshape(*values.shape[:2], -1).copy()).permute(2, 0, 1) / 255


def pillow(images, values, function):
    return torch.stack(
        [from_pillow(function(to_pillow(image), value)) for image, value in zip(images, values, strict=True)]
    )


FACTORS = torch.tensor([0.0, 0.1, 0.7, 1.0, 1.3, 1.9])
TONES = [
    (operations.brightness, FACTORS, lambda im, v: ImageEnhance.Brightness(im).enhance(v)),
    (operations.color, FACTORS, lambda im, v: ImageEnhance.Color(im).enhance(v)),
    (operations.contrast, FACTORS, lambda im, v: ImageEnhance.Contrast(im).enhance(v)),
    (operations.sharpness, FACTORS, lambda im, v: ImageEnhance.Sharpness(im).enhance(v)),
    (
        operations.solarize,
        torch.tensor([0, 51, 100, 128, 200, 256]) / 255,
        lambda im, v: ImageOps.solarize(im, round(v * 255)),
    ),
    (
        operations.posterize,
        torch.tensor([4.0, 5.0, 6.0, 7.0, 8.0, 4.0]),
        lambda im, v: ImageOps.posterize(im, int(v)),
    ),
    (operations.autocontrast, None, lambda im, v: ImageOps.autocontrast(im)),
    (operations.equalize, None, lambda im, v: ImageOps.equalize(im)),
    (operations.invert, None, lambda im, v: ImageOps.invert(im)),
    (operations.flip_horizontal, None, lambda im, v: ImageOps.mirror(im)),
    (operations.flip_vertical, None, lambda im, v: ImageOps.flip(im)),
]


@pytest.mark.parametrize(("function", "values", "peer"), TONES, ids=lambda x: getattr(x, "__name__", ""))
def test_tones_are_pillows(images, function, values, peer):
    if values is None:
        ours, values = function(images), [None] * len(images)
    else:
        ours, values = function(images, values), values.tolist()
    rounded_twice = function in (operations.color, operations.contrast, operations.sharpness)
    assert (ours - pillow(images, values, peer)).abs().max() <= LEVEL * (1 + rounded_twice)


def test_equalize_is_pillows_on_sparse_histograms_too():
    few = torch.randint(0, 3, (6, 1, 40, 40), generator=torch.Generator().manual_seed(0)) * 100 / 255
    few[0] = 0.2  # of one value
    theirs = pillow(few, [None] * 6, lambda im, v: ImageOps.equalize(im))
    assert (operations.equalize(few) - theirs).abs().max() <= LEVEL


def pillow_affine(function):
    """Pillow's warp with the coefficients in pixels about the centre."""
    return lambda im, v: im.transform(im.size, Image.Transform.AFFINE, function(im, v), fillcolor=grey(im))


def grey(image):
    return (128,) * 3 if image.mode == "RGB" else 128


def about_the_centre(a, b, d, e):
    def coefficients(im, v):
        x, y = im.width / 2, im.height / 2
        aa, bb, dd, ee = a(v), b(v), d(v), e(v)
        return aa, bb, x - aa * x - bb * y, dd, ee, y - dd * x - ee * y

    return coefficients


WARPS = [
    (
        operations.rotate,
        [-170, -33, 0, 12, 90, 180],
        lambda im, v: im.rotate(v, fillcolor=grey(im)),
    ),
    (
        operations.shear_x,
        [-0.3, -0.11, 0, 0.05, 0.2, 0.3],
        pillow_affine(about_the_centre(lambda v: 1, lambda v: v, lambda v: 0, lambda v: 1)),
    ),
    (
        operations.shear_y,
        [-0.3, -0.11, 0, 0.05, 0.2, 0.3],
        pillow_affine(about_the_centre(lambda v: 1, lambda v: 0, lambda v: v, lambda v: 1)),
    ),
    (
        operations.translate_x,
        [-0.41, -0.1, 0, 0.03, 0.26, 0.4],
        pillow_affine(lambda im, v: (1, 0, v * im.width, 0, 1, 0)),
    ),
    (
        operations.translate_y,
        [-0.41, -0.1, 0, 0.03, 0.26, 0.4],
        pillow_affine(lambda im, v: (1, 0, 0, 0, 1, v * im.height)),
    ),
]


@pytest.mark.parametrize(("function", "values", "peer"), WARPS, ids=lambda x: getattr(x, "__name__", ""))
def test_warps_are_pillows(images, function, values, peer):
    """Up to pixels that lie on the edge between two neighbours, where the rounding decides."""
    ours = function(images, torch.tensor(values, dtype=torch.float), fill=128 / 255)
    differs = (ours - pillow(images, values, peer)).abs() > LEVEL
    assert differs.float().mean() < 0.02


def test_bilinear_rotation_is_scipys(images):
    from scipy.ndimage import rotate

    ours = operations.rotate(images, 25.0, fill=0.0, resample="bilinear")[:, :, 6:-6, 6:-6]
    theirs = rotate(images.numpy(), 25.0, axes=(3, 2), reshape=False, order=1)[:, :, 6:-6, 6:-6]
    assert np.abs(ours.numpy() - theirs).max() < 1e-4


def test_half_a_turn_twice_is_none(images):
    turned = operations.rotate(operations.rotate(images, 180.0), 180.0)
    assert torch.allclose(turned, images, atol=1e-6)


def test_jitter_moves_within_its_bounds_and_each_image_by_itself():
    dot = torch.zeros(400, 1, 41, 41)
    dot[:, :, 20, 20] = 1
    moved = operations.jitter(dot, shift=0.2, resample="nearest", generator=torch.Generator().manual_seed(0))
    places = moved.flatten(1).argmax(dim=1)
    rows, columns = places // 41 - 20, places % 41 - 20
    assert rows.abs().max() <= 9 and columns.abs().max() <= 9
    assert len(set(places.tolist())) > 150  # of 289
    assert abs(rows.float().mean()) < 1 and abs(rows.float().std() - 8.2 / math.sqrt(3)) < 0.5


def test_jitter_scales_about_the_centre():
    square = torch.zeros(200, 1, 40, 40)
    square[:, :, 10:30, 10:30] = 1
    areas = operations.jitter(
        square, scale=0.5, resample="nearest", generator=torch.Generator().manual_seed(0)
    ).sum((1, 2, 3))
    assert areas.min() >= 9**2 and areas.max() <= 31**2 and areas.max() / areas.min() > 5


def test_jitter_of_nothing_is_the_image(images):
    assert torch.allclose(operations.jitter(images), images, atol=1e-5)


@pytest.mark.parametrize("name", [n for n in (OPERATIONS | EXTRA)])
def test_apply_is_one_by_one(images, name):
    """What `apply` gives in one batch of all operations is what the operation alone gives."""
    pool = OPERATIONS | EXTRA
    position = list(pool).index(name)
    operation = pool[name]
    chosen = torch.arange(len(images)) % len(pool)
    chosen[2] = position
    ours = operations.apply(images, pool, chosen, 0.6, generator=torch.Generator().manual_seed(3))
    if operation.function is operations.cutout:
        assert (ours[2] != images[2]).any() and ours[2].eq(0.5).sum() <= images.shape[1] * 6**2
        return
    if operation.start is None:
        assert torch.allclose(ours[2], operation.function(images)[2])
        return
    way = 0.6 * (operation.end - operation.start)
    both = [operation.function(images, operation.start + sign * way)[2] for sign in (1, -1)]
    if not operation.signed:
        assert torch.allclose(ours[2], both[0], atol=1e-6)
    else:
        assert any(torch.allclose(ours[2], candidate, atol=1e-6) for candidate in both)


def test_magnitude_0_changes_nothing(images):
    pool = {n: o for n, o in OPERATIONS.items() if o.start is not None and n != "solarize"}
    for position in range(len(pool)):
        chosen = torch.full((len(images),), position)
        assert torch.allclose(operations.apply(images, pool, chosen, 0.0), images, atol=LEVEL / 2)


def test_signs_fall_both_ways_and_by_the_generator():
    images = torch.full((2000, 1, 4, 4), 0.5)
    chosen = torch.zeros(2000, dtype=torch.long)
    pool = {"brightness": OPERATIONS["brightness"]}

    def brighter(seed):
        result = operations.apply(images, pool, chosen, 0.5, generator=torch.Generator().manual_seed(seed))
        return result[:, 0, 0, 0] > 0.5

    assert 900 < brighter(0).sum() < 1100
    assert torch.equal(brighter(0), brighter(0)) and not torch.equal(brighter(0), brighter(1))


@pytest.mark.parametrize("name", [name for name, o in OPERATIONS.items() if name != "identity"])
def test_a_large_batch_in_parts_is_the_same(images, name, monkeypatch):
    function, value = OPERATIONS[name].function, torch.linspace(0.1, 0.3, len(images))
    call = [images] if OPERATIONS[name].start is None else [images, value]
    whole = function(*call)
    monkeypatch.setattr("labkit.operations.parameters.PART", 2 * images[0].numel())
    assert torch.equal(function(*call), whole)
    assert torch.equal(function(images[:0], *(v[:0] for v in call[1:])), whole[:0])


def test_the_input_is_left_alone(images):
    before = images.clone()
    for position in range(len(OPERATIONS)):
        operations.apply(images, OPERATIONS, torch.full((len(images),), position), 1.0)
    assert torch.equal(images, before)


def test_cutout_fills_its_area():
    filled = operations.cutout(torch.zeros(3000, 1, 16, 16), 0.25, fill=1.0).sum((1, 2, 3))
    assert filled.max() == 16 and filled.min() >= 4
    assert operations.cutout(torch.zeros(4, 1, 16, 16), 0.0, fill=1.0).sum() == 0


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda x: operations.affine(x, torch.zeros(1, 2, 3)), "matrices must be"),
        (lambda x: operations.rotate(x, 3.0, resample="cubic"), "resample must be .* got 'cubic'"),
        (lambda x: operations.rotate(x, torch.zeros(5)), "number or float"),
        (lambda x: operations.jitter(x, degrees=-1), "degrees and shift"),
        (lambda x: operations.jitter(x, scale=1), "scale must lie in"),
        (lambda x: operations.color(torch.rand(2, 4, 8, 8), 0.5), "1 or 3 channels, got 4"),
        (lambda x: operations.apply(x, OPERATIONS, torch.tensor([0, 14]), 0.5), "from 0 to 14|0 to 13"),
        (lambda x: operations.apply(x, OPERATIONS, torch.tensor([0]), 0.5), "chosen must be int64"),
        (lambda x: operations.apply(x, OPERATIONS, torch.tensor([0, 1]), 1.5), "magnitude must lie in"),
    ],
)
def test_bad_input(call, message):
    with pytest.raises(ValueError, match=message):
        call(torch.rand(2, 3, 8, 8))
