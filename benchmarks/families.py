"""One model of each of a hundred families of timm and torchvision to a bundle: layer, grid, parity, size, seconds.

    python benchmarks/families.py --results families.jsonl --table docs/families.md
    python benchmarks/families.py --results ten.jsonl --against ../old/src --families ResNet,ViT,Swin

A process exports a dozen families, one after the other. When it ends early, the family that it was at has failed, and
another process goes on. Results are appended line by line, so that an interrupted run goes on where it stopped. The
table holds the families that were measured, and says how many were not. With `--against` the source of another build
exports each model too, in turn with this one, each in a process of its own, and the seconds of both are compared.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from tests.families.catalogue import FAMILIES  # noqa: E402

LIMIT_S, LEARNT = 900, 0.9
TOGETHER = 12


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    kept = Path(tempfile.gettempdir()) / "pellucid-families.jsonl"
    parser.add_argument(
        "--results", type=Path, default=kept, help="JSON lines that the run appends to and goes on from"
    )
    parser.add_argument("--table", type=Path, help="Markdown page to write from the results")
    parser.add_argument("--peer", type=Path, help="JSON lines of openvino_maps.py: whether insert_xai takes each model")
    parser.add_argument("--spots", type=Path, help="JSON lines of tests.families.spots: do maps lie on a planted spot?")
    parser.add_argument("--against", type=Path, help="source folder of another build, to compare seconds with")
    parser.add_argument("--families", default="", help="names, separated by commas; all by default")
    parser.add_argument("--seconds", type=float, default=600.0, help="begin no family after so many seconds")
    options = parser.parse_args()
    done = {row["family"] for row in read(options.results)}
    wanted = [name for name in options.families.split(",") if name] or [f.name for f in FAMILIES]
    wanted = [name for name in wanted if name not in done]
    rows = measured(wanted, options.seconds) if options.against is None else compared(wanted, options)
    for row in rows:
        with options.results.open("a", encoding="utf-8") as file:
            file.write(json.dumps(row) + "\n")
        print(json.dumps(row), flush=True)
    rows = read(options.results)
    if options.against is not None and rows:
        shares = [r["seconds"] / r["seconds_before"] for r in rows if r.get("seconds_before")]
        print(f"seconds against the other build, median of {len(shares)} families: {statistics.median(shares):.2f}")
    if options.table is not None:
        peer = {row["family"]: row for row in read(options.peer)} if options.peer else {}
        spots = {row["family"]: row for row in read(options.spots)} if options.spots else {}
        options.table.write_text(page(rows, peer, spots), encoding="utf-8")


def measured(names: Sequence[str], seconds: float) -> Iterator[dict[str, Any]]:
    """What becomes of each family, a dozen in a process; no process is begun after so many seconds."""
    began, left = time.monotonic(), list(names)
    while left and time.monotonic() - began <= seconds:
        some = left[:TOGETHER]
        for row in attempts(some, ROOT / "src"):
            left.remove(row["family"])
            yield row


def compared(names: Sequence[str], options: argparse.Namespace) -> Iterator[dict[str, Any]]:
    """The same with this build and another in turn."""
    began = time.monotonic()
    for name in names:
        if time.monotonic() - began > options.seconds:
            return
        (row,) = attempts([name], ROOT / "src")
        (before,) = attempts([name], options.against.resolve())
        yield {**row, "seconds_before": before["seconds"]}


def attempts(names: Sequence[str], source: Path) -> Iterator[dict[str, Any]]:
    """The lines of `tests.families.attempt`, with pellucid from a source folder, until its process ends."""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join((str(source), str(ROOT)))}
    command = [sys.executable, "-W", "ignore", "-m", "tests.families.attempt", *names]
    began, count = time.monotonic(), 0
    with tempfile.TemporaryFile("w+") as said:
        run = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=said, text=True, env=environment, cwd=ROOT)
        assert run.stdout is not None
        guard = _killed_after(run)
        for line in run.stdout:
            guard.cancel()
            yield json.loads(line)
            began, count, guard = time.monotonic(), count + 1, _killed_after(run)
        run.wait()
        guard.cancel()
        if count < len(names):
            said.seek(0)
            last = said.read().strip().splitlines()[-1:] or [f"the process ended with exit code {run.returncode}"]
            yield {"family": names[count], "seconds": round(time.monotonic() - began, 1), "error": last[0]}


def _killed_after(run: subprocess.Popen[str]) -> threading.Timer:
    """A timer that ends a process that has said nothing for too long."""
    timer = threading.Timer(LIMIT_S, run.kill)
    timer.daemon = True
    timer.start()
    return timer


def read(path: Path) -> list[dict[str, Any]]:
    """The rows that were measured before."""
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()] if path.is_file() else []


Rows = dict[str, dict[str, Any]]


def page(rows: list[dict[str, Any]], peer: Rows, spots: Rows) -> str:
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
        "pictures; 1e-3 is the limit. Seconds are those of this export on a busy machine. Spot: the share of",
        "maps of the chosen layer (of 16 images, at least 4 x 4 cells) that are strongest within a cell of a planted",
        "spot that alone decides, after up to 60 steps of training on it (`python -m tests.families.spots NAME...`);",
        "chance in brackets. Without brackets: an earlier measure, within one and a half cells.",
        "",
        f"Measured: {len(shown)} of {len(FAMILIES)} families; with evidence: {len(good)}. {_taken(peer)}".rstrip(),
        "",
        "| family | model | layer | grid | probability | heat map | gradient | MiB | s | left out | spot | xai |",
        "|---|---|---|---|---|---|---|---|---|---|---|---|",
        *(line(row) + on_spot(spots.get(row["family"])) + beside(peer.get(row["family"])) for row in shown),
    ]
    return "\n".join(lines) + "\n"


def _taken(peer: Rows) -> str:
    """How many families OpenVINO XAI took, of those that it was given."""
    if not peer:
        return ""
    taken = sum(bool(row["takes"]) for row in peer.values())
    return f"OpenVINO XAI's `insert_xai` (last column) takes {taken} of the {len(peer)} families that it was given."


def on_spot(found: dict[str, Any] | None) -> str:
    """The share of maps that are strongest on a planted spot, after a few steps of training on it."""
    if found is None:
        return " not tried |"
    if "error" in found:
        return f" no: {found['error'][:60]} |"
    if found["accuracy"] < LEARNT:
        return f" not learnt ({found['accuracy']:.0%}) |"
    chance = f" ({found['chance']:.0%})" if "chance" in found else ""
    return f" {found['hits']:.0%}{chance} |"


def beside(found: dict[str, Any] | None) -> str:
    """What OpenVINO XAI makes of the same model."""
    if found is None:
        return " not tried |"
    return f" map of {' x '.join(map(str, found['map']))} |" if found["takes"] else f" no: {found['error'][:60]} |"


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
