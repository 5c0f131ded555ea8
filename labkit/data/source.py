"""What a data set has to say about itself, and how its settings are checked."""

import difflib
import inspect
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from labkit.data.card import Card

if TYPE_CHECKING:
    from datasets import DatasetDict

__all__ = ["Source", "suggest"]

RESERVED = ("size", "seed", "split")  # arguments of every loader, not settings of a data set


@dataclass(frozen=True)
class Source:
    """One data set: a module of this package defines one and calls it ``SOURCE``.

    load: called as ``load(size=..., seed=..., **settings)``, returns a ``DatasetDict`` with
    "train" and "test". Its keyword arguments are the settings that users may pass. Where it also takes
    ``split``, that one alone needs to be in what it returns (None: both).
    fingerprint: called without arguments, returns a hex digest of the content read.
    card: called without arguments, returns the :class:`~labkit.data.card.Card`.
    test_settings: the settings that may also be given as ``test_<setting>`` (a shift).
    """

    name: str
    load: Callable[..., "DatasetDict"]
    fingerprint: Callable[[], str]
    card: Callable[[], Card]
    test_settings: tuple[str, ...] = ()

    def settings(self) -> tuple[str, ...]:
        """The names of the settings that ``load`` takes, without the arguments that all data sets share."""
        kinds = inspect.Parameter.KEYWORD_ONLY
        own = (p.name for p in inspect.signature(self.load).parameters.values() if p.kind is kinds)
        names = [name for name in own if name not in RESERVED]
        return (*names, *(f"test_{name}" for name in self.test_settings))

    def read(self, split: str | None, **arguments) -> "DatasetDict":
        """Call ``load``, with the split where it can draw one alone."""
        alone = "split" in inspect.signature(self.load).parameters
        return self.load(**arguments, **({"split": split} if alone else {}))

    def check(self, settings: dict) -> None:
        """Raise TypeError for a setting that this data set does not have."""
        valid = self.settings()
        for name in settings:
            if name not in valid:
                raise TypeError(f"{self.name!r} has no setting {name!r}; {suggest(name, valid)}")


def suggest(name: str, valid) -> str:
    """The end of an error message: the nearest valid names, then all of them.

    >>> suggest("digit", ["digits", "photos"])
    "did you mean 'digits'? Valid: digits, photos"
    """
    valid = [str(each) for each in valid]
    near = difflib.get_close_matches(str(name), valid, n=2, cutoff=0.5)
    question = f"did you mean {' or '.join(repr(each) for each in near)}? " if near else ""
    return f"{question}Valid: {', '.join(valid) or 'none'}"
