import os
from pathlib import Path

import datasets
import pytest

from labkit import data
from labkit.data import cifar10

LOCAL = os.environ.get("LABKIT_DATA")
HERE = LOCAL is not None and (Path(LOCAL) / "cifar10" / "train.parquet").is_file()
needs_copy = pytest.mark.skipif(not HERE, reason="LABKIT_DATA names no folder with cifar10/train.parquet")


@pytest.fixture
def no_copy(monkeypatch):
    monkeypatch.delenv("LABKIT_DATA", raising=False)
    monkeypatch.setattr(cifar10, "_memory", {})


@needs_copy
def test_local_copy():
    loaded = data.load("cifar10", size=200, test_size=50, seed=1)
    batch = data.tensors(loaded["train"])
    assert batch.images.shape == (200, 3, 32, 32)
    assert batch.labels.bincount().tolist() == [20] * 10
    assert len(loaded["test"]) == 50
    assert loaded["train"].features["label"].names[3] == "cat"
    again, other = (data.load("cifar10", "train", size=200, seed=seed) for seed in (1, 2))
    assert data.tensors(again).images.equal(batch.images)
    assert not data.tensors(other).images.equal(batch.images)
    assert data.loaded()["cifar10"] == data.fingerprint("cifar10")


@needs_copy
def test_full_size_is_the_published_one():
    assert {split: len(part) for split, part in data.load("cifar10").items()} == {
        "train": 50_000,
        "test": 10_000,
    }
    with pytest.raises(ValueError, match="size must be an integer from 1 to 50000"):
        data.load("cifar10", size=60_000)


def test_columns_of_the_hub_are_renamed(no_copy, monkeypatch):
    rows = {"img": [b""] * 20, "label": list(range(10)) * 2}
    features = datasets.Features(
        {"img": datasets.Value("binary"), "label": datasets.ClassLabel(names=cifar10.CLASSES)}
    )
    part = datasets.Dataset.from_dict(rows, features=features)
    monkeypatch.setattr(datasets, "load_dataset", lambda name: datasets.DatasetDict(train=part, test=part))
    loaded = cifar10.load(size=10)
    assert loaded["train"].column_names == ["image", "label"]
    assert sorted(loaded["train"]["label"]) == list(range(10))


def test_hub_out_of_reach(no_copy, monkeypatch):
    def refuse(name):
        raise OSError("no route to host")

    monkeypatch.setattr(datasets, "load_dataset", refuse)
    with pytest.raises(ConnectionError, match=r"could not be read from the hub .*no route.* set LABKIT_DATA"):
        data.load("cifar10")


def test_folder_without_a_copy(no_copy, monkeypatch, tmp_path):
    monkeypatch.setenv("LABKIT_DATA", str(tmp_path))
    with pytest.raises(FileNotFoundError, match=r"there is no .*train\.parquet.* or unset LABKIT_DATA"):
        data.load("cifar10")
    assert "there is no" in data.card("cifar10").missing


def test_card_without_a_copy_says_why_and_fetches_nothing(no_copy, monkeypatch):
    monkeypatch.setattr(datasets, "load_dataset", None)  # a call would fail
    with pytest.raises(FileNotFoundError, match="LABKIT_DATA"):
        data.fingerprint("cifar10")
    card = data.card("cifar10")
    assert card.composition is None
    assert "Not computed: the data are not bundled" in card.markdown()
