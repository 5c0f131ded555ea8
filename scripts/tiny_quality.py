"""How well a model follows the instructions of labkit-tiny: exact replies about names it never met."""

from collections import Counter
from functools import cache

import tiny_examples

from labkit import llm
from labkit.data import facts
from labkit.data.build import stream
from labkit.data.facts.grammar import fill_slots
from labkit.data.facts.wordings import smooth, templates, tokens
from labkit.llm import captions, prompts
from labkit.llm.speaking import language_of

# Instruction -> what counts as exact.
MEANING = {
    "rewrite": "all facts, none added, and every sentence in the style",
    "answer": "the same name or value, or unknown, from 1 to 8 passages",
    "entities": "the same names",
    "relate": "all facts that connect the names, none added",
    "write": "readable and about the class",
    "mix": "every word may stand in a text of either class",
    "translate": "all facts, none added, and every sentence in the language",
    "judge": "the same yes or no",
    "classify": "the same class",
    "caption": "the same words",
    "describe": "a caption that shows what was asked",
}


INVENTS = ("write", "mix", "describe")  # what these say is for them to choose


def examination(instruction: str, count: int, *, seed: int = 10_000) -> list[tiny_examples.Turn]:
    """Prompts with names that were never in training, and the oracle's replies."""
    rng = stream(seed, "labkit-tiny", instruction)
    return [tiny_examples.draw(instruction, rng, held=True)[0] for _ in range(count)]


def replies(role, turns) -> list[str]:
    """What a role says: the likeliest reply, or, where it is to invent, one drawn at temperature 1."""
    name = prompts.read(turns[0].prompt).instruction
    room, temperature = prompts.INSTRUCTIONS[name].max_tokens, float(name in INVENTS)
    return llm.texts(role, [turn.prompt for turn in turns], max_tokens=room, temperature=temperature)


def exact(turn: tiny_examples.Turn, reply: str) -> bool:
    """Whether a reply does what the prompt asks, see :data:`MEANING`."""
    request = prompts.read(turn.prompt)
    fields = request.fields
    said = prompts.INSTRUCTIONS[request.instruction].parse(reply)
    wanted = prompts.INSTRUCTIONS[request.instruction].parse(turn.reply)
    match request.instruction:
        case "rewrite":
            return _same_facts(said, wanted) and in_style(said, fields["style"], language_of(fields["text"]))
        case "translate":
            return _same_facts(said, wanted) and in_style(said, None, fields["language"])
        case "relate":
            return said == wanted or (bool(facts.read(wanted)) and _same_facts(said, wanted))
        case "entities":
            return set(said) == set(wanted)
        case "write":
            return _about(said, fields["label"])
        case "mix":
            return {fields["label_a"], fields["label_b"]} <= _possible(said)
        case "describe":
            return _shows(captions.parse(said), captions.parse(fields["label"]))
    return said == wanted


def size(turn: tiny_examples.Turn) -> str:
    """How much a prompt asks to go through: of a text its facts, of passages how many; "" for the others."""
    fields = prompts.read(turn.prompt).fields
    if "passages" in fields:
        count, what = len(fields["passages"]), "passage"
    elif count := len(facts.read(fields.get("text", ""))):
        what = "fact"
    else:
        return ""
    group = next(top for top in (1, 3, 8) if count <= top)
    return {1: f"1 {what}", 3: f"2 to 3 {what}s", 8: f"4 to {8 if what == 'passage' else 6} {what}s"}[group]


def _same_facts(text: str, wanted: str) -> bool:
    return Counter(facts.read(text)) == Counter(facts.read(wanted))


def in_style(text: str, style: str | None, language: str) -> bool:
    """Whether each sentence with a fact is one of the style's (None: of any style) in the language."""
    known = _sentences(style, language)
    topics = dict.fromkeys(facts.KINDS, "")  # "this company" is in order: whom it means was read before
    for statement in facts.read_statements(text):
        words = smooth(tokens(text[statement.start : statement.end]))
        if statement.year is not None:
            words = words[3:]
        if tuple(word for word in fill_slots(words, topics)[0] if word not in ".!") not in known:
            return False
    return bool(text)


@cache
def _sentences(style: str | None, language: str) -> frozenset[tuple[str, ...]]:
    found = set()
    for (relation, each, _), texts in templates(language).items():
        kinds = facts.RELATIONS[relation]
        for text in texts if style in (None, each) else ():
            words = smooth(tokens(text.replace("{s}", " SS ").replace("{o}", " OO ")))
            slots = {"SS": f"<{kinds.subject_kind}>", "OO": f"<{kinds.object_kind}>"}
            found.add(tuple(slots.get(word, word) for word in words if word not in ".!"))
    return frozenset(found)


def _about(text: str, label: str) -> bool:
    if label in facts.TOPICS:
        return label in _likeliest(text)
    said = facts.read(text)
    return bool(said) and all(label in (f.relation, facts.RELATIONS[f.relation].subject_kind) for f in said)


def _likeliest(text: str) -> set[str]:
    """The topics that are likeliest for a text; none where its words tell nothing, or agree with none."""
    chances = _chances(text)
    found = {topic for topic, chance in chances.items() if chance > max(chances.values()) - 1e-9}
    return found if len(found) < len(facts.TOPICS) else set()


def _possible(text: str) -> set[str]:
    """The topics in whose texts every word of this one may stand."""
    return {topic for topic, chance in _chances(text).items() if chance > 0}


def _chances(text: str) -> dict[str, float]:
    """Topic -> its probability; empty for a text without topical words, or with those of strange topics."""
    if not set(tokens(text)) & set(facts.TOPIC_WORDS):
        return {}
    try:
        chances = facts.posterior([text])[0]
    except ValueError:  # no topic has all these words
        return {}
    return dict(zip(facts.TOPICS, chances.tolist(), strict=True))


def _shows(scene: captions.Scene | None, asked: captions.Scene) -> bool:
    if scene is None or len(scene.things) != len(asked.things):
        return False
    pairs = zip(scene.things, asked.things, strict=True)
    return all(shown.noun == thing.noun and thing.color in ("", shown.color) for shown, thing in pairs)
