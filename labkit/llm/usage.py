"""What an endpoint sent and paid, and how it tells which prompts have no completion."""

from collections import Counter
from dataclasses import dataclass, field
from typing import NamedTuple

from labkit.llm.completion import Completion

__all__ = ["EndpointError", "Failure", "Usage"]


@dataclass
class Usage:
    """What was sent and paid. tokens_in, tokens_out: of the replies that arrived whole.

    requests: sent, retries among them.  cache_hits: prompts that cost nothing (kept, or a repetition in
    one list).  faults: how often which fault came back ("429", "500", "timeout", "connection",
    "malformed"), tried again or not.
    """

    requests: int = 0
    retries: int = 0
    cache_hits: int = 0
    tokens_in: int = 0
    tokens_out: int = 0
    faults: Counter = field(default_factory=Counter)

    def add(self, other: "Usage") -> None:
        for name in ("requests", "retries", "cache_hits", "tokens_in", "tokens_out"):
            setattr(self, name, getattr(self, name) + getattr(other, name))
        self.faults.update(other.faults)


class Failure(NamedTuple):
    """A prompt without completion: its position in the list, what went wrong, and after how many requests."""

    position: int
    reason: str
    requests: int


class EndpointError(RuntimeError):
    """Some prompts have no completion.

    failures: which, and why.  completions: one per prompt, None for those. What did arrive is also in
    the cache: asking again pays for the rest alone.
    """

    def __init__(self, failures: list[Failure], completions: list[Completion | None], kept: str):
        self.failures, self.completions = failures, completions
        shown = [f"prompt {f.position}: {f.reason} ({f.requests} requests)" for f in failures[:5]]
        more = [f"and {len(failures) - 5} more"] if len(failures) > 5 else []
        head = f"{len(failures)} of {len(completions)} prompts failed; {kept}"
        super().__init__("\n  ".join([head, *shown, *more]))
