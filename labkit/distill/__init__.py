"""Distil: pass what a large model or data set holds on to a smaller one.

One module per paper: student models and distilled data sets, and decoding made faster with a small
draft model or in a single step. Quality is judged at equal training budget, speed with both sides
measured in the same run. Modules are imported by name; nothing is imported here.
"""
