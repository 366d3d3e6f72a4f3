"""The trust card of the usual method: a quick one against the card of another build, in turns.

    python benchmarks/trust_quick.py RUN [DATA] --against ../old/src [--images 100] [--rounds 2]

Both builds measure the same method on the same images, chosen in the same order. Printed are the seconds and passes of
each, their ratio (goal: at most a fifth), and the intervals side by side.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
GOAL = 0.2


def card(source: Path, options: argparse.Namespace, *more: str) -> dict[str, Any]:
    """The trust card that a build's command line prints."""
    data = [] if options.data is None else [str(options.data)]
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-W", "ignore", "-m", "pellucid", "audit", str(options.run), *data, "--explanations",
                   "--images", str(options.images), "--out", folder, "--json", *more]  # fmt: skip
        environment = {**os.environ, "PYTHONPATH": str(source.resolve())}
        run = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
    if not run.stdout.strip():
        raise SystemExit(run.stderr)
    found: dict[str, Any] = json.loads(run.stdout)
    return found


def interval(figure: dict[str, Any]) -> str:
    bounds = "" if figure["low"] is None else f" [{figure['low']:.2f}, {figure['high']:.2f}]"
    return f"{figure['value']:.2f}{bounds}"


def show(name: str, found: dict[str, Any]) -> None:
    """One card in a few lines."""
    (method,) = found["methods"]
    print(f"{name}: {found['images']} of {found['of']} images, {found['budget']['passes']:,} passes, "
          f"{found['budget']['seconds']:.1f} s; {method['level']}, beats {', '.join(method['beaten'])}")  # fmt: skip
    print(f"  gap {interval(method['curves']['gap'])}; noise {interval(method['noise'])}")
    print("  over " + "; ".join(f"{k} {interval(v)}" for k, v in method["against"].items()))
    for measure, place in method["localisation"].items():
        print(f"  {measure} {interval(place['found'])}, by chance {place['chance']:.2f}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path)
    parser.add_argument("data", type=Path, nargs="?")
    parser.add_argument("--against", type=Path, required=True, help="source folder of the other build")
    parser.add_argument("--method", default="grad-cam")
    parser.add_argument("--images", type=int, default=100)
    parser.add_argument("--rounds", type=int, default=2)
    options = parser.parse_args()
    ratios = []
    for _ in range(options.rounds):
        theirs = card(options.against, options, "--methods", options.method)
        ours = card(ROOT / "src", options, "--methods", options.method, "--quick")
        ratios.append(ours["budget"]["seconds"] / theirs["budget"]["seconds"])
    show("other build", theirs)
    show("quick", ours)
    passes = ours["budget"]["passes"] / theirs["budget"]["passes"]
    print(f"seconds: {statistics.median(ratios):.3f} ({', '.join(f'{r:.3f}' for r in ratios)}), passes: {passes:.3f}; "
          f"goal: {GOAL}")  # fmt: skip


if __name__ == "__main__":
    main()
