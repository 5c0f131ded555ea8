"""Your own data: folders, CSV files, data sets in memory."""

import csv

import numpy as np
import pytest
import torch
from datasets import ClassLabel, Dataset, DatasetDict
from PIL import Image

from labkit import data
from labkit.data import registry


def picture(path, value, size=(12, 10), mode="RGB"):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new(mode, size, value if mode == "L" else (value, 0, 255 - value)).save(path)


@pytest.fixture
def folder(tmp_path):
    """30 cats of value 0..29 and 20 dogs of value 100..119."""
    for i in range(30):
        picture(tmp_path / "pets" / "cat" / f"{i}.png", i)
    for i in range(20):
        picture(tmp_path / "pets" / "dog" / f"{i}.png", 100 + i)
    return tmp_path / "pets"


def values(part):
    batch = data.tensors(part)
    return (batch.images[:, 0, 0, 0] * 255).round().int(), batch.labels


def test_folder_is_split_by_class_and_seed(folder):
    loaded = data.load(str(folder), seed=1)
    assert loaded["train"].features["label"].names == ["cat", "dog"]
    (train, train_labels), (test, test_labels) = (values(loaded[split]) for split in ("train", "test"))
    assert torch.equal(train_labels, (train >= 100).long()) and torch.equal(test_labels, (test >= 100).long())
    assert train_labels.bincount().tolist() == [24, 16] and test_labels.bincount().tolist() == [6, 4]
    assert sorted([*train.tolist(), *test.tolist()]) == [*range(30), *range(100, 120)]
    again, other = (values(data.load(folder, "test", seed=seed))[0].sort()[0].tolist() for seed in (1, 2))
    assert again == test.sort()[0].tolist() != other


def test_folder_size_and_share(folder):
    loaded = data.load(folder, size=10, test_share=0.4)
    assert {split: len(part) for split, part in loaded.items()} == {"train": 10, "test": 20}
    assert values(loaded["train"])[1].bincount().tolist() == [6, 4]


def test_folder_with_train_and_test_keeps_its_split(tmp_path):
    for i, where in enumerate(["train/a", "train/b", "test/a", "test/b"]):
        picture(tmp_path / where / "x.png", 10 * i)
    loaded = data.load(tmp_path)
    assert sorted(values(loaded["train"])[0].tolist()) == [0, 10]
    assert sorted(values(loaded["test"])[0].tolist()) == [20, 30]


def test_folder_hash_follows_the_files(folder, monkeypatch):
    monkeypatch.setattr(registry, "_loaded", {})
    data.load(folder)
    before = data.fingerprint(str(folder))
    assert data.loaded() == {str(folder): before}
    picture(folder / "cat" / "0.png", 77)
    assert data.fingerprint(str(folder)) != before


def test_folder_card(folder):
    card = data.card(str(folder))
    assert card.composition.classes == {"cat": {"train": 24, "test": 6}, "dog": {"train": 16, "test": 4}}
    assert card.composition.images == (3, 10, 12)
    picture(folder / "cat" / "big.png", 1, size=(30, 30))
    assert data.card(str(folder)).composition.images is None
    assert "| cat | 25 | 6 |" in data.card(str(folder)).markdown()


def test_folder_errors(tmp_path):
    with pytest.raises(ValueError, match="no images in subfolders"):
        data.load(tmp_path)
    picture(tmp_path / "cat" / "1.png", 1)
    picture(tmp_path / "cat" / "2.png", 1)
    with pytest.raises(ValueError, match="two classes or more"):
        data.load(tmp_path)
    picture(tmp_path / "dog" / "1.png", 1)
    with pytest.raises(ValueError, match=r"one example, which cannot be in both splits: \['dog'\]"):
        data.load(tmp_path)
    (tmp_path / "dog" / "2.png").write_text("not an image")
    with pytest.raises(ValueError, match=r"2\.png cannot be read as an image"):
        data.load(tmp_path)
    (tmp_path / "train").mkdir()
    with pytest.raises(ValueError, match="needs both, or neither"):
        data.load(tmp_path)


def test_share_that_empties_a_split_is_refused(folder):
    with pytest.raises(ValueError, match="leaves a split empty"):
        data.load(folder, test_share=0.001)
    with pytest.raises(ValueError, match=r"test_share must lie in \[0, 1\]"):
        data.load(folder, test_share=2)
    with pytest.raises(TypeError, match="did you mean 'test_share'"):
        data.load(folder, test_size=2)


def write_csv(path, header, rows):
    with open(path, "w", encoding="utf-8", newline="") as stream:
        csv.writer(stream).writerows([header, *rows])
    return path


def test_csv_of_texts(tmp_path):
    rows = [(f"text {i}, with a comma", i % 2 + 9) for i in range(20)]
    file = write_csv(tmp_path / "t.csv", ["words", "score"], rows)
    loaded = data.load(file, text="words", label="score")
    assert loaded["train"].column_names == ["text", "label"]
    assert loaded["train"].features["label"].names == ["9", "10"]  # in the order of the numbers
    both = [(row["text"], row["label"] + 9) for part in loaded.values() for row in part]
    assert sorted(both) == sorted(rows)
    with pytest.raises(ValueError, match="image column"):
        data.tensors(loaded["train"])


def test_csv_of_images_with_a_split(tmp_path):
    for i in range(6):
        picture(tmp_path / "img" / f"{i}.png", 20 * i)
    splits = ["train"] * 4 + ["test"] * 2
    rows = [(f"img/{i}.png", "ab"[i % 2], splits[i]) for i in range(6)]
    file = write_csv(tmp_path / "t.csv", ["image", "label", "split"], rows)
    loaded = data.load(str(file))
    assert values(loaded["train"])[0].tolist() == [0, 20, 40, 60]
    assert values(loaded["test"])[0].tolist() == [80, 100]
    before = data.fingerprint(str(file))
    picture(tmp_path / "img" / "0.png", 1)
    assert data.fingerprint(str(file)) != before


@pytest.mark.parametrize(
    ("header", "rows", "settings", "message"),
    [
        (["text", "labels"], [("a", "b")], {}, "no column 'label' for label=; did you mean 'labels'"),
        (["txt", "label"], [("a", "b")], {}, "no column 'text' for text=; did you mean 'txt'"),
        (["text", "label"], [], {}, "no rows"),
        (["text", "label"], [("a", "b"), ("c", "")], {}, "1 rows of .* have an empty 'label'"),
        (["text", "label"], [("a", "b"), ("c", "b")], {}, "two classes or more"),
        (["image", "label"], [("a.png", "b"), ("c.png", "d")], {}, "cannot be read as an image"),
        (["text", "label", "split"], [("a", "b", "dev")], {}, "may say train and test"),
        (["text", "label"], [("a", "b")], {"text": "text", "image": "text"}, "not both"),
    ],
)
def test_csv_errors(tmp_path, header, rows, settings, message):
    with pytest.raises(ValueError, match=message):
        data.load(write_csv(tmp_path / "t.csv", header, rows), **settings)


def test_dataset_passes_through():
    source = Dataset.from_dict({"text": [str(i) for i in range(40)], "kind": ["x", "y"] * 20})
    loaded = data.load(source, label="kind", size=12, seed=3)
    assert {split: len(part) for split, part in loaded.items()} == {"train": 12, "test": 8}
    assert loaded["train"].features["label"] == ClassLabel(names=["x", "y"])
    for part in loaded.values():
        assert all(int(row["text"]) % 2 == row["label"] for row in part)
    given = data.load(DatasetDict({"train": source, "test": source, "extra": source}), label="kind")
    assert len(given["train"]) == len(given["test"]) == len(given["extra"]) == 40
    assert source.column_names == ["text", "kind"]


def test_dataset_errors():
    source = Dataset.from_dict({"text": ["a", "b"], "label": [0, 1]})
    with pytest.raises(ValueError, match="no column 'lable'; did you mean 'label'"):
        data.load(source, label="lable")
    unlabelled = source.cast_column("label", ClassLabel(names=["x", "y"])).map(lambda row: {"label": -1})
    with pytest.raises(ValueError, match="2 examples have the label -1"):
        data.load(unlabelled)
    with pytest.raises(ValueError, match="needs train and test, or a single split"):
        data.load(DatasetDict({"train": source, "validation": source}))


# tensors


def test_tensors_return_the_pixels_that_went_in():
    rng = np.random.default_rng(0)
    arrays = [rng.integers(256, size=(9, 7, 3), dtype=np.uint8) for _ in range(5)]
    part = Dataset.from_dict({"img": [Image.fromarray(array) for array in arrays], "label": [4, 3, 2, 1, 0]})
    batch = data.tensors(part)
    assert batch.images.dtype == torch.float32 and batch.labels.tolist() == [4, 3, 2, 1, 0]
    assert np.array_equal((batch.images * 255).round().permute(0, 2, 3, 1).numpy(), np.stack(arrays))
    chosen = data.tensors(part.select([3, 1]))
    assert torch.equal(chosen.images, batch.images[[3, 1]]) and chosen.labels.tolist() == [1, 3]


def test_tensors_agree_with_the_dataset_itself():
    part = data.load("scenes", "train", size=8, objects=(1, 3), object_size=(0.2, 0.4)).shuffle(seed=0)
    batch = data.tensors(part)
    for i, row in enumerate(part):
        assert np.array_equal(
            (batch.images[i] * 255).round().permute(1, 2, 0).numpy(), np.asarray(row["image"])
        )
        assert np.array_equal(batch.extra["mask"][i], np.asarray(row["mask"]))
        assert batch.labels[i] == row["label"] and batch.extra["background"][i] == row["background"]
        number = len(row["shapes"])
        assert batch.extra["shapes"][i].tolist() == row["shapes"] + [-1] * (
            batch.extra["shapes"].shape[1] - number
        )
        assert batch.extra["boxes"][i, :number].tolist() == row["boxes"]
    assert "caption" not in batch.extra


def test_tensors_of_sizes_that_differ(folder):
    picture(folder / "cat" / "big.png", 1, size=(30, 31))
    part = data.load(folder, "train", test_share=0.1, seed=0)
    with pytest.raises(ValueError, match="resize them"):
        data.tensors(part)
    assert data.tensors(part, image_size=(8, 16)).images.shape[1:] == (3, 8, 16)
    assert data.tensors(part, image_size=8).images.shape[1:] == (3, 8, 8)


def test_resized_masks_still_hold_whole_numbers_and_boxes_are_refused():
    part = data.load("scenes", "train", size=20, objects=2, object_size=(0.3, 0.4))
    batch = data.tensors(part.remove_columns("boxes"), image_size=21)
    assert batch.extra["mask"].shape == (20, 21, 21)
    assert set(batch.extra["mask"].unique().tolist()) == {0, 1, 2}
    with pytest.raises(ValueError, match="boxes are in pixels"):
        data.tensors(part, image_size=21)


def test_grey_and_colour_mixed_become_colour(tmp_path):
    for name, mode in (("a", "L"), ("b", "RGB")):
        for i in range(5):
            picture(tmp_path / name / f"{i}.png", 50, mode=mode)
    assert data.tensors(data.load(tmp_path, "train")).images.shape == (8, 3, 10, 12)


def test_tensors_errors(tmp_path):
    loaded = data.load("digits", size=20)
    with pytest.raises(TypeError, match=r"got DatasetDict; pick a split"):
        data.tensors(loaded)
    with pytest.raises(ValueError, match="needs a column 'label'"):
        data.tensors(loaded["train"].remove_columns("label"))
    shares = Dataset.from_dict({"image": [Image.new("L", (4, 4))] * 2, "label": [0.5, None]})
    with pytest.raises(ValueError, match="label must hold classes as integers, it is float64"):
        data.tensors(shares)
    deep = Dataset.from_dict({"image": [Image.new("I;16", (4, 4))], "label": [0]})
    with pytest.raises(ValueError, match="8 bits per channel"):
        data.tensors(deep)
    with pytest.raises(ValueError, match="empty"):
        data.tensors(loaded["train"].select([]))
    with pytest.raises(ValueError, match="image_size must be an integer from 1"):
        data.tensors(loaded["train"], image_size=0)
    for i in range(4):
        picture(tmp_path / "ab"[i % 2] / f"{i}.png", 1, size=(64, 64))
    whole = (tmp_path / "a" / "0.png").read_bytes()
    (tmp_path / "a" / "0.png").write_bytes(whole[: len(whole) // 2])  # the header is there, the rest is not
    with pytest.raises(ValueError, match=r"0\.png cannot be read"):
        (
            data.tensors(data.load(tmp_path, "train", test_share=0.5)),
            data.tensors(data.load(tmp_path, "test", test_share=0.5)),
        )
