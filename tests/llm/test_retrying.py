"""What one request means for the next: waiting, and reading what came back."""

import random
from email.utils import formatdate

import pytest

from labkit.llm import retrying
from labkit.llm.retrying import Malformed, delay, read_reply, retry_after

GOOD = '{"choices": [{"message": {"content": " Hi. "}, "finish_reason": "%s"}], "usage": %s}'
USAGE = '{"prompt_tokens": 3, "completion_tokens": 2}'


def test_the_backoff_doubles_is_spread_and_ends():
    draws = random.Random(0)
    for tried in range(1, 12):
        ceiling = min(30.0, 0.5 * 2 ** (tried - 1))
        waits = [delay(tried, None, first=0.5, longest=30.0, draw=draws.random()) for _ in range(500)]
        assert ceiling / 2 <= min(waits) < 0.55 * ceiling and 0.95 * ceiling < max(waits) <= ceiling


def test_what_the_server_asks_for_is_never_undercut():
    for asked in (0.0, 0.3, 20.0):
        waits = [delay(2, asked, first=1.0, longest=5.0, draw=draw / 10) for draw in range(10)]
        assert min(waits) >= asked + 1.0 and max(waits) <= asked + 2.0


def test_retry_after_as_number_or_date(monkeypatch):
    monkeypatch.setattr(retrying.time, "time", lambda: 1_000_000.0)
    assert retry_after({"retry-after": formatdate(1_000_042, usegmt=True)}) == 42
    assert retry_after({"retry-after": formatdate(999_000, usegmt=True)}) == 0
    assert retry_after({"retry-after": "1.5"}) == 1.5
    assert retry_after({"retry-after-ms": "1500", "retry-after": "9"}) == 1.5
    assert retry_after({"retry-after": "soon"}) is None
    assert retry_after({"retry-after": "-4"}) == 0


def test_a_pause_holds_everyone_and_stop_ends_it():
    pace = retrying.Pace()
    assert pace.ready()
    pace.hold(3600)
    pace.stop()
    assert not pace.ready() and not pace.sleep(3600)


@pytest.mark.parametrize(("finish", "expected"), [("stop", "stop"), ("length", "length"), ("other", "stop")])
def test_a_good_reply(finish, expected):
    reply = read_reply(GOOD % (finish, USAGE))
    assert reply == ("Hi.", 3, 2, expected, None, False)


def test_a_reply_that_does_not_tell_its_tokens():
    assert read_reply(GOOD % ("stop", "null"))[1:3] == (-1, -1)


NONE = ["", "<html>", "[]", "null", "{}", '{"choices": null}', '{"choices": [1]}']
NONE += ['{"choices": [{"message": "Hi."}]}', '{"choices": [{"message": {"content": 4}}]}']
NONE += ['{"choices": [{"message": {"content": "a"}, "logprobs": {"content": [{"logprob": "x"}]}}]}']


@pytest.mark.parametrize("body", NONE)
def test_a_reply_that_is_none(body):
    with pytest.raises(Malformed):
        read_reply(body)
