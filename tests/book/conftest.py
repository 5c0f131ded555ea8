"""The built site, a server for it, and a tab that notes what goes wrong in it."""

import functools
import http.server
import importlib.util
import subprocess
import sys
import threading
from contextlib import contextmanager
from html.parser import HTMLParser
from pathlib import Path
from typing import NamedTuple

import pytest
from filelock import FileLock

ROOT = Path(__file__).parents[2]
sys.path += [str(ROOT / "book"), str(ROOT / "book" / "_ext")]


class Site(NamedTuple):
    """A built site. folder: its root. printed: what build.py said. status: its exit status."""

    folder: Path
    printed: str
    status: int

    @property
    def pages(self) -> list[str]:
        """The pages' paths below the root; the root's own page only leads to the first of them."""
        found = (file.relative_to(self.folder).as_posix() for file in self.folder.rglob("*.html"))
        return sorted(set(found) - {"index.html"})

    def read(self, page: str) -> str:
        return (self.folder / page).read_text(encoding="utf-8")


@pytest.fixture(scope="session")
def builder():
    """The module book/build.py, under a name that is not that of a tool."""
    spec = importlib.util.spec_from_file_location("book_build", ROOT / "book" / "build.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="session")
def site() -> Site:
    """The site of this checkout; nothing is rendered again that is up to date.

    Test processes that run side by side wait for one another.
    """
    (ROOT / "book" / "_build").mkdir(exist_ok=True)
    with FileLock(ROOT / "book" / "_build" / "tests.lock"):
        ran = subprocess.run([sys.executable, "book/build.py"], cwd=ROOT, capture_output=True, text=True)
    printed = ran.stdout + ran.stderr
    assert ran.returncode in (0, 1), f"the site was not built:\n{printed[-6000:]}"
    return Site(ROOT / "book" / "_build" / "html", printed, ran.returncode)


class Page(HTMLParser):
    """What a page holds that could fetch, link or be linked.

    ids: anchors.  links: addresses of `a`.  fetched: (tag, address) of all that a browser would load.
    styles: inline style sheets.  next: address of the page that follows, or None.
    """

    def __init__(self, text: str):
        super().__init__()
        self.ids, self.links, self.fetched, self.styles, self.next = set(), [], [], [], None
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        found = {name: value or "" for name, value in attrs}
        self.ids |= {found[name] for name in ("id", "name") if name in found and tag != "meta"}
        if tag == "a" and "href" in found:
            self.links.append(found["href"])
            if "right-next" in found.get("class", ""):
                self.next = found["href"]
        if tag == "link" and not {"next", "prev", "search", "index"} & set(found.get("rel", "").split()):
            self.fetched.append((tag, found.get("href", "")))
        if tag != "a":
            self.fetched += [(tag, found[name]) for name in ("src", "poster", "data-src") if name in found]
            self.fetched += [(tag, part.split()[0]) for part in found.get("srcset", "").split(",") if part]
        self.styles.append(found.get("style", ""))


@pytest.fixture(scope="session")
def parsed(site) -> dict[str, Page]:
    """Every page, parsed."""
    return {page: Page(site.read(page)) for page in site.pages}


@contextmanager
def serving(folder: Path):
    """The address of a server for a folder, on this machine and for it only."""

    class Quiet(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *args):
            pass

    handler = functools.partial(Quiet, directory=str(folder))
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}/"
    server.shutdown()
    server.server_close()


@pytest.fixture(scope="session")
def serve():
    """A function that serves a folder: with serve(folder) as address."""
    return serving


@pytest.fixture(scope="session")
def address(site):
    """Where the site is served."""
    with serving(site.folder) as found:
        yield found


class Visitor:
    """A browser tab that notes what goes wrong.

    problems: failed or foreign requests and errors on the console, since the last `visit`.
    """

    def __init__(self, browser, address: str, *, width: int, height: int, scheme: str):
        context = browser.new_context(viewport={"width": width, "height": height}, color_scheme=scheme)
        self.page, self.address, self.problems = context.new_page(), address, []
        self.page.on("console", self._console)
        self.page.on("pageerror", lambda error: self.problems.append(f"script error: {error}"))
        self.page.on("request", self._request)
        self.page.on("requestfailed", self._failed)
        self.page.on("response", self._response)

    def _console(self, message):
        if message.type in ("error", "warning"):
            self.problems.append(f"console: {message.text}")

    def _request(self, request):
        if not request.url.startswith((self.address, "data:", "blob:")):
            self.problems.append(f"foreign request: {request.url}")

    def _failed(self, request):
        # Aborted is what the browser gives up itself, on leaving a page.
        if request.failure != "net::ERR_ABORTED":
            self.problems.append(f"failed: {request.url} ({request.failure})")

    def _response(self, response):
        if response.status >= 400:
            self.problems.append(f"{response.status}: {response.url}")

    def visit(self, path: str):
        """Open a page and wait until its scripts, and the mathematics, are done."""
        self.problems.clear()
        self.page.goto(self.address + path, wait_until="load")
        self.page.evaluate("() => window.MathJax?.startup?.promise")
        return self.page

    def close(self):
        self.page.context.close()


@pytest.fixture
def open_page(browser, address):
    """A function that opens a page: open_page("book/ledger.html", phone=True, scheme="dark") -> Visitor."""
    opened = []

    def start(path: str, *, phone: bool = False, scheme: str = "light", address=address) -> Visitor:
        width, height = (390, 844) if phone else (1280, 800)
        visitor = Visitor(browser, address, width=width, height=height, scheme=scheme)
        opened.append(visitor)
        visitor.visit(path)
        return visitor

    yield start
    for visitor in opened:
        visitor.close()


@pytest.fixture
def move():
    """A function that moves an explorable picture: move(locator of its figure)."""
    return move_picture


def move_picture(figure):
    """Move an explorable picture by keyboard and by mouse, and check that picture and value follow."""
    knobs = figure.locator("input").all()
    steps = [int(knob.get_attribute("max")) for knob in knobs]
    place = steps.index(max(steps))  # the one with most values: a knob of two shows no third
    knob, shown, image = knobs[place], figure.locator("output").nth(place), figure.locator("img").first
    states = [(image.get_attribute("src"), shown.inner_text())]
    knob.focus()
    knob.press("ArrowRight")
    states.append((image.get_attribute("src"), shown.inner_text()))
    box = knob.bounding_box()
    figure.page.mouse.click(box["x"] + box["width"] - 8, box["y"] + box["height"] / 2)
    states.append((image.get_attribute("src"), shown.inner_text()))
    assert len({src for src, _ in states}) == len({value for _, value in states}) == 3, states
    figure.page.wait_for_function("(i) => i.complete && i.naturalWidth > 0", arg=image.element_handle())
