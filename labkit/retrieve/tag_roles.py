"""The models of the benchmark: one that knows what it has read, and the one that writes its queries."""

import re
from collections.abc import Sequence

from labkit.data.build import stream
from labkit.llm import LLM, Completion, prompts
from labkit.retrieve.tag_benchmark import Market, parse

__all__ = ["FactsWriter", "Remembering"]


class Remembering:
    """A role that has read something: what it knows about the names in a prompt is added to the prompt.

    It stands for the knowledge in a large model's weights, so that an oracle or a small model can play one.
    llm: who judges and answers.  memory: name -> sentence.  Replies are kept: a prompt is answered once.
    """

    def __init__(self, llm: LLM, memory: dict[str, str]):
        self.llm, self.memory, self.name = llm, memory, f"{llm.name}, which has read {len(memory)} sentences"
        self._kept: dict[tuple[str, int], Completion] = {}

    def complete(self, asked: Sequence[str], **settings) -> list[Completion]:
        """As every role: one completion per prompt; kept by prompt and seed, whatever else is set."""
        seed = settings.get("seed", 0)
        new = [prompt for prompt in dict.fromkeys(asked) if (prompt, seed) not in self._kept]
        if new:
            written = self.llm.complete([self._reminded(prompt) for prompt in new], **settings)
            self._kept |= {(prompt, seed): done for prompt, done in zip(new, written, strict=True)}
        return [self._kept[prompt, seed] for prompt in asked]

    def _reminded(self, prompt: str) -> str:
        try:
            request = prompts.read(prompt)
        except ValueError:  # a prompt in other words is passed on as it is
            return prompt
        if request.instruction not in ("judge", "answer"):
            return prompt
        fields = request.fields
        about = fields.get("statement") or fields["question"]
        known = [self.memory[name] for name in re.findall(r"\w+", about) if name in self.memory]
        if not known:
            return prompt
        if request.instruction == "judge":
            return prompts.judge(" ".join(known), about)
        return prompts.answer(about, known)


class FactsWriter:
    """Writes the queries (:class:`labkit.retrieve.tag.Writer`), with what its model remembers.

    here: whose memory.  llm: it recognizes, as :class:`Remembering` does.  recall: the share of names in
    [0, 1] that come to mind when none is given; each is drawn once.
    """

    def __init__(self, here: Market, llm: LLM, *, recall: float = 0.5):
        if not 0 <= recall <= 1:
            raise ValueError(f"recall must be in [0, 1], got {recall}")
        self.llm, self.here, self.recall = llm, here, recall
        self._found: dict[tuple[str, ...], list[str]] = {}

    plan = staticmethod(parse)

    def number(self, question: str) -> tuple[int | None, int]:
        """The number that the model gives, None where it gives none."""
        asked = prompts.answer(question, ["nothing is given."])
        said = self.llm.complete([asked], max_tokens=8)[0].text
        return (int(said) if said.isdigit() else None), 1

    def names(self, statement: str) -> tuple[list[str], int]:
        """Names that come to mind, of those for which the model says yes."""
        if (statement,) not in self._found:
            drawn = [
                name
                for name in self.here.known_for
                if stream(self.here.seed, "tag", "recall", name).random() < self.recall
            ]
            asked = [prompts.judge(f"value: {name}", statement.replace("{value}", name)) for name in drawn]
            replies = self.llm.complete(asked, max_tokens=4)
            kept = [n for n, reply in zip(drawn, replies, strict=True) if reply.text.lower() == "yes"]
            self._found[(statement,)] = kept
        return self._found[(statement,)], 1

    def words(self, label: str, labels: Sequence[str]) -> tuple[list[str], int]:
        """Words of three texts that the model writes about the label, and of none about the others."""
        for each in labels:
            if ("words", each) not in self._found:
                done = [
                    self.llm.complete([prompts.write(each)], seed=k, temperature=1.0)[0] for k in range(3)
                ]
                text = " ".join(completion.text for completion in done)
                self._found["words", each] = list(dict.fromkeys(re.findall(r"[a-z]+", text)))
        others = {word for each in labels if each != label for word in self._found["words", each]}
        return [word for word in self._found["words", label] if word not in others], 1
