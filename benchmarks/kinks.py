"""Why the gradient by the pixels from a bundle's graph lies 0.002 to 0.007 from torch's for some networks.

    python benchmarks/kinks.py [--families MobileOne,HRNet] [--images 4]

For each image three gradients of the same score: the graph's (ONNX Runtime, single precision), torch's in single and
torch's in double precision. A fault of the graph would lie far from torch in both, at every image. A kink (an input of
an activation that is 0 within rounding, so that its slope is one thing or another) shows otherwise: torch in single
precision lies as far from torch in double precision; the inputs whose sign the two disagree on are counted; and beside
the image, moved by a thousandth of a pixel's deviation, where no input happens to lie so near 0, all three agree.
"""

from __future__ import annotations

import argparse
import copy
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "src")]

from tests.families.catalogue import FAMILIES, build  # noqa: E402

from pellucid.bundle.io import model_session  # noqa: E402
from pellucid.foreign.pictures import made_up_pictures  # noqa: E402
from pellucid.models.evidence_graph import input_gradient_function, trace_input_gradients  # noqa: E402
from pellucid.models.onnx_file import onnx_program  # noqa: E402
from pellucid.models.traced_layer import frozen_copy  # noqa: E402
from pellucid.preprocessing import Preprocessing  # noqa: E402

SUSPECTS = "MobileOne,HRNet,DLA,SelecSLS,CSPNet,VoVNet,MobileNetV4"
KINKED = (nn.ReLU, nn.ReLU6, nn.Hardswish, nn.Hardsigmoid, nn.LeakyReLU, nn.Hardtanh)
NUDGE, NUDGES = 1e-3, 8
INPUTS, OUTPUTS = ("image", "target", "contrast"), ("logits", "gradients")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--families", default=SUSPECTS)
    parser.add_argument("--images", type=int, default=4)
    options = parser.parse_args()
    print("family: graph from torch | torch single from double | graph from double | signs that differ | beside")
    for name in options.families.split(","):
        for line in rows(name, options.images):
            print(f"{name}: {line}", flush=True)


def rows(name: str, images: int) -> list[str]:
    """A line for each image of a family."""
    family = next(f for f in FAMILIES if f.name == name)
    single = frozen_copy(build(family))
    double = copy.deepcopy(single).double()
    size = (family.size, family.size)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "gradients.onnx"
        graph, example = trace_input_gradients(single, size, 5)
        path.write_bytes(onnx_program(graph, example, INPUTS, OUTPUTS).SerializeToString())
        session = model_session(path)
    pictures = Preprocessing(height=size[0], width=size[1]).normalise(made_up_pictures(images, size))
    found = []
    for image in pictures:
        own = compared(session, single, double, image)
        signs = disagreeing(single, double, image)
        moved = [nudged(image, seed) for seed in range(NUDGES)]
        beside = [compared(session, single, double, other) for other in moved]
        worst = max(range(NUDGES), key=lambda n: beside[n][0])
        away = f"{disagreeing(single, double, moved[worst])} signs, " + " | ".join(f"{d:.1e}" for d in beside[worst])
        figures = " | ".join(f"{d:.1e}" for d in own)
        found.append(f"{figures} | {signs} | beside: least {min(b[0] for b in beside):.1e}, most at {away}")
    return found


def compared(session: Any, single: nn.Module, double: nn.Module, image: Any) -> tuple[float, float, float]:
    """Distances as shares of the norm: graph and torch, torch in both precisions, graph and torch in double."""
    ours = session.run(["gradients"], {"image": image[None], "target": np.zeros((1, 1, 5), np.float32),
                                       "contrast": np.asarray(1, np.float32)})[0].astype(np.float64)  # fmt: skip
    one, two = gradient(single, torch.float32, image), gradient(double, torch.float64, image)
    size = float(np.linalg.norm(two))
    return tuple(float(np.linalg.norm(a - b)) / size for a, b in ((ours, one), (one, two), (ours, two)))  # type: ignore[return-value]


def gradient(network: nn.Module, dtype: torch.dtype, image: Any) -> Any:
    given = (torch.tensor(image[None], dtype=dtype), torch.zeros(1, 1, 5, dtype=dtype), torch.tensor(1.0, dtype=dtype))
    return input_gradient_function(network)(*given)[1].detach().numpy().astype(np.float64)


def disagreeing(single: nn.Module, double: nn.Module, image: Any) -> int:
    """How many inputs of activations with kinks have another sign in single than in double precision."""
    return sum(
        int(((a > 0) != (b > 0)).sum())
        for a, b in zip(inputs(single, torch.float32, image), inputs(double, torch.float64, image), strict=True)
    )


def inputs(network: nn.Module, dtype: torch.dtype, image: Any) -> list[Any]:
    kept: list[Any] = []
    handles = [
        module.register_forward_hook(lambda _, given, __: kept.append(given[0].detach().numpy()))
        for module in network.modules()
        if isinstance(module, KINKED)
    ]
    try:
        with torch.no_grad():
            network(torch.tensor(image[None], dtype=dtype))
    finally:
        for handle in handles:
            handle.remove()
    return kept


def nudged(image: Any, seed: int) -> Any:
    noise = np.random.default_rng(seed).normal(size=image.shape)
    return (image + NUDGE * image.std() * noise).astype(np.float32)


if __name__ == "__main__":
    main()
