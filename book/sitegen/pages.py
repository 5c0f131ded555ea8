"""Generated pages: parts, chapters, data cards, API. Each function returns Markdown (MyST)."""

from sitegen.ledger import chip, word


def ledger_page(table: str) -> str:
    """The ledger around its table (HTML)."""
    return f"""\
---
html_theme.sidebar_secondary.remove: true
---

# Ledger

One row per claim: what was claimed, what was measured here, and the verdict that follows from the numbers by
[fixed rules](how-to-read.md). Nothing in this table is typed by hand. A paper whose notebook is still to be
written is *planned*. Download it as <a href="ledger.csv" download>CSV</a> or
<a href="ledger.json" download>JSON</a>.

```{{raw}} html
{table}
```
"""


def part_page(part, papers: dict, notebooks: set[str], rows: dict[str, list[dict]]) -> str:
    """The overview of a part: its chapters, each with its papers.

    part: `labkit.papers.Part`.  papers: id -> `labkit.papers.Paper`.  notebooks: those that exist.
    rows: paper id -> the ledger's rows of that paper.
    """
    chosen = [papers[name] for chapter in part.chapters.values() for name in chapter.papers]
    lines = [f"# {part.title}: overview", "", progress(chosen, rows), ""]
    for chapter in part.chapters.values():
        there = chapter.papers or chapter.notebook in notebooks
        name = chapter.notebook.removeprefix(f"{part.id}/")
        lines += [
            f"## [{chapter.title}]({name}{_suffix(chapter.notebook, notebooks)})"
            if there
            else f"## {chapter.title}",
            "",
        ]
        if not there:
            lines += [f"{PLANNED}", ""]
        lines += [
            *(_short(papers[name], notebooks, rows, folder=f"{chapter.id}/") for name in chapter.papers),
            "",
        ]
    return "\n".join(lines)


def chapter_page(chapter, part, papers: dict, notebooks: set[str], rows: dict[str, list[dict]]) -> str:
    """The page of a chapter without a notebook of its own: its papers, and how far each has come."""
    chosen = [papers[name] for name in chapter.papers]
    lines = [
        f"# {chapter.title}",
        "",
        f"*A chapter of [{part.title}](../index.md).* " + progress(chosen, rows),
        "",
    ]
    return "\n".join(lines) + chapter_list(chapter, part, papers, notebooks, rows)


def chapter_list(chapter, part, papers: dict, notebooks: set[str], rows: dict[str, list[dict]]) -> str:
    """The papers of a chapter, one block each; the end of a chapter's own notebook."""
    lines = ["", "## The papers of this chapter", ""]
    for name in chapter.papers:
        lines += [*_long(papers[name], notebooks, rows), ""]
    return "\n".join(lines)


PLANNED = chip("planned")
# Where the figure beside a paper was read; one that is only recalled is not shown at all.
READ_IN = {"abstract": "its abstract", "code": "its official code", "page": "a public page about it"}


def progress(chosen: list, rows: dict[str, list[dict]]) -> str:
    """One sentence: how many of these papers are judged and planned."""
    judged = sum(any(row["verdict"] for row in rows[paper.id]) for paper in chosen)
    planned = sum(is_planned(rows[paper.id]) for paper in chosen)
    count = f"{len(chosen)} paper{'s' if len(chosen) != 1 else ''}"
    return f"{count}: {judged} judged, {planned} planned."


def is_planned(rows: list[dict]) -> bool:
    """Whether a paper with these rows of the ledger is still to come: no claim of it was ever judged."""
    return all(row["status"] in ("planned", "not judged") for row in rows)


def _suffix(name: str, notebooks: set[str]) -> str:
    return ".ipynb" if name in notebooks else ".md"


def status_chip(paper, rows: dict[str, list[dict]]) -> str:
    """The chip beside a paper: the verdict on its headline, or how far it has come."""
    mine = rows[paper.id]
    headlines = [row for row in mine if row["role"] == "headline"]
    return chip(word((headlines or mine)[0]))


def _title(paper, notebooks: set[str], folder: str) -> str:
    text = paper.title.replace("[", "\\[").replace("]", "\\]").replace("*", "\\*").replace("$", "\\$")
    return f"[{text}]({folder}{paper.id}.ipynb)" if paper.notebook in notebooks else text


def _short(paper, notebooks, rows, folder: str) -> str:
    return f"- {status_chip(paper, rows)} {_title(paper, notebooks, folder)} ({paper.year})"


def _long(paper, notebooks, rows) -> list[str]:
    links = []
    if paper.arxiv_url:
        links.append(f"[arXiv:{paper.arxiv}]({paper.arxiv_url})")
    if paper.code_url:
        links.append(f"[official code]({paper.code_url})")
    facts = [f"{paper.kind}", paper.family, *links, *(["core paper"] if paper.core else [])]
    authors = f"{_names(paper.authors)} · " if paper.authors else ""
    lines = [
        f"({paper.id})=",
        f"### {_title(paper, notebooks, '')}",
        "",
        f"{authors}{paper.year} · " + " · ".join(facts),
        "",
    ]
    if paper.reported:
        source = READ_IN[paper.headline_source]
        lines += [f"The paper reports: {plain(paper.reported)} *(from {source})*", ""]
    sentences = [row["sentence"] for row in rows[paper.id] if row["sentence"]]
    return [*lines, f"{status_chip(paper, rows)} {' '.join(map(plain, sentences[:1]))}".strip()]


def _names(authors: tuple[str, ...]) -> str:
    return (
        ", ".join(authors) if len(authors) <= 4 else f"{', '.join(authors[:3])} and {len(authors) - 3} others"
    )


def plain(text: str) -> str:
    """Text that Markdown shows as it is."""
    for mark in "\\*_$[]<>`|~{}":
        text = text.replace(mark, f"\\{mark}")
    return text


def rates(rows: list[dict], first: str) -> str:
    """Simulated rates as a table. rows: {"effect": ..., word: share, ...}; first: its first heading."""
    words = [name for name in rows[0] if name not in ("effect", "asked") and any(row[name] for row in rows)]
    lines = [f"| {first} | " + " | ".join(words) + " |", "|---:|" + "---:|" * len(words)]
    for row in rows:
        lines.append(f"| {row['effect']:g} | " + " | ".join(_percent(row[word]) for word in words) + " |")
    return "\n".join(lines).replace("| -", "| −")


def _percent(share: float) -> str:
    """A share as a percentage; what is there but rounds to nothing is not called nothing.

    >>> _percent(0.0), _percent(0.0003), _percent(0.974)
    ('0 %', '< 0.1 %', '97.4 %')
    """
    if 0 < share < 0.0005:
        return "< 0.1 %"
    return f"{100 * share:.1f} %" if share not in (0, 1) else f"{100 * share:.0f} %"


def cards_index(cards: dict[str, dict]) -> str:
    """The list of data sets. cards: name -> {"markdown", "summary", "splits"}."""
    lines = [
        "# Data cards",
        "",
        "Every data set that a notebook reads has a card: where it comes from, its licence, what is in it",
        "(counted from the data, not copied), its limits, and what it is good for.",
        "",
        "| name | what it is | examples |",
        "|---|---|---|",
    ]
    for name, card in cards.items():
        counts = (
            ", ".join(f"{count:,} {split}" for split, count in card["splits"].items()) or "not loaded here"
        )
        lines.append(f"| [{name}]({name}.md) | {plain(card['summary'])} | {counts} |")
    lines += [
        "",
        "Load one with `labkit.data.load(name)`; a folder of images, a CSV file or a `Dataset` of your own",
        "goes through the same function. In a shell, `labkit data` lists them.",
    ]
    return "\n".join(lines) + "\n"


def card_page(markdown: str) -> str:
    """One data set's card. Its own heading becomes the page's title."""
    return markdown.replace("## ", "# ", 1)


def api_index(summaries: dict[str, str]) -> str:
    """The list of the API's pages. summaries: page -> what it is about."""
    lines = ["# API", "", "From the docstrings. Examples marked `>>>` run in the tests.", ""]
    for heading, methods in (("The library", False), ("The papers' methods", True)):
        chosen = {page: text for page, text in summaries.items() if page.startswith("labkit") != methods}
        if chosen:
            lines += [
                f"## {heading}",
                "",
                *(f"- [{page}]({page}.md): {plain(text)}" for page, text in chosen.items()),
                "",
            ]
    return "\n".join(lines)


def api_front(functions: list[str]) -> str:
    """The page of the package itself. functions: the names of those it offers."""
    lines = ["# `labkit`", "", "```{eval-rst}", ".. automodule:: labkit", "   :no-members:", ""]
    lines += [f".. autofunction:: labkit.{name}" for name in functions]
    return "\n".join([*lines, "```", ""])


def api_page(title: str, modules: list[str]) -> str:
    """A page of the API: one or more modules. title: the module's name, or "augment-images" for a chapter."""
    lines = [f"# `{title}`", ""]
    for module in modules:
        if len(modules) > 1 or module != title:
            lines += [f"## `{module}`", ""]
        lines += [
            "```{eval-rst}",
            f".. automodule:: {module}",
            "   :members:",
            "   :show-inheritance:",
            "```",
            "",
        ]
    return "\n".join(lines)


def bibliography(count: int) -> str:
    """The bibliography, from book/references.bib."""
    return "\n".join(
        [
            "# Bibliography",
            "",
            f"The {count} papers of the book. Authors are named where they have been verified.",
            "",
            "```{bibliography}",
            ":all:",
            "```",
            "",
        ]
    )


def changes(changelog: str) -> str:
    """The changelog as a page, with the title it brings along."""
    return changelog if changelog.startswith("# ") else f"# Changes\n\n{changelog}"
