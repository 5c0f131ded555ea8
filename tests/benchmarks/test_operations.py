"""Image operations beside kornia and albumentations, in the same run. Times are shown and never asserted.

Each gets the same float images in its own layout: ours and kornia's a batch, albumentations' one image after
the other. One thread; the parameter is drawn for each image.
"""

import math
import os

import numpy as np
import pytest
import torch

from labkit import operations
from labkit.operations import OPERATIONS

os.environ["NO_ALBUMENTATIONS_UPDATE"] = "1"  # it would ask the network for a newer version of itself
pytestmark = pytest.mark.benchmark(max_time=0.3, min_rounds=5)
SHEAR = math.degrees(math.atan(0.3))

OURS = {
    "rotate": lambda x, u: operations.rotate(x, 60 * u - 30),
    "shear": lambda x, u: operations.shear_x(x, 0.6 * u - 0.3),
    "color": lambda x, u: operations.color(x, u + 0.5),
    "contrast": lambda x, u: operations.contrast(x, u + 0.5),
    "sharpness": lambda x, u: operations.sharpness(x, u + 1),
    "solarize": lambda x, u: operations.solarize(x, u),
    "posterize": lambda x, u: operations.posterize(x, 4 + 4 * u),
    "autocontrast": lambda x, u: operations.autocontrast(x),
    "equalize": lambda x, u: operations.equalize(x),
    "one of fourteen": lambda x, u: operations.apply(x, OPERATIONS, (u * 14).long(), 0.5),
}


def kornia_operations():
    kornia = pytest.importorskip("kornia.augmentation")
    return {
        "rotate": kornia.RandomRotation(30.0, p=1.0, resample="nearest"),
        "shear": kornia.RandomShear(SHEAR, p=1.0, resample="nearest"),
        "color": kornia.RandomSaturation((0.5, 1.5), p=1.0),
        "contrast": kornia.RandomContrast((0.5, 1.5), p=1.0),
        "sharpness": kornia.RandomSharpness(1.0, p=1.0),
        "solarize": kornia.RandomSolarize(0.5, 0.0, p=1.0),
        "posterize": kornia.RandomPosterize((4.0, 8.0), p=1.0),
        "autocontrast": kornia.RandomAutoContrast(p=1.0),
        "equalize": kornia.RandomEqualize(p=1.0),
        # its policies draw one operation for the whole batch, so there is nothing like "one of fourteen"
    }


def albumentations_operations():
    albumentations = pytest.importorskip("albumentations")
    cv2 = pytest.importorskip("cv2")
    cv2.setNumThreads(1)
    constant = {"border_mode": cv2.BORDER_CONSTANT, "fill": 0.5, "p": 1}

    def jitter(**change):
        return albumentations.ColorJitter(
            **({"brightness": 0, "contrast": 0, "saturation": 0, "hue": 0} | change), p=1
        )

    def affine(**change):
        return albumentations.Affine(**change, **constant)

    made = {
        "rotate": albumentations.Rotate(30, interpolation=cv2.INTER_NEAREST, **constant),
        "shear": affine(shear={"x": (-SHEAR, SHEAR)}, interpolation=cv2.INTER_NEAREST),
        "color": jitter(saturation=(0.5, 1.5)),
        "contrast": jitter(contrast=(0.5, 1.5)),
        "sharpness": albumentations.Sharpen(p=1),
        "solarize": albumentations.Solarize((0, 1), p=1),
        "posterize": albumentations.Posterize((4, 7), p=1),
        "autocontrast": albumentations.AutoContrast(p=1),
        "equalize": albumentations.Equalize(p=1),
    }
    others = [
        albumentations.NoOp(),
        jitter(brightness=(0.5, 1.5)),
        affine(shear={"y": (-SHEAR, SHEAR)}, interpolation=cv2.INTER_NEAREST),
        affine(translate_percent={"x": (-0.45, 0.45)}, interpolation=cv2.INTER_NEAREST),
        affine(translate_percent={"y": (-0.45, 0.45)}, interpolation=cv2.INTER_NEAREST),
    ]
    return made | {"one of fourteen": albumentations.OneOf([*made.values(), *others], p=1)}


@pytest.fixture(scope="module", params=[(256, 32), (32, 224)], ids=["256x32x32", "32x224x224"])
def batch(request):
    count, side = request.param
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield torch.rand(count, 3, side, side, generator=torch.Generator().manual_seed(0))
    torch.set_num_threads(threads)


@pytest.mark.parametrize("operation", OURS)
@pytest.mark.parametrize("library", ["labkit", "kornia", "albumentations"])
def test_operations(benchmark, batch, operation, library):
    count, side = len(batch), batch.shape[-1]
    benchmark.group = f"{operation}, {count} images of {side}x{side}"
    benchmark.extra_info = {"operation": operation, "images": count, "side": side, "library": library}
    if library == "labkit":
        uniform = torch.rand(count)
        result = benchmark(OURS[operation], batch, uniform)
        assert result.shape == batch.shape
    elif library == "kornia":
        peers = kornia_operations()
        if operation not in peers:
            pytest.skip("kornia draws one operation for the whole batch")
        assert benchmark(peers[operation], batch).shape == batch.shape
    else:
        peer = albumentations_operations()[operation]
        images = [np.ascontiguousarray(image.permute(1, 2, 0).numpy()) for image in batch]
        results = benchmark(lambda: [peer(image=image)["image"] for image in images])
        assert len(results) == count and results[0].shape == images[0].shape
