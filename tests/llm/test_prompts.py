"""The instructions: ``read`` is the inverse of each builder; replies are read as models write them."""

import random

import pytest

from labkit import llm
from labkit.data import facts
from labkit.llm import prompts
from labkit.llm.completion import check_request

PIECES = [
    "Balo was born in Tir.",
    "q: who? a: Balo.",
    "[2] a passage",
    "Text: more",
    "Question: what?",
    "50% of",
]
PIECES += [
    "Answer:",
    "a: b",
    "Example of x: y",
    "say {text} and {style}",
    "Statement: no",
    "Labels",
    "one, two",
]
LINES = ["music", "a red star", "who leads Tirona?", "Old Ur", "x: y"]


@pytest.fixture
def read():
    return prompts.read


def some_text(draw: random.Random) -> str:
    return draw.choice(["\n", " ", "\n\n"]).join(draw.choices(PIECES, k=draw.randint(1, 5)))


def arguments(name: str, draw: random.Random) -> dict:
    """Arguments of a builder, drawn."""
    text, (a, b, c) = some_text(draw), draw.sample(["Balo", "Old Ur", "Tirona", "Ona", "x: y"], 3)
    line, examples = (
        draw.choice(LINES),
        [" ".join(some_text(draw).split()) for _ in range(draw.randint(0, 3))],
    )
    return {
        "rewrite": {"text": text, "style": draw.choice(list(prompts.STYLES))},
        "answer": {"passages": [some_text(draw) for _ in range(draw.randint(1, 8))], "question": line},
        "entities": {"text": text},
        "relate": {"text": text, "names": [a, b, c][: draw.randint(2, 3)]},
        "write": {"label": line, "examples": examples},
        "mix": {"label_a": a, "label_b": b, "share": draw.randint(1, 99) / 100}
        | {"examples_a": examples, "examples_b": examples[:1]},
        "translate": {"text": text, "language": draw.choice(facts.LANGUAGES)},
        "judge": {"text": text, "statement": line},
        "classify": {"text": text, "labels": [a, b, c]},
        "caption": {"text": line, "style": draw.choice(list(prompts.CAPTION_STYLES))},
        "describe": {"label": line},
    }[name]


def build(name: str, given: dict) -> str:
    named = dict(given)
    names = named.pop("names", [])
    text = [named.pop("text")] if name == "relate" else []
    return prompts.INSTRUCTIONS[name].build(*text, *names, **named)


@pytest.mark.parametrize("name", prompts.INSTRUCTIONS)
def test_read_takes_apart_what_a_builder_wrote(read, name):
    draw = random.Random(name)
    for _ in range(200):
        given = arguments(name, draw)
        prompt = build(name, given)
        found = read(prompt)
        if name == "answer" and any(f"\n[{n + 1}] " in p for n, p in enumerate(given["passages"], 1)):
            continue  # a passage that looks like the next one cannot be told from it
        assert found == (name, given)
        assert build(name, found.fields) == prompt
        assert prompt.endswith(":") and prompt == prompt.strip()


def test_no_instruction_reads_as_another(read):
    draw = random.Random(0)
    for name in prompts.INSTRUCTIONS:
        assert read(build(name, arguments(name, draw))).instruction == name


@pytest.mark.parametrize(
    "prompt", ["Hello", "Rewrite the text in a loud voice. Keep all facts, add none.\nText: a\nRewrite:"]
)
def test_a_prompt_of_another_kind_is_refused(read, prompt):
    with pytest.raises(ValueError, match="is none that labkit"):
        read(prompt)


def test_the_styles_are_those_of_the_data():
    assert tuple(prompts.STYLES) == facts.STYLES
    assert tuple(prompts.CAPTION_STYLES) == llm.captions.FORMS


BAD = [
    (lambda: prompts.rewrite("a", "loud"), ValueError, "style must be one of plain"),
    (lambda: prompts.caption("a", "web"), ValueError, "style must be one of caption"),
    (lambda: prompts.rewrite(" ", "web"), ValueError, "text must not be empty"),
    (lambda: prompts.entities(None), TypeError, "text must be text"),
    (lambda: prompts.answer("a?", []), ValueError, "passages must be 1 to 8"),
    (lambda: prompts.answer("a?", ["b"] * 9), ValueError, "passages must be 1 to 8, got 9"),
    (lambda: prompts.answer("a?", "b"), TypeError, "passages must be a list"),
    (lambda: prompts.relate("a", "b", "b"), ValueError, "names must differ"),
    (lambda: prompts.relate("a", "b", "c, d"), ValueError, "names must differ and have neither"),
    (lambda: prompts.write("a", examples="b"), TypeError, "examples of a must be a list"),
    (lambda: prompts.mix("a", "a"), ValueError, "must differ"),
    (lambda: prompts.mix("a", "b", share=1.0), ValueError, "share"),
    (lambda: prompts.classify("a", ["b"]), ValueError, "labels must be two or more"),
    (lambda: prompts.classify("a", "bc"), TypeError, "labels must be a list"),
    (lambda: check_request("a", 1, 0, (), 0), TypeError, "prompts must be a list"),
    (lambda: check_request([3], 1, 0, (), 0), TypeError, "prompt 0 is 3"),
    (lambda: check_request(["a", " "], 1, 0, (), 0), ValueError, "prompt 1 is"),
    (lambda: check_request(["a"], 0, 0, (), 0), ValueError, "max_tokens"),
    (lambda: check_request(["a"], 1, 3, (), 0), ValueError, "temperature"),
    (lambda: check_request(["a"], 1, 0, [""], 0), ValueError, "stop"),
    (lambda: check_request(["a"], 1, 0, (), -1), ValueError, "seed"),
]


@pytest.mark.parametrize(("call", "error", "message"), BAD)
def test_bad_input_is_named(call, error, message):
    with pytest.raises(error, match=message):
        call()


TEXTS = [
    ("Balo was born in Tir.", "Balo was born in Tir."),
    ("Sure! Here is a paraphrase of the text:\n\nBalo was born in Tir.", "Balo was born in Tir."),
    ("Here's the rewritten text: Balo was born in Tir.", "Balo was born in Tir."),
    ("Rewrite: “Balo was born in Tir.”", "Balo was born in Tir."),
    ("Here is where Balo was born.", "Here is where Balo was born."),
    ('"Balo" and "Ona"', '"Balo" and "Ona"'),
    ("a: oh, Balo.\nb: yes.", "a: oh, Balo.\nb: yes."),
    ("Sure Balo is in Tir: look.", "Sure Balo is in Tir: look."),
]


@pytest.mark.parametrize(("reply", "text"), TEXTS)
def test_text_is_freed_of_what_stands_around_it(reply, text):
    assert prompts.INSTRUCTIONS["rewrite"].parse(reply) == text


def test_answers_names_and_judgements():
    answer, names, judge = (prompts.INSTRUCTIONS[name].parse for name in ("answer", "entities", "judge"))
    assert [answer(each) for each in ("Tir", " Tir.\n", "Answer: Tir", "UNKNOWN.", "")] == ["Tir"] * 3 + [
        "unknown",
        "",
    ]
    assert names("1. Balo\n2) Ona\n* Balo\n• Tir.") == ["Balo", "Ona", "Tir"] and names("") == []
    assert [judge(each) for each in ("YES", "Reply: no.", "**Yes**, clearly", "yesterday", "")] == [
        True, False, True, None, None,
    ]  # fmt: skip
