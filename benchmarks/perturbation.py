"""What LIME, KernelSHAP and RISE cost from a bundle, over as many batched passes, and LIME beside the `lime` package.

    python benchmarks/perturbation.py [--samples 1000] [--rounds 3] [--batch-size 32] [--threads N]

All run the same MobileNetV2 (two classes, random weights: speed does not depend on them) on the same image, in turn
within each round, so that a busy machine slows all alike. Ratios are of medians over the rounds. The goal is at most
1.15 times the plain passes, and at most 1/2.5 of the time of the `lime` package, which runs on torch and cuts the image
by quickshift, as is its default; it is left out where it is not installed (pip install lime).
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
import torch

import pellucid
from explained_prediction import exported
from pellucid.bundle.io import model_session
from pellucid.explanation.lime import LimeSettings, lime
from pellucid.explanation.rise import RiseSettings, rise
from pellucid.explanation.shap import ShapSettings, kernel_shap
from pellucid.models.network import Network

GOAL, GOAL_OVER_LIME = 1.15, 2.5
FLOOR = "plain batched passes (floor)"
NEVER = 2.0


def lime_package(network: Network, bundle: pellucid.Bundle, image: np.ndarray, samples: int) -> Callable[[], object]:
    """The rival: superpixels, samples and solve by the `lime` package, the network on torch."""
    from lime.lime_image import LimeImageExplainer

    explainer = LimeImageExplainer(random_state=0)
    pixels = bundle.preprocessing.to_pixels(image[0])

    def probabilities(pictures: np.ndarray) -> np.ndarray:
        with torch.inference_mode():
            positive = torch.sigmoid(network(torch.from_numpy(bundle.preprocessing.normalise(pictures)))).numpy()
        return np.concatenate([1 - positive, positive], axis=1)

    def run() -> object:
        with contextlib.redirect_stderr(io.StringIO()):
            return explainer.explain_instance(pixels, probabilities, labels=(1,), top_labels=None, num_samples=samples)

    return run


def runs_of(
    timed: Timed, graph: Path, network: Network, image: np.ndarray, options: argparse.Namespace
) -> dict[str, Callable[[], object]]:
    bundle, samples, size = timed.bundle, options.samples, options.batch_size
    plain = model_session(graph, options.threads)
    batch = np.repeat(image, size, axis=0)
    shared = {"samples": samples, "stable": NEVER, "batch_size": size}

    def floor() -> None:
        for start in range(0, samples, size):
            plain.run(None, {"image": batch[: min(size, samples - start)]})

    def own_floor() -> None:
        for start in range(0, samples, size):
            bundle.logits(batch[: min(size, samples - start)])

    plain.run(None, {"image": batch})
    bundle.logits(batch)
    runs: dict[str, Callable[[], object]] = {
        FLOOR: floor,
        "batched passes, bundle's logits": own_floor,
        "pellucid, LIME": lambda: lime(timed, image, "dog", None, LimeSettings(**shared)),
        "pellucid, KernelSHAP": lambda: kernel_shap(timed, image, "dog", None, ShapSettings(**shared)),
        "pellucid, RISE": lambda: rise(timed, image, "dog", None, RiseSettings(**shared)),
    }
    try:
        runs["lime package (torch)"] = lime_package(network, bundle, image, samples)
    except ImportError:
        sys.stdout.write("the lime package is not installed and left out\n")
    return runs


class Timed:
    """A bundle that counts the seconds spent in its passes, to tell what a method takes beyond them."""

    def __init__(self, bundle: pellucid.Bundle) -> None:
        self.bundle, self.seconds = bundle, 0.0
        self.classes, self.task, self.preprocessing = bundle.classes, bundle.task, bundle.preprocessing
        self.probabilities = bundle.probabilities

    def logits(self, batch: np.ndarray) -> np.ndarray:
        began = time.perf_counter()
        found = self.bundle.logits(batch)
        self.seconds += time.perf_counter() - began
        return found


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
    parser.add_argument("--batch-size", type=int, default=32)
    parser.add_argument("--threads", type=int, default=os.cpu_count() or 1)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    with tempfile.TemporaryDirectory() as name:
        network, bundle, graph = exported(Path(name))
        bundle = pellucid.load(bundle.folder, threads=options.threads)
        y, x = np.mgrid[0:224, 0:224] / 30
        picture = 127 + 100 * np.sin(np.stack([x + y, 2 * x, y - x], axis=-1))
        image = bundle.preprocessing.normalise(picture.astype(np.uint8))[None]
        timed = Timed(bundle)
        runs = runs_of(timed, graph, network, image, options)
        times: dict[str, list[float]] = {key: [] for key in runs}
        over: dict[str, list[float]] = {key: [] for key in runs}
        for _ in range(options.rounds):
            for key, run in runs.items():
                began, timed.seconds = time.perf_counter(), 0.0
                run()
                times[key].append(time.perf_counter() - began)
                if timed.seconds:
                    over[key].append(times[key][-1] / timed.seconds)
        memory = {key: peak_megabytes(runs[key]) for key in ("pellucid, LIME", "pellucid, RISE")}
    medians = {key: statistics.median(values) for key, values in times.items()}
    sys.stdout.write(
        f"MobileNetV2, one image of 224, {options.samples} samples in batches of {options.batch_size}, "
        f"{options.threads} threads, {options.rounds} rounds\n\n"
    )
    for key, value in medians.items():
        held = f"   {statistics.median(over[key]):.3f} of its own passes" if over[key] else ""
        held += f"   at most {memory[key]:.0f} MB of arrays" if key in memory else ""
        sys.stdout.write(f"{key:34s} {value:8.2f} s   {value / medians[FLOOR]:6.2f} of the floor{held}\n")
    ratios = {key: medians[key] / medians[FLOOR] for key in ("pellucid, LIME", "pellucid, RISE")}
    sys.stdout.write("\n")
    for key, ratio in ratios.items():
        sys.stdout.write(f"{key} over as many passes: {ratio:.2f} (goal: at most {GOAL:.2f})\n")
    met = all(ratio <= GOAL for ratio in ratios.values())
    if "lime package (torch)" in medians:
        gain = medians["lime package (torch)"] / medians["pellucid, LIME"]
        sys.stdout.write(f"lime package over pellucid: {gain:.2f} (goal: at least {GOAL_OVER_LIME:.1f})\n")
        met = met and gain >= GOAL_OVER_LIME
    return 0 if met else 1


if __name__ == "__main__":
    sys.exit(main())
