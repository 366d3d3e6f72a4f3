"""What LIME, KernelSHAP and RISE cost from a bundle, over as many batched passes, and LIME beside the `lime` package.

    python benchmarks/perturbation.py [--samples 1000] [--rounds 3] [--batch-size 8] [--threads N]

All run the same MobileNetV2 (two classes, random weights: speed does not depend on them) on the same image. Each of a
method's batches is followed at once by a plain pass of the same batch, so that a busy machine slows both alike; the
plain passes together are the floor, and their time is taken off the method's. The goal is at most 1.15 times the
floor, and at most 1/2.5 of the time of the `lime` package, which runs on torch and cuts the image by quickshift, as is
its default; it is left out where it is not installed (pip install lime). Figures are medians over the rounds.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import os
import statistics
import sys
import tempfile
import time
import tracemalloc
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnxruntime
import torch

import pellucid
from explained_prediction import exported
from pellucid.bundle.io import model_session
from pellucid.explanation.lime import LimeSettings, lime
from pellucid.explanation.rise import RiseSettings, rise
from pellucid.explanation.shap import ShapSettings, kernel_shap
from pellucid.models.network import Network

GOAL, GOAL_OVER_LIME = 1.15, 2.5
HELD_TO_THE_GOAL = ("LIME", "RISE")
NEVER = 2.0


class Beside:
    """A bundle that times its passes, and after each of them a plain pass of the same batch."""

    def __init__(self, bundle: pellucid.Bundle, plain: onnxruntime.InferenceSession) -> None:
        self.classes, self.task, self.preprocessing = bundle.classes, bundle.task, bundle.preprocessing
        self.probabilities, self._logits, self._plain = bundle.probabilities, bundle.logits, plain
        self.own = self.floor = 0.0

    def logits(self, batch: np.ndarray) -> np.ndarray:
        return self.beside_plain(self._logits, batch)

    def beside_plain(self, passes: Callable[[np.ndarray], np.ndarray], batch: np.ndarray) -> np.ndarray:
        began = time.perf_counter()
        found = passes(batch)
        between = time.perf_counter()
        self._plain.run(None, {"image": batch})
        self.own += between - began
        self.floor += time.perf_counter() - between
        return found

    def measured(self, run: Callable[[], object]) -> tuple[float, float, float]:
        """Seconds of a method without the plain passes beside it, of its own passes, and of the plain ones."""
        self.own = self.floor = 0.0
        began = time.perf_counter()
        run()
        return time.perf_counter() - began - self.floor, self.own, self.floor


def lime_package(network: Network, beside: Beside, image: np.ndarray, samples: int) -> Callable[[], object]:
    """The rival: superpixels, samples and solve by the `lime` package, the network on torch."""
    from lime.lime_image import LimeImageExplainer

    explainer = LimeImageExplainer(random_state=0)
    pixels = beside.preprocessing.to_pixels(image[0])

    def on_torch(batch: np.ndarray) -> np.ndarray:
        with torch.inference_mode():
            return torch.sigmoid(network(torch.from_numpy(batch))).numpy()

    def probabilities(pictures: np.ndarray) -> np.ndarray:
        positive = beside.beside_plain(on_torch, beside.preprocessing.normalise(pictures))
        return np.concatenate([1 - positive, positive], axis=1)

    def run() -> object:
        with contextlib.redirect_stderr(io.StringIO()):
            return explainer.explain_instance(pixels, probabilities, labels=(1,), top_labels=None, num_samples=samples)

    return run


def peak_megabytes(run: Callable[[], object]) -> float:
    """The most memory that NumPy held at once, in MB."""
    tracemalloc.start()
    run()
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    return peak / 1e6


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--samples", type=int, default=1000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--batch-size", type=int, default=8)
    parser.add_argument("--threads", type=int, default=os.cpu_count() or 1)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    shared = {"samples": options.samples, "stable": NEVER, "batch_size": options.batch_size}
    with tempfile.TemporaryDirectory() as name:
        network, bundle, graph = exported(Path(name))
        bundle = pellucid.load(bundle.folder, threads=options.threads)
        beside = Beside(bundle, model_session(graph, options.threads))
        y, x = np.mgrid[0:224, 0:224] / 30
        picture = 127 + 100 * np.sin(np.stack([x + y, 2 * x, y - x], axis=-1))
        image = bundle.preprocessing.normalise(picture.astype(np.uint8))[None]
        beside.logits(np.repeat(image, options.batch_size, axis=0))
        runs: dict[str, Callable[[], object]] = {
            "LIME": lambda: lime(beside, image, "dog", None, LimeSettings(**shared)),
            "KernelSHAP": lambda: kernel_shap(beside, image, "dog", None, ShapSettings(**shared)),
            "RISE": lambda: rise(beside, image, "dog", None, RiseSettings(**shared)),
        }
        try:
            runs["lime package"] = lime_package(network, beside, image, options.samples)
        except ImportError:
            sys.stdout.write("the lime package is not installed and left out\n")
        measured = {key: [beside.measured(run) for _ in range(options.rounds)] for key, run in runs.items()}
        memory = {key: peak_megabytes(runs[key]) for key in HELD_TO_THE_GOAL}
    sys.stdout.write(
        f"MobileNetV2, one image of 224, {options.samples} samples in batches of {options.batch_size}, "
        f"{options.threads} threads, {options.rounds} rounds\n\n"
    )
    over: dict[str, float] = {}
    for key, rounds in measured.items():
        over[key] = statistics.median(total / floor for total, _, floor in rounds)
        seconds = statistics.median(total for total, _, _ in rounds)
        own = statistics.median(total / own for total, own, _ in rounds)
        line = f"{key:14s} {seconds:8.2f} s   {over[key]:6.3f} of the plain passes   {own:6.3f} of its own passes"
        sys.stdout.write(line + (f"   {memory[key]:.0f} MB of arrays\n" if key in memory else "\n"))
    sys.stdout.write(f"\ngoal for {' and '.join(HELD_TO_THE_GOAL)}: at most {GOAL:.2f} of the plain passes\n")
    met = all(over[key] <= GOAL for key in HELD_TO_THE_GOAL)
    if "lime package" in over:
        gain = over["lime package"] / over["LIME"]
        sys.stdout.write(f"lime package over LIME: {gain:.2f} (goal: at least {GOAL_OVER_LIME:.1f})\n")
        met = met and gain >= GOAL_OVER_LIME
    return 0 if met else 1


if __name__ == "__main__":
    sys.exit(main())
