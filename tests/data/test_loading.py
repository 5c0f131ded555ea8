"""What holds for every data set: names, settings, seeds, cards, hashes, no network."""

import socket

import numpy as np
import pytest
import torch

from labkit import data
from labkit.data import registry

BUNDLED = {"digits": {"size": 60, "test_size": 40}, "photos": {"size": 60, "test_size": 40}}
BUNDLED["scenes"] = {"size": 60, "test_size": 40}
SMALL = pytest.mark.parametrize("name", BUNDLED)


def images(name, split, seed=0, **settings):
    return data.tensors(data.load(name, split, seed=seed, **{**BUNDLED[name], **settings})).images


@SMALL
def test_the_same_seed_gives_the_same_data_and_another_seed_other_data(name):
    first, again, other = (data.load(name, seed=seed, **BUNDLED[name]) for seed in (3, 3, 4))
    for split in ("train", "test"):
        assert first[split].to_dict() == again[split].to_dict()
        assert first[split].to_dict() != other[split].to_dict()


@SMALL
def test_sizes_are_those_asked_for_and_one_split_can_be_had(name):
    both = data.load(name, **BUNDLED[name])
    assert {split: len(part) for split, part in both.items()} == {"train": 60, "test": 40}
    assert data.load(name, "test", **BUNDLED[name]).to_dict() == both["test"].to_dict()


@pytest.mark.parametrize("name", ["digits", "scenes"])  # photos: a stronger test of their own
def test_no_image_is_in_both_splits(name):
    train, test = (
        {image.numpy().tobytes() for image in images(name, split, size=1000)} for split in ("train", "test")
    )
    # The source of the digits itself has no two equal images
    assert not train & test


@SMALL
def test_columns_are_typed(name):
    features = data.load(name, "train", **BUNDLED[name]).features
    assert type(features["image"]).__name__ == "Image"
    assert type(features["label"]).__name__ == "ClassLabel"


@SMALL
def test_nothing_is_fetched(name, monkeypatch):
    def refuse(*args, **kwargs):
        raise AssertionError("a bundled data set opened a socket")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    data.load(name, **BUNDLED[name])
    data.fingerprint(name)


def test_loading_leaves_global_random_state_alone():
    torch.manual_seed(5)
    np.random.seed(5)
    expected = torch.rand(1).item(), np.random.rand()
    torch.manual_seed(5)
    np.random.seed(5)
    for name, settings in BUNDLED.items():
        data.load(name, **settings)
    assert (torch.rand(1).item(), np.random.rand()) == expected


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: data.load("digit"), ValueError, "did you mean 'digits'"),
        (lambda: data.load("no/such/folder"), FileNotFoundError, "no folder and no .csv file"),
        (lambda: data.load(7), TypeError, "got int"),
        (lambda: data.load("scenes", "valid"), ValueError, "split must be 'train', 'test' or None"),
        (lambda: data.load("scenes", stile="flat"), TypeError, "did you mean 'style'"),
        (lambda: data.load("scenes", test_image_size=3), TypeError, "no setting 'test_image_size'"),
        (lambda: data.load("digits", size=0), ValueError, "size must be an integer from 1"),
        (lambda: data.load("digits", size=2.5), TypeError, "size must be an integer"),
        (lambda: data.load("digits", size=1500), ValueError, "from 1 to 1437, got 1500"),
        (lambda: data.load("digits", seed=-1), ValueError, "seed must be 0 or more"),
        (lambda: data.load("digits", seed="a"), TypeError, "seed must be an integer"),
        (lambda: data.load("digits", canvas=24, scale=(0.1, 0.5)), ValueError, "scale must be"),
        (lambda: data.load("digits", canvas=4), ValueError, "canvas must be"),
        (lambda: data.load("photos", zoom=(2, 1)), ValueError, "low <= high"),
        (lambda: data.load("photos", patch=64, zoom=(3, 3)), ValueError, "too large for a photograph"),
        (lambda: data.fingerprint("scene"), ValueError, "did you mean 'scenes'"),
        (lambda: data.card("cifar"), ValueError, "did you mean 'cifar10'"),
    ],
)
def test_errors_say_what_and_what_instead(call, error, message):
    with pytest.raises(error, match=message):
        call()


def test_loaded_names_what_was_read(monkeypatch):
    monkeypatch.setattr(registry, "_loaded", {})
    data.load("digits", "train", size=20)
    assert data.loaded() == {"digits": data.fingerprint("digits")}
    data.load("scenes", "train", size=20)
    assert set(data.loaded()) == {"digits", "scenes"}
    data.loaded().clear()  # a copy
    assert set(data.loaded()) == {"digits", "scenes"}


def test_fingerprints_differ_and_are_stable():
    hashes = [data.fingerprint(name) for name in BUNDLED]
    assert len(set(hashes)) == len(hashes)
    assert hashes == [data.fingerprint(name) for name in BUNDLED]
    assert all(len(each) == 16 for each in hashes)


@SMALL
def test_card_is_computed_from_the_data(name):
    card = data.card(name)
    loaded = data.load(name)
    batch = data.tensors(loaded["train"])
    facts = card.composition
    assert facts.splits == {split: len(part) for split, part in loaded.items()}
    assert facts.images == tuple(batch.images.shape[1:])
    assert facts.mean == pytest.approx(batch.images.mean(dim=(0, 2, 3)).tolist())
    counts = [facts.classes[each]["train"] for each in loaded["train"].features["label"].names]
    assert counts == batch.labels.bincount().tolist()
    text = card.markdown()
    assert {"test_size"} <= set(card.settings)
    for part in (card.name, card.origin, card.licence, card.use, *card.limits, f"{counts[0]:,}"):
        assert part in text


def test_names_and_registry_agree():
    own = ("digits", "photos", "scenes", "facts", "domains", "prose", "code")
    assert set(data.names()) == {*own, "cifar10", "banking77", "tinyshakespeare", "xquad"}
    for name in data.names():
        assert registry.source(name).name == name
