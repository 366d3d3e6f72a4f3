"""One model of each of a hundred families of timm and torchvision to a bundle: layer, grid, parity, size, seconds.

    python benchmarks/families.py --results families.jsonl --table docs/families.md
    python benchmarks/families.py --results ten.jsonl --against ../old/src --families ResNet,ViT,Swin

Each family runs in a process of its own. Results are appended line by line, so that an interrupted run goes on where it
stopped. The table holds the families that were measured, and says how many were not. With `--against` the source of
another build exports each model too, in turn with this one, and the seconds of both are compared.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from tests.families.catalogue import FAMILIES  # noqa: E402

LIMIT_S = 900


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    kept = Path(tempfile.gettempdir()) / "pellucid-families.jsonl"
    parser.add_argument(
        "--results", type=Path, default=kept, help="JSON lines that the run appends to and goes on from"
    )
    parser.add_argument("--table", type=Path, help="Markdown page to write from the results")
    parser.add_argument("--against", type=Path, help="source folder of another build, to compare seconds with")
    parser.add_argument("--families", default="", help="names, separated by commas; all by default")
    parser.add_argument("--seconds", type=float, default=600.0, help="begin no family after so many seconds")
    options = parser.parse_args()
    wanted = [name for name in options.families.split(",") if name] or [f.name for f in FAMILIES]
    done = {row["family"] for row in read(options.results)}
    began = time.monotonic()
    for name in wanted:
        if name in done or time.monotonic() - began > options.seconds:
            continue
        row = attempt(name, ROOT / "src")
        if options.against is not None:
            row["seconds_before"] = attempt(name, options.against.resolve())["seconds"]
        with options.results.open("a", encoding="utf-8") as file:
            file.write(json.dumps(row) + "\n")
        print(json.dumps(row), flush=True)
    rows = read(options.results)
    if options.against is not None and rows:
        shares = [r["seconds"] / r["seconds_before"] for r in rows if r.get("seconds_before")]
        print(f"seconds against the other build, median of {len(shares)} families: {statistics.median(shares):.2f}")
    if options.table is not None:
        options.table.write_text(page(rows), encoding="utf-8")


def attempt(name: str, source: Path) -> dict[str, Any]:
    """What `tests.families.attempt` prints of a family, with pellucid from a source folder."""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join((str(source), str(ROOT)))}
    command = [sys.executable, "-W", "ignore", "-m", "tests.families.attempt", name]
    began = time.monotonic()
    try:
        run = subprocess.run(
            command, capture_output=True, text=True, env=environment, cwd=ROOT, timeout=LIMIT_S, check=False
        )
    except subprocess.TimeoutExpired:
        return {"family": name, "seconds": LIMIT_S, "error": f"it took more than {LIMIT_S} s"}
    if run.returncode == 0:
        found: dict[str, Any] = json.loads(run.stdout.strip().splitlines()[-1])
        return found
    last = run.stderr.strip().splitlines()[-1:] or [f"exit code {run.returncode}"]
    return {"family": name, "seconds": round(time.monotonic() - began, 1), "error": last[0]}


def read(path: Path) -> list[dict[str, Any]]:
    """The rows that were measured before."""
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()] if path.is_file() else []


def page(rows: list[dict[str, Any]]) -> str:
    """The results as a page of Markdown."""
    by_name = {row["family"]: row for row in rows}
    shown = [by_name[f.name] for f in FAMILIES if f.name in by_name]
    good = [row for row in shown if "error" not in row and row["layer"] is not None]
    lines = [
        "# Families of classifiers",
        "",
        "Written by `python benchmarks/families.py --results families.jsonl --table docs/families.md`: one model of",
        "each family, random weights, small images, depth and width cut where a family has no small member",
        "(`tests/families/catalogue.py`). Differences are the largest ones between bundle and torch on eight made-up",
        "pictures; 1e-3 is the limit. Seconds are those of this export on a busy machine.",
        "",
        f"Measured: {len(shown)} of {len(FAMILIES)} families; with evidence: {len(good)}.",
        "",
        "| family | model | layer | grid | probability | heat map | gradient | MiB | seconds | left out |",
        "|---|---|---|---|---|---|---|---|---|---|",
        *(line(row) for row in shown),
    ]
    return "\n".join(lines) + "\n"


def line(row: dict[str, Any]) -> str:
    """One row of the table."""
    if "error" in row:
        return f"| {row['family']} | {row.get('model', '')} | none: {row['error']} | | | | | | {row['seconds']} | |"
    grid = "" if row["grid"] is None else "{} x {}".format(*row["grid"])
    layer = "black box" if row["layer"] is None else f"`{row['layer']}`"
    figures = [row["probability"], row["heat_map"], row["input_gradient"]]
    cells = ["" if f is None else f"{f:.0e}" for f in figures]
    left = "; ".join(f"{what.partition(' of ')[0]}: {reason}" for what, reason in row["missing"].items())
    return (
        f"| {row['family']} | {row['model']} | {layer} | {grid} | {' | '.join(cells)} | {row['mebibytes']} | "
        f"{row['seconds']} | {left} |"
    )


if __name__ == "__main__":
    main()
