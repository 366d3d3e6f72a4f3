"""The exported page end to end: from disk without a network, and from a static host."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import PIL.Image
import pytest
from tests.browser.alone import Open, asked, grid_of, static_server
from tests.browser.alone import open_alone as open_alone
from tests.browser.pages import Films
from tests.private_page.conftest import runtime as runtime

import pellucid
from pellucid.explanation.explain import explain_tensors
from pellucid.private_page.export import export_page


@pytest.fixture(scope="session")
def one_file(served_bundle: Path, runtime: Path | None, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return export_page(served_bundle, tmp_path_factory.mktemp("alone") / "page.html", runtime=runtime, proof=False).path


@pytest.fixture(scope="session")
def folder(served_bundle: Path, runtime: Path | None, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return export_page(served_bundle, tmp_path_factory.mktemp("alone") / "page", runtime=runtime, proof=False).path


def jpeg(films: Films) -> bytes:
    stream = io.BytesIO()
    PIL.Image.open(films.film("a.png", 9)).convert("RGB").save(stream, "JPEG", quality=90)
    return stream.getvalue()


def test_from_disk_it_answers_as_python(one_file: Path, served_bundle: Path, open_alone: Open, films: Films) -> None:
    page = open_alone(one_file.as_uri(), offline=True)
    assert page.get_attribute("body", "data-checked") == "good"
    bundle = pellucid.load(served_bundle, threads=1)
    for data in (films.film("b.png").read_bytes(), jpeg(films)):
        wanted = bundle.predict(data)
        for method in ("grad-cam", "grad-cam++", "hirescam", "xgrad-cam", "layercam", "eigen-cam"):
            answer = asked(page, data, method)
            assert answer["label"] == wanted.label
            assert answer["probabilities"] == pytest.approx(wanted.probabilities, abs=2e-6)
            assert answer["outside"]["score"] == pytest.approx(wanted.outside_score, rel=1e-4)
            image = bundle.read(data)
            batch = bundle.preprocessing.tensors([image])
            size = grid_of(answer["explanations"][0]).shape
            explained = explain_tensors(bundle, batch, [size], method=method, target=bundle.classes)[0]
            for mine, theirs in zip(answer["explanations"], explained.attributions, strict=True):
                assert (mine["target"], mine["unit"], mine["signed"]) == (theirs.target, theirs.unit, theirs.signed)
                scale = np.abs(theirs.values).max()
                np.testing.assert_allclose(grid_of(mine), theirs.values, atol=1e-4 * scale + 1e-9)


def test_it_is_the_products_page(one_file: Path, open_alone: Open, films: Films) -> None:
    page = open_alone(one_file.as_uri(), offline=True)
    page.set_input_files("#file", [str(films.film("a.png", 9)), str(films.film("b.png"))])
    page.wait_for_selector("#answer .label")
    page.wait_for_selector(".queue-row.done >> nth=1")
    assert page.locator("#queue-title").inner_text() == "2 images"
    page.keyboard.press("m")
    assert page.locator("#method").input_value() == "grad-cam++"
    page.locator("#language").select_option("de")
    assert page.locator("#choose").inner_text().strip() == "Bilder wählen"
    page.locator("#alone-more").click()
    assert "Datenschutz" in page.locator("#alone").inner_text()
    page.keyboard.press("Escape")
    assert page.locator(".feedback").count() == 0
    assert page.locator("#to-dashboard").is_hidden()


def test_a_folder_works_without_a_network_later(folder: Path, open_alone: Open, films: Films) -> None:
    data = films.film("b.png").read_bytes()
    with static_server(folder) as (url, seen):
        page = open_alone(url)
        before = asked(page, data)
        page.evaluate("navigator.serviceWorker.ready.then(() => 1)")
        visits = len(seen)
        page.context.set_offline(True)
        page.reload()
        page.wait_for_selector("body[data-checked=good]")
        after = asked(page, data)
        assert after["probabilities"] == before["probabilities"]
        # The look for a newer service worker may have been on its way.
        assert set(seen[visits:]) <= {"/sw.js"}
        page.context.set_offline(False)


def test_wrong_files_are_refused_in_words(one_file: Path, open_alone: Open, tmp_path: Path) -> None:
    page = open_alone(one_file.as_uri(), offline=True)
    wrong = {
        "empty.png": (b"", "empty"),
        "text.jpg": (b"no image", "not a readable image"),
        "cut.png": (b"\x89PNG\r\n\x1a\n" + b"\0" * 40, "damaged"),
        "film.dcm": (b"\0" * 128 + b"DICM" + b"\2\0\1\0" * 20, "damaged"),
        "scan.tif": (b"II*\0" + b"\0" * 40, "TIFF"),
    }
    for name, (data, words) in wrong.items():
        (tmp_path / name).write_bytes(data)
        page.set_input_files("#file", str(tmp_path / name))
        page.wait_for_selector(".queue-row.refused.current")
        assert words in page.locator("#stage-message").inner_text()
        page.locator("#queue-clear").click()
