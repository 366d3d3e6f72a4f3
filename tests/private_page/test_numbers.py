"""What the page computes besides passes is what Python computes."""

from __future__ import annotations

import base64
import io
from pathlib import Path
from typing import Any

import numpy as np
import PIL.Image
import pytest
from scipy.ndimage import gaussian_filter
from tests.image_files import encoded, png
from tests.private_page.harness import CODEC, in_node, needs_node, packed, unpacked

from pellucid.classifier import probabilities_from_logits
from pellucid.evaluation.outside import describe_surroundings
from pellucid.explanation import cam
from pellucid.explanation.maps import scores_of_logits
from pellucid.explanation.rise import RandomMasks, RiseSettings
from pellucid.images import read_image
from pellucid.preprocessing import GridGeometry, Preprocessing

pytestmark = needs_node

CAMS = {
    "anomaly-map": lambda activations, gradients: np.maximum(activations[:, :1], 0),
    "grad-cam": cam.grad_cam,
    "grad-cam++": cam.grad_cam_plus_plus,
    "hirescam": cam.hirescam,
    "xgrad-cam": cam.xgrad_cam,
    "layercam": cam.layercam,
    "eigen-cam": cam.eigen_cam,
}


@pytest.mark.parametrize(("channels", "height", "width"), [(12, 3, 4), (5, 7, 6), (1, 1, 1)])
def test_maps_of_activations_and_gradients(channels: int, height: int, width: int, tmp_path: Path) -> None:
    random = np.random.default_rng(channels)
    activations = np.maximum(random.normal(0.3, 1, (1, channels, height, width)), 0).astype(np.float32)
    activations[:, 0] = 0
    gradients = random.normal(0, 1, (1, 1, channels, height, width)).astype(np.float32)
    code = (
        'import { CAMS } from "./cams.js";\n'
        + CODEC
        + """
globalThis.harness = async ({ a, g, channels, cells }) => {
  const given = { a: floatsOf(a), g: floatsOf(g), channels, cells };
  return Object.fromEntries(Object.entries(CAMS).map(([name, map]) => [name, [...map(given)]]));
};
"""
    )
    given = {"a": packed(activations), "g": packed(gradients), "channels": channels, "cells": height * width}
    found = in_node(tmp_path, code, given)
    assert set(found) == set(CAMS)
    for name, method in CAMS.items():
        wanted = method(activations, gradients)[0, 0].ravel()
        np.testing.assert_allclose(found[name], wanted, atol=2e-5 * np.abs(wanted).max() + 1e-7, err_msg=name)


def test_masks_and_blur_are_pythons(tmp_path: Path) -> None:
    height, width = 24, 32
    tensor = np.random.default_rng(0).normal(0, 1, (3, height, width)).astype(np.float32)
    code = (
        """import { blurred } from "./hidden.js";
import { Random } from "./random.js";
import { masks } from "./rise.js";
"""
        + CODEC
        + """
globalThis.harness = async ({ tensor, height, width }) => {
  const random = new Random(0);
  const mask = masks(height, width);
  return {
    doubles: [random.double(), random.double()],
    singles: [random.single(), random.single(), random.single()],
    masks: [0, 1, 1999].map((i) => textOf(mask(i))),
    blurred: textOf(blurred(floatsOf(tensor), height, width)),
  };
};
"""
    )
    found = in_node(tmp_path, code, {"tensor": packed(tensor), "height": height, "width": width})
    random = np.random.default_rng(0)
    assert found["doubles"] == [random.random(), random.random()]
    assert found["singles"] == [float(random.random(dtype=np.float32)) for _ in range(3)]
    python = RandomMasks((height, width), RiseSettings())
    for number, text in zip((0, 1, 1999), found["masks"], strict=True):
        np.testing.assert_allclose(unpacked(text, "<f4", (height, width)), python[number : number + 1][0], atol=2e-6)
    deviation = max(height, width) / 20
    wanted = gaussian_filter(tensor, (0, deviation, deviation), mode="reflect", truncate=3.0)
    np.testing.assert_allclose(unpacked(found["blurred"], "<f4", tensor.shape), wanted, atol=3e-7)


@pytest.mark.parametrize("fit", ["stretch", "crop", "pad"])
def test_grids_lie_where_python_puts_them(fit: Any, tmp_path: Path) -> None:
    shape = Preprocessing(height=40, width=56, fit=fit, crop_share=0.9 if fit == "crop" else 1.0)
    grid = np.random.default_rng(1).normal(0, 1, (5, 7)).astype(np.float32)
    sizes = [(31, 64), (90, 20), (7, 7)]
    code = (
        'import { toOriginal } from "./place.js";\n'
        + CODEC
        + """
globalThis.harness = async ({ grid, geometry, sizes, shape }) =>
  sizes.map((size) => textOf(toOriginal({ values: floatsOf(grid), height: 5, width: 7 }, geometry, size, shape)));
"""
    )
    geometry = {"stride": [8.0, 8.0], "offset": [3.5, 4.0]}
    given = {"grid": packed(grid), "geometry": geometry, "sizes": sizes, "shape": shape.model_dump(mode="json")}
    for size, text in zip(sizes, in_node(tmp_path, code, given), strict=True):
        wanted = shape.to_original(grid, GridGeometry((8.0, 8.0), (3.5, 4.0)), size)
        np.testing.assert_allclose(unpacked(text, "<f4", size), wanted, atol=2e-6)


def test_probabilities_scores_and_distances(tmp_path: Path) -> None:
    random = np.random.default_rng(2)
    logits = random.normal(0, 4, (6, 3)).astype(np.float32)
    features = random.normal(0, 1, (80, 12))
    known = describe_surroundings(features)
    new = random.normal(0, 2, (4, 12)).astype(np.float32)
    reference = {
        "mean": known.mean.tolist(),
        "deviation": known.deviation.tolist(),
        "components": known.components.tolist(),
        "variances": known.variances.tolist(),
        "rest": known.rest,
        "threshold": 2.5,
        "method": "mahalanobis",
    }
    code = """import { outsideScore } from "./outside.js";
import { predictedOf, probabilitiesOf, question, scoreOf } from "./probabilities.js";
globalThis.harness = async ({ logits, features, reference }) => {
  const calibration = { scale: 0.7, shift: 0.2 };
  const binary = { task: "binary", threshold: 0.5, calibration };
  return {
    many: logits.map((z) => probabilitiesOf(z, { task: "multiclass", calibration: null })),
    two: logits.map((z) => probabilitiesOf([z[0]], binary)),
    chosen: logits.map((z) => predictedOf([z[0]], probabilitiesOf([z[0]], binary), binary)),
    scores: logits.map((z) => [0, 1, 2].map((place) => scoreOf(z, question(place)))),
    against: logits.map((z) => scoreOf(z, question(2, 0))),
    distances: features.map((one) => outsideScore(Float32Array.from(one), reference)),
  };
};
"""
    given = {"logits": logits.tolist(), "features": new.tolist(), "reference": reference}
    found = in_node(tmp_path, code, given)
    np.testing.assert_allclose(found["many"], probabilities_from_logits(logits), atol=2e-7)
    two = probabilities_from_logits(logits[:, :1] * np.float32(0.7) + np.float32(0.2))
    np.testing.assert_allclose(found["two"], two, atol=2e-7)
    assert found["chosen"] == (two[:, 1] >= 0.5).astype(int).tolist()
    rows = np.repeat(np.eye(3, dtype=np.float32)[None], len(logits), axis=0)
    np.testing.assert_allclose(found["scores"], scores_of_logits(logits, rows, 1.0), atol=3e-6)
    np.testing.assert_allclose(found["against"], logits[:, 2] - logits[:, 0], atol=1e-6)
    np.testing.assert_allclose(found["distances"], known.distances(new) / 2.5, rtol=1e-6)


def pngs() -> dict[str, bytes]:
    random = np.random.default_rng(3)
    colours = random.integers(0, 256, (9, 14, 4)).astype(np.uint8)
    deep = random.integers(0, 65536, (9, 14, 4)).astype(">u2")
    deep[3] = (np.arange(14) * 4700)[:, None]
    palette = PIL.Image.fromarray(colours[..., :3]).quantize(50)
    stream = io.BytesIO()
    palette.save(stream, "PNG", transparency=bytes(random.integers(0, 256, 40).tolist()))
    return {
        "16 bits of grey": png(deep[..., 0], 0),
        "12 bits of grey": png((deep[..., 0] >> 4).astype(">u2"), 0),
        "grey and opacity": encoded(PIL.Image.fromarray(colours[..., :2]), "PNG"),
        "colour and opacity": encoded(PIL.Image.fromarray(colours), "PNG"),
        "16 bits of grey and opacity": png(deep[..., :2], 4),
        "16 bits of colour and opacity": png(deep, 6),
        "palette and opacity": stream.getvalue(),
    }


@pytest.mark.parametrize("name", pngs())
def test_png_files_that_browsers_read_otherwise(name: str, tmp_path: Path) -> None:
    data = pngs()[name]
    code = (
        'import { ownPng, unpack } from "./png.js";\n'
        + CODEC
        + """
globalThis.harness = async ({ file }) => {
  const { rgba, warnings } = await unpack(ownPng(bytesOf(file)));
  return { rgba: textOf(rgba), warnings };
};
"""
    )
    found = in_node(tmp_path, code, {"file": packed(np.frombuffer(data, np.uint8))})
    image = read_image(data)
    assert np.array_equal(unpacked(found["rgba"], "u1", (9, 14, 4))[..., :3], image.pixels)
    assert [said for said in image.warnings if "only" not in said] == found["warnings"]


def test_other_files_are_left_to_the_browser(tmp_path: Path) -> None:
    plain = np.zeros((5, 6, 3), np.uint8)
    files = [encoded(plain, "PNG"), encoded(plain[..., 0], "PNG"), encoded(plain, "JPEG"), b"", b"\x89PNG\r\n\x1a\n"]
    code = (
        'import { ownPng } from "./png.js";\n'
        + CODEC
        + """
globalThis.harness = async (files) => files.map((file) => ownPng(bytesOf(file)));
"""
    )
    assert in_node(tmp_path, code, [packed(np.frombuffer(data, np.uint8)) for data in files]) == [None] * len(files)


@pytest.mark.parametrize("size", [(1, 1), (7, 5), (300, 260)])
def test_a_picture_that_was_seen_is_a_png(size: tuple[int, int], tmp_path: Path) -> None:
    code = (
        'import { storedPng } from "./stored-png.js";\n'
        + CODEC
        + """
globalThis.harness = async ({ rgb, height, width }) => textOf(storedPng(bytesOf(rgb), width, height));
"""
    )
    pixels = np.random.default_rng(0).integers(0, 256, (*size, 3), np.uint8)
    found = in_node(tmp_path, code, {"rgb": packed(pixels), "height": size[0], "width": size[1]})
    picture = PIL.Image.open(io.BytesIO(base64.b64decode(found)))
    picture.load()
    assert np.array_equal(np.asarray(picture), pixels)
