"""The notebooks with the package versions that Colab carries: scripts/colab_check.py, run for real."""

import json
import os
import subprocess

import colab_check
import publish
import pytest


@pytest.mark.parametrize(
    ("after", "wrong"),
    [
        ({"numpy": "2.1.3", "labkit-book": "0.1.0", "jedi": "0.20.1"}, []),
        ({"numpy": "2.4.6", "labkit-book": "0.1.0"}, ["numpy: 2.1.3 -> 2.4.6"]),
        ({"numpy": "2.1.3", "labkit-book": "0.1.0", "kornia": "0.8"}, ["kornia: absent -> 0.8"]),
        ({"labkit-book": "0.1.0"}, ["numpy: 2.1.3 -> absent"]),
    ],
)
def test_every_change_is_noticed(after, wrong):
    assert colab_check.differences({"numpy": "2.1.3"}, after) == wrong


def test_what_another_environment_lends_is_not_seen(monkeypatch, tmp_path):
    """The kernel's Python ignores PYTHONPATH, and the variable that finds the kernel is taken back."""
    python = colab_check.environment()
    (tmp_path / "lent.py").touch()
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    monkeypatch.delenv("JUPYTER_PATH", raising=False)
    with colab_check.kernel(python, tmp_path) as name:
        spec = json.loads((tmp_path / "kernels" / name / "kernel.json").read_text())
        flags = spec["argv"][: spec["argv"].index("-m")]
        done = subprocess.run([*flags, "-c", "import lent"], capture_output=True, text=True)
    assert "No module named 'lent'" in done.stderr
    assert "JUPYTER_PATH" not in os.environ


def test_the_book_runs_on_colabs_versions(capsys):
    colab_check.check(publish.notebooks())
    steps = capsys.readouterr().out
    with capsys.disabled():
        print(f"\n{steps}", end="")
