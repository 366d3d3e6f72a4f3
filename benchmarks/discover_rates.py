"""How often the audit finds a planted shortcut, and how often it accuses a model without one.

    python benchmarks/discover_rates.py FOLDER --kinds clip,tube --shares 0.95,0.8 --seeds 4 --clean 4 --bystanders 2

Each line trains a small network on synthetic X-rays (the recipe `phantom`, smaller), deletes the masks, and searches
for what it goes by. Finished lines are kept in FOLDER/rates.csv and are not repeated, so that the work can be stopped
and continued; `--minutes` stops it between lines. The kinds of `drawn_signs.py` can be named too. Columns: `alarm` (a
concept is called a shortcut), `first` (half of the first gallery's patches touch the sign, or the first concept is the
period of the grid), `asked` (questions raised), `auc` of the model on its test images, `agrees` and `against`:
accuracy on the test films where the sign agrees with the class, and where it does not. A model counts as one that
took the shortcut where the former exceeds the latter by 0.25.
"""

from __future__ import annotations

import argparse
import csv
import json
import shutil
import time
from pathlib import Path
from typing import Any

import numpy as np
from sklearn.metrics import roc_auc_score

import pellucid
from drawn_signs import DRAWN, draw_on_films
from pellucid.bundle.run import RunFolder
from pellucid.data import phantom_film
from pellucid.data.cache import cached_pixels
from pellucid.data.phantom import Shortcut, generate_phantoms
from pellucid.evaluation.discovered import ConceptEntry, DiscoveredDocument
from pellucid.evaluation.discovered_verdicts import is_proven, is_shortcut
from pellucid.storage import cache_folder
from pellucid.workflow.class_scores import ClassScores
from pellucid.workflow.discovering import discover
from pellucid.workflow.discovering_slices import Subjects
from pellucid.workflow.evaluation import own_split
from pellucid.workflow.training import train

SIZE = 96
PLANTED, PLAIN = (400, 12), (600, 16)
"""Films and epochs of a model that a sign was planted for, and of one that has to learn the opacities."""
STRONGER = 1.5
"""By how much denser opacities are for the latter: so small a network learns the usual ones on some seeds only."""
USUAL = phantom_film.CONTRAST
TOOK = 0.25
COLUMNS = ("name", "auc", "agrees", "against", "alarm", "first", "asked", "train", "search")


def main() -> None:
    """Train and search what is not in the table yet, then print the rates."""
    arguments = parsed()
    folder = Path(arguments.folder)
    folder.mkdir(parents=True, exist_ok=True)
    table, began = folder / "rates.csv", time.monotonic()
    done = {} if arguments.again else read(table)
    for kind, share, seed in wanted(arguments):
        name = f"{kind}-{share:g}-{seed}"
        if name not in done:
            if time.monotonic() - began > 60 * arguments.minutes:
                break
            done[name] = measured(folder, name, kind, share, seed)
            with table.open("w", newline="") as file:
                writer = csv.DictWriter(file, COLUMNS)
                writer.writeheader()
                writer.writerows(done.values())
            print(*(done[name][column] for column in COLUMNS), sep="  ", flush=True)
    show(done)


def read(table: Path) -> dict[str, dict[str, Any]]:
    return {row["name"]: row for row in csv.DictReader(table.open())} if table.is_file() else {}


def parsed() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder")
    parser.add_argument("--kinds", default="clip,tube,grid,stamp,tint,patch")
    parser.add_argument("--shares", default="0.95,0.8")
    parser.add_argument("--seeds", type=int, default=10)
    parser.add_argument("--clean", type=int, default=20)
    parser.add_argument("--bystanders", type=int, default=10)
    parser.add_argument("--minutes", type=float, default=1e6)
    parser.add_argument("--again", action="store_true", help="search again in models that are trained already")
    return parser.parse_args()


def wanted(arguments: argparse.Namespace) -> list[tuple[str, float, int]]:
    """Kind, share and seed of every line, in rounds, so that the table is balanced wherever the work is stopped.

    `clean` has no sign, and a share of 0.5 is a bystander.
    """
    kinds = [k for k in arguments.kinds.split(",") if k]
    shares = [float(share) for share in arguments.shares.split(",")]
    clean = -(-arguments.clean // max(arguments.seeds, 1))
    lines = []
    for seed in range(max(arguments.seeds, arguments.bystanders)):
        lines += [("clean", 0.0, c) for c in range(clean * seed, clean * (seed + 1)) if c < arguments.clean]
        lines += [("clip", 0.5, seed)] if seed < arguments.bystanders else []
        lines += [(kind, share, seed) for share in shares for kind in kinds if seed < arguments.seeds]
    return lines


def measured(folder: Path, name: str, kind: str, share: float, seed: int) -> dict[str, Any]:
    """Train one model, and search for what it goes by."""
    films, run = folder / f"{name}-films", folder / f"{name}-run"
    began, plain = time.monotonic(), share <= 0.5
    if not run.is_dir():
        shutil.rmtree(films, ignore_errors=True)
        planted = [] if kind == "clean" or kind in DRAWN else [Shortcut.parse(f"{kind}={share}")]
        images, epochs = PLAIN if plain else PLANTED
        low, high = USUAL
        phantom_film.CONTRAST = (STRONGER * low, STRONGER * high) if plain else USUAL
        generate_phantoms(films, images=images, size=SIZE, seed=seed, shortcuts=planted)
        if kind in DRAWN:
            draw_on_films(films, kind, share, seed)
        shutil.rmtree(films / "masks")
        overrides = [f"data.size={SIZE}", f"train.epochs={epochs}", "model.filters=[16, 24, 32, 48]"]
        train(films, recipe="phantom", out=run, overrides=overrides, seed=seed, abroad="none")
    trained = time.monotonic()
    bundle = pellucid.load(run)
    dataset = own_split(RunFolder(run), bundle, "test")
    cached = cached_pixels(dataset, bundle.preprocessing, cache_folder())
    samples, labels = cached.dataset.samples, cached.dataset.labels
    units = np.unique([s.group or s.path for s in samples], return_inverse=True)[1].astype(np.int64)
    found = discover(bundle, Subjects(cached.pixels, labels, units, tuple(s.path for s in samples))).document
    truth = {film["path"]: film["signs"] for film in json.loads((films / "phantom.json").read_text())["films"]}
    answered = ClassScores(bundle)(cached.pixels)
    right = answered.answers == labels
    agrees = np.array([bool(truth[s.path]) for s in samples]) == (labels == 1)
    return {
        "name": name,
        "auc": f"{roc_auc_score(labels, answered.scores[:, 1]):.3f}",
        "agrees": f"{right[agrees].mean():.3f}" if agrees.any() else "",
        "against": f"{right[~agrees].mean():.3f}" if (~agrees).any() else "",
        "alarm": int(any(is_shortcut(c) for c in found.concepts)),
        "first": int(bool(found.concepts) and is_right(found.concepts[0], truth)),
        "asked": asked(found),
        "train": round(trained - began),
        "search": round(found.seconds),
    }


def asked(found: DiscoveredDocument) -> int:
    return sum(is_proven(c) and not is_shortcut(c) for c in found.concepts)


def is_right(concept: ConceptEntry, truth: dict[str, Any]) -> bool:
    """Whether half of a concept's patches touch the sign of their film; of a period, whether half of the films do."""
    hits = 0
    half = 0.0 if concept.period is not None else concept.side / 2 / SIZE
    for patch in concept.patches:
        for left, top, right, bottom in filter(None, truth[patch.path].values()):
            inside = left / SIZE - half <= patch.x <= right / SIZE + half
            hits += inside and top / SIZE - half <= patch.y <= bottom / SIZE + half
    return hits >= 0.5 * max(len(concept.patches), 1)


def show(done: dict[str, dict[str, Any]]) -> None:
    """Alarms, right first galleries and questions of each kind and share."""
    groups: dict[str, list[dict[str, Any]]] = {}
    for name, row in done.items():
        groups.setdefault(name.rpartition("-")[0], []).append(row)
    for name, rows in groups.items():
        took = [row for row in rows if took_it(row)]
        low, high = (of(float(row["auc"]) for row in rows) for of in (min, max))
        said = [f"{name:14}  {len(rows)} models (AUC {low:.2f} to {high:.2f}), of which {len(took)} took the shortcut"]
        for what, part in (("all", rows), ("these", took)):
            alarms, firsts, asked_in = (sum(int(row[c]) > 0 for row in part) for c in ("alarm", "first", "asked"))
            said.append(f"of {what}: alarms {alarms}, right gallery first {firsts}, asked in {asked_in}")
        print("; ".join(said))


def took_it(row: dict[str, Any]) -> bool:
    planted = float(row["name"].split("-")[1]) > 0.5
    known = planted and row["agrees"] != "" and row["against"] != ""
    return known and float(row["agrees"]) - float(row["against"]) >= TOOK


if __name__ == "__main__":
    main()
