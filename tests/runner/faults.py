"""What goes wrong on purpose: real commands in real processes, killed, interrupted, starved, side by side.

Every function makes a small book, does one thing to a run of it, runs it again and returns what happened as
a `Fault`. The tests look at the figures, and ``scripts/measure_faults.py`` writes them down.
"""

import contextlib
import json
import os
import resource
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

from labkit import runner
from labkit.runner import notebooks, results
from tests.runner.conftest import RECORD, Checkout

LABKIT = [sys.executable, "-c", "import sys; from labkit.cli import main; sys.exit(main())"]
# Shows something, says that it runs, waits at the gate if it has one, and says that it came to its end.
BODY = """import os, time
def note(word):
    with open({log!r}, "a") as file:
        file.write(f"{{word}} {name} {{size}} {{os.getpid()}}\\n")
print("halfway")
note("start")
while {gated} and not os.path.exists({gate!r}):
    time.sleep(0.02)
time.sleep({seconds})
note("end")
"""


class Fault(NamedTuple):
    """What happened, in figures.

    runs: results asked for.  before: those there were when the fault struck.  cut: executions that it cut
    short or made void.  executed: those started after it.  lost: results that were there and are no more.
    twice: those executed again all the same.  seconds: from the run after it on until all is there.
    """

    runs: int
    before: int
    cut: int
    executed: int
    lost: int
    twice: int
    seconds: float


class Book:
    """A checkout whose notebooks write down when they run, and commands in it."""

    def __init__(self, folder: Path):
        self.log, self.gate, self.temporary = folder / "log", folder / "gate", folder / "tmp"
        (folder / "book" / "labkit").mkdir(parents=True)
        (folder / "book" / "notebooks").mkdir()
        self.temporary.mkdir()
        self.log.touch()
        self.checkout = Checkout(folder / "book")
        self.root = self.checkout.root

    def notebook(self, name: str, *more: str, gated: bool = False, seconds: float = 0.0) -> str:
        places = {"log": str(self.log), "gate": str(self.gate), "gated": gated, "seconds": seconds}
        return self.checkout.notebook(f"start/{name}", BODY.format(name=name, **places), *more)

    def start(self, *arguments: str, **settings) -> subprocess.Popen:
        """`labkit` in a session of its own, so that a signal to its group reaches nobody else."""
        environment = os.environ | {"TMPDIR": str(self.temporary), "OMP_NUM_THREADS": "1"}
        settings = {"cwd": self.root, "env": environment, "start_new_session": True, "text": True} | settings
        return subprocess.Popen(
            [*LABKIT, *arguments], stdout=subprocess.PIPE, stderr=subprocess.PIPE, **settings
        )

    def run(self, *arguments: str, **settings) -> tuple[int, str, str, float]:
        """A whole command: its status, what it said on both streams, and its seconds."""
        started = time.monotonic()
        process = self.start(*arguments, **settings)
        said, complained = process.communicate(timeout=120)
        return process.returncode, said, complained, time.monotonic() - started

    def noted(self, word: str) -> Counter:
        """How often each notebook, or run of a sweep ("name size"), said that word."""
        lines = (line.split() for line in self.log.read_text().splitlines())
        return Counter(f"{line[1]} {line[2]}" for line in lines if line[0] == word)

    def kernels(self) -> list[int]:
        """The kernels that ever ran a notebook and are still there."""
        pids = {int(line.split()[3]) for line in self.log.read_text().splitlines()}
        return [pid for pid in pids if alive(pid)]

    def results(self) -> dict[str, Path]:
        """The valid results: what was run -> file. Whatever else is called a notebook is no result."""
        found = {}
        for file in (self.root / ".labkit" / "results").rglob("*.ipynb"):
            if runner.valid(file, self.root).ok:
                size = results.load(file)["metadata"]["labkit"]["parameters"]["size"]
                found[f"{file.parent.name} {size}"] = file
        return found

    def left_over(self) -> list[str]:
        """What runs have left in the folder for temporary files, and half-written results."""
        halves = (self.root / ".labkit").rglob(".*.ipynb.*")
        return sorted(path.name for path in [*self.temporary.glob("labkit-*"), *halves])

    def after(self, before: dict[str, Path], runs: int, *arguments: str) -> Fault:
        """Run again after a fault, and count."""
        stamps = {run: path.stat().st_mtime_ns for run, path in before.items() if path.exists()}
        started = self.noted("start")
        status, said, complained, seconds = self.run(*arguments)
        assert status == 0, said + complained
        executed = self.noted("start") - started
        now = self.results()
        lost = [run for run in before if run not in now]
        twice = [run for run in stamps if run in executed or now[run].stat().st_mtime_ns != stamps[run]]
        assert len(now) == runs, f"of {runs} results there are {sorted(now)}"
        cut = started.total() - len(before)
        return Fault(runs, len(before), cut, executed.total(), len(lost), len(twice), round(seconds, 1))


def alive(pid: int) -> bool:
    """Whether a process runs; one that has ended and that nobody has asked about does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except OSError:
        return False


def until(condition: Callable, seconds: float = 60) -> float:
    """Wait for a condition; how long that took."""
    started = time.monotonic()
    while not condition():
        assert time.monotonic() < started + seconds, "waited too long"
        time.sleep(0.02)
    return time.monotonic() - started


def five(book: Book) -> None:
    """Two notebooks that end at once, two that wait at the gate, one that comes after them."""
    for name in "ab":
        book.notebook(name)
    for name in "cd":
        book.notebook(name, gated=True)
    book.notebook("e")


def in_the_middle(book: Book) -> subprocess.Popen:
    """A run of the five with two results, two at the gate and one to come."""
    process = book.start("run", "--jobs", "2")
    until(lambda: {"c 3", "d 3"} <= set(book.noted("start")) and len(book.results()) == 2)
    return process


def killed(book: Book) -> Fault:
    """`kill -9` of the command with two notebooks finished, two running and one waiting; then again."""
    five(book)
    process = in_the_middle(book)
    before = book.results()
    process.kill()
    process.communicate()
    assert book.left_over(), "the folders of the two that ran"
    until(lambda: not book.kernels(), 10)
    book.gate.touch()
    return book.after(before, 5, "run")


def interrupted(book: Book, number: int = signal.SIGINT) -> Fault:
    """Ctrl-C in the terminal, with two finished, two running and one waiting; then again."""
    five(book)
    process = in_the_middle(book)
    before = book.results()
    os.killpg(process.pid, number)
    _, complained = process.communicate(timeout=20)
    assert process.returncode == 128 + number and "interrupted" in complained
    assert not book.kernels() and not book.left_over()
    for name in "cd":
        (file,) = (book.root / ".labkit/results/start" / name).iterdir()
        kept = notebooks.read(file)
        assert kept["metadata"]["labkit"]["error"] == "KeyboardInterrupt: the run was interrupted"
        shown = [output for cell in kept["cells"] for output in cell.get("outputs", [])]
        assert (shown[0]["text"], shown[1]["ename"]) == ("halfway\n", "KeyboardInterrupt")
    assert set(book.noted("end")) == {"a 3", "b 3"}, "no cell went on"
    book.gate.touch()
    return book.after(before, 5, "run")


def full_disk(book: Book) -> Fault:
    """A file system that is full for one of three results; takes root."""
    with small_disk(book.root / ".labkit") as enlarge:
        return full(book, enlarge)


def full(book: Book, lift: Callable = lambda: None, **settings) -> Fault:
    """A result that finds no room, between others that do; then again with room."""
    book.notebook("a")
    book.notebook("b", "import random\nprint(''.join(random.choices('abcdefgh', k=1_000_000)))")
    book.notebook("c")
    status, said, complained, _ = book.run("run", "--jobs", "1", **settings)
    before = book.results()
    assert status == 1 and "Traceback" not in complained
    assert "so the result could not be kept" in said and "2 executed, 1 failed" in said
    assert set(before) == {"a 3", "c 3"} and not book.left_over()
    lift()
    return book.after(before, 3, "run")


@contextlib.contextmanager
def small_disk(folder: Path) -> Iterator[Callable]:
    """A file system of 512 kB at a folder; gives the function that makes it larger.

    Raises PermissionError where this machine lets nobody mount one.
    """
    folder.mkdir(parents=True)
    mount = ["mount", "-t", "tmpfs", "-o", "size=512k", "tmpfs", str(folder)]
    mounted = subprocess.run(mount, capture_output=True, text=True)
    if mounted.returncode:
        raise PermissionError(mounted.stderr.strip())
    try:
        yield lambda: subprocess.run(["mount", "-o", "remount,size=8m", str(folder)], check=True)
    finally:
        subprocess.run(["umount", "-l", str(folder)], check=True)


def small_files() -> None:
    """In the child: no file above 512 kB."""
    resource.setrlimit(resource.RLIMIT_FSIZE, (512 << 10, 512 << 10))


def at_once(book: Book) -> Fault:
    """Two commands for the same four notebooks, started together."""
    for name in "abcd":
        book.notebook(name, seconds=0.5)
    started = time.monotonic()
    both = [book.start("run", "--jobs", "1") for _ in range(2)]
    said = [process.communicate(timeout=60)[0] for process in both]
    seconds = time.monotonic() - started
    assert [process.returncode for process in both] == [0, 0], said
    executed = book.noted("start")
    assert all(text.startswith("ok") and "4 results: " in text for text in said), "each did a part"
    assert len(book.results()) == 4
    return Fault(4, 0, 0, executed.total(), 0, executed.total() - len(executed), round(seconds, 1))


def dying(book: Book) -> Fault:
    """Kernels that end in a cell, by themselves and by the system, beside others; then mended."""
    book.notebook("a")
    for name, how in {"b": "os._exit(3)", "c": "os.kill(os.getpid(), 9)"}.items():
        mended = f"os.path.exists({str(book.gate)!r})"
        # What was printed in the last instant dies with the kernel, so that instant is over here.
        book.notebook(name, f"print('before', flush=True)\ntime.sleep(0.5)\n{mended} or {how}")
    book.notebook("d")
    status, said, _, _ = book.run("run", "--jobs", "2")
    assert status == 1 and "2 executed, 2 failed" in said
    assert "with exit status 3" in said and "was ended by SIGKILL in this cell (out of memory?)" in said
    for name in "bc":
        (file,) = (book.root / ".labkit/results/start" / name).iterdir()
        shown = [output for cell in notebooks.read(file)["cells"] for output in cell.get("outputs", [])]
        assert [output.get("text") for output in shown] == ["halfway\n", "before\n", None]
        assert shown[2]["ename"] == "DeadKernelError"
    assert not book.left_over()
    book.gate.touch()
    return book.after(book.results(), 4, "run")


def _value(text: str) -> str:
    """A measured value, changed by hand."""
    notebook = json.loads(text)
    for cell in notebook["cells"]:
        for output in cell.get("outputs", []):
            for record in output.get("metadata", {}).values():
                record["values"]["doubled"]["7"] = 99.0
    return json.dumps(notebook)


# Size of the run -> what is done to the text of its result.
DAMAGES = {
    1: lambda text: text[: len(text) // 2],
    2: lambda text: "",
    4: _value,
    5: lambda text: text.replace('"size": 5', '"size": 6'),
    6: lambda text: text.replace('"cells": [', '"cells": [7,', 1),
}


def corrupt(book: Book) -> Fault:
    """Of six results one is cut, one emptied, one given another number, two made something else."""
    book.notebook("a", RECORD)
    sweep = ("sweep", "a", "-p", "size", "1:7")
    assert book.run(*sweep)[0] == 0
    sound = book.results()
    for size, damage in DAMAGES.items():
        file = sound[f"a {size}"]
        file.write_text(damage(file.read_text()))
    before = book.results()
    assert set(before) == {"a 3"}, "none of them is taken for a result"
    return book.after(before, 6, *sweep)


def worker_killed(book: Book) -> Fault:
    """Forty runs on a Dask cluster of a scheduler and two workers, one of which is killed midway."""
    book.notebook("a", RECORD, seconds=0.2)
    with cluster(book) as (address, (_, worker, _)):
        sweep = ("sweep", "a", "-p", "size", "1:41", "--cluster", address, "--out", str(book.root / "sweep"))
        process = book.start(*sweep)
        until(lambda: len(book.results()) >= 10)
        worker.kill()
        started, at_work, before = time.monotonic(), book.noted("start"), book.results()
        stamps = {run: path.stat().st_mtime_ns for run, path in before.items()}
        said, complained = process.communicate(timeout=150)
        seconds = time.monotonic() - started
        assert process.returncode == 0 and "40 results: 40 executed" in said, said + complained
        now = book.results()
        until(lambda: not book.kernels(), 10)  # those of the worker that was killed, too
    twice = sum(now[run].stat().st_mtime_ns != stamp for run, stamp in stamps.items())
    lost = len(set(before) - set(now))
    assert len(now) == 40
    every = book.noted("start")
    executed, cut = (every - at_work).total(), every.total() - 40
    return Fault(40, len(before), cut, executed, lost, twice, round(seconds, 1))


@contextlib.contextmanager
def cluster(book: Book) -> Iterator[tuple[str, list[subprocess.Popen]]]:
    """A Dask scheduler and two workers, processes of their own on free ports that only this machine sees.

    Gives the scheduler's address and the three processes.
    """
    file = book.temporary / "scheduler.json"
    shared = {"cwd": book.temporary, "stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    shared["env"] = os.environ | {"OMP_NUM_THREADS": "1", "TMPDIR": str(book.temporary)}

    def start(*words: str) -> subprocess.Popen:
        command = [sys.executable, "-m", "dask", *words, "--host", "127.0.0.1", "--no-dashboard"]
        return subprocess.Popen([*command, "--scheduler-file", str(file)], **shared)

    processes = [start("scheduler", "--port", "0")]
    try:
        until(file.exists)
        worker = ("worker", "--no-nanny", "--nthreads", "2", "--local-directory", str(book.temporary))
        processes += [start(*worker) for _ in range(2)]
        yield json.loads(file.read_text())["address"], processes
    finally:
        for process in processes:  # asked politely, a worker without its scheduler may stay for minutes
            process.kill()
            process.wait()
