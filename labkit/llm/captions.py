"""Captions of ``scenes`` taken apart and written in several forms; the grammar of the caption's oracle."""

import re
from typing import NamedTuple

import numpy as np

from labkit.data.scene_settings import BACKGROUNDS, COLORS, SIZES, STYLE_PHRASES
from labkit.data.shapes import SHAPES

__all__ = ["FORMS", "LOOKS", "Scene", "Thing", "alter", "imagine", "parse", "say"]

FORMS = ("caption", "sentence", "tags", "short")
LOOKS = tuple(STYLE_PHRASES)

# look -> the word that stands for it in a list of tags
_TAGS = {
    look: re.sub(r"\{\}|\ba\b|\bof\b|\bpicture\b|\bat\b|\bin\b", "", p) for look, p in STYLE_PHRASES.items()
}
_TAGS = {look: " ".join(words.split()) for look, words in _TAGS.items()}


class Thing(NamedTuple):
    """One object: size and colour or "", and what it is (a shape or an invented noun)."""

    size: str
    color: str
    noun: str


class Scene(NamedTuple):
    """What a caption says: the objects, the ground or "", the look (see ``LOOKS``)."""

    things: tuple[Thing, ...]
    ground: str
    look: str


def say(scene: Scene, form: str = "caption") -> str:
    """A scene in words. form: "caption" as in the data set, "sentence", "tags" or "short".

    >>> scene = Scene((Thing("small", "red", "star"),), "sand", "night")
    >>> for form in FORMS:
    ...     print(say(scene, form))
    a small red star on sand at night
    The picture shows a small red star on sand at night.
    small red star, sand ground, night
    red star, sand, night
    """
    if form not in FORMS:
        raise ValueError(f"form must be one of {', '.join(FORMS)}, got {form!r}")
    if form in ("caption", "sentence"):
        things = [f"a {_words(thing)}" for thing in scene.things]
        listed = things[0] if len(things) == 1 else f"{', '.join(things[:-1])} and {things[-1]}"
        text = STYLE_PHRASES[scene.look].format(f"{listed} on {scene.ground}" if scene.ground else listed)
        return text if form == "caption" else f"The picture shows {text}."
    things = [_words(t if form == "tags" else t._replace(size="")) for t in scene.things]
    ground = f"{scene.ground} ground" if form == "tags" and scene.ground else scene.ground
    look = "" if scene.look == "flat" else _TAGS[scene.look]
    return ", ".join(part for part in (*things, ground, look) if part)


def parse(text: str) -> Scene | None:
    """The scene that a caption tells, in any of the forms; None for another text.

    >>> parse("a sketch of a small red star and a large blue Balfin on grass").things[1]
    Thing(size='large', color='blue', noun='Balfin')
    """
    text = " ".join(text.split()).removesuffix(".")
    text = re.sub(r"^the picture shows ", "", text, flags=re.IGNORECASE)
    look, rest = _look(text)
    ground = ""
    if found := re.fullmatch(r"(.*) on (\w+)", rest):
        rest, ground = found[1], found[2]
    parts = [part for part in re.split(r", | and ", rest) if part]
    tags = {tag: name for name, tag in _TAGS.items() if tag}
    if not ground and len(parts) > 1:  # a list of tags: the last ones are look and ground
        if parts[-1] in tags:
            look = tags[parts.pop()]
        if parts and parts[-1].removesuffix(" ground") in BACKGROUNDS:
            ground = parts.pop().removesuffix(" ground")
    things = [_thing(part) for part in parts]
    if not things or None in things or (ground and ground not in BACKGROUNDS):
        return None
    return Scene(tuple(things), ground, look)


def alter(thing: Thing, rng: np.random.Generator) -> Thing:
    """The thing with another colour; one without colour becomes another shape."""
    part, known = ("color", COLORS) if thing.color else ("noun", SHAPES)
    others = [each for each in known if each != getattr(thing, part)]
    return thing._replace(**{part: others[rng.choice(len(others))]})


def imagine(label: str, typicality: float, rng: np.random.Generator) -> Scene:
    """A scene with what the label names, such as "a red star and a circle"; the rest is drawn.

    typicality: how often a thing is medium-sized and the look flat.  Raises ValueError for a label that
    names neither shapes nor nouns.
    """
    given = parse(label)
    if given is None:
        raise ValueError(f"the oracle describes shapes, such as 'a red star', got {label!r}")

    def draw(known, usual: str) -> str:
        return usual if rng.random() < typicality else list(known)[rng.choice(len(known))]

    things = [
        thing._replace(size=thing.size or draw(SIZES, "medium"), color=thing.color or draw(COLORS, "red"))
        for thing in given.things
    ]
    look = given.look if given.look != "flat" else draw(LOOKS, "flat")
    return Scene(tuple(things), given.ground or draw(BACKGROUNDS, "sand"), look)


def _look(text: str) -> tuple[str, str]:
    for look, phrase in STYLE_PHRASES.items():
        before, after = phrase.split("{}")
        if phrase != "{}" and text.startswith(before) and text.endswith(after):
            return look, text[len(before) : len(text) - len(after)]
    return "flat", text


def _thing(text: str) -> Thing | None:
    words = re.sub(r"^(a|an|one) ", "", text.strip()).split()
    size = words.pop(0) if words and words[0] in SIZES else ""
    color = words.pop(0) if len(words) > 1 and words[0] in COLORS else ""
    noun = " ".join(words)
    known = noun in SHAPES or re.fullmatch(r"[A-Z][a-z]+", noun)
    return Thing(size, color, noun) if known else None


def _words(thing: Thing) -> str:
    return " ".join(word for word in thing if word)
