"""OpenVINO XAI beside the others of peers.py: whether it takes a model, and its maps. Both run in its own environment.

    python benchmarks/openvino_maps.py --families TIMM_ENV_PYTHON --results insert_xai.jsonl

As a script without options it is the part that runs in the environment of openvino-xai 1.1.0: it reads a request of
JSON from its input and answers in JSON lines.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

ROOT = Path(__file__).resolve().parents[1]
NAME = "OpenVINO XAI ReciproCAM"


def openvino_row(python: Path, spots: Any, run: Any) -> dict[str, Any]:
    """The results of OpenVINO XAI as peers.py has them of others, its maps being made in `python`."""
    from peers import alignment, plain, quality

    subject, images, places = spots
    maps, *_ = made(python, subject.network, images, [1] * len(images))
    lookup = {image.tobytes(): values for image, values in zip(images, maps, strict=True)}
    off = alignment({NAME: lambda image, index: lookup[image[0].tobytes()]}, images, places)[NAME]
    subject, data = run
    by_class = {}
    for index in range(len(subject.bundle.classes)):
        maps, seconds, mebibytes = made(python, subject.network, data.tensors, [index] * len(data.tensors))
        by_class |= {(t.tobytes(), index): values for t, values in zip(data.tensors, maps, strict=True)}
    found = quality(subject, {NAME: lambda image, index: by_class[image[0].tobytes(), index]}, data)[NAME]
    return {"off": off, "quality": plain(found), "seconds": seconds, "mebibytes": mebibytes}


def made(python: Path, network: Any, images: Any, classes: list[int]) -> tuple[Any, float, float]:
    """Maps (N, h, w) on the model's input by ReciproCAM, the median seconds of one, and MiB as peers.py counts them."""
    import torch

    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        batch = torch.export.Dim("batch", min=1, max=1024)
        example = torch.tensor(images[:2])
        program = torch.onnx.export(
            network, (example,), dynamo=True, verbose=False, dynamic_shapes=({0: batch},), input_names=["image"]
        )
        program.save(str(folder / "model.onnx"))
        np.savez(folder / "asked.npz", images=images, classes=classes)
        subprocess.run([python, __file__, "--maps", folder], check=True, capture_output=True, text=True)
        with np.load(folder / "maps.npz") as found:
            return found["maps"], float(found["seconds"]), float(found["mebibytes"])


def maps_here(folder: Path) -> None:
    """In the other environment: the maps of what lies in a folder."""
    import cv2
    import openvino as ov
    import openvino_xai as xai

    with np.load(folder / "asked.npz") as asked:
        images, classes = asked["images"], asked["classes"]
    model = ov.Core().read_model(folder / "model.onnx")
    compiled = ov.Core().compile_model(xai.insert_xai(model, task=xai.Task.CLASSIFICATION), "CPU")
    maps, seconds = [], []
    Path("/proc/self/clear_refs").write_text("5")
    before = memory_now("VmRSS")
    for image, index in zip(images, classes, strict=True):
        began = time.perf_counter()
        found = compiled(image[None])["saliency_map"][0]
        values = found[index] if found.ndim == 3 else found
        maps.append(cv2.resize(values.astype(np.float32), image.shape[2:0:-1]))
        seconds.append(time.perf_counter() - began)
    held = memory_now("VmHWM") - before
    np.savez(folder / "maps.npz", maps=np.stack(maps), seconds=np.median(seconds), mebibytes=held)


def memory_now(which: str) -> float:
    """MiB of this process by the kernel's account: VmRSS for now, VmHWM at most."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) / 1024 for line in lines if line.startswith(which))


def family_here(name: str) -> dict[str, Any]:
    """In the other environment: whether `insert_xai` takes a family's torch model, and what it then gives."""
    import openvino_xai as xai
    import torch
    from tests.families.catalogue import FAMILIES, build

    family = next(f for f in FAMILIES if f.name == name)
    model = build(family)
    method = xai.Method.VITRECIPROCAM if family.kind in ("transformer", "mlp") else xai.Method.RECIPROCAM
    size = (family.size, family.size)
    began = time.perf_counter()
    try:
        task = xai.Task.CLASSIFICATION
        inserted = xai.insert_xai(model, task=task, explain_method=method, input_size=size)
        with torch.no_grad():
            answer = inserted(torch.randn(1, 3, *size))
        found = answer["saliency_map"] if isinstance(answer, dict) else answer[-1]
        grid = list(found.shape)
        return {"family": name, "takes": len(grid) >= 3, "map": grid, "seconds": round(time.perf_counter() - began, 2)}
    except Exception as error:  # a library of another project raises what it likes
        return {"family": name, "takes": False, "error": f"{type(error).__name__}: {error}"[:200]}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--families", type=Path, metavar="PYTHON", help="ask for each family, in this environment")
    parser.add_argument("--results", type=Path, help="JSON lines to write")
    parser.add_argument("--maps", type=Path, help="used by the script itself")
    parser.add_argument("--ask", nargs="+", help="used by the script itself")
    options = parser.parse_args()
    if options.maps:
        maps_here(options.maps)
    elif options.ask:
        sys.path.insert(0, str(ROOT))
        for name in options.ask:
            print(json.dumps(family_here(name)), flush=True)
    else:
        sys.path.insert(0, str(ROOT))
        from tests.families.catalogue import FAMILIES

        names = [f.name for f in FAMILIES]
        with options.results.open("w", encoding="utf-8") as file:
            for start in range(0, len(names), 12):
                command = [options.families, __file__, "--ask", *names[start : start + 12]]
                run = subprocess.run(command, capture_output=True, text=True, check=False)
                file.writelines(line + "\n" for line in run.stdout.splitlines() if line.startswith("{"))


if __name__ == "__main__":
    main()
