"""Every reader: languages, themes, narrow windows, keyboard alone, screen readers (by axe)."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from tests.browser.pages import Films, give, pixels, settled

PAPER = "getComputedStyle(document.body).backgroundColor"
NOTICEABLE = ("serious", "critical")


def violations(page: Any) -> list[str]:
    axe = pytest.importorskip("axe_playwright_python.sync_playwright").Axe()
    found = axe.run(page).response["violations"]
    return [f"{v['id']}: {v['nodes'][0]['html'][:120]}" for v in found if v["impact"] in NOTICEABLE]


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_axe_finds_nothing_serious(visit: Any, films: Films, theme: str) -> None:
    page = visit(color_scheme=theme, expect=("415",))
    assert violations(page) == []
    broken = films.folder / "broken.png"
    broken.write_text("no image")
    give(page, films.photograph(), films.film(), broken)
    page.get_by_role("button", name="Incorrect").click()
    page.get_by_role("radio", name="Two methods").check()
    settled(page)
    assert violations(page) == []
    page.get_by_role("button", name="Report").click()
    assert violations(page) == []
    page.get_by_role("button", name="Back").click()
    page.locator(".queue-pick").nth(2).click()
    page.keyboard.press("?")
    assert violations(page) == []


@pytest.mark.parametrize("theme", ["light", pytest.param("dark", marks=pytest.mark.slow)])
def test_axe_finds_nothing_serious_on_the_dashboard_and_on_a_phone(visit: Any, films: Films, theme: str) -> None:
    phone = visit(color_scheme=theme, viewport={"width": 390, "height": 844})
    give(phone, films.film())
    assert violations(phone) == []
    dashboard = visit("/dashboard", color_scheme=theme)
    dashboard.locator(".chart").first.wait_for()
    dashboard.locator(".figures summary").first.click()
    assert violations(dashboard) == []


@pytest.mark.parametrize("width", [1440, 1024, 768, 390])
@pytest.mark.parametrize("path", ["/", "/dashboard"])
def test_nothing_is_wider_than_the_window(visit: Any, films: Films, path: str, width: int) -> None:
    page = visit(path, viewport={"width": width, "height": 800}, locale="de-DE")
    if path == "/":
        give(page, films.film(), films.film("a name that is rather longer than there is room for in any list.png"))
    assert page.evaluate("document.documentElement.scrollWidth") == width


@pytest.mark.parametrize(
    ("locale", "word", "title"),
    [
        ("en-GB", "Choose images", "Dashboard"),
        ("de-AT", "Bilder wählen", "Übersicht"),
        ("es-MX", "Elegir imágenes", "Panel"),
        ("zh-CN", "选择图像", "仪表板"),
        ("fi-FI", "Choose images", "Dashboard"),
    ],
)
def test_the_page_speaks_the_browsers_language(visit: Any, locale: str, word: str, title: str) -> None:
    page = visit(locale=locale)
    assert page.get_by_role("button", name=word).is_visible()
    assert page.locator("html").get_attribute("lang") in (locale[:2], "en")
    page.goto(page.url.rstrip("/") + "/dashboard")
    page.get_by_role("heading", name=title, exact=True).wait_for()


def test_the_language_is_chosen_and_remembered(visit: Any, films: Films) -> None:
    page = visit()
    give(page, films.film())
    before = pixels(page)
    page.get_by_label("Language").select_option("de")
    page.get_by_text("Ist diese Antwort richtig?").wait_for()
    assert "%" in page.locator(".sure b").inner_text()
    assert "\N{NO-BREAK SPACE}%" in page.locator(".sure b").inner_text()
    np.testing.assert_array_equal(pixels(page), before)
    page.reload()
    page.get_by_role("button", name="Bilder wählen").wait_for()


def test_the_theme_follows_the_system_and_the_switch(visit: Any) -> None:
    page = visit(color_scheme="dark")
    dark = page.evaluate(PAPER)
    switch = page.get_by_role("button", name="Theme")
    switch.click()
    assert page.evaluate(PAPER) == "rgb(255, 255, 255)" != dark
    page.reload()
    page.wait_for_selector("body[data-ready]")
    assert page.evaluate(PAPER) == "rgb(255, 255, 255)"
    page.goto(page.url.rstrip("/") + "/dashboard")
    page.wait_for_selector("body[data-ready]")
    assert page.evaluate(PAPER) == "rgb(255, 255, 255)"
    switch.click()
    assert page.evaluate(PAPER) == dark
    switch.click()
    page.emulate_media(color_scheme="light")
    assert page.evaluate(PAPER) == "rgb(255, 255, 255)"


def reach(page: Any, selector: str, most: int = 80) -> None:
    """Press Tab until a control has the focus."""
    for _ in range(most):
        page.keyboard.press("Tab")
        if page.evaluate("(s) => document.activeElement.matches(s)", selector):
            return
    raise AssertionError(f"{selector} was not reached by Tab")


def test_everything_by_keyboard(visit: Any, films: Films) -> None:
    page = visit()
    with page.expect_file_chooser() as choosing:
        reach(page, "#choose")
        page.keyboard.press("Enter")
    choosing.value.set_files([str(films.film()), str(films.film("second.png", roll=40))])
    page.wait_for_selector(".queue-row", state="attached")
    settled(page)
    looks = [pixels(page)]
    for key in ("ArrowDown", "m", "2", "1", "i", "o", "+", "Shift+ArrowLeft", "-", "0"):
        page.keyboard.press(key)
        settled(page)
        looks.append(pixels(page))
    changed = [not np.array_equal(a, b) for a, b in pairwise(looks)]
    assert changed[:2] == [True, True]
    assert changed[4:8] == [True, True, True, True]
    # One of the two classes is the predicted one, which was shown already.
    assert any(changed[2:4])
    reach(page, "#opacity")
    before = page.locator("#opacity").input_value()
    page.keyboard.press("ArrowRight")
    assert int(page.locator("#opacity").input_value()) == int(before) + 1
    reach(page, ".pair button")
    page.keyboard.press("Enter")
    reach(page, ".feedback textarea")
    page.keyboard.type("m2i: typed, not obeyed")
    method = page.locator("#method").input_value()
    reach(page, ".feedback [type=submit]")
    page.keyboard.press("Enter")
    page.get_by_text("Marked as correct.").wait_for()
    assert page.locator("#method").input_value() == method
    page.keyboard.press("?")
    assert page.locator("#help").is_visible()
    page.keyboard.press("Escape")
    assert not page.locator("#help").is_visible()


def test_single_keys_can_be_switched_off(visit: Any, films: Films) -> None:
    page = visit()
    give(page, films.film())
    page.keyboard.press("?")
    page.get_by_label("Enable single-key shortcuts").uncheck()
    page.keyboard.press("Escape")
    page.keyboard.press("m")
    assert page.locator("#method").input_value() == "grad-cam"
