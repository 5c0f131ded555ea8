"""Explorable pictures: frames that fit, bytes that stay, sliders that recompute, no stray widgets."""

import base64
import html
import io
import itertools
import json
import os
import re
import subprocess
import sys

import numpy as np
import pytest
from matplotlib.figure import Figure
from PIL import Image

from labkit import show

WIDGET = "application/vnd.jupyter.widget-view+json"


@pytest.fixture(autouse=True)
def headless(monkeypatch):
    monkeypatch.setenv("LABKIT_HEADLESS", "1")


def line(power=1, shift=0):
    figure = Figure(figsize=(3, 2))
    figure.subplots().plot([x**power + shift for x in range(9)])
    return figure


def noise(strength, size=(3, 2)):
    figure = Figure(figsize=size)
    pixels = np.random.default_rng(0).random((200, 300, 3)) * strength
    figure.add_axes((0, 0, 1, 1)).imshow(pixels, aspect="auto")
    return figure


def attribute(shown, name):
    return json.loads(html.unescape(re.search(f'data-{name}="([^"]*)"', shown.html)[1]))


def frames_of(shown):
    return [base64.b64decode(frame.split(",")[1]) for frame in attribute(shown, "frames")]


def test_frames_are_at_most_twelve_and_at_most_15_kb_and_webp():
    shown = show.explore(noise, strength=np.linspace(0.2, 1, 30), alt="Noise.")
    frames = frames_of(shown)
    assert len(frames) == 12
    for frame in frames:
        assert len(frame) <= 15_000 and Image.open(io.BytesIO(frame)).format == "WEBP"


def test_values_kept_are_evenly_spaced_with_first_and_last():
    drawn = []
    shown = show.explore(lambda power: drawn.append(power) or line(power), power=range(1, 24), alt="A line.")
    assert drawn == [1, 3, 5, 7, 9, 11, 13, 15, 17, 19, 21, 23]
    assert attribute(shown, "values") == [str(value) for value in drawn]


def test_two_knobs_go_in_the_order_of_the_script():
    settings = []

    def draw(power, shift):
        settings.append((power, shift))
        return line(power, shift)

    shown = show.explore(draw, power=[1, 2], shift=[0, 5, 9], alt=lambda power, shift: f"{power} {shift}")
    assert settings == list(itertools.product([1, 2], [0, 5, 9]))
    assert attribute(shown, "alts") == ["1 0", "1 5", "1 9", "2 0", "2 5", "2 9"]


def test_a_chart_stays_exact():
    first = show.explore(line, power=[1, 2], alt="A line.")
    frame = Image.open(io.BytesIO(frames_of(first)[0])).convert("RGB")
    from labkit.show.encoding import render

    assert np.array_equal(np.asarray(frame), np.asarray(render(line(1))))


def test_the_html_has_no_ids_and_asks_for_nothing_outside():
    content = show.explore(line, power=[1, 2], alt="A <line> & more.").html
    assert not re.search(r"\bid=", content) and "http" not in content
    assert 'alt="A &lt;line&gt; &amp; more."' in content


def test_pdf_and_github_get_the_first_frame_with_its_description():
    data, metadata = show.explore(line, power=[1, 2], alt="A line.")._repr_mimebundle_()
    assert Image.open(io.BytesIO(base64.b64decode(data["image/png"]))).format == "PNG"
    assert metadata["image/png"]["alt"] == "A line."
    assert data["text/html"].count("<img ") == 1 and 'src="data:image/png;base64,' in data["text/html"]


@pytest.mark.parametrize(
    ("knobs", "alt", "error", "message"),
    [
        ({"power": [1, 2]}, "  ", ValueError, "alt: is empty"),
        ({"power": [1, 2]}, None, TypeError, "alt: takes a text"),
        ({}, "x", ValueError, "one knob or two"),
        ({"power": [1, 2], "shift": [1, 2], "c": [1, 2]}, "x", ValueError, "one knob or two"),
        ({"power": [1]}, "x", ValueError, "power: takes at least two"),
        ({"power": 3}, "x", TypeError, "power: takes a sequence"),
        ({"power": [0.11111, 0.11112]}, "x", ValueError, "differ in four digits"),
        ({"power": range(1, 5), "shift": range(4)}, "x", ValueError, "at most 12 frames .* 4 x 4"),
    ],
)
def test_bad_input_is_named(knobs, alt, error, message):
    with pytest.raises(error, match=message):
        show.explore(line, alt=alt, **knobs)


def test_frames_of_different_sizes_and_frames_that_never_fit_are_refused():
    with pytest.raises(ValueError, match="one size"):
        show.explore(lambda power: Figure(figsize=(3, power)), power=[1, 2], alt="x")
    with pytest.raises(TypeError, match="matplotlib Figure"):
        show.explore(lambda power: None, power=[1, 2], alt="x")

    def huge(strength):
        return noise(strength, size=(9, 6))

    with pytest.raises(ValueError, match=r"'strength': 0.5.* does not fit in 15000 bytes"):
        show.explore(huge, strength=[0.5, 1.0], alt="x")


def test_the_setting_takes_0_or_1(monkeypatch):
    monkeypatch.setenv("LABKIT_HEADLESS", "yes")
    with pytest.raises(ValueError, match="LABKIT_HEADLESS: takes 0 or 1"):
        show.explore(line, power=[1, 2], alt="x")


PROGRAM = """
import hashlib
from matplotlib.figure import Figure
from labkit import show

def draw(power):
    figure = Figure(figsize=(3, 2))
    figure.subplots().plot([x**power for x in range(9)])
    return figure

values = {"a": [1, 2.5], "b": [2, 4]}
settings = {"baseline": "a", "method": "b", "margin": 1, "metric": "m"}
shown = [
    show.explore(draw, power=[1, 2], alt="x"),
    show.figure(show.verdict(values, difference=(1.2, 0, 2.4), **settings), alt="x", numbers=values),
    show.source(show.gain, lines="axhline"),
]
print(hashlib.sha256(repr([each._repr_mimebundle_() for each in shown]).encode()).hexdigest())
"""


def test_two_processes_give_the_same_bytes():
    command = [sys.executable, "-c", PROGRAM]
    environments = [{**os.environ, "PYTHONHASHSEED": seed} for seed in "12"]
    runs = [subprocess.Popen(command, stdout=subprocess.PIPE, env=env) for env in environments]
    first, second = (run.communicate()[0] for run in runs)
    assert first == second and len(first) > 60


class TestLive:
    @pytest.fixture(autouse=True)
    def live(self, monkeypatch):
        monkeypatch.setenv("LABKIT_HEADLESS", "0")

    def test_a_moved_slider_draws_anew_with_every_value(self):
        drawn = []

        def draw(power):
            drawn.append(power)
            return line(power)

        slider, picture = show.explore(
            draw, power=np.arange(1, 31), alt=lambda power: f"Power {power}."
        ).children
        assert len(slider.options) == 30 and not slider.continuous_update
        assert drawn == [1] and 'alt="Power 1."' in picture.value
        before = picture.value
        slider.value = 17
        assert drawn == [1, 17] and 'alt="Power 17."' in picture.value
        assert picture.value.split("base64")[1] != before.split("base64")[1]

    def test_two_sliders(self):
        drawn = []
        box = show.explore(
            lambda power, shift: drawn.append((power, shift)) or line(power, shift),
            power=[1, 2],
            shift=[0, 9],
            alt="Lines.",
        )
        box.children[0].value = 2
        box.children[1].value = 9
        assert drawn == [(1, 0), (2, 0), (2, 9)]

    def test_an_error_while_drawing_is_shown_and_raised(self):
        def draw(power):
            if power == 2:
                raise RuntimeError("no <such> power")
            return line(power)

        slider, picture = show.explore(draw, power=[1, 2], alt="x").children
        with pytest.raises(RuntimeError):
            slider.value = 2
        assert "RuntimeError: no &lt;such&gt; power" in picture.value


CELL = """
import os
os.environ.pop("LABKIT_HEADLESS", None)
from labkit import show
import matplotlib.pyplot as plt

def draw(power):
    fig, ax = plt.subplots(figsize=(3, 2))
    ax.plot([x**power for x in range(9)])
    return fig
"""


@pytest.mark.parametrize("reader", [False, True])
def test_a_notebook_without_a_reader_gets_frames_and_with_one_a_widget(reader):
    import nbclient
    import nbformat
    from nbformat.v4 import new_code_cell, new_notebook

    notebook = new_notebook(
        cells=[
            new_code_cell(CELL),
            new_code_cell("show.explore(draw, power=[1, 2], alt='A line.')"),
            new_code_cell("show.figure(draw(power=2), alt='A parabola.')"),
        ]
    )
    client = nbclient.NotebookClient(notebook, timeout=60, kernel_name="python3")

    def as_jupyterlab_does(**_):
        client.kc.allow_stdin = reader

    client.on_notebook_start = as_jupyterlab_does
    client.execute()
    nbformat.validate(notebook)
    explored, figure = (cell.outputs for cell in notebook.cells[1:])
    assert len(explored) == 1 and len(figure) == 1  # nothing shown twice
    assert (WIDGET in explored[0].data) == reader
    assert ("widgets" in notebook.metadata) == reader
    assert "A parabola." in figure[0].data["text/html"]
    if not reader:
        assert "labkit-explore" in explored[0].data["text/html"]
