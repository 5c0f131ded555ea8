"""Completions kept on disk: each in a file of its own, written whole as soon as it is paid for."""

import hashlib
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from labkit.llm.completion import Completion

__all__ = ["Cache", "Kept", "key"]


class Kept(NamedTuple):
    """What a cache holds: completions, and the tokens that were paid for them."""

    completions: int
    tokens_in: int
    tokens_out: int


def key(model: str, messages: list[dict], parameters: dict) -> str:
    """The hash that a completion is kept under: 64 hex digits. No key or address is part of it.

    >>> key("m", [], {"seed": 0, "stop": []}) == key("m", [], {"stop": [], "seed": 0})
    True
    """
    asked = {"model": model, "messages": messages, "parameters": parameters}
    return hashlib.sha256(json.dumps(asked, sort_keys=True, ensure_ascii=False).encode()).hexdigest()


class Cache:
    """A folder of completions, safe for many threads and processes at once.

    folder: made when the first completion is put there.  A process that is killed leaves whole files or
    none; a file that is not whole all the same (a disk that failed, an edit) counts as absent.
    """

    def __init__(self, folder):
        self.folder = Path(folder)

    def get(self, name: str) -> Completion | None:
        """The completion of a key, with ``cached`` set, or None."""
        try:
            kept = json.loads(self._file(name).read_text(encoding="utf-8"))
            found = _completion(kept["completion"])
            whole = kept["key"] == name == key(kept["model"], kept["messages"], kept["parameters"])
        except (FileNotFoundError, ValueError, KeyError, TypeError):
            return None
        return found if whole else None

    def put(self, name: str, completion: Completion, *, model: str, messages: list, parameters: dict) -> None:
        """Keep a completion, with all that was asked, so that a file can be read by itself."""
        fields = {k: v for k, v in completion._asdict().items() if k != "cached"}
        content = {"key": name, "model": model, "messages": messages, "parameters": parameters}
        file = self._file(name)
        file.parent.mkdir(parents=True, exist_ok=True)
        part = file.with_suffix(f".{os.getpid()}.part")
        text = json.dumps(content | {"completion": fields}, ensure_ascii=False, indent=1)
        part.write_text(text, encoding="utf-8")
        os.replace(part, file)  # at once or not at all

    @contextmanager
    def alone(self, name: str) -> Iterator[None]:
        """Hold a key: another thread or process that wants it waits. Free again if this process dies."""
        from filelock import FileLock

        locks = self.folder / "locks"
        locks.mkdir(parents=True, exist_ok=True)
        # One lock serves several keys, so that the folder stays small; nobody holds two, so no ring can wait.
        with FileLock(locks / name[:3], poll_interval=0.02):
            yield

    def kept(self) -> Kept:
        """How much was ever paid for: read from the files."""
        found = [done for file in self.folder.glob("??/*.json") if (done := self.get(file.stem)) is not None]
        return Kept(len(found), *(sum(max(0, count) for count in kind) for kind in _tokens(found)))

    def _file(self, name: str) -> Path:
        return self.folder / name[:2] / f"{name}.json"


def _tokens(found: list[Completion]) -> tuple[list[int], list[int]]:
    return [c.tokens_in for c in found], [c.tokens_out for c in found]


def _completion(fields: dict) -> Completion:
    found = Completion(**fields, cached=True)
    if not isinstance(found.text, str) or not all(isinstance(n, int) for n in found[1:3]):
        raise TypeError("not a completion")
    return found._replace(logprobs=None if found.logprobs is None else tuple(found.logprobs))
