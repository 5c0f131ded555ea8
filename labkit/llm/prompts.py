"""The instructions: one function per instruction builds the prompt, ``read`` takes a prompt apart again.

They are plain English that any instruct model follows, and short, because small models pay for every
token. Each ends in a cue (``Answer:``); the reply follows after one space, so that a model trained on
them reads ``prompt + " " + reply``. ``INSTRUCTIONS`` lists them all, each with its builder and the
function that reads its replies.

>>> print(rewrite("Balo was born in Tir.", "qa"))
Rewrite the text as questions and answers. Keep all facts, add none.
Text: Balo was born in Tir.
Rewrite:
>>> read(rewrite("Balo was born in Tir.", "qa"))
Request(instruction='rewrite', fields={'style': 'qa', 'text': 'Balo was born in Tir.'})
"""

import re
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from labkit.data.build import check_count
from labkit.llm import replies
from labkit.llm.replies import UNKNOWN
from labkit.llm.templates import CAPTION_STYLES, LONG, PASSAGES, STYLES, TEMPLATES

__all__ = [
    "CAPTION_STYLES", "INSTRUCTIONS", "PASSAGES", "STYLES", "UNKNOWN", "Instruction", "Request",
    "answer", "caption", "classify", "describe", "entities", "judge", "mix", "read", "relate", "rewrite",
    "translate", "write",
]  # fmt: skip


class Request(NamedTuple):
    """A prompt taken apart: the instruction's name, and the arguments of its builder by name."""

    instruction: str
    fields: dict[str, Any]


class Instruction(NamedTuple):
    """build: arguments -> prompt.  parse: reply -> what it says.  template: the prompt, with its fields.

    max_tokens: enough for the reply to a text of about a hundred words.
    """

    name: str
    build: Callable[..., str]
    parse: Callable[[str], Any]
    template: str
    max_tokens: int


def rewrite(text: str, style: str) -> str:
    """Ask for the text in another style: one of ``STYLES``, or ValueError."""
    return _fill("rewrite", style=_style(style, STYLES), text=_text("text", text))


def answer(question: str, passages: Sequence[str]) -> str:
    """Ask a question about passages, which are numbered from 1; the reply may be "unknown".

    Raises ValueError for none or more than ``PASSAGES`` of them.

    >>> print(answer("Where was Balo born?", ["Balo was born in Tir.", "Ona lives in Ur."]))
    Answer the question from the passages in a few words, or say unknown.
    [1] Balo was born in Tir.
    [2] Ona lives in Ur.
    Question: Where was Balo born?
    Answer:
    """
    if isinstance(passages, str):
        raise TypeError("passages must be a list of strings, got one string: write [passage]")
    if not 1 <= len(passages) <= PASSAGES:
        raise ValueError(f"passages must be 1 to {PASSAGES}, got {len(passages)}")
    numbered = [f"[{n}] {_text('passages', passage)}" for n, passage in enumerate(passages, 1)]
    return _fill("answer", passages="\n".join(numbered), question=_line("question", question))


def entities(text: str) -> str:
    """Ask for the names in a text."""
    return _fill("entities", text=_text("text", text))


def relate(text: str, a: str, b: str, *others: str) -> str:
    """Ask how two entities (or more) are related in the light of the text. (EntiGraph)

    Raises ValueError where a name occurs twice, or has a comma or the word "and" in it.
    """
    names = [_line("names", name) for name in (a, b, *others)]
    if len(set(names)) < len(names) or any(re.search(r",|\band\b", name) for name in names):
        raise ValueError(f"names must differ and have neither a comma nor 'and' in them, got {names}")
    return _fill("relate", names=f"{', '.join(names[:-1])} and {names[-1]}", text=_text("text", text))


def write(label: str, *, examples: Sequence[str] = ()) -> str:
    """Ask for a new text of a class.  label: what it is about.  examples: texts of that class.

    >>> print(write("work", examples=["Balo works for Tirona."]))
    Write a short text about work.
    Example of work: Balo works for Tirona.
    Text:
    """
    label = _line("label", label)
    return _fill("write", label=label, examples=_examples({label: examples}))


def mix(
    label_a: str,
    label_b: str,
    *,
    share: float = 0.5,
    examples_a: Sequence[str] = (),
    examples_b: Sequence[str] = (),
) -> str:
    """Ask for a new text between two classes. (PromptMix)

    share: of the first class, above 0 and below 1, in whole percent.  Raises ValueError elsewhere, or for
    two equal labels.
    """
    label_a, label_b = _line("label_a", label_a), _line("label_b", label_b)
    if label_a == label_b:
        raise ValueError(f"label_a and label_b must differ, both are {label_a!r}")
    percent = check_count("share (in percent)", round(100 * share), low=1, high=99)
    examples = _examples({label_a: examples_a, label_b: examples_b})
    numbers = {"percent": percent, "rest": 100 - percent}
    return _fill("mix", label_a=label_a, label_b=label_b, examples=examples, **numbers)


def translate(text: str, language: str) -> str:
    """Ask for a text in another language."""
    return _fill("translate", language=_line("language", language), text=_text("text", text))


def judge(text: str, statement: str) -> str:
    """Ask whether a text supports a statement: yes or no."""
    return _fill("judge", text=_text("text", text), statement=_line("statement", statement))


def classify(text: str, labels: Sequence[str]) -> str:
    """Ask which of at least two labels fits a text best. Labels differ and have no comma in them."""
    if isinstance(labels, str):
        raise TypeError("labels must be a list of strings, got one string")
    lines = [_line("labels", label) for label in labels]
    if len(set(lines)) < max(2, len(lines)) or any("," in line for line in lines):
        raise ValueError(f"labels must be two or more different ones without commas, got {lines}")
    return _fill("classify", labels=", ".join(lines), text=_text("text", text))


def caption(text: str, style: str) -> str:
    """Ask for a picture's caption in another form: one of ``CAPTION_STYLES``, or ValueError."""
    return _fill("caption", style=_style(style, CAPTION_STYLES), text=_line("text", text))


def describe(label: str) -> str:
    """Ask for a caption of a new picture of something: "a star", "a red star and a circle"."""
    return _fill("describe", label=_line("label", label))


INSTRUCTIONS = {
    name: Instruction(name, build, parse, TEMPLATES[name], max_tokens)
    for name, build, parse, max_tokens in [
        ("rewrite", rewrite, replies.parse_text, 256),
        ("answer", answer, replies.parse_answer, 24),
        ("entities", entities, replies.parse_entities, 96),
        ("relate", relate, replies.parse_text, 160),
        ("write", write, replies.parse_text, 128),
        ("mix", mix, replies.parse_text, 128),
        ("translate", translate, replies.parse_text, 256),
        ("judge", judge, replies.parse_judge, 4),
        ("classify", classify, replies.parse_answer, 8),
        ("caption", caption, replies.parse_text, 64),
        ("describe", describe, replies.parse_text, 64),
    ]
}


def read(prompt: str) -> Request:
    """Take a prompt apart: the exact inverse of the builders.

    Raises ValueError for a prompt that none of them builds.

    >>> read(answer("Who?", ["One.", "Two."])).fields
    {'passages': ['One.', 'Two.'], 'question': 'Who?'}
    """
    for name, pattern in _patterns().items():
        found = pattern.fullmatch(prompt)
        fields = _arguments(name, found.groupdict()) if found else {"style": None}
        if fields.get("style", "") is not None:
            return Request(name, fields)
    raise ValueError(
        f"this prompt is none that labkit.llm.prompts builds ({', '.join(INSTRUCTIONS)}): {prompt[:80]!r}"
    )


def _fill(name: str, **fields) -> str:
    return TEMPLATES[name].format(**fields)


def _text(name: str, value: str) -> str:
    if not isinstance(value, str):
        raise TypeError(f"{name} must be text, got {value!r}")
    if not value.strip():
        raise ValueError(f"{name} must not be empty")
    return value.strip()


def _line(name: str, value: str) -> str:
    """One line: every run of white space becomes a space."""
    return " ".join(_text(name, value).split())


def _style(style: str, known: dict[str, str]) -> str:
    if style not in known:
        raise ValueError(f"style must be one of {', '.join(known)}, got {style!r}")
    return known[style]


def _examples(by_label: dict[str, Sequence[str]]) -> str:
    for label, given in by_label.items():
        if isinstance(given, str):
            raise TypeError(f"examples of {label} must be a list of strings, got one string")
    lines = [(label, _line("examples", text)) for label, given in by_label.items() for text in given]
    return "".join(f"Example of {label}: {text}\n" for label, text in lines)


def _patterns() -> dict[str, re.Pattern]:
    if not _COMPILED:
        for name, template in TEMPLATES.items():
            parts = re.split(r"\{(\w+)\}", template)
            body = [re.escape(parts[0])]
            for field, after in zip(parts[1::2], parts[2::2], strict=True):
                found = r"(?s:.*)" if field in LONG else r"[^\n]+"
                body += [f"(?P<{field}>{found})", re.escape(after)]
            _COMPILED[name] = re.compile("".join(body))
    return _COMPILED


_COMPILED: dict[str, re.Pattern] = {}


def _arguments(name: str, fields: dict[str, str]) -> dict[str, Any]:
    """From a prompt's fields to the builder's arguments."""
    if "style" in fields:
        known = CAPTION_STYLES if name == "caption" else STYLES
        fields["style"] = {phrase: style for style, phrase in known.items()}.get(fields["style"])
    if "passages" in fields:
        fields["passages"] = _numbered(fields["passages"])
    if "labels" in fields:
        fields["labels"] = fields["labels"].split(", ")
    if "names" in fields:
        fields["names"] = re.split(r", | and ", fields["names"])
    if "percent" in fields:
        fields["share"] = int(fields.pop("percent")) / 100
        del fields["rest"]
    if "examples" in fields:
        block, names = fields.pop("examples"), ("label", "label_a", "label_b")
        given = {name.replace("label", "examples"): fields[name] for name in names if name in fields}
        fields |= {name: [] for name in given}
        for line in block.splitlines():
            starts = {name: f"Example of {label}: " for name, label in given.items()}
            fitting = [name for name in given if line.startswith(starts[name])]
            if fitting:  # where one label continues the other, the longer one
                name = max(fitting, key=lambda each: len(given[each]))
                fields[name].append(line.removeprefix(starts[name]))
    return fields


def _numbered(block: str) -> list[str]:
    """Split at [1], [2], ... in order, so that a bracket inside a passage does no harm."""
    starts, place = [], 0
    while (found := block.find(f"\n[{len(starts) + 1}] " if starts else "[1] ", place)) >= 0:
        starts.append(found)
        place = found + 1
    ends = [*starts[1:], len(block)]
    return [block[a:b].split("] ", 1)[1].strip() for a, b in zip(starts, ends, strict=True)]
