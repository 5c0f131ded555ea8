"""The notebook on a reader's own data, headless, on folders of images that are not the book's."""

import os
import re
from pathlib import Path

import pytest
from PIL import Image

import labkit
from labkit import data, runner
from labkit.runner import notebooks
from labkit.runner.execute import execute, task
from labkit.show import VERDICT_SYMBOLS

ROOT = Path(__file__).resolve().parents[2]
PATH = notebooks.path(ROOT, "start/your-data")
ANIMALS = {"cat": 3, "dog": 5, "frog": 6}  # and their labels in CIFAR-10
COUNTS = {"cat": 30, "dog": 24, "frog": 10}


def run(folder: Path, **parameters) -> dict:
    """The notebook executed on a folder at `smoke`; nothing is kept."""
    given = {"profile": "smoke", "folder": str(folder)} | parameters
    return execute(task(ROOT, runner.request(ROOT, "start/your-data", given)))


def texts(notebook: dict) -> list[str]:
    """What every output says as plain text, in order."""
    outputs = [output for cell in notebook["cells"] for output in cell.get("outputs", [])]
    return [str(output.get("text") or output.get("data", {}).get("text/plain", "")) for output in outputs]


@pytest.fixture(scope="module")
def animals(tmp_path_factory) -> Path:
    """64 photographs of three classes as PNG files, one of them larger than the others."""
    if "LABKIT_DATA" not in os.environ:
        pytest.skip("LABKIT_DATA names no folder with CIFAR-10")
    folder = tmp_path_factory.mktemp("own") / "animals"
    photographs = data.load("cifar10", "train", size=600)
    labels = photographs["label"]
    for name, label in ANIMALS.items():
        (folder / name).mkdir(parents=True)
        members = [i for i, found in enumerate(labels) if found == label][: COUNTS[name]]
        for i in members:
            photographs[i]["image"].save(folder / name / f"{i}.png")
    Image.open(folder / "cat" / f"{labels.index(3)}.png").resize((48, 40)).save(folder / "cat" / "large.png")
    return folder


@pytest.fixture(scope="module")
def executed(animals) -> dict:
    return run(animals, image_size=20)


def test_it_finds_the_classes_and_counts_of_the_folder(executed):
    assert executed["metadata"]["labkit"]["status"] == "ok", executed["metadata"]["labkit"].get("error")
    told = texts(executed)
    total = sum(COUNTS.values()) + 1
    held_out = round(0.3 * total)
    assert f"3 classes, {total - held_out} training and {held_out} test images\n" in told
    [table] = [text for text in told if text.startswith("Images of each class")]
    rows = {line.split()[0]: line.split()[1:] for line in table.splitlines()[3:]}
    whole = COUNTS | {"cat": COUNTS["cat"] + 1}
    assert {name: int(train) + int(test) for name, (train, test) in rows.items()} == whole
    assert any("from (32, 32) to " in text for text in told)


def test_it_ends_in_a_verdict_with_its_numbers(executed):
    [told] = [text for text in texts(executed) if "Margin 2 points" in text]
    symbol, word = told.splitlines()[0].split()
    assert VERDICT_SYMBOLS[word] == symbol and word != "not judged"
    assert "accuracy: ResizeMix against no mixing" in told
    assert "against the control, crop, same boxes" in told
    assert "2 seeds, 1000 to 1001" in told
    assert any("The mean gain of ResizeMix changes sign" in text for text in texts(executed))


def test_its_result_depends_on_the_images(executed, animals):
    read = executed["metadata"]["labkit"]["data"]
    assert read == {str(animals): data.fingerprint(str(animals))}  # and on no data of the book


@pytest.fixture
def wrong(tmp_path) -> Path:
    """Folders that can't be used."""
    (tmp_path / "empty").mkdir()
    (tmp_path / "one class" / "cat").mkdir(parents=True)
    for i in range(4):
        Image.new("RGB", (16, 16), (60 * i, 0, 0)).save(tmp_path / "one class" / "cat" / f"{i}.png")
    return tmp_path


@pytest.mark.parametrize(
    ("folder", "message"),
    [
        ("empty", "no images in subfolders, one subfolder per class"),
        ("one class", "two classes or more, they have ['cat']"),
        ("not there", "there is no folder and no .csv file"),
    ],
)
def test_a_folder_that_cannot_be_used_is_refused_in_words(wrong, folder, message):
    cells = [notebooks.text(cell) for cell in notebooks.code_cells(notebooks.read(PATH))]
    loading = next(i for i, cell in enumerate(cells) if "data.load(where" in cell)
    space = {"labkit": labkit} | notebooks.parameters(notebooks.read(PATH))
    space |= {"profile": "smoke", "folder": str(wrong / folder)}
    with pytest.raises((ValueError, FileNotFoundError), match=re.escape(message)):
        exec("\n".join(cells[: loading + 1]), space)
