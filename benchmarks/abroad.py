"""How far a recipe's figures hold on images from elsewhere: trained here, tested at home and on shifts.

    python benchmarks/abroad.py DATA --weights FILE [--recipes default cats-dogs] [--sets pneumonia tiles] [--seeds 3]

DATA is ../shared/data. The shifts stand in `shifts.py`; none of their images is used for training, choosing or
calibration in its own trial. Each recipe is trained by the product's own training (without export and explanations) and
calibrated on validation images of its home. Printed: AUC, accuracy, sensitivity and specificity at 0.5, the calibration
error (ECE), the share of images flagged as unlike the training images, and how well the flag tells the test from home
(area under the ROC curve), as chosen by the product (`apart`) and by the network's features alone (`by features`:
Mahalanobis's distance, the only detector of older versions); means over the seeds.

`--set KEY=VALUE` changes the recipes, `--most N` takes fewer images of a set, `--out FILE` appends one JSON line a
training.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

sys.path.insert(0, str(Path(__file__).parent))
from pellucid.classifier import probabilities_from_logits
from pellucid.data.dataset import Dataset, Sample
from pellucid.data.folder import read_dataset
from pellucid.evaluation.calibration import fit_calibration
from pellucid.evaluation.flag_choice import ChosenFlag, ImageViews, choose_flag
from pellucid.evaluation.looks import looks_of
from pellucid.evaluation.outside import describe_surroundings
from pellucid.evaluation.stand_ins import EACH, area_under_flag, stand_ins
from pellucid.models.network import Network, build_network
from pellucid.models.weights import load_initial_weights
from pellucid.progress import Silent
from pellucid.recipe import Recipe, load_recipe
from pellucid.training.hardware import pick_device, seed_torch
from pellucid.training.session import Training, train_network
from pellucid.workflow.settling import settled_recipe
from pellucid.workflow.sparing import LookedAt, sparing_details
from shifts import ImageSet, Test, Trial, changed, read_set, trials_of

SETS = ("pneumonia", "tiles", "cats-dogs", "flowers", "raccoon-kangaroo")
SHOWN = ("auc", "accuracy", "sensitivity", "specificity", "ece", "flagged", "apart", "by features")
Values = npt.NDArray[np.float64]
Rows = npt.NDArray[np.intp]


@dataclass(frozen=True)
class Asked:
    """One training: a recipe under a name, on a trial of a set, with a seed."""

    name: str
    recipe: Recipe
    images: ImageSet
    trial: Trial
    seed: int


def answered(network: Network, recipe: Recipe, pixels: npt.NDArray[np.uint8]) -> tuple[Values, Values]:
    """Logits (N, L) and pooled features (N, D) of images."""
    device = pick_device()
    network.to(device).eval()
    logits, features = [], []
    with torch.inference_mode():
        for start in range(0, len(pixels), 64):
            batch = torch.from_numpy(recipe.preprocessing().normalise(pixels[start : start + 64])).to(device)
            pooled = network.features(batch)
            features.append(pooled.float().cpu())
            logits.append(network.head(pooled).float().cpu())
    return torch.cat(logits).double().numpy(), torch.cat(features).double().numpy()


def seen(network: Network, recipe: Recipe, pixels: npt.NDArray[np.uint8]) -> ImageViews:
    """Images as the model sees them."""
    logits, features = answered(network, recipe, pixels)
    shape = recipe.preprocessing()
    parts = [looks_of(shape.normalise(pixels[i : i + 64]), shape) for i in range(0, len(pixels), 64)]
    return ImageViews(features.astype(np.float32), np.concatenate(parts), logits.astype(np.float32))


def flag_of(
    asked: Asked, network: Network, known: ImageViews, labels: Rows, home: ImageViews, rows: Rows
) -> ChosenFlag:
    """The flag that the product chooses, by the validation images `home` in these rows."""
    images = asked.images
    few = rows[np.unique(np.linspace(0, len(rows) - 1, EACH).round().astype(int))]
    away = {k: seen(network, asked.recipe, p) for k, p in stand_ins(images.pixels[few]).items()}
    return choose_flag(known, labels, home, images.groups[rows].tolist(), away)


def figures(labels: npt.NDArray[np.int64], probabilities: Values, scores: Values) -> dict[str, float]:
    """The figures of one test; sensitivity and specificity are of two classes only."""
    from sklearn.metrics import roc_auc_score

    predicted, classes = probabilities.argmax(axis=1), probabilities.shape[1]
    right = predicted == labels
    confidence = probabilities.max(axis=1)
    edges = np.minimum((confidence * 15).astype(int), 14)
    gaps = [
        abs(right[edges == b].mean() - confidence[edges == b].mean()) * (edges == b).mean() for b in np.unique(edges)
    ]
    auc = (
        roc_auc_score(labels, probabilities[:, 1])
        if classes == 2
        else roc_auc_score(labels, probabilities, multi_class="ovr")
    )
    found = {"auc": float(auc), "accuracy": float(right.mean()), "ece": float(np.sum(gaps))}
    if classes == 2:
        found |= {"sensitivity": float(right[labels == 1].mean()), "specificity": float(right[labels == 0].mean())}
    return found | {"flagged": float((scores > 1).mean()), "images": float(len(labels))}


def validation_rows(images: ImageSet, train: npt.NDArray[np.intp]) -> npt.NDArray[np.bool_]:
    """Which training rows validate: 15 % of the groups of each class."""
    rng = np.random.default_rng(1)
    held: set[str] = set()
    for label in np.unique(images.labels):
        groups = np.unique(images.groups[train[images.labels[train] == label]])
        held |= set(rng.permutation(groups)[: round(0.15 * len(groups))].tolist())
    chosen: npt.NDArray[np.bool_] = np.isin(images.groups[train], sorted(held))
    return chosen


def trained(asked: Asked, folder: Path) -> tuple[Network, npt.NDArray[np.intp], npt.NDArray[np.intp]]:
    """The network of a training, with the rows that trained it and those that validated it."""
    images, recipe = asked.images, asked.recipe
    chosen = validation_rows(images, asked.trial.train)
    train, validation = asked.trial.train[~chosen], asked.trial.train[chosen]
    classes = len(np.unique(images.labels))
    seed_torch(asked.seed)
    network = build_network(recipe, classes)
    load_initial_weights(network.backbone, recipe.model.backbone, recipe.model.weights)
    names = tuple(str(c) for c in range(classes))
    samples = tuple(Sample(images.files[i], int(images.labels[i]), "train", str(images.groups[i])) for i in train)
    looked_at = LookedAt(Dataset(images.root, names, samples), images.pixels, train)
    recipe, _ = sparing_details(recipe, network, looked_at, Silent())
    sources = [(images.pixels, rows, images.labels[rows]) for rows in (train, validation)]
    train_network(network, Training(recipe, sources[0], sources[1], classes, asked.seed, folder))
    return network, train, validation


def run(asked: Asked, tests: Sequence[tuple[Test, npt.NDArray[np.uint8]]]) -> dict[str, Any]:
    """Train and test: a row for each test."""
    started = time.perf_counter()
    with tempfile.TemporaryDirectory() as name:
        network, train, validation = trained(asked, Path(name))
    seconds = time.perf_counter() - started
    images, recipe = asked.images, asked.recipe
    described = train[np.linspace(0, len(train) - 1, min(1000, len(train))).astype(int)]
    known = seen(network, recipe, images.pixels[described])
    home = seen(network, recipe, images.pixels[validation])
    groups = images.groups[validation].tolist()
    calibration = fit_calibration("temperature", home.logits, images.labels[validation], groups)
    flag = flag_of(asked, network, known, images.labels[described], home, validation).flag
    before = describe_surroundings(known.features)
    found, far = {}, {}
    for test, pixels in tests:
        new = seen(network, recipe, pixels)
        probabilities = probabilities_from_logits(calibration.logits(new.logits)).astype(np.float64)
        scores = flag.scores(new.whole if flag.looks else new.features, new.logits)
        far[test.name] = scores, before.distances(new.features)
        found[test.name] = figures(images.labels[test.rows], probabilities, scores)
        areas = [area_under_flag(own, other) for own, other in zip(far["home"], far[test.name], strict=True)]
        found[test.name] |= dict(zip(SHOWN[-2:], areas, strict=True))
    return {
        "recipe": asked.name, "set": images.name, "trial": asked.trial.name, "seed": asked.seed,
        "seconds": round(seconds, 1), "tests": found,
    }  # fmt: skip


def recipe_for(folder: Path, name: str, settings: Sequence[str]) -> Recipe:
    """A recipe with what it leaves to the images or the backbone decided, as `train` decides it."""
    root = folder / "images" if (folder / "images").is_dir() else folder
    return settled_recipe(load_recipe(name, settings), read_dataset(root), Silent())


def table(rows: Sequence[dict[str, Any]]) -> str:
    """Means over seeds, a line for each recipe, set and test, and what each recipe loses from home on the mean."""
    cells: dict[tuple[str, str, str], list[dict[str, float]]] = defaultdict(list)
    losses: dict[str, list[float]] = defaultdict(list)
    apart: dict[str, list[list[float]]] = defaultdict(list)
    for row in rows:
        for test, found in row["tests"].items():
            cells[row["recipe"], f"{row['set']}, {row['trial']}", test].append(found)
            if test != "home" and not test.startswith("mix"):
                losses[row["recipe"]].append(row["tests"]["home"]["auc"] - found["auc"])
                apart[row["recipe"]].append([found.get(m, np.nan) for m in SHOWN[-2:]])
    lines = [f"{'recipe':24s}{'trained on':30s}{'tested on':12s}" + "".join(f"{m:>12s}" for m in SHOWN)]
    for (recipe, trial, test), found in cells.items():
        means = [np.mean([f[m] for f in found]) if m in found[0] else np.nan for m in SHOWN]
        lines.append(f"{recipe:24s}{trial:30s}{test:12s}" + "".join(f"{m:12.3f}" for m in means))
    lines += [
        f"{recipe:24s}mean loss of AUC abroad {np.mean(lost):.4f}, worst {np.max(lost):.4f}"
        for recipe, lost in losses.items()
    ]
    for recipe, areas in apart.items():
        flag, features = np.mean(areas, axis=0)
        lines.append(f"{recipe:24s}images abroad told from home with AUC {flag:.3f}, by features alone {features:.3f}")
    return "\n".join(lines)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("--weights", default="imagenet")
    parser.add_argument("--recipes", nargs="+", default=["default"])
    parser.add_argument("--set", nargs="*", default=[], help="KEY=VALUE of the recipes")
    parser.add_argument("--sets", nargs="+", default=list(SETS), choices=SETS)
    parser.add_argument("--trials", nargs="+", help="only these trials")
    parser.add_argument("--most", type=int, help="use at most so many images of a set")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    rows = []
    for name in options.sets:
        settings = [f"model.weights={options.weights}", *options.set]
        recipes = {r: recipe_for(options.data / name, r, settings) for r in options.recipes}
        for recipe_name, recipe in recipes.items():
            images = read_set(options.data / name, recipe.preprocessing(), most=options.most)
            for trial in trials_of(images):
                if options.trials and trial.name not in options.trials:
                    continue
                tests = [(test, changed(images.pixels[test.rows], test)) for test in trial.tests]
                for seed in range(options.seeds):
                    rows.append(run(Asked(recipe_name, recipe, images, trial, seed), tests))
                    if options.out:
                        with options.out.open("a", encoding="utf-8") as file:
                            file.write(json.dumps(rows[-1]) + "\n")
                    sys.stdout.write(f"{name} {trial.name} {recipe_name} seed {seed}: {rows[-1]['seconds']} s\n")
                    sys.stdout.flush()
    sys.stdout.write(table(rows) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
