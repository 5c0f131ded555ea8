"""Texts that come with Python, split by document, and what cards say of texts."""

import ast
import inspect

import datasets
import numpy as np
import pytest

from labkit import data
from labkit.data import grouped, python_source
from labkit.data.card import Card, compose

SPLITS = ("train", "test")


@pytest.fixture
def split():
    return grouped.by_group


@pytest.mark.parametrize("seed", range(40))
def test_a_split_keeps_every_row_and_shares_no_group(split, seed):
    rng = np.random.default_rng(seed)
    groups = ["a", "b", *rng.choice(list("abcdefg"), rng.integers(60))]
    train, test = split(groups, rng, share=rng.uniform(0.01, 0.99))
    assert sorted([*train, *test]) == list(range(len(groups)))
    assert len(train) and len(test)
    assert {groups[k] for k in train}.isdisjoint(groups[k] for k in test)


def test_a_split_draws_as_many_rows_as_asked_for(split):
    groups = [str(k // 10) for k in range(100)]
    train, test = split(groups, np.random.default_rng(0), size=30, test_size=20)
    assert (len(set(train)), len(set(test))) == (30, 20)


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"groups": ["a", "a"]}, "at least two groups, there are 1"),
        ({"size": 5}, "size must be an integer from 1 to 3, got 5"),
        ({"test_size": 0}, "test_size must be an integer from 1 to 1, got 0"),
        ({"share": 2}, r"share must lie in \[0, 1\], got 2"),
    ],
)
def test_a_split_says_what_is_wrong(split, settings, said):
    with pytest.raises(ValueError, match=said):
        split(**{"groups": list("abcd"), "rng": np.random.default_rng(0)} | settings)


@pytest.mark.parametrize(("name", "unit"), [("prose", "title"), ("code", "module")])
def test_the_parts_of_bundled_texts_share_no_document(name, unit):
    for seed in range(3):
        loaded = data.load(name, seed=seed)
        documents = [{(row.get("source"), row[unit]) for row in loaded[part]} for part in SPLITS]
        assert documents[0].isdisjoint(documents[1])
        assert 0.1 < len(documents[1]) / len(documents[0] | documents[1]) < 0.3
    assert data.loaded()[name] == data.fingerprint(name)


def test_prose_holds_the_docstrings_of_a_module():
    import fractions

    rows = {row["title"]: row for part in data.load("prose", seed=1).values() for row in part}
    text = rows["fractions"]["text"]
    assert text.startswith(inspect.cleandoc(fractions.__doc__))
    assert inspect.cleandoc(fractions.Fraction.limit_denominator.__doc__) in text
    assert rows["fractions"]["source"] == "standard library"
    assert "break" in rows["break"]["text"] and rows["break"]["source"] == "reference"


def test_prose_of_other_libraries():
    loaded = data.load("prose", sources="numpy", size=20)
    assert len(loaded["train"]) == 20
    assert all(row["source"] == "numpy" and len(row["text"]) >= 200 for row in loaded["train"])


def test_code_is_the_function_without_its_docstring():
    from fractions import Fraction

    rows = {row["name"]: row for part in data.load("code", max_lines=200).values() for row in part}
    row = rows["Fraction.limit_denominator"]
    assert row["docstring"] == inspect.getdoc(Fraction.limit_denominator)
    assert row["signature"] == "def limit_denominator(self, max_denominator=1000000):"
    original = ast.parse(inspect.cleandoc("\n" + inspect.getsource(Fraction.limit_denominator)))
    del original.body[0].body[0]
    assert ast.dump(ast.parse(row["code"])) == ast.dump(original)


def test_all_code_and_all_signatures_parse():
    for row in data.load("code", "train"):
        (function,) = ast.parse(row["code"]).body
        assert function.name == row["name"].split(".")[-1]
        ast.parse(row["signature"] + " pass")
        assert row["docstring"].strip() and row["code"].count("\n") < 60


def test_nothing_of_the_sources_is_executed(tmp_path, monkeypatch):
    (tmp_path / "fractions.py").write_text('"""Broken on purpose."""\nraise SystemExit\n')
    (tmp_path / "wrong.py").write_text('"""Not Python."""\nno python = 1\n')
    (tmp_path / "test").mkdir()
    (tmp_path / "test" / "any.py").write_text('"""A test."""\n')
    monkeypatch.setattr(python_source, "_root", lambda library: tmp_path)
    python_source.modules.cache_clear()
    try:
        (module,) = python_source.modules("standard library")
    finally:
        python_source.modules.cache_clear()
    assert module == ("fractions", "Broken on purpose.", [])


@pytest.mark.parametrize(
    ("source", "found"),
    [
        ('def f():\n    """Says."""\n', ("", "")),
        ('def f(): "Says."; return 1\n', ("", "")),
        ('def f():\n    "Says."; return 1\n', ("", "")),
        ('class A:\n    """Says."""\n    x = 1\n', ("", "")),
        ('def f(a,\n      b: int = 1) -> str:\n    """Says."""\n    return a\n',
         ("def f(a, b: int=1) -> str:", "def f(a,\n      b: int = 1) -> str:\n    return a")),
        ('async def f():\n    """Says."""\n    x = """\nleft"""\n',
         ("async def f():", 'async def f():\n    x = """\nleft"""')),
    ],
)  # fmt: skip
def test_what_counts_as_code(source, found):
    (part,) = python_source._parts(ast.parse(source).body, "", source.splitlines())
    assert (part.signature, part.code) == found
    assert part.docstring == "Says."


@pytest.mark.parametrize(
    ("call", "said"),
    [
        (lambda: data.load("prose", sources="wikipedia"), "sources must be some of 'reference'"),
        (lambda: data.load("prose", sources=()), "sources must be some of"),
        (lambda: data.load("code", max_lines=1), "max_lines must be an integer from 2 up, got 1"),
        (lambda: data.load("code", size=10**6), "size must be an integer from 1 to"),
        (lambda: python_source.modules("os"), "library must be 'standard library'"),
    ],
)
def test_bundled_texts_say_what_is_wrong(call, said):
    with pytest.raises(ValueError, match=said):
        call()


def test_sources_that_are_not_installed(monkeypatch, tmp_path):
    monkeypatch.setattr(python_source.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(FileNotFoundError, match="numpy is not installed"):
        python_source._root("numpy")
    monkeypatch.setattr(python_source.sysconfig, "get_paths", lambda: {"stdlib": str(tmp_path)})
    with pytest.raises(FileNotFoundError, match="without the sources"):
        python_source._root("standard library")


def test_a_card_counts_words_and_needs_no_labels():
    parts = {
        "train": datasets.Dataset.from_dict({"text": ["a b", "b c d", "a b"], "year": [1, 2, 3]}),
        "test": datasets.Dataset.from_dict({"text": ["x"], "year": [4]}),
    }
    composition = compose(datasets.DatasetDict(parts), "mine")
    assert composition.texts == {"text": (2, 7, 2.0, 4, 5)}
    assert composition.classes == {} and composition.images is None
    page = Card("mine", "", "", "", (), "", composition).markdown()
    assert "| text | 2 | 7 | 2 | 4 |" in page
    assert "| class |" not in page


@pytest.mark.parametrize("name", ["prose", "code"])
def test_cards_of_bundled_texts_name_the_version(name):
    import platform

    page = data.card(name).markdown()
    assert platform.python_version() in page and "hash" in page


def test_cards_of_images_have_no_table_of_texts():
    page = data.card("digits").markdown()
    assert "| text" not in page and "| class | train | test |" in page
