"""What a decision costs: predictions with and without prediction sets, withheld answers and the flag on images.

    python benchmarks/deciding.py RUN IMAGES [--rounds 60] [--threads 1]

RUN is a run or bundle with rules of answering, IMAGES a folder. The bundle is loaded twice, as it is and without its
rules and its detector of unusual images, and both predict the same files, in turns, one file at a time. Printed: the
median processor time of a prediction from the file (other programs on the machine count less in it than in the time on
the clock), and the median over turns of the ratio of the two, with its quartiles.
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
    manifest = whole.manifest.model_copy(update={"answering": None, "reference": None})
    plain = Bundle(whole.folder, manifest, load(asked.run, threads=asked.threads)._classifier)
    files = find_images([asked.images])[: asked.rounds]
    rows = []
    for turn in range(asked.rounds):
        file = files[turn % len(files)]
        pair = [("with", whole), ("without", plain)]
        seconds = {}
        for name, bundle in pair[:: 1 if turn % 2 else -1]:
            began = time.process_time()
            bundle.predict(file)
            seconds[name] = time.process_time() - began
        rows.append((seconds["with"], seconds["without"]))
    times = np.array(rows[4:])  # the first passes warm up
    ratio = np.quantile(times[:, 0] / times[:, 1], [0.25, 0.5, 0.75])
    reference = whole.manifest.reference
    print(f"{whole.manifest.name}: flag by {reference.method if reference else 'nothing'}, {asked.threads} thread(s)")
    print(f"with {1000 * np.median(times[:, 0]):.2f} ms, without {1000 * np.median(times[:, 1]):.2f} ms")
    print(f"ratio {ratio[1]:.3f} [{ratio[0]:.3f}, {ratio[2]:.3f}]")


if __name__ == "__main__":
    main()
