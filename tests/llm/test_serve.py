"""A peer: the server that ``transformers`` brings, behind the faults of ours."""

import os
import socket
import subprocess
import sys
import time
from importlib.util import find_spec
from urllib.request import urlopen

import pytest

from labkit import llm
from tests.llm.client import prompts
from tests.llm.server import Forward, Server

NEEDED = ("openai", "fastapi", "uvicorn", "accelerate", "rich")
MISSING = [name for name in NEEDED if find_spec(name) is None]
pytestmark = pytest.mark.skipif(bool(MISSING), reason=f"transformers serve needs {', '.join(MISSING)}")


@pytest.fixture(scope="module")
def service(chatty):
    """Its address; it serves the folder and nothing else."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    code = "from transformers.cli.transformers import main; main()"
    command = [
        sys.executable,
        "-c",
        code,
        "serve",
        "--host",
        "127.0.0.1",
        "--port",
        str(port),
        "--device",
        "cpu",
    ]
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    running = subprocess.Popen([*command, str(chatty)], env=os.environ | {"HF_HUB_OFFLINE": "1"}, **quiet)
    until = time.monotonic() + 120
    while True:
        try:
            urlopen(f"http://127.0.0.1:{port}/health").read()
            break
        except OSError:
            assert running.poll() is None and time.monotonic() < until
            time.sleep(0.1)
    yield f"http://127.0.0.1:{port}/v1"
    running.terminate()
    running.wait()


def test_it_says_what_the_local_model_says_through_faults(service, chatty, tmp_path):
    asked = prompts(4)
    faults = {asked[0]: ["429"], asked[1]: ["dropped connection", "malformed JSON"], asked[3]: ["500"]}
    local = llm.local(chatty)
    name = str(chatty)
    with Server(Forward(service), faults=faults) as server:
        settings = {"key_env": None, "cache": tmp_path / "kept", "first_wait": 0.001}
        role = llm.endpoint(name, base_url=server.url, concurrency=2, **settings)
        replies = role.complete(asked, max_tokens=6)
        assert role.usage.retries == 4 and server.paid_twice() == 0
    right = local.complete(asked, max_tokens=6)
    assert [reply.text for reply in replies] == [reply.text for reply in right]
    assert [reply.tokens_out for reply in replies] == [reply.tokens_out for reply in right]
