"""The full-scale cells, shortened: on local copies of the real data sets, skipped where there are none.

The cell of a paper on texts defines ``full_scale(seed, *, model, corpus, steps, size)``, with the id or the
folder of a language model; that of one on images ``cifar10(seed, *, epochs, size, widen)``, or
``full_scale(seed, *, steps, size)``.
"""

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


NAMES = [name for name in runner.names(ROOT) if not name.startswith("start/") and not name.endswith("/index")]
TEXTS = [name for name in NAMES if "corpus" in "".join(full_scale(name))]
IMAGES = [name for name in NAMES if name not in TEXTS]
needs_data = pytest.mark.skipif("LABKIT_DATA" not in os.environ, reason="LABKIT_DATA names no folder of data")


@pytest.mark.parametrize("name", NAMES)
def test_a_papers_notebook_has_one(name):
    assert len(full_scale(name)) == 1


def run_cell(name: str) -> dict:
    """The names that a notebook's imports and its full-scale cell define; the cell runs nothing by itself."""
    code = notebooks.read(notebooks.path(ROOT, name))["cells"]
    imports = [notebooks.text(cell) for cell in code if "labkit.setup(" in notebooks.text(cell)]
    space = {"labkit": labkit, "profile": "smoke", "seed": None}
    exec(imports[0], space)
    space["P"] = Profile("smoke")
    exec(full_scale(name)[0], space)
    return space


@needs_data
@pytest.mark.parametrize("name", IMAGES)
def test_on_cifar10(name):
    """The cell stands on the imports alone, and gives every variant of the headline."""
    space = run_cell(name)
    if "cifar10" in space:
        scores = space["cifar10"](0, epochs=1, size=512, widen=1)
    else:
        scores = space["full_scale"](0, steps=2, size=512)
    headline = claims.claim(name.rpartition("/")[2])
    assert set(scores) >= set(headline.variants)
    assert all(0 <= value < float("inf") for value in scores.values())
    if headline.unit in ("%", "points"):
        assert all(value <= 100 for value in scores.values())
    assert len(set(scores.values())) > 1


@pytest.fixture(scope="module")
def small_models(tmp_path_factory) -> dict[str, str]:
    """Folders of an untrained causal model and an encoder-decoder, as a hub would hold them."""
    from labkit import data, language

    play = "\n".join(data.load("tinyshakespeare", "train")["text"])[:100_000]
    tokenizer = language.tokenizer([play], size=512)
    folders = {}
    for kind, model in {
        "causal": language.causal(tokenizer, width=32, layers=1, heads=2, context=512),
        "encoder_decoder": language.encoder_decoder(tokenizer, width=32, layers=1, heads=2),
    }.items():
        folder = tmp_path_factory.mktemp(kind)
        model.save_pretrained(folder)
        tokenizer.save_pretrained(folder)
        folders[kind] = str(folder)
    return folders


@needs_data
@pytest.mark.parametrize("name", TEXTS)
def test_on_text(name, small_models):
    """The same for texts, with a model from a folder in place of one from a hub."""
    kind = "encoder_decoder" if name.endswith("/xf2t") else "causal"
    scores = run_cell(name)["full_scale"](
        0, model=small_models[kind], corpus="tinyshakespeare", steps=2, size=8
    )
    headline = claims.claim(name.rpartition("/")[2])
    assert set(scores) >= set(headline.variants)
    assert all(value == value and abs(value) < float("inf") for value in scores.values())
