"""The small weights of our own that travel with the library, so that nothing has to be downloaded.

Each is a folder beside this file, in the form that ``transformers`` saves: ``model.safetensors``,
``config.json`` and the tokenizer's files. How each was trained, and how good it is, stands in its model card.
"""

import hashlib
from functools import cache
from pathlib import Path

from labkit.data import registry
from labkit.data.source import suggest

__all__ = ["fingerprint", "names", "path"]

FOLDER = Path(__file__).parent


def names() -> tuple[str, ...]:
    """The weights that travel with this version.

    >>> "labkit-tiny" in names()
    True
    """
    return tuple(sorted(file.parent.name for file in FOLDER.glob("*/model.safetensors")))


def path(name: str) -> Path:
    """The folder of some weights, for ``from_pretrained``.

    From here on, the hash of the weights belongs to what a result depends on.
    Raises ValueError, with the valid names, where there are none of that name.

    >>> (path("labkit-tiny") / "config.json").is_file()
    True
    """
    registry.record(f"weights/{name}", fingerprint(name))
    return FOLDER / name


@cache
def fingerprint(name: str) -> str:
    """Hash of all files of some weights: 16 hex digits. Raises ValueError for an unknown name."""
    if name not in names():
        raise ValueError(f"no weights are called {name!r}; {suggest(name, names())}")
    digest = hashlib.sha256()
    for file in sorted((FOLDER / name).iterdir()):
        digest.update(file.name.encode() + b"\0" + hashlib.sha256(file.read_bytes()).digest())
    return digest.hexdigest()[:16]
