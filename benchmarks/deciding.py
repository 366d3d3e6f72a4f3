"""What a decision costs: predictions with and without prediction sets, withheld answers and the flag on images.

    python benchmarks/deciding.py RUN IMAGES [--rounds 60] [--threads 1]

RUN is a run or bundle with rules of answering, IMAGES a folder. The bundle is loaded as it is, without its rules, and
without its detector of unusual images as well; all three predict the same files, in turns, one file at a time. Printed:
the median processor time of a prediction from the file (other programs on the machine count less in it than in the time
on the clock), and the median over turns of the ratio to the bundle with less, with its quartiles.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path

import numpy as np

from pellucid.bundle.bundle import Bundle, load
from pellucid.workflow.prediction import find_images


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path)
    parser.add_argument("images", type=Path)
    parser.add_argument("--rounds", type=int, default=60)
    parser.add_argument("--threads", type=int, default=1)
    asked = parser.parse_args()
    whole = load(asked.run, threads=asked.threads)
    flagging = load(asked.run, threads=asked.threads)
    flagging.manifest = flagging.manifest.model_copy(update={"answering": None})
    manifest = whole.manifest.model_copy(update={"answering": None, "reference": None})
    plain = Bundle(whole.folder, manifest, load(asked.run, threads=asked.threads)._classifier)
    bundles = {"rules and flag": whole, "flag": flagging, "neither": plain}
    files = find_images([asked.images])[: asked.rounds]
    rows = []
    for turn in range(asked.rounds):
        file = files[turn % len(files)]
        seconds = {}
        for name in np.random.default_rng(turn).permutation(list(bundles)):
            began = time.process_time()
            bundles[name].predict(file)
            seconds[name] = time.process_time() - began
        rows.append([seconds[name] for name in bundles])
    times = np.array(rows[4:])  # the first passes warm up
    reference = whole.manifest.reference
    print(f"{whole.manifest.name}: flag by {reference.method if reference else 'nothing'}, {asked.threads} thread(s)")
    print(
        ", ".join(
            f"{name} {1000 * median:.2f} ms" for name, median in zip(bundles, np.median(times, axis=0), strict=True)
        )
    )
    for name, column, less in (("rules", 0, 1), ("flag", 1, 2)):
        ratio = np.quantile(times[:, column] / times[:, less], [0.25, 0.5, 0.75])
        print(f"ratio with and without {name}: {ratio[1]:.3f} [{ratio[0]:.3f}, {ratio[2]:.3f}]")


if __name__ == "__main__":
    main()
