"""What a reader does: search, sort, filter, change the theme, move a picture, each by keyboard too."""

import re

import pytest

CONTRAST = """(selector) => {
  const parse = (color) => color.match(/[\\d.]+/g).map(Number);
  const light = ([r, g, b]) => [r, g, b].map((c) => c / 255)
    .map((c) => c <= 0.03928 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4)
    .reduce((sum, c, i) => sum + c * [0.2126, 0.7152, 0.0722][i], 0);
  const behind = (element) => {
    for (let e = element; e; e = e.parentElement) {
      const color = parse(getComputedStyle(e).backgroundColor);
      if (color.length === 3 || color[3] === 1) return color;
    }
    return [255, 255, 255];
  };
  const element = document.querySelector(selector);
  const pair = [light(parse(getComputedStyle(element).color)), light(behind(element))].sort((a, b) => b - a);
  return (pair[0] + 0.05) / (pair[1] + 0.05);
}"""


def titles(page):
    """The visible rows' papers, in order."""
    rows = page.locator("#ledger-table tbody tr:not([hidden])")
    return rows.evaluate_all("rows => rows.map((row) => row.dataset.paper)")


def test_search_finds_a_page_and_a_paper(open_page):
    page = open_page("book/index.html").page
    for words, address in (("ledger", "book/ledger.html"), ("ResizeMix", "notebooks/augment/images/")):
        page.goto(re.sub(r"book/index\.html.*|search\.html.*", "", page.url) + f"search.html?q={words}")
        page.wait_for_selector("#search-results li a")
        found = page.locator("#search-results li a").evaluate_all("links => links.map((a) => a.href)")
        assert any(address in link for link in found), f"{words}: {found[:8]}"


def test_search_opens_by_keyboard(open_page):
    visitor = open_page("book/index.html")
    page = visitor.page
    page.keyboard.press("Control+k")
    page.keyboard.type("margin")
    page.keyboard.press("Enter")
    page.wait_for_url("**/search.html?q=margin*")
    page.wait_for_selector("#search-results li a")
    assert not visitor.problems


def test_the_ledger_filters(open_page):
    visitor = open_page("book/ledger.html")
    page = visitor.page
    everything = titles(page)
    page.get_by_label("Find").fill("resizemix")
    assert titles(page) == [name for name in everything if name == "resizemix"]
    assert page.locator(".ledger-controls output").inner_text() == (
        f"{everything.count('resizemix')} of {len(everything)} rows"
    )
    page.get_by_label("Find").fill("")
    page.get_by_label("Part").select_option("retrieve")
    assert 0 < len(titles(page)) < len(everything)
    page.get_by_label("Verdict").select_option("planned")
    assert "rag" in titles(page)
    assert not visitor.problems


def test_the_ledger_sorts_by_mouse_and_by_keyboard(open_page):
    page = open_page("book/ledger.html").page
    everything = titles(page)
    names = page.locator("#ledger-table tbody tr th").evaluate_all(
        "cells => cells.map((c) => c.textContent.trim().toLowerCase())"
    )
    head = page.locator('#ledger-table th[data-key="paper"]')
    head.locator("button").click()
    assert head.get_attribute("aria-sort") == "ascending"
    again = page.locator("#ledger-table tbody tr th").evaluate_all(
        "cells => cells.map((c) => c.textContent.trim().toLowerCase())"
    )
    assert again != names and sorted(again) == sorted(names)
    assert again[0] == min(names, key=lambda name: re.sub(r"\W", "", name))
    head.locator("button").focus()
    page.keyboard.press("Enter")
    assert head.get_attribute("aria-sort") == "descending"
    assert titles(page) != everything
    # Rows without a value come last in both directions.
    difference = page.locator('#ledger-table th[data-key="difference"] button')
    for _ in range(2):
        difference.press("Enter")
        blank = page.locator("#ledger-table tbody tr").evaluate_all(
            "rows => rows.map((row) => row.cells[2].classList.contains('none'))"
        )
        assert blank == sorted(blank)


def test_the_ledger_is_whole_without_a_script(browser, address):
    context = browser.new_context(java_script_enabled=False)
    page = context.new_page()
    page.goto(address + "book/ledger.html")
    assert len(titles(page)) >= 139
    assert page.locator(".ledger-controls").count() == 0
    context.close()


@pytest.mark.parametrize("phone", [False, True], ids=["desk", "phone"])
def test_the_theme_can_be_dark(open_page, phone):
    page = open_page("book/ledger.html", phone=phone).page
    root = page.locator("html")
    button = page.locator("button.theme-switch-button:visible").first
    seen = set()
    for _ in range(3):
        seen.add(root.get_attribute("data-theme"))
        for selector in (
            ".bd-article p",
            ".bd-article p a",
            ".ledger small",
            ".chip",
            ".ledger thead button",
        ):
            assert page.evaluate(CONTRAST, selector) >= 4.5, (selector, root.get_attribute("data-theme"))
        button.click()
    assert seen == {"light", "dark"}


def test_pictures_move_by_mouse_and_by_keyboard(site, open_page, move):
    pages = [path for path in site.pages if 'class="labkit-explore"' in site.read(path)]
    if not pages:
        pytest.skip("no page has an explorable picture yet")
    for path in pages:
        visitor = open_page(path)
        for figure in visitor.page.locator("figure.labkit-explore").all():
            move(figure)
        assert not visitor.problems, path
