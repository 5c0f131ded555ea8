"""An execution's outputs laid into the source notebook, and what a machine left in them taken out."""

import copy
import os
import re
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

from labkit.runner.notebooks import SETUP_TAGS, code_cells, tagged

__all__ = ["merge", "scrub"]

# Pictures inside text: their letters mean nothing, and may look like a path by chance.
_DATA_URI = re.compile(r"(data:[\w/+.;=-]+;base64,[A-Za-z0-9+/=\s]+)")
_AROUND = "'\"<>():"  # what, beside spaces, a path ends at
_BINARY = ("image/png", "image/jpeg", "image/webp", "image/gif", "application/pdf")


def merge(source: dict, executed: dict) -> dict:
    """The source notebook with the outputs of an execution of the same code.

    Text, cell ids, tags and defaults are the source's; outputs and execution counts are the execution's.
    What papermill adds (its injected cell, marks, times) is left behind.
    source, executed: notebooks whose computing cells are the same in number and order.
    """
    merged = copy.deepcopy(source)
    pairs = list(zip(code_cells(merged), code_cells(executed), strict=True))
    pairs += [(tagged(merged, tag), tagged(executed, tag)) for tag in SETUP_TAGS]
    for cell in merged["cells"]:
        if cell["cell_type"] == "code":
            cell["outputs"], cell["execution_count"] = [], None
            for name in ("execution", "papermill"):
                cell["metadata"].pop(name, None)
    for cell, ran in pairs:
        if cell is not None and ran is not None:
            cell["outputs"] = _joined_streams(ran["outputs"])
            cell["execution_count"] = ran["execution_count"]
    for name in ("papermill", "widgets"):
        merged["metadata"].pop(name, None)
    merged["metadata"]["kernelspec"] = {"display_name": "Python 3", "language": "python", "name": "python3"}
    merged["metadata"]["language_info"] = {"name": "python"}
    return merged


def _joined_streams(outputs: list[dict]) -> list[dict]:
    """Neighbouring pieces of one stream as one: how they were cut is chance."""
    joined: list[dict] = []
    for output in copy.deepcopy(outputs):
        last = joined[-1] if joined else {}
        if output["output_type"] == "stream" and output["name"] == last.get("name"):
            last["text"] += output["text"]
        else:
            joined.append(output)
    return joined


def scrub(notebook: dict, places: dict[Path | str, str] | None = None) -> dict:
    """A notebook without the machine's paths in its outputs and in the error it records.

    places: folder -> what to write instead ("" makes what follows relative). Python's own folders, the home
    folder and the folder for temporary files are always replaced.

    >>> cell = {"cell_type": "code", "source": "", "metadata": {}, "outputs": [
    ...     {"output_type": "stream", "name": "stdout", "text": "/data/me/book/labkit/a.py:3"}]}
    >>> scrub({"metadata": {}, "cells": [cell]}, {"/data/me/book": ""})["cells"][0]["outputs"][0]["text"]
    'labkit/a.py:3'
    """
    rules = _rules(places or {})
    scrubbed = copy.deepcopy(notebook)
    for cell in scrubbed["cells"]:
        if cell["cell_type"] == "code":
            cell["outputs"] = [_scrub(output, rules) for output in cell["outputs"]]
    record = scrubbed["metadata"].get("labkit", {})
    if "error" in record:
        record["error"] = _scrub(record["error"], rules)
    return scrubbed


def _rules(places: dict[Path | str, str]) -> list[Callable[[str], str]]:
    """What takes paths out of a text, the most specific first."""
    rules = [_path(r"[/\\]ipykernel_\d+[/\\]\d+\.py", "cell.py")]
    named = {str(place): name for place, name in places.items()}
    named |= {os.path.realpath(place): name for place, name in places.items()}
    for place in sorted(named, key=len, reverse=True):
        rules += [_folder(place, named[place]), _folder(place, ".")]
    rules.append(_path(r"[/\\](?:site|dist)-packages[/\\]", "site-packages/"))
    library = f"python{sys.version_info[0]}.{sys.version_info[1]}"
    rules.append(_path(rf"[/\\]{re.escape(library)}[/\\]", f"{library}/"))
    standard = {sys.prefix: "python", sys.base_prefix: "python", str(Path.home()): "~"}
    standard |= {tempfile.gettempdir(): "tmp", os.path.realpath(tempfile.gettempdir()): "tmp"}
    for place in sorted(standard, key=len, reverse=True):
        if len(Path(place).parts) > 1:  # a home that is "/" names nothing
            rules.append(_folder(place, standard[place]))
    return rules


def _folder(place: str, name: str) -> Callable[[str], str]:
    """The rule for one folder; without a name, what lies in the folder becomes a relative path."""
    end = r"(?![\w-])" if name else r"[/\\]"
    pattern = re.compile(rf"(?<![\w./-]){re.escape(place)}{end}")
    return lambda text: pattern.sub(lambda _: name, text)


def _path(end: str, name: str) -> Callable[[str], str]:
    """The rule for whatever path leads to an end, given as a pattern.

    It looks for the end and goes back from there: a pattern of the whole path would, in a long text without
    a space, be tried from every letter to the last.
    """
    pattern = re.compile(end)

    def replaced(text: str) -> str:
        pieces, done = [], 0
        for found in pattern.finditer(text):
            start = found.start()
            while start > done and text[start - 1] not in _AROUND and not text[start - 1].isspace():
                start -= 1
            if start > done or not pieces:  # else this path goes on from the one before
                pieces += [text[done:start], name]
            done = found.end()
        return "".join([*pieces, text[done:]])

    return replaced


def _scrub(value, rules: list):
    if isinstance(value, dict):
        return {key: item if key in _BINARY else _scrub(item, rules) for key, item in value.items()}
    if isinstance(value, list):
        return [_scrub(item, rules) for item in value]
    return _scrub_text(value, rules) if isinstance(value, str) else value


def _scrub_text(text: str, rules: list) -> str:
    parts = _DATA_URI.split(text)
    for index in range(0, len(parts), 2):  # every second part is a picture
        for rule in rules:
            parts[index] = rule(parts[index])
    return "".join(parts)
