"""Mixing beside kornia's CutMix, in the same run. Times are shown and never asserted."""

import pytest
import torch

from labkit.augment.resizemix import cutmix, resize_mix

pytestmark = pytest.mark.benchmark(max_time=0.3, min_rounds=5)


@pytest.fixture(params=[(256, 32), (32, 224)], ids=["256x32x32", "32x224x224"])
def batch(request):
    count, side = request.param
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield torch.rand(count, 3, side, side), torch.arange(count) % 10
    torch.set_num_threads(threads)


@pytest.mark.parametrize("name", ["resize_mix", "cutmix", "kornia CutMix"])
def test_mixing(benchmark, batch, name):
    images, labels = batch
    count, side = len(images), images.shape[-1]
    benchmark.group = f"mixing {count} images of {side}x{side}"
    library = "kornia" if name.startswith("kornia") else "labkit"
    operation = "cutmix" if library == "kornia" else name
    benchmark.extra_info = {"operation": operation, "images": count, "side": side, "library": library}
    if name == "kornia CutMix":
        kornia = pytest.importorskip("kornia.augmentation")
        mix = kornia.RandomCutMixV2(p=1.0, data_keys=["input", "class"], use_correct_lambda=True)
        mixed = benchmark(mix, images, labels)[0]
    else:
        mixed = benchmark({"resize_mix": resize_mix, "cutmix": cutmix}[name], images, labels).images
    assert mixed.shape == images.shape
