"""Names, parameters and values: refused before anything runs, with what would have been right."""

import pytest

from labkit import runner
from labkit.runner import notebooks, requests


def test_find_root(plain):
    assert runner.find_root(plain.root / "notebooks") == plain.root
    with pytest.raises(FileNotFoundError, match=r"not inside a checkout.*--root"):
        runner.find_root(plain.root.parent)


def test_names(plain):
    for name in ("augment/images/resizemix", "augment/images/index", "start/fair-test", ".hidden/a"):
        plain.notebook(name, "1")
    assert runner.names(plain.root) == ["augment/images/index", "augment/images/resizemix", "start/fair-test"]
    assert runner.resolve(plain.root, []) == runner.names(plain.root)
    for target in ("resizemix", "augment/images/resizemix", "notebooks/augment/images/resizemix.ipynb"):
        assert runner.resolve(plain.root, [target]) == ["augment/images/resizemix"]
    assert len(runner.resolve(plain.root, ["augment/images", "resizemix", "augment"])) == 2
    with pytest.raises(ValueError, match=r"'fair-tets'.*did you mean 'fair-test'"):
        runner.resolve(plain.root, ["fair-tets"])
    with pytest.raises(ValueError, match="randaugment: this paper is planned"):
        runner.resolve(plain.root, ["randaugment"])


def test_parameters(plain):
    name = plain.notebook("start/a", parameters="# knobs\nprofile: str = 'book'  # one\nsizes = (1, -2.5)")
    assert notebooks.parameters(notebooks.read(plain.path(name))) == {"profile": "book", "sizes": (1, -2.5)}
    bare = plain.notebook("start/bare", parameters=None)
    assert runner.request(plain.root, bare).parameters == {}


@pytest.mark.parametrize(
    "cell", ["x = f(1)", "import os", "x = y = 1", "x += 1", "x.y = 1", "x = (", "x: int"]
)
def test_a_parameters_cell_holds_plain_values(plain, cell):
    name = plain.notebook("start/a", parameters=cell)
    with pytest.raises(ValueError, match="start/a: the parameters cell takes lines such as `size = 3`"):
        runner.request(plain.root, name)


@pytest.fixture
def toy(plain):
    cell = "profile = 'book'\nseed = None\nsize = 3\nshare = 0.5\nsmooth = False\nmode = 'area'"
    cell += "\nscales = (0.1, 0.8)"
    return plain.root, plain.notebook("start/toy", "1", parameters=cell)


@pytest.mark.parametrize(
    ("given", "error", "message"),
    [
        ({"sizes": 3}, ValueError, "no parameter 'sizes'; did you mean 'size'"),
        ({"profile": "jugde"}, ValueError, "profile = 'jugde' is unknown; did you mean 'judge'"),
        ({"size": "x"}, TypeError, "'size' takes int, as in 3; got 'x'"),
        ({"size": 1.5}, TypeError, "'size' takes int"),
        ({"size": True}, TypeError, "'size' takes int"),
        ({"share": "x"}, TypeError, "'share' takes float"),
        ({"smooth": 1}, TypeError, "'smooth' takes bool"),
        ({"mode": 3}, TypeError, "'mode' takes str"),
        ({"seed": "x"}, TypeError, "'seed' takes an int or None"),
        ({"scales": 1}, TypeError, "'scales' takes tuple"),
    ],
)
def test_wrong_parameters_are_refused(toy, given, error, message):
    with pytest.raises(error, match=message):
        runner.request(*toy, given)


def test_right_parameters(toy):
    given = {"share": 1, "seed": 5, "scales": [0.2, 0.3], "mode": "area", "profile": "book"}
    wanted = runner.request(*toy, given)
    assert wanted.given == {"share": 1, "seed": 5, "scales": [0.2, 0.3]}, (
        "what equals its default is not injected"
    )
    assert wanted.parameters["mode"] == "area" and wanted.exact
    assert not runner.request(*toy).exact
    assert str(wanted) == "start/toy [book] share=1 seed=5 scales=[0.2, 0.3]"


def test_each_request_has_its_own_file(toy):
    files = {
        runner.request(*toy, given).file for given in ({}, {"size": 4}, {"seed": 1}, {"profile": "judge"})
    }
    assert len(files) == 4
    assert runner.request(*toy, {"size": 3}).file == runner.request(*toy).file
    assert runner.request(*toy, {"profile": "judge"}).file.startswith("judge-")


@pytest.mark.parametrize("text", ["", ",", "1,,2", "0:0", "0:9:0"])
def test_values_that_are_none(text):
    with pytest.raises(ValueError):
        requests.parse_values(text)


def test_values():
    assert requests.parse_values("0:3") == [0, 1, 2]
    assert requests.parse_values("-1:1") == [-1, 0]
    assert requests.parse_values("area,nearest") == ["area", "nearest"]
    assert requests.parse_values("1e-3,0.5") == [0.001, 0.5]
    assert requests.parse_values("true,false") == [True, False]
    assert requests.parse_values("(1, 2)") == [(1, 2)]
    assert requests.parse_value("'3'") == "3"
    assert requests.parse_value("http://a") == "http://a"
