"""The README's and CONTRIBUTING's code runs, and their commands exist."""

import re
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

ROOT = Path(__file__).resolve().parent.parent
TEXTS = ("README.md", "CONTRIBUTING.md")


def blocks(name: str, language: str) -> list[str]:
    """The fenced blocks of one language in a text file; "" for those without a language."""
    return re.findall(rf"^```{language}\n(.*?)^```$", (ROOT / name).read_text(encoding="utf-8"), re.M | re.S)


def commands(name: str) -> list[str]:
    """Every command line: those of the blocks without a language, and those in the running text."""
    text = (ROOT / name).read_text(encoding="utf-8")
    found = [line.split("#")[0].strip() for block in blocks(name, "") for line in block.splitlines()]
    return [*filter(None, found), *re.findall(r"`((?:make|\.venv/bin/)[^`]*)`", text)]


def test_the_readmes_code_runs_on_a_folder_of_images(tmp_path, monkeypatch, capsys):
    random = np.random.default_rng(0)
    for label in ("cats", "dogs"):
        (tmp_path / "my-photos" / label).mkdir(parents=True)
        for number in range(10):
            pixels = random.integers(0, 256, size=(40, 30 + number, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(tmp_path / "my-photos" / label / f"{number}.png")
    monkeypatch.chdir(tmp_path)
    code = (
        "\n".join(blocks("README.md", "python"))
        .replace("steps=500", "steps=2")
        .replace("seeds=10", "seeds=2")
    )
    exec(compile(code, "README.md", "exec"), {})
    assert "resizemix against plain" in capsys.readouterr().out


@pytest.mark.parametrize("name", TEXTS)
def test_the_commands_that_are_printed_exist(name):
    targets = set(re.search(r"^\.PHONY: (.+)$", (ROOT / "Makefile").read_text(), re.M)[1].split())
    found = commands(name)
    assert found
    for command in found:
        words = command.split()
        if words[0] == "make":
            assert words[1] in targets, command
        elif words[0] == ".venv/bin/labkit":
            parse(words[1:])


def parse(arguments: list[str]) -> None:
    """Refuse a command line that `labkit` would not take; an argument in capitals stands for a value."""
    from labkit.cli.parser import parser

    try:
        parser().parse_args(arguments)
    except SystemExit as done:
        assert done.code == 0, arguments


@pytest.mark.parametrize("name", TEXTS)
def test_the_files_that_are_named_exist(name):
    text = (ROOT / name).read_text(encoding="utf-8")
    links = [link for link in re.findall(r"\]\(([^)#]+)\)", text) if "://" not in link]
    assert all((ROOT / link).is_file() for link in links)
    scripts = re.findall(r"(?:notebooks|tests|scripts|labkit|book)/[\w/.-]+\.(?:ipynb|py|toml|txt)", text)
    assert [path for path in scripts if not (ROOT / path).is_file()] == []
