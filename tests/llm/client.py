"""A client in a process of its own, to be killed: ``python client.py URL FOLDER PROMPTS TOKENS``."""

import sys

from labkit import llm

MODEL = "small"


def prompts(count: int) -> list[str]:
    return [f"Say something about the number {n}." for n in range(count)]


if __name__ == "__main__":
    url, folder, count, tokens = sys.argv[1:]
    asked = llm.endpoint(MODEL, base_url=url, key_env=None, cache=folder, concurrency=4, first_wait=0.01)
    replies = asked.complete(prompts(int(count)), max_tokens=int(tokens))
    print(sum(reply.cached for reply in replies), asked.usage.requests, len(replies), flush=True)
