"""Bodies at the allowed size, of each content type and route: `/livez` answers meanwhile, from a process of its own."""

from __future__ import annotations

import base64
import json
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from tests.serving.test_process import process

from pellucid.serving.attacks import costly
from pellucid.serving.attacks.client import BOUNDARY, Target, form
from pellucid.serving.attacks.costly import Pulse
from pellucid.serving.attacks.files import encoded

LIMIT = 4 * 2**20
ROOM = LIMIT - 64 * 1024
FORM = f"multipart/form-data; boundary={BOUNDARY}"
WITHIN = 0.25


@pytest.fixture(scope="module")
def target(served_bundle: Path) -> Iterator[Target]:
    with process(f"small={served_bundle}", "--max-upload", 4, "--max-batch", 24) as (_, url):
        yield Target(url)


def noise(kind: str, side: int, **options: object) -> bytes:
    values = np.random.default_rng(0).integers(0, 256, (side, side, 3), dtype=np.uint8)
    return encoded(values, kind, **options)


def tensor(numbers: int) -> bytes:
    shape = [max(1, numbers // (3 * 48 * 64)), 3, 48, 64]
    data = b",".join([b"0.1234567"] * int(np.prod(shape)))
    head = json.dumps({"inputs": [{"name": "image", "datatype": "FP32", "shape": shape}]}).encode()
    return head[:-3] + b', "data": [' + data + b"]}]}"


def in_base64(data: bytes) -> bytes:
    return json.dumps({"image": base64.b64encode(data).decode()}).encode()


def files_of_kserve() -> bytes:
    data = [base64.b64encode(noise("PNG", 250)).decode()] * 20
    return json.dumps({"inputs": [{"name": "image", "datatype": "BYTES", "shape": [20], "data": data}]}).encode()


CASES: dict[str, tuple[str, str, Callable[[], bytes]]] = {
    "form, PNG": ("/v1/predict", FORM, lambda: form(noise("PNG", 1100))),
    "form, broken texts": ("/v1/explain", FORM, lambda: form(costly.broken_texts(ROOM))),
    "form, all boundary": ("/predict", FORM, lambda: form(b"\r\n------pellucid-docto" * (ROOM // 21))),
    "PNG": ("/v1/explain", "image/png", lambda: noise("PNG", 1100)),
    "JPEG": ("/v1/explain?pictures=overlay,map,seen,preview", "image/jpeg", lambda: noise("JPEG", 1600, quality=95)),
    "WebP": ("/v1/predict", "image/webp", lambda: noise("WEBP", 1000, lossless=True, quality=0, method=0)),
    "BMP": ("/v1/predict", "image/bmp", lambda: noise("BMP", 1150)),
    "GIF": ("/v1/predict", "image/gif", lambda: noise("GIF", 900)),
    "octets": ("/v1/predict", "application/octet-stream", lambda: bytes(ROOM)),
    "JSON, image": ("/v1/predict", "application/json", lambda: in_base64(noise("PNG", 1100))),
    "JSON, nested": ("/v1/predict", "application/json", lambda: costly.nested_json(ROOM)),
    "JSON, keys": ("/v1/explain", "application/json", lambda: costly.many_keys(ROOM)),
    "feedback": ("/v1/feedback", "application/json", lambda: costly.many_keys(ROOM)),
    "KServe, numbers": ("/v2/models/small/infer", "application/json", lambda: tensor(40 * 3 * 48 * 64)),
    "KServe, files": ("/v2/models/small/infer", "application/json", files_of_kserve),
    "KServe, brackets": ("/v2/models/small/infer", "application/json", lambda: costly.bracketed_tensor(ROOM)),
    "KServe, keys": ("/v2/models/small/infer", "application/json", lambda: costly.many_keys(ROOM)),
    "batch, ZIP list": ("/v1/batch", "application/zip", lambda: costly.million_entries(400_000)),
    "batch, form": ("/v1/batch", FORM, lambda: form(bytes(20 * 2**20), field="files")),
}


@pytest.mark.parametrize("name", CASES)
def test_the_server_answers_others_meanwhile(target: Target, name: str) -> None:
    path, kind, make = CASES[name]
    body, seen = make(), []
    for _ in range(6):  # another program may have had the cores
        with Pulse(target) as idle:
            time.sleep(0.3)
        with Pulse(target) as pulse:
            reply = target.request("POST", path, body, {"Content-Type": kind})
            time.sleep(0.1)
        assert reply.status in (200, 202, 400, 413, 415, 422), reply.document
        seen.append(pulse.longest)
        if pulse.longest < WITHIN + idle.longest:
            return
    raise AssertionError(f"/livez was silent for {min(seen):.2f} s at best")
