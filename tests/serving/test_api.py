"""What the addresses answer, against what the bundle itself says."""

from __future__ import annotations

import base64
import io
import json
import shutil
import threading
import time
from pathlib import Path
from typing import Any

import numpy as np
import PIL.Image
import pytest
from tests.serving.running import Running, running

import pellucid
from pellucid.bundle.bundle import Bundle
from pellucid.bundle.io import amend_bundle
from pellucid.evaluation.kept_out import AbroadRecord, SourceLeftOut
from pellucid.serving.attacks.client import form
from pellucid.serving.attacks.files import encoded, film, plain_jpeg, plain_png
from pellucid.serving.workers import CancelToken

PHOTO = encoded(np.stack([film(300, 420), film(300, 420)[::-1], film(300, 420)], -1), "JPEG", quality=95)


@pytest.fixture(scope="module")
def bundle(served_bundle: Path) -> Bundle:
    return pellucid.load(served_bundle)


def decoded(text: str) -> np.ndarray:
    return np.asarray(PIL.Image.open(io.BytesIO(base64.b64decode(text))))


def explained(server: Running, query: str = "", data: bytes | None = None) -> dict[str, Any]:
    reply = server.target().upload(data or plain_png(), "", path=f"/v1/explain?{query}")
    assert reply.status == 200, reply.document
    return dict(reply.document)


@pytest.mark.parametrize("path", ["/v1/predict", "/v1/explain", "/predict"])
def test_a_blank_picture_is_said_to_be_one_as_predict_does(server: Running, bundle: Bundle, path: str) -> None:
    blank = encoded(np.full((40, 60, 3), (90, 91, 92), np.uint8), "PNG")
    found = server.target().upload(blank, path=path).document["warnings"]
    assert any("one flat tone" in warning for warning in found)
    assert found == list(bundle.predict(blank).warnings)


def test_classic_contract(server: Running, bundle: Bundle) -> None:
    health = server.target().request("GET", "/health").document
    assert {
        "status": "healthy",
        "model_loaded": True,
        "gradcam_enabled": True,
        "api_version": "2.0",
    }.items() <= health.items()
    document = server.target().upload(plain_png(), path="/predict").document
    expected = bundle.predict(plain_png())
    assert document["status"] == "success"
    assert document["diagnosis"] == expected.label
    assert document["confidence"] == pytest.approx(100 * (expected.confidence or 0), abs=0.005)
    assert document["raw_score"] == pytest.approx(expected.probabilities["bee"], abs=5e-5)
    assert document["gradcam_available"] is True
    assert decoded(document["gradcam"]).shape == (96, 128, 3)


def test_prediction_is_the_bundles_own(server: Running, bundle: Bundle) -> None:
    for data, declared in ((plain_png(), "image/png"), (plain_jpeg(), "image/jpeg"), (PHOTO, "image/jpeg")):
        reply = server.target().upload(data, declared)
        expected = bundle.predict(data)
        assert reply.document["label"] == expected.label
        assert reply.document["probabilities"] == pytest.approx(expected.probabilities, abs=1e-6)
        assert reply.document["outside"]["score"] == pytest.approx(expected.outside_score, rel=1e-4)
        assert "decode;dur=" in reply.headers["server-timing"]
    assert reply.document["image"] == {"width": 420, "height": 300, "format": "JPEG"}
    assert server.target().upload(plain_png()).document["outside"]["flagged"] is False


def test_raw_bodies_and_forms_are_the_same(server: Running) -> None:
    target = server.target()
    raw = target.request("POST", "/v1/predict", plain_png(), {"Content-Type": "image/png"}).document
    assert raw["probabilities"] == target.upload(plain_png()).document["probabilities"]


@pytest.mark.parametrize("method", ["grad-cam", "layercam", "occlusion"])
def test_the_map_is_the_bundles_own_at_a_smaller_size(server: Running, bundle: Bundle, method: str) -> None:
    document = explained(server, f"method={method}&target=ant", PHOTO)
    (found,) = document["explanations"]
    grid = found["grid"]
    values = np.frombuffer(base64.b64decode(grid["values"]), "<f4").reshape(grid["height"], grid["width"])
    expected = bundle.explain(PHOTO, method=method, target="ant")
    assert max(values.shape) == (128 if method != "occlusion" else 256)
    assert (found["method"], found["target"], found["signed"]) == (method, "ant", expected.signed)
    height, width = expected.values.shape
    rows = (np.arange(grid["height"]) + 0.5) * height / grid["height"]
    columns = (np.arange(grid["width"]) + 0.5) * width / grid["width"]
    nearest = expected.values[rows.astype(int)][:, columns.astype(int)]
    assert np.abs(values - nearest).max() < 0.06 * np.abs(expected.values).max()
    assert np.corrcoef(values.ravel(), nearest.ravel())[0, 1] > 0.995


def test_every_class_at_once_and_each_picture_on_demand(server: Running, bundle: Bundle) -> None:
    document = explained(server, "all_classes=true&pictures=overlay,map,seen")
    assert [e["target"] for e in document["explanations"]] == ["ant", "bee"]
    ant, bee = (np.frombuffer(base64.b64decode(e["grid"]["values"]), "<f4") for e in document["explanations"])
    np.testing.assert_allclose(ant, -bee, atol=1e-6)
    seen = bundle.preprocessing.resize_image(bundle.read(plain_png()))
    np.testing.assert_array_equal(decoded(document["seen"]), seen)
    for e in document["explanations"]:
        assert decoded(e["png"]).shape == decoded(e["png_map"]).shape == (96, 128, 3)
    jpeg = decoded(explained(server, "pictures=preview", PHOTO)["preview"])
    assert jpeg.shape == (300, 420, 3)
    assert np.abs(jpeg.astype(int) - np.asarray(PIL.Image.open(io.BytesIO(PHOTO)))).mean() < 2
    plain = explained(server)
    assert plain["seen"] is plain["explanations"][0]["png"] is plain["explanations"][0]["png_map"] is None


def test_what_cannot_be_explained_is_said(server: Running) -> None:
    cases = {
        "method=grad-camm": ("unknown-method", "grad-cam"),
        "target=wasp": ("unknown-class", "ant"),
        "layer=nothing": ("unknown-layer", "layer"),
        "method=occlusion&layer=backbone.relu2": ("not-possible", "no layer"),
        "method=ablation-cam": ("not-possible", "grad-cam"),
        "pictures=all": ("parameter", "overlay"),
        "all_classes=perhaps": ("parameter", "all_classes"),
    }
    for query, (code, word) in cases.items():
        reply = server.target().upload(plain_png(), path=f"/v1/explain?{query}")
        assert (reply.status, reply.code) == (422, code), query
        assert word in reply.document["detail"]
    assert server.target().upload(plain_png(), path="/v1/predict?model=none").status == 404


def test_the_card_tells_what_the_bundle_knows(server: Running, bundle: Bundle) -> None:
    card = server.target().request("GET", "/v1/model").document
    assert card["classes"] == list(bundle.classes)
    assert card["positive"] == "bee"
    assert card["input"] == {"width": 64, "height": 48}
    assert card["layers"] == list(bundle.layers)
    assert card["limits"]["max_upload_bytes"] == 2 * 2**20
    assert card["outside"]["available"] is True
    assert "grad-cam" in [m["name"] for m in card["methods"]]
    assert "integrated-gradients" not in [m["name"] for m in card["methods"]]
    facts = {m["name"]: m for m in card["methods"]}
    assert facts["score-cam"]["cost"] == {"passes": 129, "at_most": True, "tail_per_channel": False, "slow": True}
    assert not facts["grad-cam"]["cost"]["slow"]
    assert [facts[name]["looks_at_layer"] for name in ("score-cam", "occlusion")] == [True, False]
    runs_on = {"engine": "onnxruntime", "precision": "float32", "sentence": "Runs on ONNX Runtime, float32."}
    assert card["runtime"] == runs_on
    assert card["metrics"] == {}
    assert any("without an evaluation" in s for s in card["limitations"])
    listed = server.target().request("GET", "/v1/models").document["models"]
    assert listed == [{"name": "small", "title": "small", "default": True}]


def test_the_card_says_what_is_lost_elsewhere(served_bundle: Path, tmp_path: Path) -> None:
    lost = SourceLeftOut(
        kind="name", value="IM-#", images=80, auc=(0.9, 0.85, 0.94), accuracy=(0.8, 0.75, 0.85),
        auc_loss=(0.08, 0.03, 0.13), accuracy_loss=(0.1, 0.02, 0.18), sure=True,
    )  # fmt: skip
    record = AbroadRecord(auc=(0.98, 0.97, 0.99), accuracy=(0.9, 0.88, 0.92), sources=(lost,), images=400)
    shutil.copytree(served_bundle, tmp_path / "lossy")
    amend_bundle(tmp_path / "lossy", {"abroad": record})
    with running({"lossy": tmp_path / "lossy"}, store="none") as server:
        card = server.target().request("GET", "/v1/model").document
    assert card["abroad"]["sentence"].startswith("When a source is left out: 0.900 (a quick model; 0.980")
    assert (card["abroad"]["level"], card["abroad"]["sure"], card["abroad"]["known"]) == ("problem", True, True)
    assert card["abroad"]["sources"][0]["sentence"] == "80 images named IM-#"
    assert card["abroad"]["sources"][0]["auc_loss"] == [0.08, 0.03, 0.13]
    assert any("loses on images from other sources" in s for s in card["limitations"])


def test_kserve_by_tensor_and_by_file(server: Running, bundle: Bundle) -> None:
    target, tensor = server.target(), bundle.preprocessing.tensors([bundle.read(plain_png())])
    assert target.request("GET", "/v2/models/small").document["inputs"][0]["shape"] == [-1, 3, 48, 64]
    assert target.request("GET", "/v2/health/ready").document == {"ready": True}
    asked = {
        "FP32": {"shape": [2, 3, 48, 64], "data": np.concatenate([tensor, tensor]).ravel().tolist()},
        "BYTES": {"shape": [2], "data": [base64.b64encode(plain_png()).decode()] * 2},
    }
    for kind, given in asked.items():
        body = json.dumps({"id": "7", "inputs": [{"name": "image", "datatype": kind, **given}]}).encode()
        document = target.request("POST", "/v2/models/small/infer", body, {"Content-Type": "application/json"}).document
        assert document["id"] == "7"
        by_name = {o["name"]: np.reshape(o["data"], o["shape"]) for o in document["outputs"]}
        np.testing.assert_allclose(by_name["probabilities"], np.repeat(bundle.probabilities(tensor), 2, 0), atol=1e-6)
        np.testing.assert_allclose(by_name["logits"], np.repeat(bundle.logits(tensor), 2, 0), atol=1e-5)


@pytest.mark.parametrize(
    "given",
    [
        {},
        {"inputs": []},
        {"inputs": [{"name": "image", "datatype": "FP32", "shape": [1, 3, 48, 64], "data": [1]}]},
        {"inputs": [{"name": "image", "datatype": "FP32", "shape": [10**9, 3, 48, 64], "data": []}]},
        {"inputs": [{"name": "image", "datatype": "FP32", "shape": [1, 3, 48, 64], "data": ["x"]}]},
        {"inputs": [{"name": "image", "datatype": "FP32", "shape": [1, 3, 48, 64], "data": [1e999] * 9216}]},
        {"inputs": [{"name": "image", "datatype": "BYTES", "shape": [1], "data": ["&&&"]}]},
        {"inputs": [{"name": "image", "datatype": "BYTES", "shape": [1], "data": [[["x"]]]}]},
    ],
)
def test_kserve_refuses_what_does_not_fit(server: Running, given: object) -> None:
    body = json.dumps(given).replace("Infinity", "1e999").encode()
    reply = server.target().request("POST", "/v2/models/small/infer", body, {"Content-Type": "application/json"})
    assert (reply.status, reply.code) == (422, "tensor")


def test_supervision(server: Running) -> None:
    target = server.target()
    assert target.request("GET", "/livez").status == 200
    assert target.request("GET", "/readyz").status == 200
    server.service.draining = True
    try:
        reply = target.request("GET", "/readyz")
        assert (reply.status, reply.code) == (503, "stopping")
    finally:
        server.service.draining = False
    before = _counted(target.request("GET", "/metrics").body)
    target.upload(plain_png())
    assert _counted(target.request("GET", "/metrics").body) == before + 1


def _counted(text: bytes) -> float:
    lines = [line for line in text.decode().splitlines() if line.startswith("pellucid_predictions_total")]
    return sum(float(line.split()[-1]) for line in lines)


def test_reload_exchanges_a_model_without_dropping_requests(served_bundle: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(served_bundle, tmp_path / "model"))
    manifest = folder / "manifest.json"
    with running({"one": folder}) as server:
        target, ended = server.target(), threading.Event()
        statuses: list[int] = []

        def ask() -> None:
            while not ended.is_set():
                statuses.append(target.upload(plain_png()).status)

        threads = [threading.Thread(target=ask) for _ in range(3)]
        for thread in threads:
            thread.start()
        assert target.request("POST", "/v1/reload").document == {"changed": [], "models": ["one"]}
        text = manifest.read_text(encoding="utf-8")
        manifest.write_text(text.replace('"name": "small"', '"name": "second"'), encoding="utf-8")
        assert target.request("POST", "/v1/reload").document["changed"] == ["one"]
        assert target.request("GET", "/v1/model").document["title"] == "second"
        manifest.write_text("{", encoding="utf-8")
        broken = target.request("POST", "/v1/reload")
        assert (broken.status, broken.code) == (422, "bundle")
        assert str(tmp_path).encode() not in broken.body
        assert target.request("GET", "/v1/model").document["title"] == "second"
        ended.set()
        for thread in threads:
            thread.join()
    assert len(statuses) >= 3
    assert set(statuses) == {200}


def test_several_models_and_examples(served_bundle: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    shutil.copytree(served_bundle, run / "model")
    (run / "explanations").mkdir()
    (run / "explanations" / "a-image.png").write_bytes(plain_png())
    with running({"first": served_bundle, "second": run}) as server:
        target = server.target()
        assert [m["name"] for m in target.request("GET", "/v1/models").document["models"]] == ["first", "second"]
        assert target.request("GET", "/v1/model").document["examples"] == []
        (example,) = target.request("GET", "/v1/model?model=second").document["examples"]
        assert target.request("GET", example["url"]).body == plain_png()
        assert target.request("GET", "/v1/examples/1?model=second").status == 404
        assert target.request("GET", "/v1/examples/-1?model=second").status == 404
        assert target.upload(plain_png(), path="/v1/predict?model=second").document["model"] == "second"


def test_a_client_that_hangs_up_is_logged_as_such(served_bundle: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    true = CancelToken.check

    def slowly(token: CancelToken) -> None:
        time.sleep(0.02)  # as a pass of a larger network takes
        true(token)

    monkeypatch.setattr(CancelToken, "check", slowly)
    body = form(encoded(film(480, 640), "PNG"))
    with running({"small": served_bundle}) as server:
        target = server.target()
        headers = {
            "Content-Type": "multipart/form-data; boundary=----pellucid-doctor",
            "Content-Length": str(len(body)),
        }
        with target.connect() as connection:
            connection.sendall(target.head("POST", "/v1/explain?method=rise", headers) + body)
            while server.service.slow.taken == 0:
                time.sleep(0.01)
        while server.service.slow.taken:
            time.sleep(0.01)
    (entry,) = [json.loads(line) for line in server.log.getvalue().splitlines() if "/v1/explain" in line]
    assert entry["status"] == 499


def test_an_error_of_our_own_quotes_nothing(served_bundle: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object) -> None:
        raise KeyError("CANARY")

    monkeypatch.setattr("pellucid.serving.answers.predict", broken)
    with running({"small": served_bundle}) as server:
        reply = server.target().upload(plain_png())
        assert (reply.status, reply.code) == (500, "internal")
        assert reply.headers["content-type"] == "application/problem+json"
        assert reply.headers["x-frame-options"] == "DENY"
        assert server.target().request("GET", "/health").status == 200
    assert b"CANARY" not in reply.body
    assert "CANARY" not in server.log.getvalue()
    assert '"error": "KeyError"' in server.log.getvalue()


def test_bodies_with_a_length_that_lies_are_survived(server: Running) -> None:
    target = server.target()
    for length in ("-1", "1e3", "99999999999999999999"):
        headers = {"Content-Type": "image/png", "Content-Length": length}
        assert target.send([target.head("POST", "/v1/predict", headers), plain_png()]).status in (0, 400, 413)
    several = form(plain_png())[: -len("\r\n--" + "----pellucid-doctor" + "--\r\n")] + b"\r\n" + form(plain_png())
    reply = target.request(
        "POST", "/v1/predict", several, {"Content-Type": "multipart/form-data; boundary=----pellucid-doctor"}
    )
    assert (reply.status, reply.code) == (400, "several-files")
