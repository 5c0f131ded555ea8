"""Three signals that the pages of ``facts`` carry, their prompt forms, and the prompts of raw pages.

The signals are mined from the text of a page alone, by the forms of its furniture: the stars of a review, the
section of an article, and of the facts in the box those whose names stand in the running text as well. That
last rule errs now and then: who was born where they live has two facts with the same names.
"""

import re
from collections.abc import Sequence

from labkit.data import facts
from labkit.data.facts.english import ENGLISH
from labkit.data.facts.pages import BOXES, RATINGS, SECTIONS
from labkit.pretrain.restructured_pretraining import PromptForm, Signal

__all__ = ["CLOZE", "FORMS", "RELATIONS", "SIGNALS", "TOPICS", "examples", "running_text"]

TOPICS = 4
RELATIONS = ("born_in", "lives_in")
_STARS = (" 1", " 5")
_VERDICTS = (" good", " bad")
_SECTIONS = tuple(f" {topic}" for topic in facts.TOPICS[:TOPICS])
_KEYS = tuple(f" {ENGLISH[relation].key}" for relation in RELATIONS)


def running_text(page: str) -> str:
    """The longest line of a page."""
    return max(page.split("\n"), key=len)


def _mined(page: str, forms: Sequence[str], **fields: str) -> list[dict[str, str]]:
    """What stands in the lines of a page that have one of the forms. fields: name -> mark in the form."""
    out = []
    for form in forms:
        pattern = re.escape(form)
        for name, mark in fields.items():
            pattern = pattern.replace(re.escape("{" + mark + "}"), rf"(?P<{name}>\w+)")
        out += [found.groupdict() for found in re.finditer(f"^{pattern}$", page, re.MULTILINE)]
    return [{"text": running_text(page), **found} for found in out]


def _rating(page: str) -> list[dict[str, str]]:
    """Three stars say neither good nor bad."""
    found = _mined(page, RATINGS, stars="k")
    return [
        {"text": each["text"], "verdict": "good" if each["stars"] > "3" else "bad"}
        for each in found
        if each["stars"] != "3"
    ]


def _topic(page: str) -> list[dict[str, str]]:
    return _mined(page, SECTIONS, topic="t")


def _relation(page: str) -> list[dict[str, str]]:
    words = set(re.findall(r"\w+", running_text(page)))
    return [
        each
        for each in _mined(page, BOXES, subject="s", relation="n", object="o")
        if {each["subject"], each["object"]} <= words and f" {each['relation']}" in _KEYS
    ]


SIGNALS = (
    Signal("rating", ("text", "verdict"), _rating),
    Signal("topic", ("text", "topic"), _topic),
    Signal("relation", ("text", "subject", "relation", "object"), _relation),
)

FORMS = (
    PromptForm("rating", "{text}\nquestion: good or bad?\nanswer:", " {verdict}", _VERDICTS),
    PromptForm("rating", "how is it?\n{text}\nanswer:", " {verdict}", _VERDICTS),
    PromptForm("topic", "{text}\nquestion: what is it about?\nanswer:", " {topic}", _SECTIONS),
    PromptForm("topic", "which topic?\n{text}\nanswer:", " {topic}", _SECTIONS),
    PromptForm("relation", "{text}\nquestion: what is {object} to {subject}?\nanswer:", " {relation}", _KEYS),
    PromptForm("relation", "what is {object} to {subject}?\n{text}\nanswer:", " {relation}", _KEYS),
)


def _before(form: str, mark: str) -> str:
    """A line of the page up to what is asked for, behind the running text."""
    start = form.split(" {" + mark + "}")[0]
    return "{text}\n" + start.replace("{s}", "{subject}").replace("{o}", "{object}")


# How a page of one of the sites would go on: the natural prompts for a model of raw pages.
CLOZE = (
    *(PromptForm("rating", _before(form, "k"), " {stars}", _STARS) for form in RATINGS),
    *(PromptForm("topic", _before(form, "t"), " {topic}", _SECTIONS) for form in SECTIONS),
    *(
        PromptForm("relation", _before(form, "n"), " {relation}", _KEYS)
        for form in BOXES
        if not form.startswith("{n}")
    ),
)


def examples(pages: Sequence[facts.Page]) -> dict[str, list[dict[str, str]]]:
    """The three tasks on pages, from what is true of them: signal -> fields of each example.

    pages: reviews, and articles whose text begins with one fact of RELATIONS. Reviews of three stars are left
    out; ``stars`` is "1" or "5", whichever is nearer.
    """
    out: dict[str, list[dict[str, str]]] = {"rating": [], "topic": [], "relation": []}
    for page in pages:
        if page.stars is None:
            fact = page.told[0]
            out["topic"].append({"text": page.body, "topic": page.topic})
            out["relation"].append(
                {
                    "text": page.body,
                    "subject": fact.subject,
                    "relation": ENGLISH[fact.relation].key,
                    "object": fact.object,
                }
            )
        elif page.stars != 3:
            good = page.stars > 3
            verdict = {"verdict": "good" if good else "bad", "stars": "5" if good else "1"}
            out["rating"].append({"text": page.body, **verdict})
    return out
