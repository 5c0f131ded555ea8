"""What every committed notebook must be like: checks that return what is wrong, in words.

Each check takes a `Notebook` and yields problems. `CHECKS` lists them; `test_structure.py` applies them to
every notebook, and proves each on a notebook that is wrong in just that.
"""

import ast
import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from html.parser import HTMLParser
from pathlib import Path

from labkit import claims, ledger, papers, runner
from labkit.runner import notebooks

BEATS = ["Problem", "Idea", "Code", "Look", "Test", "Read", "Use", "Try"]
HEAD = re.compile(r"^\*Needs: .+ · \d+ min to read · \d+ s to run · (not )?core\*$", re.MULTILINE)
MAX_BYTES = 1_000_000
# Colab's, macOS's and Linux's usual folders; what follows a letter or a colon is the path of an address.
MACHINE_PATH = re.compile(
    r"(?<![\w.:/-])/(?:home|root|Users|tmp|opt|usr|var|mnt|srv|private|content)/[\w.-]+"
)
DATA_URI = re.compile(r"data:[\w/+.;=-]+;base64,[A-Za-z0-9+/=\s]+")
# What MyST, GitHub or Pandoc add to CommonMark; each would be shown as it stands somewhere.
EXTENSIONS = {
    "a MyST directive": re.compile(r"^\s*(?:```+|~~~+|:::+)\s*\{|^\s*:::+", re.MULTILINE),
    "a MyST role": re.compile(r"\{[\w:.+-]+\}`"),
    "a MyST label": re.compile(r"^\([\w-]+\)=\s*$", re.MULTILINE),
    "a GitHub note": re.compile(r"^\s*>\s*\[!\w+\]", re.MULTILINE),
    "a footnote": re.compile(r"\[\^[\w-]+\]"),
    "a table (use labkit.show.table)": re.compile(r"^\s*\|?\s*:?-{3,}:?\s*\|", re.MULTILINE),
}


@dataclass
class Notebook:
    """A notebook under test: its name, its content, its file and the checkout's root."""

    name: str
    content: dict
    path: Path
    root: Path

    @property
    def paper(self):
        """The paper it treats; None for foundations and chapters."""
        found = [paper for paper in papers.all() if paper.notebook == self.name]
        return found[0] if found else None

    def cells(self, kind: str) -> list[dict]:
        return [cell for cell in self.content["cells"] if cell["cell_type"] == kind]

    def outputs(self) -> Iterator[tuple[int, dict]]:
        for number, cell in enumerate(self.content["cells"]):
            for output in cell.get("outputs", []):
                yield number, output


def read(root: Path, name: str) -> Notebook:
    path = notebooks.path(root, name)
    return Notebook(name, notebooks.read(path), path, root)


def setup_cells(notebook: Notebook) -> Iterator[str]:
    """One bootstrap cell, first of the code; one parameters cell with a profile."""
    code = notebook.cells("code")
    for tag in ("bootstrap", "parameters"):
        count = sum(tag in notebooks.tags(cell) for cell in code)
        if count != 1:
            yield f"{count} code cells are tagged {tag!r}, one must be"
    if any("injected-parameters" in notebooks.tags(cell) for cell in code):
        yield "it holds a cell that papermill injected"
    if code and "bootstrap" not in notebooks.tags(code[0]):
        yield "the first code cell is not the bootstrap cell"
    profile = notebooks.parameters(notebook.content).get("profile")
    if profile != "book":
        yield f"the parameters cell must have profile = 'book', it has {profile!r}"


def beats(notebook: Notebook) -> Iterator[str]:
    """The eight beats in order, in a paper's notebook."""
    found = [title for level, title in headings(notebook) if level == 2]
    if notebook.paper and found != BEATS:
        yield f"its beats are {found}, they must be {BEATS}"
    titles = [title for level, title in headings(notebook) if level == 1]
    if len(titles) != 1:
        yield f"it has {len(titles)} titles (# …), it must have one"


def headings(notebook: Notebook) -> list[tuple[int, str]]:
    """(level, title) of every heading, in order."""
    prose = "\n\n".join(without_code(notebooks.text(cell)) for cell in notebook.cells("markdown"))
    return [(len(marks), title) for marks, title in re.findall(r"^(#{1,6}) +(.+?) *$", prose, re.MULTILINE)]


def head_line(notebook: Notebook) -> Iterator[str]:
    """Needs, minutes, seconds, core or not, below the title."""
    top = "\n\n".join(notebooks.text(cell) for cell in notebook.content["cells"][:2])
    found = HEAD.search(top)
    if not found:
        yield "no head line `*Needs: … · 12 min to read · 45 s to run · core*` (or `not core`) on top"
    elif notebook.paper and notebook.paper.core == bool(found[1]):
        yield f"the head line says {'not ' * bool(found[1])}core, the catalogue says otherwise"


def cell_ids(notebook: Notebook) -> Iterator[str]:
    """Every cell has an id of its own."""
    ids = [cell.get("id") for cell in notebook.content["cells"]]
    if None in ids or len(set(ids)) != len(ids):
        yield "cells without an id, or with the same one"
    if (notebook.content.get("nbformat"), notebook.content.get("nbformat_minor")) < (4, 5):
        yield "the format is older than 4.5, which has ids"


def size(notebook: Notebook) -> Iterator[str]:
    """Small enough for GitHub and Colab to open quickly."""
    count = notebook.path.stat().st_size
    if count >= MAX_BYTES:
        yield f"it has {count:,} bytes, it must have less than {MAX_BYTES:,}"


def executed(notebook: Notebook) -> Iterator[str]:
    """Every code cell ran, in order, without an error."""
    counts = [cell.get("execution_count") for cell in notebook.cells("code") if notebooks.text(cell).strip()]
    if None in counts:
        yield f"{counts.count(None)} code cells were not executed"
    elif counts != sorted(counts):
        yield "code cells were executed out of order"
    for number, output in notebook.outputs():
        if output["output_type"] == "error":
            yield f"cell {number} shows an error: {output['ename']}"


def machine_paths(notebook: Notebook) -> Iterator[str]:
    """No path of a machine in text or outputs."""
    text = DATA_URI.sub("", json.dumps(notebook.content, ensure_ascii=False))
    for path in (str(Path.home()), str(notebook.root)):
        if len(Path(path).parts) > 2 and path in text:
            yield f"a path of this machine: {path}"
    for found in sorted(set(MACHINE_PATH.findall(text))):
        yield f"a path of a machine: {found}"


def plain_markdown(notebook: Notebook) -> Iterator[str]:
    """CommonMark, $ and <details>: what reads the same in the book, in Colab and on GitHub."""
    for cell in notebook.cells("markdown"):
        source = notebooks.text(cell)
        prose = without_code(source)
        for name, pattern in EXTENSIONS.items():
            # A directive looks like a block of code, so it is looked for in the whole cell.
            where = source if name == "a MyST directive" else prose
            if found := pattern.search(where):
                yield f"{name}: {found[0].strip()!r}"
        for tag in sorted(set(re.findall(r"</?([a-zA-Z][\w-]*)(?=[\s/>])", prose)) - {"details", "summary"}):
            yield f"the HTML element <{tag}>"


def without_code(text: str) -> str:
    """Markdown without blocks and spans of code, and without formulas."""
    text = re.sub(r"^(```+|~~~+).*?^\1", "", text, flags=re.MULTILINE | re.DOTALL)
    text = re.sub(r"(?<!\})(`+)(?!`).+?(?<!`)\1(?!`)", "", text, flags=re.DOTALL)
    return re.sub(r"\$\$.+?\$\$|\$[^$\n]+\$", "", text, flags=re.DOTALL)


class _Pictures(HTMLParser):
    """Counts pictures in HTML that say nothing to who does not see them."""

    def __init__(self):
        super().__init__()
        self.silent = 0

    def handle_starttag(self, tag, attributes):
        given = dict(attributes)
        hidden = given.get("aria-hidden") == "true"
        if tag == "img" and not hidden and not (given.get("alt") or "").strip():
            self.silent += 1
        if tag == "svg" and not hidden and not (given.get("aria-label") or given.get("aria-labelledby")):
            self.silent += 1


def alt_texts(notebook: Notebook) -> Iterator[str]:
    """A description of every picture, in outputs and in prose."""
    for number, output in notebook.outputs():
        data = output.get("data", {})
        silent = silent_pictures(data.get("text/html", ""))
        for kind in (kind for kind in data if kind.startswith("image/")):
            described = output.get("metadata", {}).get(kind, {}).get("alt", "").strip()
            silent += not (described or "text/html" in data)
        if silent:
            yield f"cell {number} shows {silent} pictures without alt text (use labkit.show.figure)"
    for cell in notebook.cells("markdown"):
        source = without_code(notebooks.text(cell))
        if re.search(r"!\[\s*\]", source) or silent_pictures(source):
            yield "a picture in the prose has no alt text"


def silent_pictures(html: str) -> int:
    parser = _Pictures()
    parser.feed(html)
    return parser.silent


def reading(notebook: Notebook) -> Iterator[str]:
    """The cell of Read is tagged with the verdict of the headline's record."""
    if not notebook.paper:
        return
    read_cells = [
        c for c in notebook.cells("markdown") if re.search(r"^## Read\s*$", notebooks.text(c), re.MULTILINE)
    ]
    tags = [tag for cell in read_cells for tag in notebooks.tags(cell) if tag.startswith("reads:")]
    headline = [r for r in ledger.collect(notebook.path) if r["claim"] == notebook.paper.id]
    verdict = headline[-1]["verdict"] if headline else "nothing: no record"
    wanted = f"reads:{verdict.replace(' ', '-')}"
    if tags != [wanted]:
        yield f"the cell of Read is tagged {tags}, the headline's record says {wanted!r}"


def told(notebook: Notebook) -> Iterator[str]:
    """Prose about other papers' verdicts is tagged `says:<paper>:<verdict>`, and the records say the same."""
    tags = {tag for cell in notebook.cells("markdown") for tag in notebooks.tags(cell)}
    said = dict(tag.split(":")[1:] for tag in tags if tag.startswith("says:"))
    chapter = next((c for c in papers.CHAPTERS.values() if c.papers and c.notebook == notebook.name), None)
    for name in chapter.papers if chapter else said:
        record = claims.committed(name)
        verdict = record["verdict"] if record else "not judged"
        if said.get(name) != verdict.replace(" ", "-"):
            yield f"it says {said.get(name)!r} of {name}, the record says {verdict!r}"


def registered(notebook: Notebook) -> Iterator[str]:
    """Claims that the code names are registered, those of the paper have a record, and each record holds."""
    records = ledger.collect(notebook.path)
    for name in sorted({*claimed(notebook), *(record["claim"] for record in records)}):
        try:
            claims.claim(name)
        except (ValueError, TypeError) as error:
            yield f"claim {name}: {error}"
            return
    for record in records:
        if claims.claim(record["claim"]).testable:
            yield from (f"the record of {record['claim']}: {problem}" for problem in claims.check(record))
    if notebook.paper:
        shown = {record["claim"] for record in records}
        for claim in claims.of(notebook.paper.id):
            if claim.id not in shown:
                yield f"claim {claim.id} is registered and has no record here"


def claimed(notebook: Notebook) -> Iterator[str]:
    """The names in `labkit.claim("…")`."""
    for cell in notebooks.code_cells(notebook.content):
        try:
            tree = ast.parse(notebooks.text(cell))
        except SyntaxError:  # a cell with magics, which names no claim
            continue
        for node in ast.walk(tree):
            if isinstance(node, ast.Call) and ast.unparse(node.func) == "labkit.claim":
                yield from (argument.value for argument in node.args if isinstance(argument, ast.Constant))


def compared(notebook: Notebook) -> Iterator[str]:
    """Cells that leave a record are compared when the notebook is executed again, but those that time."""
    for number, output in notebook.outputs():
        tags = notebooks.tags(notebook.content["cells"][number])
        record = output.get("data", {}).get(claims.MIME)
        if record is None:
            continue
        tagged, times = "nbval-check-output" in tags, timed(claims.claim(record["claim"]))
        if not tagged and not times:
            yield f"cell {number} leaves a record, and is not tagged 'nbval-check-output'"
        if tagged and times:
            yield f"cell {number} records a time, which never repeats, and is tagged 'nbval-check-output'"


def timed(claim: claims.Claim) -> bool:
    """Whether a claim's metric is a time: it begins with the word, or with its unit."""
    return claim.metric.startswith(("time ", "seconds ", "milliseconds "))


def valid(notebook: Notebook) -> Iterator[str]:
    """Its outputs are those of the code, claims and data as they are now, at `judge`."""
    validity = runner.valid(notebook.path, notebook.root)
    if not validity.ok:
        yield f"no valid result ({validity.reason}): labkit run {notebook.name} --commit-outputs"
    elif notebook.content["metadata"]["labkit"]["profile"] not in ("judge", "full"):
        yield "its outputs are of a smaller profile than `judge`"
    if notebook.content["metadata"].get("kernelspec", {}).get("name") != "python3":
        yield "its kernel is not called python3, which every Jupyter has"


CHECKS = [setup_cells, beats, head_line, cell_ids, size, executed, machine_paths, plain_markdown, alt_texts]
CHECKS += [reading, told, registered, compared, valid]
