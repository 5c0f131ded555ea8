"""The commands themselves, each a function from the parsed options to an exit status."""

import contextlib
import csv
import json
import re
import signal
import sys
from importlib.util import find_spec
from pathlib import Path

import labkit

__all__ = ["Failure", "Usage", "data", "ledger", "listing", "run", "sweep"]


class Usage(Exception):
    """The command can't be what was meant."""


class Failure(Exception):
    """The command was understood and could not be done."""


@contextlib.contextmanager
def _checking(kind: type[Exception] = Usage):
    """Where what was typed is checked: an error is told in one line, not as the trace of a defect."""
    try:
        yield
    except (ValueError, TypeError, FileNotFoundError) as error:
        raise kind(error) from error


def _root(options) -> Path:
    """The checkout, which must be the one that this labkit is from: results belong to one code."""
    from labkit.runner import keys, notebooks

    with _checking():
        root = Path(options.root).resolve() if options.root else notebooks.find_root()
    if not (root / "notebooks").is_dir():
        raise Usage(f"--root {options.root}: there is no notebooks/ in it")
    running = Path(labkit.__file__).resolve().parent
    if keys.package(root).resolve() != running:
        raise Failure(
            f"this command runs the labkit of {running}; install the checkout: pip install -e {root}"
        )
    return root


def _given(options) -> dict[str, str]:
    """Parameter -> text of its value or values."""
    given: dict[str, str] = {}
    for name, text in [*options.parameter, *([("profile", options.profile)] if options.profile else [])]:
        if name in given:
            raise Usage(f"parameter {name!r} is given twice")
        given[name] = text
    return given


def run(options) -> int:
    from labkit.runner import notebooks, requests, results

    root = _root(options)
    given = {name: requests.parse_value(text) for name, text in _given(options).items()}
    with _checking():
        names = notebooks.resolve(root, options.targets)
        wanted = [requests.request(root, name, given) for name in names]
    if options.commit_outputs:
        if set(given) - {"profile"}:
            raise Usage("--commit-outputs takes no parameter but the profile: notebooks show their defaults")
        judged = [request.with_profile("judge") if request.profile else request for request in wanted]
        wanted = wanted if "profile" in given else judged
    if options.stale:
        wanted = list(filter(None, (results.out_of_date(root, request) for request in wanted)))
        options.fresh = True
    outcomes = _execute(root, wanted, options)
    if options.commit_outputs:
        with _checking(Failure):
            _commit(root, outcomes)
    return 0 if all(outcome.ok for outcome in outcomes) else 1


def _execute(root: Path, wanted: list, options) -> list:
    """Answer the requests, with a line for each execution and a summary."""
    needed = ["papermill", "distributed"] if options.cluster else ["papermill"]
    if not all(find_spec(module) for module in needed):
        raise Failure("executing notebooks takes more packages: pip install 'labkit-book[run]'")
    from tqdm import tqdm

    from labkit import runner

    outcomes = []
    how = {"jobs": options.jobs, "cluster": options.cluster, "fresh": options.fresh}
    with _stopped_by_signals(), contextlib.closing(runner.run(root, wanted, **how)) as running:
        for outcome in running:
            outcomes.append(outcome)
            if outcome.word != "valid":
                told = f"  {outcome.reason}" if outcome.reason else ""
                tqdm.write(f"{outcome.word:8} {outcome.request}  {outcome.seconds:.0f} s{told}")
    counts = {
        word: sum(outcome.word == word for outcome in outcomes)
        for word in ("ok", "valid", "changed", "failed")
    }
    names = {
        "ok": "executed",
        "valid": "valid already",
        "changed": "changed while running",
        "failed": "failed",
    }
    summary = (
        ", ".join(f"{counts[word]} {name}" for word, name in names.items() if counts[word]) or "nothing to do"
    )
    print(f"{len(outcomes)} result{'' if len(outcomes) == 1 else 's'}: {summary}")
    for outcome in outcomes:
        if not outcome.ok and outcome.path:
            print(f"  {outcome.request}: see {outcome.path.relative_to(root)}")
    return outcomes


class _Stopped(KeyboardInterrupt):
    """An interruption by a signal other than Ctrl-C's; ``number`` is the signal's."""

    def __init__(self, number: int):
        super().__init__()
        self.number = number


@contextlib.contextmanager
def _stopped_by_signals():
    """SIGTERM (a time limit, a queue) and SIGHUP (a terminal that closed) end a run as Ctrl-C does."""

    def stop(number, frame):
        raise _Stopped(number)

    numbers = [getattr(signal, name) for name in ("SIGTERM", "SIGHUP") if hasattr(signal, name)]
    before = {number: signal.signal(number, stop) for number in numbers}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _commit(root: Path, outcomes: list) -> None:
    from labkit import runner

    for outcome in outcomes:
        if outcome.ok and runner.commit(root, outcome):
            print(f"committed the outputs of {outcome.request}")


def sweep(options) -> int:
    from labkit.papers.order import nearest
    from labkit.runner import notebooks, plots, requests
    from labkit.runner import sweep as sweeps

    root = _root(options)
    with _checking():
        lists = {name: requests.parse_values(text) for name, text in _given(options).items()}
        names = notebooks.resolve(root, [options.target])
        if len(names) > 1:
            raise Usage(f"a sweep takes one notebook; {options.target!r} means {', '.join(names)}")
        if not lists:
            raise Usage("a sweep takes at least one parameter, such as -p seed 0:20")
        wanted = sweeps.plan(root, names[0], lists)
        if options.over and len(lists.get(options.over, ())) < 2:
            several = [name for name, values in lists.items() if len(values) > 1]
            told = nearest(options.over, several or ["nothing"])
            raise Usage(f"--over {options.over}: this sweep has not several values of it{told}")
    by_request = {outcome.request: outcome for outcome in _execute(root, wanted, options)}
    outcomes = [by_request[request] for request in dict.fromkeys(wanted)]
    frame = sweeps.table(outcomes)
    stem = Path(options.out) if options.out else sweeps.default_stem(root, names[0], lists)
    for file in sweeps.save(frame, stem):
        print(f"{len(frame)} rows: {file}")
    if options.plot or options.over:
        value = options.plot or "value"
        with _checking():
            over = options.over or plots.select(frame, value, None)[1]
            name = "-".join(re.findall(r"\w+", f"{value} over {over}"))
            for file in plots.save_plot(frame, value, over, stem.with_name(f"{stem.name}-{name}")):
                print(f"plot: {file}")
    return 0 if all(outcome.ok for outcome in outcomes) else 1


def listing(options) -> int:
    from labkit.runner.listing import rows as listed

    root = _root(options)
    with _checking():
        rows = listed(root, options.targets)
    if options.json:
        print(json.dumps(rows, indent=1, ensure_ascii=False))
        return 0
    width = max(len(row["notebook"]) for row in rows)
    for row in rows:
        core = "core" if row["core"] else ""
        note = row["reason"] or ("stale: " + row["stale"] if row["stale"] else row["title"])
        print(f"{row['notebook']:{width}}  {row['status']:9} {core:5} {note}")
    return 0


def ledger(options) -> int:
    from labkit import ledger as book_ledger
    from labkit.runner import keys, notebooks, results

    root = _root(options)
    if options.write:
        print(book_ledger.write_records(root, path=keys.package(root) / "records.json").relative_to(root))
        return 0

    def find(name: str) -> Path | None:
        return results.best(root, name) if notebooks.path(root, name).exists() else None

    with _checking(Failure):  # a claim that is wrong in its file
        rows = book_ledger.rows(root, find)
    if options.json:
        print(json.dumps(rows, indent=1, ensure_ascii=False))
    elif options.csv:
        writer = csv.DictWriter(sys.stdout, book_ledger.COLUMNS, lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
    else:
        shown = [row for row in rows if row["status"] != "planned"]
        for row in shown:
            print(f"{row['claim']:40} {row['status']:12} {row['sentence'] or row['why']}")
        planned = len({row["paper"] for row in rows if row["status"] == "planned"})
        print(f"{len(shown)} claims; {planned} papers planned")
    return 0


def data(options) -> int:
    from labkit import data as datasets

    match options.words:
        case []:
            print("\n".join(datasets.names()))
        case ["card", name]:
            with _checking():
                print(datasets.card(name).markdown())
        case _:
            raise Usage("data takes nothing, or: card NAME")
    return 0
