"""Execution in real kernels (shared through a fixture, since each costs seconds)."""

import json
import sys

import pytest

from labkit import runner
from labkit.runner import kernel, keys, notebooks
from tests.runner.conftest import outputs, printed


def test_a_result_says_what_it_depended_on(executed, result):
    outcomes = executed[1]
    record = result["metadata"]["labkit"]
    assert outcomes["augment/images/toy"].word == "ok"
    assert (record["format"], record["status"], record["profile"]) == (1, "ok", "book")
    assert record["parameters"] == {"profile": "book", "seed": None, "size": 3}
    assert set(record["files"]) == {"data.py", "tool.py"}, "not labkit/__init__.py, not show/"
    assert record["data"] == {"letters": "0123456789abcdef", "my own": "fedcba9876543210"}
    assert list(record["claims"]) == ["toy"]
    assert record["versions"]["python"] == "{}.{}.{}".format(*sys.version_info)
    assert record["key"] == keys.key(record)
    assert record["seconds"] > 0


def test_the_kernel_is_this_python_in_an_empty_folder(executed, result):
    folder = executed[0].root
    # The same interpreter, an empty working folder, one thread, headless; the checkout's own labkit.
    assert printed(result).splitlines()[:2] == ["True . [] 1 1", "labkit/tool.py"]
    assert str(folder) not in json.dumps(result)
    assert not list(folder.glob("*.ipynb"))


def test_whatever_kernels_are_installed_ours_is_this_python(tmp_path, monkeypatch):
    specs = tmp_path / "kernels" / "python3"
    specs.mkdir(parents=True)
    (specs / "kernel.json").write_text(
        json.dumps({"argv": ["false"], "display_name": "no", "language": "python"})
    )
    monkeypatch.setenv("JUPYTER_PATH", str(tmp_path))
    assert kernel.OwnPython().get_kernel_spec("python3").argv[0] == sys.executable


def test_text_ids_and_defaults_stay_those_of_the_notebook(executed, result):
    source = notebooks.read(executed[0].path("augment/images/toy"))
    for before, after in zip(source["cells"], result["cells"], strict=True):
        assert (before["id"], before["source"], before["metadata"]) == (
            after["id"],
            after["source"],
            after["metadata"],
        )
    assert set(result["metadata"]) == {"kernelspec", "language_info", "labkit"}
    assert result["metadata"]["kernelspec"]["name"] == "python3"
    assert [c["execution_count"] for c in result["cells"] if c["cell_type"] == "code"] == [1, 2, 3, 4, 5, 6]
    assert outputs(result)[-1]["data"]["text/plain"] == "6", "the parameter 3, doubled by the tool"


def test_a_failed_notebook_keeps_its_outputs_and_its_error(executed):
    outcome = executed[1]["start/fails"]
    assert (outcome.word, outcome.ok, outcome.reason) == (
        "failed",
        False,
        "ZeroDivisionError: division by zero",
    )
    failed = notebooks.read(outcome.path)
    first, error = outputs(failed)
    assert (first["text"], error["ename"]) == ("before\n", "ZeroDivisionError")
    assert failed["cells"][-1]["execution_count"] is None, "the cell after the error did not run"
    assert failed["metadata"]["labkit"]["status"] == "failed"
    assert len(failed["cells"]) == len(notebooks.read(executed[0].path("start/fails"))["cells"])


def test_a_kernel_that_dies_is_a_failure_with_a_name(executed):
    outcome = executed[1]["start/dies"]
    how = "the kernel ended in this cell, with exit status 1"
    assert (outcome.word, outcome.reason) == ("failed", f"DeadKernelError: {how}")
    before, error = outputs(notebooks.read(outcome.path))
    assert (before["text"], error["ename"], error["evalue"]) == ("before\n", "DeadKernelError", how)


def test_the_others_go_on(executed):
    assert [outcome.ok for outcome in executed[1].values()] == [False, False, True, True]


def test_the_profile_is_passed_on(executed):
    record = notebooks.read(executed[1]["judged"].path)["metadata"]["labkit"]
    assert (record["profile"], record["parameters"]["profile"]) == ("judge", "judge")


def test_a_kernel_that_does_not_start_is_a_failure(plain, monkeypatch):
    name = plain.notebook("start/a", "1")
    monkeypatch.setattr(sys, "executable", "/bin/false")
    (outcome,) = runner.run(plain.root, [runner.request(plain.root, name)])
    assert outcome.word == "failed" and "died" in outcome.reason
    assert outputs(notebooks.read(outcome.path))[0]["output_type"] == "error"


def test_a_file_edited_while_the_notebook_runs_is_told(tmp_path, executed):
    checkout = executed[0].copy(tmp_path / "book")
    edit = f"import pathlib\nf = pathlib.Path({str(checkout.root)!r}, 'labkit', 'tool.py')\n"
    name = checkout.notebook(
        "start/a", "from labkit import tool\n" + edit + "_ = f.write_text(f.read_text() + '#')"
    )
    (outcome,) = runner.run(checkout.root, [runner.request(checkout.root, name)])
    assert (outcome.word, outcome.reason) == ("changed", "labkit/tool.py changed")


def test_dask_does_the_same_work(plain):
    distributed = pytest.importorskip("distributed")
    name = plain.notebook("start/a", "print(size)", "1 / 0")
    settings = {"n_workers": 1, "threads_per_worker": 2, "processes": False, "dashboard_address": None}
    with distributed.LocalCluster(protocol="tcp://", **settings) as cluster:
        wanted = [runner.request(plain.root, name, {"size": 8})]
        (outcome,) = runner.run(plain.root, wanted, cluster=cluster.scheduler_address)
    assert outcome.reason == "ZeroDivisionError: division by zero"
    assert printed(notebooks.read(outcome.path)) == "8\n"
