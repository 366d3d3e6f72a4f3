"""What another engine and precision gains: explained predictions, archives, LIME, RISE and trust checks.

    python benchmarks/engines.py [--networks vgg16 resnet50 mobilenet_v2 timm/tf_efficientnet_lite0] [--threads 1]
        [--what explained archive perturbation trust loading] [--seconds 5]

The networks have random weights, on which speed does not depend. All runtimes of a network take turns in one process,
so that other load on the machine slows all alike, and ratios are of medians, against ONNX Runtime in float32 (which
runs the graph of the build before to the last bit). int8 takes its ranges from noise here: its answers mean nothing,
its speed does. Without --threads a pass takes all cores.
"""

from __future__ import annotations

import argparse
import os
import statistics
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np

import pellucid
from explained_prediction import exported
from pellucid.bundle.bundle import Bundle, ProvenRuntime, open_bundle
from pellucid.bundle.runtimes import REFERENCE_RUNTIME, ModelRuntime, check_available
from pellucid.errors import InputError
from pellucid.explanation.cam import grad_cam
from pellucid.explanation.explain import explain_tensors
from pellucid.explanation.faithfulness import CurveSettings, deletion_insertion
from pellucid.explanation.lime import LimeSettings
from pellucid.explanation.rise import RiseSettings
from pellucid.workflow.batch.reading import Reader
from pellucid.workflow.batch.tune import _photographs
from pellucid.workflow.batch.work import BatchQuestion, Worker
from pellucid.workflow.optimise.int8 import GRAPH, quantised

NETWORKS = ("vgg16", "resnet50", "mobilenet_v2", "timm/tf_efficientnet_lite0")
GOALS = {
    "explained": {"vgg16": 3.5, "resnet50": 2.8, "mobilenet_v2": 1.4, "timm/tf_efficientnet_lite0": 1.4},
    "archive": {"vgg16": 3.0, "mobilenet_v2": 1.3},
    "LIME": {"vgg16": 3.0, "mobilenet_v2": 1.4},
    "RISE": {"vgg16": 3.0, "mobilenet_v2": 1.4},
    "trust": {"vgg16": 3.0},
}
"""How many times as fast the best runtime of a network should be, where the issue sets a goal."""


def runtimes(bundle: Bundle, scratch: Path, threads: int | None) -> dict[str, Bundle]:
    """The bundle in every runtime that this machine has."""
    found = {REFERENCE_RUNTIME.title: pellucid.load(bundle.folder, threads=threads)}
    for precision in ("float32", "bfloat16", "int8"):
        runtime = ModelRuntime(engine="openvino", precision=precision)
        try:
            check_available(runtime)
        except InputError as error:
            print(error)
            continue
        graph = None
        if precision == "int8":
            pixels = np.random.default_rng(0).integers(0, 256, (8, 224, 224, 3), dtype=np.uint8)
            scratch.mkdir(parents=True, exist_ok=True)
            for name, content in quantised(bundle, pixels).items():
                (scratch / name).write_bytes(content)
            graph = scratch / GRAPH
        found[runtime.title] = open_bundle(bundle.folder, bundle.manifest, ProvenRuntime(runtime), threads, graph=graph)
    return found


def in_turns(runs: dict[str, Callable[[], object]], seconds: float) -> dict[str, float]:
    """The median seconds of each run, in turns, the first of two runs in a row not counted."""
    longest = 0.0
    for run in runs.values():
        run()
        began = time.perf_counter()
        run()
        longest = max(longest, time.perf_counter() - began)
    times: dict[str, list[float]] = {name: [] for name in runs}
    for _ in range(int(min(50, max(3, seconds / longest)))):
        for name, run in runs.items():
            run()
            began = time.perf_counter()
            run()
            times[name].append(time.perf_counter() - began)
    return {name: statistics.median(values) for name, values in times.items()}


def explained(bundle: Bundle, batch: np.ndarray) -> Callable[[], object]:
    """One prediction with Grad-CAM."""

    def run() -> object:
        evidence = bundle.evidence(batch, "dog")
        return grad_cam(evidence.activations, evidence.gradients)

    return run


def perturbed(bundle: Bundle, batch: np.ndarray, method: str, samples: int) -> Callable[[], object]:
    """One map by LIME or RISE that spends its whole budget."""
    pieces = min(60, samples // 4)
    lime, rise = LimeSettings(samples=samples, superpixels=pieces, stable=2), RiseSettings(samples=samples, stable=2)
    settings = lime if method == "lime" else rise
    return lambda: explain_tensors(bundle, batch, [(224, 224)], method=method, target="dog", settings=settings)


def trusted(bundle: Bundle, batch: np.ndarray) -> Callable[[], object]:
    """What a trust card spends most of its passes on: deletion and insertion of a Grad-CAM map."""

    def run() -> object:
        map_ = explain_tensors(bundle, batch, [(224, 224)], target="dog")[0].attributions[0].values
        return deletion_insertion(bundle, batch, map_[None], ["dog"], settings=CurveSettings())

    return run


def archived(bundle: Bundle, folder: Path, workers: int) -> Callable[[], object]:
    """Photographs of 640 x 480 decoded and classified, a thread a worker."""
    items = _photographs(folder)
    reader = Reader()
    worker = Worker(bundle, BatchQuestion(), reader)

    def run() -> object:
        with ThreadPoolExecutor(workers) as pool:
            return list(pool.map(lambda i: worker.answer(i, items[i : i + 1]), range(len(items))))

    return run


def decoded(bundle: Bundle, folder: Path, workers: int) -> Callable[[], object]:
    """The same without the model."""
    paths = [item.path for item in _photographs(folder)]

    def run() -> object:
        with ThreadPoolExecutor(workers) as pool:
            return list(pool.map(lambda p: bundle.preprocessing.tensors([bundle.read(p)]), paths))

    return run


def show(title: str, network: str, seconds: dict[str, float], floor: float = 0.0) -> None:
    """A line for each runtime, and the goal."""
    base = seconds[REFERENCE_RUNTIME.title]
    for name, value in seconds.items():
        net = f", net of decoding {(base - floor) / max(value - floor, 1e-9):.2f}x" if floor else ""
        print(f"{network:28} {title:12} {name:22} {1000 * value:9.2f} ms  {base / value:5.2f}x{net}", flush=True)
    goal = GOALS.get(title, {}).get(network)
    if goal:
        best = max(base / value for value in seconds.values())
        print(f"{network:28} {title:12} goal {goal:g}x: {'reached' if best >= goal else 'not reached'} ({best:.2f}x)")


def loading(folder: Path) -> None:
    """The size of a bundle over that with the weights in it twice, and the time to load it."""
    graph, weights = ((folder / n).stat().st_size for n in ("model.onnx", "weights.safetensors"))
    every = sum(f.stat().st_size for f in folder.iterdir())
    times = []
    for _ in range(5):
        began = time.perf_counter()
        pellucid.load(folder, threads=1)
        times.append(time.perf_counter() - began)
    share = every / (every + weights)
    loaded = f"loaded in {1000 * statistics.median(times):.0f} ms"
    print(f"{every / 2**20:.1f} MiB (graph {graph / 2**10:.0f} KiB), {share:.2f} of two copies; {loaded}")


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--networks", nargs="+", default=list(NETWORKS))
    parser.add_argument("--what", nargs="+", default=["explained", "archive", "perturbation", "trust", "loading"])
    parser.add_argument("--threads", type=int)
    parser.add_argument("--samples", type=int, default=1000)
    parser.add_argument("--seconds", type=float, default=5.0)
    parser.add_argument("--bundles", type=Path, help="a folder of bundles by the name of their network, made before")
    options = parser.parse_args()
    print(f"{options.threads or os.cpu_count()} threads a pass, load average {os.getloadavg()[0]:.1f}", flush=True)
    batch = np.random.default_rng(1).standard_normal((1, 3, 224, 224)).astype(np.float32)
    for network in options.networks:
        with tempfile.TemporaryDirectory() as name:
            made = options.bundles / network.replace("/", "-") if options.bundles else None
            bundle = pellucid.load(made) if made else exported(Path(name), network)[1]
            if "loading" in options.what:
                print(f"{network:28} {'loading':12} ", end="")
                loading(bundle.folder)
            every = runtimes(bundle, Path(name) / "int8", options.threads)
            if "explained" in options.what:
                show(
                    "explained", network, in_turns({k: explained(b, batch) for k, b in every.items()}, options.seconds)
                )
            if "archive" in options.what:
                workers = max(1, (os.cpu_count() or 1) // (options.threads or 1))
                floor = in_turns({"": decoded(bundle, Path(name), workers)}, options.seconds)[""]
                runs = {k: archived(b, Path(name), workers) for k, b in every.items()}
                show("archive", network, in_turns(runs, options.seconds), floor)
            for method in ("lime", "rise") if "perturbation" in options.what else ():
                runs = {k: perturbed(b, batch, method, options.samples) for k, b in every.items()}
                show(method.upper(), network, in_turns(runs, options.seconds))
            if "trust" in options.what:
                show("trust", network, in_turns({k: trusted(b, batch) for k, b in every.items()}, options.seconds))


if __name__ == "__main__":
    main()
