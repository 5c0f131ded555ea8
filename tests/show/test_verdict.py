"""Pictures of verdicts and gains: what they draw, at the edges too, and what they refuse."""

import itertools
import math

import numpy as np
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg

from labkit import show
from labkit.show.encoding import render


def runs(count, *effects):
    noise = np.random.default_rng(0).normal(0, 1, (len(effects), count))
    return {f"variant {i}": list(70 + effect + noise[i]) for i, effect in enumerate(effects)}


SETTINGS = {
    "baseline": "variant 0",
    "method": "variant 1",
    "margin": 0.5,
    "metric": "accuracy",
    "unit": "points",
}


def texts(figure):
    """The texts a reader sees, with their boxes in pixels."""
    figure.set_dpi(100)
    renderer = FigureCanvasAgg(figure).get_renderer()
    figure.draw(renderer)
    found = list(figure.texts)
    for axes in figure.axes:
        found += [*axes.texts, axes.xaxis.label, axes.yaxis.label]
        found += axes.get_legend().get_texts() if axes.get_legend() else []
        for axis in (axes.xaxis, axes.yaxis):
            low, high = sorted(axis.get_view_interval())
            found += [tick.label1 for tick in axis.get_major_ticks() if low <= tick.get_loc() <= high]
    return [(text.get_text(), text.get_window_extent(renderer)) for text in found if text.get_text().strip()]


def assert_readable(figure):
    """Every text lies inside the picture, and no two lie on each other."""
    width, height = figure.get_size_inches() * 100
    boxes = texts(figure)
    for name, box in boxes:
        assert box.x0 >= -1 and box.y0 >= -1 and box.x1 <= width + 1 and box.y1 <= height + 1, name
    for (first, a), (second, b) in itertools.combinations(boxes, 2):
        overlap = min(a.x1, b.x1) - max(a.x0, b.x0) > 2 and min(a.y1, b.y1) - max(a.y0, b.y0) > 2
        assert not overlap, (first, second)


@pytest.mark.parametrize("count", [2, 10, 100])
@pytest.mark.parametrize("variants", [2, 3, 8])
def test_readable_from_2_to_100_seeds_and_2_to_8_variants(count, variants):
    values = runs(count, *range(variants))
    control = "variant 2" if variants > 2 else None
    figure = show.verdict(
        values,
        difference=(1, 0.2, 1.8),
        control=control,
        control_difference=(-1, -1.8, -0.2) if control else None,
        word="leaning",
        **SETTINGS,
    )
    assert_readable(figure)
    above, below = figure.axes
    assert [label.get_text() for label in above.get_yticklabels()] == list(values)
    assert len(below.get_yticklabels()) == (2 if control else 1)


def test_the_word_comes_with_its_symbol():
    for word, symbol in show.VERDICT_SYMBOLS.items():
        assert show.verdict(runs(3, 0, 1), word=word, **SETTINGS).get_suptitle() == f"{symbol} {word}"
    assert len(set(show.VERDICT_SYMBOLS.values())) == len(show.VERDICT_SYMBOLS)


def points_of(figure):
    return figure.axes[1].lines[3].get_xdata()  # after the two margins and zero


@pytest.mark.parametrize("higher", [True, False])
def test_points_are_paired_differences_in_the_claimed_direction(higher):
    values = {"a": [1.0, 2.0, 4.0], "b": [2.0, 2.5, 3.0]}
    figure = show.verdict(values, baseline="a", method="b", margin=1, metric="m", higher_is_better=higher)
    expected = np.array([1.0, 0.5, -1.0]) * (1 if higher else -1)
    assert points_of(figure) == pytest.approx(expected)
    assert ("higher" if higher else "lower") in figure.axes[0].get_xlabel()


def test_ratios_are_shown_as_factors_on_logarithmic_axes():
    values = {"slow": [2.0, 4.0], "fast": [1.0, 1.0]}
    figure = show.verdict(
        values,
        baseline="slow",
        method="fast",
        kind="ratio",
        margin=math.log(1.1),
        difference=(math.log(3), math.log(2), math.log(4)),
        metric="time",
        unit="s",
        higher_is_better=False,
        word="supported",
    )
    assert points_of(figure) == pytest.approx([2, 4])
    assert figure.axes[1].lines[4].get_xdata() == pytest.approx([2, 4])  # the interval
    assert [axes.get_xscale() for axes in figure.axes] == ["log", "log"]
    assert "0.909 to 1.1" in figure.axes[1].get_xlabel()
    assert_readable(figure)


def test_every_method_of_none_wins_has_its_interval():
    figure = show.verdict(
        runs(5, 0, 0, 0),
        baseline="variant 0",
        method=["variant 1", "variant 2"],
        difference=[(0, -0.5, 0.5), (0.1, -0.2, 0.4)],
        kind="none wins",
        margin=1,
        metric="accuracy",
    )
    assert len(figure.axes[1].get_yticklabels()) == 2
    assert_readable(figure)


@pytest.mark.parametrize(
    "values",
    [
        {"a": [0.5, 0.5], "b": [0.5, 0.5]},  # no spread at all
        {"a": [0.5], "b": [0.7]},  # one seed, nothing judged
        {"a": [1e-6, 2e-6], "b": [3e-6, 1e-6]},
        {"a": [-5e4, 3e5], "b": [7e4, -1e5]},
    ],
)
def test_the_edges_can_be_drawn(values):
    figure = show.verdict(values, baseline="a", method="b", margin=0.01, metric="loss")
    assert_readable(figure)
    assert figure.get_suptitle() == "– not judged"


def test_long_names_are_wrapped():
    name = "contrastive, temperature 0.07, memory bank of 65 536, shuffled batch statistics"
    values = {name: [1, 2], "b": [2, 2]}
    metric = "top-1 accuracy on the held-out split of rotated and translated small objects"
    figure = show.verdict(
        values, baseline=name, method="b", margin=1, metric=metric, unit="percentage points"
    )
    assert_readable(figure)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"baseline": "c"}, "baseline: values has no variant 'c'; it has"),
        ({"control": "c"}, "control: values has no variant 'c'"),
        ({"method": ["b", "c"]}, "method: values has no variant 'c'"),
        ({"values": {"a": [1], "b": [1, 2]}}, "the same seeds for every variant"),
        ({"values": {"a": [], "b": []}}, "at least one"),
        ({"values": {"a": [1, math.nan], "b": [1, 2]}}, r"values\['a'\]: takes numbers that are finite"),
        ({"values": {"a": [1, -1], "b": [1, 2]}, "kind": "ratio"}, "finite and > 0"),
        ({"method": []}, "method: takes a variant or several"),
        ({"margin": 0}, "margin: takes a number > 0"),
        ({"kind": "best"}, "kind: takes one of"),
        ({"difference": (2, 3, 4)}, "difference: takes .* low <= mean <= high"),
        ({"difference": [(0, -1, 1), (0, -1, 1)]}, "difference: takes .* for each of"),
        ({"control": "a", "control_difference": (2, 3, 4)}, "control_difference: takes"),
    ],
)
def test_bad_input_is_named(change, message):
    settings = {"baseline": "a", "method": "b", "margin": 1, "metric": "m", **change}
    values = settings.pop("values", {"a": [1, 2], "b": [2, 3]})
    with pytest.raises(ValueError, match=message):
        show.verdict(values, **settings)


# -- gain


GAIN = {"mean": [3, 1, -1], "low": [2, 0, -2], "high": [4, 2, 0], "margin": 1, "metric": "accuracy"}


@pytest.mark.parametrize("crossing", [None, 0.15, 0.45, [0.15, 0.45]])
def test_a_gain_marks_its_crossings(crossing):
    control = (GAIN["low"], GAIN["low"], GAIN["high"])
    figure = show.gain([0.1, 0.2, 0.5], knob="object size", crossing=crossing, control=control, **GAIN)
    marks = [text.get_text() for text in figure.axes[0].texts]
    crossings = [] if crossing is None else np.atleast_1d(crossing)
    assert marks == [
        f"gain ends at {cross:g}" if cross > 0.2 else "gain begins at 0.15" for cross in crossings
    ]
    assert_readable(figure)


@pytest.mark.parametrize("name", ["crop", "crop, same boxes", "crop, same boxes, same order, same seeds"])
def test_the_legend_of_two_curves_fits(name):
    control = (GAIN["low"], GAIN["low"], GAIN["high"])
    labels = ("against no mixing", f"against {name}")
    assert_readable(show.gain([0.1, 0.2, 0.5], knob="size", control=control, labels=labels, **GAIN))


def test_values_of_a_knob_that_lie_together_are_not_written_over_each_other():
    curve = [[1.0] * 5, [0.0] * 5, [2.0] * 5]
    figure = show.gain([20, 30, 50, 100, 400], *curve, knob="images", margin=1)
    assert [tick.get_text() for tick in figure.axes[0].get_xticklabels()] == ["20", "", "50", "100", "400"]
    apart = show.gain([0, 5, 10, 20, 30], *curve, knob="m", margin=1)
    assert [tick.get_text() for tick in apart.axes[0].get_xticklabels()] == ["0", "5", "10", "20", "30"]


def test_a_knob_may_be_named_values_and_one_value():
    figure = show.gain(["flat", "striped", "sketch"], knob="style", **GAIN)
    assert [tick.get_text() for tick in figure.axes[0].get_xticklabels()] == ["flat", "striped", "sketch"]
    render(show.gain([1], [0], [0], [0], knob="k", margin=1))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"mean": [1, 2]}, "takes 3 finite numbers"),
        ({"high": [1, 2, math.inf]}, "takes 3 finite numbers"),
        ({"control": ([1], [1], [1])}, "control: takes 3 finite"),
        ({"margin": -1}, "margin: takes a number > 0"),
        ({"xs": [1, 1, 2]}, "xs: takes rising numbers"),
    ],
)
def test_a_bad_gain_is_named(change, message):
    settings = {"xs": [1, 2, 3], "knob": "k", **GAIN, **change}
    with pytest.raises(ValueError, match=message):
        show.gain(**settings)
