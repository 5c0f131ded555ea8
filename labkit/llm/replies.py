"""Reading replies: what a model says around the answer is taken off, what it says is made a value."""

import re

__all__ = ["UNKNOWN", "parse_answer", "parse_entities", "parse_judge", "parse_text"]

UNKNOWN = "unknown"  # what a reader says where the passages do not tell

# "Sure! Here is a paraphrase of the text in simple words:" and the like, on a line of its own or before
# the text; only where it ends in a colon, so that a text that begins with "Here is" is left whole.
_PREFACE = re.compile(
    r"^\s*(?:(?:sure|certainly|of course|okay|ok)(?: thing)?\s*[,.!:]\s*)?"
    r"(?:here(?:'s| is| are)\b[^\n:]{0,100}:\s*)?",
    re.IGNORECASE,
)
_CUES = re.compile(
    r"^\s*(?:answer|rewrite|names|explanation|text|translation|reply|caption)\s*:\s*", re.IGNORECASE
)


def parse_text(reply: str) -> str:
    """A reply that is a text, without a preface, a repeated cue, or quotation marks around the whole.

    >>> parse_text('Sure! Here is a paraphrase: "Balo was born in Tir."')
    'Balo was born in Tir.'
    """
    text = _CUES.sub("", _PREFACE.sub("", reply, count=1), count=1).strip()
    if len(text) > 1 and (text[0], text[-1]) in {('"', '"'), ("“", "”")} and text[0] not in text[1:-1]:
        text = text[1:-1].strip()
    return text


def parse_answer(reply: str) -> str:
    """A short answer: the first line, without the full stop; "unknown" in any spelling is ``UNKNOWN``.

    >>> parse_answer("Answer: Tir.\\nThe first passage says so."), parse_answer("Unknown.")
    ('Tir', 'unknown')
    """
    lines = [line.strip() for line in parse_text(reply).splitlines() if line.strip()]
    first = lines[0].rstrip(".").strip() if lines else ""
    return UNKNOWN if first.lower() == UNKNOWN else first


def parse_entities(reply: str) -> list[str]:
    """The names of a list, each once, in order; commas, lines and bullets all separate.

    >>> parse_entities("- Balo\\n- Tir, Ona."), parse_entities("Balo, Tir")
    (['Balo', 'Tir', 'Ona'], ['Balo', 'Tir'])
    """
    parts = re.split(r"[,;\n]", parse_text(reply))
    names = (re.sub(r"^\s*(?:[-*•]|\d+[.)])\s*", "", part).strip().rstrip(".").strip() for part in parts)
    return list(dict.fromkeys(name for name in names if name))


def parse_judge(reply: str) -> bool | None:
    """True for yes, False for no, None where the reply begins with neither.

    >>> parse_judge("Yes, it does."), parse_judge("no"), parse_judge("The text is short.")
    (True, False, None)
    """
    found = re.match(r"\W*(yes|no)\b", parse_text(reply), re.IGNORECASE)
    return None if found is None else found[1].lower() == "yes"
