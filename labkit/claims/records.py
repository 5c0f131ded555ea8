"""Records of what was judged: those committed with the package, and the checks that keep them honest."""

import ast
import inspect
import json
import math
import textwrap
from functools import cache
from pathlib import Path

from labkit.claims.entry import JUDGED_FIELDS, Claim
from labkit.claims.judging import judge

__all__ = ["JUDGING", "MIME", "PATH", "changed_since", "check", "committed", "source_of", "values_of"]

MIME = "application/vnd.labkit.record+json"
#: Every committed record, written by ``labkit ledger --write`` from the executed notebooks.
PATH = Path(__file__).parents[1] / "records.json"
#: The profiles whose records judge.
JUDGING = ("judge", "full")


@cache
def _committed() -> tuple[dict, ...]:
    return tuple(json.loads(PATH.read_text(encoding="utf-8"))) if PATH.exists() else ()


def committed(claim_id: str, profile: str = "judge") -> dict | None:
    """The committed record of a claim at a profile, or None.

    A record is the stable fields, and under "measured" those that change from run to run.
    """
    found = [r for r in _committed() if r["claim"] == claim_id and r["profile"] == profile]
    return found[0] if found else None


def values_of(record: dict) -> dict[str, dict[int, float]]:
    """{variant: {seed: value}} of a record; JSON has made the seeds texts."""
    values = record["measured"]["values"]
    return {name: {int(seed): value for seed, value in row.items()} for name, row in values.items()}


def check(record: dict, claim: Claim) -> list[str]:
    """What is wrong with a record that claims to judge: an empty list where nothing is.

    It must have judged the entry as it stands now (so that a margin edited afterwards is caught), on
    exactly the seeds of its attempt, every variant on every one of them, at the registered settings;
    and the verdict in it must be what its own values give.
    """
    problems = []
    measured = record.get("measured", {})
    if record["hash"] != claim.hash:
        changed = _changed_fields(
            measured.get("entry", {}), claim.entry, {*claim.entry, *measured.get("entry", {})}
        )
        problems += [f"the entry was edited after it was judged: {text}" for text in changed or ["its hash"]]
    for name in ("n", "attempt"):
        if record[name] != getattr(claim, name):
            problems.append(f"judged with {name} = {record[name]}, registered is {getattr(claim, name)}")
    if record["profile"] not in JUDGING:
        problems.append(f"the profile {record['profile']!r} judges nothing")
    if record["seeds"] != claim.seeds:
        first, last = claim.seeds[0], claim.seeds[-1]
        problems.append(
            f"judged on {_span(record['seeds'])}, attempt {claim.attempt} has seeds {first} to {last}"
        )
    if record["failed_seeds"]:
        problems.append(f"{len(record['failed_seeds'])} seeds failed")
    if not problems and "values" not in measured:
        problems.append("the values it was judged from are missing")
    if problems:
        return problems

    values = values_of(record)
    if set(values) != set(claim.variants) or any(list(row) != claim.seeds for row in values.values()):
        return ["its values are not those of every variant on every seed"]
    if measured.get("settings", {}) != claim.settings:
        return [f"run with settings {measured.get('settings')}, registered are {claim.settings}"]
    if not record["verdict"].startswith("not judged"):
        again = judge(claim.question, values)
        for name in ("verdict", "reason_verdict", "sentence"):
            if record[name] != getattr(again, name):
                problems.append(f"its {name} is {record[name]!r}, its values give {getattr(again, name)!r}")
    return problems


def changed_since(claim: Claim, source: str | None, values: dict, profile: str) -> str:
    """Why this attempt can not judge (again), in words; "" where it can.

    The seeds of an attempt judge one experiment and one entry. Against the committed record of the
    same claim: an edited margin, or another field that the verdict hangs on, needs a new attempt. So
    does an experiment whose code changed, unless it reproduces the values of the record.
    source: the experiment's code.  values: {variant: {seed: value}} of the new run.
    """
    record = committed(claim.id, profile)
    if record is None or record["attempt"] < claim.attempt:
        return ""
    attempt = record["attempt"]
    if attempt > claim.attempt:
        return f"attempt {attempt} was judged already"
    before = record["measured"]["entry"]
    changed = _changed_fields(before, claim.entry, JUDGED_FIELDS)
    if not changed and _code_differs(source, record["measured"].get("experiment")):
        changed = [] if _same_values(values, values_of(record)) else ["the experiment's code"]
    if not changed:
        return ""
    return f"changed after attempt {attempt} was judged, set attempt = {attempt + 1}: {'; '.join(changed)}"


def _changed_fields(before: dict, now: dict, names) -> list[str]:
    return [
        f"{name} was {before.get(name)!r} and is {now.get(name)!r} now"
        for name in sorted(names)
        if before.get(name) != now.get(name)
    ]


def source_of(experiment) -> str | None:
    """The code of an experiment, for its record, with the functions of its own notebook that it calls.

    None where Python has no source for the experiment.
    """
    found, waiting = {}, [experiment]
    while waiting:
        function = waiting.pop(0)
        function = inspect.unwrap(getattr(function, "func", function))  # of a partial, too
        if function in found:
            continue
        try:
            found[function] = textwrap.dedent(inspect.getsource(function))
        except (OSError, TypeError):
            if not found:
                return None
            continue
        known = getattr(function, "__globals__", {})
        called = [known.get(name) for name in _names(getattr(function, "__code__", None))]
        waiting += [f for f in called if inspect.isfunction(f) and f.__module__ == function.__module__]
    return "\n\n".join(found.values())


def _names(code) -> list[str]:
    """The global names in a function's code and in the functions within it."""
    if code is None:
        return []
    inner = [name for part in code.co_consts if inspect.iscode(part) for name in _names(part)]
    return [*code.co_names, *inner]


def _code_differs(new: str | None, old: str | None) -> bool:
    """Whether two pieces of code differ in more than comments, layout and docstrings."""
    if new is None or old is None:
        return False
    try:
        return _tree(new) != _tree(old)
    except SyntaxError:  # a lambda cut out of the middle of a call
        return new != old


def _tree(source: str) -> str:
    tree = ast.parse(source)
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef) and ast.get_docstring(node) is not None:
            node.body = node.body[1:]
    return ast.dump(tree)


def _same_values(new: dict, old: dict) -> bool:
    if {name: list(row) for name, row in new.items()} != {name: list(row) for name, row in old.items()}:
        return False
    pairs = ((value, old[name][seed]) for name, row in new.items() for seed, value in row.items())
    return all(math.isclose(a, b, rel_tol=1e-6, abs_tol=1e-12) for a, b in pairs)


def _span(seeds: list[int]) -> str:
    return f"{len(seeds)} seeds, {seeds[0]} to {seeds[-1]}" if seeds else "no seeds"
