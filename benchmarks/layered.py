"""What several layers from one pass cost, over Grad-CAM with the prediction at one layer.

    python benchmarks/layered.py [--backbones mobilenet_v2 vgg16 resnet50] [--rounds 10] [--threads N]

Random weights, one image of 224 pixels, in turns within each round. A gradient at an earlier layer passes back through
everything behind it, so no graph for several layers can be cheaper than Grad-CAM at the first of them: the goal of 1.15
is over that one. The ratio over Grad-CAM at the last layer, which hardly goes back at all, is printed too.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
from pathlib import Path

import numpy as np
import torch

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "src"), str(ROOT / "benchmarks")]

from explanations import measured  # noqa: E402
from pellucid.bundle.bundle import Bundle, load  # noqa: E402
from pellucid.bundle.manifest import Layer, Manifest  # noqa: E402
from pellucid.explanation.catalogue import find_method  # noqa: E402
from pellucid.models.export import export_bundle  # noqa: E402
from pellucid.models.layer_choice import layered_names  # noqa: E402
from pellucid.models.network import build_network  # noqa: E402
from pellucid.models.traced_layer import frozen_copy  # noqa: E402
from pellucid.recipe import load_recipe  # noqa: E402

GOAL = 1.15
LAST, FIRST, TOGETHER = "Grad-CAM at the last layer", "Grad-CAM at the first layer", "evidence of all layers"


def exported(folder: Path, backbone: str) -> Bundle:
    recipe = load_recipe("cats-dogs", ["model.weights=none", "model.dropout=0", f"model.backbone={backbone}"])
    torch.manual_seed(0)
    network = build_network(recipe, 2).eval()
    last = network.explained_layer
    manifest = Manifest(
        pellucid_version="0",
        name=backbone,
        task="binary",
        classes=("cat", "dog"),
        preprocessing=recipe.preprocessing(),
        layer=Layer(name=last, channels=0, height=0, width=0, stride=(1, 1), offset=(0, 0)),
        logits=1,
        architecture={},
    )
    images = np.random.default_rng(0).standard_normal((2, 3, 224, 224)).astype(np.float32)
    first = layered_names(frozen_copy(network), (224, 224), last)[0]
    export_bundle(network, manifest, folder, images=images, source="noise", layers=[first], every_method=True)
    return load(folder)


def measure(backbone: str, rounds: int, threads: int) -> bool:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name) / "bundle"
        exported(folder, backbone)
        bundle = load(folder, threads=threads)
        several = bundle.manifest.layered
        assert several is not None
        batch = np.random.default_rng(1).standard_normal((1, 3, 224, 224)).astype(np.float32)

        def run(method: str, layer: str | None = None) -> object:
            row = find_method(method)
            return row.run(bundle if layer is None else bundle.at(layer), batch, "dog", None, row.settings())

        found, over_first = measured(
            {
                FIRST: lambda: run("grad-cam", several.layers[0].name),
                LAST: lambda: run("grad-cam"),
                TOGETHER: lambda: bundle.layered_evidence(batch, "dog"),
                "refine-cam": lambda: run("refine-cam"),
                "winsor-cam": lambda: run("winsor-cam"),
            },
            rounds,
        )
    print(f"{backbone}: " + ", ".join(f"{la.name} {la.height} x {la.width}" for la in several.layers))
    for key, seconds in found.items():
        print(f"  {key:28s} {1000 * seconds:8.2f} ms  {over_first[key]:6.3f} of the first layer's  "
              f"{seconds / found[LAST]:6.3f} of the last layer's")  # fmt: skip
    return over_first[TOGETHER] <= GOAL


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--backbones", nargs="+", default=["mobilenet_v2", "vgg16", "resnet50"])
    parser.add_argument("--rounds", type=int, default=10)
    parser.add_argument("--threads", type=int, default=os.cpu_count() or 1)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    return 0 if all([measure(b, options.rounds, options.threads) for b in options.backbones]) else 1


if __name__ == "__main__":
    sys.exit(main())
