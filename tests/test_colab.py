"""The notebooks with the package versions that Colab carries: scripts/colab_check.py, run for real."""

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


def test_another_environments_paths_are_not_lent(monkeypatch):
    monkeypatch.setenv("PYTHONPATH", "/elsewhere")
    assert "PYTHONPATH" not in colab_check.clean_environ()
    assert colab_check.clean_environ(JUPYTER_PATH="here")["JUPYTER_PATH"] == "here"


def test_the_book_runs_on_colabs_versions(capsys):
    colab_check.check(publish.notebooks())
    steps = capsys.readouterr().out
    with capsys.disabled():
        print(f"\n{steps}", end="")
