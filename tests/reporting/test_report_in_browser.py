"""The report as a browser shows it: it fits, asks for nothing, and its two comforts work."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from pellucid.reporting.html import build_report

playwright = pytest.importorskip("playwright.sync_api")
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="no Chromium on this machine")


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with playwright.sync_playwright() as play:
        flags = ["--no-sandbox", "--disable-gpu", "--disable-background-networking"]
        running = play.chromium.launch(executable_path=CHROMIUM, args=flags)
        yield running
        running.close()


@pytest.fixture(scope="module")
def address(run_folder: Path) -> str:
    return build_report(run_folder).as_uri()


@pytest.mark.parametrize(("width", "height"), [(1366, 768), (820, 1180), (390, 844)])
def test_it_fits_any_width_and_asks_for_nothing(browser: Any, address: str, width: int, height: int) -> None:
    page = browser.new_page(viewport={"width": width, "height": height})
    asked, said = [], []
    page.on("request", lambda request: asked.append(request.url))
    page.on("console", lambda message: said.append(message.text))
    page.on("pageerror", lambda error: said.append(str(error)))
    page.goto(address)
    assert page.evaluate("document.documentElement.scrollWidth") == width
    assert [url for url in asked if url != address and not url.startswith("data:")] == []
    assert said == []
    page.close()


def test_the_summary_fits_on_one_laptop_screen(browser: Any, address: str) -> None:
    page = browser.new_page(viewport={"width": 1366, "height": 768})
    page.goto(address)
    last = page.locator(".strip figcaption").last.bounding_box()
    assert last["y"] + last["height"] <= 768
    page.close()


def test_it_reads_without_scripts(browser: Any, address: str) -> None:
    page = browser.new_context(java_script_enabled=False).new_page()
    page.goto(address)
    assert page.locator("main h2").count() == 10
    assert page.locator("button").count() == 0
    page.close()


def test_the_colours_follow_the_system_and_the_switch(browser: Any, address: str) -> None:
    page = browser.new_page(color_scheme="dark")
    page.goto(address)
    paper = "getComputedStyle(document.body).backgroundColor"
    dark = page.evaluate(paper)
    switch = page.get_by_role("button", name="Theme")
    switch.click()
    assert page.evaluate(paper) == "rgb(255, 255, 255)" != dark
    page.reload()
    assert page.evaluate(paper) == "rgb(255, 255, 255)"
    switch.click()
    assert page.evaluate(paper) == dark
    page.emulate_media(media="print")
    assert page.evaluate("getComputedStyle(document.documentElement).getPropertyValue('--ink')") == "#1b2326"
    assert not page.locator(".index").is_visible()
    page.close()


def test_images_enlarge_by_mouse_and_by_key(browser: Any, address: str) -> None:
    page = browser.new_page()
    page.goto(address)
    dialog = page.locator("dialog")
    page.locator(".strip .pair").first.click()
    assert dialog.locator("img").count() == 2
    assert all(image.is_visible() for image in dialog.locator("img").all())
    page.keyboard.press("Escape")
    assert not dialog.is_visible()
    page.locator(".case .pair").first.focus()
    page.keyboard.press("Enter")
    assert dialog.is_visible()
    dialog.click()
    assert not dialog.is_visible()
    page.close()
