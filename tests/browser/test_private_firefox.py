"""The exported page in Firefox, from disk."""

from __future__ import annotations

import base64
from pathlib import Path

import pytest
from tests.browser.alone import grid_of
from tests.browser.firefox import FIREFOX, firefox
from tests.browser.test_private_models import bundle_at, photograph
from tests.image_files import encoded, smooth
from tests.private_page.conftest import runtime as runtime

import pellucid
from pellucid.explanation.explain import explain_tensors
from pellucid.private_page.export import export_page

ASK = """
const letters = atob(given[0]);
const bytes = new page.Uint8Array(letters.length);
for (let i = 0; i < letters.length; i++) bytes[i] = letters.charCodeAt(i);
const parts = new page.Array();
parts.push(bytes);
const query = page.JSON.parse(given[1]);
return page.pellucid.ask(new page.Blob(parts), query);
"""


@pytest.mark.skipif(FIREFOX is None, reason="no Firefox on this machine: install Debian's package firefox-esr")
def test_firefox_answers_as_python(runtime: Path | None, tmp_path: Path) -> None:
    folder = bundle_at(tmp_path / "bundle", classes=3)
    page = export_page(folder, tmp_path / "page.html", runtime=runtime, proof=False).path
    bundle = pellucid.load(folder, threads=1)
    with firefox(tmp_path / "profile") as window:
        window.open(page.as_uri())
        assert window.until("return document.body.dataset.checked") == "good"
        for data in (photograph(), encoded(smooth(50, 70), "JPEG", quality=80)):
            query = '{"method": "grad-cam", "all_classes": true, "target": null}'
            answer = window.run(ASK, base64.b64encode(data).decode(), query)
            assert answer["probabilities"] == pytest.approx(bundle.predict(data).probabilities, abs=2e-6)
            batch = bundle.preprocessing.tensors([bundle.read(data)])
            size = grid_of(answer["explanations"][0]).shape
            explained = explain_tensors(bundle, batch, [size], target=bundle.classes)[0]
            for mine, theirs in zip(answer["explanations"], explained.attributions, strict=True):
                assert grid_of(mine) == pytest.approx(theirs.values, abs=1e-4 * float(abs(theirs.values).max()))
