"""Models of every kind, and files of every kind, in the exported page and in Python."""

from __future__ import annotations

import base64
import io
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import PIL.Image
import PIL.ImageCms
import pytest
from tests.browser.alone import Open, asked, grid_of
from tests.browser.alone import open_alone as open_alone
from tests.image_files import encoded, exif, png, smooth
from tests.private_page.conftest import runtime as runtime
from tests.small_detectors import detector_at
from tests.small_networks import manifest_of, network_of, noise, recipe_of

import pellucid
from pellucid.bundle.io import write_bundle
from pellucid.bundle.manifest import MODEL
from pellucid.classifier import Against
from pellucid.explanation.catalogue import METHODS
from pellucid.explanation.explain import explain_tensors
from pellucid.models.export import export_bundle
from pellucid.preprocessing import Preprocessing
from pellucid.private_page import proof
from pellucid.private_page.export import export_page

SIZE = (32, 40)
EARLIER = "backbone.relu1"


def bundle_at(folder: Path, *, classes: int = 2, task: str = "", **shape: Any) -> Path:
    """A bundle of random weights with every graph, and a second layer."""
    recipe = recipe_of("cnn", SIZE, batch_norm=True)
    network = network_of(recipe, classes, seed=3)
    preprocessing = Preprocessing(**{**recipe.preprocessing().model_dump(), **shape})
    manifest = manifest_of(network, preprocessing, classes, network.explained_layer)
    if task:
        manifest = manifest.model_copy(update={"task": task, "threshold": 0.1})
    images = noise(2, SIZE)
    export_bundle(network, manifest, folder, images=images, source="noise", layers=[EARLIER], every_method=True)
    return folder


def photograph(height: int = 61, width: int = 83) -> bytes:
    return encoded(smooth(height, width), "PNG")


KINDS: dict[str, dict[str, Any]] = {
    "three classes, crop": {"classes": 3, "fit": "crop", "crop_share": 0.875},
    "two classes, pad, bicubic": {"fit": "pad", "fill": 90, "interpolation": "bicubic"},
    "regression": {"task": "regression"},
}


QUICK = ("grad-cam", "layercam", "refine-cam", "winsor-cam", "saliency")


@pytest.mark.parametrize(
    "kind", [pytest.param(k, marks=[pytest.mark.slow] if k == "regression" else []) for k in KINDS]
)
def test_it_answers_as_python(kind: str, runtime: Path | None, open_alone: Open, tmp_path: Path) -> None:
    answers_as_python(kind, QUICK, runtime, open_alone, tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
def test_by_every_method(kind: str, runtime: Path | None, open_alone: Open, tmp_path: Path) -> None:
    every = tuple(row.name for row in METHODS if row.name != "rise")
    answers_as_python(kind, every, runtime, open_alone, tmp_path)


def answers_as_python(
    kind: str, tried: tuple[str, ...], runtime: Path | None, open_alone: Open, tmp_path: Path
) -> None:
    folder = bundle_at(tmp_path / "bundle", **KINDS[kind])
    written = export_page(folder, tmp_path / "page.html", runtime=runtime, proof=False)
    page = open_alone(written.path.as_uri(), offline=True)
    bundle = pellucid.load(folder, threads=1)
    data = photograph()
    image = bundle.read(data)
    methods = [row["name"] for row in page.evaluate("pellucid.facts().then(({ card }) => card.methods)")]
    left = {"lime", "kernel-shap", "smooth-grad"}
    assert set(methods) == {row.name for row in METHODS if row.lacking(bundle.manifest) is None} - left
    for method in [name for name in methods if name in tried]:
        answer = asked(page, data, method)
        wanted = bundle.predict(data)
        assert answer["label"] == wanted.label
        assert answer["confidence"] == (wanted.confidence and pytest.approx(wanted.confidence, abs=2e-6))
        assert answer["output"] == (wanted.output and pytest.approx(wanted.output, abs=2e-6))
        assert answer["probabilities"] == pytest.approx(wanted.probabilities, abs=2e-6)
        size = grid_of(answer["explanations"][0]).shape
        batch = bundle.preprocessing.tensors([image])
        explained = explain_tensors(bundle, batch, [size], method=method, target=bundle.classes)[0]
        for mine, theirs in zip(answer["explanations"], explained.attributions, strict=True):
            assert (mine["target"], mine["unit"], mine["layer"]) == (theirs.target, theirs.unit, theirs.layer)
            scale = np.abs(theirs.values).max()
            np.testing.assert_allclose(grid_of(mine), theirs.values, atol=3e-3 * scale + 1e-9, err_msg=method)


def test_one_class_against_another_and_an_earlier_layer(runtime: Path | None, open_alone: Open, tmp_path: Path) -> None:
    folder = bundle_at(tmp_path / "bundle", classes=3)
    written = export_page(folder, tmp_path / "page.html", runtime=runtime, proof=False)
    page = open_alone(written.path.as_uri(), offline=True)
    bundle = pellucid.load(folder, threads=1)
    data, (first, _, third) = photograph(), bundle.classes
    batch = bundle.preprocessing.tensors([bundle.read(data)])
    for method in ("grad-cam", "layercam", "refine-cam", "saliency", "occlusion", "ablation-cam"):
        (mine,) = asked(page, data, method, first, against=third)["explanations"]
        same_map(
            mine, explain_tensors(bundle, batch, [grid_of(mine).shape], method=method, target=Against(first, third))
        )
        assert (mine["target"], mine["against"]) == (first, third)
    for method in ("grad-cam", "ablation-cam"):
        answer = asked(page, data, method, first, layer=EARLIER)
        (mine,) = answer["explanations"]
        size = grid_of(mine).shape
        same_map(mine, explain_tensors(bundle.at(EARLIER), batch, [size], method=method, target=first))
        assert mine["layer"] == EARLIER
        assert answer["probabilities"] == pytest.approx(bundle.predict(data).probabilities, abs=2e-6)
    page.set_input_files("#file", {"name": "a.png", "mimeType": "image/png", "buffer": data})
    page.wait_for_selector("#answer .label")
    page.select_option("#target", first)
    page.select_option("#against", third)
    page.locator(".verdict", has_text=f"{first}, not {third}").wait_for()
    page.select_option("#layer", EARLIER)
    page.locator(".verdict", has_text=f"{first}, not {third}").wait_for()


def same_map(mine: dict[str, Any], explained: Any) -> None:
    (theirs,) = explained[0].attributions
    np.testing.assert_allclose(grid_of(mine), theirs.values, atol=3e-3 * np.abs(theirs.values).max() + 1e-9)


def test_an_anomaly_detector_answers_as_python(
    runtime: Path | None, open_alone: Open, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = detector_at(tmp_path / "bundle", recipe_of("cnn", SIZE))
    written = export_page(folder, tmp_path / "page.html", runtime=runtime, proof=False)
    page = open_alone(written.path.as_uri(), offline=True)
    bundle, data = pellucid.load(folder, threads=1), photograph()
    answer, wanted = asked(page, data, "anomaly-map"), bundle.predict(data)
    assert (answer["label"], answer["confidence"], answer["probabilities"]) == (wanted.label, None, {})
    assert answer["output"] == pytest.approx(wanted.output, rel=1e-5)
    size, batch = grid_of(answer["explanations"][0]).shape, bundle.preprocessing.tensors([bundle.read(data)])
    same_map(answer["explanations"][1], explain_tensors(bundle, batch, [size], method="anomaly-map", target=None))
    (tmp_path / "a.png").write_bytes(data)
    page.set_input_files("#file", str(tmp_path / "a.png"))
    page.wait_for_selector("#answer .label")
    assert page.locator("#answer .label").inner_text() == wanted.label
    assert page.locator(".verdict").is_visible()
    assert_proven(page, bundle, tmp_path / "a.png", monkeypatch)


def assert_proven(page: Any, bundle: pellucid.Bundle, path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(proof, "LEAST", 1)
    compared = proof.PageComparison(bundle)
    compared.ask(page, path)
    found = compared.proof("a browser")
    assert found is not None
    assert found.changed == 0
    assert (found.correlation is None) == (bundle.manifest.layer is None)
    assert found.correlation is None or found.correlation > 0.999


@pytest.mark.slow
def test_rise_draws_pythons_masks(runtime: Path | None, open_alone: Open, tmp_path: Path) -> None:
    folder = bundle_at(tmp_path / "bundle", classes=3)
    page = open_alone(export_page(folder, tmp_path / "page.html", runtime=runtime, proof=False).path.as_uri())
    bundle = pellucid.load(folder, threads=1)
    answer = asked(page, photograph(), "rise")
    size = grid_of(answer["explanations"][0]).shape
    batch = bundle.preprocessing.tensors([bundle.read(photograph())])
    explained = explain_tensors(bundle, batch, [size], method="rise", target=bundle.classes)[0]
    for mine, theirs in zip(answer["explanations"], explained.attributions, strict=True):
        assert mine["settings"]["samples"] == theirs.settings["samples"]
        assert np.corrcoef(grid_of(mine).ravel(), theirs.values.ravel())[0, 1] > 0.99999


def other_primaries() -> bytes:
    """A colour profile whose red is green: a decoder that heeds profiles shows other pixels."""
    profile = PIL.ImageCms.ImageCmsProfile(PIL.ImageCms.createProfile("sRGB")).tobytes()
    return profile.replace(b"rXYZ", b"????").replace(b"gXYZ", b"rXYZ").replace(b"????", b"gXYZ")


def files() -> dict[str, bytes]:
    """Files that decoders treat differently."""
    colours = smooth(37, 53)
    picture = PIL.Image.fromarray(colours)
    opacity = np.linspace(0, 255, 53).astype(np.uint8)[None].repeat(37, axis=0)
    deep = (np.linspace(0, 65535, 37 * 53).reshape(37, 53)).astype(">u2")
    found = {f"EXIF {n}": encoded(colours, "JPEG", quality=90, exif=exif(n)) for n in range(1, 9)}
    found |= {f"WebP, EXIF {n}": encoded(colours, "WEBP", quality=80, exif=exif(n)) for n in (3, 6)}
    return found | {
        "CMYK": encoded(picture.convert("CMYK"), "JPEG", quality=90),
        "halved colours": encoded(colours, "JPEG", quality=70, subsampling="4:2:0"),
        "profile": encoded(colours, "JPEG", quality=90, icc_profile=other_primaries()),
        "progressive": encoded(colours, "JPEG", quality=80, progressive=True),
        "grey JPEG": encoded(picture.convert("L"), "JPEG"),
        "opacity": encoded(PIL.Image.fromarray(np.dstack([colours, opacity])), "PNG"),
        "grey and opacity": encoded(PIL.Image.fromarray(np.dstack([colours[..., 0], opacity])), "PNG"),
        "16 bits": png(deep, 0),
        "palette": encoded(picture.quantize(40), "PNG"),
        "one bit": encoded(picture.convert("1"), "PNG"),
        "WebP": encoded(colours, "WEBP", lossless=True),
        "WebP and opacity": encoded(PIL.Image.fromarray(np.dstack([colours, opacity])), "WEBP", lossless=True),
        "GIF": encoded(picture, "GIF"),
        "BMP": encoded(picture, "BMP"),
    }


def test_files_of_every_kind_are_seen_alike(runtime: Path | None, open_alone: Open, tmp_path: Path) -> None:
    folder = bundle_at(tmp_path / "bundle")
    page = open_alone(export_page(folder, tmp_path / "page.html", runtime=runtime, proof=False).path.as_uri())
    bundle = pellucid.load(folder, threads=1)
    for name, data in files().items():
        answer = asked(page, data)
        image = bundle.read(data)
        assert np.array_equal(seen_of(answer), bundle.preprocessing.resize_image(image)), name
        assert (answer["image"]["height"], answer["image"]["width"]) == image.size, name
        assert answer["probabilities"] == pytest.approx(bundle.predict(data).probabilities, abs=2e-6), name


@pytest.fixture
def films() -> dict[str, bytes]:
    """DICOM films as a modality sends them, and as a JPEG."""
    pytest.importorskip("pydicom")
    from pydicom.encaps import encapsulate
    from pydicom.uid import JPEGBaseline8Bit
    from tests.pacs.films import LOOKS, film
    from tests.test_dicom import dataset, written

    grey = smooth(70, 90)[..., 0]
    found = {f"film {n}": written(film(n, 64)) for n in range(len(LOOKS))}
    for photometric in ("MONOCHROME1", "MONOCHROME2"):
        made = dataset(grey, syntax=JPEGBaseline8Bit, PhotometricInterpretation=photometric)
        made.WindowCenter, made.WindowWidth = 100, 120
        made.PixelData = encapsulate([encoded(grey, "JPEG", quality=85)])
        made["PixelData"].is_undefined_length = True
        found[f"JPEG, {photometric}"] = written(made)
    return found


def test_films_are_seen_and_shown(
    films: dict[str, bytes], runtime: Path | None, open_alone: Open, tmp_path: Path
) -> None:
    folder = bundle_at(tmp_path / "bundle")
    page = open_alone(export_page(folder, tmp_path / "page.html", runtime=runtime, proof=False).path.as_uri())
    bundle = pellucid.load(folder, threads=1)
    refused = {"film 4", "film 5"}  # run-length and JPEG-LS
    for name, data in films.items():
        if name in refused:
            continue
        answer = asked(page, data)
        image = bundle.read(data)
        assert np.array_equal(seen_of(answer), bundle.preprocessing.resize_image(image)), name
        assert answer["probabilities"] == pytest.approx(bundle.predict(data).probabilities, abs=2e-6), name
        assert set(answer["warnings"]) <= set(image.warnings), name
        preview = PIL.Image.open(io.BytesIO(base64.b64decode(answer["preview"]))).convert("RGB")
        assert np.abs(np.asarray(preview).astype(int) - image.pixels).mean() < 4, name
    (tmp_path / "film.dcm").write_bytes(films["film 1"])
    page.set_input_files("#file", str(tmp_path / "film.dcm"))
    page.wait_for_selector("#answer .label")
    page.wait_for_function("document.querySelector('.pane canvas').width > 0")
    (tmp_path / "packed.dcm").write_bytes(films["film 5"])
    page.set_input_files("#file", str(tmp_path / "packed.dcm"))
    page.wait_for_selector(".queue-row.refused.current")
    assert "compressed" in page.locator("#stage-message").inner_text()


def seen_of(answer: dict[str, Any]) -> np.ndarray:
    return np.asarray(PIL.Image.open(io.BytesIO(base64.b64decode(answer["seen"]))).convert("RGB"))


def test_large_jpegs_are_decoded_whole(runtime: Path | None, open_alone: Open, tmp_path: Path) -> None:
    folder = bundle_at(tmp_path / "bundle")
    page = open_alone(export_page(folder, tmp_path / "page.html", runtime=runtime, proof=False).path.as_uri())
    data = encoded(smooth(400, 560), "JPEG", quality=85)
    drafting, whole = pellucid.load(folder, threads=1), pellucid.load(folder, threads=1, decode="full")
    assert (drafting.read(data).reduction, whole.read(data).reduction) == (8, 1)
    answer = asked(page, data)
    assert answer["probabilities"] == pytest.approx(whole.predict(data).probabilities, abs=2e-6)
    assert answer["probabilities"] != drafting.predict(data).probabilities


def test_a_model_without_evidence_answers_and_says_so(
    runtime: Path | None, open_alone: Open, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plain = pellucid.load(bundle_at(tmp_path / "bundle"))
    black = plain.manifest.model_copy(update={"layer": None, "input_gradients": None})
    with write_bundle(tmp_path / "black", black) as draft:
        for name in plain.manifest.files:
            shutil.copy(plain.folder / name, draft.folder / name)
    assert (tmp_path / "black" / MODEL).is_file()
    written = export_page(tmp_path / "black", tmp_path / "page.html", runtime=runtime, proof=False)
    page = open_alone(written.path.as_uri(), offline=True)
    (tmp_path / "a.png").write_bytes(photograph())
    page.set_input_files("#file", str(tmp_path / "a.png"))
    page.wait_for_selector("#answer .label")
    assert page.locator("#answer .label").inner_text() == pellucid.load(tmp_path / "black").predict(photograph()).label
    assert page.locator("#method").is_hidden()
    assert_proven(page, pellucid.load(tmp_path / "black", threads=1), tmp_path / "a.png", monkeypatch)
    page.locator("#alone-more").click()
    assert "no heat maps" in page.locator("#alone").inner_text()
