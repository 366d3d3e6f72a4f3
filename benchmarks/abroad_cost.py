"""What the headline costs: the seconds in which sources are looked for and left out, against those of the training.

    python benchmarks/abroad_cost.py DATA [--recipe default] [--set KEY=VALUE ...]

One `train` of the product, and the seconds of its steps as `run.json` has them, so that both are of one process on one
machine. The bound is 15 % of all that the run would take without the headline.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path

from pellucid.bundle.run import RunFolder
from pellucid.workflow.training import train

BOUND = 0.15


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("--recipe", default="default")
    parser.add_argument("--set", nargs="*", default=[], help="KEY=VALUE of the recipe")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        run = train(options.data, recipe=options.recipe, overrides=options.set, out=Path(name) / "run")
        record = RunFolder(run).read_record()
    seconds = record.seconds
    rest = sum(value for step, value in seconds.items() if step != "abroad")
    share = seconds["abroad"] / rest
    found = record.abroad
    sources = 0 if found is None else len(found.sources)
    sys.stdout.write(
        "".join(f"{step:10s}{value:9.1f} s\n" for step, value in seconds.items())
        + f"{record.data.images} images, {sources} sources left out: {share:.1%} of the rest ({BOUND:.0%} allowed)\n"
    )
    return 0 if share <= BOUND else 1


if __name__ == "__main__":
    sys.exit(main())
