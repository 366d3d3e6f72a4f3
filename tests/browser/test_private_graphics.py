"""The page on a graphics card: an imitated one answers the same, and the processor computes where it is quicker."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tests.browser.alone import asked, grid_of, static_server
from tests.browser.conftest import CHROMIUM, FLAGS
from tests.browser.pages import Films
from tests.private_page.conftest import graphics_runtime as graphics_runtime

from pellucid.private_page.export import export_page

IMITATED = ["--enable-unsafe-webgpu", "--use-webgpu-adapter=swiftshader", "--enable-features=Vulkan"]
pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def folder(served_bundle: Path, graphics_runtime: Path | None, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("graphics") / "page"
    return export_page(served_bundle, out, runtime=graphics_runtime, proof=False, webgpu=True).path


@pytest.fixture
def page() -> Iterator[Any]:
    """A page of a Chromium that imitates a graphics card."""
    playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    if CHROMIUM is None:
        pytest.skip("no Chromium on this machine: install Debian's package chromium")
    flags = [flag for flag in FLAGS if flag != "--disable-gpu"] + IMITATED
    with playwright.sync_playwright() as play:
        browser = play.chromium.launch(executable_path=CHROMIUM, args=flags)
        yield browser.new_page()
        browser.close()


def test_a_card_must_be_quicker_and_answer_the_same(folder: Path, page: Any, films: Films) -> None:
    page.set_default_timeout(120_000)
    data = films.film("b.png").read_bytes()
    with static_server(folder) as (url, seen):
        page.goto(url)
        page.wait_for_selector("body[data-checked=good]")
        if not page.evaluate("async () => Boolean(await navigator.gpu?.requestAdapter())"):
            pytest.skip("this Chromium imitates no graphics card")
        wanted = asked(page, data)
        # An imitated card is not even fetched for.
        assert page.evaluate("pellucid.compute()") == {"on": "processor", "tried": None}
        assert not any("graphics-" in path for path in seen)

        measured = page.evaluate("pellucid.compute({ software: true })")
        assert measured["tried"]["same"], measured
        quicker = measured["tried"]["card"] < measured["tried"]["processor"]
        assert measured["on"] == ("card" if quicker else "processor")

        forced = page.evaluate("pellucid.compute({ software: true, force: true })")
        assert forced["on"] == "card", forced
        found = asked(page, data)
        assert found["label"] == wanted["label"]
        assert found["probabilities"] == pytest.approx(wanted["probabilities"], abs=1e-3)
        for mine, theirs in zip(found["explanations"], wanted["explanations"], strict=True):
            largest = np.abs(grid_of(theirs)).max()
            np.testing.assert_allclose(grid_of(mine), grid_of(theirs), atol=1e-3 * largest)
        page.locator("#alone-more").click()
        assert "graphics card" in page.locator("#alone").inner_text()
