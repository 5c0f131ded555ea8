"""Sweeps: the product of lists, and the records as one tidy table."""

import json

import pandas
import pytest

from labkit import runner
from labkit.runner import results, sweep
from tests.runner.conftest import RECORD


@pytest.fixture
def toy(plain):
    return plain.root, plain.notebook("start/toy", RECORD)


def test_plan(toy):
    wanted = runner.plan(*toy, {"size": [1, 2], "seed": [0, 1, 2]})
    assert [(r.parameters["size"], r.parameters["seed"]) for r in wanted][:4] == [
        (1, 0),
        (1, 1),
        (1, 2),
        (2, 0),
    ]
    with pytest.raises(ValueError, match="did you mean 'size'"):
        runner.plan(*toy, {"siz": [1]})
    with pytest.raises(TypeError, match="takes int"):
        runner.plan(*toy, {"size": [1, "x"]})


def test_table(executed):
    outcomes = executed[1]
    frame = runner.table([outcomes["augment/images/toy"], outcomes["start/fails"]])
    columns = ["run", "profile", "size", "paper", "claim", "metric", "unit", "variant", "seed", "value"]
    columns += ["difference", "verdict", "reason", "seconds", "status", "error"]
    assert list(frame.columns) == columns
    assert sweep.parameters(frame) == ["profile", "size"]
    first = frame.iloc[:2]
    assert first["variant"].tolist() == ["doubled", "plain"]
    assert first["value"].tolist() == [12.0, 6.0]
    assert first["difference"].iloc[0] == 6.0 and pandas.isna(first["difference"].iloc[1])
    assert set(first["verdict"]) == {"supported"} and set(first["metric"]) == {"accuracy"}
    assert first["seed"].tolist() == [7, 7] and set(first["claim"]) == {"toy"}
    assert (first["seconds"] > 0).all()
    assert frame["run"].tolist() == [0, 0, 1]
    failed = frame.iloc[2]
    assert failed["error"] == "ZeroDivisionError: division by zero"
    assert failed["status"] == "failed" and pandas.isna(failed["value"]) and pandas.isna(failed["claim"])


def test_table_of_valid_results_has_their_seconds(executed):
    checkout, outcomes = executed
    (again,) = runner.run(checkout.root, [outcomes["judged"].request])
    assert again.word == "valid"
    assert runner.table([again]).equals(runner.table([outcomes["judged"]]))


def test_a_larger_profiles_result_is_told_as_what_it_is(executed):
    checkout, _ = executed
    (again,) = runner.run(checkout.root, [runner.request(checkout.root, "augment/images/toy")])
    assert set(runner.table([again])["profile"]) == {"judge"}


def test_save(executed, tmp_path):
    frame = runner.table([executed[1]["augment/images/toy"]])
    as_csv, as_parquet = runner.save(frame, tmp_path / "new" / "toy.sweep")
    assert (as_csv.name, as_parquet.name) == ("toy.sweep.csv", "toy.sweep.parquet")
    assert pandas.read_csv(as_csv)["value"].tolist() == [12.0, 6.0]
    assert pandas.read_parquet(as_parquet).equals(frame)


def test_lists_as_parameters_are_text_in_the_table(plain):
    name = plain.notebook("start/a", parameters="scales = (1, 2)")
    wanted = runner.request(plain.root, name, {"scales": [3, 4]})
    assert runner.table([runner.Outcome(wanted, "failed", None)])["scales"].tolist() == ["[3,4]"]


def test_a_parameter_named_like_a_column_is_kept(plain):
    name = plain.notebook("start/a", parameters="value = 1\nrun = 'x'\nseed = None")
    wanted = runner.request(plain.root, name, {"value": 2, "seed": 5})
    (row,) = runner.table([runner.Outcome(wanted, "failed", None)]).to_dict("records")
    assert (row["parameter: value"], row["parameter: run"], row["value"]) == (2, "x", None)
    assert (row["run"], row["seed"]) == (0, 5)


def test_the_same_sweep_has_the_same_place(tmp_path):
    one = sweep.default_stem(tmp_path, "start/a", {"size": [1, 2]})
    assert one == sweep.default_stem(tmp_path, "start/a", {"size": [1, 2]})
    assert one != sweep.default_stem(tmp_path, "start/a", {"size": [1, 3]})


def test_resumes(toy, monkeypatch, result):
    """Of four runs, the two that have finished are not executed again."""
    root, name = toy
    wanted = runner.plan(root, name, {"size": [1, 2, 3, 4]})
    ran = []

    def execute(task):
        ran.append(task.request.parameters["size"])
        fake = json.loads(task.notebook)
        fake["metadata"]["labkit"] = {"status": "ok", "seconds": 1.0}
        return fake

    monkeypatch.setattr("labkit.runner.pool.execute", execute)
    monkeypatch.setattr(results, "valid", lambda path, root=None: runner.Validity(path.exists(), ""))
    assert len(list(runner.run(root, wanted[:2]))) == 2
    assert len(list(runner.run(root, wanted))) == 4
    assert sorted(ran) == [1, 2, 3, 4]
