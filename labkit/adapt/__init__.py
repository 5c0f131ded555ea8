"""Adapt: use a trained model on data that differs from what it was trained on.

One module per paper: adaptation to a shifted distribution with few or no labels, data that arrives
in a stream or stays with its clients, and the detection of misinformation as a case study. The
control that matters here is recomputing the batch statistics alone, since it often does as well as
a whole method. Modules are imported by name; nothing is imported here.
"""
