"""Figures with alt text, tables, source code, image grids, and the style they share."""

import base64
import io
import itertools
import subprocess
import sys

import matplotlib
import numpy as np
import pytest
import torch
from matplotlib.figure import Figure
from PIL import Image

from labkit import show
from labkit.show import theme
from labkit.show.encoding import render


def simple():
    figure = Figure(figsize=(5.6, 3.5))
    figure.subplots().plot([1, 2, 3])
    return figure


# -- style


def contrast(first, second):
    """The contrast ratio of the Web Content Accessibility Guidelines 2.2."""

    def luminance(color):
        channels = [int(color[i : i + 2], 16) / 255 for i in (1, 3, 5)]
        linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in channels]
        return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]

    low, high = sorted([luminance(first), luminance(second)])
    return (high + 0.05) / (low + 0.05)


def test_text_on_paper_has_a_contrast_of_7_and_lines_of_3():
    assert contrast(theme.INK, theme.PAPER) >= 7
    for color in [*show.COLORS.values(), *theme.MORE_COLORS]:
        assert contrast(color, theme.PAPER) >= 3, color


def test_no_grey_serves_a_white_and_a_dark_page_at_once_which_is_why_there_is_paper():
    greys = [f"#{level:02x}{level:02x}{level:02x}" for level in range(256)]
    assert 4 < max(min(contrast(grey, "#ffffff"), contrast(grey, "#121212")) for grey in greys) < 4.5


def test_colours_differ_for_colour_blind_readers():
    # Machado, Oliveira and Fernandes (2009), full deuteranopia and protanopia, on linear RGB.
    deutan = np.array(
        [[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413], [-0.011820, 0.042940, 0.968881]]
    )
    protan = np.array(
        [[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216], [-0.003882, -0.048116, 1.051998]]
    )
    roles = [show.COLORS[role] for role in ("baseline", "method", "control")]
    rgb = np.array([[int(c[i : i + 2], 16) / 255 for i in (1, 3, 5)] for c in roles]) ** 2.2
    for matrix in (np.eye(3), deutan, protan):
        seen = np.clip(rgb @ matrix.T, 0, 1) ** (1 / 2.2)
        for first, second in itertools.combinations(seen, 2):
            assert np.abs(first - second).sum() > 0.35


def test_style_sets_the_defaults_and_is_not_needed_by_our_own_figures():
    with matplotlib.rc_context():
        matplotlib.rcdefaults()
        plain = render(show.gain([1, 2], [1, 1], [0, 0], [2, 2], knob="k", margin=1))
        show.style()
        assert matplotlib.rcParams["svg.hashsalt"] == "labkit"
        assert np.array_equal(plain, render(show.gain([1, 2], [1, 1], [0, 0], [2, 2], knob="k", margin=1)))


def test_importing_show_does_not_import_matplotlib():
    code = "import sys, labkit.show; print(*sys.modules)"
    modules = subprocess.check_output([sys.executable, "-c", code], text=True).split()
    assert {"matplotlib", "IPython", "ipywidgets", "PIL", "pygments", "numpy"}.isdisjoint(modules)


# -- figure


def test_a_figure_carries_its_description_everywhere():
    data, metadata = show.figure(simple(), alt='Rises\n "steadily" <3.', caption="A & B")._repr_mimebundle_()
    assert 'alt="Rises &quot;steadily&quot; &lt;3."' in data["text/html"]
    assert ">A &amp; B</figcaption>" in data["text/html"]
    assert data["text/plain"] == metadata["image/png"]["alt"] == 'Rises "steadily" <3.'
    assert Image.open(io.BytesIO(base64.b64decode(data["image/png"]))).size == (560, 350)


def test_numbers_are_folded_below():
    content = show.figure(simple(), alt="x", numbers={"step": [1, 2], "loss": [0.5, 0.25]}).html
    folded = content.split("<details><summary>Show the numbers</summary>")[1]
    assert "<table>" in folded and "0.25" in folded


def test_a_figure_is_closed():
    from matplotlib import pyplot

    figure, _ = pyplot.subplots()
    show.figure(figure, alt="x")
    assert figure.number not in pyplot.get_fignums()


@pytest.mark.parametrize(("alt", "error"), [("", ValueError), (" \n", ValueError), (None, TypeError)])
def test_a_figure_without_description_is_refused(alt, error):
    with pytest.raises(error, match="alt"):
        show.figure(simple(), alt=alt)


def test_something_else_than_a_figure_is_refused():
    with pytest.raises(TypeError, match="matplotlib Figure, got list"):
        show.figure([1], alt="x")


# -- table


def test_rows_in_three_forms_give_one_table():
    dicts = show.table([{"a": 1, "b": "x"}, {"a": 2.5, "b": "y"}])
    assert dicts.html == show.table({"a": [1, 2.5], "b": ["x", "y"]}).html
    assert dicts.html == show.table([(1, "x"), (2.5, "y")], columns=["a", "b"]).html


def test_cells_are_escaped_numbers_shortened_and_holes_left_empty():
    table = show.table([{"n": 1234567, "x": -0.123456, "t": "<b>", "ok": True}, {"n": 3}], caption="A & B")
    assert "<td" in table.html and "&lt;b&gt;" in table.html and ">A &amp; B</caption>" in table.html
    assert "−0.1235" in table.html and "1\u202f234\u202f567" in table.html and ">yes<" in table.html
    assert table.text.splitlines()[0] == "A & B"


@pytest.mark.parametrize(
    ("rows", "columns", "message"),
    [
        ([], None, "at least one row"),
        ({"a": [1], "b": [1, 2]}, None, "one length"),
        ([{"a": 1}], ["b"], r"no row has \['b'\]"),
        ([(1, 2)], None, "columns' names"),
        ([(1, 2), (1,)], ["a", "b"], "row 1 has 1 cells"),
    ],
)
def test_bad_tables_are_named(rows, columns, message):
    with pytest.raises(ValueError, match=message):
        show.table(rows, columns=columns)


# -- images


def test_images_stand_where_they_should_at_full_colour():
    images = torch.zeros(2, 3, 8, 8)
    images[0, 0], images[1, 2] = 1.0, 1.0
    picture = np.asarray(render(show.images(images, columns=2)))
    height, width, _ = picture.shape
    assert picture[height // 2, width // 4].tolist() == [255, 0, 0]
    assert picture[height // 2, 3 * width // 4].tolist() == [0, 0, 255]


def test_a_box_outlines_its_pixels():
    boxes = torch.tensor([[2, 4, 6, 8]])  # top, left, bottom, right: the right half, rows 2 to 6
    picture = np.asarray(render(show.images(torch.zeros(1, 1, 8, 8), boxes=boxes, columns=1))).astype(int)
    orange = (picture[..., 0] > 200) & (picture[..., 1] > 120) & (picture[..., 2] < 90)
    rows, columns = np.nonzero(orange)
    height, width = orange.shape
    edges = [rows.min() / height, columns.min() / width, rows.max() / height, columns.max() / width]
    assert edges == pytest.approx([2 / 8, 4 / 8, 6 / 8, 8 / 8], abs=0.02)


def test_a_mask_is_outlined_and_an_empty_one_is_not():
    masks = torch.zeros(1, 8, 8, dtype=torch.bool)
    plain = np.asarray(render(show.images(torch.zeros(1, 1, 8, 8), masks=masks)))
    assert np.array_equal(plain, np.asarray(render(show.images(torch.zeros(1, 1, 8, 8)))))
    masks[0, 2:6, 2:6] = True
    assert not np.array_equal(plain, np.asarray(render(show.images(torch.zeros(1, 1, 8, 8), masks=masks))))


@pytest.mark.parametrize(
    ("images", "settings", "message"),
    [
        (torch.zeros(3, 8, 8), {}, "B, C, H, W"),
        (torch.zeros(1, 4, 8, 8), {}, "C = 1 or 3"),
        (torch.full((1, 3, 8, 8), 1.5), {}, r"in \[0, 1\], got 1.5 to 1.5"),
        (torch.full((1, 3, 8, 8), float("nan")), {}, r"in \[0, 1\]"),
        (torch.zeros(2, 3, 8, 8), {"titles": ["a"]}, "titles: takes one for each of 2"),
        (torch.zeros(2, 3, 8, 8), {"masks": torch.zeros(1, 8, 8)}, "masks: takes one"),
        (torch.zeros(2, 3, 8, 8), {"masks": torch.zeros(2, 4, 4)}, "masks: takes bool"),
        (torch.zeros(2, 3, 8, 8), {"boxes": torch.zeros(2, 3)}, "boxes: takes int"),
        (torch.zeros(2, 3, 8, 8), {"columns": 0}, "columns: takes 1 to 24"),
    ],
)
def test_bad_images_are_named(images, settings, message):
    with pytest.raises(ValueError, match=message):
        show.images(images, **settings)
