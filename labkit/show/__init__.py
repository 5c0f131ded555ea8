"""Figures, explorable pictures, tables and source code, as a notebook shows them.

Everything here takes plain numbers and matplotlib figures. What it stores in a notebook reads the same
in the book, in Jupyter and Colab, and on GitHub; what differs:

===================  =======================  ================  ==========================  ==============
call                 book                     Jupyter, Colab    GitHub                      PDF
===================  =======================  ================  ==========================  ==============
:func:`figure`       picture, alt, numbers    same              same, numbers may be open   picture
:func:`explore`      frames with a slider     drawn anew        first frame, alt            first frame
:func:`source`       highlighted, folded      highlighted key   highlighted key lines, the  key lines
                                              lines, the whole  whole in one colour
                                              in one colour
:func:`table`        table                    table             table                       text
===================  =======================  ================  ==========================  ==============
"""

from labkit.show.code import source
from labkit.show.explorable import explore
from labkit.show.figures import figure
from labkit.show.gains import gain
from labkit.show.grids import images
from labkit.show.tables import table
from labkit.show.theme import COLORS, style
from labkit.show.verdicts import VERDICT_SYMBOLS, verdict

__all__ = [
    "COLORS",
    "VERDICT_SYMBOLS",
    "explore",
    "figure",
    "gain",
    "images",
    "source",
    "style",
    "table",
    "verdict",
]
