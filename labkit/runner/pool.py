"""Many requests at once: here, one kernel process per notebook, or on a Dask cluster."""

import contextlib
import errno
import itertools
import logging
import os
import signal
import statistics
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import FIRST_COMPLETED, CancelledError, Executor, Future, ThreadPoolExecutor, wait
from pathlib import Path
from typing import NamedTuple

from filelock import FileLock

from labkit.runner import locks, notebooks, results
from labkit.runner.execute import execute, task
from labkit.runner.requests import Request

__all__ = ["Outcome", "run"]

_log = logging.getLogger("labkit.runner")
_UNKNOWN_SECONDS = 30.0  # what a notebook is expected to take before anything is known about any
_GRACE = 5.0  # seconds that interrupted cells have to show how far they came
_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


class Outcome(NamedTuple):
    """What became of a request.

    word: "ok" (executed), "valid" (there was a result already), "failed", or "changed" (executed, but what
    it depends on was edited meanwhile, or differs on the machine that ran it).
    """

    request: Request
    word: str
    path: Path | None
    seconds: float = 0.0
    reason: str = ""

    @property
    def ok(self) -> bool:
        """Whether there is a valid result now."""
        return self.word in ("ok", "valid")


def run(
    root: Path, requests: list[Request], *, jobs: int = 2, cluster: str | None = None, fresh: bool = False
) -> Iterator[Outcome]:
    """Answer the requests: by a valid result where there is one, else by executing; as they finish.

    Each result is stored when it is there, so that an interrupted run takes up where it was. What several
    runs want at the same time, one of them executes and the others wait for.
    jobs: notebooks at a time.  cluster: address of a Dask scheduler, "tcp://…", which then does the work.
    fresh: execute whatever there is.
    Progress is shown on a terminal, with the time left as far as earlier runs tell it. When interrupted, the
    kernels are too, and what they have shown is kept as a failure.
    Raises ValueError for jobs below 1, OSError where the cluster is not reachable.
    """
    if jobs < 1:
        raise ValueError(f"jobs must be 1 or more, got {jobs}")
    locks.clear(root)
    pending = []
    for request in dict.fromkeys(requests):
        try:
            found = None if fresh else results.find(root, request)
        except OSError as error:  # no room to write today's text into a valid result
            yield Outcome(request, "failed", None, reason=_told(error))
            continue
        if found:
            yield Outcome(request, "valid", found)
        else:
            pending.append(request)
    if pending:
        with _pool(jobs, cluster) as pool:
            yield from _Run(root, pending, pool, fresh).outcomes()


class _Pool(NamedTuple):
    """What runs the tasks.  slots(): how many it takes now.  stop(): end what it is at."""

    executor: Executor
    slots: Callable[[], int]
    stop: Callable[[], None]


@contextlib.contextmanager
def _pool(jobs: int, cluster: str | None) -> Iterator[_Pool]:
    """Threads that each wait for a kernel, or a Dask cluster."""
    if cluster:
        from distributed import Client

        with Client(cluster, timeout="20s", set_as_default=False) as client:
            # A worker that goes away takes nothing with it: its notebooks are sent to another.
            executor = client.get_executor(pure=False, retries=2)

            def stop():  # what waits is cancelled; a worker finishes the notebook it is at, for nobody
                if client.status == "running":
                    executor.shutdown(wait=False)

            try:
                yield _Pool(executor, lambda: _cluster_slots(client), stop)
            finally:
                stop()
        return
    executor = ThreadPoolExecutor(jobs, thread_name_prefix="labkit-run")
    yield _Pool(executor, lambda: jobs, lambda: _stop(executor))
    executor.shutdown()


def _cluster_slots(client) -> int:
    """Twice as many as there are threads, so that none of them waits for the next notebook."""
    if client.status == "closed":
        raise ConnectionError("the cluster went away")
    if client.status != "running":  # it is trying to reach the scheduler again
        return 0
    return 2 * max(1, sum(client.nthreads().values()))


def _stop(executor: ThreadPoolExecutor) -> None:
    """End an interrupted run: cancel what waits, interrupt the cells, then kill what kernels are left."""
    from labkit.runner.kernel import stop_kernels

    # An event and not Thread.join, which an interruption makes believe that the thread has ended.
    stopped = threading.Event()

    def shutdown():
        executor.shutdown(cancel_futures=True)
        stopped.set()

    threading.Thread(target=shutdown).start()
    until = time.monotonic() + _GRACE
    if os.name == "posix":
        stop_kernels(signal.SIGINT)
    while not stopped.is_set():
        try:
            if time.monotonic() > until or os.name != "posix":
                stop_kernels()
            stopped.wait(0.1)
        except KeyboardInterrupt:  # who asks a second time does not want to wait
            until = 0


class _Run:
    """The requests without a result, on their way: waiting, running under a lock, or done."""

    def __init__(self, root: Path, pending: list[Request], pool: _Pool, fresh: bool):
        self.root, self.pool, self.fresh = root, pool, fresh
        self.waiting = pending
        self.running: dict[Future, tuple[Request, FileLock]] = {}
        self.told = False

    def outcomes(self) -> Iterator[Outcome]:
        """The outcomes as they come. However this ends, no kernel goes on and no lock is held."""
        try:
            yield from self._with_progress()
        except BaseException:
            self.pool.stop()
            for future, (request, _) in self.running.items():
                if future.done() and not future.cancelled():
                    _outcome(self.root, request, future)
            raise
        finally:
            for _, lock in self.running.values():
                lock.release()

    def _with_progress(self) -> Iterator[Outcome]:
        from tqdm import tqdm

        total = len(self.waiting)
        expected = _expected_seconds(self.root, self.waiting) / min(self.pool.slots(), total)
        started = time.monotonic()
        layout = "{desc} {n_fmt}/{total_fmt} |{bar:20}| {elapsed}{postfix}"
        # disable=None: no bar where the output is no terminal
        with tqdm(total=total, desc="notebooks", disable=None, bar_format=layout, leave=False) as bar:
            while self.waiting or self.running:
                for outcome in itertools.chain(self._start(), self._finished()):
                    bar.update()
                    yield outcome
                left = expected - (time.monotonic() - started)
                told = f"about {tqdm.format_interval(left)} left" if left > 0 else "longer than expected"
                bar.set_postfix_str(told)

    def _start(self) -> Iterator[Outcome]:
        """Start as many as there is room for, and give the outcomes that need no execution any more."""
        try:
            room = self.pool.slots() - len(self.running) if self.waiting else 0
        except OSError as error:
            failed, self.waiting = self.waiting, []
            yield from (Outcome(request, "failed", None, reason=str(error)) for request in failed)
            return
        for request in list(self.waiting) if room > 0 else ():
            lock = outcome = None
            try:
                lock = locks.hold(self.root, results.result_file(self.root, request))
                if lock is None:  # another run is at it
                    continue
                found = None if self.fresh else results.find(self.root, request)
                if found:  # another run was
                    outcome = Outcome(request, "valid", found)
                else:
                    future = self.pool.executor.submit(execute, task(self.root, request))
                    self.running[future] = request, lock
                    room -= 1
            except Exception as error:  # a full disk, a notebook that is gone, a cluster that went away
                outcome = Outcome(request, "failed", None, reason=_told(error))
            self.waiting.remove(request)
            if outcome:
                if lock:
                    lock.release()
                yield outcome
            if room == 0:
                return
        if self.waiting and not self.running:
            if room > 0:
                self._tell()
            time.sleep(0.2)

    def _tell(self) -> None:
        if not self.told:
            names = ", ".join(map(str, self.waiting[:3])) + (" and others" if len(self.waiting) > 3 else "")
            _log.warning("another run is at %s; waiting for it", names)
        self.told = True

    def _finished(self) -> Iterator[Outcome]:
        """The outcomes of what has finished within a second."""
        done, _ = wait(self.running, timeout=1, return_when=FIRST_COMPLETED) if self.running else ((), ())
        for future in done:
            outcome = _outcome(self.root, self.running[future][0], future)
            self.running.pop(future)[1].release()
            yield outcome


def _outcome(root: Path, request: Request, future: Future) -> Outcome:
    """Store what an execution returned, and check that it holds here and now."""
    try:
        result = future.result()
        path = results.store(root, request, result)
    except Exception as error:  # a worker or a disk that fails is this notebook's failure, the others go on
        return Outcome(request, "failed", None, reason=_told(error))
    record = result["metadata"]["labkit"]
    if record["status"] == "failed":
        return Outcome(request, "failed", path, record["seconds"], record["error"])
    validity = results.valid(path, root)
    return Outcome(request, "ok" if validity.ok else "changed", path, record["seconds"], validity.reason)


def _told(error: Exception) -> str:
    """An error in words. A result that has no room is lost, so the reason says where room is needed."""
    if isinstance(error, OSError) and error.errno in _FULL and error.filename:
        return f"{error.strerror}, so the result could not be kept: {error.filename}"
    if isinstance(error, CancelledError):
        return "the cluster went away"
    return f"{type(error).__name__}: {error}"


def commit(root: Path, outcome: Outcome) -> bool:
    """Write a valid result's outputs into ``notebooks/``; False where they are there already.

    Raises ValueError for a result that may not be committed: one that failed, or that has parameters other
    than the defaults (the notebook would show values that its outputs don't have).
    """
    request, target = outcome.request, notebooks.path(root, outcome.request.name)
    if not outcome.ok:
        raise ValueError(f"{request}: not committed, it {outcome.word}: {outcome.reason}")
    if set(request.given) - {"profile"}:
        raise ValueError(f"{request}: not committed, its parameters are not the notebook's defaults")
    if outcome.path == target:
        return False
    results.refreshed(root, request.name, outcome.path)
    notebooks.write(target, notebooks.read(outcome.path))
    validity = results.valid(target, root)
    if not validity.ok:
        raise ValueError(f"{request}: committed, but not valid: {validity.reason}")
    return True


def _expected_seconds(root: Path, pending: list[Request]) -> float:
    """Seconds of all requests one after another: each as last time, unknown ones as the average."""
    known = [results.last_seconds(root, request) for request in pending]
    before = [seconds for seconds in known if seconds]
    usual = statistics.mean(before) if before else _UNKNOWN_SECONDS
    return sum(seconds or usual for seconds in known)
