"""What is asked for: a notebook with its parameters, checked before anything runs."""

import ast
import itertools
import json
import re
from dataclasses import dataclass, field
from pathlib import Path

from labkit.papers.order import nearest
from labkit.profiles import PROFILES
from labkit.runner import notebooks
from labkit.runner.syntax import digest

__all__ = ["Request", "at_least", "parse_value", "parse_values", "product", "request"]


@dataclass(frozen=True)
class Request:
    """One execution: ``parameters`` are all of the notebook's, with the values that were given.

    given: those that differ from the notebook's defaults, and are injected.
    exact: whether the profile was asked for by name; else a larger profile's result does as well.
    """

    name: str
    parameters: dict = field(hash=False)
    given: dict = field(hash=False)
    exact: bool = False

    @property
    def profile(self) -> str | None:
        """The profile, None for a notebook without one."""
        return self.parameters.get("profile")

    @property
    def file(self) -> str:
        """The name of its result's file: the profile for the eye, a hash of all parameters."""
        return f"{self.profile or 'run'}-{digest(canonical_json(self.parameters))}.ipynb"

    def with_profile(self, profile: str) -> "Request":
        """The same request at another profile."""
        changed = {"profile": profile}
        return Request(self.name, self.parameters | changed, self.given | changed, self.exact)

    def __str__(self):
        shown = {name: value for name, value in self.given.items() if name != "profile"}
        values = "".join(f" {name}={value}" for name, value in shown.items())
        return f"{self.name}{f' [{self.profile}]' if self.profile else ''}{values}"


def canonical_json(value) -> str:
    """JSON in one spelling, for hashing: keys sorted, no spaces."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False)


def request(root: Path, name: str, given: dict | None = None) -> Request:
    """Check a notebook's parameters and return the request.

    Raises ValueError for an unknown parameter or profile, TypeError for a value of another type than the
    default's.

    given: parameter -> value; where "profile" is among them, exactly that profile is meant.
    """
    given = dict(given or {})
    try:
        defaults = notebooks.parameters(notebooks.read(notebooks.path(root, name)))
    except ValueError as error:
        raise ValueError(f"{name}: {error}") from error
    for parameter, value in given.items():
        if parameter not in defaults:
            raise ValueError(f"{name} has no parameter {parameter!r}{nearest(parameter, defaults)}")
        _check_type(name, parameter, value, defaults[parameter])
    profile = given.get("profile", defaults.get("profile"))
    if profile is not None and profile not in PROFILES:
        raise ValueError(f"{name}: profile = {profile!r} is unknown{nearest(profile, PROFILES)}")
    changed = {p: value for p, value in given.items() if canonical_json(value) != canonical_json(defaults[p])}
    # Through JSON, because that is what a result's metadata will say: tuples are lists there.
    return Request(name, _plain(defaults | changed), _plain(changed), "profile" in given)


def _plain(value):
    return json.loads(json.dumps(value))


def _check_type(name: str, parameter: str, value, default) -> None:
    """The type of the default decides; None as default (such as ``seed = None``) takes a whole number too."""
    numbers = (int, float)
    allowed = {bool: bool, int: int, float: numbers, tuple: (list, tuple), list: (list, tuple)}
    takes = (int, type(None)) if default is None else allowed.get(type(default), type(default))
    is_bool = isinstance(value, bool) and not isinstance(default, bool)
    if is_bool or not isinstance(value, takes):
        wanted = "an int or None" if default is None else type(default).__name__
        got = f"{value!r} ({type(value).__name__})"
        raise TypeError(f"{name}: parameter {parameter!r} takes {wanted}, as in {default!r}; got {got}")


def at_least(profile: str) -> list[str]:
    """A profile and the larger ones, whose results say all that its own would.

    >>> at_least("judge")
    ['judge', 'full']
    """
    order = list(PROFILES)
    return order[order.index(profile) :]


def parse_value(text: str):
    """One value of the command line: a Python or JSON literal, or else a plain word.

    >>> parse_value("0.28"), parse_value("true"), parse_value("judge"), parse_value("[1, 2]")
    (0.28, True, 'judge', [1, 2])
    """
    words = {"true": True, "false": False, "null": None}
    if text in words:
        return words[text]
    try:
        return ast.literal_eval(text)
    except (SyntaxError, ValueError):
        return text


def parse_values(text: str) -> list:
    """The values of a sweep: separated by commas, or a range of whole numbers without its end.

    >>> parse_values("0.2,0.5"), parse_values("0:4"), parse_values("0:10:5"), parse_values("[1,2],[3]")
    ([0.2, 0.5], [0, 1, 2, 3], [0, 5], [[1, 2], [3]])
    """
    if re.fullmatch(r"-?\d+:-?\d+(:-?\d+)?", text):
        bounds = [int(bound) for bound in text.split(":")]
        if len(bounds) == 3 and bounds[2] == 0:
            raise ValueError(f"{text!r}: the step of a range must not be 0")
        values = list(range(*bounds))
    else:
        whole = parse_value(f"({text},)")
        values = list(whole) if isinstance(whole, tuple) else [parse_value(part) for part in text.split(",")]
    if not values or "" in values:
        raise ValueError(f"{text!r} holds no value, or an empty one")
    return values


def product(lists: dict[str, list]) -> list[dict]:
    """Every combination of the lists' values, the last list running fastest.

    >>> product({"size": [1, 2], "seed": [0]})
    [{'size': 1, 'seed': 0}, {'size': 2, 'seed': 0}]
    """
    return [dict(zip(lists, values, strict=True)) for values in itertools.product(*lists.values())]
