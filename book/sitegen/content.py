"""What the site is made of: facts from labkit, and the pages that show them."""

import ast
import json
from pathlib import Path
from typing import NamedTuple

import yaml

from sitegen import guides, ledger, models, pages, performance, staging, toc


class Content(NamedTuple):
    """Everything the pages are made from.

    parts: `labkit.papers.Part` in order.  papers: id -> `labkit.papers.Paper`.  rows: of the ledger.
    downloads: the ledger as files, name -> bytes.  results: name of a notebook -> the file of its best
    result.  cards: name -> {"markdown", "summary", "splits"}.  modules: page of the API -> the modules on
    it.  functions: those that `labkit` itself offers.  guide: what *How to read* takes from the library.
    chapters, doors, weeks: of the catalogue.  times: name of a notebook -> minutes to read, seconds to run.
    code: hash of labkit's sources.
    """

    parts: list
    papers: dict
    rows: list[dict]
    downloads: dict[str, bytes]
    results: dict[str, Path]
    cards: dict[str, dict]
    modules: dict[str, list[str]]
    functions: list[str]
    guide: dict
    chapters: dict
    doors: dict
    weeks: tuple
    times: dict[str, tuple[int, int]]
    code: str


def gather(root: Path, *, cache: Path) -> Content:
    """Ask labkit for all of it. cache: a file that keeps the data cards while labkit.data is the same."""
    import labkit
    from labkit import ledger as labkit_ledger
    from labkit import papers, runner

    results = {name: Path(runner.best(root, name)) for name in runner.names(root)}
    rows = labkit_ledger.rows(root, results.get)
    sources = staging.read_tree(root / "labkit", "**/*.py")
    return Content(
        parts=list(papers.PARTS.values()),
        papers={paper.id: paper for paper in papers.all()},
        rows=rows,
        downloads={
            file.name: file.read_bytes() for file in labkit_ledger.write(rows, cache.parent / "ledger")
        },
        results=results,
        cards=_cards(cache, staging.digest({n: c for n, c in sources.items() if n.startswith("data/")})),
        modules=api_modules(root / "labkit", papers.PARTS),
        functions=[name for name in labkit.__all__ if callable(getattr(labkit, name))],
        guide=_guide(len(papers.ids())),
        chapters=papers.CHAPTERS,
        doors=papers.DOORS,
        weeks=papers.weeks(),
        times={name: guides.times(file) for name, file in results.items()},
        code=staging.digest(sources),
    )


def _cards(cache: Path, key: str) -> dict[str, dict]:
    """The data cards. Counting what is in the data takes seconds, so they are kept between builds."""
    import os

    key = f"{key} {os.environ.get('LABKIT_DATA', '')}"
    kept = json.loads(cache.read_text(encoding="utf-8")) if cache.exists() else {}
    if kept.get("key") == key:
        return kept["cards"]
    from labkit import data

    cards = {}
    for name in data.names():
        card = data.card(name)
        splits = card.composition.splits if card.composition else {}
        cards[name] = {"markdown": card.markdown(), "summary": card.summary, "splits": splits}
    cache.parent.mkdir(parents=True, exist_ok=True)
    cache.write_text(json.dumps({"key": key, "cards": cards}), encoding="utf-8")
    return cards


def _guide(papers: int) -> dict:
    """What *How to read* takes from the library: simulated rates of every verdict, and of chance.

    papers: how many headlines there are.
    """
    from labkit.claims import simulate

    expected = simulate.chance_verdicts(papers)
    chance = {word: f"{count:.1f}" for word, count in expected.items()}
    if expected["supported"] < 0.05:
        chance["supported"] = "practically no"
    effect = "True effect, in margins"
    return chance | {
        "papers": papers,
        "better_rates": pages.rates(simulate.error_rates("better"), effect),
        "as_good_rates": pages.rates(simulate.error_rates("as good as"), effect),
        "reason_rates": pages.rates(simulate.reason_rates(), "True effect over the control, in margins"),
    }


def api_modules(package: Path, parts) -> dict[str, list[str]]:
    """The API's pages: one per module of labkit itself, one per chapter for the papers' modules."""
    own = [p for p in sorted(package.iterdir()) if p.suffix == ".py" or (p / "__init__.py").exists()]
    names = [path.stem for path in own if path.stem not in parts and path.stem[0] != "_"]
    found = {"labkit": ["labkit"]} | {f"labkit.{name}": [f"labkit.{name}"] for name in names}
    for part in parts.values():
        for chapter in part.chapters.values():
            files = [package / part.id / f"{paper.replace('-', '_')}.py" for paper in chapter.papers]
            modules = [f"labkit.{part.id}.{file.stem}" for file in files if file.exists()]
            if modules:
                found[f"{part.id}-{chapter.id}"] = modules
    return found


def site_files(root: Path, content: Content) -> tuple[dict[str, bytes], list[str]]:
    """The staged tree, name -> bytes, and the names of the notebooks that failed."""
    book = root / "book"
    keep = ("_ext/", "_static/", "references.bib")
    files = {"_config.yml": (root / "_config.yml").read_bytes()}
    for name, data in staging.read_tree(book).items():
        top = "/" not in name
        if name.startswith(keep) or (top and name.endswith(".md")):
            files[f"book/{name}"] = data

    files |= {f"book/{name}": data for name, data in content.downloads.items()}
    notebooks = set(content.results)
    rows_of: dict[str, list[dict]] = {}
    for row in content.rows:
        rows_of.setdefault(row["paper"], []).append(row)

    texts = _generated(root, content, notebooks, rows_of)
    failed = []
    for name, file in content.results.items():
        appendix = texts.pop(f"notebooks/{name}.md", "")
        files[f"notebooks/{name}.ipynb"], stopped = staging.notebook(file.read_bytes(), appendix=appendix)
        failed += [name] * stopped
    skeleton = yaml.safe_load((book / "_toc.yml").read_text(encoding="utf-8"))
    contents = toc.build(skeleton, content.parts, notebooks, list(content.cards), list(content.modules))
    texts["_toc.yml"] = yaml.safe_dump(contents, sort_keys=False)
    files |= {name: text.encode() for name, text in texts.items()}
    repository = yaml.safe_load(files["_config.yml"])["repository"]["url"]
    values = {
        "index": counters(content) | {"repository": f"[repository]({repository})"},
        "how-to-read": content.guide,
        "models": models.substitutions(book / "models"),
        "performance": performance.substitutions(book / "performance", content.results),
        "paths": guides.paths(content.parts, content.papers, content.weeks, content.times, rows_of),
    }
    for page, mine in values.items():
        files[f"book/{page}.md"] = with_substitutions(files[f"book/{page}.md"].decode(), mine).encode()
    return files, failed


def _generated(root: Path, content: Content, notebooks: set[str], rows_of: dict) -> dict[str, str]:
    """The pages that no one writes."""
    texts = {"book/ledger.md": pages.ledger_page(ledger.table(content.rows, notebooks))}
    for part in content.parts:
        chapters = [c for c in part.chapters.values() if c.papers or c.notebook in notebooks]
        if chapters:
            texts[f"notebooks/{part.id}/index.md"] = pages.part_page(part, content.papers, notebooks, rows_of)
        for chapter in chapters:
            # A chapter with a notebook of its own gets the list of its papers at that notebook's end.
            make = pages.chapter_list if chapter.notebook in notebooks else pages.chapter_page
            if chapter.papers:
                texts[f"notebooks/{chapter.notebook}.md"] = make(
                    chapter, part, content.papers, notebooks, rows_of
                )
    texts["book/choose.md"] = guides.choose_page(
        content.doors, content.chapters, content.papers, notebooks, rows_of
    )
    texts["book/data/index.md"] = pages.cards_index(content.cards)
    for name, card in content.cards.items():
        texts[f"book/data/{name}.md"] = pages.card_page(card["markdown"])
    summaries = {page: _summary(root, modules) for page, modules in content.modules.items()}
    texts["book/api/index.md"] = pages.api_index(summaries)
    for page, modules in content.modules.items():
        text = pages.api_front(content.functions) if page == "labkit" else pages.api_page(page, modules)
        texts[f"book/api/{page}.md"] = text
    texts["book/bibliography.md"] = pages.bibliography(len(content.papers))
    changelog = root / "CHANGELOG.md"
    texts["book/changes.md"] = pages.changes(changelog.read_text(encoding="utf-8"))
    return texts


def _summary(root: Path, modules: list[str]) -> str:
    """The first line of a module's docstring, or the names of the papers on a page of several."""
    firsts = []
    for module in modules:
        path = root / Path(*module.split("."))
        file = path.with_suffix(".py") if path.with_suffix(".py").exists() else path / "__init__.py"
        doc = ast.get_docstring(ast.parse(file.read_text(encoding="utf-8"))) or ""
        firsts.append(doc.split("\n")[0])
    return " ".join(firsts)


def counters(content: Content) -> dict[str, int]:
    """The figures on the front page."""
    judged = [row for row in content.rows if row["verdict"]]
    begun = {row["paper"] for row in content.rows if not pages.is_planned([row])}
    return {
        "papers": len(content.papers),
        "judged": len({row["paper"] for row in judged}),
        "planned": len(content.papers) - len(begun),
        "claims": len({row["claim"] for row in judged}),
    }


def with_substitutions(page: str, values: dict) -> str:
    """A page whose {{ names }} stand for these values, said in its front matter as MyST reads it."""
    front = {"myst": {"substitutions": values}}
    if page.startswith("---\n"):
        head, _, page = page[4:].partition("\n---\n")
        front = yaml.safe_load(head) | front
    return f"---\n{yaml.safe_dump(front, sort_keys=False, allow_unicode=True)}---\n{page}"
