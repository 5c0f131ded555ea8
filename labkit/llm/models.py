"""``local``: any causal (or encoder-decoder) model of ``transformers`` in a role; ``tiny``: ours."""

import os
from collections.abc import Sequence

from labkit.data.build import check_count
from labkit.llm.completion import Completion, check_request

__all__ = ["Local", "local", "tiny"]


class Local:
    """See :func:`labkit.llm.local`."""

    form = None  # a module with ``numbered`` and ``plain``: how this model wants a prompt, and its reply read

    def __init__(self, model, tokenizer, *, name: str, chat: bool, batch_size: int, logprobs: bool):
        self.model, self.tokenizer, self.name = model, tokenizer, name
        self.chat, self.batch_size, self.logprobs = chat, batch_size, logprobs

    def __repr__(self) -> str:
        return f"local({self.name!r})"

    def complete(
        self,
        prompts: Sequence[str],
        *,
        max_tokens: int = 128,
        temperature: float = 0.0,
        stop: Sequence[str] = (),
        seed: int = 0,
    ) -> list[Completion]:
        """One completion per prompt, in batches padded on the left. Equal prompts share one.

        At a temperature above 0 the draws depend on the whole list: the same list gives the same replies.
        """
        from labkit import language

        prompts, stop = check_request(prompts, max_tokens, temperature, stop, seed)
        asked = list(dict.fromkeys(prompts))
        written = language.complete(
            self.model,
            self.tokenizer,
            [self._said(prompt) for prompt in asked],
            max_tokens=max_tokens,
            stop=stop,
            temperature=temperature,
            seed=seed,
            batch_size=self.batch_size,
            log_probabilities=self.logprobs,
        )
        found = {p: self._completion(p, reply, max_tokens) for p, reply in zip(asked, written, strict=True)}
        return [found[prompt] for prompt in prompts]

    def _said(self, prompt: str) -> str:
        """The prompt as this model expects it: in its form or its chat template, where it has one."""
        if self.form is not None:
            prompt = self.form.numbered(prompt)
        if not self.chat:
            return prompt
        messages = [{"role": "user", "content": prompt}]
        text = self.tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=True)
        # Encoding the text again would put a second beginning-of-text before the template's own.
        begin = self.tokenizer.bos_token
        twice = (
            begin
            and text.startswith(begin)
            and self.tokenizer("a")["input_ids"][0] == self.tokenizer.bos_token_id
        )
        return text[len(begin) :] if twice else text

    def _completion(self, prompt: str, reply, max_tokens: int) -> Completion:
        told, text = reply.log_probabilities, reply.text.strip()
        return Completion(
            text if self.form is None else self.form.plain(prompt, text),
            reply.tokens_in,
            reply.tokens_out,
            "length" if reply.tokens_out >= max_tokens else "stop",
            None if told is None else tuple(told),
        )


def local(
    model,
    tokenizer=None,
    *,
    name: str | None = None,
    chat: bool | None = None,
    batch_size: int = 32,
    logprobs: bool = False,
    device: str = "cpu",
) -> Local:
    """A model of ``transformers`` on this machine, as a role.

    model: a hub id, a folder (read as safetensors, nothing is unpickled), or a model, which then comes
    with its tokenizer.  name: in reports; the id or the folder's name by default.
    chat: whether prompts go through the tokenizer's chat template; None: where it has one.
    logprobs: whether completions have log-probabilities.  device: where a model that is read here goes.
    Raises OSError for a name that can't be read, TypeError for a model without tokenizer, ValueError for
    ``chat=True`` without a template.

    >>> from labkit import language
    >>> tokenizer = language.tokenizer(["Say hello."], size=300)
    >>> llm = local(language.causal(tokenizer, width=16, layers=1, heads=2), tokenizer)
    >>> llm.complete(["Say hello."], max_tokens=3)[0].tokens_out <= 3
    True
    """
    check_count("batch_size", batch_size)
    if isinstance(model, str | os.PathLike):
        if tokenizer is not None:
            raise TypeError("tokenizer must be left out where the model is read by name: it comes along")
        from labkit import language

        name = (
            name or os.path.basename(str(model).rstrip("/")) if os.path.isdir(model) else name or str(model)
        )
        model, tokenizer = language.load(str(model), device=device)
    elif tokenizer is None:
        raise TypeError("tokenizer must be given with a model")
    has_template = bool(getattr(tokenizer, "chat_template", None))
    if chat and not has_template:
        raise ValueError("chat=True needs a tokenizer with a chat template, this one has none")
    return Local(
        model,
        tokenizer,
        name=name or type(model).__name__,
        chat=has_template if chat is None else chat,
        batch_size=batch_size,
        logprobs=logprobs,
    )


def tiny(*, batch_size: int = 64, logprobs: bool = False, device: str = "cpu") -> Local:
    """labkit-tiny: the small instruct model that is shipped, for texts of ``facts`` and ``scenes``.

    It follows the instructions of ``labkit.llm.prompts`` in their exact wording, and no others; what it
    gets right is in its model card. Where it goes through a text it reads and writes the number of each
    sentence (``labkit.llm.numbering``); they count among the tokens, and are taken off its reply.
    """
    from labkit import weights
    from labkit.llm import numbering

    folder = weights.path("labkit-tiny")
    role = local(
        folder, name="labkit-tiny", chat=False, batch_size=batch_size, logprobs=logprobs, device=device
    )
    role.form = numbering
    return role
