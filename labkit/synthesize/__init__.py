"""Synthesize: train on examples that a model or a simulator has generated.

One module per paper: generated training images, layouts with boxes and masks, generated data
against bias, loops in which generated data returns to the generator, simulation to reality, and
synthetic records and text under privacy. What such data is worth depends on how faithful the
generator is; the experiments therefore treat that as a declared knob, and compare with the same
amount of real data. Modules are imported by name; nothing is imported here.
"""
