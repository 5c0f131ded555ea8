"""Where data that are not bundled are read: the hub, or a folder with local copies."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from labkit.data.card import Composition

__all__ = ["composed", "file", "folder", "hub", "rows"]


def folder() -> str | None:
    """The folder that the environment variable LABKIT_DATA names, None where it is not set."""
    return os.environ.get("LABKIT_DATA")


def file(name: str, *parts: str) -> Path:
    """The path of a local copy: ``<LABKIT_DATA>/<name>/<parts>``.

    Raises FileNotFoundError where LABKIT_DATA is not set or the file is not there.
    """
    root = folder()
    if root is None:
        raise FileNotFoundError(f"{name} is not loaded, and LABKIT_DATA names no folder with a local copy")
    path = Path(root, name, *parts)
    if not path.is_file():
        raise FileNotFoundError(
            f"LABKIT_DATA is set, but there is no {path}. Put {name} there, as its card says, or unset "
            "LABKIT_DATA to read it from the hub."
        )
    return path


def hub(name: str, address: str, *settings: str, **more):
    """``datasets.load_dataset(address, *settings, **more)``; a ConnectionError says what to do."""
    import datasets

    try:
        return datasets.load_dataset(address, *settings, **more)
    except Exception as error:  # what the hub's client raises differs between its versions
        raise ConnectionError(
            f"{name} could not be read from the hub ({address}): {type(error).__name__}: {error}. "
            f"Check the connection, or put a copy into a folder, as the card of {name} says, and set "
            "LABKIT_DATA to that folder."
        ) from error


def rows(table: list[dict], features, identity: str):
    """A ``Dataset`` of rows; identity: what determines the content, see :func:`labkit.data.build.dataset`."""
    from labkit.data import build

    return build.dataset({name: [row[name] for row in table] for name in features}, features, identity)


def composed(compose: "Callable[[], Composition]") -> dict:
    """What a card says of its composition: computed from a local copy, since a card starts no download."""
    if folder() is None:
        return {"missing": "the data are not bundled, and LABKIT_DATA names no folder with a local copy."}
    try:
        return {"composition": compose()}
    except FileNotFoundError as error:
        return {"missing": str(error)}
