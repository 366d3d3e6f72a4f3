"""What another engine and precision gains, over ONNX Runtime in float32, in one process and by turns.

    python benchmarks/engines.py [--networks vgg16 resnet50 mobilenet_v2 timm/tf_efficientnet_lite0] [--threads 1]
        [--what explained archive lime rise trust served auto loading] [--runtimes bfloat16 int8]
        [--samples 1000] [--images 4] [--requests 64] [--seconds 5]

- explained: one prediction with Grad-CAM;
- archive: photographs decoded and classified by as many workers of `predict --out` as cores, one thread a pass, with
  decoding and net of it;
- lime, rise: one map that spends its whole budget of `--samples`;
- trust: the quick trust card of Grad-CAM on `--images` photographs; the maps of models with random weights, a part of
  it, always run on ONNX Runtime;
- served: requests at `/v1/explain`, eight at once, from a process of their own;
- auto: what `--engine auto` takes after the speeds were measured, and its time over that of ONNX Runtime in float32;
- loading: the size of the bundle and the time to load it.

The networks have random weights, on which speed does not depend. All runtimes of a network take turns, so that other
load on the machine slows all alike, and ratios are of medians, against ONNX Runtime in float32 (which runs the graph of
the build before to the last bit). int8 takes its ranges from noise here: its answers mean nothing, its speed does. For
`served` and `auto` the quality in the certificate is therefore made up: only the times in it are measured. Without
`--threads` a pass takes all cores. Fewer `--samples` or `--images` give the same ratio in less time, since every sample
costs one pass. `--bundles FOLDER` keeps the exported networks for the next run.
"""

from __future__ import annotations

import argparse
import os
import shutil
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from pathlib import Path

import numpy as np

import pellucid
import serving
from explained_prediction import exported
from pellucid.bundle.bundle import Bundle, ProvenRuntime, open_bundle
from pellucid.bundle.certificate import (
    CERTIFICATE,
    Candidate,
    Certificate,
    Interval,
    Machine,
    Quality,
    Speed,
    decision_digest,
    model_digest,
)
from pellucid.bundle.io import amend_bundle, read_bundle
from pellucid.bundle.runtimes import AUTO, REFERENCE_RUNTIME, ModelRuntime, check_available
from pellucid.errors import InputError
from pellucid.explanation.cam import grad_cam
from pellucid.explanation.catalogue import find_method, settings_of
from pellucid.explanation.explain import explain_tensors
from pellucid.explanation.faithfulness import CurveSettings
from pellucid.explanation.lime import LimeSettings
from pellucid.explanation.rise import RiseSettings
from pellucid.workflow.batch.reading import Reader
from pellucid.workflow.batch.tune import _photographs
from pellucid.workflow.batch.work import BatchQuestion, Worker
from pellucid.workflow.evaluation import foreign_split
from pellucid.workflow.optimise.int8 import GRAPH, VALUES, quantised
from pellucid.workflow.optimise.speed import speeds
from pellucid.workflow.trust.audit import QUICK_STEPS, measure_trust

LITE = "timm/tf_efficientnet_lite0"
NETWORKS = ("vgg16", "resnet50", "mobilenet_v2", LITE)
BY_RUNTIME = ("explained", "lime", "rise", "trust", "served", "archive")
WAYS = (*BY_RUNTIME, "auto", "loading")
GOALS = {
    "explained": {"vgg16": 3.5, "resnet50": 2.8, "mobilenet_v2": 1.4, LITE: 1.4},
    "archive": {"vgg16": 3.0, "mobilenet_v2": 1.3},
    "lime": {"vgg16": 3.0, "mobilenet_v2": 1.4},
    "rise": {"vgg16": 3.0, "mobilenet_v2": 1.4},
    "trust": {"vgg16": 3.0},
    "served": {"vgg16": 2.5, "mobilenet_v2": 1.2},
}
"""How many times as fast the best runtime of a network should be, where the issue sets a goal."""

AT_MOST_SLOWER, LONG, MOST_TURNS, LEAST_TURNS = 1.03, 1.0, 50, 2
Runs = dict[str, Callable[[], object]]


def runtimes(bundle: Bundle, scratch: Path, threads: int | None, precisions: list[str]) -> dict[str, Bundle]:
    """The bundle in every runtime asked for that this machine has."""
    found = {REFERENCE_RUNTIME.title: pellucid.load(bundle.folder, threads=threads)}
    for precision in precisions:
        runtime = ModelRuntime(engine="openvino", precision=precision)
        try:
            check_available(runtime)
        except InputError as error:
            print(error)
            continue
        graph = None
        if precision == "int8":
            scratch.mkdir(parents=True, exist_ok=True)
            graph = scratch / GRAPH
            if not graph.is_file():
                pixels = np.random.default_rng(0).integers(0, 256, (8, 224, 224, 3), dtype=np.uint8)
                for name, content in quantised(bundle, pixels).items():
                    (scratch / name).write_bytes(content)
        found[runtime.title] = open_bundle(bundle.folder, bundle.manifest, ProvenRuntime(runtime), threads, graph=graph)
    return found


def in_turns(runs: Runs, seconds: float) -> dict[str, float]:
    """The median seconds of each run, in turns. Of short runs the first of two in a row is not counted."""
    longest = 0.0
    for run in runs.values():
        run()
        began = time.perf_counter()
        run()
        longest = max(longest, time.perf_counter() - began)
    times: dict[str, list[float]] = {name: [] for name in runs}
    for _ in range(int(min(MOST_TURNS, max(LEAST_TURNS, seconds / longest)))):
        for name, run in runs.items():
            if longest < LONG:
                run()
            began = time.perf_counter()
            run()
            times[name].append(time.perf_counter() - began)
    return {name: statistics.median(values) for name, values in times.items()}


def explained(bundle: Bundle, batch: np.ndarray) -> Callable[[], object]:
    """One prediction with Grad-CAM for each image of a batch."""

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


def trusted(bundle: Bundle, folder: Path, images: int) -> Callable[[], object]:
    """The quick trust card of Grad-CAM on photographs, half of each class."""
    (folder / "read").mkdir(parents=True, exist_ok=True)
    for number, item in enumerate(_photographs(folder / "read")):
        target = folder / "data" / bundle.classes[number % 2] / Path(item.path).name
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(item.path, target)
    dataset = foreign_split(bundle, folder / "data", "test")
    methods = {"grad-cam": settings_of(find_method("grad-cam"))}
    curves = CurveSettings(steps=QUICK_STEPS, rule="simpson")
    return lambda: measure_trust(bundle, dataset, methods, images=images, curves=curves, quick=True)


def archived(bundle: Bundle, folder: Path, workers: int) -> Callable[[], object]:
    """Photographs of 640 x 480 decoded and classified, a thread a worker."""
    items = _photographs(folder)
    worker = Worker(bundle, BatchQuestion(), Reader())

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


def certified(bundle: Bundle, every: dict[str, Bundle], scratch: Path, measured: list[Speed]) -> Path:
    """A copy of the bundle whose certificate accepts every runtime: times as measured, qualities made up."""
    none = Interval(value=0, low=0, high=0)
    kept = Quality(
        images=1, probability=0, mean=0, changed=0, decisions=none, unusual=None, auc=None, loss=None, margin=0,
        maps=1, correlation=1, correlation_least=1, moved=0,
    )  # fmt: skip
    folder = scratch / "certified"
    shutil.rmtree(folder, ignore_errors=True)
    shutil.copytree(bundle.folder, folder)
    files = {name: (scratch / "int8" / name).read_bytes() for name in (GRAPH, VALUES) if (scratch / "int8").is_dir()}
    manifest = read_bundle(folder)
    candidates = tuple(
        Candidate(
            runtime=own.runtime,
            speed=speed,
            quality=None if own.runtime == REFERENCE_RUNTIME else kept,
            graph=GRAPH if own.runtime.precision == "int8" else None,
        )
        for own, speed in zip(every.values(), measured, strict=True)
    )
    certificate = Certificate(
        created="", model=model_digest(manifest), decision=decision_digest(manifest), machine=Machine.here(),
        data="none", images=1, candidates=candidates,
    )  # fmt: skip
    amend_bundle(folder, {}, {**files, CERTIFICATE: certificate.model_dump_json().encode()})
    return folder


@contextmanager
def server(folder: Path, runtime: ModelRuntime, store: Path) -> Iterator[int]:
    """The port of a server of the bundle in a runtime."""
    port = serving.free_port()
    command = serving.serve(folder, port, store)
    engine = ["--engine", runtime.engine, "--engine-precision", runtime.precision]
    process = serving.started([*command, *engine], port)
    try:
        yield port
    finally:
        process.terminate()
        process.wait()


def served(folder: Path, every: dict[str, Bundle], scratch: Path, requests: int, rounds: int) -> dict[str, float]:
    """Seconds per request of eight at once, in each runtime: the median of rounds, in which the servers take turns."""
    image = scratch / "image.jpg"
    image.write_bytes(serving.picture(None))
    with ExitStack() as stack:
        ports = {
            name: stack.enter_context(server(folder, own.runtime, scratch / f"store-{own.runtime.key}"))
            for name, own in every.items()
        }
        times: dict[str, list[float]] = {name: [] for name in ports}
        for turn in range(rounds + 1):
            for name, port in ports.items():
                found = serving.loaded(port, "/v1/explain", image, requests)
                if found["statuses"] != [200]:
                    raise SystemExit(f"{name} answered {found['statuses']}")
                if turn:  # in the first, the model is compiled
                    times[name].append(1 / found["rate"])
    return {name: statistics.median(values) for name, values in times.items()}


def chosen(bundle: Bundle, scratch: Path, options: argparse.Namespace, network: str) -> None:
    """What `auto` takes by the speeds measured, and how much longer than float32 it takes in each way, at most."""
    sides = [runtimes(bundle, scratch / "int8", threads, options.runtimes) for threads in (1, None)]
    measured = speeds(list(zip(*(side.values() for side in sides), strict=True)), seconds=options.seconds / 4)
    folder = certified(bundle, sides[0], scratch, measured)
    noise = np.random.default_rng(1).standard_normal((16, 3, 224, 224)).astype(np.float32)
    for title, threads, images in (("1 thread", 1, 1), ("all cores", None, 1), ("batches", None, 16)):
        own = pellucid.load(folder, engine=AUTO, threads=threads)
        said = f"{network:28} auto, {title:12} {own.runtime.title}"
        if own.runtime == REFERENCE_RUNTIME:
            print(said, flush=True)
            continue
        both = {"float32": pellucid.load(folder, threads=threads), AUTO: own}
        taken = in_turns({name: explained(b, noise[:images]) for name, b in both.items()}, options.seconds)
        share = taken[AUTO] / taken["float32"]
        print(f"{said} {share:.2f} of the time{'' if share <= AT_MOST_SLOWER else ': slower'}", flush=True)


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


def measure(network: str, bundle: Bundle, scratch: Path, options: argparse.Namespace) -> None:
    """All that was asked for, of one network."""
    if "loading" in options.what:
        print(f"{network:28} {'loading':12} ", end="")
        loading(bundle.folder)
    if "auto" in options.what:
        chosen(bundle, scratch, options, network)
    ways = [way for way in BY_RUNTIME if way in options.what]
    if not ways:
        return
    batch = np.random.default_rng(1).standard_normal((1, 3, 224, 224)).astype(np.float32)
    every = runtimes(bundle, scratch / "int8", options.threads, options.runtimes)
    workers = os.cpu_count() or 1
    for way in ways:
        floor = 0.0
        if way == "served":
            alike = [Speed(one_thread=1, all_cores=1, batch=1)] * len(every)
            folder = certified(bundle, every, scratch, alike)
            found = served(folder, every, scratch, options.requests, 3)
        else:
            if way == "archive":
                every = runtimes(bundle, scratch / "int8", 1, options.runtimes)
                floor = in_turns({"": decoded(bundle, scratch, workers)}, options.seconds)[""]
            makers: dict[str, Callable[[Bundle], Callable[[], object]]] = {
                "explained": lambda b: explained(b, batch),
                "archive": lambda b: archived(b, scratch, workers),
                "lime": lambda b: perturbed(b, batch, "lime", options.samples),
                "rise": lambda b: perturbed(b, batch, "rise", options.samples),
                "trust": lambda b: trusted(b, scratch / "trust", options.images),
            }
            found = in_turns({name: makers[way](b) for name, b in every.items()}, options.seconds)
        show(way, network, found, floor)


def network_bundle(network: str, kept: Path | None, scratch: Path) -> Bundle:
    """The exported network, from the folder of those kept if it is there."""
    folder = scratch / "export" if kept is None else kept / network.replace("/", "-")
    if not (folder / "bundle").is_dir():
        folder.mkdir(parents=True, exist_ok=True)
        exported(folder, network)
    return pellucid.load(folder / "bundle")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--networks", nargs="+", default=list(NETWORKS))
    parser.add_argument("--what", nargs="+", default=list(WAYS), choices=WAYS)
    parser.add_argument("--runtimes", nargs="*", default=["float32", "bfloat16", "int8"], metavar="PRECISION")
    parser.add_argument("--threads", type=int)
    parser.add_argument("--samples", type=int, default=1000)
    parser.add_argument("--images", type=int, default=4)
    parser.add_argument("--requests", type=int, default=64)
    parser.add_argument("--seconds", type=float, default=5.0)
    parser.add_argument("--bundles", type=Path, help="a folder that keeps the exported networks")
    options = parser.parse_args()
    threads = options.threads or "all"
    print(f"{threads} threads a pass, {os.cpu_count()} cores, load average {os.getloadavg()[0]:.1f}", flush=True)
    for network in options.networks:
        with tempfile.TemporaryDirectory() as name:
            measure(network, network_bundle(network, options.bundles, Path(name)), Path(name), options)


if __name__ == "__main__":
    main()
