"""The page's resampling is Pillow's, byte for byte, in Node and in Chromium."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import PIL
import PIL.Image
import pytest
from tests.browser.conftest import browser as browser
from tests.private_page.harness import CODEC, in_node, needs_node, packed, script, unpacked

from pellucid.preprocessing import RESAMPLING, Preprocessing

PILLOW = int(PIL.__version__.split(".")[0])
CODE = (
    """import { fit, normalise, resize } from "./resample.js";
"""
    + CODEC
    + """
globalThis.harness = async ({ pillow, cases, fits }) => {
  const reader = ({ pixels, width }) => {
    const rgba = bytesOf(pixels);
    return (top, rows) => rgba.subarray(4 * width * top, 4 * width * (top + rows));
  };
  return {
    cases: await Promise.all(cases.map(async ({ width, height, size, filter, box, pixels }) =>
      textOf(await resize(reader({ pixels, width }), [width, height], size, filter, box, pillow)))),
    fits: await Promise.all(fits.map(async (given) => {
      const seen = await fit(reader(given), [given.width, given.height], given.shape, pillow);
      return [textOf(seen), textOf(normalise(seen, given.shape))];
    })),
  };
};
"""
)


def pictures(count: int, seed: int) -> list[dict[str, Any]]:
    """Pictures of random sizes, some thin, of noise and of steps, as RGBA; with a random target, filter and box."""
    random, found = np.random.default_rng(seed), []
    for k in range(count):
        width, height = (int(n) for n in random.integers(1, 140, 2))
        if k % 9 == 0:
            width, height = (int(random.integers(300, 600)), int(random.integers(1, 6)))[:: 1 if k % 2 else -1]
        rgb = random.integers(0, 256, (height, width, 3), np.uint8)
        if k % 3 == 0:
            rgb = np.where(rgb > 127, 255, 0).astype(np.uint8)
        left, top = random.uniform(0, width * 0.4), random.uniform(0, height * 0.4)
        box = [left, top, random.uniform(left + 0.2, width), random.uniform(top + 0.2, height)]
        found.append(
            {
                "rgb": rgb,
                "width": width,
                "height": height,
                "size": [int(n) for n in random.integers(1, 90, 2)],
                "filter": list(RESAMPLING)[k % 4],
                "box": [0, 0, width, height] if k % 2 else box,
            }
        )
    return found


def shapes() -> list[Preprocessing]:
    return [
        Preprocessing(
            height=h, width=w, fit=fit, crop_share=share, interpolation=filter_, fill=fill, mean=(0.485, 0.456, 0.406)
        )
        for fit, share, fill in (("stretch", 1.0, 0), ("crop", 1.0, 0), ("crop", 0.875, 0), ("pad", 1.0, 114))
        for filter_, h, w in (("bilinear", 64, 64), ("bicubic", 40, 72))
    ]  # fmt: skip


def request(cases: list[dict[str, Any]], fits: list[tuple[dict[str, Any], Preprocessing]]) -> dict[str, Any]:
    def rgba(picture: dict[str, Any]) -> str:
        return packed(np.dstack([picture["rgb"], np.full(picture["rgb"].shape[:2], 255, np.uint8)]))

    return {
        "pillow": PILLOW,
        "cases": [{**{k: v for k, v in c.items() if k != "rgb"}, "pixels": rgba(c)} for c in cases],
        "fits": [
            {"width": c["width"], "height": c["height"], "pixels": rgba(c), "shape": shape.model_dump(mode="json")}
            for c, shape in fits
        ],
    }


def compare(
    found: dict[str, Any], cases: list[dict[str, Any]], fits: list[tuple[dict[str, Any], Preprocessing]]
) -> None:
    for case, text in zip(cases, found["cases"], strict=True):
        wanted = PIL.Image.fromarray(case["rgb"]).resize(
            tuple(case["size"]), RESAMPLING[case["filter"]], tuple(case["box"])
        )
        mine = unpacked(text, "u1", (case["size"][1], case["size"][0], 3))
        assert np.array_equal(mine, np.asarray(wanted)), {k: v for k, v in case.items() if k != "rgb"}
    for (case, shape), (seen, tensor) in zip(fits, found["fits"], strict=True):
        resized = shape.resize(case["rgb"])
        assert np.array_equal(unpacked(seen, "u1", resized.shape), resized)
        wanted = shape.normalise(resized)
        assert np.array_equal(unpacked(tensor, "<f4", wanted.shape), wanted)


def everything(count: int, seed: int) -> tuple[list[dict[str, Any]], list[tuple[dict[str, Any], Preprocessing]]]:
    cases = pictures(count, seed)
    plain = [c for c in cases if min(c["width"], c["height"]) > 3]
    return cases, [(plain[i % len(plain)], shape) for i, shape in enumerate(shapes() * 3)]


@needs_node
def test_in_node(tmp_path: Path) -> None:
    cases, fits = everything(200, seed=1)
    compare(in_node(tmp_path, CODE, request(cases, fits)), cases, fits)


@needs_node
@pytest.mark.slow
def test_in_node_over_many_sizes(tmp_path: Path) -> None:
    cases, fits = everything(3000, seed=2)
    compare(in_node(tmp_path, CODE, request(cases, fits)), cases, fits)


def test_in_chromium(browser: Any, tmp_path: Path) -> None:
    cases, fits = everything(60, seed=3)
    page = browser.new_page()
    page.add_script_tag(content=script(tmp_path, CODE))
    compare(page.evaluate("(data) => harness(data)", request(cases, fits)), cases, fits)
    page.close()
