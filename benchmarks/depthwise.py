"""What the quicker gradients of depthwise convolutions save: a training step in bfloat16 with and without them.

    OMP_NUM_THREADS=1 python benchmarks/depthwise.py [--rounds 3] [--batch 32]

Both ways take turns on the same network, images of 224 pixels and random weights; seconds are CPU seconds.
On a CPU without bfloat16 units the ratio says nothing, and the program says so.
"""

from __future__ import annotations

import argparse
import sys
import time
from contextlib import nullcontext

import torch

from pellucid.models.network import build_network
from pellucid.recipe import load_recipe
from pellucid.training.depthwise import quick_backward
from pellucid.training.hardware import fast_bf16

CPU = torch.device("cpu")


def seconds(backbone: str, rounds: int, batch: int) -> dict[bool, float]:
    """The least CPU seconds of a step, by whether the quicker gradients are used."""
    given = [f"model.backbone={backbone}", "model.weights=none", "data.values=imagenet", "data.fit=stretch"]
    network = build_network(load_recipe("default", given), 2).to(memory_format=torch.channels_last).train()
    optimiser = torch.optim.AdamW(network.parameters(), 1e-4)
    images = torch.randn(batch, 3, 224, 224).contiguous(memory_format=torch.channels_last)
    took: dict[bool, list[float]] = {True: [], False: []}
    for _ in range(rounds):
        for quick, found in took.items():
            began = time.process_time()
            optimiser.zero_grad()
            with torch.autocast("cpu", torch.bfloat16):
                logits = network(images)
            with quick_backward(CPU, "bf16") if quick else nullcontext():
                logits.float().square().mean().backward()
            optimiser.step()
            found.append(time.process_time() - began)
    return {quick: min(found) for quick, found in took.items()}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--batch", type=int, default=32)
    options = parser.parse_args()
    if not fast_bf16(CPU):
        sys.stdout.write("This CPU has no bfloat16 units: trainings do not compute in bfloat16 here.\n")
    for backbone in ("mobilenet_v2", "tf_efficientnet_lite0"):
        found = seconds(backbone, options.rounds, options.batch)
        share = found[True] / found[False]
        sys.stdout.write(f"{backbone}: {found[True]:.2f} s a step instead of {found[False]:.2f} s ({share:.2f})\n")
        sys.stdout.flush()
    return 0


if __name__ == "__main__":
    sys.exit(main())
