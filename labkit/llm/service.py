"""``endpoint``: any service that speaks the OpenAI protocol, hosted or on this machine."""

import os
import threading
from collections import Counter
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any, NamedTuple
from urllib.parse import urlsplit

from labkit.data.build import check_count, real
from labkit.llm import retrying
from labkit.llm.cache import Cache, Kept, key
from labkit.llm.completion import Completion, check_request

__all__ = ["Endpoint", "EndpointError", "Failure", "Usage", "endpoint"]


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


class Endpoint:
    """See :func:`endpoint`.  usage: since the object was made.  last: of the last ``complete``."""

    def __init__(
        self, client, key_text, model, *, host, cache, concurrency, attempts, waits, system, body, rename
    ):
        self.name = model
        self.usage, self.last = Usage(), Usage()
        self._client, self._secret, self._host = client, key_text, host
        self._cache = None if cache is None else Cache(cache)
        self._concurrency, self._attempts, self._waits = concurrency, attempts, waits
        self._system, self._body, self._rename = system, body, rename

    def __repr__(self) -> str:
        return f"endpoint({self.name!r} at {self._host})"

    def kept(self) -> Kept:
        """What the cache holds, by whomever it was paid: completions and tokens. Zeros without a cache."""
        return Kept(0, 0, 0) if self._cache is None else self._cache.kept()

    def complete(
        self,
        prompts: Sequence[str],
        *,
        max_tokens: int = 128,
        temperature: float = 0.0,
        stop: Sequence[str] = (),
        seed: int = 0,
    ) -> list[Completion]:
        """One completion per prompt, in their order. Raises EndpointError where some failed for good."""
        prompts, stop = check_request(prompts, max_tokens, temperature, stop, seed)
        asked = {"max_tokens": max_tokens, "temperature": temperature, "stop": list(stop), "seed": seed}
        run = _Run(self, asked | self._body)
        places: dict[str, list[int]] = {}
        for place, prompt in enumerate(prompts):
            places.setdefault(prompt, []).append(place)
        try:
            found = run.all(list(places))
        finally:
            run.usage.cache_hits += len(prompts) - len(places)
            self.last = run.usage
            self.usage.add(run.usage)
        completions: list[Completion | None] = [None] * len(prompts)
        failures = []
        for prompt, result in found.items():
            first, *others = places[prompt]
            if isinstance(result, Completion):
                completions[first] = result
                for place in others:
                    completions[place] = result._replace(cached=True)
            else:
                failures += [Failure(place, *result) for place in places[prompt]]
        if failures:
            done = sum(each is not None for each in completions)
            kept = f"{done} arrived" if self._cache is None else f"{done} arrived and are kept"
            raise EndpointError(sorted(failures), completions, kept)
        return completions


class _Run:
    """One call of ``complete``: its threads, its usage."""

    def __init__(self, owner: Endpoint, parameters: dict[str, Any]):
        self.owner, self.parameters, self.usage = owner, parameters, Usage()
        self._pace, self._lock, self._in_a_row = retrying.Pace(), threading.Lock(), 0
        self._ended = ""  # why nobody asks any more

    def all(self, prompts: list[str]) -> dict[str, Completion | tuple[str, int]]:
        pool = ThreadPoolExecutor(self.owner._concurrency, thread_name_prefix="llm")
        try:
            return dict(zip(prompts, pool.map(self._one, prompts), strict=True))
        finally:  # also after Ctrl-C: nobody starts anew, what is under way ends and is kept
            self._pace.stop()
            pool.shutdown(cancel_futures=True)

    def _one(self, prompt: str) -> Completion | tuple[str, int]:
        owner = self.owner
        messages = [{"role": "system", "content": owner._system}] if owner._system else []
        messages.append({"role": "user", "content": prompt})
        cache, name = owner._cache, key(owner.name, messages, self.parameters)
        if cache is None:
            return self._ask(messages)
        if (done := cache.get(name)) is None:
            with cache.alone(name):
                if (done := cache.get(name)) is None:  # someone else may have paid meanwhile
                    done = self._ask(messages)
                    if isinstance(done, Completion):
                        asked = {"model": owner.name, "messages": messages, "parameters": self.parameters}
                        cache.put(name, done, **asked)
                    return done
        self._count(cache_hits=1)
        return done

    def _ask(self, messages: list[dict]) -> Completion | tuple[str, int]:
        """The completion, or why there is none and after how many requests."""
        first, longest = self.owner._waits
        for tried in range(1, self.owner._attempts + 1):
            if self._ended or not self._pace.ready():
                return self._ended or "interrupted", tried - 1
            self._count(requests=1, retries=int(tried > 1))
            try:
                done = retrying.read_reply(self._send(messages))
            except Exception as error:
                fault = retrying.classify(error)
            else:
                told = {"tokens_in": max(0, done.tokens_in), "tokens_out": max(0, done.tokens_out)}
                self._count(**told)
                self._in_a_row = 0
                return done
            self._count(faults=Counter({fault.kind: 1}))
            reason = self._without_key(f"{fault.kind}: {fault.message}")
            if fault.hopeless:
                self._ended = f"not asked, since all would fail: {reason}"
            if fault.wait is not None and fault.wait > longest:
                fault = fault._replace(again=False)
                reason += f" (asks to wait {fault.wait:.0f} s, longer than longest_wait)"
            if not fault.again:
                return reason, tried
            if tried < self.owner._attempts:
                if fault.wait:
                    self._pace.hold(fault.wait)
                draw = self._pace.draw()
                self._pace.sleep(retrying.delay(tried, fault.wait, first=first, longest=longest, draw=draw))
        with self._lock:
            self._in_a_row += 1
            if self._in_a_row >= max(self.owner._concurrency, 3):
                self._ended = f"not asked, after {self._in_a_row} failures in a row: {reason}"
        return reason, self.owner._attempts

    def _send(self, messages: list[dict]) -> str:
        sent = {"model": self.owner.name, "messages": messages}
        for name, value in self.parameters.items():
            sent_as = self.owner._rename.get(name, name)
            if sent_as is not None and value != []:
                sent[sent_as] = value
        # The body is read as it came: a client's own model would let a reply without choices pass.
        create = self.owner._client.chat.completions.with_raw_response.create
        own = {"model", "messages", "max_tokens", "max_completion_tokens", "temperature", "stop", "seed"}
        known = {k: v for k, v in sent.items() if k in own}
        return create(**known, extra_body={k: v for k, v in sent.items() if k not in own}).text

    def _count(self, *, faults=None, **numbers: int) -> None:
        with self._lock:
            self.usage.add(Usage(faults=faults or Counter(), **numbers))

    def _without_key(self, text: str) -> str:
        return text.replace(self.owner._secret, "<key>") if self.owner._secret else text


def endpoint(
    model: str,
    *,
    base_url: str | None = None,
    key_env: str | None = "OPENAI_API_KEY",
    cache: str | os.PathLike | None = ".labkit/completions",
    concurrency: int = 8,
    timeout: float = 60.0,
    attempts: int = 6,
    first_wait: float = 1.0,
    longest_wait: float = 120.0,
    system: str | None = None,
    body: Mapping[str, Any] | None = None,
    rename: Mapping[str, str | None] | None = None,
) -> Endpoint:
    """A model behind the OpenAI protocol, as a role. Needs the extra ``endpoint`` (the client ``openai``).

    model: its name there.  base_url: of the service; None takes ``OPENAI_BASE_URL``, or the client's own.
    key_env: the environment variable with the key; None for a service that wants none. The key is kept
    in no file, log, error or representation.
    cache: the folder for completions, None for none. A completion is kept the moment it arrives, under
    the hash of model, messages and parameters (seed included); several threads or processes that want
    the same one pay once.
    concurrency: requests at a time.  timeout: seconds for one.  attempts: requests for one prompt at most.
    first_wait, longest_wait: seconds of the backoff, which doubles and is spread at random; a
    ``Retry-After`` is honoured, up to longest_wait.
    Tried again: 408, 409, 429, 500 and up, time-outs, lost connections, replies that are no completion.
    Other prompts go on when one fails; after 401, 403 or 404, or as many failures in a row as there are
    threads (and at least 3), no more are asked.
    system: a system message.  body: further parameters, part of the hash, such as ``{"top_p": 0.9}`` or
    ``{"logprobs": True}``.  rename: parameters that the service calls otherwise, or None for those it
    does not take: ``{"max_tokens": "max_completion_tokens", "seed": None}``.

    Raises ModuleNotFoundError without the client; ValueError for a missing key or numbers out of range.

    >>> llm = endpoint("some-model", base_url="http://127.0.0.1:8000/v1", key_env=None)  # doctest: +SKIP
    >>> llm.complete(["Say hello."])[0].text  # doctest: +SKIP
    'Hello.'
    """
    if not isinstance(model, str) or not model:
        raise ValueError(f"model must be a name, got {model!r}")
    check_count("concurrency", concurrency, high=256)
    check_count("attempts", attempts)
    real("timeout", timeout, 1e-3, 86_400)
    real("first_wait", first_wait, 0, 3600)
    real("longest_wait", longest_wait, first_wait, 86_400)
    secret = None if key_env is None else os.environ.get(key_env)
    if key_env is not None and not secret:
        raise ValueError(
            f"key_env: the environment variable {key_env} is not set; "
            "for a service that wants no key write key_env=None"
        )
    try:
        import openai
    except ModuleNotFoundError:
        raise ModuleNotFoundError(
            "endpoint needs the client 'openai': install labkit's extra 'endpoint'", name="openai"
        ) from None

    # One try each: this module counts them.
    client = openai.OpenAI(api_key=secret or "none", base_url=base_url, timeout=timeout, max_retries=0)
    return Endpoint(
        client,
        secret,
        model,
        host=urlsplit(str(client.base_url)).hostname,
        cache=cache,
        concurrency=concurrency,
        attempts=attempts,
        waits=(first_wait, longest_wait),
        system=system,
        body=dict(body or {}),
        rename=dict(rename or {}),
    )
