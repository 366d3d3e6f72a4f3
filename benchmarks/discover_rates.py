"""How often the audit finds a planted shortcut, and how often it accuses a model without one.

    python benchmarks/discover_rates.py FOLDER --kinds clip,tube --shares 0.95,0.8 --seeds 3 --clean 3 --bystanders 2

Each line trains a small network on synthetic X-rays (the recipe `phantom`, smaller), deletes the masks, and audits it.
Finished lines are kept in FOLDER/rates.csv and are not repeated, so that the work can be stopped and continued.
Columns: `alarm` (the audit calls a concept a shortcut), `first` (half of the first gallery's patches touch the sign),
`asked` (a question was raised), `auc` of the model on its test images.
"""

from __future__ import annotations

import argparse
import csv
import json
import shutil
from pathlib import Path
from typing import Any

from pellucid.data.phantom import Shortcut, generate_phantoms
from pellucid.evaluation.discovered import ConceptEntry, DiscoveredDocument
from pellucid.evaluation.discovered_verdicts import is_proven, is_shortcut
from pellucid.workflow.audit import audit_run
from pellucid.workflow.discovering_run import AuditSettings
from pellucid.workflow.training import train

IMAGES, SIZE, EPOCHS = 320, 96, 12
COLUMNS = ("name", "auc", "alarm", "first", "asked", "seconds")


def main() -> None:
    """Train and audit what is not in the table yet, then print the rates."""
    arguments = parsed()
    folder = Path(arguments.folder)
    folder.mkdir(parents=True, exist_ok=True)
    table = folder / "rates.csv"
    done = {row["name"]: row for row in csv.DictReader(table.open())} if table.is_file() else {}
    for kind, share, seed in wanted(arguments):
        name = f"{kind}-{share:g}-{seed}"
        if name not in done:
            done[name] = measured(folder, name, kind, share, seed)
            with table.open("w", newline="") as file:
                writer = csv.DictWriter(file, COLUMNS)
                writer.writeheader()
                writer.writerows(done.values())
        print(*(done[name][column] for column in COLUMNS), sep="  ", flush=True)
    show(done)


def parsed() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder")
    parser.add_argument("--kinds", default="clip,tube,grid,stamp,tint,patch")
    parser.add_argument("--shares", default="0.95,0.8")
    parser.add_argument("--seeds", type=int, default=10)
    parser.add_argument("--clean", type=int, default=20)
    parser.add_argument("--bystanders", type=int, default=10)
    return parser.parse_args()


def wanted(arguments: argparse.Namespace) -> list[tuple[str, float, int]]:
    """Kind, share and seed of every line; `clean` has no sign, and a share of 0.5 is a bystander."""
    kinds = [k for k in arguments.kinds.split(",") if k]
    lines = [
        (kind, float(share), seed)
        for seed in range(arguments.seeds)
        for share in arguments.shares.split(",")
        for kind in kinds
    ]
    lines += [("clean", 0.0, seed) for seed in range(arguments.clean)]
    return lines + [("clip", 0.5, seed) for seed in range(arguments.bystanders)]


def measured(folder: Path, name: str, kind: str, share: float, seed: int) -> dict[str, Any]:
    """Train and audit one model."""
    films, run = folder / f"{name}-films", folder / f"{name}-run"
    if not run.is_dir():
        shutil.rmtree(films, ignore_errors=True)
        signs = [] if kind == "clean" else [Shortcut.parse(f"{kind}={share}")]
        generate_phantoms(films, images=IMAGES, size=SIZE, seed=seed, shortcuts=signs)
        shutil.rmtree(films / "masks")
        overrides = [f"data.size={SIZE}", f"train.epochs={EPOCHS}", "model.filters=[16, 24, 32, 48]"]
        train(films, recipe="phantom", out=run, overrides=overrides, seed=seed)
    document, _ = audit_run(run, settings=AuditSettings(discover=True))
    assert document.discovered is not None
    found = document.discovered
    truth = {film["path"]: film for film in json.loads((films / "phantom.json").read_text())["films"]}
    return {
        "name": name,
        "auc": f"{document.area.value:.3f}" if document.area else "",
        "alarm": int(any(is_shortcut(c) for c in found.concepts)),
        "first": int(bool(found.concepts) and on_sign(found.concepts[0], truth) >= 0.5),
        "asked": asked(found),
        "seconds": found.seconds,
    }


def asked(found: DiscoveredDocument) -> int:
    return sum(is_proven(c) and not is_shortcut(c) for c in found.concepts)


def on_sign(concept: ConceptEntry, truth: dict[str, Any]) -> float:
    """The share of a concept's patches that touch the sign of their film."""
    hits = 0
    half = concept.side / 2 / SIZE
    for patch in concept.patches:
        for left, top, right, bottom in truth[patch.path]["signs"].values():
            inside = left / SIZE - half <= patch.x <= right / SIZE + half
            hits += inside and top / SIZE - half <= patch.y <= bottom / SIZE + half
    return hits / max(len(concept.patches), 1)


def show(done: dict[str, dict[str, Any]]) -> None:
    """Alarms, right first galleries and questions of each kind and share."""
    groups: dict[str, list[dict[str, Any]]] = {}
    for name, row in done.items():
        groups.setdefault(name.rpartition("-")[0], []).append(row)
    for name, rows in groups.items():
        alarms, firsts = (sum(int(row[c]) for row in rows) for c in ("alarm", "first"))
        print(f"{name:12}  alarms {alarms} of {len(rows)}  right gallery first {firsts} of {len(rows)}")


if __name__ == "__main__":
    main()
