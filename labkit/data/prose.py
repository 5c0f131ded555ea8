"""``prose``: Python's reference text and the docstrings of its library, as documents."""

import hashlib
from functools import cache

from labkit.data import build, grouped, homes, python_source
from labkit.data.card import Card, compose
from labkit.data.source import Source

__all__ = ["SOURCE", "SOURCES", "load"]

SOURCES = ("reference", "standard library", "numpy", "scikit-learn")
SHORTEST = 200  # characters: less is no document


def load(
    *,
    size: int | None = None,
    seed: int = 0,
    test_size: int | None = None,
    sources: tuple[str, ...] = ("reference", "standard library"),
):
    """Technical English that comes with Python, split by document, anew by each seed.

    size, test_size: number of training and test documents; None for four fifths and one fifth of them.
    sources: any of "reference" (chapters of the language reference, as ``help()`` shows them), "standard
    library", "numpy", "scikit-learn" (the docstrings of one module together make a document).
    Columns: text, title, source. Documents below 200 characters are left out.
    Raises ValueError for an unknown source, FileNotFoundError where one is not installed.
    """
    from datasets import DatasetDict, Features, Value

    sources = (sources,) if isinstance(sources, str) else tuple(sources)
    if not sources or set(sources) - set(SOURCES):
        raise ValueError(f"sources must be some of {', '.join(map(repr, SOURCES))}, got {sources!r}")
    table = [row for source in sources for row in _documents(source)]
    titles = [f"{row['source']}: {row['title']}" for row in table]
    split = grouped.by_group(titles, build.stream(seed, "prose"), size=size, test_size=test_size)
    features = Features({name: Value("string") for name in ("text", "title", "source")})
    identity = f"prose {fingerprint()} {seed} {size} {test_size} {sources}"
    return DatasetDict(
        {
            name: homes.rows([table[k] for k in chosen], features, f"{identity} {name}")
            for name, chosen in split._asdict().items()
        }
    )


@cache
def _documents(source: str) -> tuple[dict, ...]:
    """The documents of one source, in order."""
    if source == "reference":
        from pydoc_data.topics import topics  # a dictionary of texts, generated from the manual

        found = [(title, text.strip()) for title, text in sorted(topics.items())]
    else:
        found = []
        for module in python_source.modules(source):
            texts = [module.docstring, *(part.docstring for part in module.parts)]
            found.append((module.name, "\n\n".join(text for text in texts if text)))
    return tuple({"text": b, "title": a, "source": source} for a, b in found if len(b) >= SHORTEST)


@cache
def fingerprint() -> str:
    """Hash of the documents of the default sources: another version of Python has another one."""
    digest = hashlib.sha256()
    for row in (*_documents("reference"), *_documents("standard library")):
        digest.update(f"{row['title']}\0{row['text']}\0".encode())
    return digest.hexdigest()[:16]


def card() -> Card:
    import platform

    return Card(
        name="prose",
        summary="Technical English: Python's language reference and the docstrings of its library.",
        origin="The chapters that `help()` shows (`pydoc_data.topics`) and the docstrings of the standard "
        "library, read from the installed sources without running them; on request also those of numpy and "
        "scikit-learn.",
        licence="Python Software Foundation License; numpy and scikit-learn: BSD-3-Clause.",
        limits=(
            f"It changes with Python: the figures here are those of Python {platform.python_version()}. The "
            "content's hash (`data.fingerprint`) is in every record; no headline rests on these data alone.",
            "One subject and one register; half of it is lists of functions, with code among the words.",
            "Any language model trained on the web has read it.",
        ),
        use="Real text for quick runs without a download: tokenizers, small language models, retrieval of "
        "passages, rewriting.",
        composition=compose(load(), 'data.load("prose")'),
    )


SOURCE = Source("prose", load, fingerprint, card)
