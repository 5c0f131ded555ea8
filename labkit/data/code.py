"""``code``: functions of Python's standard library with their docstrings."""

import hashlib
from functools import cache

from labkit.data import build, grouped, homes, python_source
from labkit.data.card import Card, compose
from labkit.data.source import Source

__all__ = ["SOURCE", "load"]

COLUMNS = ("name", "signature", "docstring", "code", "module")


def load(
    *,
    size: int | None = None,
    seed: int = 0,
    test_size: int | None = None,
    max_lines: int = 60,
):
    """Documented functions and methods, split by module, anew by each seed.

    size, test_size: number of training and test functions; None for all of each part. A fifth of the
    modules make up the test part.
    max_lines: longer functions are left out; from 2 up.
    Columns: name ("Fraction.limit_denominator"), signature (one line, from "def" to ":"), docstring,
    code (the function without its docstring, from column 0), module.
    """
    from datasets import DatasetDict, Features, Value

    build.check_count("max_lines", max_lines, low=2)
    table = [row for row in _functions() if row["code"].count("\n") < max_lines]
    modules = [row["module"] for row in table]
    split = grouped.by_group(modules, build.stream(seed, "code"), size=size, test_size=test_size)
    features = Features({name: Value("string") for name in COLUMNS})
    identity = f"code {fingerprint()} {seed} {size} {test_size} {max_lines}"
    return DatasetDict(
        {
            name: homes.rows([table[k] for k in chosen], features, f"{identity} {name}")
            for name, chosen in split._asdict().items()
        }
    )


@cache
def _functions() -> tuple[dict, ...]:
    return tuple(
        {**{name: getattr(part, name) for name in COLUMNS[:-1]}, "module": module.name}
        for module in python_source.modules("standard library")
        for part in module.parts
        if part.code
    )


@cache
def fingerprint() -> str:
    """Hash of all functions: another version of Python has another one."""
    digest = hashlib.sha256()
    for row in _functions():
        digest.update("\0".join(row[name] for name in COLUMNS).encode())
    return digest.hexdigest()[:16]


def card() -> Card:
    import platform

    return Card(
        name="code",
        summary="Functions and methods of Python's standard library, each with its docstring.",
        origin="The sources of the installed Python, parsed and never executed.",
        licence="Python Software Foundation License.",
        limits=(
            f"It changes with Python: the figures here are those of Python {platform.python_version()}. The "
            "content's hash (`data.fingerprint`) is in every record; no headline rests on these data alone.",
            "One language, one house style, much of it decades old; few type annotations.",
            "Any code model has read it: for pretrained ones it is no test.",
        ),
        use="Real code for quick runs without a download: search from docstring to code, naming, bugs put in "
        "on purpose.",
        composition=compose(load(), 'data.load("code")'),
    )


SOURCE = Source("code", load, fingerprint, card)
