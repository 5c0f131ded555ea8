"""Running an experiment over seeds: values, failures by name, seconds, progress."""

import inspect
import math
import sys
import time
from typing import NamedTuple

from labkit.seeding import seeded

__all__ = ["Runs", "check_takes", "run"]


class Runs(NamedTuple):
    """What came of the seeds.

    values: {variant: {seed: float}}, the finished seeds only.  failures: {seed: what went wrong}.
    seconds: {seed: float}, or {"all": float} where the seeds ran together.  stopped: what ended the
    run early (a KeyboardInterrupt, or an error that every seed would repeat), or None.
    error: the first exception that an experiment raised, or None: its traceback is worth seeing.
    """

    values: dict[str, dict[int, float]]
    failures: dict[int, str]
    seconds: dict
    stopped: BaseException | None
    error: Exception | None


def check_takes(experiment, settings: dict) -> None:
    """Refuse an experiment that does not take its seed and these settings as keywords."""
    if not callable(experiment):
        raise TypeError(f"experiment must be a function of a seed, got {experiment!r}")
    try:
        inspect.signature(experiment).bind(0, **settings)
    except TypeError as error:
        named = ", ".join(["seed", *settings])
        raise TypeError(f"experiment must take ({named}), the claim's settings by name: {error}") from None


def run(
    experiment, seeds, *, variants=None, needed=(), together=False, positive=False, settings=None
) -> Runs:
    """Run the experiment once per seed, or once for all of them.

    experiment: (seed, **settings) -> {variant: number}; with ``together`` (seeds, **settings) ->
    {variant: a number for each seed, in their order}.  variants: the exact names it must return, or
    None for those that the first seed gives, which must hold the ``needed`` ones.
    positive: only values above 0 are fine (ratios).
    A seed that raises, or whose value is NaN, infinite or no number, is a failure with its name; the
    others still run. Wrong names of variants end the run: every seed would repeat them.
    """
    settings = settings or {}
    found, failures, took = {}, {}, {}
    stopped, first, began = None, None, time.perf_counter()
    try:
        if together:
            try:
                with seeded(next(iter(seeds))):
                    result = experiment(list(seeds), **settings)
            except Exception as error:
                failures, first = dict.fromkeys(seeds, _described(error)), error
            else:
                variants = _names(result, variants, needed)
                found = _by_seed(result, list(seeds))
            took["all"] = time.perf_counter() - began
        else:
            for seed in _progress(seeds):
                began = time.perf_counter()
                try:
                    with seeded(seed):  # whatever draws from global state is fixed by the seed too
                        result = experiment(seed, **settings)
                except Exception as error:
                    failures[seed], first = _described(error), first or error
                else:
                    variants = _names(result, variants, needed)
                    found[seed] = result
                took[seed] = time.perf_counter() - began
    except (KeyboardInterrupt, VariantError) as reason:
        stopped = reason

    numbers = {}
    for seed, result in found.items():
        problem, row = _numbers(result, positive)
        if problem:
            failures[seed] = problem
        else:
            numbers[seed] = row
    values = {name: {seed: row[name] for seed, row in numbers.items()} for name in variants or ()}
    return Runs(values, dict(sorted(failures.items())), took, stopped, first)


class VariantError(ValueError):
    """The experiment returned other variants than it was to."""


def _by_seed(result: dict, seeds: list[int]) -> dict:
    """{seed: {variant: value}} from one column of values per variant."""
    columns = {}
    for name, column in result.items():
        if not hasattr(column, "__len__") or len(column) != len(seeds):
            raise VariantError(f"with together=True {name!r} must be {len(seeds)} numbers, got {column!r}")
        columns[name] = list(column)
    return {seed: {name: column[i] for name, column in columns.items()} for i, seed in enumerate(seeds)}


def _names(result, variants, needed):
    """The variants of a result, checked against those it must have."""
    if not isinstance(result, dict):
        raise VariantError(f"experiment must return {{variant: number}}, got {type(result).__name__}")
    wanted = set(needed if variants is None else variants)
    missing = [name for name in (variants or needed) if name not in result]
    extra = [] if variants is None else [name for name in result if name not in wanted]
    if missing or extra:
        listed = {"missing": missing, "not known": extra}
        told = "; ".join(f"{what}: {', '.join(map(repr, names))}" for what, names in listed.items() if names)
        expected = ", ".join(map(repr, variants or needed))
        raise VariantError(f"experiment must return the variants {expected}; {told}")
    return tuple(result) if variants is None else variants


def _numbers(result: dict, positive: bool) -> tuple[str, dict[str, float]]:
    """(what is wrong or "", {variant: float}) of one seed's result; numbers, arrays and tensors of one."""
    row = {}
    for name, value in result.items():
        try:
            row[name] = float(value)
        except (TypeError, ValueError):
            return f"{name!r} is no number: {value!r:.80}", {}
        if not math.isfinite(row[name]):
            return f"{name!r} is {row[name]}", {}
        if positive and row[name] <= 0:
            return f"{name!r} is {row[name]:g}, but a ratio needs values above 0", {}
    return "", row


def _described(error: Exception) -> str:
    return f"{type(error).__name__}: {error}"


def _progress(seeds):
    """The seeds, with progress and time left on stderr where somebody is there to see it.

    In a notebook run without a front end (papermill, nbval) there is nobody, and what is printed
    would stay in the recorded output.
    """
    shell = getattr(sys.modules.get("IPython"), "get_ipython", lambda: None)()
    if shell is not None and hasattr(shell, "kernel"):
        # A front end lets its cells ask for input; headless clients do not.
        live = getattr(shell.kernel, "_allow_stdin", False)
    else:
        live = sys.stderr is not None and sys.stderr.isatty()
    if not live:
        return iter(seeds)
    from tqdm import tqdm

    return iter(tqdm(seeds, desc="seeds", unit="seed", leave=False, file=sys.stderr))
