"""Image operations with a strength, batched: what random and learned augmentation policies draw from.

All work on float[B, C, H, W] in [0, 1] and give the same; each image has its own parameter, and there is no
loop over the batch. They do what Pillow does to one image of bytes (tested to two levels of 255), with two
differences: nothing is rounded to bytes where the operation does not ask for it, and a shear leaves the
centre where it is (Pillow's leaves the first row).

An `Operation` maps a magnitude in [0, 1] to the parameter of its function; `OPERATIONS` are the fourteen of
RandAugment (Cubuk et al. 2019, arXiv:1909.13719), with the ranges of its implementations; `apply` gives each
image the operation and the magnitude that were chosen for it.
"""

from labkit.operations.drawn import EXTRA, OPERATIONS, Operation, apply
from labkit.operations.geometry import (
    affine,
    flip_horizontal,
    flip_vertical,
    jitter,
    rotate,
    shear_x,
    shear_y,
    translate_x,
    translate_y,
)
from labkit.operations.tones import (
    autocontrast,
    brightness,
    color,
    contrast,
    cutout,
    equalize,
    identity,
    invert,
    posterize,
    sharpness,
    solarize,
)

__all__ = [
    "EXTRA",
    "OPERATIONS",
    "Operation",
    "affine",
    "apply",
    "autocontrast",
    "brightness",
    "color",
    "contrast",
    "cutout",
    "equalize",
    "flip_horizontal",
    "flip_vertical",
    "identity",
    "invert",
    "jitter",
    "posterize",
    "rotate",
    "sharpness",
    "shear_x",
    "shear_y",
    "solarize",
    "translate_x",
    "translate_y",
]
