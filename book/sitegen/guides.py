"""The pages that lead a reader somewhere: *Paths* and *Choose*, from the catalogue and the ledger."""

import json
import re
from pathlib import Path

from sitegen.ledger import chip, number, word
from sitegen.pages import is_planned, plain, status_chip

HEAD = re.compile(r"^\*Needs: .+ · (\d+) min to read · (\d+) s to run · .*core\*$", re.MULTILINE)
PLANNED = chip("planned")


def times(notebook: Path) -> tuple[int, int]:
    """Minutes to read and seconds to run, from the head line of a notebook. ValueError where it has none."""
    cells = json.loads(notebook.read_text(encoding="utf-8"))["cells"][:2]
    found = HEAD.search("\n\n".join("".join(cell["source"]) for cell in cells))
    if not found:
        raise ValueError(f"{notebook.name}: no head line with minutes to read and seconds to run")
    return int(found[1]), int(found[2])


def paths(parts: list, papers: dict, weeks, notebooks: dict[str, tuple[int, int]], rows: dict) -> dict:
    """What book/paths.md takes from the catalogue: its lists and its table, as Markdown.

    parts: `labkit.papers.Part` in order.  papers: id -> `labkit.papers.Paper`.  weeks: `labkit.papers.Week`s.
    notebooks: name -> (minutes to read, seconds to run) of those that exist.  rows: paper -> ledger's rows.
    """
    titles = {chapter.notebook: chapter.title for part in parts for chapter in part.chapters.values()}
    titles |= {paper.notebook: paper.title.split(":")[0] for paper in papers.values()}
    by_notebook = {paper.notebook: paper for paper in papers.values()}

    def line(name: str) -> str:
        if name not in notebooks:
            return f"{PLANNED} {plain(titles[name])}"
        minutes, seconds = notebooks[name]
        paper = by_notebook.get(name)
        mark = f" {status_chip(paper, rows)}" if paper else ""
        return f"[{plain(titles[name])}](../notebooks/{name}.ipynb) ({minutes} min, {seconds} s){mark}"

    start, *others = parts
    opened = [c.notebook for part in others for c in part.chapters.values() if c.notebook in notebooks]
    table = ["| week | title | notebooks | to read |", "|---:|---|---|---:|"]
    for week in weeks:
        minutes = sum(notebooks[name][0] for name in week.notebooks if name in notebooks)
        cell = "<br>".join(line(name) for name in week.notebooks)
        table.append(f"| {week.number} | {week.title} | {cell} | {f'{minutes} min' if minutes else '–'} |")
    return {
        "foundations": "\n".join(f"1. {line(chapter.notebook)}" for chapter in start.chapters.values()),
        "chapters": "\n".join(f"- {line(name)}" for name in opened) or f"- {PLANNED} the chapters' notebooks",
        "know_your_data": line("start/know-your-data"),
        "your_data": line("start/your-data"),
        "weeks": "\n".join(table),
    }


def choose_page(doors: dict, chapters: dict, papers: dict, notebooks: set[str], rows: dict) -> str:
    """What to try in which situation, with the evidence.

    doors: id -> `labkit.papers.Door`.  chapters: "part/chapter" -> `labkit.papers.Chapter`.
    papers, rows: as for `paths`.  notebooks: names of those that exist.
    """
    own = "on your own data"
    if "start/your-data" in notebooks:
        own = f"[{own}](../notebooks/start/your-data.ipynb)"
    lines = [
        "# Choose",
        "",
        "Find your situation. Only papers that have been tested in this book speak here, each with the",
        "verdict on its headline claim [as measured here](how-to-read.md): small, on a laptop. Take it as",
        f"what to try first, and then test it {own}.",
        "",
    ]
    lines += [
        f"- [{door.title}](#door-{door.id}) {_progress(door, chapters, rows)}" for door in doors.values()
    ]
    for door in doors.values():
        lines += ["", f"(door-{door.id})=", f"## {door.title}", ""]
        told = False
        for heading, chosen, why in _advice(door.id, papers.values(), rows):
            if chosen:
                told = True
                lines += [f"**{heading}**", ""]
                lines += [entry for paper in chosen for entry in _entry(paper, why(paper), notebooks, rows)]
        against = [p for p in papers.values() if door.id in p.avoid_when and not is_planned(rows[p.id])]
        if against:
            told = True
            lines += ["**Don't**", ""]
            lines += [*(_reason(paper, paper.avoid_when[door.id], notebooks) for paper in against), ""]
        if not told:
            lines += [f"{PLANNED} No paper that opens this door has been judged yet.", ""]
        lines += [_planned(door, chapters, rows), ""]
    return "\n".join(lines)


def _advice(door: str, papers, rows: dict) -> list[tuple]:
    """(heading, papers, why) in the order in which one would read them; only papers that are written."""
    written = [paper for paper in papers if not is_planned(rows[paper.id])]
    use = [paper for paper in written if door in paper.use_when]
    first = [paper for paper in use if door in paper.try_first]
    others = [paper for paper in use if door not in paper.try_first]
    return [
        ("Try first", first, lambda p: p.use_when[door]),
        ("Then" if first else "Consider", others, lambda p: p.use_when[door]),
    ]


def _entry(paper, why: str, notebooks: set[str], rows: dict) -> list[str]:
    lines = [_reason(paper, why, notebooks)]
    if paper.cost:
        lines.append(f"  <br>*Cost:* {plain(paper.cost)}")
    lines.append(f"  <br>*Evidence:* {status_chip(paper, rows)} {_evidence(rows[paper.id])}")
    return [*lines, ""]


def _reason(paper, why: str, notebooks: set[str]) -> str:
    """The paper, by its short title and its id, and one sentence."""
    name = plain(paper.title.split(":")[0])
    title = f"[{name}](../notebooks/{paper.notebook}.ipynb)" if paper.notebook in notebooks else name
    return f"- {title} ({paper.id}): {plain(why)}"


def _evidence(rows: list[dict]) -> str:
    """The headline's statement, difference and interval; its status where it was not judged."""
    row = next((row for row in rows if row["role"] == "headline"), rows[0])
    if row["difference"] is None:
        return f"{plain(row['statement'])} {word(row)}: {plain(row['why'])}".strip()
    ratio = row["kind"] == "ratio"
    mean, low, high = (number(row[key], signed=not ratio) for key in ("difference", "low", "high"))
    unit = "times" if ratio else row["unit"]
    return f"{plain(row['statement'])} Measured: {mean} {unit} [{low}, {high}], {row['evidence']}."


def _papers(door, chapters: dict) -> list[str]:
    return [paper for name in door.chapters for paper in chapters[name].papers]


def _progress(door, chapters: dict, rows: dict) -> str:
    named = _papers(door, chapters)
    written = sum(not is_planned(rows[paper]) for paper in named)
    return f"({written} of {len(named)} papers)" if written else PLANNED


def _planned(door, chapters: dict, rows: dict) -> str:
    """Where the book treats this, and how much of it is still to come."""
    links = []
    for name in door.chapters:
        chapter = chapters[name]
        waiting = sum(is_planned(rows[paper]) for paper in chapter.papers)
        rest = f"{waiting} of {len(chapter.papers)} papers planned" if waiting else "complete"
        page = f"../notebooks/{chapter.notebook}"
        links.append((chapter.title, page, rest))
    return "In the book: " + "; ".join(f"[{title}]({page}) ({rest})" for title, page, rest in links) + "."
