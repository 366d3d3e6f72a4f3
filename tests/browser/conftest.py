"""One browser and one server for all tests of the page."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.browser.pages import Films
from tests.serving.conftest import served_bundle as served_bundle
from tests.serving.running import Running, running

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
FLAGS = ["--no-sandbox", "--disable-gpu", "--disable-background-networking"]
Visit = Callable[..., Any]


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    """A browser for each file: Playwright keeps an event loop running, in which other files' loops cannot start."""
    playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    if CHROMIUM is None:
        pytest.skip("no Chromium on this machine: install Debian's package chromium")
    with playwright.sync_playwright() as play:
        running = play.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        yield running
        running.close()


@pytest.fixture(scope="session")
def site(served_bundle: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """A server of one small model, with a store and without URLs."""
    store = tmp_path_factory.mktemp("store") / "store.sqlite"
    with running({"small": served_bundle}, store=str(store)) as server:
        yield server


@pytest.fixture
def films(tmp_path: Path) -> Films:
    return Films(tmp_path)


@pytest.fixture
def visit(browser: Any, request: pytest.FixtureRequest) -> Iterator[Visit]:
    """Open a page of a server; at the end nothing may have left it, broken its policy or failed unseen.

    `expect` are words of console messages that belong to the test, such as the status of a refusal.
    """
    contexts: list[Any] = []
    left: list[str] = []
    said: list[str] = []

    def open_page(path: str = "/", *, url: str | None = None, expect: tuple[str, ...] = (), **options: Any) -> Any:
        home = url or request.getfixturevalue("site").url
        given = {"viewport": {"width": 1440, "height": 900}, "locale": "en-GB", "accept_downloads": True, **options}
        context = browser.new_context(**given)
        contexts.append(context)
        page = context.new_page()
        page.set_default_timeout(15_000)
        inside = (home, "blob:", "data:")
        page.on("request", lambda asked: None if asked.url.startswith(inside) else left.append(asked.url))
        page.on("console", lambda m: None if any(word in m.text for word in expect) else said.append(m.text))
        page.on("pageerror", lambda error: said.append(str(error)))
        page.goto(home + path)
        page.wait_for_selector("body[data-ready]")
        return page

    yield open_page
    for context in contexts:
        context.close()
    assert left == []
    assert said == []
