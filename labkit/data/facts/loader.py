"""``data.load("facts", view=...)``: the views of a world as typed data sets."""

import hashlib

from labkit.data import build
from labkit.data.card import Card, compose
from labkit.data.facts import topics as topics_
from labkit.data.facts import views
from labkit.data.facts.names import KINDS
from labkit.data.facts.wordings import LANGUAGES, STYLES
from labkit.data.facts.worlds import World, world
from labkit.data.source import Source, suggest

__all__ = ["SOURCE", "VIEWS", "load"]

VERSION = 1  # raise it whenever the same seed gives another world or other texts
VIEWS = ("documents", "qa", "tables", "labelled", "pages")
SHARES = {"people": 0.4, "companies": 0.2, "cities": 0.1, "products": 0.3}


def load(
    *,
    size: int | None = None,
    seed: int = 0,
    test_size: int = 200,
    view: str = "documents",
    style: str = "plain",
    language: str = "english",
    inverse: float = 0.0,
    ask: str = "object",
    table: str = "product",
    topics: int = 8,
    typicality: float = 0.5,
    label_noise: float = 0.0,
    junk: float = 0.5,
    **test,
):
    """Draw one view of two worlds that share no name. Returns a ``DatasetDict`` with train and test.

    size: number of training examples (1,000). For documents and tables that is the number of entities
    written about. Everything is exact: what a text states is in its columns.

    view: "documents": title, text, kind, subjects, relations, objects (one document per entity).
    "qa": question, answer, context, answer_start, answer_end, evidence_start, evidence_end, relation.
    "tables": one row per entity of the kind ``table``, a column per relation, empty where there is none.
    "labelled": text, label, truth; see :func:`labkit.data.facts.labelled`.
    "pages": text, title, body, kind, entity, stars (0 for articles), topic ("" for reviews), year.
    style, language: of documents and contexts; ``test_style`` and ``test_language`` for the test split only.
    inverse: share of sentences from the object's side. ask: "object" or "subject". topics, typicality,
    label_noise (of training labels only): of labelled texts. junk: of pages.
    Raises ValueError or TypeError naming the setting.
    """
    from datasets import DatasetDict

    SOURCE.check(test)
    size = build.check_count("size", 1000 if size is None else size)
    test_size = build.check_count("test_size", test_size)
    for name, value, valid in (
        ("view", view, VIEWS),
        ("style", style, STYLES),
        ("language", language, LANGUAGES),
        ("test_style", test.get("test_style", style), STYLES),
        ("test_language", test.get("test_language", language), LANGUAGES),
        ("ask", ask, ("object", "subject")),
        ("table", table, KINDS),
    ):
        if value not in valid:
            raise ValueError(f"{name} {value!r}: {suggest(value, valid)}")
    settings = {
        "style": style,
        "language": language,
        "inverse": build.real("inverse", inverse, 0, 1),
        "ask": ask,
        "table": table,
        "topics": topics,
        "typicality": typicality,
        "label_noise": label_noise,
        "junk": junk,
    }
    shift = {name.removeprefix("test_"): value for name, value in test.items()}
    parts = {"train": (size, settings), "test": (test_size, settings | {"label_noise": 0.0} | shift)}
    rows = _VIEWS[view]
    worlds = _worlds(view, size, test_size, seed, table)
    out = {}
    for part, (count, chosen) in parts.items():
        rng = build.stream(seed, "facts", view, part)
        columns, features = rows(worlds[part], count, chosen, rng)
        identity = f"facts {VERSION} {seed} {view} {size} {parts} {part}"
        out[part] = build.dataset(columns, features, identity)
    return DatasetDict(out)


def _worlds(view: str, size: int, test_size: int, seed: int, table: str) -> dict[str, World]:
    """Two worlds without a name in common, large enough for the view."""
    out: dict[str, World] = {}
    taken: frozenset[str] = frozenset()
    for part, count in (("train", size), ("test", test_size)):
        per_entity = 3 if view == "qa" else 1  # a question for most of an entity's facts
        total = min(-(-count // per_entity), 400) if view == "pages" else -(-count // per_entity)
        counts = {name: max(4, -(-int(1e6 * share) * total // 10**6)) for name, share in SHARES.items()}
        if view == "tables":
            argument = dict(zip(KINDS, SHARES, strict=True))[table]
            counts[argument] = max(counts[argument], count)
        number = int(build.stream(seed, "facts", "world", part).integers(2**31))
        syllables = 2 if max(counts.values()) <= 150 else 3
        out[part] = world(number, **counts, syllables=syllables, avoid=taken)
        taken = taken | frozenset(out[part].entities)
    return out


def _writing(settings: dict) -> dict:
    return {name: settings[name] for name in ("style", "language", "inverse")}


def _documents(here: World, count: int, settings: dict, rng):
    from datasets import Features, List, Value

    kept = here.documents(rng=rng, **_writing(settings))
    kept = [kept[i] for i in rng.permutation(len(kept))[:count]]
    text, many = Value("string"), List(Value("string"))
    features = {"text": text, "title": text, "kind": text}
    features |= {"subjects": many, "relations": many, "objects": many}
    columns = {
        "text": [each.text for each in kept],
        "title": [each.title for each in kept],
        "kind": [here.entities[each.title] for each in kept],
    }
    for name, place in (("subjects", 0), ("relations", 1), ("objects", 2)):
        columns[name] = [[statement.fact[place] for statement in each.statements] for each in kept]
    return columns, Features(features)


def _qa(here: World, count: int, settings: dict, rng):
    from datasets import Features, Value

    found = []
    for each in here.documents(rng=rng, **_writing(settings)):
        found += views.evidence(each, ask=settings["ask"], language=settings["language"], rng=rng)
    found = [found[i] for i in rng.permutation(len(found))[:count]]
    text, whole = Value("string"), Value("int32")
    columns = {
        "question": (text, [each.question for each in found]),
        "answer": (text, [each.answer for each in found]),
        "context": (text, [each.context for each in found]),
        "answer_start": (whole, [each.answer_start for each in found]),
        "answer_end": (whole, [each.answer_end for each in found]),
        "evidence_start": (whole, [each.start for each in found]),
        "evidence_end": (whole, [each.end for each in found]),
        "relation": (text, [each.fact.relation for each in found]),
    }
    features = Features({name: kind for name, (kind, _) in columns.items()})
    return {name: values for name, (_, values) in columns.items()}, features


def _tables(here: World, count: int, settings: dict, rng):
    from datasets import Features, Value

    columns = {name: values[:count] for name, values in here.tables()[settings["table"]].items()}
    numbers = {name for name, values in columns.items() if any(isinstance(v, int) for v in values)}
    return columns, Features({name: Value("int32" if name in numbers else "string") for name in columns})


def _labelled(here: World, count: int, settings: dict, rng):
    from datasets import ClassLabel, Features, Value

    kept = here.labelled(
        count,
        topics=settings["topics"],
        typicality=settings["typicality"],
        label_noise=settings["label_noise"],
        rng=rng,
    )
    names = ClassLabel(names=list(topics_.TOPICS[: settings["topics"]]))
    features = Features({"text": Value("string"), "label": names, "truth": names})
    return {name: [getattr(each, name) for each in kept] for name in features}, features


def _pages(here: World, count: int, settings: dict, rng):
    from datasets import Features, Value

    kept = here.pages(count, junk=settings["junk"], rng=rng)
    text = Value("string")
    features = {name: text for name in ("text", "title", "body", "kind", "entity", "topic", "year")}
    columns = {name: [getattr(each, name) or "" for each in kept] for name in features}
    columns["stars"] = [each.stars or 0 for each in kept]
    return columns, Features(features | {"stars": Value("int32")})


_VIEWS = {
    "documents": _documents,
    "qa": _qa,
    "tables": _tables,
    "labelled": _labelled,
    "pages": _pages,
}


def fingerprint() -> str:
    """Procedural data are determined by the version of their generator."""
    return hashlib.sha256(f"facts {VERSION}".encode()).hexdigest()[:16]


def card() -> Card:
    return Card(
        name="facts",
        summary="A small world of people, companies, cities and products, drawn from a seed and spoken "
        f"through a grammar: {len(STYLES)} styles, {len(LANGUAGES)} languages, both directions, "
        "with every statement known.",
        origin="Drawn by `labkit.data.facts`; no outside source. Names are put together from 80 syllables, "
        "two of the languages are invented.",
        licence="MIT, as the code that draws them.",
        limits=(
            "Synthetic: a few hundred words and short sentences. A gain here shows that a mechanism works, "
            "not how large it is on natural text.",
            "One sentence states one fact. There is no irony, no doubt, no world knowledge to lean on.",
            "Styles differ in words and noise far more regularly than people do.",
            "Facts are independent of each other: who lives where says nothing about who works where.",
        ),
        use="Questions that need exact truth about a text: rewriting, look-up in a context, retrieval with "
        "unreliable sources, facts that change, classes with a known posterior, tables with exact answers.",
        composition=compose(load(), 'data.load("facts")'),
    )


SOURCE = Source("facts", load, fingerprint, card, test_settings=("style", "language"))
