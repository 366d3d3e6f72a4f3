"""What an explanation costs: prediction with Grad-CAM from a bundle, over prediction alone, and beside other libraries.

    python benchmarks/explained_prediction.py [--images 1] [--rounds 60] [--threads N]

All rivals run the same MobileNetV2 (two classes, random weights: speed does not depend on them) on the same image. They
take turns, so that a busy machine slows all alike; a turn is a few runs of which the first ones do not count, since a
server runs one model again and again and does not pay for changing over. Ratios are of medians. The goal is at most
1.10 times the plain pass.
"""

from __future__ import annotations

import argparse
import os
import statistics
import sys
import tempfile
import time
import warnings
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch

import pellucid
from pellucid.bundle.io import model_session
from pellucid.bundle.manifest import Layer, Manifest
from pellucid.explanation.cam import grad_cam
from pellucid.explanation.explain import explain_tensors
from pellucid.models.export import export_bundle
from pellucid.models.network import Network, build_network
from pellucid.recipe import load_recipe

GOAL = 1.10
WARM, COUNTED, PAUSE = 5, 10, 0.1
"""A turn: runs to warm up, runs that count, and seconds of rest before, since idle threads wait busily for a while."""


def exported(folder: Path, backbone: str = "mobilenet_v2") -> tuple[Network, pellucid.Bundle, Path]:
    """A network, its bundle, and a plain graph of the same weights that gives logits only."""
    recipe = load_recipe("cats-dogs", ["model.weights=none", "model.dropout=0", f"model.backbone={backbone}"])
    torch.manual_seed(0)
    network = build_network(recipe, 2).eval()
    manifest = Manifest(
        pellucid_version=pellucid.__version__,
        name="benchmark",
        task="binary",
        classes=("cat", "dog"),
        preprocessing=recipe.preprocessing(),
        layer=Layer(name=network.explained_layer, channels=0, height=0, width=0, stride=(1, 1), offset=(0, 0)),
        logits=1,
        architecture={},
    )
    images = np.random.default_rng(0).standard_normal((4, 3, 224, 224)).astype(np.float32)
    export_bundle(network, manifest, folder / "bundle", images=images, source="noise")
    plain = folder / "plain.onnx"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        batch = torch.export.Dim("batch", min=1, max=1024)
        program = torch.onnx.export(
            network,
            (torch.zeros(2, 3, 224, 224),),
            dynamo=True,
            verbose=False,
            dynamic_shapes=({0: batch},),
            input_names=["image"],
        )
    program.save(str(plain), external_data=False)
    return network, pellucid.load(folder / "bundle"), plain


def rivals(network: Network, batch: np.ndarray) -> dict[str, Callable[[], object]]:
    """Grad-CAM by other libraries, prediction included as they give it, on torch."""
    layer = network.get_submodule(network.explained_layer)
    tensor = torch.from_numpy(batch)
    found: dict[str, Callable[[], object]] = {}
    try:
        from pytorch_grad_cam import GradCAM
        from pytorch_grad_cam.utils.model_targets import BinaryClassifierOutputTarget

        cam, targets = GradCAM(model=network, target_layers=[layer]), [BinaryClassifierOutputTarget(1)] * len(batch)
        found["pytorch-grad-cam (torch)"] = lambda: cam(input_tensor=tensor, targets=targets)
    except ImportError:
        sys.stdout.write("pytorch-grad-cam is not installed and left out\n")
    try:
        from torchcam.methods import GradCAM as TorchCam

        torchcam = TorchCam(network, target_layer=layer)

        def with_torchcam() -> object:
            scores = network(tensor.clone().requires_grad_())
            return torchcam([0] * len(tensor), scores)

        found["torch-cam (torch)"] = with_torchcam
    except ImportError:
        sys.stdout.write("torch-cam is not installed and left out\n")
    try:
        from captum.attr import LayerGradCam

        captum = LayerGradCam(network, layer)
        found["Captum LayerGradCam (torch)"] = lambda: (network(tensor), captum.attribute(tensor, target=0))
    except ImportError:
        sys.stdout.write("Captum is not installed and left out\n")
    return found


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--images", type=int, default=1)
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument("--threads", type=int, default=os.cpu_count() or 1)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    with tempfile.TemporaryDirectory() as name:
        network, bundle, graph = exported(Path(name))
        bundle = pellucid.load(bundle.folder, threads=options.threads)
        plain = model_session(graph, options.threads)
        batch = np.random.default_rng(1).standard_normal((options.images, 3, 224, 224)).astype(np.float32)

        def ours() -> object:
            evidence = bundle.evidence(batch, "dog")
            return grad_cam(evidence.activations, evidence.gradients)

        runs: dict[str, Callable[[], object]] = {
            "plain pass, logits only (floor)": lambda: plain.run(None, {"image": batch}),
            "pellucid, logits and Grad-CAM": ours,
            "pellucid, map laid on the image": lambda: explain_tensors(
                bundle, batch, [(224, 224)] * len(batch), target="dog"
            ),
            **rivals(network, batch),
        }
        times: dict[str, list[float]] = {key: [] for key in runs}
        for _ in range(options.rounds):
            for key, run in runs.items():
                time.sleep(PAUSE)
                for i in range(WARM + COUNTED):
                    began = time.perf_counter()
                    run()
                    if i >= WARM:
                        times[key].append(time.perf_counter() - began)
    medians = {key: statistics.median(values) for key, values in times.items()}
    floor = medians["plain pass, logits only (floor)"]
    ratio = medians["pellucid, logits and Grad-CAM"] / floor
    sys.stdout.write(
        f"MobileNetV2, {options.images} image(s) of 224, {options.threads} threads, {options.rounds} rounds\n\n"
    )
    for key, value in medians.items():
        mine = value / medians["pellucid, logits and Grad-CAM"]
        sys.stdout.write(
            f"{key:34s} {1000 * value:8.2f} ms   {value / floor:6.2f} of the floor   {mine:6.2f} of pellucid\n"
        )
    sys.stdout.write(f"\nexplained over plain: {ratio:.2f} (goal: at most {GOAL:.2f})\n")
    return 0 if ratio <= GOAL else 1


if __name__ == "__main__":
    sys.exit(main())
