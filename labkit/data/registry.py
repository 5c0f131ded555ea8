"""Which data sets there are, and which of them this process has read."""

import importlib

from labkit.data.source import Source, suggest

__all__ = ["SOURCES", "loaded", "names", "record", "source"]

# One line per data set: its name and the module that defines its SOURCE.
SOURCES = {
    "digits": "labkit.data.digits",
    "photos": "labkit.data.photos",
    "scenes": "labkit.data.scenes",
    "facts": "labkit.data.facts",
    "domains": "labkit.data.domains",
    "prose": "labkit.data.prose",
    "code": "labkit.data.code",
    "cifar10": "labkit.data.cifar10",
    "banking77": "labkit.data.banking77",
    "tinyshakespeare": "labkit.data.tinyshakespeare",
    "xquad": "labkit.data.xquad",
}

_loaded: dict[str, str] = {}


def names() -> tuple[str, ...]:
    """The names that :func:`labkit.data.load` knows.

    >>> "digits" in names()
    True
    """
    return tuple(SOURCES)


def source(name: str) -> Source:
    """The source of a name. Raises ValueError, with the nearest names, where there is none."""
    if name not in SOURCES:
        raise ValueError(f"no data set is called {name!r}; {suggest(name, SOURCES)}")
    return importlib.import_module(SOURCES[name]).SOURCE


def record(name: str, fingerprint: str) -> None:
    """Note that data were read; they belong to what a result depends on."""
    _loaded[name] = fingerprint


def loaded() -> dict[str, str]:
    """The data read in this process: name (or folder or file) and hash of its content."""
    return dict(_loaded)
