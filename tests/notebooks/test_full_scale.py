"""The full-scale cells, shortened: on local copies of the real data sets, skipped where there are none."""

import json
import os
from pathlib import Path

import pytest

import labkit
from labkit.profiles import Profile

ROOT = Path(__file__).resolve().parents[2]


def cells(name):
    """The code of a notebook up to its full-scale cell: what that cell stands on, and the cell itself."""
    notebook = json.loads((ROOT / "notebooks" / f"{name}.ipynb").read_text(encoding="utf-8"))
    code = [cell for cell in notebook["cells"] if cell["cell_type"] == "code"]
    imports = code[2]
    full = [cell for cell in code if "full-scale" in cell["metadata"].get("tags", [])]
    assert len(full) == 1
    return "".join(imports["source"]), "".join(full[0]["source"])


@pytest.mark.skipif("LABKIT_DATA" not in os.environ, reason="LABKIT_DATA names no folder with CIFAR-10")
def test_resizemix_on_cifar10():
    imports, full = cells("augment/images/resizemix")
    space = {"labkit": labkit, "profile": "smoke", "seed": None}
    exec(imports, space)
    space["P"] = Profile("smoke")  # the cell runs by itself at profile full only
    exec(full, space)
    accuracies = space["cifar10"](0, epochs=1, size=512, widen=1)
    assert set(accuracies) == {"no mixing", "CutMix", "crop, same boxes", "ResizeMix"}
    assert all(0 <= value <= 100 for value in accuracies.values())
    assert len(set(accuracies.values())) > 1
