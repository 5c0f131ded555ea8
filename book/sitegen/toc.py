"""The table of contents: the prose pages of book/_toc.yml, and the parts from the catalogue."""


def build(skeleton: dict, parts: list, notebooks: set[str], cards: list[str], modules: list[str]) -> dict:
    """The table of contents that Jupyter Book reads.

    skeleton: the content of book/_toc.yml.  parts: `labkit.papers.Part` in order.  notebooks: names such
    as "augment/images/resizemix" of those that exist.  cards: names of data sets.  modules: API pages.
    Raises ValueError for a `generated` entry that is not known, and for a notebook that the catalogue
    does not know: it would be left out of the book without a word.
    """
    known = {name for part in parts for chapter in part.chapters.values() for name in pages_of(chapter)}
    if stray := sorted(notebooks - known):
        raise ValueError(f"notebooks/{stray[0]}.ipynb: labkit/catalogue.toml has no such paper or chapter")
    toc = {key: value for key, value in skeleton.items() if key != "parts"} | {"parts": []}
    pages = {"cards": [f"book/data/{name}" for name in cards], "api": [f"book/api/{m}" for m in modules]}
    for entry in skeleton["parts"]:
        if entry.get("generated") == "parts":
            toc["parts"] += [part for part in (_part(part, notebooks) for part in parts) if part]
        elif "generated" in entry:
            raise ValueError(f"_toc.yml: generated: {entry['generated']!r}; a part takes 'parts'")
        else:
            toc["parts"].append(entry | {"chapters": [_page(page, pages) for page in entry["chapters"]]})
    return toc


def _page(entry: dict, pages: dict[str, list[str]]) -> dict:
    """A page of the skeleton, with the generated pages below it."""
    if "generated" not in entry:
        return entry
    if entry["generated"] not in pages:
        raise ValueError(f"_toc.yml: generated: {entry['generated']!r}; a page takes {', '.join(pages)}")
    below = [{"file": page} for page in pages[entry["generated"]]]
    return {"file": entry["file"]} | ({"sections": below} if below else {})


def _part(part, notebooks: set[str]) -> dict | None:
    """A part: its overview, and its chapters with the notebooks that exist; None for an empty part."""
    chapters = [_chapter(chapter, notebooks) for chapter in part.chapters.values()]
    chapters = [chapter for chapter in chapters if chapter]
    if not chapters:
        return None
    return {"caption": part.title, "chapters": [{"file": f"notebooks/{part.id}/index"}, *chapters]}


def _chapter(chapter, notebooks: set[str]) -> dict | None:
    """A chapter: its page (always there when it has papers) and its notebooks."""
    if not chapter.papers and chapter.notebook not in notebooks:
        return None
    sections = [{"file": f"notebooks/{name}"} for name in pages_of(chapter)[1:] if name in notebooks]
    return {"file": f"notebooks/{chapter.notebook}"} | ({"sections": sections} if sections else {})


def pages_of(chapter) -> list[str]:
    """The names of the notebooks that a chapter may have: its own first, then one per paper."""
    return [chapter.notebook, *(f"{chapter.part}/{chapter.id}/{paper}" for paper in chapter.papers)]
