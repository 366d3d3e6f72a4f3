"""The page of an inspection: what was found stands in it, it asks for nothing, and it fits."""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tests.audit_samples import Pixels, look, save, write_folder

from pellucid.data.inspection import AreaEntry, Inspection, LabelEntry, Suspect
from pellucid.data.statistics import ImageMeasurements
from pellucid.errors import ResourceError
from pellucid.reporting.html import coded
from pellucid.reporting.inspection import breakable, headlines, measure_bar, render_inspection, write_inspection

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")


def _tagged(path: Path, pixels: Pixels, ill: bool) -> None:
    marked = pixels.copy()
    if ill:
        marked[3:8, 3:7] = 240
    save(path.with_suffix(".png"), marked)


@pytest.fixture(scope="module")
def looked(tmp_path_factory: pytest.TempPathFactory) -> tuple[Inspection, ImageMeasurements]:
    root = write_folder(tmp_path_factory.mktemp("page") / "films", _tagged)
    shutil.copy(min((root / "train/normal").iterdir()), root / "test/ill/leak <b>&.png")
    (root / "train/ill/broken.jpg").write_bytes(b"\xff\xd8\xff\xe0")
    save(root / "val/ill/flat.png", np.full((40, 40), 7, np.uint8))
    inspection, found = look(root, metadata=True)
    suspect = Suspect(
        path=inspection.identical[0].images[0].path, label="ill", split="test", probability=0.03, suggested="normal",
        suggested_probability=0.97,
    )  # fmt: skip
    labels = LabelEntry(
        features="features of x", area=AreaEntry(value=0.9, low=0.8, high=0.95), judged=True, suspects=(suspect,)
    )
    return inspection.model_copy(update={"labels": labels}), found


@pytest.fixture(scope="module")
def page(looked: tuple[Inspection, ImageMeasurements]) -> str:
    return render_inspection(*looked)


class Text(HTMLParser):
    """The words of a page, and the addresses that it names."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.words: list[str] = []
        self.addresses: list[str] = []
        self.feed(page)
        self.text = " ".join(" ".join(self.words).split())

    def handle_data(self, data: str) -> None:
        self.words.append(data)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.addresses += [value or "" for name, value in attrs if name in ("src", "href", "action")]


def test_every_finding_stands_in_the_page_in_its_order(page: str, looked: tuple[Inspection, ImageMeasurements]) -> None:
    text, at = Text(page).text, 0
    assert looked[0].verdict in text
    assert len(looked[0].findings) >= 8
    for finding in looked[0].findings:
        at = text.index(" ".join(f"{finding.topic} {finding.text}".replace("`", " ").split())[:60], at)


def test_what_was_measured_stands_in_the_page(page: str, looked: tuple[Inspection, ImageMeasurements]) -> None:
    text, (inspection, _) = Text(page).text, looked
    assert inspection.metadata is not None
    area = inspection.metadata.area
    assert f"{area.value:.3f} [{area.low:.3f}, {area.high:.3f}]".replace("1.000", "1.00") in text
    assert "From borders and corners" in text
    assert "Contrast in the top left corner: the highest" in text
    assert "1 set of identical files" in text
    assert "two labels" in text
    assert "two splits" in text
    assert "train/ill/broken.jpg" in text
    assert "The picture is one flat tone." in text
    assert "labelled ill looks like normal 0.970" in text
    assert "ill less normal, in standard deviations" in text


def test_it_names_no_other_host_and_escapes_names(page: str) -> None:
    addresses = Text(page).addresses
    assert len([a for a in addresses if a.startswith("data:image/")]) >= 25
    assert [a for a in addresses if not a.startswith(("data:image/", "#"))] == []
    assert not re.search(r"@import|url\((?!#)|https?://", page)
    assert "leak <b>" not in page
    assert "leak &lt;b&gt;&amp;" in page
    assert len(page) < 3_000_000


def test_it_is_written_whole_with_its_document(tmp_path: Path, looked: tuple[Inspection, ImageMeasurements]) -> None:
    written = write_inspection(tmp_path / "new" / "folder", *looked)
    assert written == tmp_path / "new/folder/inspection.html"
    assert sorted(f.name for f in written.parent.iterdir()) == ["inspection.html", "inspection.json"]
    document = (written.parent / "inspection.json").read_text(encoding="utf-8")
    assert Inspection.model_validate_json(document) == looked[0]
    written.write_text("older")
    assert write_inspection(written.parent, *looked).stat().st_size > 100_000
    (tmp_path / "file").write_text("")
    with pytest.raises(ResourceError, match="cannot be written to"):
        write_inspection(tmp_path / "file", *looked)


def test_it_says_what_was_not_looked_for(looked: tuple[Inspection, ImageMeasurements]) -> None:
    inspection, found = looked
    bare = inspection.model_copy(
        update={"labels": None, "labels_absent": "Add `--weights`.", "metadata": None, "metadata_absent": "Too few."}
    )
    page = render_inspection(bare, found)
    assert "This was not checked. Add <code>--weights</code>." in page
    assert "Too few." in Text(page).text
    assert headlines(bare)[2][1:] == ("n/a", "")


def test_headlines(looked: tuple[Inspection, ImageMeasurements]) -> None:
    images, more, _ = headlines(looked[0])
    assert images == ("Images", "152", "75 normal, 77 ill")
    assert more[:2] == ("Files more than needed", "1")


def test_bars_show_a_measure_from_its_better_side(looked: tuple[Inspection, ImageMeasurements]) -> None:
    assert looked[0].metadata is not None
    entry = looked[0].metadata.measures[0]
    low = entry.model_copy(update={"area": AreaEntry(value=0.1, low=0.05, high=0.2)})
    bar = measure_bar(low)
    assert (bar.value, bar.interval, bar.drawn) == (0.9, "[0.800, 0.950]", (80, 60, 90))
    assert bar.meaning == entry.sentence
    unclear = measure_bar(entry.model_copy(update={"area": AreaEntry(value=0.52, low=0.45, high=0.6)}))
    assert (unclear.meaning, unclear.drawn) == ("no clear difference", (4, 0, 20))


def test_code_and_breaks_are_marked_and_nothing_else() -> None:
    assert coded("run `a <b>` & go") == "run <code>a &lt;b&gt;</code> &amp; go"
    assert breakable("a/b_c-<i>.png") == "a/<wbr>b_<wbr>c-<wbr>&lt;i&gt;.png"


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    playwright = pytest.importorskip("playwright.sync_api")
    if CHROMIUM is None:
        pytest.skip("no Chromium on this machine")
    with playwright.sync_playwright() as play:
        flags = ["--no-sandbox", "--disable-gpu", "--disable-background-networking"]
        running = play.chromium.launch(executable_path=CHROMIUM, args=flags)
        yield running
        running.close()


@pytest.mark.parametrize(("width", "scheme"), [(1366, "light"), (820, "dark"), (390, "light")])
def test_it_fits_any_width_and_asks_for_nothing(
    browser: Any, page: str, tmp_path: Path, width: int, scheme: str
) -> None:
    (tmp_path / "page.html").write_text(page, encoding="utf-8")
    address = (tmp_path / "page.html").as_uri()
    shown = browser.new_page(viewport={"width": width, "height": 800}, color_scheme=scheme)
    asked, said = [], []
    shown.on("request", lambda request: asked.append(request.url))
    shown.on("console", lambda message: said.append(message.text))
    shown.on("pageerror", lambda error: said.append(str(error)))
    shown.goto(address)
    assert shown.evaluate("document.documentElement.scrollWidth") == width
    assert [url for url in asked if url != address and not url.startswith("data:")] == []
    assert said == []
    broken = "[...document.images].filter(i => !i.complete || !i.naturalWidth).length"
    assert shown.evaluate(broken) == 0
    shown.locator(".strip .pair").first.click()
    assert shown.locator("dialog img").is_visible()
    shown.close()
