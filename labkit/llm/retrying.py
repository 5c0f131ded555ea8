"""One request until it succeeds: which faults are tried again, how long to wait, and how a reply is read."""

import json
import random
import threading
import time
from email.utils import parsedate_to_datetime
from typing import NamedTuple

from labkit.llm.completion import Completion

__all__ = ["Fault", "Malformed", "Pace", "classify", "delay", "read_reply", "retry_after"]

AGAIN = (408, 409, 429)  # and every status from 500 up
HOPELESS = (401, 403, 404)  # no key, no right, no such model: every other prompt would meet the same


class Malformed(Exception):
    """A reply with status 200 that is no completion."""


class Fault(NamedTuple):
    """kind: "timeout", "connection", "malformed" or the status.  again: whether another try makes sense.

    hopeless: whether every other prompt would fail as well.  wait: seconds that the server asks for.
    """

    kind: str
    message: str
    again: bool
    hopeless: bool = False
    wait: float | None = None


def classify(error: Exception, openai) -> Fault:
    """What an error of the client means. Other exceptions are raised again: they are bugs.

    openai: the client's module, with its exceptions.
    """
    message = " ".join(str(error).split())[:300]
    if isinstance(error, Malformed):
        return Fault("malformed", message, True)
    if isinstance(error, openai.APITimeoutError):
        return Fault("timeout", "no reply in time", True)
    if isinstance(error, openai.APIStatusError):
        status = error.status_code
        again = status in AGAIN or status >= 500
        return Fault(str(status), message, again, status in HOPELESS, retry_after(error.response.headers))
    if isinstance(error, openai.APIConnectionError):
        cause = f"{message} ({type(error.__cause__).__name__})" if error.__cause__ else message
        return Fault("connection", cause, True)
    raise error


def retry_after(headers) -> float | None:
    """The seconds that a server asks to wait, from ``retry-after-ms`` or ``retry-after``, or None.

    >>> retry_after({"retry-after": "2"}), retry_after({"retry-after-ms": "250"}), retry_after({})
    (2.0, 0.25, None)
    """
    for name, unit in (("retry-after-ms", 1000), ("retry-after", 1)):
        given = headers.get(name)
        if given is None:
            continue
        try:
            return max(0.0, float(given) / unit)
        except ValueError:
            pass
        try:  # a date
            return max(0.0, parsedate_to_datetime(given).timestamp() - time.time())
        except ValueError:
            pass
    return None


def delay(tried: int, asked: float | None, *, first: float, longest: float, draw: float) -> float:
    """Seconds before the next try: doubles from ``first`` up to ``longest``, at random between half and all.

    tried: tries so far, from 1.  asked: what the server asks for, which is never undercut.
    draw: uniform in [0, 1), so that clients which failed together do not come back together.

    >>> [delay(n, None, first=1, longest=5, draw=0.5) for n in (1, 2, 3, 4)]
    [0.75, 1.5, 3.0, 3.75]
    >>> delay(1, 7, first=1, longest=5, draw=0.5)
    7.75
    """
    backoff = min(longest, first * 2 ** (tried - 1)) * (1 + draw) / 2
    return backoff if asked is None else asked + backoff


class Pace:
    """Waiting that all threads share: where the server asks one of them to wait, the others wait as well."""

    def __init__(self):
        self._stopped, self._lock, self._resume = threading.Event(), threading.Lock(), 0.0
        self._draws = random.Random()  # only spreads waiting times; no result depends on it

    def draw(self) -> float:
        return self._draws.random()

    def hold(self, seconds: float) -> None:
        """From now on nobody asks for so many seconds."""
        with self._lock:
            self._resume = max(self._resume, time.monotonic() + seconds)

    def sleep(self, seconds: float) -> bool:
        """Wait; False as soon as everything stops."""
        return not self._stopped.wait(seconds)

    def ready(self) -> bool:
        """Wait until nobody is asked to wait; False where everything stops."""
        while (left := self._resume - time.monotonic()) > 0:
            if not self.sleep(left):
                return False
        return not self._stopped.is_set()

    def stop(self) -> None:
        self._stopped.set()


def read_reply(body: str) -> Completion:
    """The completion in a reply's body, checked field by field; tokens are -1 where it doesn't tell them.

    Raises Malformed, which says what is wrong.
    """
    try:
        reply = json.loads(body)
    except ValueError as error:
        raise Malformed(f"no JSON: {error}") from None
    choices = reply.get("choices") if isinstance(reply, dict) else None
    if not isinstance(choices, list) or not choices or not isinstance(choices[0], dict):
        raise Malformed("no choices")
    choice = choices[0]
    message = choice.get("message")
    text = message.get("content") if isinstance(message, dict) else None
    if not isinstance(text, str):
        raise Malformed("no text in the first choice")
    usage = reply.get("usage") if isinstance(reply.get("usage"), dict) else {}
    counts = [usage.get(f"{kind}_tokens") for kind in ("prompt", "completion")]
    counts = [count if isinstance(count, int) else -1 for count in counts]
    finish = "length" if choice.get("finish_reason") == "length" else "stop"
    return Completion(text.strip(), *counts, finish, _logprobs(choice))


def _logprobs(choice: dict) -> tuple[float, ...] | None:
    told = choice.get("logprobs")
    content = told.get("content") if isinstance(told, dict) else None
    if not content:
        return None
    try:
        return tuple(float(token["logprob"]) for token in content)
    except (KeyError, TypeError, ValueError):
        raise Malformed("log-probabilities that are none") from None
