"""`pellucid compare` as it is typed, and its page as a browser shows it."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from tests.cli.conftest import Cli
from tests.cli.test_wrong_input import refused


@pytest.fixture
def batches(cli: Cli, run: Path, phantoms: Path, tmp_path: Path) -> tuple[Path, Path]:
    """The same films by the run, and by the run with another threshold."""
    assert cli("predict", run, phantoms / "test", "--out", tmp_path / "a").code == 0
    other = Path(shutil.copytree(run / "model", tmp_path / "other"))
    manifest = json.loads((other / "manifest.json").read_text(encoding="utf-8"))
    rows = json.loads(cli("predict", run, phantoms / "test", "--json").out)
    scores = sorted(row["probabilities"]["opacity"] for row in rows)
    # Decide so that about half the films change sides, whichever side they were all on.
    middle = scores[len(scores) // 2]
    manifest["threshold"] = middle
    (other / "manifest.json").write_text(json.dumps(manifest), encoding="utf-8")
    assert cli("predict", other, phantoms / "test", "--out", tmp_path / "b").code == 0
    return tmp_path / "a", tmp_path / "b"


def test_table_document_and_page_agree(cli: Cli, batches: tuple[Path, Path], tmp_path: Path) -> None:
    ended = cli("compare", *batches, "--out", tmp_path / "out")
    document = json.loads((tmp_path / "out" / "compare.json").read_text(encoding="utf-8"))
    assert ended.code == 0
    assert json.loads(cli("compare", *batches, "--json").out) == document
    assert document["flipped"] == len(document["flips"]) > 0
    assert document["verdict"] in ended.out
    page = (tmp_path / "out" / "compare.html").read_text(encoding="utf-8")
    assert document["verdict"] in page
    assert page.count('src="data:image/jpeg') == min(document["flipped"], 24)
    assert "Next, for a page with pictures" in cli("compare", *batches).out


def test_wrong_use_is_one_sentence(cli: Cli, run: Path, batches: tuple[Path, Path], tmp_path: Path) -> None:
    refused(cli("compare", batches[0], run), "job.json", "--out")
    refused(cli("compare", tmp_path / "nowhere", batches[0]), "nowhere")
    next(iter(batches[1].glob("part-*.parquet"))).write_bytes(b"PAR1")
    refused(cli("compare", *batches), "part-000000.parquet", "--resume")


@pytest.mark.parametrize(("width", "height"), [(1366, 768), (390, 844)])
def test_the_page_fits_and_asks_for_nothing(
    cli: Cli, batches: tuple[Path, Path], tmp_path: Path, width: int, height: int
) -> None:
    playwright = pytest.importorskip("playwright.sync_api")
    chromium = shutil.which("chromium") or shutil.which("google-chrome")
    if chromium is None:
        pytest.skip("no Chromium on this machine")
    cli("compare", *batches, "--out", tmp_path / "out")
    address = (tmp_path / "out" / "compare.html").as_uri()
    asked: list[str] = []
    said: list[Any] = []
    with playwright.sync_playwright() as play:
        flags = ["--no-sandbox", "--disable-gpu", "--disable-background-networking"]
        browser = play.chromium.launch(executable_path=chromium, args=flags)
        page = browser.new_page(viewport={"width": width, "height": height})
        page.on("request", lambda request: asked.append(request.url))
        page.on("console", lambda message: said.append(message.text))
        page.on("pageerror", lambda error: said.append(str(error)))
        page.goto(address)
        assert page.evaluate("document.documentElement.scrollWidth") == width
        browser.close()
    assert [url for url in asked if url != address and not url.startswith("data:")] == []
    assert said == []
