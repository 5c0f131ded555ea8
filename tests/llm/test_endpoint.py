"""The endpoint against a real server on the loopback interface: what is sent, kept, retried and reported."""

import json
import logging
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from labkit import llm
from labkit.llm import EndpointError
from tests.llm import client as client_script
from tests.llm.server import FAULTS, WHOLE, Server, Small

pytest.importorskip("openai", reason="the extra 'endpoint' is not installed")

SECRET = "sk-do-not-tell-4711"
PROMPTS = client_script.prompts(6)
# The faults after which the client itself can't know whether it was served are among them.
QUICK = {"key_env": None, "first_wait": 0.001, "longest_wait": 1.0, "timeout": 5.0}


@pytest.fixture
def start(small):
    """Starts servers and stops them after the test."""
    running = []

    def begin(**settings) -> Server:
        running.append(Server(Small(small), **settings).__enter__())
        return running[-1]

    yield begin
    for server in running:
        server.__exit__()


def endpoint(server, tmp_path, **settings):
    settings = {"base_url": server.url, "cache": tmp_path / "kept"} | QUICK | settings
    return llm.endpoint("small", **settings)


def answers(small, prompts, **parameters):
    return [reply.text for reply in small.complete(prompts, **parameters)]


def test_it_says_what_the_model_behind_it_says(start, small, tmp_path):
    server = start()
    role = endpoint(server, tmp_path, body={"logprobs": True})
    asked = {"max_tokens": 5, "temperature": 0.0, "stop": ("e",), "seed": 3}
    for reply, right in zip(role.complete(PROMPTS, **asked), small.complete(PROMPTS, **asked), strict=True):
        assert (reply.text, reply.finish) == (right.text, right.finish)
        assert (reply.tokens_in, reply.tokens_out, reply.cached) == (right.tokens_in, right.tokens_out, False)
        assert reply.logprobs == pytest.approx(right.logprobs, abs=1e-4)


def test_what_is_sent(start, tmp_path):
    server = start()
    settings = {
        "system": "Be brief.",
        "body": {"top_p": 0.9},
        "rename": {"max_tokens": "limit", "seed": None},
    }
    endpoint(server, tmp_path, **settings).complete(PROMPTS[:1], max_tokens=4, temperature=0.5, seed=2)
    [sent] = server.asked
    messages = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": PROMPTS[0]}]
    assert sent == {"model": "small", "messages": messages, "limit": 4, "temperature": 0.5, "top_p": 0.9}


@pytest.mark.parametrize("fault", FAULTS)
def test_every_fault_is_tried_again(start, small, tmp_path, fault):
    server = start(faults={PROMPTS[1]: [fault, fault]}, slow=0.4)
    role = endpoint(server, tmp_path, timeout=0.25 if fault == "slow reply" else 5.0)
    replies = role.complete(PROMPTS, max_tokens=4)
    assert [reply.text for reply in replies] == answers(small, PROMPTS, max_tokens=4)
    kinds = {"4": "429", "5": "500", "d": "connection", "c": "connection", "s": "timeout"}
    assert role.usage.faults == {kinds.get(fault[0], "malformed"): 2}
    assert (role.usage.requests, role.usage.retries) == (len(PROMPTS) + 2, 2)
    assert server.paid_twice() == 0


def test_usage_counts_each_run_and_all_of_them(start, small, tmp_path):
    role = endpoint(start(), tmp_path)
    right = small.complete(PROMPTS, max_tokens=4)
    role.complete(PROMPTS[:4], max_tokens=4)
    role.complete([*PROMPTS, PROMPTS[5]], max_tokens=4)
    assert (role.last.requests, role.last.cache_hits) == (2, 5)
    assert (role.usage.requests, role.usage.cache_hits, role.usage.retries) == (6, 5, 0)
    assert role.usage.tokens_in == sum(reply.tokens_in for reply in right) == role.kept().tokens_in
    assert role.usage.tokens_out == sum(reply.tokens_out for reply in right) == role.kept().tokens_out
    assert role.kept().completions == 6


def test_what_is_kept_costs_nothing_also_for_the_next_process(start, tmp_path):
    server = start()
    first = endpoint(server, tmp_path).complete(PROMPTS, max_tokens=4)
    again = endpoint(server, tmp_path).complete(PROMPTS[::-1], max_tokens=4)
    assert [reply._replace(cached=False) for reply in again[::-1]] == first
    assert all(reply.cached for reply in again) and server.count(WHOLE) == len(PROMPTS)


@pytest.mark.parametrize("other", [{"max_tokens": 3}, {"temperature": 0.5}, {"seed": 1}, {"stop": ["x"]}])
def test_other_parameters_are_asked_anew(start, tmp_path, other):
    server = start()
    role = endpoint(server, tmp_path)
    for parameters in ({"max_tokens": 4}, {"max_tokens": 4} | other):
        assert not role.complete(PROMPTS[:1], **parameters)[0].cached
    assert server.count(WHOLE) == 2


def test_equal_prompts_at_the_same_time_are_paid_once(start, tmp_path):
    """Within one list, and in two clients that share nothing but the folder."""
    server = start()
    replies = []

    def ask():
        replies.append(endpoint(server, tmp_path).complete([*PROMPTS, *PROMPTS], max_tokens=4))

    clients = [threading.Thread(target=ask) for _ in range(3)]
    for each in clients:
        each.start()
    for each in clients:
        each.join()
    assert server.count(WHOLE) == len(PROMPTS) and len(replies) == 3
    assert len({tuple(reply.text for reply in each) for each in replies}) == 1


def test_without_a_cache_nothing_is_written(start, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    server = start()
    role = endpoint(server, tmp_path, cache=None)
    replies = role.complete([PROMPTS[0], PROMPTS[0]], max_tokens=4)
    assert [reply.cached for reply in replies] == [False, True] and server.count(WHOLE) == 1
    assert list(tmp_path.iterdir()) == [] and role.kept() == (0, 0, 0)


def test_one_prompt_that_fails_does_not_lose_the_others(start, small, tmp_path):
    server = start(faults={PROMPTS[2]: ["400"] * 9, PROMPTS[4]: ["500"] * 9})
    role = endpoint(server, tmp_path, attempts=3)
    with pytest.raises(EndpointError) as caught:
        role.complete([*PROMPTS, PROMPTS[2]], max_tokens=4)
    failed = {failure.position: failure for failure in caught.value.failures}
    assert {place: failure.requests for place, failure in failed.items()} == {2: 1, 4: 3, 6: 1}
    assert "prompt 2: 400" in str(caught.value) and "4 arrived and are kept" in str(caught.value)
    right = answers(small, PROMPTS, max_tokens=4)
    done = [None if reply is None else reply.text for reply in caught.value.completions]
    assert done == [right[0], right[1], None, right[3], None, right[5], None]
    assert role.usage.requests == 4 + 1 + 3  # 400 is not tried again
    server.faults.clear()
    replies = role.complete(PROMPTS, max_tokens=4)
    assert role.last.requests == 2 and [reply.text for reply in replies] == right


@pytest.mark.parametrize("status", ["401", "403", "404"])
def test_what_would_fail_for_all_is_asked_but_once_per_thread(start, tmp_path, status):
    prompts = client_script.prompts(40)
    server = start(faults={prompt: [status] * 9 for prompt in prompts})
    with pytest.raises(EndpointError, match="not asked, since all would fail") as caught:
        endpoint(server, tmp_path, concurrency=2).complete(prompts)
    assert server.count(status) <= 2 and len(caught.value.failures) == 40


def test_a_service_that_stays_down_is_not_asked_for_every_prompt(start, tmp_path):
    prompts = client_script.prompts(40)
    server = start(faults={prompt: ["500"] * 9 for prompt in prompts})
    with pytest.raises(EndpointError, match="failures in a row"):
        endpoint(server, tmp_path, concurrency=2, attempts=2).complete(prompts)
    assert server.count("500") <= 2 * (3 + 2)


def test_no_service_at_all(start, tmp_path):
    server = start()
    server.__exit__()
    with pytest.raises(EndpointError, match="prompt 0: connection"):
        endpoint(server, tmp_path, attempts=2).complete(PROMPTS[:1])


def test_a_wait_longer_than_allowed_is_told_instead_of_waited(start, tmp_path):
    server = start(faults={PROMPTS[0]: ["429 with Retry-After"]}, wait=3600)
    with pytest.raises(EndpointError, match="asks to wait 3600 s"):
        endpoint(server, tmp_path).complete(PROMPTS[:1])
    assert server.counts() == {"429 with Retry-After": 1}


@pytest.mark.parametrize("damage", ["", '{"key": ', "[]", '{"key": "x"}', "edited"])
def test_a_damaged_file_is_paid_anew(start, small, tmp_path, damage):
    server = start()
    endpoint(server, tmp_path).complete(PROMPTS[:1], max_tokens=4)
    [file] = (tmp_path / "kept").glob("??/*.json")
    if damage == "edited":  # what was asked no longer fits the name
        damage = file.read_text().replace("number 0", "number 9")
    file.write_text(damage)
    [reply] = endpoint(server, tmp_path).complete(PROMPTS[:1], max_tokens=4)
    assert reply.text == answers(small, PROMPTS[:1], max_tokens=4)[0] and server.count(WHOLE) == 2
    assert endpoint(server, tmp_path).complete(PROMPTS[:1], max_tokens=4)[0].cached


def test_the_key_is_sent_and_told_nowhere(start, tmp_path, monkeypatch, caplog, capfd):
    monkeypatch.setenv("SOME_KEY", SECRET)
    caplog.set_level(logging.DEBUG)
    server = start(faults={PROMPTS[0]: ["400"], PROMPTS[1]: ["500"]})  # which repeat the key in their message
    role = endpoint(server, tmp_path, key_env="SOME_KEY")
    with pytest.raises(EndpointError) as caught:
        role.complete(PROMPTS[:3], max_tokens=4)
    assert server.headers[0]["authorization"] == f"Bearer {SECRET}"
    shown = [
        repr(role),
        str(role),
        str(vars(role)),
        str(caught.value),
        repr(caught.value.failures),
        caplog.text,
    ]
    shown += [file.read_text() for file in tmp_path.rglob("*") if file.is_file()]
    assert "<key>" in str(caught.value) and SECRET not in "".join([*shown, *capfd.readouterr()])


def test_killed_in_the_middle_it_keeps_what_it_has_paid_for(start, small, tmp_path):
    """kill -9, then the same once more: nothing lost, nothing paid twice."""
    count, first = 12, 5
    server, kept = start(hold_after=first), tmp_path / "kept"
    command = [sys.executable, client_script.__file__, server.url, str(kept), str(count), "6"]
    root = Path(__file__).resolve().parents[2]
    running = subprocess.Popen(
        command, cwd=root, stdout=subprocess.PIPE, env=os.environ | {"PYTHONPATH": str(root)}
    )
    until = time.monotonic() + 60
    while not (server.held == 4 and len(list(kept.glob("??/*.json"))) == first):
        assert running.poll() is None and time.monotonic() < until
        time.sleep(0.01)
    running.send_signal(signal.SIGKILL)
    running.communicate()
    server.hold_after = None
    server.gate.set()  # four completions are ready, for a client that is gone
    while server.count("cut") < 4:
        assert time.monotonic() < until
        time.sleep(0.01)
    role = llm.endpoint("small", base_url=server.url, cache=kept, **QUICK)
    replies = role.complete(client_script.prompts(count), max_tokens=6)
    assert [reply.text for reply in replies] == answers(small, client_script.prompts(count), max_tokens=6)
    assert sum(reply.cached for reply in replies) == first and role.usage.requests == count - first
    assert server.count(WHOLE) == count and server.paid_twice() == 0
    assert [json.loads(file.read_text())["model"] for file in kept.glob("??/*.json")] == ["small"] * count


BAD = [
    ({"model": ""}, ValueError, "model must be a name"),
    ({"concurrency": 0}, ValueError, "concurrency must be"),
    ({"attempts": 1.5}, TypeError, "attempts must be"),
    ({"timeout": 0}, ValueError, "timeout must lie"),
    ({"first_wait": -1}, ValueError, "first_wait must lie"),
    ({"first_wait": 5, "longest_wait": 1}, ValueError, "longest_wait must lie"),
    ({"key_env": "NO_SUCH_VARIABLE"}, ValueError, "NO_SUCH_VARIABLE is not set"),
]


@pytest.mark.parametrize(("settings", "error", "message"), BAD)
def test_bad_settings_are_named(settings, error, message):
    good = {"model": "small", "base_url": "http://127.0.0.1:9/v1"} | QUICK
    with pytest.raises(error, match=message):
        llm.endpoint(**good | settings)


def test_without_the_client_it_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "openai", None)
    with pytest.raises(ModuleNotFoundError, match="extra 'endpoint'"):
        llm.endpoint("small", key_env=None)
