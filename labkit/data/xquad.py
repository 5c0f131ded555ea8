"""``xquad``: SQuAD paragraphs with questions and answers in several languages, from the hub or a copy."""

import hashlib
import json

from labkit.data import build, grouped, homes
from labkit.data.card import Card, compose
from labkit.data.source import Source

__all__ = ["LANGUAGES", "SOURCE", "load"]

HUB = "google/xquad"
LANGUAGES = ("en", "de", "es")
_memory: dict = {}  # (folder, language) -> rows, in the published order


def load(
    *,
    size: int | None = None,
    seed: int = 0,
    test_size: int | None = None,
    languages: tuple[str, ...] = ("en",),
):
    """XQuAD, split by paragraph, anew by each seed: a fifth of the 240 paragraphs is the test part.

    size, test_size: number of training and test questions; None for all of each part.
    languages: some of "en", "de", "es". A paragraph is in the same part in all of them.
    Columns: context, question, answers (a list of {text, start}; start counts characters of the
    context), paragraph (a number, shared by the translations), language, id (of the question, shared).
    Read from the hub, or, where the environment variable LABKIT_DATA names a folder, from its
    ``xquad/xquad.<language>.json``, in SQuAD's format.
    Raises ValueError for an unknown language, FileNotFoundError where that folder has no copy,
    ConnectionError where the hub cannot be read.
    """
    from datasets import DatasetDict, Features, List, Value

    languages = (languages,) if isinstance(languages, str) else tuple(languages)
    if not languages or set(languages) - set(LANGUAGES):
        raise ValueError(f"languages must be some of {', '.join(LANGUAGES)}, got {languages!r}")
    table = [row for language in languages for row in _read(homes.folder(), language)]
    rng = build.stream(seed, "xquad")
    paragraphs = [str(row["paragraph"]) for row in table]
    split = grouped.by_group(paragraphs, rng, size=size, test_size=test_size)
    text, number = Value("string"), Value("int32")
    features = Features(
        {
            "context": text,
            "question": text,
            "answers": List({"text": text, "start": number}),
            "paragraph": number,
            "language": text,
            "id": text,
        }
    )
    identity = f"xquad {fingerprint()} {seed} {size} {test_size} {languages}"
    return DatasetDict(
        {
            name: homes.rows([table[k] for k in chosen], features, f"{identity} {name}")
            for name, chosen in split._asdict().items()
        }
    )


def _read(folder: str | None, language: str) -> list[dict]:
    """All questions in one language; kept in memory for the next seed."""
    if (folder, language) not in _memory:
        found = _hub(language) if folder is None else _json(language)
        order: dict[str, int] = {}  # the contexts in the order in which they come
        for row in found:
            row |= {"paragraph": order.setdefault(row["context"], len(order)), "language": language}
            for answer in row["answers"]:
                start = answer["start"]
                if row["context"][start : start + len(answer["text"])] != answer["text"]:
                    raise ValueError(f"xquad {language}: the answer of {row['id']} is not where it should be")
        _memory[folder, language] = found
    return _memory[folder, language]


def _hub(language: str) -> list[dict]:
    part = homes.hub("xquad", HUB, f"xquad.{language}")["validation"]
    return [
        {
            **{name: row[name] for name in ("id", "context", "question")},
            "answers": [
                {"text": text, "start": start}
                for text, start in zip(row["answers"]["text"], row["answers"]["answer_start"], strict=True)
            ],
        }
        for row in part
    ]


def _json(language: str) -> list[dict]:
    path = homes.file("xquad", f"xquad.{language}.json")
    articles = json.loads(path.read_text(encoding="utf-8"))["data"]
    return [
        {
            "id": asked["id"],
            "context": paragraph["context"],
            "question": asked["question"],
            "answers": [{"text": a["text"], "start": a["answer_start"]} for a in asked["answers"]],
        }
        for article in articles
        for paragraph in article["paragraphs"]
        for asked in paragraph["qas"]
    ]


def fingerprint() -> str:
    """Hash of all languages of the local copy; from the hub, of those that are loaded."""
    folder = homes.folder()
    if folder is None and not _memory:
        homes.file("xquad")  # raises, and says why
    digest = hashlib.sha256()
    for language in LANGUAGES:
        if folder is not None or (None, language) in _memory:
            digest.update(json.dumps(_read(folder, language), sort_keys=True).encode())
    return digest.hexdigest()[:16]


def card() -> Card:
    return Card(
        name="xquad",
        summary="240 paragraphs of Wikipedia with 1,190 questions, the same in English, German and Spanish.",
        origin="Artetxe, Ruder and Yogatama (2020), *On the Cross-lingual Transferability of Monolingual "
        "Representations*; paragraphs and questions from SQuAD 1.1's development set, translated by "
        f"professionals. Read from the Hugging Face hub (`{HUB}`). A local copy: `xquad/xquad.en.json` and "
        "so on, as in the authors' repository `google-deepmind/xquad`.",
        licence="CC BY-SA 4.0.",
        limits=(
            "An evaluation set: 240 paragraphs are few to train on.",
            "Paragraphs of one article may be in both parts: articles are not recorded by the hub's copy.",
            "All is translated from English: no text was written in German or Spanish.",
            "Not bundled: it needs the hub or a local copy.",
        ),
        use="Real questions with answers in the text: retrieval, reading, rewriting, across languages.",
        **homes.composed(lambda: compose(load(), 'data.load("xquad")')),
    )


SOURCE = Source("xquad", load, fingerprint, card)
