"""How well the heat maps of several runs on the same data lie on the objects, and what the runs get right.

    python benchmarks/located.py RUN RUN... [--method grad-cam] [--table located.md]

The runs were trained on the same data with the same seed, so that their test images are the same. Measured on these:
accuracy; and on those with a mask or boxes, for the true class: share of the evidence inside, pointing game, average
precision; each with its 95 % interval over images. Below, each run less the first one, on the same images.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any

import numpy as np

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT / "src"), str(ROOT / "benchmarks")]

from peers_table import interval  # noqa: E402
from pellucid.bundle.bundle import load  # noqa: E402
from pellucid.bundle.run import RunFolder  # noqa: E402
from pellucid.workflow.evaluation import own_split  # noqa: E402
from pellucid.workflow.localisation import true_mask  # noqa: E402
from pellucid.workflow.trust.measures import located  # noqa: E402

MEASURES = ("accuracy", "evidence inside", "pointing", "AP")
PLACES = {"pointing": 0, "evidence inside": 1, "AP": 2}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("runs", type=Path, nargs="+")
    parser.add_argument("--method", default="grad-cam")
    parser.add_argument("--table", type=Path, help="Markdown file to write")
    options = parser.parse_args()
    found = {run.name: of_run(run, options.method) for run in options.runs}
    first = next(iter(found.values()))
    text = [f"| {options.method} of | cells | {' | '.join(MEASURES)} | chance; masks |", "|---" * 7 + "|"]
    for name, row in found.items():
        text.append(f"| {name} | {row['cells']} | {cells(row)} | {np.mean(row['chance']):.3f}; {len(row['AP'])} |")
    for name, row in list(found.items())[1:]:
        apart = {m: np.subtract(row[m], first[m]) for m in MEASURES}
        text.append(f"| {name}, less the first | | {cells(apart, '+')} | |")
    print("\n".join(text))
    if options.table:
        options.table.write_text("\n".join(text) + "\n", encoding="utf-8")


def cells(row: Any, sign: str = "") -> str:
    """The measures with their intervals."""
    each = [interval(row[m]) for m in MEASURES]
    return " | ".join(f"{e.value:{sign}.2f} [{e.low:{sign}.2f}, {e.high:{sign}.2f}]" for e in each)


def of_run(run: Path, method: str) -> dict[str, Any]:
    """What is measured of each test image of a run, in the order of its data."""
    bundle = load(run)
    dataset = own_split(RunFolder(run), bundle, "test")
    found: dict[str, Any] = {name: [] for name in (*MEASURES, "chance")}
    for sample in dataset.samples:
        image, true = bundle.read(dataset.file(sample)), bundle.classes[sample.label]
        answer = bundle.explain_images([image], method=method, target=true)[0]
        found["accuracy"].append(float(bundle.answer(answer).label == true))
        mask = true_mask(dataset, sample, image.size)
        if mask is not None:
            here, chance = located(answer.attributions[0], mask)
            found["chance"].append(chance[0])
            for name, place in PLACES.items():
                found[name].append(here[place])
    layer = bundle.manifest.explained_layer
    return {**found, "cells": f"{layer.height} x {layer.width}"}


if __name__ == "__main__":
    main()
