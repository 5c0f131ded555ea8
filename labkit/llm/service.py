"""``endpoint``: any service that speaks the OpenAI protocol, hosted or on this machine."""

import os
import threading
from collections import Counter
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, NamedTuple
from urllib.parse import urlsplit

from labkit.data.build import check_count, real
from labkit.llm import retrying
from labkit.llm.cache import Cache, Kept, key
from labkit.llm.completion import Completion, check_request
from labkit.llm.usage import EndpointError, Failure, Usage

__all__ = ["Endpoint", "EndpointError", "Failure", "Usage", "endpoint"]


class Settings(NamedTuple):
    """The arguments of ``endpoint``, checked.  errors: the client's module.  secret: the key or None."""

    model: str
    secret: str | None
    errors: Any
    concurrency: int
    attempts: int
    first_wait: float
    longest_wait: float
    system: str | None
    body: dict[str, Any]
    rename: dict[str, str | None]

    def __repr__(self) -> str:
        return f"Settings({self.model!r})"  # without the key


class Endpoint:
    """See :func:`labkit.llm.endpoint`.  usage: since the object was made.  last: of the last ``complete``."""

    def __init__(self, client, settings: Settings, cache: Cache | None):
        self.name = settings.model
        self.usage, self.last = Usage(), Usage()
        self._client, self._settings, self._cache = client, settings, cache

    def __repr__(self) -> str:
        return f"endpoint({self.name!r} at {urlsplit(str(self._client.base_url)).hostname})"

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
        run = _Run(self, asked | self._settings.body)
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
        self.client, self.settings, self.cache = owner._client, owner._settings, owner._cache
        self.parameters, self.usage, self.pace = parameters, Usage(), retrying.Pace()
        self.lock, self.failed_in_a_row = threading.Lock(), 0
        self.ended = ""  # why nobody asks any more

    def all(self, prompts: list[str]) -> dict[str, Completion | tuple[str, int]]:
        """For each prompt its completion, or why there is none and after how many requests."""
        pool = ThreadPoolExecutor(self.settings.concurrency, thread_name_prefix="llm")
        try:
            return dict(zip(prompts, pool.map(self.one, prompts), strict=True))
        finally:  # also after Ctrl-C: nobody starts anew, what is under way ends and is kept
            self.pace.stop()
            pool.shutdown(cancel_futures=True)

    def one(self, prompt: str) -> Completion | tuple[str, int]:
        system = self.settings.system
        messages = [{"role": "system", "content": system}] if system else []
        messages.append({"role": "user", "content": prompt})
        if self.cache is None:
            return self.ask(messages)
        asked = {"model": self.settings.model, "messages": messages, "parameters": self.parameters}
        name = key(**asked)
        done = self.cache.get(name)
        if done is None:
            with self.cache.alone(name):
                done = self.cache.get(name)  # someone else may have paid meanwhile
                if done is None:
                    done = self.ask(messages)
                    if isinstance(done, Completion):
                        self.cache.put(name, done, **asked)
                    return done
        self.count(cache_hits=1)
        return done

    def ask(self, messages: list[dict]) -> Completion | tuple[str, int]:
        """One prompt, tried until a completion arrives or there is no sense in going on."""
        first, longest, attempts = (
            self.settings.first_wait,
            self.settings.longest_wait,
            self.settings.attempts,
        )
        for tried in range(1, attempts + 1):
            if self.ended or not self.pace.ready():
                return self.ended or "interrupted", tried - 1
            self.count(requests=1, retries=int(tried > 1))
            try:
                done = retrying.read_reply(self.send(messages))
            except Exception as error:
                fault = retrying.classify(error, self.settings.errors)
            else:
                self.count(tokens_in=max(0, done.tokens_in), tokens_out=max(0, done.tokens_out))
                self.failed_in_a_row = 0
                return done
            self.count(faults=Counter({fault.kind: 1}))
            reason = self.without_key(f"{fault.kind}: {fault.message}")
            if fault.hopeless:
                self.ended = f"not asked, since all would fail: {reason}"
            if (fault.wait or 0) > longest:
                return f"{reason} (asks to wait {fault.wait:.0f} s, longer than longest_wait)", tried
            if not fault.again:
                return reason, tried
            if tried < attempts:
                self.pace.hold(fault.wait or 0)
                draw = self.pace.draw()
                self.pace.sleep(retrying.delay(tried, fault.wait, first=first, longest=longest, draw=draw))
        with self.lock:
            self.failed_in_a_row += 1
            if self.failed_in_a_row >= max(self.settings.concurrency, 3):
                self.ended = f"not asked, after {self.failed_in_a_row} failures in a row: {reason}"
        return reason, attempts

    def send(self, messages: list[dict]) -> str:
        named = {self.settings.rename.get(name, name): value for name, value in self.parameters.items()}
        body = {name: value for name, value in named.items() if name is not None and value != []}
        # The reply is read as it came: the client's own reading lets one without choices pass.
        create = self.client.chat.completions.with_raw_response.create
        return create(model=self.settings.model, messages=messages, extra_body=body).text

    def count(self, *, faults=None, **numbers: int) -> None:
        with self.lock:
            self.usage.add(Usage(faults=faults or Counter(), **numbers))

    def without_key(self, text: str) -> str:
        return text.replace(self.settings.secret, "<key>") if self.settings.secret else text


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
    limits = concurrency, attempts, first_wait, longest_wait
    settings = Settings(model, secret, openai, *limits, system, dict(body or {}), dict(rename or {}))
    return Endpoint(client, settings, None if cache is None else Cache(cache))
