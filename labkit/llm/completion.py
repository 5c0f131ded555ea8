"""What every role shares: a completion, the protocol of a language model, the check of its arguments."""

from collections.abc import Sequence
from typing import NamedTuple, Protocol, runtime_checkable

from labkit.data.build import check_count, check_seed, real

__all__ = ["LLM", "Completion", "check_request", "texts"]


class Completion(NamedTuple):
    """One reply.

    text: without white space around it.  tokens_in, tokens_out: of prompt and reply, as the model's
    tokenizer (or, for an oracle, white space) counts them, -1 where a service does not tell.
    finish: "stop", or "length" where ``max_tokens`` cut it.  logprobs: one per token of the reply, in
    nats, or None where the model does not tell.  cached: True where nothing was computed or paid for it.
    """

    text: str
    tokens_in: int
    tokens_out: int
    finish: str = "stop"
    logprobs: tuple[float, ...] | None = None
    cached: bool = False


@runtime_checkable
class LLM(Protocol):
    """A language model in a role: paraphraser, generator, relabeller, judge, teacher, reader.

    A reply depends on its prompt, the parameters and the seed, never on its place in the list or on its
    neighbours; for several replies to one prompt ask with several seeds.  name: what it is, for a report.

    >>> from labkit.llm import oracle
    >>> isinstance(oracle(0), LLM)
    True
    """

    name: str

    def complete(
        self,
        prompts: Sequence[str],
        *,
        max_tokens: int = 128,
        temperature: float = 0.0,
        stop: Sequence[str] = (),
        seed: int = 0,
    ) -> list[Completion]:
        """One completion per prompt, in their order.

        max_tokens: of each reply, from 1 up.  temperature: in [0, 2]; 0 takes the likeliest token.
        stop: strings that end a reply; none of them is part of it.  seed: of whatever is drawn.
        """
        ...


def texts(llm: LLM, prompts: Sequence[str], **parameters) -> list[str]:
    """The replies' texts alone: ``[reply.text for reply in llm.complete(prompts, ...)]``."""
    return [reply.text for reply in llm.complete(prompts, **parameters)]


def check_request(prompts, max_tokens, temperature, stop, seed) -> tuple[list[str], tuple[str, ...]]:
    """The prompts as a list and the stop strings as a tuple, or an error that names the argument.

    Raises TypeError for a single string, or for prompts that are not strings; ValueError for an empty
    prompt, an empty stop string, or a parameter outside its range (see :class:`LLM`).

    >>> check_request(["Hello"], 8, 0.0, ".", 0)
    (['Hello'], ('.',))
    """
    if isinstance(prompts, str):
        raise TypeError("prompts must be a list of strings, got one string: write [prompt]")
    prompts = list(prompts)
    for place, prompt in enumerate(prompts):
        if not isinstance(prompt, str):
            raise TypeError(f"prompts must be strings, prompt {place} is {prompt!r}")
        if not prompt.strip():
            raise ValueError(f"prompts must not be empty, prompt {place} is")
    stop = (stop,) if isinstance(stop, str) else tuple(stop)
    if not all(isinstance(each, str) and each for each in stop):
        raise ValueError(f"stop must be strings that are not empty, got {stop!r}")
    check_count("max_tokens", max_tokens)
    real("temperature", temperature, 0, 2)
    check_seed(seed)
    return prompts, stop
