"""The proof that goes into a page, and what is said where there is none."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tests.browser.alone import Open
from tests.browser.alone import open_alone as open_alone
from tests.browser.conftest import CHROMIUM
from tests.browser.pages import Films
from tests.image_files import encoded, smooth
from tests.private_page.conftest import runtime as runtime

from pellucid.errors import InputError
from pellucid.private_page import proof
from pellucid.private_page.export import export_page
from pellucid.progress import Silent


class Said(Silent):
    """Progress that keeps what is said."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    def say(self, line: str) -> None:
        self.lines.append(line)


def images(folder: Path, count: int, films: Films) -> Path:
    """Films, one large JPEG, and a file that is none."""
    folder.mkdir()
    for i in range(count - 1):
        shutil.copy(films.film(f"{i}.png", roll=i), folder / f"{i:02d}.png")
    (folder / "large.jpg").write_bytes(encoded(smooth(600, 800), "JPEG", quality=85))
    (folder / "notes.jpg").write_text("no image")
    return folder


@pytest.mark.skipif(CHROMIUM is None, reason="no Chromium on this machine")
def test_the_page_says_how_far_it_differs(
    served_bundle: Path, runtime: Path | None, films: Films, tmp_path: Path
) -> None:
    pytest.importorskip("playwright.sync_api")
    given = images(tmp_path / "images", 55, films)
    written = export_page(served_bundle, tmp_path / "page", runtime=runtime, images=given)
    found = written.proof
    assert found is not None
    assert (found.images, found.changed, found.output) == (55, 0, None)
    assert found.probability is not None
    assert found.probability < 2e-6
    assert found.correlation is not None
    assert found.correlation > 0.999999
    assert found.browser.startswith("Chromium ")
    assert found.draft is not None
    assert found.draft.images == 1


def test_a_page_without_proof_says_so(
    served_bundle: Path, runtime: Path | None, films: Films, open_alone: Open, tmp_path: Path
) -> None:
    few, said = images(tmp_path / "images", 5, films), Said()
    written = export_page(served_bundle, tmp_path / "page.html", runtime=runtime, images=few, progress=said)
    assert written.proof is None
    assert "that takes 50 images, and there are 6" in said.lines[0]
    page = open_alone(written.path.as_uri())
    page.locator("#alone-more").click()
    assert "Not verified here" in page.locator("#alone").inner_text()


def test_without_chromium_it_says_how_to_get_it(
    served_bundle: Path, runtime: Path | None, films: Films, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    @contextmanager
    def nothing() -> Iterator[Any]:
        yield None

    monkeypatch.setattr(proof, "_chromium", nothing)
    said = Said()
    given = images(tmp_path / "images", 55, films)
    written = export_page(served_bundle, tmp_path / "page.html", runtime=runtime, images=given, progress=said)
    assert written.proof is None
    assert "pip install playwright" in said.lines[0]


def test_a_folder_without_images_is_refused(served_bundle: Path, runtime: Path | None, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no folder of images"):
        export_page(served_bundle, tmp_path / "page.html", runtime=runtime, images=tmp_path / "nowhere")
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match="no folder of images"):
        export_page(served_bundle, tmp_path / "page.html", runtime=runtime, images=tmp_path / "empty")
    assert not (tmp_path / "page.html").exists()


def test_a_difference_would_be_seen(served_bundle: Path) -> None:
    """What is compared is what the page said, not what Python would say twice."""
    from pellucid.bundle.bundle import load

    compared = proof.PageComparison(load(served_bundle, threads=1))

    class Wrong:
        def evaluate(self, code: str, given: Any) -> dict[str, Any]:
            values = np.zeros((64, 64), "<f4")
            values[0, 0] = 1
            grid = {"height": 64, "width": 64, "values": __import__("base64").b64encode(values.tobytes()).decode()}
            return {
                "label": "bee",
                "output": None,
                "probabilities": {"ant": 0.25, "bee": 0.75},
                "explanations": [{"grid": grid, "target": "bee"}],
            }

    page = Wrong()
    path = served_bundle.parent / "one.png"
    path.write_bytes(encoded(smooth(60, 80), "PNG"))
    for _ in range(proof.LEAST):
        compared.ask(page, path)
    found = compared.proof("a browser")
    assert found is not None
    wanted = load(served_bundle, threads=1).predict(path)
    assert found.probability == pytest.approx(abs(0.75 - wanted.probabilities["bee"]), abs=1e-6)
    assert found.changed == (proof.LEAST if wanted.label == "ant" else 0)
    assert found.correlation is not None
    assert found.correlation < 0.9
