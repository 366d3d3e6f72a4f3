"""report.html: self-contained, escaped, whole or not there, small, and saying what the run says."""

from __future__ import annotations

import base64
import hashlib
import re
import shutil
from collections.abc import Callable
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import PIL.Image
import pytest

from pellucid.errors import BundleError, ResourceError
from pellucid.reporting import decision_figures
from pellucid.reporting.contents import read_run
from pellucid.reporting.html import build_report, render
from pellucid.reporting.views import NOT_FOR_DIAGNOSIS

SCRIPT_CLASS = "<script>alert(1)</script>"
TEMPLATES = Path(__file__).parents[2] / "src" / "pellucid" / "reporting" / "templates"
VOID = {"meta", "img", "br", "link", "input"}


class Page(HTMLParser):
    """Elements, addresses, ids and text of a page; fails when tags do not close in order."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.addresses: list[str] = []
        self.ids: list[str] = []
        self.words: list[str] = []
        self._open: list[str] = []
        self.feed(text)
        assert not self._open, self._open

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        if tag not in VOID:
            self._open.append(tag)
        for name, value in attrs:
            if name in {"src", "href", "xlink:href", "action", "data"}:
                self.addresses.append(value or "")
            if name == "id":
                self.ids.append(value or "")
            assert not name.startswith("on"), name

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.handle_starttag(tag, attrs)
        if tag not in VOID:
            self._open.pop()

    def handle_endtag(self, tag: str) -> None:
        assert self._open.pop() == tag

    def handle_data(self, data: str) -> None:
        if not {"script", "style"} & set(self._open):
            self.words.append(data)

    @property
    def text(self) -> str:
        return " ".join(" ".join(self.words).split())


@pytest.fixture(scope="module")
def page_text(run_folder: Path) -> str:
    path = build_report(run_folder)
    assert path == run_folder / "report.html"
    return path.read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def page(page_text: str) -> Page:
    return Page(page_text)


def test_nothing_is_fetched_from_anywhere(page: Page, page_text: str) -> None:
    assert page.addresses
    assert all(address.startswith(("data:image/jpeg;base64,", "#")) for address in page.addresses)
    assert "://" not in page_text
    assert "@import" not in page_text
    assert not re.search(r"url\((?!#)", page_text)
    assert "default-src 'none'; img-src data:;" in page_text


def test_links_within_the_page_lead_somewhere(page: Page, page_text: str) -> None:
    assert len(page.ids) == len(set(page.ids))
    targets = {address[1:] for address in page.addresses if address.startswith("#")}
    targets |= set(re.findall(r"url\(#([^)]+)\)", page_text))
    targets |= set(re.findall(r'aria-labelledby="([^"]+)"', page_text))
    assert targets <= set(page.ids)


def test_the_only_script_is_the_one_that_the_policy_names(page: Page, page_text: str) -> None:
    assert page.tags.count("script") == 1
    script = re.search(r"<script>(.*?)</script>", page_text, re.DOTALL)
    assert script is not None
    digest = base64.b64encode(hashlib.sha256(script[1].encode()).digest()).decode()
    assert f"script-src 'sha256-{digest}'" in page_text


def test_the_page_says_what_the_run_says(page: Page, run_folder: Path) -> None:
    run = read_run(run_folder)
    assert run.evaluation is not None
    auc = run.evaluation.metrics["roc_auc"]
    for words in (
        NOT_FOR_DIAGNOSIS,
        "The images are synthetic",
        f"{auc.value:.3f} [{auc.low:.3f}, {auc.high:.3f}]",
        run.evaluation.interval,
        "train/clear/broken.png",
        "The positive class is opacity.",
        "The reference system's stated goal",
        "pellucid train 'data/phantom films' --recipe scratch-cnn --seed 0",
        "[[published]]",
        "x86_64, 2 cores",
        "2.15.0",
        "Best at epoch 11 of 14",
        "No positive evidence for",
        "20.7",
    ):
        assert words in page.text, words
    assert page.tags.count("svg") == 9
    assert page.tags.count("h1") == 1
    assert page.tags.count("section") == 11
    # Twelve explained images with their heat maps, and six again in the summary.
    assert page.tags.count("img") == 2 * (12 + 6)


def test_text_from_the_data_is_escaped(make_run: Callable[..., Path]) -> None:
    folder = make_run(
        ("clear", SCRIPT_CLASS),
        images=80,
        explained=4,
        name=SCRIPT_CLASS,
        data__skipped=[{"path": f"a/{SCRIPT_CLASS}.png", "reason": SCRIPT_CLASS}],
        data__notes=[f"The positive class is {SCRIPT_CLASS}."],
        data__overlaps=[SCRIPT_CLASS],
        hardware={SCRIPT_CLASS: SCRIPT_CLASS},
        recipe=f'description = "{SCRIPT_CLASS}"\n[[published]]\nsource = "{SCRIPT_CLASS}"\nmetrics = {{ f1 = 1 }}',
    )
    page = Page(build_report(folder).read_text(encoding="utf-8"))
    assert page.tags.count("script") == 1
    assert page.text.count(SCRIPT_CLASS) > 30


def test_what_is_missing_is_said(run_folder: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(run_folder, tmp_path / "run"))
    for name in ("evaluation", "explanations", "model"):
        shutil.rmtree(folder / name)
    (folder / "history.csv").unlink()
    (folder / "split.csv").unlink()
    page = Page(build_report(folder).read_text(encoding="utf-8"))
    assert "Not evaluated yet" in page.text
    assert "No images have been explained yet" in page.text
    assert "The run has no model" in page.text
    assert page.tags.count("svg") == 0


def test_a_run_without_extras_has_no_empty_sections(make_run: Callable[..., Path]) -> None:
    folder = make_run(recipe="name = 'x'", medical=False, localisation=None, data__synthetic=False, explained=2)
    page = Page(render(read_run(folder)))
    assert "Does it look at the right place?" not in page.text
    assert "published figures" not in page.text
    assert "not for diagnosis" not in page.text
    assert "The heat maps were not compared with masks" in page.text


def test_the_report_is_made_from_the_folder_alone(run_folder: Path, tmp_path: Path, page_text: str) -> None:
    moved = Path(shutil.copytree(run_folder, tmp_path / "elsewhere" / "moved"))
    (moved / "report.html").unlink()
    assert build_report(moved).read_text(encoding="utf-8") == page_text


def test_a_failed_report_leaves_the_old_one(run_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = Path(shutil.copytree(run_folder, tmp_path / "run"))
    (folder / "report.html").write_text("old", encoding="utf-8")
    before = sorted(folder.iterdir())

    def full(self: Path, data: bytes) -> int:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(Path, "write_bytes", full)
        with pytest.raises(ResourceError, match=r"No space left.*Free space"):
            build_report(folder)
    assert (folder / "report.html").read_text(encoding="utf-8") == "old"
    assert sorted(folder.iterdir()) == before
    with pytest.raises(BundleError):
        build_report(tmp_path / "nothing")


def test_names_that_are_not_unicode_do_not_stop_it(make_run: Callable[..., Path]) -> None:
    name = b"caf\xe9.png".decode("utf-8", "surrogateescape")
    folder = make_run(explained=2)
    run = read_run(folder)
    data = run.record.data.model_copy(update={"overlaps": (f"{name} is in train and in test",)})
    page = render(replace(run, record=run.record.model_copy(update={"data": data})))
    assert "caf?.png" in page.encode("utf-8", "replace").decode("utf-8")


def test_a_thousand_test_images_stay_under_10_mb(make_run: Callable[..., Path]) -> None:
    folder = make_run(("daisy", "rose", "tulip", "sunflower"), images=1000, explained=8, side=60)
    shown = read_run(folder).explanations
    assert shown is not None
    # Noise compresses worst, so these pictures take more room than any real ones.
    noise = np.random.default_rng(0).integers(0, 256, (400, 400, 3), np.uint8)
    PIL.Image.fromarray(noise).save(folder / "explanations" / "noise.png")
    files = {"image": "noise.png", "overlay": "noise.png"}
    many = shown.model_copy(update={"images": tuple(r.model_copy(update={"files": files}) for r in shown.images * 10)})
    (folder / "explanations" / "manifest.json").write_text(many.model_dump_json(), encoding="utf-8")
    report = build_report(folder)
    assert 5_000_000 < report.stat().st_size < 10_000_000
    assert "more explained images are in the folder explanations" in report.read_text(encoding="utf-8")


def _colours(css: str) -> list[dict[str, str]]:
    blocks = re.findall(r"\{([^{}]*--paper:[^{}]*)\}", css)
    return [dict(re.findall(r"--([\w-]+): (#[0-9a-f]{6})", block)) for block in blocks]


def _luminance(colour: str) -> float:
    channels = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in channels]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def test_every_ink_has_a_contrast_of_4_5_in_both_themes() -> None:
    themes = _colours((TEMPLATES / "report.css").read_text(encoding="utf-8"))
    assert len(themes) == 3
    assert themes[1] == themes[2]
    for theme in themes:
        pairs = [(ink, paper) for ink in ("ink", "soft", "accent") for paper in ("paper", "panel")]
        pairs += [(level, "paper") for level in ("good", "caution", "problem", "information")]
        for ink, paper in [*pairs, ("on-accent", "accent")]:
            light, dark = sorted((_luminance(theme[ink]), _luminance(theme[paper])), reverse=True)
            assert (light + 0.05) / (dark + 0.05) >= 4.5, (ink, paper, theme)


def test_each_decision_figure_is_drawn_once_for_page_and_folder(
    make_run: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    drawn: list[str] = []
    make = decision_figures.reliability_figure
    monkeypatch.setattr(decision_figures, "reliability_figure", lambda r: drawn.append("reliability") or make(r))
    folder = make_run(explained=0)
    page = build_report(folder).read_text(encoding="utf-8")
    assert drawn == ["reliability"]
    assert "Probabilities are off" in page or "calibration error" in page
    with PIL.Image.open(read_run(folder).folder.figures / "reliability.png") as picture:
        assert picture.width > 500
