"""A sweep's picture: what is drawn is what the table says, and what it lacks is named."""

import itertools

import pandas
import pytest

from labkit import runner
from labkit.runner import plots
from labkit.statistics import interval

VARIANTS = {"plain": 0.0, "new": 2.0}


@pytest.fixture
def frame():
    """Two claims, two variants and four seeds at three sizes in two modes; one run failed."""
    rows = []
    runs = itertools.product((8, 16, 32), ("area", "nearest"))
    for run, (size, mode) in enumerate(runs):
        for (claim, unit), variant, seed in itertools.product(
            (("toy", "%"), ("toy/b", "")), VARIANTS, range(4)
        ):
            value = size + VARIANTS[variant] + seed + (mode == "area")
            rows.append(
                {"run": run, "profile": "book", "size": size, "mode": mode, "width": 1}
                | {"paper": "toy", "claim": claim, "metric": f"accuracy of {claim}", "unit": unit}
                | {"variant": variant, "seed": seed, "value": value}
                | {"difference": None if variant == "plain" else 2.0, "verdict": "", "reason": None}
                | {"seconds": 1.0 + run, "status": "ok", "error": None}
            )
    failed = dict.fromkeys(rows[0]) | {"run": 6, "size": 64, "mode": "area", "status": "failed", "error": "E"}
    return pandas.DataFrame([*rows, failed])


def test_means_intervals_and_points(frame):
    value, over, rows = plots.select(frame, "value", "size")
    summary = plots.summary(rows, value, over)
    assert len(summary) == 2 * 4 * 3, "claims, lines, sizes"
    one = next(row for row in summary if row["line"] == "new, mode = area" and row["size"] == 16)
    expected = interval([19.0, 20.0, 21.0, 22.0])
    assert (one["mean"], one["low"], one["high"], one["n"]) == (20.5, expected.low, expected.high, 4)
    figure = plots.draw(rows, value, over)
    assert [axes.get_title(loc="left") for axes in figure.axes] == ["toy", "toy/b"]
    assert figure.axes[0].get_ylabel() == "accuracy of toy (%)"
    points, means = figure.axes[0].get_lines()[:2]
    assert sorted(points.get_ydata()) == sorted(
        rows[(rows.claim == "toy") & (rows.variant == "plain") & (rows["mode"] == "area")]["value"]
    )
    assert list(means.get_ydata()) == [10.5, 18.5, 34.5]
    (legend,) = figure.legends
    assert [text.get_text() for text in legend.get_texts()] == [row["line"] for row in summary[:12:3]]


def test_what_a_name_means(frame):
    """A column, or else the values of a claim, a variant or a metric."""
    assert set(plots.select(frame, "toy/b", "size")[2]["claim"]) == {"toy/b"}
    assert set(plots.select(frame, "accuracy of toy", "size")[2]["claim"]) == {"toy"}
    assert set(plots.select(frame, "new", "size")[2]["variant"]) == {"new"}
    assert set(plots.select(frame, "difference", "size")[2]["variant"]) == {"new"}, "the baseline has none"


def test_seconds_are_those_of_runs(frame):
    value, over, rows = plots.select(frame, "seconds", "size")
    assert len(rows) == 6
    (axes,) = plots.draw(rows, value, over).axes
    assert axes.get_ylabel() == "seconds of a run"
    assert list(axes.get_lines()[1].get_ydata()) == [1.0, 3.0, 5.0]


def test_over_words_and_a_single_point(frame):
    """Texts stand side by side; one point has no interval."""
    few = frame[(frame["size"] == 8) & (frame["seed"] == 0) & (frame["claim"] == "toy")]
    value, over, rows = plots.select(few, "value", None)
    assert over == "mode"
    assert [row["low"] for row in plots.summary(rows, value, over)] == [None] * 4
    (axes,) = plots.draw(rows, value, over).axes
    assert [label.get_text() for label in axes.get_xticklabels()] == ["area", "nearest"]


@pytest.mark.parametrize(
    ("value", "over", "message"),
    [
        ("valeu", "size", "the table has no value called 'valeu'; did you mean 'value'"),
        ("accuracy of tiy", "size", "did you mean 'accuracy of toy"),
        ("value", "siz", "the table has no parameter 'siz'; did you mean 'size'"),
        ("value", "paper", "the table has no parameter 'paper'"),
        ("value", "width", "parameter 'width' has one value, 1.0; a plot takes two or more"),
        ("value", None, "say over which parameter; several values have: size, mode"),
    ],
)
def test_what_is_refused(frame, value, over, message):
    with pytest.raises(ValueError, match=message):
        runner.plot(frame, value, over)


def test_nothing_to_draw(frame):
    with pytest.raises(ValueError, match="no run of this table has a difference"):
        runner.plot(frame.assign(difference=None), "difference", "size")


def test_in_a_notebook(frame):
    """With its description and its numbers."""
    shown = runner.plot(frame, "new", "size")
    assert shown.alt.startswith("Value over size, from 8 to 32: mean, interval and points of new, mode")
    assert "<details>" in shown.html and "34.5" not in shown.alt


def test_files(frame, tmp_path):
    """The same bytes each time: a picture that did not change is no change."""
    first = runner.save_plot(frame, "value", "size", tmp_path / "a" / "plot.one")
    second = runner.save_plot(frame, "value", "size", tmp_path / "b" / "plot.one")
    assert [file.name for file in first] == ["plot.one.png", "plot.one.svg"]
    assert first[0].read_bytes().startswith(b"\x89PNG") and b"<svg" in first[1].read_bytes()
    assert [a.read_bytes() for a in first] == [b.read_bytes() for b in second]
