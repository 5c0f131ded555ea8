"""Headless execution: notebooks as functions of their parameters, with results that are kept while they hold.

``labkit run`` and ``labkit sweep`` are the command line of this package. From Python:

>>> from pathlib import Path
>>> from labkit import runner
>>> root = runner.find_root()                                          # doctest: +SKIP
>>> wanted = [runner.request(root, "augment/images/resizemix", {"profile": "smoke"})]   # doctest: +SKIP
>>> [outcome.word for outcome in runner.run(root, wanted)]             # doctest: +SKIP
['ok']

A result is an executed notebook. Its ``metadata.labkit`` records what it depended on (`labkit.runner.keys`).

The values of a sweep are one table, and any of them a picture:

>>> wanted = runner.plan(root, "augment/images/resizemix", {"object_size": [0.2, 0.5]})  # doctest: +SKIP
>>> frame = runner.table(runner.run(root, wanted))                     # doctest: +SKIP
>>> runner.plot(frame, "difference", over="object_size")               # doctest: +SKIP
"""

from labkit.runner.keys import stale
from labkit.runner.notebooks import find_root, names, parameters, resolve
from labkit.runner.plots import plot, save_plot
from labkit.runner.pool import Outcome, commit, run
from labkit.runner.requests import Request, request
from labkit.runner.results import Status, Validity, best, status, valid
from labkit.runner.sweep import plan, save, table

__all__ = ["Outcome", "Request", "Status", "Validity", "best", "commit", "find_root", "names", "parameters"]
__all__ += ["plan", "plot", "request", "resolve", "run", "save", "save_plot", "stale", "status", "table"]
__all__ += ["valid"]
