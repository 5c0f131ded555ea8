"""What the command line takes, and the help that explains it."""

import argparse

import labkit
from labkit.cli import commands

__all__ = ["parser"]

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
  labkit run --stale                     what other versions of torch or numpy made, for instance
  labkit run resizemix --commit-outputs  execute at `judge` and write the outputs into notebooks/
  labkit run --cluster tcp://10.0.0.5:8786

Results are kept in .labkit/results; interrupted, the same command takes up where it stopped. A notebook
that fails or is interrupted keeps its outputs so far, the others go on, and the exit status is 1. Commands
that run at the same time share the work: no notebook is executed by two of them."""

_SWEEP = """\
examples:
  labkit sweep resizemix -p object_size 0.2,0.5 -p seed 0:50
  labkit sweep resizemix -p mode '"area","nearest"' --profile smoke
  labkit sweep resizemix -p object_size 0.2,0.5 --plot difference --over object_size

Values are Python or JSON literals, separated by commas; a range 0:50 is 0, 1, … 49. The lists are combined,
the last one running fastest: the first example is 100 runs. The table has a row for each run, claim, variant
and seed. Interrupted, the same command takes up where it stopped."""


def parser() -> argparse.ArgumentParser:
    """The parser of all commands; what it returns has the command's function as ``command``."""
    raw = {"formatter_class": argparse.RawDescriptionHelpFormatter}
    whole = argparse.ArgumentParser("labkit", description=_ABOUT, epilog=_EXAMPLES, **raw)
    whole.add_argument("--version", action="version", version=f"labkit {labkit.__version__}")
    group = whole.add_subparsers(title="commands", metavar="", required=True)

    def add(name: str, function, about: str, examples: str = "", root: bool = True):
        command = group.add_parser(
            name, help=about, description=f"{about[0].upper()}{about[1:]}.", epilog=examples, **raw
        )
        command.set_defaults(command=function)
        if root:
            command.add_argument(
                "--root", metavar="FOLDER", help="the book's folder (found from here upward)"
            )
        return command

    run = add("run", commands.run, "execute notebooks that have no valid result", _RUN)
    run.add_argument(
        "targets", nargs="*", metavar="NOTEBOOK", help="a paper's id, a name, a part or a chapter; none: all"
    )
    _add_execution(run, "NAME VALUE: a parameter's value")
    run.add_argument(
        "--commit-outputs", action="store_true",
        help="write valid outputs into notebooks/; means --profile judge unless another is given",
    )  # fmt: skip

    run.add_argument(
        "--stale", action="store_true",
        help="execute anew what has a valid result that other library versions made, and nothing else",
    )  # fmt: skip

    sweep = add("sweep", commands.sweep, "execute one notebook over the product of parameter values", _SWEEP)
    sweep.add_argument("target", metavar="NOTEBOOK", help="a paper's id or a notebook's name")
    _add_execution(sweep, "NAME VALUES: a parameter's values")
    sweep.add_argument(
        "--out", metavar="STEM", help="write STEM.csv and STEM.parquet (default: below .labkit/sweeps)"
    )

    sweep.add_argument(
        "--plot", metavar="VALUE",
        help="draw value, difference (to the baseline) or seconds, or the values of a metric, claim or"
        " variant, into STEM-….png and .svg",
    )  # fmt: skip
    sweep.add_argument(
        "--over", metavar="NAME", help="the parameter to draw it over (default: the one that was swept)"
    )

    listing = add("list", commands.listing, "the papers and notebooks, and how they stand")
    listing.add_argument(
        "targets",
        nargs="*",
        metavar="PART",
        help="a part, such as augment, or a chapter, such as augment/images",
    )
    listing.add_argument("--json", action="store_true", help="as JSON")

    ledger = add("ledger", commands.ledger, "every claim, its verdict and its numbers")
    ledger.add_argument("--csv", action="store_true", help="as CSV, every column")
    ledger.add_argument("--json", action="store_true", help="as JSON, every column")
    ledger.add_argument(
        "--write", action="store_true", help="write labkit/records.json from the committed notebooks"
    )

    data = add(
        "data",
        commands.data,
        "the data sets, or one's card",
        "example:\n  labkit data card digits",
        root=False,
    )
    data.add_argument(
        "words", nargs="*", metavar="card NAME", help="show one data set's card (loads the data)"
    )
    return whole


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
