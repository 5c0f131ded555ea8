"""Many requests at once: here, one kernel process per notebook, or on a Dask cluster."""

import contextlib
import statistics
import threading
import time
from collections.abc import Iterator
from concurrent.futures import FIRST_COMPLETED, Executor, Future, ThreadPoolExecutor, wait
from pathlib import Path
from typing import NamedTuple

from labkit.runner import notebooks, results
from labkit.runner.execute import execute, task
from labkit.runner.requests import Request

__all__ = ["Outcome", "run"]

_UNKNOWN_SECONDS = 30.0  # what a notebook is expected to take before anything is known about any


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

    Each result is stored when it is there, so that an interrupted run takes up where it was.
    jobs: notebooks at a time.  cluster: address of a Dask scheduler, "tcp://…", which then does the work.
    fresh: execute whatever there is.
    Progress is shown on a terminal, with the time left as far as earlier runs tell it.
    Raises ValueError for jobs below 1, OSError where the cluster is not reachable.
    """
    if jobs < 1:
        raise ValueError(f"jobs must be 1 or more, got {jobs}")
    pending = []
    for request in dict.fromkeys(requests):
        found = None if fresh else results.find(root, request)
        if found:
            yield Outcome(request, "valid", found)
        else:
            pending.append(request)
    if pending:
        with _executor(jobs, cluster) as (executor, slots):
            yield from _execute_all(root, pending, executor, slots)


@contextlib.contextmanager
def _executor(jobs: int, cluster: str | None) -> Iterator[tuple[Executor, int]]:
    """What runs the tasks, and how many at a time: threads that each wait for a kernel, or a Dask cluster."""
    if cluster:
        from distributed import Client

        with Client(cluster, timeout="20s", set_as_default=False) as client:
            # A worker that goes away takes nothing with it: its notebooks are sent to another.
            executor = client.get_executor(pure=False, retries=2)
            try:
                yield executor, sum(client.nthreads().values()) or 1
            finally:
                executor.shutdown(wait=False)  # what still runs was interrupted
        return
    executor = ThreadPoolExecutor(jobs, thread_name_prefix="labkit-run")
    try:
        yield executor, jobs
    except BaseException:
        _stop(executor)
        raise
    executor.shutdown()


def _stop(executor: ThreadPoolExecutor) -> None:
    """End an interrupted run: cancel what waits, kill the kernels until no thread has one any more."""
    from labkit.runner.kernel import kill_kernels

    stopping = threading.Thread(target=executor.shutdown, kwargs={"cancel_futures": True})
    stopping.start()
    while stopping.is_alive():
        kill_kernels()
        stopping.join(0.2)


def _execute_all(root: Path, pending: list[Request], executor: Executor, slots: int) -> Iterator[Outcome]:
    from tqdm import tqdm

    expected = _expected_seconds(root, pending) / min(slots, len(pending))
    started = time.monotonic()
    running = {executor.submit(execute, task(root, request)): request for request in pending}
    layout = "{desc} {n_fmt}/{total_fmt} |{bar:20}| {elapsed}{postfix}"
    # disable=None: no bar where the output is no terminal
    with tqdm(total=len(pending), desc="notebooks", disable=None, bar_format=layout, leave=False) as bar:
        while running:
            left = expected - (time.monotonic() - started)
            told = f"about {tqdm.format_interval(left)} left" if left > 0 else "longer than expected"
            bar.set_postfix_str(told)
            done, _ = wait(running, timeout=1, return_when=FIRST_COMPLETED)
            for future in done:
                bar.update()
                yield _outcome(root, running.pop(future), future)


def _outcome(root: Path, request: Request, future: Future) -> Outcome:
    """Store what an execution returned, and check that it holds here and now."""
    try:
        result = future.result()
        path = results.store(root, request, result)
    except Exception as error:  # a worker or a disk that fails is this notebook's failure, the others go on
        return Outcome(request, "failed", None, reason=f"{type(error).__name__}: {error}")
    record = result["metadata"]["labkit"]
    if record["status"] == "failed":
        return Outcome(request, "failed", path, record["seconds"], record["error"])
    validity = results.valid(path, root)
    return Outcome(request, "ok" if validity.ok else "changed", path, record["seconds"], validity.reason)


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
