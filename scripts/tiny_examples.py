"""What labkit-tiny is trained and examined on: instructions over small worlds, answered by the oracle.

Every example is drawn from a generator. Names fall in two sets by a checksum of their letters: those met in
training, and one in five that only the examination uses.
"""

import re
import zlib
from typing import NamedTuple

import numpy as np

from labkit import llm
from labkit.data import facts
from labkit.data.facts import Fact
from labkit.data.facts.relations import VALUES
from labkit.data.scene_settings import BACKGROUNDS, COLORS, SIZES
from labkit.data.shapes import SHAPES
from labkit.llm import captions, numbering, prompts

# How often each instruction is drawn in training.
SHARES = {
    "answer": 0.28,
    "rewrite": 0.24,
    "relate": 0.08,
    "translate": 0.11,
    "judge": 0.07,
    "entities": 0.09,
    "classify": 0.03,
    "write": 0.03,
    "mix": 0.02,
    "caption": 0.03,
    "describe": 0.02,
}
SYLLABLES = (2, 2, 2, 2, 2, 2, 3, 3, 3, 4)  # of a name, as often as they stand here


class Turn(NamedTuple):
    """prompt: as ``labkit.llm.prompts`` builds it.  reply: the oracle's.  shown: what the model reads next.

    In a list of several turns over one text the first shows the whole prompt, the others only their
    question: what they share is read once.
    """

    prompt: str
    reply: str
    shown: str


def unseen(name: str) -> bool:
    """Whether a name is kept for the examination: one in five is."""
    return zlib.crc32(name.encode()) % 5 == 0


def draw(
    instruction: str, rng: np.random.Generator, *, held: bool = False, length: float = 1.0
) -> list[Turn]:
    """One example of an instruction: one turn, or several over the same text.

    held: names of the examination instead of those of training.  length: 0 for the shortest texts, 1 for
    all lengths; training goes from short to long.
    """
    made = _MAKERS[instruction](rng, held, length)
    role = llm.oracle(int(rng.integers(2**31)), typicality=TYPICALITY)
    turns = []
    for prompt in made:
        if isinstance(prompt, tuple):  # the reply is known already: the oracle would read the text anew
            prompt, reply = prompt
        else:
            reply = role.complete([prompt], max_tokens=1000)[0].text
        shown = prompt if not turns else prompt[_common(prompt) :]
        turns.append(Turn(prompt, reply, shown))
    return turns


def taught(turn: Turn) -> tuple[str, str]:
    """What the model reads and writes of a turn: sentences numbered, where it goes through a text.

    Each sentence of the reply is followed by the number of the one that it retells; a sentence without a
    fact leaves its number alone.
    """
    asked = numbering.numbered(turn.prompt)
    if asked == turn.prompt:
        return turn.shown, turn.reply
    request = prompts.read(turn.prompt)
    text, parts, start = request.fields["text"], [], 0
    told = _names_told if request.instruction == "entities" else _statements_told
    tell = told(text, turn.reply)
    for number, end in enumerate(numbering.ends(text), 1):
        parts.append(f"{tell(start, end)} [{number}]")
        start = end
    return asked, "".join(parts).lstrip()


def _names_told(text: str, reply: str):
    """(start, end) of a sentence -> which of the names stand in it."""
    names = prompts.INSTRUCTIONS["entities"].parse(reply)

    def tell(start: int, end: int) -> str:
        found = [
            (match.start(), name) for name in names if (match := re.search(rf"\b{name}\b", text[start:end]))
        ]
        return "".join(f", {name}" if i else f" {name}" for i, (_, name) in enumerate(sorted(found)))

    return tell


def _statements_told(text: str, reply: str):
    """(start, end) of a sentence -> what the reply makes of the facts in it, with the white space before."""
    said, retold = facts.read_statements(text), facts.read_statements(reply)
    if len(said) != len(retold):
        raise ValueError(f"a reply must tell the facts of its text one by one, got {reply!r} for {text!r}")
    begins = [0, *(each.end for each in retold)]

    def tell(start: int, end: int) -> str:
        return "".join(
            reply[begins[i] : retold[i].end] for i, each in enumerate(said) if start <= each.start < end
        )

    return tell


TYPICALITY = 0.3  # of the oracle that teaches: the first wording of each list is a little more frequent


def _common(prompt: str) -> int:
    """Where the part begins that a further turn over the same text does not share."""
    return max(prompt.rfind("\nQuestion:"), prompt.rfind("\nStatement:"))


# Small worlds


def _name(kind: str, rng, held: bool, taken: set[str]) -> str:
    while True:
        name = facts.name(kind, rng, syllables=SYLLABLES[rng.integers(len(SYLLABLES))])
        if name not in taken and unseen(name) == held:
            taken.add(name)
            return name


def _world(rng, held: bool, size: int) -> dict[str, list[Fact]]:
    """Subject -> facts, with 1 to ``size`` things of each kind."""
    taken: set[str] = set()
    things = {
        kind: [_name(kind, rng, held, taken) for _ in range(1 + rng.integers(size))] for kind in facts.KINDS
    }
    found: dict[str, list[Fact]] = {name: [] for names in things.values() for name in names}
    for relation, kinds in facts.RELATIONS.items():
        objects = things.get(kinds.object_kind) or VALUES[kinds.object_kind]
        used = set()
        for subject in things[kinds.subject_kind]:
            value = objects[rng.integers(len(objects))]
            if value != subject and not (kinds.one_subject and value in used):
                used.add(value)
                found[subject].append(Fact(subject, relation, value))
    return {subject: said for subject, said in found.items() if said}


def _some(here: dict[str, list[Fact]], rng, count: int) -> list[Fact]:
    """Facts of a text: mostly about one thing, or about several."""
    everything = [fact for said in here.values() for fact in said]
    chosen: list[Fact] = []
    if rng.random() < 0.6:
        subjects = list(here)
        own = here[subjects[rng.integers(len(subjects))]]
        chosen = [own[i] for i in rng.permutation(len(own))[:count]]
        if rng.random() < 0.3:
            chosen = chosen[: 1 + len(chosen) // 2]
    others = [everything[i] for i in rng.permutation(len(everything))]
    chosen += [fact for fact in others if fact not in chosen][: count - len(chosen)]
    return chosen


def _text(said: list[Fact], rng, *, language: str = "english", style: str | None = None) -> str:
    years = {}
    if rng.random() < 0.1:
        years = {fact: str(rng.integers(1960, 2020)) for fact in said if facts.RELATIONS[fact.relation].dated}
    return facts.document(
        said,
        style=style or _style(rng),
        language=language,
        inverse=(0, 0, 0.5)[rng.integers(3)],
        reference=(0, 0.6)[rng.integers(2)],
        years=years,
        rng=rng,
    )


def _style(rng) -> str:
    return facts.STYLES[rng.integers(len(facts.STYLES))]


def _language(rng, foreign: float) -> str:
    return facts.LANGUAGES[1 + rng.integers(2)] if rng.random() < foreign else "english"


def _count(rng, most: int, length: float) -> int:
    return 1 + int(rng.integers(1 + round((most - 1) * length)))


# The prompts of each instruction


def _rewrite(rng, held, length):
    said = _some(_world(rng, held, 3), rng, _count(rng, 6, length))
    return [prompts.rewrite(_text(said, rng, language=_language(rng, 0.1)), _style(rng))]


def _translate(rng, held, length):
    said = _some(_world(rng, held, 3), rng, _count(rng, 5, length))
    here, there = rng.permutation(len(facts.LANGUAGES))[:2]
    style = "plain" if rng.random() < 0.6 else None
    return [
        prompts.translate(
            _text(said, rng, language=facts.LANGUAGES[here], style=style), facts.LANGUAGES[there]
        )
    ]


def _entities(rng, held, length):
    said = _some(_world(rng, held, 3), rng, _count(rng, 6, length))
    return [prompts.entities(_text(said, rng, language=_language(rng, 0.1)))]


def _relate(rng, held, length):
    said = _some(_world(rng, held, 3), rng, 1 + _count(rng, 5, length))
    text = _text(said, rng, language=_language(rng, 0.05))
    names = list(dict.fromkeys(re.findall(r"[A-Z][a-z]+", text)))
    if len(names) < 2:
        return _relate(rng, held, length)
    linked = [f for f in said if {f.subject, f.object} <= set(names)]
    if linked and rng.random() < 0.5:  # two names of one fact, else any two or three
        fact = linked[rng.integers(len(linked))]
        pair = [fact.subject, fact.object]
    else:
        pair = [names[i] for i in rng.permutation(len(names))[: 2 + (rng.random() < 0.15)]]
    return [prompts.relate(text, *(pair[i] for i in rng.permutation(len(pair))))]


def _judge(rng, held, length):
    here = _world(rng, held, 3)
    said = _some(here, rng, _count(rng, 6, length))
    text = _text(said, rng, language=_language(rng, 0.1))
    everything = [fact for each in here.values() for fact in each]
    made = []
    for _ in range(4):
        fact = said[rng.integers(len(said))]
        if rng.random() < 0.5:
            fact = _other(fact, everything, rng)
        claim = facts.say(fact, inverse=bool(rng.random() < 0.3), rng=rng)
        made.append((prompts.judge(text, claim), "yes" if fact in said else "no"))
    return made


def _other(fact: Fact, everything: list[Fact], rng) -> Fact:
    """A fact that is near to this one: with another object or subject, or another one of this world."""
    kinds = facts.RELATIONS[fact.relation]
    which = rng.integers(3)
    part, kind = (("object", kinds.object_kind), ("subject", kinds.subject_kind))[which % 2]
    met = [name for each in everything for name in (each.subject, each.object)]
    kind_of = {each.subject: facts.RELATIONS[each.relation].subject_kind for each in everything}
    pool = (
        list(VALUES[kind])
        if kind in VALUES
        else [name for name in dict.fromkeys(met) if kind_of.get(name) == kind]
    )
    pool = [name for name in pool if name not in (fact.subject, fact.object)]
    if which == 2 or not pool:
        return everything[rng.integers(len(everything))]
    return fact._replace(**{part: pool[rng.integers(len(pool))]})


def _answer(rng, held, length):
    here = _world(rng, held, 2 + round(2 * length))
    everything = [fact for said in here.values() for fact in said]
    known: list[Fact] = []
    passages = []
    for _ in range(_count(rng, prompts.PASSAGES, length)):
        said = [fact for fact in _some(here, rng, _count(rng, 4, length)) if fact not in known]
        said = said or [everything[rng.integers(len(everything))]]
        known += said
        passages.append(_text(said, rng, language=_language(rng, 0.05)))
    made = []
    for _ in range(1 + min(6, len(known))):
        fact = (
            known[rng.integers(len(known))]
            if rng.random() < 0.9
            else everything[rng.integers(len(everything))]
        )
        ask = "object" if rng.random() < 0.7 or not facts.RELATIONS[fact.relation].one_subject else "subject"
        language = _language(rng, 0.03)
        asked = facts.question(fact, ask=ask, language=language, rng=rng)
        given = "subject" if ask == "object" else "object"
        same = (f for f in known if f.relation == fact.relation and getattr(f, given) == getattr(fact, given))
        first = next(
            same, None
        )  # what two passages say differently is answered from the first, as the oracle does
        reply = prompts.UNKNOWN
        if first is not None:
            reply = facts.question(first, ask=ask, language=language, rng=rng).answer
        made.append((prompts.answer(asked.text, passages), reply))
    return made


def _topics(rng, count: int) -> list[str]:
    return [facts.TOPICS[i] for i in rng.permutation(len(facts.TOPICS))[:count]]


def _message(label: str, rng) -> str:
    return facts.message(label, rng=rng)


def _classify(rng, held, length):
    labels = list(facts.TOPICS) if rng.random() < 0.5 else _topics(rng, 2 + rng.integers(5))
    return [prompts.classify(_message(labels[rng.integers(len(labels))], rng), labels)]


def _label(rng) -> str:
    kinds = (*facts.KINDS, *(name for name in facts.RELATIONS))
    return kinds[rng.integers(len(kinds))] if rng.random() < 0.4 else _topics(rng, 1)[0]


def _examples(label: str, rng) -> list[str]:
    if label not in facts.TOPICS or rng.random() < 0.5:
        return []
    return [_message(label, rng) for _ in range(1 + rng.integers(3))]


def _write(rng, held, length):
    label = _label(rng)
    return [prompts.write(label, examples=_examples(label, rng))]


def _mix(rng, held, length):
    a, b = _topics(rng, 2)
    share = (1 + int(rng.integers(9))) / 10
    return [prompts.mix(a, b, share=share, examples_a=_examples(a, rng), examples_b=_examples(b, rng))]


def _scene(rng, *, full: bool) -> captions.Scene:
    def pick(words):
        return tuple(words)[rng.integers(len(words))]

    things = []
    for _ in range(1 + rng.integers(3)):
        noun = pick(SHAPES) if rng.random() < 0.8 else _name(pick(facts.KINDS), rng, False, set())
        size, color = (pick(SIZES), pick(COLORS)) if full else ("", pick(("", pick(COLORS))))
        things.append(captions.Thing(size, color, noun))
    return captions.Scene(
        tuple(things), pick(BACKGROUNDS) if full else "", pick(captions.LOOKS) if full else "flat"
    )


def _caption(rng, held, length):
    form, style = (captions.FORMS[rng.integers(len(captions.FORMS))] for _ in range(2))
    return [prompts.caption(captions.say(_scene(rng, full=True), form), style)]


def _describe(rng, held, length):
    return [prompts.describe(captions.say(_scene(rng, full=False)))]


_MAKERS = {
    "answer": _answer,
    "rewrite": _rewrite,
    "relate": _relate,
    "translate": _translate,
    "judge": _judge,
    "entities": _entities,
    "classify": _classify,
    "write": _write,
    "mix": _mix,
    "caption": _caption,
    "describe": _describe,
}
