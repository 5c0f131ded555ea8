"""Make the table of an endpoint's faults anew: what goes wrong on purpose, and what is lost or paid twice.

    python scripts/measure_endpoint.py [book/performance/endpoint.json]

The service is that of the tests (``tests/llm/server.py``): a small language model behind the OpenAI protocol
on the loopback interface, which fails on request and counts what it sent to the end. POSIX only. About a
minute on two cores. The book's page *Performance* shows the file.
"""

import json
import os
import platform
import random
import signal
import subprocess
import sys
import tempfile
import time
from importlib.metadata import version
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
OUT = ROOT / "book" / "performance" / "endpoint.json"
COLUMNS = {
    "what": "What was done",
    "prompts": "Prompts",
    "requests": "Requests",
    "retries": "Tried again",
    "faults": "Faults",
    "lost": "Lost",
    "twice": "Paid twice",
    "seconds": "Seconds",
}
WORDS = {
    "429": "Too many requests (429)",
    "429 with Retry-After": "Too many requests (429), with `Retry-After`",
    "500": "Server error (500)",
    "dropped connection": "Connection dropped before a reply",
    "cut in the middle": "Connection dropped within a reply",
    "malformed JSON": "Reply is no JSON",
    "no choices": "Reply without choices",
    "no text": "Reply without text",
    "slow reply": "Reply slower than the time limit",
}
TOKENS = 8
SETTINGS = {"key_env": None, "first_wait": 0.1, "timeout": 1.0}


def role(server, folder, **settings):
    from labkit import llm

    return llm.endpoint("small", base_url=server.url, cache=folder, **SETTINGS | settings)


def row(what: str, prompts: list[str], server, replies, small, *, retries: int, seconds: float, refused=()):
    """Lost: prompts without the completion that the model gives. Faults: as the server counted them."""
    from tests.llm.server import WHOLE

    right = small.complete(prompts, max_tokens=TOKENS)
    pairs = [(r, a) for p, r, a in zip(prompts, right, replies, strict=True) if p not in refused]
    lost = sum(a is None or a.text != r.text for r, a in pairs)
    counts = server.counts()
    faults = {kind: count for kind, count in sorted(counts.items()) if kind != WHOLE}
    return {
        "what": what,
        "prompts": len(prompts),
        "requests": counts.total(),
        "retries": retries,
        "faults": sum(faults.values()),
        "by_kind": faults,
        "lost": lost,
        "twice": server.paid_twice(),
        "seconds": round(seconds, 1),
    }


def faulty(what: str, plan: dict[str, list[str]], prompts: list[str], small, folder: Path) -> dict:
    """All prompts at once; the plan says which of them meet which faults."""
    from labkit.llm import EndpointError
    from tests.llm.server import Server, Small

    started = time.monotonic()
    with Server(Small(small), faults=plan, wait=0.3, slow=1.5) as server:
        asked, refused = role(server, folder), ()
        try:
            replies = asked.complete(prompts, max_tokens=TOKENS)
        except EndpointError as error:
            replies, refused = error.completions, [prompts[each.position] for each in error.failures]
        seconds = time.monotonic() - started
        made = row(
            what,
            prompts,
            server,
            replies,
            small,
            retries=asked.usage.retries,
            seconds=seconds,
            refused=refused,
        )
    assert refused == () or set(refused) == {p for p, faults in plan.items() if len(faults) > 6}
    return made


def killed(prompts: list[str], small, folder: Path) -> dict:
    """A client in a process of its own is killed with four requests open, and then run again."""
    from tests.llm import client
    from tests.llm.server import CUT, Server, Small

    with Server(Small(small), hold_after=len(prompts) // 3) as server:
        running = start(client, server, folder, len(prompts))
        while not (server.held == 4 and len(list(folder.glob("??/*.json"))) == server.hold_after):
            assert running.poll() is None
            time.sleep(0.01)
        running.send_signal(signal.SIGKILL)
        running.wait()
        server.hold_after = None
        server.gate.set()
        while server.count(CUT) < 4:
            time.sleep(0.01)
        started, again = time.monotonic(), role(server, folder)
        replies = again.complete(prompts, max_tokens=TOKENS)
        what = "Client killed (kill -9) with four requests open, then run again"
        return row(what, prompts, server, replies, small, retries=0, seconds=time.monotonic() - started)


def at_once(prompts: list[str], small, folder: Path) -> dict:
    """Three clients in processes of their own, with one folder and the same prompts."""
    from tests.llm import client
    from tests.llm.server import Server, Small

    started = time.monotonic()
    with Server(Small(small)) as server:
        clients = [start(client, server, folder, len(prompts)) for _ in range(3)]
        for each in clients:
            assert each.wait() == 0
        seconds = time.monotonic() - started
        replies = role(server, folder).complete(prompts, max_tokens=TOKENS)
        what = "Three clients for the same prompts, started together"
        return row(what, prompts, server, replies, small, retries=0, seconds=seconds)


def start(client, server, folder: Path, count: int) -> subprocess.Popen:
    command = [sys.executable, client.__file__, server.url, str(folder), str(count), str(TOKENS)]
    paths = os.environ | {"PYTHONPATH": str(ROOT)}
    return subprocess.Popen(command, cwd=ROOT, env=paths, stdout=subprocess.DEVNULL)


def measure() -> list[dict]:
    """One row for each scenario."""
    sys.path.insert(0, str(ROOT))
    from labkit import llm
    from tests.llm.client import prompts
    from tests.llm.server import FAULTS, trained

    small, draw = llm.local(*trained()), random.Random(0)
    some, many = prompts(30), prompts(200)
    plans = [(WORDS[kind], {p: [kind] * (1 + n % 2) for n, p in enumerate(some)}, some) for kind in FAULTS]
    mixed = {p: draw.choices(FAULTS, k=draw.randint(1, 3)) for p in many if draw.random() < 0.5}
    plans.append(("All of these at random, up to three per prompt", mixed, many))
    stubborn = {some[3]: ["400"] * 9, some[8]: ["500"] * 9}
    plans.append(("Two prompts that always fail (400, 500): the others", stubborn, some))
    rows = []
    for what, plan, asked in plans:
        with tempfile.TemporaryDirectory(prefix="endpoint-") as folder:
            rows.append(faulty(what, plan, asked, small, Path(folder)))
        print(rows[-1], flush=True)
    for scenario in (killed, at_once):
        with tempfile.TemporaryDirectory(prefix="endpoint-") as folder:
            rows.append(scenario(some, small, Path(folder)))
        print(rows[-1], flush=True)
    return rows


def main() -> None:
    out = Path(sys.argv[1]) if len(sys.argv) > 1 else OUT
    machine = {"cores": os.cpu_count(), "system": platform.system(), "python": platform.python_version()}
    machine |= {name: version(name) for name in ("openai", "transformers", "torch", "filelock")}
    content = {"columns": COLUMNS, "rows": measure(), "machine": machine}
    out.parent.mkdir(parents=True, exist_ok=True)
    out.write_text(json.dumps(content, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
