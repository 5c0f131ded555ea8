"""labkit: the teaching library of a book on data-centric machine learning.

Each paper of the book has one module, ``labkit.<part>.<paper_id>``. The rest is the little that
they share: data sets, small networks, one training loop, registered claims and their fair test,
pictures, and a runner. Nothing heavy is imported before it is used.

>>> import labkit
>>> P = labkit.setup("smoke")
>>> P(smoke=5, book=300)
5
"""

from importlib import import_module

__version__ = "0.1.0"

# name -> where it lives: a module, or "module:attribute"
_LAZY = {
    "claim": "labkit.claims:claim",
    "claims": "labkit.claims",
    "compare": "labkit.comparison:compare",
    "data": "labkit.data",
    "gain_over": "labkit.comparison:gain_over",
    "language": "labkit.language",
    "llm": "labkit.llm",
    "models": "labkit.models",
    "papers": "labkit.papers",
    "retrieval": "labkit.retrieval",
    "seeding": "labkit.seeding",
    "setup": "labkit.notebook:setup",
    "show": "labkit.show",
    "together": "labkit.together",
    "training": "labkit.training",
    "weights": "labkit.weights",
}

__all__ = ["__version__", *sorted(_LAZY)]


def __getattr__(name: str):
    if name not in _LAZY:
        raise AttributeError(f"labkit has no {name!r}; it has {', '.join(__all__)}")
    module, _, attribute = _LAZY[name].partition(":")
    found = import_module(module)
    found = getattr(found, attribute) if attribute else found
    globals()[name] = found
    return found


def __dir__():
    return __all__
