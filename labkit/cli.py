"""The command line: ``labkit run | sweep | list | ledger | data``.

Exit status: 0 all is well, 1 something failed, 2 the command was not understood, 130 interrupted.
"""

import argparse
import contextlib
import csv
import json
import logging
import sys
from importlib.util import find_spec
from pathlib import Path

import labkit

__all__ = ["main"]

_ABOUT = """\
A book of notebooks on data-centric machine learning, from the command line.

A notebook is a function of the parameters in its parameters cell. Its result, the executed notebook, is
kept while the code, the parameters, the claims and the data are the same, so nothing runs twice."""

_EXAMPLES = """\
examples:
  labkit list augment/images             what there is, and how it stands
  labkit run resizemix                   execute a notebook, unless it has a valid result
  labkit sweep resizemix -p seed 0:20    one notebook over many values, as a table
  labkit ledger                          every claim and what was measured
  labkit data card digits                what is in a data set

Each command explains itself: labkit run --help"""

_RUN = """\
examples:
  labkit run                             every notebook without a valid result, two at a time
  labkit run augment/images              a part, a chapter, or papers by their id
  labkit run resizemix --profile smoke   the code path only, in seconds
  labkit run resizemix -p object_size 0.5
  labkit run resizemix --fresh           execute whatever the results say
  labkit run resizemix --commit-outputs  execute at `judge` and write the outputs into notebooks/
  labkit run --cluster tcp://10.0.0.5:8786

Results are kept in .labkit/results; interrupted, the same command takes up where it stopped. A notebook
that fails keeps its outputs so far, the others go on, and the exit status is 1."""

_SWEEP = """\
examples:
  labkit sweep resizemix -p object_size 0.2,0.5 -p seed 0:50
  labkit sweep resizemix -p mode '"area","nearest"' --profile smoke

Values are Python or JSON literals, separated by commas; a range 0:50 is 0, 1, … 49. The lists are combined,
the last one running fastest: the first example is 100 runs. The table has a row for each run, claim, variant
and seed. Interrupted, the same command takes up where it stopped."""


def main(arguments: list[str] | None = None) -> int:
    """Run a command and return its exit status."""
    parser = _parser()
    options = parser.parse_args(arguments)
    logging.basicConfig(format="labkit: %(message)s", level=logging.WARNING)
    try:
        return options.command(options)
    except KeyboardInterrupt:
        print("\ninterrupted; what had finished is kept", file=sys.stderr)
        return 130
    except BrokenPipeError:  # the reader of our output has gone, as in `labkit list | head`
        sys.stderr.close()
        return 1
    except _Usage as error:
        return _complain(error, 2)
    except (_Failure, OSError) as error:
        return _complain(error, 1)


class _Usage(Exception):
    """The command can't be what was meant."""


class _Failure(Exception):
    """The command was understood and could not be done."""


@contextlib.contextmanager
def _checking(kind: type[Exception] = _Usage):
    """Where what was typed is checked: an error is told in one line, not as the trace of a defect."""
    try:
        yield
    except (ValueError, TypeError, FileNotFoundError) as error:
        raise kind(error) from error


def _complain(error: Exception, code: int) -> int:
    print(f"labkit: error: {' '.join(str(error).split())}", file=sys.stderr)
    return code


def _parser() -> argparse.ArgumentParser:
    raw = {"formatter_class": argparse.RawDescriptionHelpFormatter}
    parser = argparse.ArgumentParser("labkit", description=_ABOUT, epilog=_EXAMPLES, **raw)
    parser.add_argument("--version", action="version", version=f"labkit {labkit.__version__}")
    commands = parser.add_subparsers(title="commands", metavar="", required=True)

    def add(name: str, function, about: str, examples: str = "", root: bool = True):
        command = commands.add_parser(
            name, help=about, description=f"{about[0].upper()}{about[1:]}.", epilog=examples, **raw
        )
        command.set_defaults(command=function)
        if root:
            command.add_argument(
                "--root", metavar="FOLDER", help="the book's folder (found from here upward)"
            )
        return command

    run = add("run", _run, "execute notebooks that have no valid result", _RUN)
    run.add_argument(
        "targets", nargs="*", metavar="NOTEBOOK", help="a paper's id, a name, a part or a chapter; none: all"
    )
    _add_execution(run, "NAME VALUE: a parameter's value")
    run.add_argument(
        "--commit-outputs", action="store_true",
        help="write valid outputs into notebooks/; means --profile judge unless another is given",
    )  # fmt: skip

    sweep = add("sweep", _sweep, "execute one notebook over the product of parameter values", _SWEEP)
    sweep.add_argument("target", metavar="NOTEBOOK", help="a paper's id or a notebook's name")
    _add_execution(sweep, "NAME VALUES: a parameter's values")
    sweep.add_argument(
        "--out", metavar="STEM", help="write STEM.csv and STEM.parquet (default: below .labkit/sweeps)"
    )

    listing = add("list", _list, "the papers and notebooks, and how they stand")
    listing.add_argument(
        "targets",
        nargs="*",
        metavar="PART",
        help="a part, such as augment, or a chapter, such as augment/images",
    )
    listing.add_argument("--json", action="store_true", help="as JSON")

    ledger = add("ledger", _ledger, "every claim, its verdict and its numbers")
    ledger.add_argument("--csv", action="store_true", help="as CSV, every column")
    ledger.add_argument("--json", action="store_true", help="as JSON, every column")
    ledger.add_argument(
        "--write", action="store_true", help="write labkit/records.json from the committed notebooks"
    )

    data = add(
        "data", _data, "the data sets, or one's card", "example:\n  labkit data card digits", root=False
    )
    data.add_argument(
        "words", nargs="*", metavar="card NAME", help="show one data set's card (loads the data)"
    )
    return parser


def _add_execution(command: argparse.ArgumentParser, about: str) -> None:
    command.add_argument(
        "-p", "--parameter", nargs=2, action="append", default=[], metavar=("NAME", "VALUE"), help=about
    )
    command.add_argument("--profile", help="smoke, book, judge or full; the same as -p profile")
    command.add_argument(
        "--jobs", type=_count, default=2, metavar="N", help="notebooks at a time (default: 2)"
    )
    command.add_argument(
        "--cluster", metavar="ADDRESS", help="a Dask scheduler that does the work, tcp://host:port"
    )
    command.add_argument("--fresh", action="store_true", help="execute whatever results there are")


def _count(text: str) -> int:
    count = int(text)
    if count < 1:
        raise argparse.ArgumentTypeError(f"takes a number from 1 up, got {text}")
    return count


def _root(options) -> Path:
    """The checkout, which must be the one that this labkit is from: results belong to one code."""
    from labkit.runner import keys, notebooks

    with _checking():
        root = Path(options.root).resolve() if options.root else notebooks.find_root()
    if not (root / "notebooks").is_dir():
        raise _Usage(f"--root {options.root}: there is no notebooks/ in it")
    running = Path(labkit.__file__).resolve().parent
    if keys.package(root).resolve() != running:
        raise _Failure(
            f"this command runs another copy of labkit ({running}); install the checkout: pip install -e {root}"
        )
    return root


def _given(options) -> dict[str, str]:
    """Parameter -> text of its value or values."""
    given: dict[str, str] = {}
    for name, text in [*options.parameter, *([("profile", options.profile)] if options.profile else [])]:
        if name in given:
            raise _Usage(f"parameter {name!r} is given twice")
        given[name] = text
    return given


def _run(options) -> int:
    from labkit.runner import notebooks, requests

    root = _root(options)
    given = {name: requests.parse_value(text) for name, text in _given(options).items()}
    with _checking():
        names = notebooks.resolve(root, options.targets)
        wanted = [requests.request(root, name, given) for name in names]
    if options.commit_outputs:
        if set(given) - {"profile"}:
            raise _Usage("--commit-outputs takes no parameter but the profile: notebooks show their defaults")
        judged = [request.with_profile("judge") if request.profile else request for request in wanted]
        wanted = wanted if "profile" in given else judged
    outcomes = _execute(root, wanted, options)
    if options.commit_outputs:
        with _checking(_Failure):
            _commit(root, outcomes)
    return 0 if all(outcome.ok for outcome in outcomes) else 1


def _execute(root: Path, wanted: list, options) -> list:
    """Answer the requests, with a line for each execution and a summary."""
    if find_spec("papermill") is None:
        raise _Failure("executing notebooks takes more packages: pip install 'labkit-book[run]'")
    from tqdm import tqdm

    from labkit import runner

    outcomes = []
    for outcome in runner.run(root, wanted, jobs=options.jobs, cluster=options.cluster, fresh=options.fresh):
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


def _commit(root: Path, outcomes: list) -> None:
    from labkit import runner

    for outcome in outcomes:
        if outcome.ok and runner.commit(root, outcome):
            print(f"committed the outputs of {outcome.request}")


def _sweep(options) -> int:
    from labkit.runner import notebooks, requests, sweep

    root = _root(options)
    with _checking():
        lists = {name: requests.parse_values(text) for name, text in _given(options).items()}
        names = notebooks.resolve(root, [options.target])
        if len(names) > 1:
            raise _Usage(f"a sweep takes one notebook; {options.target!r} means {', '.join(names)}")
        if not lists:
            raise _Usage("a sweep takes at least one parameter, such as -p seed 0:20")
        wanted = sweep.plan(root, names[0], lists)
    by_request = {outcome.request: outcome for outcome in _execute(root, wanted, options)}
    outcomes = [by_request[request] for request in dict.fromkeys(wanted)]
    frame = sweep.table(outcomes)
    stem = Path(options.out) if options.out else sweep.default_stem(root, names[0], lists)
    for file in sweep.save(frame, stem):
        print(f"{len(frame)} rows: {file}")
    return 0 if all(outcome.ok for outcome in outcomes) else 1


def _list(options) -> int:
    from labkit.runner import listing

    root = _root(options)
    with _checking():
        rows = listing.rows(root, options.targets)
    if options.json:
        print(json.dumps(rows, indent=1, ensure_ascii=False))
        return 0
    width = max(len(row["notebook"]) for row in rows)
    for row in rows:
        core = "core" if row["core"] else ""
        note = row["reason"] or ("stale: " + row["stale"] if row["stale"] else row["title"])
        print(f"{row['notebook']:{width}}  {row['status']:9} {core:5} {note}")
    return 0


def _ledger(options) -> int:
    from labkit import ledger
    from labkit.runner import keys, notebooks, results

    root = _root(options)
    if options.write:
        print(ledger.write_records(root, path=keys.package(root) / "records.json").relative_to(root))
        return 0

    def find(name: str) -> Path | None:
        return results.best(root, name) if notebooks.path(root, name).exists() else None

    with _checking(_Failure):  # a claim that is wrong in its file
        rows = ledger.rows(root, find)
    if options.json:
        print(json.dumps(rows, indent=1, ensure_ascii=False))
    elif options.csv:
        writer = csv.DictWriter(sys.stdout, ledger.COLUMNS, lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
    else:
        shown = [row for row in rows if row["status"] != "planned"]
        for row in shown:
            print(f"{row['claim']:40} {row['status']:12} {row['sentence'] or row['why']}")
        planned = len({row["paper"] for row in rows if row["status"] == "planned"})
        print(f"{len(shown)} claims; {planned} papers planned")
    return 0


def _data(options) -> int:
    from labkit import data

    match options.words:
        case []:
            print("\n".join(data.names()))
        case ["card", name]:
            with _checking():
                print(data.card(name).markdown())
        case _:
            raise _Usage("data takes nothing, or: card NAME")
    return 0


if __name__ == "__main__":
    sys.exit(main())
