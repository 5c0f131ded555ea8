"""Every page of the site in a browser: at a desk by day, on a phone by night."""

import pytest

Axe = pytest.importorskip("axe_playwright_python.sync_playwright").Axe

# axe would fetch imported style sheets once more, from wrong addresses.
OPTIONS = {"resultTypes": ["violations"], "preload": False}
SERIOUS = ("serious", "critical")
WIDTHS = """() => {
  const wide = document.documentElement.clientWidth;
  return [document.documentElement.scrollWidth - wide,
          [...document.querySelectorAll("main *")].filter((e) => e.getBoundingClientRect().right > wide + 1)
            .slice(0, 3).map((e) => e.outerHTML.slice(0, 120))];
}"""
MATHEMATICS = """() => [document.querySelectorAll(".math").length,
  document.querySelectorAll("mjx-container").length, document.querySelectorAll("mjx-merror").length]"""
# Wide formulas can be scrolled to the right; what lies to the left of their box can't be reached.
FORMULAS_CUT = """() => [...document.querySelectorAll("div.math")].filter((box) => {
  const left = (element) => element.getBoundingClientRect().left;
  const formula = box.querySelector("mjx-math");
  return formula && left(formula) + box.scrollLeft < left(box) - 1;
}).length"""
PICTURES = """async () => {
  const pictures = [...document.images];
  pictures.forEach((picture) => { picture.loading = "eager"; });
  await Promise.all(pictures.map((picture) => picture.decode().catch(() => {})));
  return pictures.filter((p) => p.naturalWidth === 0 && !p.closest("[hidden]")).map((p) => p.src);
}"""


@pytest.mark.parametrize(("phone", "scheme"), [(False, "light"), (True, "dark")], ids=["desk", "phone"])
def test_every_page_is_sound(site, open_page, phone, scheme):
    visitor = open_page(site.pages[0], phone=phone, scheme=scheme)
    axe, found = Axe(), []
    for path in site.pages:
        page = visitor.visit(path)
        found += [f"{path}: picture {src} does not show" for src in page.evaluate(PICTURES)]
        overflow, culprits = page.evaluate(WIDTHS)
        if overflow > 0:
            found.append(f"{path}: {overflow} pixels wider than the screen: {culprits}")
        written, shown, wrong = page.evaluate(MATHEMATICS)
        if wrong or shown < written:
            found.append(f"{path}: {written} formulas, {shown} typeset, {wrong} with errors")
        if cut := page.evaluate(FORMULAS_CUT):
            found.append(f"{path}: {cut} formulas are cut off on the left")
        for violation in axe.run(page, options=OPTIONS).response["violations"]:
            if violation["impact"] in SERIOUS:
                nodes = "; ".join(node["html"][:160] for node in violation["nodes"][:3])
                found.append(f"{path}: {violation['id']} ({violation['help']}): {nodes}")
        found += [f"{path}: {problem}" for problem in visitor.problems]
    assert not found, f"{len(found)} problems:\n" + "\n".join(found)
