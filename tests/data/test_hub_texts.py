"""Texts from the hub or from a local copy: the same rows from both."""

import csv
import json
import os
from pathlib import Path

import datasets
import pytest

from labkit import data
from labkit.data import banking77, homes, tinyshakespeare, xquad

LOCAL = os.environ.get("LABKIT_DATA")
MODULES = {"banking77": banking77, "tinyshakespeare": tinyshakespeare, "xquad": xquad}
PLAY = "".join(f"A:\nSpeech number {k}, said aloud.\n\nB:\nAn answer to {k}.\n\n" for k in range(300))
PARAGRAPHS = [f"The town of Number {k} lies in the north." for k in range(10)]


def here(name, file):
    present = LOCAL is not None and Path(LOCAL, name, file).is_file()
    return pytest.mark.skipif(not present, reason=f"LABKIT_DATA names no folder with {name}/{file}")


@pytest.fixture(autouse=True)
def nothing_in_memory(monkeypatch):
    for module in MODULES.values():
        monkeypatch.setattr(module, "_memory", {})
    banking77._content.cache_clear()
    yield
    banking77._content.cache_clear()


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """Small local copies in the published formats."""
    for name in MODULES:
        (tmp_path / name).mkdir()
    for split in ("train", "test"):
        with open(tmp_path / "banking77" / f"{split}.csv", "w", newline="", encoding="utf-8") as stream:
            lines = csv.writer(stream)
            lines.writerow(["text", "category"])
            lines.writerows(questions(split))
    (tmp_path / "tinyshakespeare" / "input.txt").write_text(PLAY, encoding="utf-8")
    for language in xquad.LANGUAGES:
        paragraphs = [{"context": context, "qas": asked(k)} for k, context in enumerate(PARAGRAPHS)]
        content = json.dumps({"data": [{"title": "any", "paragraphs": paragraphs}]})
        (tmp_path / "xquad" / f"xquad.{language}.json").write_text(content, encoding="utf-8")
    monkeypatch.setenv("LABKIT_DATA", str(tmp_path))
    return tmp_path


@pytest.fixture
def hub(monkeypatch):
    """The same content in the form that the hub has it in."""
    monkeypatch.delenv("LABKIT_DATA", raising=False)
    calls = []

    def load_dataset(address, *settings, **more):
        calls.append((address, *settings))
        return {banking77.HUB: _banking, tinyshakespeare.HUB: _play, xquad.HUB: _xquad}[address]()

    monkeypatch.setattr(datasets, "load_dataset", load_dataset)
    return calls


def questions(split):
    return [(f"{split}, {label}, {k}?", label) for label in ("beta", "Gamma", "alpha") for k in range(5)]


def asked(k):
    answers = [{"text": f"Number {k}", "answer_start": 12}]
    return [{"id": f"{k}-{n}", "question": f"Which town, {n}?", "answers": answers} for n in range(2)]


def _banking():
    names = ["Gamma", "alpha", "beta"]  # another order than ours
    features = {"text": datasets.Value("string"), "label": datasets.ClassLabel(names=names)}
    parts = {}
    for split in ("train", "test"):
        texts, labels = zip(*questions(split), strict=True)
        rows = {"text": list(texts), "label": [names.index(label) for label in labels]}
        parts[split] = datasets.Dataset.from_dict(rows, features=datasets.Features(features))
    return datasets.DatasetDict(parts)


def _play():
    cuts = [0, int(0.9 * len(PLAY)), int(0.95 * len(PLAY)), len(PLAY)]
    return {
        name: datasets.Dataset.from_dict({"text": [PLAY[start:end]]})
        for name, start, end in zip(("train", "validation", "test"), cuts, cuts[1:], strict=False)
    }


def _xquad():
    rows = [
        {
            "id": each["id"],
            "context": context,
            "question": each["question"],
            "answers": {"text": [a["text"] for a in each["answers"]], "answer_start": [12]},
        }
        for k, context in enumerate(PARAGRAPHS)
        for each in asked(k)
    ]
    return {"validation": datasets.Dataset.from_list(rows)}


@pytest.mark.parametrize("name", MODULES)
def test_both_homes_give_the_same_rows(name, folder, hub, monkeypatch):
    from_hub = data.load(name, seed=2)
    assert len(hub) >= 1
    hash_of_hub = data.fingerprint(name)
    monkeypatch.setenv("LABKIT_DATA", str(folder))
    from_folder = data.load(name, seed=2)
    for split in ("train", "test"):
        assert from_hub[split].features == from_folder[split].features
        assert from_hub[split].to_list() == from_folder[split].to_list()
    if name != "xquad":  # there the local copy's hash is of all languages
        assert data.fingerprint(name) == hash_of_hub


@pytest.mark.parametrize("name", MODULES)
def test_a_seed_redraws_the_subsample_and_the_hash_stays(name, folder):
    first, again, other = (data.load(name, "train", size=6, seed=seed) for seed in (0, 0, 1))
    assert first.to_list() == again.to_list() != other.to_list()
    assert data.loaded()[name] == data.fingerprint(name)


@pytest.mark.parametrize("name", MODULES)
def test_hub_out_of_reach(name, monkeypatch):
    def refuse(address, *settings, **more):
        raise OSError("no route to host")

    monkeypatch.delenv("LABKIT_DATA", raising=False)
    monkeypatch.setattr(datasets, "load_dataset", refuse)
    with pytest.raises(ConnectionError, match=rf"{name} could not be read .*no route.* set LABKIT_DATA"):
        data.load(name)


@pytest.mark.parametrize("name", MODULES)
def test_without_a_copy_the_card_says_why_and_fetches_nothing(name, monkeypatch, tmp_path):
    monkeypatch.delenv("LABKIT_DATA", raising=False)
    monkeypatch.setattr(datasets, "load_dataset", None)  # a call would fail
    with pytest.raises(FileNotFoundError, match="LABKIT_DATA names no folder"):
        data.fingerprint(name)
    assert "Not computed: the data are not bundled" in data.card(name).markdown()
    monkeypatch.setenv("LABKIT_DATA", str(tmp_path))
    with pytest.raises(FileNotFoundError, match=r"there is no .* or unset LABKIT_DATA"):
        data.load(name)
    assert "there is no" in data.card(name).missing


def test_classes_are_in_alphabetical_order_and_balanced(folder):
    loaded = data.load("banking77", size=6, test_size=3)
    assert loaded["train"].features["label"].names == ["alpha", "beta", "Gamma"]
    assert sorted(loaded["train"]["label"]) == [0, 0, 1, 1, 2, 2]
    assert all(
        row["text"].split(", ")[1] == ["alpha", "beta", "Gamma"][row["label"]] for row in loaded["test"]
    )


def test_a_table_with_other_columns_is_refused(folder):
    (folder / "banking77" / "train.csv").write_text("a,b\n1,2\n")
    with pytest.raises(ValueError, match="must have the columns text and category"):
        data.load("banking77")


def test_passages_are_the_text_in_order(folder):
    loaded = data.load("tinyshakespeare", passage=100)
    rows = [*loaded["train"], *loaded["test"]]
    for row in rows:
        assert PLAY[row["start"] :].startswith(row["text"])
        assert len(row["text"]) <= 100
        assert row["text"].startswith(("A:", "B:")) and not row["text"].endswith("\n")
    starts = [row["start"] for row in rows]
    assert starts == sorted(starts)
    ends = [row["start"] + len(row["text"]) for row in loaded["train"]]
    assert max(ends) <= 0.9 * len(PLAY) <= loaded["test"][0]["start"]
    whole = "\n\n".join(row["text"] for row in tinyshakespeare.passages(PLAY, 100))
    assert whole == PLAY.strip("\n")


def test_questions_of_a_paragraph_stay_together_in_all_languages(folder):
    loaded = data.load("xquad", languages=("en", "de", "es"))
    numbers = [set(part["paragraph"]) for part in loaded.values()]
    assert numbers[0].isdisjoint(numbers[1]) and len(numbers[0] | numbers[1]) == 10
    assert all(set(part["language"]) == {"en", "de", "es"} for part in loaded.values())
    for row in loaded["test"]:
        (answer,) = row["answers"]
        assert row["context"][answer["start"] :].startswith(answer["text"])


def test_an_answer_that_is_not_there_is_refused(folder):
    path = folder / "xquad" / "xquad.en.json"
    path.write_text(path.read_text().replace('"answer_start": 12', '"answer_start": 13', 1))
    with pytest.raises(ValueError, match="answer of 0-0 is not where it should be"):
        data.load("xquad")


@pytest.mark.parametrize(
    ("call", "said"),
    [
        (lambda: data.load("xquad", languages="fr"), "languages must be some of en, de, es"),
        (lambda: data.load("xquad", languages=()), "languages must be some of"),
        (lambda: data.load("tinyshakespeare", passage=10), "passage must be an integer from 100 up"),
        (lambda: data.load("banking77", test_size=99), "test_size must be an integer from 1 to 15"),
    ],
)
def test_wrong_settings(call, said, folder):
    with pytest.raises(ValueError, match=said):
        call()


@here("banking77", "train.csv")
def test_banking77_is_the_published_one():
    loaded = data.load("banking77")
    assert {split: len(part) for split, part in loaded.items()} == {"train": 10_003, "test": 3_080}
    names = loaded["train"].features["label"].names
    assert len(names) == 77 and names[0] == "activate_my_card" and "Refund_not_showing_up" in names


@here("xquad", "xquad.en.json")
def test_xquad_is_the_published_one():
    loaded = data.load("xquad", languages=xquad.LANGUAGES)
    rows = [row for part in loaded.values() for row in part]
    assert len(rows) == 3 * 1190
    assert len({row["paragraph"] for row in rows}) == 240
    assert len({row["id"] for row in rows}) == 1190


@here("tinyshakespeare", "input.txt")
def test_tinyshakespeare_is_the_published_one():
    assert len(tinyshakespeare._read(homes.folder())) == 1_115_394
    assert {split: len(part) for split, part in data.load("tinyshakespeare").items()} == {
        "train": 1137,
        "test": 129,
    }
