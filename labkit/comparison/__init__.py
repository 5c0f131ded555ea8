"""The judgement of a claim without registration: on one's own data, and over a knob of the experiment."""

from labkit.comparison.gain import GAIN_MIME, Gain, crossings, gain_over
from labkit.comparison.own import compare

__all__ = ["GAIN_MIME", "Gain", "compare", "crossings", "gain_over"]
