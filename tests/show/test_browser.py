"""The static explorable in a real browser: by keyboard, two on a page, nothing asked of the network."""

import pytest
from matplotlib.figure import Figure

from labkit import show


@pytest.fixture(scope="module")
def page(browser, tmp_path_factory):
    def draw(size, color="blue"):
        figure = Figure(figsize=(3, 2))
        figure.subplots().plot([0, size], color=color)
        return figure

    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("LABKIT_HEADLESS", "1")
        one = show.explore(draw, size=[0.1, 0.25, 0.5], alt=lambda size: f"A line up to {size}.")
        two = show.explore(draw, size=[1, 2], color=["red", "green", "blue"], alt="A line in a colour.")
    parts = [one.html, two.html, one.html, show.figure(draw(1), alt="A line.", numbers={"x": [1]}).html]
    file = tmp_path_factory.mktemp("page") / "page.html"
    head = '<!doctype html><html lang="en"><head><meta charset="utf-8"><title>t</title></head>'
    file.write_text(f"{head}<body><main>{''.join(parts)}</main></body></html>", encoding="utf-8")
    context = browser.new_context(offline=True, viewport={"width": 360, "height": 700})
    page = context.new_page()
    page.problems = []
    page.on("console", lambda m: page.problems.append(m.text) if m.type in ("error", "warning") else None)
    page.on("pageerror", lambda error: page.problems.append(str(error)))
    page.on("requestfailed", lambda request: page.problems.append(request.url[:100]))
    page.goto(file.as_uri())
    yield page
    context.close()


def state(figure):
    image = figure.locator("img")
    return image.get_attribute("src"), image.get_attribute("alt"), figure.locator("output").all_inner_texts()


def test_the_keyboard_moves_one_picture_and_leaves_the_others(page):
    one, two, again = (page.locator("figure.labkit-explore").nth(i) for i in range(3))
    before = [state(figure) for figure in (one, two, again)]
    slider = one.get_by_label("size")
    slider.focus()
    page.keyboard.press("ArrowRight")
    page.keyboard.press("ArrowRight")
    source, alt, values = state(one)
    assert source.startswith("data:image/webp") and source != before[0][0]
    assert alt == "A line up to 0.5." and values == ["0.5"]
    assert slider.get_attribute("aria-valuetext") == "0.5"
    assert one.locator("img").evaluate("image => image.decode().then(() => image.naturalWidth)") == 600
    page.keyboard.press("Home")
    assert state(one)[1:] == ("A line up to 0.1.", ["0.1"])
    assert [state(two), state(again)] == before[1:]


def test_two_knobs_reach_every_frame(page):
    two = page.locator("figure.labkit-explore").nth(1)
    seen = set()
    for size in range(2):
        for color in range(3):
            two.get_by_label("size").fill(str(size))
            two.get_by_label("color").fill(str(color))
            seen.add(state(two)[0])
            assert state(two)[2] == [["1", "2"][size], ["red", "green", "blue"][color]]
    assert len(seen) == 6


def test_it_fits_a_phone_and_the_numbers_unfold(page):
    assert page.evaluate("document.documentElement.scrollWidth") <= 360
    details = page.locator("details")
    assert not details.locator("table").is_visible()
    details.locator("summary").click()
    assert details.locator("table").is_visible()


def test_no_serious_accessibility_finding(page):
    axe = pytest.importorskip("axe_playwright_python.sync_playwright")
    found = axe.Axe().run(page).response["violations"]
    assert [finding["id"] for finding in found if finding["impact"] in ("serious", "critical")] == []


def test_nothing_failed(page):
    assert page.problems == []
