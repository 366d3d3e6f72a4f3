"""OpenVINO XAI's `insert_xai` beside pellucid: time per explained prediction, and how far the maps can be relied on.

    python benchmarks/insert_xai.py RUN DATA [--images 24] [--turns 30] [--environment DIR] [--table FILE]

`insert_xai` builds ReciproCAM into an OpenVINO model, so that one pass gives the answer and a map of each class; it
is the only other tool that explains without autograd. openvino-xai 1.1.0 needs an older OpenVINO and NumPy: an
environment for it is made in DIR, where it is not there yet. There the network of the run, written by torch's
exporter, gets its maps and is saved; both models then run in this process, on the same OpenVINO, one image at a time
on all cores, in turns.

Measured of both maps, for the class answered: insertion minus deletion of the log-odds, with its 95 % interval, and
minus that of a blob in the centre; for the true class, where the data have masks or boxes: pointing game, share of
the evidence inside, average precision, with what chance would give; and how alike a map stays when the image has a
little noise.
"""

from __future__ import annotations

import argparse
import statistics
import subprocess
import sys
import tempfile
import time
import venv
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

ROOT = Path(__file__).resolve().parents[1]
PINNED = ("openvino-xai==1.1.0", "opencv-python-headless==4.10.0.84")
INSIDE = """
import sys, openvino as ov, openvino_xai as xai
model = ov.Core().read_model(sys.argv[1])
made = xai.insert_xai(model, task=xai.Task.CLASSIFICATION, explain_method=xai.Method.RECIPROCAM)
ov.save_model(made, sys.argv[2], compress_to_fp16=False)
print(ov.__version__, [list(port.get_names()) for port in made.outputs])
"""


def environment(folder: Path) -> Path:
    """The Python of an environment that has openvino-xai."""
    python = folder / "bin" / "python"
    if not python.is_file():
        venv.create(folder, with_pip=True)
        subprocess.run([python, "-m", "pip", "install", "-q", *PINNED], check=True)
    return python


def inserted(python: Path, network: Any, size: tuple[int, int], folder: Path) -> Any:
    """The network with ReciproCAM in it, as an OpenVINO model for one image."""
    import openvino
    import torch

    program = torch.onnx.export(
        network, (torch.zeros(1, 3, *size),), dynamo=True, verbose=False, input_names=["image"], output_names=["logits"]
    )
    program.save(str(folder / "plain.onnx"))
    command = [python, "-c", INSIDE, folder / "plain.onnx", folder / "xai.xml"]
    run = subprocess.run(command, capture_output=True, text=True, check=False)
    if run.returncode:
        raise SystemExit(f"insert_xai: {run.stderr.strip().splitlines()[-1]}")
    print(f"insert_xai with OpenVINO {run.stdout.strip()}")
    return openvino.Core().read_model(folder / "xai.xml")


def compiled(model: Any, hint: str) -> Callable[[Any], tuple[Any, Any]]:
    """From an image (1, 3, h, w) to logits (L,) and maps (L, h', w') as they are."""
    import openvino

    settings = {"INFERENCE_PRECISION_HINT": hint, "PERFORMANCE_HINT": "LATENCY", "ENABLE_CPU_PINNING": False}
    request = openvino.Core().compile_model(model, "CPU", settings).create_infer_request()
    names = [sorted(port.get_names()) for port in model.outputs]
    place = next(i for i, own in enumerate(names) if "saliency_map" in own)

    def run(image: Any) -> tuple[Any, Any]:
        request.infer([image], share_inputs=True)
        found = [np.array(request.get_output_tensor(i).data) for i in range(len(names))]
        return found[1 - place][0], found[place][0].astype(np.float32)

    return run


def on_input(values: Any, size: tuple[int, int]) -> Any:
    """A map laid on the input as openvino-xai lays it: stretched bilinearly."""
    import torch

    return torch.nn.functional.interpolate(torch.tensor(values)[None, None], size, mode="bilinear")[0, 0].numpy()


def figures(subject: Any, make: Callable[[Any, int], Any], images: Any, quality: Any) -> dict[str, Any]:
    """The trust figures of one kind of map."""
    from pellucid.explanation.agreement import coarse, rank_correlation
    from pellucid.explanation.stability import noise_stability

    found = quality(subject, {"": make}, images)[""]
    maps = np.stack([make(t[None], i) for t, i in zip(images.tensors, images.answered, strict=True)]).astype(np.float32)

    def again(batch: Any) -> Any:
        return np.stack([make(t[None], i) for t, i in zip(batch, images.answered, strict=True)]).astype(np.float32)

    stable = noise_stability(again, images.tensors, maps, subject.bundle.preprocessing)
    return {**found, "noise": float(np.nanmean(stable)), "maps": coarse(maps), "alike": rank_correlation}


def centre_gap(subject: Any, images: Any) -> float:
    """The mean insertion minus deletion of a blob in the centre."""
    from pellucid.explanation.faithfulness import baseline_curves

    names = [subject.bundle.classes[i] for i in images.answered]
    return float(baseline_curves(subject.bundle, images.tensors, names, names=("centre",))["centre"].gap.mean())


def in_turns(runs: dict[str, Callable[[], object]], turns: int) -> dict[str, float]:
    """Median seconds, the first of two runs in a row not counted."""
    times: dict[str, list[float]] = {name: [] for name in runs}
    for _ in range(turns):
        for name, run in runs.items():
            run()
            began = time.perf_counter()
            run()
            times[name].append(time.perf_counter() - began)
    return {name: statistics.median(values) for name, values in times.items()}


def explained_by(bundle: Any, image: Any) -> Callable[[], object]:
    from pellucid.explanation.cam import grad_cam

    def run() -> object:
        evidence = bundle.evidence(image)
        return grad_cam(evidence.activations, evidence.gradients)

    return run


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path)
    parser.add_argument("data", type=Path)
    parser.add_argument("--images", type=int, default=24)
    parser.add_argument("--turns", type=int, default=30)
    parser.add_argument("--environment", type=Path, default=Path(tempfile.gettempdir()) / "openvino-xai-1.1.0")
    parser.add_argument("--table", type=Path, help="Markdown file to write")
    options = parser.parse_args()
    sys.path[:0] = [str(ROOT), str(ROOT / "src"), str(ROOT / "benchmarks")]
    import peers
    from pellucid.bundle.bundle import ProvenRuntime, load, open_bundle
    from pellucid.bundle.runtimes import ModelRuntime, cpu_capabilities

    images = peers.read(load(options.run), options.data, options.images)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        subject = peers.of_run(options.run, images.tensors[:4], folder / "run")
        bundle, size, image = subject.bundle, subject.size, images.tensors[:1]
        model = inserted(environment(options.environment), subject.network, size, folder)
        hints = {"float32": "f32", **({"bfloat16": "bf16"} if "BF16" in cpu_capabilities() else {})}
        theirs = {title: compiled(model, hint) for title, hint in hints.items()}
        runs = {"pellucid, ONNX Runtime, float32": explained_by(bundle, image)}
        for title in hints:
            runtime = ProvenRuntime(ModelRuntime(engine="openvino", precision=title))
            runs[f"pellucid, OpenVINO, {title}"] = explained_by(
                open_bundle(bundle.folder, bundle.manifest, runtime), image
            )
            runs[f"insert_xai, OpenVINO, {title}"] = lambda ask=theirs[title]: ask(image)
        seconds = in_turns(runs, options.turns)
        ask = theirs["float32"]
        makers = {
            "pellucid Grad-CAM": peers.our_maps(subject, "grad-cam"),
            "insert_xai ReciproCAM": lambda picture, index: on_input(ask(picture)[1][index], size),
        }
        measured = {key: figures(subject, make, images, peers.quality) for key, make in makers.items()}
        text = table(seconds, measured, centre_gap(subject, images), len(images.tensors))
    print(text)
    if options.table:
        options.table.write_text(text, encoding="utf-8")


def table(seconds: dict[str, float], measured: dict[str, Any], centre: float, count: int) -> str:
    """The results as two tables of Markdown."""
    base = seconds["pellucid, ONNX Runtime, float32"]
    lines = ["| one explained prediction | ms | times as fast |", "|---|---|---|"]
    lines += [f"| {name} | {1000 * value:.1f} | {base / value:.2f} |" for name, value in seconds.items()]
    lines += [
        "",
        "| map | gap | over the centre | pointing | inside | AP | under noise |",
        "|---|---|---|---|---|---|---|",
    ]
    for name, found in measured.items():
        gap, inside, chance = found["gap"], found["inside"], found["chance"]
        lines.append(
            f"| {name} | {gap.value:.2f} [{gap.low:.2f}, {gap.high:.2f}] | {gap.value - centre:+.2f} | {inside[0]:.2f} "
            f"({chance[0]:.2f}) | {inside[1]:.2f} ({chance[1]:.2f}) | {inside[2]:.2f} ({chance[2]:.2f}) | "
            f"{found['noise']:.2f} |"
        )
    one, other = (found["maps"] for found in measured.values())
    alike = next(iter(measured.values()))["alike"](one, other)
    lines += ["", f"{count} images; the two maps correlate by {np.nanmedian(alike):.2f} in the median."]
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    main()
