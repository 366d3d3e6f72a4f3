"""How far a recipe's figures hold for images from elsewhere: the same training, tested at random and on a group apart.

    python benchmarks/held_apart.py FOLDER --weights FILE [--recipes cats-dogs quick] [--images 1500] [--seeds 2]

FOLDER holds the chest films of `pneumonia` (train/NORMAL, train/PNEUMONIA). Three times a third of a sample of its
patients is set aside and a model trained on the rest:

- at random, by patient;
- by source: the films named NORMAL2 of the normals and the viral ones of the sick are set aside, as from another
  hospital;
- by brightness: of each class the brightest films, as from another scanner.

What matters is how much a recipe loses from the first row to the others. Figures are means over the seeds, which decide
initial weights, order, and what augmentation draws.
"""

from __future__ import annotations

import argparse
import csv
import os
import re
import sys
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import PIL.Image

from pellucid.recipe import load_recipe
from pellucid.workflow.folds import train_folds

CLASSES = ("NORMAL", "PNEUMONIA")
PATIENT = re.compile(r"(person\d+)_|((?:NORMAL2-)?IM-\d+)")
SHOWN = ("roc_auc", "accuracy", "sensitivity", "specificity")
Films = dict[str, list[Path]]


def patient(path: Path) -> str:
    """Who is on a film, by its name; files that say nothing are a patient each."""
    found = PATIENT.match(path.name)
    return next(filter(None, found.groups())) if found else path.name


def sampled(folder: Path, images: int) -> Films:
    """As many films of each class, drawn at random with a fixed seed."""
    rng = np.random.default_rng(0)
    films = {c: sorted((folder / "train" / c).iterdir()) for c in CLASSES}
    each = min(images // 2, *(len(paths) for paths in films.values()))
    return {c: [paths[i] for i in rng.permutation(len(paths))[:each]] for c, paths in films.items()}


def at_random(paths: Sequence[Path]) -> set[Path]:
    """A third of the patients."""
    patients = sorted({patient(p) for p in paths})
    chosen = set(np.random.default_rng(1).permutation(patients)[: len(patients) // 3].tolist())
    return {p for p in paths if patient(p) in chosen}


def by_source(paths: Sequence[Path]) -> set[Path]:
    """The second source of the normals, and the viral films of the sick."""
    return {p for p in paths if p.name.startswith("NORMAL2") or "_virus_" in p.name}


def by_brightness(paths: Sequence[Path]) -> set[Path]:
    """The brightest third."""
    grey = np.array([np.asarray(PIL.Image.open(p).convert("L")).mean() for p in paths])
    return {p for p, value in zip(paths, grey, strict=True) if value > np.quantile(grey, 2 / 3)}


def listed(films: Films, apart: Callable[[Sequence[Path]], set[Path]], file: Path) -> None:
    """Write the list that trains on the rest; patients with films on both sides are trained on only by neither."""
    with file.open("w", newline="", encoding="utf-8") as opened:
        table = csv.writer(opened)
        table.writerow(["path", "label", "split", "group"])
        for label, paths in films.items():
            chosen = apart(paths)
            held = {patient(p) for p in chosen}
            for path in paths:
                if path in chosen or patient(path) not in held:
                    split = "test" if path in chosen else "train"
                    table.writerow([path.resolve(), label, split, patient(path)])


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--weights", required=True)
    parser.add_argument("--recipes", nargs="+", default=["cats-dogs", "quick"])
    parser.add_argument("--images", type=int, default=1500)
    parser.add_argument("--seeds", type=int, default=2)
    options = parser.parse_args()
    films = sampled(options.folder, options.images)
    apart = {"at random": at_random, "by source": by_source, "by brightness": by_brightness}
    sys.stdout.write(f"{'recipe':12s} {'set apart':14s} {'tested':>7s}" + "".join(f"{m:>13s}" for m in SHOWN) + "\n")
    with tempfile.TemporaryDirectory() as name:
        root = Path(name)
        os.environ.setdefault("PELLUCID_CACHE", str(root / "cache"))
        for how, choose in apart.items():
            file = root / f"{how.replace(' ', '-')}.csv"
            listed(films, choose, file)
            for recipe in options.recipes:
                chosen = load_recipe(recipe, [f"model.weights={options.weights}", "data.positive=PNEUMONIA"])
                record = train_folds(file, chosen, out=root / f"{file.stem}-{recipe}", seeds=options.seeds)
                spread = record.spread["1"]
                figures = "".join(f"{spread[m].mean:13.4f}" for m in SHOWN)
                tested = record.trials[0].images["test"]
                sys.stdout.write(f"{recipe:12s} {how:14s} {tested:7d}{figures}\n")
                sys.stdout.flush()
    return 0


if __name__ == "__main__":
    sys.exit(main())
