"""``tinyshakespeare``: a megabyte of plays as passages, from the hub or a local copy."""

import hashlib

from labkit.data import build, homes
from labkit.data.card import Card, compose
from labkit.data.source import Source

__all__ = ["SOURCE", "load", "passages"]

HUB = "karpathy/tiny_shakespeare"
# The hub's own conversion: the data set itself is a script, which the datasets library no longer runs.
REVISION = "refs/convert/parquet"
SPLITS = ("train", "validation", "test")
_memory: dict = {}  # folder (None: the hub) -> the whole text


def load(*, size: int | None = None, seed: int = 0, test_size: int | None = None, passage: int = 1000):
    """Shakespeare's plays, one after the other; the last tenth of the text is the test part.

    size, test_size: number of training and test passages, drawn anew by each seed and kept in the order
    of the text; None for all.
    passage: characters, from 100 up, that a passage holds at most, unless one speech alone is longer.
    Columns: text (whole speeches, a blank line between them), start (in characters of the whole text).
    Read from the hub, or, where the environment variable LABKIT_DATA names a folder, from its
    ``tinyshakespeare/input.txt``.
    Raises FileNotFoundError where that folder has no copy, ConnectionError where the hub cannot be read.
    """
    from datasets import DatasetDict, Features, Value

    build.check_count("passage", passage, low=100)
    text = _read(homes.folder())
    found = passages(text, passage)
    border = 0.9 * len(text)
    rows = {
        "train": [row for row in found if row["start"] + len(row["text"]) <= border],
        "test": [row for row in found if row["start"] >= border],  # the one across the border is in neither
    }
    features = Features({"text": Value("string"), "start": Value("int64")})
    parts = {}
    for split, name, count in (("train", "size", size), ("test", "test_size", test_size)):
        chosen = rows[split]
        if count is not None:
            build.check_count(name, count, high=len(chosen))
            rng = build.stream(seed, "tinyshakespeare", split)
            chosen = [chosen[k] for k in sorted(rng.permutation(len(chosen))[:count])]
        identity = f"tinyshakespeare {fingerprint()} {seed} {count} {passage} {split}"
        parts[split] = homes.rows(chosen, features, identity)
    return DatasetDict(parts)


def passages(text: str, longest: int) -> list[dict]:
    """Cut a play between speeches (at blank lines): rows of text and start, in order.

    >>> [row["text"] for row in passages("A:\\nYes.\\n\\nB:\\nNo.\\n\\nA:\\nOh.\\n", 16)]
    ['A:\\nYes.\\n\\nB:\\nNo.', 'A:\\nOh.']
    """
    rows, start = [], 0
    for speech in text.split("\n\n"):
        body = speech.strip("\n")
        if body:
            at = start + speech.index(body)
            if rows and at + len(body) - rows[-1]["start"] <= longest:
                rows[-1]["text"] = text[rows[-1]["start"] : at + len(body)]
            else:
                rows.append({"text": body, "start": at})
        start += len(speech) + 2
    return rows


def _read(folder: str | None) -> str:
    if folder not in _memory:
        if folder is None:
            data = homes.hub("tinyshakespeare", HUB, revision=REVISION)
            # the three splits are the text's consecutive parts
            text = "".join(piece for split in SPLITS for piece in data[split]["text"])
        else:
            text = homes.file("tinyshakespeare", "input.txt").read_text(encoding="utf-8")
        _memory[folder] = text
    return _memory[folder]


def fingerprint() -> str:
    """Hash of the text; from the hub only once it is loaded: a hash starts no download."""
    folder = homes.folder()
    if folder is None and None not in _memory:
        homes.file("tinyshakespeare")  # raises, and says why
    return hashlib.sha256(_read(folder).encode()).hexdigest()[:16]


def card() -> Card:
    return Card(
        name="tinyshakespeare",
        summary="1.1 MB of Shakespeare's plays, as passages of whole speeches.",
        origin="Put together by Karpathy for `char-rnn` (2015); read from the Hugging Face hub "
        f"(`{HUB}`, its parquet conversion). A local copy: `tinyshakespeare/input.txt`, as in the "
        "repository `karpathy/char-rnn`.",
        licence="Text in the public domain.",
        limits=(
            "Early modern English by one author: no model for today's text.",
            "Titles of plays are not marked, and the border between the parts runs through a play.",
            "Any language model trained on the web has read it.",
            "Not bundled: it needs the hub or a local copy.",
        ),
        use="A real corpus for language models that train in seconds to minutes.",
        **homes.composed(lambda: compose(load(), 'data.load("tinyshakespeare")')),
    )


SOURCE = Source("tinyshakespeare", load, fingerprint, card)
