"""The command line: what it refuses and how, exit statuses, help that teaches."""

import csv
import io
import json
import subprocess
import sys

import pandas
import pytest

from labkit import cli, papers
from labkit.cli import commands
from tests.runner.conftest import RECORD, Checkout

COMMANDS = ("run", "sweep", "list", "ledger", "data")


@pytest.fixture
def book(tmp_path, monkeypatch) -> Checkout:
    """A checkout with two notebooks, and this process in it."""
    (tmp_path / "labkit").mkdir()
    checkout = Checkout(tmp_path)
    checkout.notebook("augment/images/resizemix", RECORD)
    checkout.notebook("start/fair-test", "size")
    monkeypatch.chdir(tmp_path)
    return checkout


def run(capsys, *arguments: str) -> tuple[int, str, str]:
    """Exit status, standard output and standard error of a command."""
    try:
        status = cli.main(list(arguments))
    except SystemExit as exit:
        status = exit.code
    captured = capsys.readouterr()
    return status, captured.out, captured.err


@pytest.mark.parametrize("command", COMMANDS)
def test_help_teaches(command, capsys):
    status, said, _ = run(capsys, command, "--help")
    assert status == 0 and "usage: labkit" in said
    if command in ("run", "sweep", "data"):
        assert f"labkit {command}" in said.split("example")[1], "an example to copy"
    assert all(name in run(capsys, "--help")[1] for name in COMMANDS)


def test_version(capsys):
    import labkit

    assert run(capsys, "--version")[1] == f"labkit {labkit.__version__}\n"


def test_help_is_quick():
    """Nothing heavy is imported for it."""
    code = "import sys\nfrom labkit.cli import main\ntry: main(['--help'])\nexcept SystemExit: pass\n"
    code += "heavy = {'torch', 'numpy', 'pandas', 'papermill', 'datasets', 'IPython', 'matplotlib'}\n"
    code += "sys.exit(', '.join(heavy & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.stderr.strip() == ""


@pytest.mark.parametrize(
    ("command", "message"),
    [
        ("run resizmix", "no notebook, chapter or part is called 'resizmix'; did you mean 'resizemix'"),
        ("run randaugment", "randaugment: this paper is planned, it has no notebook yet"),
        ("run resizemix -p sise 3", "augment/images/resizemix has no parameter 'sise'; did you mean 'size'?"),
        ("run resizemix -p size big", "parameter 'size' takes int, as in 3; got 'big' (str)"),
        ("run resizemix --profile jugde", "profile = 'jugde' is unknown; did you mean 'judge'"),
        ("run resizemix -p size 1 -p size 2", "parameter 'size' is given twice"),
        ("run resizemix -p size 4 --commit-outputs", "--commit-outputs takes no parameter but the profile"),
        ("run --root nowhere", "--root nowhere: there is no notebooks/ in it"),
        ("sweep resizmix -p size 1", "did you mean 'resizemix'"),
        ("sweep resizemix -p size 1,x", "parameter 'size' takes int"),
        ("sweep resizemix -p size ,", "holds no value, or an empty one"),
        (
            "sweep resizemix -p size 1,2 --over sise",
            "--over sise: this sweep has not several values",
        ),
        ("sweep resizemix -p size 1,2 --plot value --over seed", "not several values of it; known: size"),
        ("sweep resizemix", "a sweep takes at least one parameter"),
        ("sweep augment -p size 1", "resizemix has no"),
        ("list augmnt", "no part or chapter is called 'augmnt'; did you mean 'augment'"),
        ("data card digitz", "no data set is called 'digitz'; did you mean 'digits'"),
        ("data cards", "data takes nothing, or: card NAME"),
    ],
)
def test_what_is_refused(book, capsys, monkeypatch, command, message):
    """In one line, with exit status 2, before anything runs."""
    monkeypatch.setattr("labkit.runner.pool._Run", lambda *_: pytest.fail("executed"))
    if command.startswith("sweep augment"):
        book.notebook("augment/images/index", "1")
        message = "a sweep takes one notebook; 'augment' means augment/images/index, augment/images/resizemix"
    status, said, error = run(capsys, *command.split())
    assert (status, said) == (2, "")
    assert error.startswith("labkit: error: ") and error.count("\n") == 1
    assert message in error


@pytest.mark.parametrize("command", ["", "walk", "run --jobs 0", "run --jobs two", "run -p size", "sweep"])
def test_what_the_parser_refuses(book, capsys, command):
    status, _, error = run(capsys, *command.split())
    assert status == 2 and "error" in error


@pytest.mark.parametrize("command", ["run", "sweep resizemix -p size 1", "list", "ledger"])
def test_outside_a_checkout(tmp_path, monkeypatch, capsys, command):
    monkeypatch.chdir(tmp_path)
    status, _, error = run(capsys, *command.split())
    assert status == 2 and "is not inside a checkout of the book" in error and "--root" in error


def test_another_copys_checkout_is_refused(book, capsys):
    (book.root / "labkit" / "__init__.py").touch()
    status, _, error = run(capsys, "list")
    assert status == 1 and "pip install -e" in error


def test_without_the_extra(book, capsys, monkeypatch):
    """The rest works; executing says what to install."""
    monkeypatch.setattr(commands, "find_spec", lambda name: None)
    status, _, error = run(capsys, "run")
    assert status == 1 and "pip install 'labkit-book[run]'" in error
    assert run(capsys, "list", "augment")[0] == 0


def test_run_and_sweep(book, capsys):
    """One notebook fails, the other goes on; the status tells; what is there is not run again."""
    book.notebook("start/fails", "1 / 0")
    status, said, _ = run(capsys, "run", "start")
    assert status == 1
    assert "ok       start/fair-test [book]" in said
    assert "failed   start/fails [book]" in said and "ZeroDivisionError: division by zero" in said
    assert "2 results: 1 executed, 1 failed" in said
    assert "start/fails [book]: see .labkit/results/start/fails/book-" in said

    status, said, _ = run(capsys, "run", "fair-test")
    assert (status, said) == (0, "1 result: 1 valid already\n")

    status, said, _ = run(
        capsys, "sweep", "resizemix", "-p", "size", "1,2", "--profile", "smoke", "--out", "s"
    )
    assert status == 0 and "2 results: 2 executed" in said and "4 rows: s.csv" in said
    frame = pandas.read_parquet("s.parquet")
    assert frame[frame["variant"] == "doubled"]["value"].tolist() == [2.0, 4.0]
    assert set(frame["profile"]) == {"smoke"} and len(pandas.read_csv("s.csv")) == 4

    again = ("sweep", "resizemix", "-p", "size", "1,2", "--profile", "smoke", "--out", "s", "--plot")
    status, said, _ = run(capsys, *again, "difference")
    assert status == 0 and "2 results: 2 valid already" in said
    assert "plot: s-difference-over-size.png" in said and (book.root / "s-difference-over-size.svg").exists()
    status, said, error = run(capsys, *again, "acuracy")
    assert status == 2 and "did you mean 'accuracy'" in error and "4 rows: s.csv" in said


def test_commit_outputs_judges(book, capsys, monkeypatch):
    """What is committed is the record, unless another profile is named."""
    asked = []
    monkeypatch.setattr(commands, "_execute", lambda root, wanted, options: asked.extend(wanted) or [])
    run(capsys, "run", "resizemix", "--commit-outputs")
    run(capsys, "run", "resizemix", "--commit-outputs", "--profile", "smoke")
    run(capsys, "run", "resizemix")
    assert [request.profile for request in asked] == ["judge", "smoke", "book"]


def test_stale(book, capsys):
    """Results of other versions are made anew, and nothing else is."""
    assert run(capsys, "run", "fair-test")[0] == 0
    assert run(capsys, "run", "--stale")[1] == "0 results: nothing to do\n"
    (file,) = (book.root / ".labkit" / "results" / "start" / "fair-test").iterdir()
    notebook = json.loads(file.read_text())
    notebook["metadata"]["labkit"]["versions"]["numpy"] = "0.1"
    file.write_text(json.dumps(notebook))
    status, said, _ = run(capsys, "run", "--stale")
    assert status == 0 and said.endswith("1 result: 1 executed\n")
    assert "0.1" not in json.loads(file.read_text())["metadata"]["labkit"]["versions"].values()


def test_an_interruption(book, capsys, monkeypatch):
    def interrupt(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(commands, "_execute", interrupt)
    status, _, error = run(capsys, "run")
    assert status == 130 and "what had finished is kept" in error


def test_list(book, capsys):
    status, said, _ = run(capsys, "list")
    lines = said.splitlines()
    assert status == 0 and len(lines) == len(papers.all()) + len(papers.start)
    assert lines[0].split() == ["start/fair-test", "not", "run", "A", "fair", "test"]
    (resizemix,) = (line for line in lines if line.startswith("augment/images/resizemix "))
    assert "not run" in resizemix and "core" in resizemix and papers.get("resizemix").title in resizemix
    assert "planned" in next(line for line in lines if "randaugment" in line)
    rows = json.loads(run(capsys, "list", "augment/images", "--json")[1])
    assert {row["notebook"].rsplit("/", 1)[0] for row in rows} == {"augment/images"}
    assert run(capsys, "list", "resizemix")[0] == 2, "it filters by part and chapter"


def test_ledger(book, capsys):
    status, said, _ = run(capsys, "ledger")
    assert status == 0 and said.splitlines()[-1].endswith("papers planned")
    rows = json.loads(run(capsys, "ledger", "--json")[1])
    assert {row["paper"] for row in rows} == {paper.id for paper in papers.all()}
    table = list(csv.DictReader(io.StringIO(run(capsys, "ledger", "--csv")[1])))
    assert [row["paper"] for row in table] == [row["paper"] for row in rows]


def test_data(capsys):
    from labkit import data

    assert run(capsys, "data")[1].split() == list(data.names())
    assert "## digits" in run(capsys, "data", "card", "digits")[1]
