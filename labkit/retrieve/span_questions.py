"""Questions with exact evidence: a language model writes them and quotes, and what it quotes is checked.

The model sees a window of the text. It writes a question and copies the excerpts that together answer it;
they may be apart. Nothing of the reply is believed: an excerpt must stand in the window word by word, and
only once, so that its place is known. Then questions that are too like an earlier one are left out, and
those with an excerpt that has too little to do with the question. :class:`KeywordWriter` stands in for the
model where none is at hand; any role of ``labkit.llm`` takes its place.

After the generator of Chroma's ``chunking_evaluation``; the likeness there is that of embeddings, with 0.36
as the least between question and excerpt. Here it is the cosine of the sets of words unless another is given.
"""

import json
import re
from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import NamedTuple

import numpy as np

from labkit.data.build import check_count, real, stream
from labkit.llm import LLM, Completion
from labkit.llm.completion import check_request
from labkit.retrieve.span_chunks import Span, chunk_texts, sentence_chunks, tokens_of

__all__ = ["Generated", "KeywordWriter", "SpanQA", "generate", "instruction", "locate", "read", "word_cosine"]

REASONS = ("no question", "number of excerpts", "not verbatim", "overlapping", "duplicate", "unlike")


class SpanQA(NamedTuple):
    """A question, and its evidence as spans of tokens of the text, in order.

    likeness: of the question and the excerpt that it is least like; NaN where none was computed.
    """

    question: str
    references: list[Span]
    likeness: float = float("nan")


class Generated(NamedTuple):
    """kept: the questions.  left_out: reason -> how many replies."""

    kept: list[SpanQA]
    left_out: dict[str, int]


def instruction(window: str, most: int) -> str:
    """The prompt: a question, and one to ``most`` excerpts, as JSON."""
    return (
        "Write one question that the text answers, and copy from the text, word for word, the "
        f"1 to {most} excerpts that are needed to answer it. They need not stand side by side.\n"
        'Reply with JSON only: {"question": "...", "excerpts": ["...", "..."]}\n'
        f"Text:\n{window}\nJSON:"
    )


def read(reply: str) -> tuple[str, list[str]] | None:
    """Question and excerpts of a reply, with whatever stands around the JSON; None where there are none.

    >>> read('Sure: {"question": "Who?", "excerpts": ["the cat"]}')
    ('Who?', ['the cat'])
    """
    found = re.search(r"\{.*\}", reply, re.DOTALL)
    try:
        said = json.loads(found[0], strict=False) if found else None
    except json.JSONDecodeError:
        return None
    if not isinstance(said, dict) or not isinstance(said.get("excerpts"), list):
        return None
    question, excerpts = said.get("question"), said["excerpts"]
    fits = isinstance(question, str) and question.strip() and all(isinstance(e, str) for e in excerpts)
    return (question.strip(), excerpts) if fits else None


def locate(text: str, excerpt: str, within: Span | None = None) -> Span | None:
    """Where an excerpt stands, in characters; None where it does not, or not only once.

    White space may differ, nothing else.  within: characters to look at; None for all.

    >>> locate("The cat  sat. A cat ran.", "cat sat."), locate("The cat  sat. A cat ran.", "cat")
    ((4, 13), None)
    """
    words = excerpt.split()
    if not words:
        return None
    start, end = within or (0, len(text))
    pattern = re.compile(r"(?<!\w)" * words[0][0].isalnum() + r"\s+".join(map(re.escape, words)))
    found = [match.span() for match in pattern.finditer(text, start, end)]
    return found[0] if len(found) == 1 else None


def word_cosine(one: str, other: str) -> float:
    """The cosine of two texts' sets of words, in [0, 1].

    >>> word_cosine("the cat sat", "The cat")
    0.8164965809277261
    """
    first, second = (set(re.findall(r"\w+", text.lower())) for text in (one, other))
    return len(first & second) / max(1e-12, (len(first) * len(second)) ** 0.5)


def generate(
    llm: LLM,
    text: str,
    n: int,
    *,
    window: int = 150,
    n_spans: tuple[int, int] = (1, 3),
    least: float = 0.2,
    most: float = 0.8,
    likeness: Callable[[str, str], float] = word_cosine,
    max_tokens: int = 400,
    temperature: float = 0.0,
    seed: int = 0,
) -> Generated:
    """Ask for n questions, each about a window of the text that is drawn at random, and keep the sound ones.

    llm: any role.  window: tokens that it sees; windows come from the raw text and know of no chunks.
    n_spans: the least and the largest number of excerpts.  least: of the likeness of the question and each
    of its excerpts; below it a question is left out.  most: of the likeness of two questions; above it the
    later one is a duplicate.
    likeness: two texts -> a number.
    Raises ValueError for n or window below 1, a text shorter than a window, or n_spans that do not rise.

    >>> text = " ".join(f"The number {word} comes in this line." for word in "one two three four".split())
    >>> made = generate(KeywordWriter(text, noise=0.0), text, 3, window=24)
    >>> len(made.kept) + sum(made.left_out.values())
    3
    """
    places = tokens_of(text)
    check_count("n", n)
    check_count("window", window, high=max(1, len(places)))
    low, high = n_spans
    if not 1 <= low <= high:
        raise ValueError(f"n_spans must be two rising numbers from 1 up, got {n_spans}")
    starts = stream(seed, "windows").integers(0, len(places) - window + 1, size=n).tolist()
    windows = [(places[at][0], places[at + window - 1][1]) for at in starts]
    prompts = [instruction(text[a:b], high) for a, b in windows]
    replies = llm.complete(prompts, max_tokens=max_tokens, temperature=temperature, seed=seed)
    kept, left_out = [], dict.fromkeys(REASONS, 0)
    begins, ends = (np.array(side) for side in zip(*places, strict=True))
    for reply, within in zip(replies, windows, strict=True):
        said = read(reply.text)
        if said is None:
            left_out["no question"] += 1
            continue
        question, excerpts = said
        if not low <= len(excerpts) <= high:
            left_out["number of excerpts"] += 1
            continue
        found = [locate(text, excerpt, within) for excerpt in excerpts]
        if None in found:
            left_out["not verbatim"] += 1
            continue
        spans = sorted(
            (int(np.searchsorted(ends, a, "right")), int(np.searchsorted(begins, b, "left")))
            for a, b in found
        )
        if any(first[1] > second[0] for first, second in pairwise(spans)):
            left_out["overlapping"] += 1
            continue
        if any(likeness(question, earlier.question) > most for earlier in kept):
            left_out["duplicate"] += 1
            continue
        worst = min(float(likeness(question, excerpt)) for excerpt in excerpts)
        if worst < least:
            left_out["unlike"] += 1
            continue
        kept.append(SpanQA(question, spans, worst))
    return Generated(kept, left_out)


class KeywordWriter:
    """A stand-in for a model that writes questions: it quotes sentences of the window and asks in keywords.

    Two sentences that are apart are quoted where the window has them. The "question" is a share of their
    words in random order; some are replaced by words from elsewhere, as a paraphrase would. It makes the
    faults of a model on purpose: it misquotes, and it asks beside the point.
    text: where other words come from.  spans: sentences to quote.  length: their least and largest number of
    tokens.  share: of their words, in (0, 1].  noise: of the words that are replaced.  misquote: of the
    replies in which a word of an excerpt is left out.  astray: of the replies whose words are all from
    elsewhere. All in [0, 1].
    Raises ValueError for numbers outside their ranges or a text without words.
    """

    name = "keyword writer"

    def __init__(
        self,
        text: str,
        *,
        spans: int = 2,
        length: tuple[int, int] = (8, 40),
        share: float = 0.35,
        noise: float = 0.3,
        misquote: float = 0.1,
        astray: float = 0.1,
    ):
        self.words = re.findall(r"[^\W\d_]{3,}", text)
        if not self.words:
            raise ValueError("text must hold words, it has none")
        self.spans, self.length = check_count("spans", spans), length
        self.share = real("share", share, 1e-6, 1)
        self.noise, self.misquote = real("noise", noise, 0, 1), real("misquote", misquote, 0, 1)
        self.astray = real("astray", astray, 0, 1)

    def complete(
        self,
        prompts: Sequence[str],
        *,
        max_tokens: int = 400,
        temperature: float = 0.0,
        stop: Sequence[str] = (),
        seed: int = 0,
    ) -> list[Completion]:
        """One reply per prompt of :func:`instruction`; max_tokens and temperature change nothing."""
        prompts, stop = check_request(prompts, max_tokens, temperature, stop, seed)
        return [Completion(self._write(prompt, seed), len(prompt.split()), -1) for prompt in prompts]

    def _write(self, prompt: str, seed: int) -> str:
        window = prompt.partition("Text:\n")[2].rpartition("\nJSON:")[0]
        rng = stream(seed, "question", window)
        pieces = sentence_chunks(window)[1:-1]  # the first and the last may be cut by the window
        low, high = self.length
        fits = [i for i, (a, b) in enumerate(pieces) if low <= b - a <= high]
        chosen: list[int] = []
        for i in rng.permutation(fits).tolist():
            if len(chosen) < self.spans and all(abs(i - other) > 1 for other in chosen):
                chosen.append(i)
        excerpts = chunk_texts(window, [pieces[i] for i in sorted(chosen)])
        # A quotation of each excerpt's words; every other one would favour what happens to be rare.
        words = [word for excerpt in excerpts for word in re.findall(r"\w+", excerpt)]
        count = max(4, round(self.share * len(words)))
        asked = rng.permutation(words)[:count].tolist()
        astray = rng.random() < self.astray
        asked = [
            self.words[rng.integers(len(self.words))] if astray or rng.random() < self.noise else word
            for word in asked
        ]
        if excerpts and rng.random() < self.misquote:
            said = excerpts[0].split()
            del said[len(said) // 2]
            excerpts[0] = " ".join(said)
        return json.dumps({"question": " ".join(asked), "excerpts": excerpts}, ensure_ascii=False)
