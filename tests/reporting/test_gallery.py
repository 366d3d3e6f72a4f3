"""The gallery of an explanation folder: its pictures are there, its words are said, and it reads without a script."""

from __future__ import annotations

import re
import shutil
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import numpy as np
import pytest
from tests.reporting.reporting_samples import attribution, blob, film

from pellucid.explanation.attribution import Attribution
from pellucid.explanation.record import ExplanationManifest, ExplanationRecord
from pellucid.explanation.trust import ImageTrust
from pellucid.reporting.gallery import entries_of, how_drawn, render_gallery, write_gallery
from pellucid.reporting.overlay import display_limit, verdict
from pellucid.reporting.pictures import explanation_pictures, save_explanation, with_colour_bar


def record(folder: Path, path: str, explained: Attribution, **changes: Any) -> ExplanationRecord:
    image = film(np.random.default_rng(0), 96)
    limit = display_limit(explained)
    pictures = explanation_pictures(image, explained, limit=limit)
    pictures["sheet"] = with_colour_bar(pictures["overlay"], explained, limit=limit, title="opacity")
    stem = f"{Path(path).stem}-{explained.method}-{explained.target}"
    given: dict[str, Any] = {
        "path": path,
        "label": "opacity",
        "confidence": 0.914,
        "probabilities": {"clear": 0.086, "opacity": 0.914},
        "target": explained.target,
        "method": explained.method,
        "score": "log-odds",
        "unit": explained.unit,
        "layer": None,
        "settings": {},
        "smallest": float(explained.values.min()),
        "largest": float(explained.values.max()),
        "limit": limit,
        "verdict": verdict(explained),
        "files": save_explanation(folder, stem, pictures),
    }
    return ExplanationRecord.model_validate({**given, **changes})


def manifest(*records: ExplanationRecord, **changes: Any) -> ExplanationManifest:
    given: dict[str, Any] = {
        "pellucid_version": "0.0.0",
        "model": {},
        "colormap": "inferno",
        "alpha": 0.45,
        "scale": "image",
        "images": records,
        "command": ("pellucid", "explain", "run", "'<x> y.png'"),
    }
    return ExplanationManifest.model_validate({**given, **changes})


@pytest.fixture
def shown(tmp_path: Path) -> ExplanationManifest:
    hill = attribution(blob((96, 96), 0.3, 0.3, 0.1))
    silent = attribution(-np.ones((96, 96)), target="clear")
    trust = ImageTrust(
        level="problem",
        verdict="No more than random.",
        deletion=1,
        insertion=0.5,
        gap=-0.5,
        baselines={"random": 0.1, "centre": 0.2, "edges": 0.3},
        noise=0.8,
        seed=None,
    )
    odd = "films/a <b> & 50%.png"
    return manifest(
        record(tmp_path, odd, hill, trust=trust, true_label="clear"),
        record(tmp_path, odd, silent, true_label="clear"),
        record(tmp_path, "films/c.png", hill, label="clear"),
        skipped=(("broken.png", "the file ends too early"),),
        left_out={"ablation-cam": "no tail"},
        top=2,
        considered=50,
    )


def test_every_picture_named_is_there_and_nothing_else_is_asked_for(shown: ExplanationManifest, tmp_path: Path) -> None:
    page = write_gallery(shown, tmp_path, name="films").read_text(encoding="utf-8")
    named = re.findall(r'(?:src|href)="([^"#]+)"', page)
    assert len(named) > 12
    for address in named:
        assert (tmp_path / unquote(address)).is_file(), address
    assert "<b>" not in page
    assert "a &lt;b&gt; &amp; 50%.png" in page


def test_it_says_what_there_is_to_say(shown: ExplanationManifest) -> None:
    page = render_gallery(shown, name="films", medical=True)
    for words in (
        "2 images of 50, highest first",
        "No positive evidence for clear.",
        "not reliable here",
        "No more than random.",
        "the file ends too early",
        "no tail",
        "For research and education, not for diagnosis.",
        "wrong",
        "compare numbers, not brightness",
    ):
        assert words in page, words
    # A map that shows nothing has no colour bar: two of the three maps have one.
    assert page.count('<div class="bar">') == 2


def test_images_are_grouped_with_their_maps(shown: ExplanationManifest) -> None:
    first, second = entries_of(shown)
    assert [m.heading for m in first.maps] == ["opacity", "clear"]
    assert [m.heading for m in second.maps] == ["Grad-CAM, evidence for opacity"]
    assert first.maps[0].ends == ("0", "3.20")
    assert first.maps[1].ends is None


def test_the_scale_and_the_signs_are_explained() -> None:
    assert "the model's own scale" in how_drawn(manifest(scale="model"))
    assert "Blue speaks against" in how_drawn(manifest(signed=True, colormap="RdBu_r"))


def test_pictures_show_in_a_browser_from_disk(shown: ExplanationManifest, tmp_path: Path) -> None:
    playwright = pytest.importorskip("playwright.sync_api")
    chromium = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if chromium is None:
        pytest.skip("no Chromium on this machine")
    address = write_gallery(shown, tmp_path, name="films").as_uri()
    with playwright.sync_playwright() as play:
        flags = ["--no-sandbox", "--disable-gpu", "--disable-background-networking"]
        browser = play.chromium.launch(executable_path=chromium, args=flags)
        for scripts in (True, False):
            page = browser.new_context(java_script_enabled=scripts, viewport={"width": 390, "height": 844}).new_page()
            said: list[str] = []
            page.on("console", lambda message, said=said: said.append(message.text))
            page.goto(address)
            page.wait_for_load_state("networkidle")
            assert said == []
            if scripts:
                loaded = (
                    "[...document.images].filter(i => i.loading !== 'lazy' || i.complete).every(i => i.naturalWidth)"
                )
                assert page.evaluate("document.images.length") == 5
                page.evaluate("[...document.images].forEach(i => i.loading = 'eager')")
                page.wait_for_function(loaded)
                assert page.evaluate("document.documentElement.scrollWidth <= window.innerWidth")
                focusable = page.evaluate("document.querySelectorAll('a.frame[href]').length")
                assert focusable == 5
        browser.close()
