"""What the private page costs in headless Chromium, beside ONNX Runtime in Python on one thread.

    python benchmarks/browser.py [RUN] [--rounds 15] [--photo FILE] [--runtime PATH]

Without RUN the model is a MobileNetV2 of two classes with random weights: speed does not depend on them. Browser and
Python take turns within one process, so that a busy machine slows both. Four figures:

- pass: one pass of the evidence graph (answer, activations, gradients) on the same tensor; goal: at most 3.0 times;
- explained prediction: from the bytes of a small JPEG to answer and Grad-CAM map;
- photograph: a JPEG of 12 megapixels from its bytes to the map, over decoding it in the browser plus the pass; goal: at
  most 1.5 times;
- first answer: the single file from opening it to the first answer of an image given at once; goal: at most 2.5 s.
"""

from __future__ import annotations

import argparse
import base64
import io
import shutil
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import PIL.Image
from playwright.sync_api import sync_playwright

import pellucid
from pellucid.bundle.embedding import whole_graph
from pellucid.bundle.io import model_session
from pellucid.bundle.manifest import MODEL, Layer, Manifest
from pellucid.preprocessing import Preprocessing
from pellucid.private_page.export import export_page
from pellucid.private_page.runtime import find_runtime

PASS, PHOTO, FIRST = 3.0, 1.5, 2.5
BARE = """async ({ model, tensor, count, size, logits }) => {
  const bytes = (text) => Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0));
  if (!globalThis.bare) {
    ort.env.wasm.numThreads = 1;
    globalThis.bare = await ort.InferenceSession.create(bytes(model), { executionProviders: ["wasm"] });
    globalThis.feed = {
      image: new ort.Tensor("float32", new Float32Array(bytes(tensor).buffer), [1, 3, ...size]),
      target: new ort.Tensor("float32", new Float32Array(logits).fill(1), [1, 1, logits]),
      contrast: new ort.Tensor("float32", [1], []),
    };
    for (let i = 0; i < 20; i++) await bare.run(feed);
  }
  const times = [];
  for (let i = 0; i < count; i++) {
    const began = performance.now();
    await bare.run(feed);
    times.push(performance.now() - began);
  }
  return times;
}"""
ASK = """async ({ file, count }) => {
  const blob = new Blob([Uint8Array.from(atob(file), (letter) => letter.charCodeAt(0))]);
  const [whole, decoded] = [[], []];
  for (let i = 0; i < count; i++) {
    let began = performance.now();
    await pellucid.ask(blob, { method: "grad-cam", all_classes: null, target: null });
    whole.push(performance.now() - began);
    began = performance.now();
    (await createImageBitmap(blob)).close();
    decoded.push(performance.now() - began);
  }
  return [whole, decoded];
}"""


def photograph(width: int, height: int) -> bytes:
    """A JPEG with the detail of a photograph."""
    random = np.random.default_rng(0)
    layers = [
        np.asarray(
            PIL.Image.fromarray(random.integers(0, 256, (s, s, 3), np.uint8)).resize((width, height)), np.float32
        )
        for s in (4, 16, 64, 256)
    ]
    file = io.BytesIO()
    pixels = np.average(layers, axis=0, weights=(8, 4, 2, 1)).astype(np.uint8)
    PIL.Image.fromarray(pixels).save(file, "JPEG", quality=90)
    return file.getvalue()


def random_model(folder: Path) -> Path:
    """A MobileNetV2 of random weights as a bundle."""
    import torch

    from pellucid.models.export import export_bundle
    from pellucid.models.network import build_network
    from pellucid.recipe import load_recipe

    recipe = load_recipe("cats-dogs", ["model.weights=none", "model.dropout=0", "model.backbone=mobilenet_v2"])
    torch.manual_seed(0)
    network = build_network(recipe, 2).eval()
    layer = Layer(name=network.explained_layer, channels=0, height=0, width=0, stride=(1, 1), offset=(0, 0))
    manifest = Manifest(
        pellucid_version=pellucid.__version__, name="benchmark", task="binary", classes=("cat", "dog"),
        preprocessing=recipe.preprocessing(), layer=layer, logits=1, architecture={},
    )  # fmt: skip
    images = np.random.default_rng(0).standard_normal((2, 3, 224, 224)).astype(np.float32)
    export_bundle(network, manifest, folder / "bundle", images=images, source="noise")
    return folder / "bundle"


def milliseconds(work: Callable[[], object], count: int) -> list[float]:
    """How long each of `count` calls takes."""
    times = []
    for _ in range(count):
        began = time.perf_counter()
        work()
        times.append(1000 * (time.perf_counter() - began))
    return times


def text(data: bytes) -> str:
    """Bytes for the page."""
    return base64.b64encode(data).decode("ascii")


def compared(name: str, one: list[float], other: list[float], goal: float | None) -> bool:
    """Print medians and least times and their ratios; whether the ratio of medians meets the goal."""
    ratio = statistics.median(one) / statistics.median(other)
    least = min(one) / min(other)
    met = goal is None or ratio <= goal
    said = "" if goal is None else f"   goal {goal:.1f}: {'met' if met else 'missed'}"
    print(
        f"{name:22} {statistics.median(one):8.1f} ms {statistics.median(other):8.1f} ms   ratio {ratio:5.2f}"
        f"   of the least {min(one):.1f} / {min(other):.1f} = {least:.2f}{said}",
        flush=True,
    )
    return met


def bare_page(browser: Any, runtime: Path | None) -> Any:
    """A page with the runtime alone."""
    page = browser.new_page()
    program = find_runtime(runtime)
    page.evaluate(program.script)
    page.evaluate(f"ort.env.wasm.wasmBinary = Uint8Array.from(atob({text(program.program)!r}), (c) => c.charCodeAt(0))")
    return page


def passes(page: Any, bundle: pellucid.Bundle, rounds: int) -> tuple[list[float], list[float]]:
    """Passes of the evidence graph in the browser and in Python, in turns."""
    shape, logits = bundle.preprocessing, bundle.manifest.logits
    tensor = np.random.default_rng(1).standard_normal((1, 3, shape.height, shape.width)).astype(np.float32)
    session = model_session(bundle.folder / MODEL, 1)
    ones = np.ones((1, 1, logits), np.float32)
    feed = {"image": tensor, "target": ones, "contrast": np.asarray(1, np.float32)}
    given = {"model": text(whole_graph(bundle.folder)), "tensor": text(tensor.tobytes()), "count": 4, "logits": logits}
    given["size"] = [shape.height, shape.width]
    page.evaluate(BARE, given)
    milliseconds(lambda: session.run(None, feed), 10)
    mine, theirs = [], []
    for _ in range(rounds):
        mine += page.evaluate(BARE, {**given, "model": ""})
        theirs += milliseconds(lambda: session.run(None, feed), 4)
    return mine, theirs


def predictions(page: Any, bundle: pellucid.Bundle, data: bytes, rounds: int) -> tuple[list[float], list[float]]:
    """Explained predictions of a file, in turns."""

    def python() -> None:
        image = bundle.read(data)
        bundle.answer(bundle.explain_images([image])[0])

    milliseconds(python, 3)
    page.evaluate(ASK, {"file": text(data), "count": 3})
    mine, theirs = [], []
    for _ in range(rounds):
        mine += page.evaluate(ASK, {"file": text(data), "count": 3})[0]
        theirs += milliseconds(python, 3)
    return mine, theirs


def first_answers(browser: Any, file: Path, picture: Path, rounds: int) -> list[float]:
    """Milliseconds from opening the single file to an answer."""
    times = []
    for _ in range(rounds):
        page = browser.new_context().new_page()
        began = time.perf_counter()
        page.goto(file.as_uri(), wait_until="commit")
        page.set_input_files("#file", str(picture))
        page.wait_for_selector("#answer .label")
        times.append(1000 * (time.perf_counter() - began))
        page.context.close()
    return times


def main() -> int:
    """Measure; 1 when a goal is missed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", nargs="?", type=Path)
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--photo", type=Path)
    parser.add_argument("--runtime", type=Path)
    options = parser.parse_args()
    chromium = shutil.which("chromium") or shutil.which("google-chrome")
    with tempfile.TemporaryDirectory() as name, sync_playwright() as play:
        folder = Path(name)
        run = options.run or random_model(folder)
        single = export_page(run, folder / "page.html", runtime=options.runtime, proof=False)
        bundle = pellucid.load(run, threads=1, decode="full")
        assert isinstance(bundle.preprocessing, Preprocessing)
        browser = play.chromium.launch(executable_path=chromium, args=["--no-sandbox", "--disable-gpu"])
        print(f"{bundle.manifest.name}: single file of {single.size:,} bytes; Chromium {browser.version}")
        mine, theirs = passes(bare_page(browser, options.runtime), bundle, options.rounds)
        met = compared("pass", mine, theirs, PASS)
        page = browser.new_page()
        page.goto(single.path.as_uri())
        page.wait_for_selector("body[data-checked]")
        small = photograph(500, 375)
        compared("explained prediction", *predictions(page, bundle, small, options.rounds), None)
        large = options.photo.read_bytes() if options.photo else photograph(4000, 3000)
        whole, decoded = page.evaluate(ASK, {"file": text(large), "count": max(3, options.rounds // 2)})
        met &= compared("photograph", whole, [d + statistics.median(mine) for d in decoded], PHOTO)
        (folder / "small.jpg").write_bytes(small)
        seconds = first_answers(browser, single.path, folder / "small.jpg", max(3, options.rounds // 3))
        middle = statistics.median(seconds)
        good = middle <= 1000 * FIRST
        said = "met" if good else "missed"
        print(f"first answer           {middle:8.1f} ms   least {min(seconds):.1f}   goal {FIRST} s: {said}")
        browser.close()
    return 0 if met and good else 1


if __name__ == "__main__":
    sys.exit(main())
