"""What runs share: who is at which result, and what a run that was killed has left behind.

Locks are the operating system's (``flock``, through the library filelock), so that a run that is killed
holds none, and no lock is ever stale.
"""

import contextlib
import os
import secrets
import shutil
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from filelock import FileLock, Timeout

__all__ = ["clear", "hold", "scratch"]

_PREFIX = "labkit-run-"
_OLD = 3600  # seconds after which a file that was being written is given up; writing takes milliseconds


def hold(root: Path, result: Path) -> FileLock | None:
    """Lock a result, to be released by the caller; None where another run is at it.

    result: its file below ``.labkit/results``.  Raises OSError where no lock can be had at all.
    """
    kept = Path(root) / ".labkit"
    file = kept / "locks" / result.relative_to(kept / "results").with_suffix(".lock")
    file.parent.mkdir(parents=True, exist_ok=True)
    return _held(file)


def _held(file: Path) -> FileLock | None:
    lock = FileLock(file, timeout=0, thread_local=False)
    try:
        return lock.acquire() and lock
    except Timeout:
        return None


@contextlib.contextmanager
def scratch() -> Iterator[Path]:
    """An empty folder for one execution, which goes with it. Its lock, beside it, says that it is in use."""
    folder = Path(tempfile.gettempdir(), f"{_PREFIX}{secrets.token_hex(4)}")
    lock_file = folder.with_suffix(".lock")
    with FileLock(lock_file, thread_local=False):
        try:
            folder.mkdir(mode=0o700)
            yield folder
        finally:
            shutil.rmtree(folder, ignore_errors=True)
            lock_file.unlink(missing_ok=True)


def clear(root: Path | None = None) -> None:
    """Take away what killed runs have left: their folders, and files that were being written.

    root: a checkout, whose results are looked at too.
    """
    for lock_file in Path(tempfile.gettempdir()).glob(f"{_PREFIX}*.lock"):
        with contextlib.suppress(OSError):  # another user's, or gone meanwhile
            _clear_scratch(lock_file)
    for file in (Path(root) / ".labkit").rglob(".*.*.*") if root else ():
        with contextlib.suppress(OSError):
            if _age(file) > _OLD:
                file.unlink()


def _clear_scratch(lock_file: Path) -> None:
    folder = lock_file.with_suffix("")
    # Who makes a folder locks first, and for an instant has neither folder nor lock.
    if not folder.is_dir() and _age(lock_file) < _OLD:
        return
    if hasattr(os, "getuid") and lock_file.lstat().st_uid != os.getuid():
        return
    lock = _held(lock_file)
    if lock is None:
        return
    with lock:
        shutil.rmtree(folder, ignore_errors=True)  # never follows a link
        if not folder.exists():
            lock_file.unlink(missing_ok=True)


def _age(file: Path) -> float:
    return time.time() - file.lstat().st_mtime
