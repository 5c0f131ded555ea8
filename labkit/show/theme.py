"""One look for every figure: colours by role, sizes, and what keeps files the same from run to run.

Figures are drawn on opaque white paper. Text that keeps a contrast of 4.5 on a white page *and* on a
dark one (#121212) does not exist: the best a grey can do on both is sqrt(1.05 / 0.056) = 4.3. On paper
of its own the ink has a contrast of 13 on every page, and the page's theme may dim the paper.

Colours are Okabe and Ito's (2008), made for colour-blind readers; those too pale for a line on white
are left out. Every role also has its own marker, so that colour never speaks alone.
"""

from __future__ import annotations

from contextlib import AbstractContextManager

__all__ = ["COLORS", "INK", "MARKERS", "PAPER", "style"]

PAPER = "#ffffff"
INK = "#24292f"
FAINT = "#d5d9de"  # grid lines and bands: decoration, needs no contrast

#: Colour by role. A contrast of at least 3 on paper each, as WCAG asks of graphics.
COLORS = {"baseline": "#5f6772", "method": "#0072b2", "control": "#c45100", "neutral": "#24292f"}
#: Marker by role.
MARKERS = {"baseline": "o", "method": "D", "control": "s", "neutral": "o"}
#: Colours and markers of further variants, in this order.
MORE_COLORS = ("#00805d", "#a3548a", "#7a6000", "#3b7ea8", "#8a4b2d")
MORE_MARKERS = ("^", "v", "P", "X", "h")

WIDTH = 5.6  # inches: 560 CSS pixels, so that 12 pt text still measures 10 px on a phone
_STYLE = {
    "figure.figsize": (WIDTH, 3.5),
    "figure.dpi": 100,
    "figure.facecolor": PAPER,
    "figure.constrained_layout.use": True,
    "figure.constrained_layout.w_pad": 0.1,
    "figure.constrained_layout.h_pad": 0.1,
    "savefig.dpi": 200,
    "savefig.facecolor": PAPER,
    "font.family": "DejaVu Sans",
    "font.size": 12,
    "axes.titlesize": 13,
    "axes.titlelocation": "left",
    "axes.titlepad": 10,
    "axes.labelsize": 12,
    "xtick.labelsize": 11,
    "ytick.labelsize": 11,
    "legend.fontsize": 11,
    "legend.frameon": False,
    "text.color": INK,
    "axes.labelcolor": INK,
    "axes.edgecolor": INK,
    "xtick.color": INK,
    "ytick.color": INK,
    "axes.facecolor": PAPER,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": FAINT,
    "grid.linewidth": 0.7,
    "lines.linewidth": 2.0,
    "lines.markersize": 6,
    "image.cmap": "cividis",  # even in lightness, the same to colour-blind readers
    "image.interpolation": "nearest",
    "svg.hashsalt": "labkit",  # ids in SVG files would otherwise be random
}


def _parameters() -> dict:
    from cycler import cycler

    colors = [COLORS["method"], COLORS["control"], COLORS["baseline"], *MORE_COLORS]
    return {**_STYLE, "axes.prop_cycle": cycler(color=colors)}


def style() -> None:
    """Make the book's style the default of every matplotlib figure made from here on.

    :func:`labkit.setup` calls it. The figures of ``labkit.show`` have the style with or without.

    >>> style()
    >>> import matplotlib
    >>> matplotlib.rcParams["figure.figsize"]
    [5.6, 3.5]
    """
    import matplotlib

    matplotlib.rcParams.update(_parameters())


def styled() -> AbstractContextManager:
    """The style for the length of a ``with`` block."""
    import matplotlib

    return matplotlib.rc_context(_parameters())


def roles(variants, *, baseline: str, methods, control: str | None) -> dict[str, tuple[str, str]]:
    """Colour and marker of each variant: by role (of several methods the first), the others in order."""
    named = {baseline: "baseline", control: "control", next(iter(methods)): "method"}
    looks, more = {}, 0
    for name in variants:
        if name in named:
            looks[name] = (COLORS[named[name]], MARKERS[named[name]])
        else:
            looks[name] = (MORE_COLORS[more % len(MORE_COLORS)], MORE_MARKERS[more % len(MORE_MARKERS)])
            more += 1
    return looks
