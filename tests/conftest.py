"""What several folders of tests share: one browser, since Playwright runs but once in a process."""

import os
import shutil

import pytest


@pytest.fixture(scope="session")
def browser():
    """A headless Chromium that finds no other machine; skipped, with the reason, where there is none."""
    names = ("chromium", "chromium-browser", "google-chrome")
    path = next(filter(None, map(shutil.which, names)), None)
    if path is None:
        if os.environ.get("LABKIT_REQUIRE_BROWSER") == "1":
            pytest.fail("LABKIT_REQUIRE_BROWSER=1, but there is no chromium")
        pytest.skip("no Chromium: install it (Debian: apt install chromium) to test the pages")
    sync_api = pytest.importorskip("playwright.sync_api")
    flags = ["--no-sandbox", "--disable-gpu", "--disable-background-networking"]
    flags.append("--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1")
    with sync_api.sync_playwright() as playwright:
        started = playwright.chromium.launch(executable_path=path, headless=True, args=flags)
        yield started
        started.close()
