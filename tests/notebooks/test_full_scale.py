"""The full-scale cells, shortened: on local copies of the real data sets, skipped where there are none."""

import os
from pathlib import Path

import pytest

import labkit
from labkit import claims, runner
from labkit.profiles import Profile
from labkit.runner import notebooks

ROOT = Path(__file__).resolve().parents[2]


def full_scale(name: str) -> list[str]:
    """The code of a notebook's full-scale cells."""
    code = notebooks.code_cells(notebooks.read(notebooks.path(ROOT, name)))
    return [notebooks.text(cell) for cell in code if "full-scale" in notebooks.tags(cell)]


NAMES = [name for name in runner.names(ROOT) if full_scale(name)]


def test_every_image_papers_notebook_has_one():
    assert len(NAMES) == len(set(NAMES)) >= 6
    assert all(len(full_scale(name)) == 1 for name in NAMES)


@pytest.mark.skipif("LABKIT_DATA" not in os.environ, reason="LABKIT_DATA names no folder with CIFAR-10")
@pytest.mark.parametrize("name", NAMES)
def test_on_cifar10(name):
    """The cell stands on the imports alone, and gives every variant of the headline."""
    code = notebooks.read(notebooks.path(ROOT, name))["cells"]
    imports = [notebooks.text(cell) for cell in code if "labkit.setup(" in notebooks.text(cell)]
    space = {"labkit": labkit, "profile": "smoke", "seed": None}
    exec(imports[0], space)
    space["P"] = Profile("smoke")  # the cell runs by itself at profile full only
    exec(full_scale(name)[0], space)
    accuracies = space["cifar10"](0, epochs=1, size=512, widen=1)
    headline = claims.claim(name.rpartition("/")[2])
    assert set(accuracies) >= set(headline.variants)
    assert all(0 <= value <= 100 for value in accuracies.values())
    assert len(set(accuracies.values())) > 1
