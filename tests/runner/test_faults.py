"""Runs that go wrong: nothing that was finished is lost, and nothing is done twice."""

import os
import signal
import subprocess
import sys
import time

import pandas
import pytest

from labkit.runner import locks, notebooks, results
from tests.runner import faults
from tests.runner.faults import Book, until

pytestmark = pytest.mark.skipif(os.name != "posix", reason="signals and processes as POSIX has them")


@pytest.fixture
def book(tmp_path) -> Book:
    return Book(tmp_path)


def test_killed(book):
    """Kernels die by themselves; locks of a dead run hold nobody up; its folders go with the next run."""
    found = faults.killed(book)
    assert (found.before, found.cut, found.executed, found.lost, found.twice) == (2, 2, 3, 0, 0)
    assert not book.left_over() and not book.kernels()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM], ids=["Ctrl-C", "SIGTERM"])
def test_interrupted(book, number):
    found = faults.interrupted(book, number)
    assert (found.before, found.cut, found.executed, found.lost, found.twice) == (2, 2, 3, 0, 0)
    assert not list((book.root / ".labkit").rglob("*.failed.ipynb")), "a success removes what was kept of it"


def test_asked_twice_a_run_ends_at_once(book):
    """A cell that does not heed the interruption is given some seconds, unless one asks again."""
    stubborn = "try:\n    time.sleep(60)\nexcept KeyboardInterrupt:\n    note('heard')\n    time.sleep(60)"
    book.notebook("a", stubborn)
    process = book.start("run")
    until(lambda: book.noted("end"))
    time.sleep(0.3)  # from the end of the first cell into the second
    os.killpg(process.pid, signal.SIGINT)
    until(lambda: book.noted("heard"))
    os.killpg(process.pid, signal.SIGINT)
    started = time.monotonic()
    process.communicate(timeout=20)
    assert process.returncode == 130 and time.monotonic() - started < 4
    assert not book.kernels() and not book.left_over()
    (file,) = (book.root / ".labkit/results/start/a").iterdir()
    last = notebooks.read(file)["cells"][-1]["outputs"][-1]
    assert last["evalue"] == "the run was interrupted in this cell"


def test_a_full_disk(book):
    if os.getuid() != 0:
        pytest.skip("a file system of its own takes root; test_a_limit_on_files tests the same without")
    try:
        found = faults.full_disk(book)
    except PermissionError as error:
        pytest.skip(f"this machine lets nobody mount a file system: {error}")
    assert (found.before, found.executed, found.lost, found.twice) == (2, 1, 0, 0)


def test_a_limit_on_files(book):
    found = faults.full(book, preexec_fn=faults.small_files)
    assert (found.before, found.executed, found.lost, found.twice) == (2, 1, 0, 0)


def test_two_at_once(book):
    found = faults.at_once(book)
    assert (found.executed, found.lost, found.twice) == (4, 0, 0)


def test_the_second_run_waits_and_says_so(book):
    book.notebook("a", gated=True)
    first = book.start("run")
    until(lambda: book.noted("start"))
    second = book.start("run", "--profile", "book")
    assert "another run is at start/a [book]; waiting for it" in second.stderr.readline()
    first.kill()  # its lock goes with it
    book.gate.touch()
    assert "1 executed" in second.communicate(timeout=30)[0] and second.returncode == 0
    first.communicate()
    assert book.noted("start")["a 3"] == 2 and len(book.results()) == 1


def test_kernels_that_die(book):
    found = faults.dying(book)
    assert (found.before, found.executed, found.lost, found.twice) == (2, 2, 0, 0)


def test_corrupt_results(book):
    found = faults.corrupt(book)
    assert (found.before, found.executed, found.lost, found.twice) == (1, 5, 0, 0)


def test_a_worker_of_a_cluster_is_killed(book):
    """Its runs are sent to the other; every result is there, once."""
    found = faults.worker_killed(book)
    assert 10 <= found.before < 40 and (found.lost, found.twice) == (0, 0)
    frame = pandas.read_parquet(book.root / "sweep.parquet")
    assert sorted(frame["size"].unique()) == list(range(1, 41))
    assert len(frame) == len(frame.drop_duplicates(["size", "variant", "seed"])) == 80
    assert (frame["value"] == frame["size"] * frame["variant"].map({"plain": 1.0, "doubled": 2.0})).all()
    # What the killed worker was at is executed anew, and what it had not handed over; nothing else.
    assert len(book.noted("start")) == 40 and found.cut <= 4


def test_killed_while_writing(tmp_path):
    """The file is not there, rather than there in part."""
    target = tmp_path / ".labkit" / "results" / "start" / "a" / "book-0.ipynb"
    code = "import sys; from labkit.runner import notebooks\n"
    code += "notebooks.write_bytes(sys.argv[1], b' ' * 300_000_000)"
    for _ in range(5):
        process = subprocess.Popen([sys.executable, "-c", code, str(target)])
        until(lambda: any(target.parent.glob(".*")) or target.exists())
        process.kill()
        process.wait()
        if not target.exists():
            break
        target.unlink()
    (half,) = target.parent.iterdir()
    assert half.name.startswith(".book-0.ipynb.") and results.load(target) is None
    locks.clear(tmp_path)
    assert half.exists(), "it may be one that is being written"
    os.utime(half, (0, 0))
    locks.clear(tmp_path)
    assert not half.exists()


def test_only_what_nobody_uses_is_cleared(tmp_path, monkeypatch):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    (tmp_path / "labkit-run-of-mine").mkdir()  # no lock beside it, so not made here
    new, old = tmp_path / "labkit-run-new.lock", tmp_path / "labkit-run-old.lock"
    new.touch()
    old.touch()
    os.utime(old, (0, 0))
    with locks.scratch() as folder:
        locks.clear()
        assert folder.is_dir()
        assert {path.name for path in tmp_path.iterdir()} == {
            "labkit-run-of-mine",
            new.name,
            folder.name,
            folder.with_suffix(".lock").name,
        }
    assert not folder.exists()


def test_the_scheduler_goes_away(book):
    """What had finished is kept, and the rest says why it was not done."""
    book.notebook("a", gated=True)
    book.notebook("b")
    with faults.cluster(book) as (address, (scheduler, *_)):
        process = book.start("run", "--cluster", address)
        until(lambda: "a 3" in book.noted("start") and len(book.results()) == 1)
        scheduler.kill()
        said, complained = process.communicate(timeout=60)
    assert process.returncode == 1 and "Traceback" not in complained
    assert "failed   start/a [book]  0 s  the cluster went away" in said
    assert set(book.results()) == {"b 3"}
    book.gate.touch()
    assert "1 executed, 1 valid already" in book.run("run")[1]
