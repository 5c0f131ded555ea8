"""Augment: make more examples out of the ones at hand, by changes that keep their meaning.

One module per paper: operations on images, views for contrastive learning, augmentation in learning
from unlabelled data, of text, of source code, in recommenders, and of tables, time series, audio
and graphs. An augmentation is a claim about what does not matter for the answer, so each module
keeps the control that tests that claim: the same operation without the part that is said to help.
Modules are imported by name, ``from labkit.augment import resizemix``; nothing is imported here.
"""
