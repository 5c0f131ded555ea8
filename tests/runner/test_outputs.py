"""Laying outputs into the source, and taking the machine's paths out of them."""

import copy
import json
import sys
import sysconfig
import tempfile
from pathlib import Path

import nbformat.v4 as v4
import pytest

from labkit.runner.outputs import merge, scrub
from tests.runner.conftest import outputs, tagged


def stream(text: str, name: str = "stdout"):
    return v4.new_output("stream", name=name, text=text)


@pytest.fixture
def source():
    cells = [tagged("install()", "bootstrap"), tagged("a = 1", "parameters"), v4.new_code_cell("a")]
    return v4.new_notebook(cells=[v4.new_markdown_cell("# T"), *cells, v4.new_code_cell("b")])


def test_merge(source):
    executed = copy.deepcopy(source)
    executed.cells.insert(3, tagged("a = 2", "injected-parameters"))
    for number, cell in enumerate(executed.cells):
        cell.id = f"other-{number}"
        cell.metadata |= {"papermill": {"duration": 1.0}, "execution": {"iopub.execute_input": "2026"}}
        if cell.cell_type == "code":
            cell.execution_count, cell.outputs = number, [stream(f"{number}")]
    executed.metadata |= {"papermill": {}, "widgets": {}}
    merged = merge(source, executed)
    code = [cell for cell in merged.cells if cell.cell_type == "code"]
    assert [cell.outputs[0].text for cell in code] == ["1", "2", "4", "5"], "the injected cell is left out"
    assert [cell.id for cell in merged.cells] == [cell.id for cell in source.cells]
    assert [cell.metadata for cell in merged.cells] == [cell.metadata for cell in source.cells]
    assert set(merged.metadata) == {"kernelspec", "language_info"}
    assert merged.metadata.language_info == {"name": "python"}, "no version, which would change by machine"
    assert not source.cells[3].outputs, "the source is left as it was"


def test_old_outputs_do_not_stay(source):
    executed = copy.deepcopy(source)
    source.cells[4].outputs, source.cells[4].execution_count = [stream("old")], 9
    merged = merge(source, executed)
    assert (merged.cells[4].outputs, merged.cells[4].execution_count) == ([], None)


def test_pieces_of_a_stream_are_joined(source):
    executed = copy.deepcopy(source)
    executed.cells[3].outputs = [stream("a"), stream("b"), stream("c", "stderr"), stream("d")]
    assert [output.text for output in outputs(merge(source, executed))] == ["ab", "c", "d"]


def test_another_number_of_cells_is_an_error(source):
    executed = copy.deepcopy(source)
    del executed.cells[-1]
    with pytest.raises(ValueError):
        merge(source, executed)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("ROOT/labkit/a.py:3: UserWarning", "labkit/a.py:3: UserWarning"),
        ("'ROOT'", "'.'"),
        ("ROOT-other/a.py", "ROOT-other/a.py"),
        ("SITE/torch/nn.py", "site-packages/torch/nn.py"),
        ("STD/json/decoder.py", "pythonX/json/decoder.py"),
        ("TMP/ipykernel_123/456.py:1", "cell.py:1"),
        ("TMP/abc/x", "tmp/abc/x"),
        ("HOME/data", "~/data"),
        ("0.5/0.6 and a/b", "0.5/0.6 and a/b"),
    ],
)
def test_scrub(text, expected):
    root = Path.home() / "somewhere" / "book"
    library = f"python{sys.version_info[0]}.{sys.version_info[1]}"
    places = {"ROOT": root, "SITE": sysconfig.get_path("purelib"), "STD": sysconfig.get_path("stdlib")}
    places |= {"TMP": tempfile.gettempdir(), "HOME": Path.home()}
    for name, place in places.items():
        text, expected = text.replace(name, str(place)), expected.replace(name, str(place))
    if "-other" in expected:
        expected = expected.replace(str(Path.home()), "~")
    expected = expected.replace("pythonX", library)
    notebook = v4.new_notebook(cells=[v4.new_code_cell("", outputs=[stream(text)])])
    notebook.metadata["labkit"] = {"error": text, "parameters": {"a": text}}
    scrubbed = scrub(notebook, {root: ""})
    assert scrubbed["cells"][0]["outputs"][0]["text"] == expected
    assert scrubbed["metadata"]["labkit"]["error"] == expected
    assert scrubbed["metadata"]["labkit"]["parameters"]["a"] == text, (
        "the key is over the parameters as they are"
    )
    assert notebook.cells[0].outputs[0].text == text


def test_scrub_reaches_everything_and_leaves_pictures_alone():
    root = "/work0/book"
    data = {
        "text/html": [f"<p>{root}/a</p>"],
        "application/json": {"x": [f"{root}/b"]},
        "image/png": f"{root}/c",
    }
    data["text/markdown"] = f"![](data:image/png;base64,AAAA{root}/d/tmp/eeee) {root}/f"
    output = v4.new_output("display_data", data=data, metadata={"note": f"{root}/g"})
    error = v4.new_output("error", ename="E", evalue=f"{root}/h", traceback=[f"{root}/i"])
    cell = v4.new_code_cell("", outputs=[output, error])
    text = json.dumps(scrub(v4.new_notebook(cells=[cell]), {root: ""}))
    assert text.count(root) == 2, "those in the two pictures"
    for name in "abfghi":
        assert f"{root}/{name}" not in text


def test_a_long_line_without_a_space(tmp_path):
    """Looking for paths in it takes no longer than in any other text."""
    long = "x" * 1_000_000
    cell = {"cell_type": "code", "source": "", "metadata": {}}
    text = f"{long} /a/site-packages/b/site-packages/c.py:1 {long}"
    shown = scrub({"metadata": {}, "cells": [cell | {"outputs": [{"output_type": "stream", "text": text}]}]})
    assert shown["cells"][0]["outputs"][0]["text"] == f"{long} site-packages/c.py:1 {long}"
