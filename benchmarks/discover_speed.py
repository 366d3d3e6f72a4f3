"""How long the search for what a model goes by takes, against the same number of plain passes.

    python benchmarks/discover_speed.py RUN [--images 300] [--split test]

Both are measured in one process, plain passes before and after the search, on images of a split of the run.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path

import numpy as np

import pellucid
from pellucid.bundle.run import RunFolder
from pellucid.data.cache import cached_pixels
from pellucid.storage import cache_folder
from pellucid.workflow.discovering import discover
from pellucid.workflow.discovering_slices import Subjects
from pellucid.workflow.evaluation import own_split

BATCH = 16


def main() -> None:
    """Print passes, seconds and the ratio."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path)
    parser.add_argument("--images", type=int, default=300)
    parser.add_argument("--split", default="test", choices=("train", "val", "test"))
    arguments = parser.parse_args()
    bundle = pellucid.load(arguments.run)
    dataset = own_split(RunFolder(arguments.run), bundle, arguments.split)
    cached = cached_pixels(dataset, bundle.preprocessing, cache_folder(), progress=lambda done, total: None)
    count = min(arguments.images, len(cached.dataset))
    chosen = np.sort(np.random.default_rng(0).permutation(len(cached.dataset))[:count])
    pixels, samples = np.asarray(cached.pixels[chosen]), [cached.dataset.samples[i] for i in chosen]
    units = np.unique([s.group or s.path for s in samples], return_inverse=True)[1].astype(np.int64)
    subjects = Subjects(pixels, cached.dataset.labels[chosen], units, tuple(s.path for s in samples))

    def plain(passes: int) -> float:
        start = time.monotonic()
        for _ in range(passes // BATCH):
            bundle.logits(bundle.preprocessing.normalise(pixels[:BATCH]))
        return time.monotonic() - start

    plain(64)
    first = plain(512)
    found = discover(bundle, subjects).document
    second = plain(512)
    each = (first + second) / 1024
    print(f"{count} images, {found.passes} passes: {found.seconds:.0f} s; plain passes: {each * found.passes:.0f} s")
    print(f"ratio {found.seconds / (each * found.passes):.2f}")


if __name__ == "__main__":
    main()
