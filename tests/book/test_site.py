"""What can be seen in the built files without a browser: links, addresses, weights, contents."""

import csv
import json
import re
from urllib.parse import unquote, urlsplit

import pytest

from labkit import papers

LIGHT = 300_000  # bytes of a page without its images
FOREIGN = re.compile(r"(?:https?:)?//")
# Where links of the site lead that are not to a paper or its code.
ELSEWHERE = {"github.com", "colab.research.google.com", "arxiv.org", "doi.org"}
ELSEWHERE |= {"inria.github.io"}  # scikit-learn's course, the source of a fact about a data set


def test_the_site_was_built_without_a_warning(site):
    assert site.status == 0, f"a notebook failed:\n{site.printed}"
    assert "WARNING" not in site.printed and "ERROR" not in site.printed
    assert str(site.folder) in site.printed and "Render" in site.printed


def test_an_unchanged_site_is_not_rendered_again(site, builder):
    before = {page: (site.folder / page).stat().st_mtime_ns for page in site.pages}
    assert builder.build() == site.status
    assert before == {page: (site.folder / page).stat().st_mtime_ns for page in site.pages}


def test_no_page_fetches_anything_from_elsewhere(parsed):
    found = [
        f"{p}: {tag} {url}" for p, page in parsed.items() for tag, url in page.fetched if FOREIGN.match(url)
    ]
    found += [
        f"{p}: style {s}" for p, page in parsed.items() for s in page.styles if re.search(r"url\(|@import", s)
    ]
    assert not found


def test_no_style_sheet_fetches_anything_from_elsewhere(site):
    address = re.compile(r"(?:url\(|@import)\s*['\"]?\s*(?:https?:)?//[^'\")]+")
    sheets = {s: address.findall(s.read_text(encoding="utf-8")) for s in site.folder.rglob("*.css")}
    assert not {str(sheet): found for sheet, found in sheets.items() if found}


def test_no_picture_is_left_inside_a_page_and_each_loads_lazily(site):
    for path in site.pages:
        text = site.read(path)
        assert not re.search(r"data:image/[\w+]+;base64,[A-Za-z0-9+/=]{512}", text), path
        body = text.partition("<article")[2].partition("</article>")[0]
        assert all('loading="lazy"' in image for image in re.findall(r"<img\b[^>]*>", body)), path


def test_every_link_inside_the_site_leads_somewhere(site, parsed):
    broken = []
    for path, page in parsed.items():
        for url in [*page.links, *(url for _, url in page.fetched)]:
            parts = urlsplit(url)
            if parts.scheme or parts.netloc:
                continue
            target = (site.folder / path).parent / unquote(parts.path) if parts.path else site.folder / path
            target = target.resolve()
            if not target.is_file():
                broken.append(f"{path}: {url}: no such file")
                continue
            name = target.relative_to(site.folder.resolve()).as_posix()
            if parts.fragment and name in parsed and unquote(parts.fragment) not in parsed[name].ids:
                broken.append(f"{path}: {url}: no such anchor")
    assert not broken


def test_links_out_lead_to_papers_code_and_nowhere_else(parsed):
    known = ELSEWHERE | {urlsplit(p.code_url).netloc for p in papers.all() if p.code_url}
    hosts = {
        urlsplit(url).netloc: path
        for path, page in parsed.items()
        for url in page.links
        if FOREIGN.match(url)
    }
    assert {host: path for host, path in hosts.items() if host not in known} == {}


def test_pages_are_light(site, record_property):
    sizes = {page: len(site.read(page).encode()) for page in site.pages}
    heaviest = max(sizes, key=sizes.get)
    record_property("heaviest", f"{heaviest}: {sizes[heaviest]} bytes")
    assert sizes[heaviest] <= LIGHT, f"{heaviest}: {sizes[heaviest]} bytes"


def test_every_paper_can_be_reached(site, parsed):
    ledger = site.read("book/ledger.html")
    for paper in papers.all():
        chapter = f"notebooks/{paper.part}/{paper.chapter}/index.html"
        assert paper.id in parsed[chapter].ids, f"{paper.id} is missing on {chapter}"
        assert f'data-paper="{paper.id}"' in ledger
    assert site.read("book/bibliography.html").count('class="citation"') == len(papers.all())


def test_next_leads_through_the_whole_book(site, parsed):
    seen = ["book/index.html"]
    while (following := parsed[seen[-1]].next) is not None:
        path = (site.folder / seen[-1]).parent / following
        seen.append(path.resolve().relative_to(site.folder.resolve()).as_posix())
        assert seen[-1] not in seen[:-1]
    assert set(site.pages) - set(seen) == {"search.html"}


def test_the_ledger_can_be_downloaded(site):
    rows = json.loads((site.folder / "book/ledger.json").read_text(encoding="utf-8"))
    with (site.folder / "book/ledger.csv").open(encoding="utf-8", newline="") as file:
        table = list(csv.DictReader(file))
    assert len(rows) == len(table) >= len(papers.all())
    assert site.read("book/ledger.html").count("<tr data-paper=") == len(rows)


def test_a_recalled_figure_is_not_shown_as_the_papers(site):
    for paper in papers.all():
        if paper.headline_source == "recalled":
            chapter = site.read(f"notebooks/{paper.part}/{paper.chapter}/index.html")
            block = chapter.partition(f'id="{paper.id}"')[2].partition("</section>")[0]
            assert "The paper reports" not in block, paper.id


def test_every_notebook_has_its_badges(site):
    from labkit import runner

    names = runner.names(site.folder.parents[2])
    if not names:
        pytest.skip("there is no notebook yet")
    for name in names:
        page = site.read(f"notebooks/{name}.html")
        colab = r"https://colab\.research\.google\.com/github/[\w.-]+/[\w.-]+/blob/published/notebooks/"
        assert re.search(f'{colab}{re.escape(name)}.ipynb"', page), name
        assert re.search(rf"/edit/main/notebooks/{re.escape(name)}.ipynb", page), name
