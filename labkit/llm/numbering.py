"""labkit-tiny's own form of a prompt: each sentence of a text ends in its number, so that it keeps its place.

A small model that retells a text has to know which sentence comes next. With numbers it looks for the
place of the last number that it wrote, and goes on with what stands behind it.
"""

import re

from labkit.llm import prompts
from labkit.llm.replies import parse_entities

__all__ = ["NUMBERED", "ends", "numbered", "plain"]

NUMBERED = ("rewrite", "translate", "entities")  # the instructions that go through a text from end to end
_BETWEEN = re.compile(r"(?<=[.!])[ \n]|\n")
_MARK = re.compile(r" ?\[\d+\]")


def ends(text: str) -> list[int]:
    """Where the sentences of a text end: at a space or line break after a full stop, or at a line break.

    >>> ends("Balo was born in Tir. Ona lives in Ur.")
    [21, 38]
    """
    return [found.start() for found in _BETWEEN.finditer(text)] + [len(text)]


def numbered(prompt: str) -> str:
    """A prompt of `NUMBERED` with numbered sentences; any other prompt as it is.

    >>> print(numbered(prompts.rewrite("Balo was born in Tir. Ona lives in Ur.", "qa")))
    Rewrite the text as questions and answers. Keep all facts, add none.
    Text: Balo was born in Tir. [1] Ona lives in Ur. [2]
    Rewrite:
    """
    try:
        request = prompts.read(prompt)
    except ValueError:
        return prompt
    if request.instruction not in NUMBERED:
        return prompt
    text, parts, start = request.fields["text"], [], 0
    for number, end in enumerate(ends(text), 1):
        parts.append(f"{text[start:end]} [{number}]")
        start = end
    return prompts.INSTRUCTIONS[request.instruction].build(**request.fields | {"text": "".join(parts)})


def plain(prompt: str, reply: str) -> str:
    """The reply to a prompt, without the numbers; names are listed once, with commas between them.

    >>> plain(prompts.rewrite("Balo was born in Tir.", "simple"), "the first home of Balo is Tir. [1]")
    'the first home of Balo is Tir.'
    >>> plain(prompts.entities("Ona was born in Tir. Ona lives in Ur."), "Ona, Tir [1] Ona, Ur [2]")
    'Ona, Tir, Ur'
    """
    try:
        name = prompts.read(prompt).instruction
    except ValueError:
        return reply
    if name not in NUMBERED:
        return reply
    if name == "entities":
        return ", ".join(parse_entities(_MARK.sub(",", reply)))
    return _MARK.sub("", reply).strip()
