"""A service with the OpenAI protocol on the loopback interface, with faults on request.

It really generates: behind it stands a small model of ``transformers`` (or another service, to which it
then hands on what it is asked). ``transformers serve`` would be that service alone, but it neither fails on
command nor tells log-probabilities, and its own dependencies are not among this project's; where they are
installed, ``test_serve.py`` puts this server in front of it.
"""

import contextlib
import json
import socket
import threading
import time
from collections import Counter, defaultdict
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.request import Request, urlopen

WHOLE = "whole"  # a completion that was sent to the end, to a client that was still there
CUT = "cut"  # a completion for a client that was gone
FAULTS = (
    "429", "429 with Retry-After", "500", "dropped connection", "cut in the middle", "malformed JSON",
    "no choices", "no text", "slow reply",
)  # fmt: skip


SENTENCES = ("It is small.", "It is a number.", "I like it very much.")


def trained():
    """(model, tokenizer) that have learned a few sentences, in half a second."""
    from labkit import language

    texts = [f"Say something about the number {n}. {SENTENCES[n % 3]}" for n in range(60)]
    tokenizer = language.tokenizer(texts, size=320)
    model = language.causal(tokenizer, width=16, layers=1, heads=2)
    rows = language.pack(texts, tokenizer, length=32)
    language.fit(model, rows, steps=80, batch_size=16, lr=1e-2)
    return model, tokenizer


class Small:
    """Completions of a small model; one at a time, as on a machine with one core."""

    def __init__(self, llm):
        self.llm, self.lock = llm, threading.Lock()

    def __call__(self, asked: dict) -> dict:
        parameters = {
            name: asked[name] for name in ("max_tokens", "temperature", "seed", "stop") if name in asked
        }
        prompt = "\n".join(message["content"] for message in asked["messages"])
        with self.lock:
            [done] = self.llm.complete([prompt], **parameters)
        choice = {
            "index": 0,
            "finish_reason": done.finish,
            "message": {"role": "assistant", "content": done.text},
        }
        if asked.get("logprobs") and done.logprobs is not None:
            choice["logprobs"] = {"content": [{"token": "", "logprob": each} for each in done.logprobs]}
        usage = {"prompt_tokens": done.tokens_in, "completion_tokens": done.tokens_out}
        return {"object": "chat.completion", "model": asked["model"], "choices": [choice], "usage": usage}


class Forward:
    """Completions of another service."""

    def __init__(self, url: str):
        self.url = url

    def __call__(self, asked: dict) -> dict:
        head = {"Content-Type": "application/json"}
        with urlopen(Request(f"{self.url}/chat/completions", json.dumps(asked).encode(), head)) as reply:
            return json.loads(reply.read())


class Server:
    """Use as a context manager; ``url`` is what ``base_url`` takes.

    reply: request -> the body of a completion.  faults: prompt -> the faults (see FAULTS, or any status)
    that it meets, one per request, before it is answered.  wait: the ``Retry-After``, seconds.
    slow: seconds of a slow reply.  hold_after: so many completions are sent, the others wait for ``gate``.
    outcomes: prompt -> what became of each of its requests: a fault, WHOLE or CUT.
    """

    def __init__(self, reply, *, faults=None, wait=0.05, slow=2.0, hold_after=None):
        self.reply, self.faults, self.wait, self.slow = reply, dict(faults or {}), wait, slow
        self.hold_after, self.gate, self.held = hold_after, threading.Event(), 0
        self.outcomes: dict[str, list[str]] = defaultdict(list)
        self.headers: list[dict] = []
        self.asked: list[dict] = []
        self.lock, self.begun = threading.Lock(), 0
        handler = type("Handler", (Handler,), {"service": self})
        self._http = ThreadingHTTPServer(("127.0.0.1", 0), handler)
        self._http.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._http.server_address[1]}/v1"

    def __enter__(self) -> "Server":
        threading.Thread(target=self._http.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
        return self

    def __exit__(self, *_) -> None:
        self.gate.set()
        self._http.shutdown()
        self._http.server_close()

    def count(self, outcome: str) -> int:
        """How many requests ended so."""
        with self.lock:
            return sum(each == outcome for ends in self.outcomes.values() for each in ends)

    def counts(self) -> Counter:
        with self.lock:
            return Counter(each for ends in self.outcomes.values() for each in ends)

    def paid_twice(self) -> int:
        """Completions that were sent whole although their prompt had one."""
        with self.lock:
            return sum(max(0, ends.count(WHOLE) - 1) for ends in self.outcomes.values())


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    service: Server

    def log_message(self, *_) -> None:
        pass

    def do_POST(self) -> None:
        asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        service, prompt = self.service, asked["messages"][-1]["content"]
        with service.lock:
            met = len(service.outcomes[prompt])
            planned = service.faults.get(prompt, ())
            fault = planned[met] if met < len(planned) else None
            service.headers.append({name.lower(): value for name, value in self.headers.items()})
            service.asked.append(asked)
            if fault is not None:
                service.outcomes[prompt].append(fault)
        if fault is None:
            self.serve(asked, prompt)
        else:
            self.fail(fault, asked)

    def serve(self, asked: dict, prompt: str) -> None:
        service = self.service
        with service.lock:
            service.begun += 1
            hold = service.hold_after is not None and service.begun > service.hold_after
        body = json.dumps(service.reply(asked)).encode()
        if hold and not service.gate.is_set():
            with service.lock:
                service.held += 1
            service.gate.wait()
        there = self.listening()
        with service.lock:
            service.outcomes[prompt].append(WHOLE if there else CUT)
        if there:
            self.send(200, body)
        else:
            self.close_connection = True

    def listening(self) -> bool:
        """Whether the client is still there: the end of its stream can be read once it is gone."""
        self.connection.setblocking(False)
        try:
            return self.connection.recv(1, socket.MSG_PEEK) != b""
        except BlockingIOError:
            return True
        except OSError:
            return False
        finally:
            self.connection.setblocking(True)

    def fail(self, fault: str, asked: dict) -> None:
        service = self.service
        if fault == "slow reply":
            time.sleep(service.slow)
        whole = fault in ("malformed JSON", "no choices", "no text", "cut in the middle")
        body = service.reply(asked) if whole else {}
        if fault == "429 with Retry-After":
            self.send(429, b'{"error": {"message": "too fast"}}', {"Retry-After": str(service.wait)})
        elif fault.isdigit():
            key = self.headers.get("Authorization", "")
            self.send(int(fault), json.dumps({"error": {"message": f"told to fail ({key})"}}).encode())
        elif fault == "malformed JSON":
            self.send(200, json.dumps(body).encode()[:-20])
        elif fault == "no choices":
            self.send(200, json.dumps(body | {"choices": []}).encode())
        elif fault == "no text":
            self.send(200, json.dumps(body | {"choices": [{"message": {"content": None}}]}).encode())
        elif fault == "cut in the middle":
            self.send(200, json.dumps(body).encode(), cut=True)
        elif fault in ("dropped connection", "slow reply"):
            self.hang_up()
        else:
            raise ValueError(f"no fault is called {fault!r}")

    def send(self, status: int, body: bytes, headers: dict | None = None, *, cut: bool = False) -> None:
        try:
            self.send_response(status)
            for name, value in {"Content-Type": "application/json", **(headers or {})}.items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body[: len(body) // 2] if cut else body)
            self.wfile.flush()
        except OSError:  # the client went away
            self.close_connection = True
        if cut:
            self.hang_up()

    def hang_up(self) -> None:
        self.close_connection = True
        with contextlib.suppress(OSError):
            self.connection.shutdown(socket.SHUT_RDWR)
