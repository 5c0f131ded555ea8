r"""ProX: a small language model cleans a corpus by writing a tiny program for every document.

It never rewrites the text. Of a whole document it says ``keep_doc()`` or ``drop_doc()``; of a document that
stays it sees numbered lines, chunk by chunk, and writes calls such as ``remove_lines(line_start=0,
line_end=4)`` and ``normalize(source_str="Read more", target_str="")``. A deterministic interpreter runs them:

.. math:: x' = \mathrm{execute}(x,\ p_1 \| p_2 \| \dots), \qquad p_i = \mathrm{refiner}(\text{chunk } i)

Replacements come first, then the union of the line ranges goes. Guards: a program with two malformed calls
or more is ignored; a result with 5 % of the words or less, or with 10 or fewer, is emptied.

Zhou, Wang, Liu, Li, Liu (2024). *Programming Every Example: Lifting Pre-training Data Quality Like Experts at
Scale.* arXiv:2409.17115; interpreter, guards and chunks as in the authors' code. Other than there, a call
that is cut off or whose range is reversed is malformed once and does nothing (there the first runs without
its last character, the second is not counted), and strings may hold commas, brackets and equals signs.
"""

import re
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from labkit import language

__all__ = ["Executed", "Normalize", "Program", "Refined", "Refiner", "RemoveLines", "execute", "number_lines"]
__all__ += ["parse_program", "refine_corpus", "split_chunks", "train_refiner", "write_program"]

CALL = "{}_lines(line_start={}, line_end={})"
REMOVE = re.compile(r"remove_lines\(\s*line_start\s*=\s*(\d+)\s*,\s*line_end\s*=\s*(\d+)\s*\)")
ALL = re.compile(r"remove_lines\(.*all\s*=\s*True")
# Strings end at the quotes that leave a whole call, so they may hold quotes themselves.
STRINGS = r'source_str\s*=\s*"(.*?)"(?:\s*,\s*target_str\s*=\s*"(.*)")?'
NORMALIZE = re.compile(rf"normalize\(\s*{STRINGS}\s*\)\s*(?:#.*)?$")


@dataclass(frozen=True)
class RemoveLines:
    """Remove lines ``start`` to ``end`` (None: the last); ValueError unless whole and 0 <= start <= end."""

    start: int = 0
    end: int | None = None

    def __post_init__(self):
        end = self.start if self.end is None else self.end
        if not (type(self.start) is int and type(end) is int and 0 <= self.start <= end):
            raise ValueError(f"takes whole numbers 0 <= start <= end, got {self.start!r} and {self.end!r}")

    def __str__(self) -> str:
        everything = (self.start, self.end) == (0, None)
        return "remove_lines(all=True)" if everything else CALL.format("remove", self.start, self.end)


@dataclass(frozen=True)
class Normalize:
    """Replace a string wherever it occurs; ValueError for a line break, which would shift the numbers."""

    source: str
    target: str = ""

    def __post_init__(self):
        if "\n" in self.source + self.target:
            raise ValueError(f"source and target take no line breaks, got {self.source!r}, {self.target!r}")

    def __str__(self) -> str:
        return f'normalize(source_str="{self.source}", target_str="{self.target}")'


class Program(NamedTuple):
    """The operations in order; the number of malformed calls; whether the whole document goes."""

    operations: list[RemoveLines | Normalize]
    errors: int = 0
    drop: bool = False


def parse_program(text: str, *, level: str = "chunk") -> Program:
    """Read a program, a call on each line. Nothing is evaluated, and nothing malformed raises.

    level: "doc" looks for the word ``drop`` alone, as the authors do; "chunk" reads the calls, and passes
    over other lines.  Raises TypeError where text is no string, ValueError for another level.

    >>> parse_program('remove_lines(line_start=0, line_end=4)\\nremove_lines(line_start=7')
    Program(operations=[RemoveLines(start=0, end=4)], errors=1, drop=False)
    """
    _check(text, level)
    if level == "doc":
        return Program([], drop="drop" in text)
    lines = map(str.strip, text.split("\n"))
    calls = [_call(line) for line in lines if line.startswith(("remove_lines", "normalize"))]
    return Program([call for call in calls if call], calls.count(None))


def _call(line: str) -> RemoveLines | Normalize | None:
    if found := REMOVE.match(line):
        start, end = int(found[1]), int(found[2])
        return RemoveLines(start, end) if start <= end else None
    found = NORMALIZE.match(line)
    return Normalize(found[1], found[2] or "") if found else RemoveLines() if ALL.match(line) else None


def _check(text: str, level: str = "chunk") -> None:
    if not isinstance(text, str):
        raise TypeError(f"text must be a string, got {type(text).__name__}")
    if level not in ("doc", "chunk"):
        raise ValueError(f"level must be 'doc' or 'chunk', got {level!r}")


def write_program(operations: Sequence[RemoveLines | Normalize], *, lines: Sequence[int] = ()) -> str:
    """The text of a program: the inverse of :func:`parse_program`; ``keep_chunk()`` where there is nothing.

    lines: numbers of lines that each get a call of their own, remove or keep: longer, easier to learn.

    >>> print(write_program([RemoveLines(1, 9)], lines=range(2)))
    keep_lines(line_start=0, line_end=0)
    remove_lines(line_start=1, line_end=1)
    """
    if len(lines):
        gone = {i for i in lines for start, end in _ranges(operations, max(lines) + 1) if start <= i <= end}
        operations = [each for each in operations if isinstance(each, Normalize)]
        operations += [CALL.format("remove" if i in gone else "keep", i, i) for i in lines]
    return "\n".join(map(str, operations)) or "keep_chunk()"


class Executed(NamedTuple):
    """What became of one document.

    text: the result, "" for one that is gone.  outcome: applied, ignored (a program too malformed), emptied
    (too little would stay), dropped, or kept.  removed: numbers of the lines that the program removes.
    errors: malformed calls, and ranges that leave the text.  log: each operation in the order of execution,
    with the number of places or lines that it changed.
    """

    text: str
    outcome: str
    removed: list[int]
    errors: int
    log: list[tuple[str, int]]


def execute(
    text: str, program: str | Program, *, max_errors: int = 2, min_words: int = 10, empty_below: float = 0.05
) -> Executed:
    """Run a program on a text without line numbers: replacements, then removals, then the guards.

    max_errors: so many malformed calls, and the program is ignored.  min_words: a result of so many words or
    fewer is emptied, ignored program or not.  empty_below: so is one with this share of the words or less.
    The defaults are the authors', as is that a source of no character or one blank is not replaced.
    Raises TypeError where text is no string, ValueError for a guard out of range.

    >>> page = "Home | About\\nThe mill was built of grey stone in the north of the city."
    >>> execute(page, "remove_lines(line_start=0, line_end=0)").text
    'The mill was built of grey stone in the north of the city.'
    """
    _check(text)
    if max_errors < 1 or min_words < 0 or not 0 <= empty_below < 1:
        guards = f"{max_errors}, {min_words} and {empty_below}"
        raise ValueError(f"takes max_errors >= 1, min_words >= 0, empty_below in [0, 1), got {guards}")
    operations, errors, drop = parse_program(program) if isinstance(program, str) else program
    if drop:
        return Executed("", "dropped", [], errors, [("drop_doc()", 1)])
    log, changed, removed = [], text, set()
    for each in operations:
        if isinstance(each, Normalize) and each.source not in ("", " "):
            log.append((str(each), changed.count(each.source)))
            changed = changed.replace(each.source, each.target)
    lines = changed.split("\n")
    ranges = _ranges(operations, len(lines))
    for start, end in ranges:
        new = set(range(start, min(end + 1, len(lines)))) - removed
        log.append((str(RemoveLines(start, end)), len(new)))
        removed |= new
    errors += sum(end >= len(lines) for end in _reach(ranges))
    result = "\n".join(line for i, line in enumerate(lines) if i not in removed)
    before, after, outcome = len(text.split()), len(result.split()), "applied"
    if (after <= empty_below * before and errors < max_errors) or after <= min_words:
        result, outcome = "", "emptied"
    elif errors >= max_errors:
        result, outcome = text, "ignored"
    return Executed(result, outcome, sorted(removed), errors, log)


def _ranges(operations, count: int) -> list[tuple[int, int]]:
    """First and last line of each removal from a text of ``count`` lines."""
    each = [o for o in operations if isinstance(o, RemoveLines)]
    return [(o.start, count - 1 if o.end is None else o.end) for o in each]


def _reach(ranges: list[tuple[int, int]]) -> list[int]:
    """Last lines of their union: ranges that overlap or touch are one, and leave the text only once."""
    ends: list[int] = []
    for start, end in sorted(ranges):
        ends.append(max(end, ends.pop()) if ends and start <= ends[-1] + 1 else end)
    return ends


def number_lines(text: str) -> str:
    """Every line with its number in front: ``[000]Home``, ``[001]The mill``, and so on."""
    _check(text)
    return "\n".join(f"[{i:03d}]{line}" for i, line in enumerate(text.split("\n")))


def split_chunks(text: str, *, max_tokens: int = 1500, tokenize: Callable = str.split) -> list[str]:
    """The numbered lines of a document in chunks of at most so many tokens; numbers run on through them.

    tokenize: gives the tokens of a line; words by default.  A longer line is a chunk of its own.
    Raises ValueError for max_tokens below 1.

    >>> split_chunks("Home\\nThe mill\\nThe end", max_tokens=3)
    ['[000]Home\\n[001]The mill', '[002]The end']
    """
    if max_tokens < 1:
        raise ValueError(f"max_tokens must be at least 1, got {max_tokens}")
    chunks, filled = [[]], 0
    for line in number_lines(text).split("\n"):
        size = len(tokenize(line))
        if chunks[-1] and filled + size > max_tokens:
            chunks, filled = [*chunks, []], 0
        chunks[-1].append(line)
        filled += size
    return list(map("\n".join, chunks))


class Refiner:
    """A language model that writes programs.

    llm: has ``complete(prompts, max_tokens=) -> [a completion with .text, ...]``, greedy: `labkit.llm`.
    level: "doc" is shown the document's beginning, "chunk" its numbered lines, chunk by chunk.
    max_tokens, tokenize: how much is shown at once, see :func:`split_chunks`.  answer: tokens of a program.
    words: of each line that are shown, None for all; a few are enough for a tiny model, and cost less.
    Raises TypeError for an llm without ``complete``, ValueError for another level or words below 1.
    """

    def __init__(self, llm, *, level="chunk", max_tokens=1500, tokenize=str.split, answer=256, words=None):
        _check("", level)
        if not callable(getattr(llm, "complete", None)):
            raise TypeError(f"llm must have a method complete(prompts), {type(llm).__name__} has none")
        if words is not None and words < 1:
            raise ValueError(f"words must be None or at least 1, got {words}")
        self.llm, self.level, self.answer, self.words = llm, level, answer, words
        self.size = {"max_tokens": max_tokens, "tokenize": tokenize}

    def prompts(self, text: str) -> list[str]:
        """For one document: one prompt at level "doc", one per chunk at level "chunk"."""
        if self.words is not None:
            text = "\n".join(" ".join(line.split(" ")[: self.words]) for line in text.split("\n"))
        shown = split_chunks(text, **self.size)
        if self.level == "doc":
            shown = ["\n".join(text.split("\n")[: shown[0].count("\n") + 1])]
        return [f"[doc]\n{each}\n[/doc]\n" for each in shown]

    def program(self, texts: Sequence[str]) -> list[str]:
        """A program for each document; those of its chunks stand one below the other."""
        prompts = [self.prompts(text) for text in texts]
        replies = iter(self.llm.complete([p for each in prompts for p in each], max_tokens=self.answer))
        return ["\n".join(next(replies).text for _ in each) for each in prompts]


class Refined(NamedTuple):
    """documents: as many as before, "" for one that is gone.  executed: what became of each, with its log."""

    documents: list[str]
    executed: list[Executed]

    def report(self) -> dict[str, int]:
        """How many documents had which outcome, how many operations ran, how many calls were malformed."""
        sums = {"operations": sum(len(each.log) for each in self.executed)}
        sums["malformed"] = sum(each.errors for each in self.executed)
        return Counter(each.outcome for each in self.executed) | sums


def refine_corpus(documents: Sequence[str], *, doc=None, chunk=None, **guards) -> Refined:
    """Refine a corpus: drop documents first, then run the chunks' programs on those that stay.

    doc, chunk: a `Refiner` for each level; leave one out for the other level alone.
    guards: of :func:`execute`.  Raises ValueError where both are missing or one has the other's level.
    """
    if not (doc or chunk) or (doc and doc.level != "doc") or (chunk and chunk.level != "chunk"):
        raise ValueError(f"takes doc at level 'doc', chunk at level 'chunk', or both, got {doc} and {chunk}")
    done = [Executed(text, "kept", [], 0, []) for text in documents]
    for refiner in filter(None, (doc, chunk)):
        left = [i for i, each in enumerate(done) if each.outcome == "kept"]
        for i, text in zip(left, refiner.program([documents[i] for i in left]), strict=True):
            program = parse_program(text, level=refiner.level)
            if refiner.level == "chunk" or program.drop:
                done[i] = execute(documents[i], program, **guards)
    return Refined([each.text for each in done], done)


def train_refiner(model, tokenizer, annotations: Sequence[tuple[str, str]], **training):
    """Train a causal language model to continue prompts by programs; the loss counts on the programs alone.

    model, tokenizer: of ``transformers``; the model is trained in place.  annotations: (prompt, program),
    prompts as a :class:`Refiner` writes them.  training: ``steps``, ``lr`` ... of `labkit.language.fit`,
    whose `Fit` is returned.  Raises ValueError for no annotations.
    """
    if len(annotations) == 0:
        raise ValueError("annotations must not be empty")
    rows = language.pairs(*zip(*annotations, strict=True), tokenizer)
    return language.fit(model, rows.tokens, mask=rows.mask, **training)
