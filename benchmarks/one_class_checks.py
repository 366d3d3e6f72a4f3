"""Does the promise on false alarms hold, and what do bad images among the normal ones cost? Both on one description.

    python benchmarks/one_class_checks.py ../shared/data/tiles [--splits 50] [--keep FEATURES.npz]

Every image is described once (kept in FEATURES.npz, where that is given) by the recipe `one-class` and a quarter of its
cells, the memory is smaller (300 of 6,000 patches), and everything else is as in a run.

Promise: the normal images are divided --splits times, 80 % to learn and to choose a threshold for 5 % false alarms, and
20 % as new ones. Dirt: bad images are mixed into those 80 %, a tenth of the whole, and the others test. They are drawn
at random, or (`apart`) by objects: where the same object is photographed several times, one picture of it among the
normal images teaches that the other ones are normal too. Objects are numbers in the names (found by --object) that
differ by up to 120.
"""

from __future__ import annotations

import argparse
import re
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from pellucid.anomaly.crossfit import CrossFit, OutOfFold, cross_fit, scored
from pellucid.anomaly.detector import Detector, ImageFeatures
from pellucid.anomaly.fitting import with_units
from pellucid.anomaly.suspects import judge
from pellucid.data.cache import cached_pixels
from pellucid.data.one_class import read_one_class
from pellucid.evaluation.operating_point import choose_operating_point
from pellucid.evaluation.tally import Ranking
from pellucid.progress import Silent
from pellucid.recipe import load_recipe
from pellucid.storage import cache_folder
from pellucid.workflow.normals import Describer, SeenImages
from pellucid.workflow.settling import settled_recipe

RECIPE = load_recipe("one-class")
SECTION = RECIPE.anomaly.model_copy(update={"memory": 300, "candidates": 6000})
GAP, ASKED = 120, 0.05


@dataclass(frozen=True)
class Described:
    """Cells (N, h, w, C), statistics (N, S), labels (N,) and paths (N,) of all images."""

    patches: np.ndarray
    statistics: np.ndarray
    labels: np.ndarray
    paths: np.ndarray

    def features(self, rows: np.ndarray) -> ImageFeatures:
        return ImageFeatures(self.patches[rows], self.statistics[rows])

    def cells(self, rows: np.ndarray) -> np.ndarray:
        """The cells (N, P, C) of some images."""
        return self.patches[rows].reshape(len(rows), -1, self.patches.shape[-1])


def described(data: Path, keep: Path | None) -> Described:
    """The description of all images, read from `keep` if it is there."""
    if keep is not None and keep.is_file():
        return Described(**np.load(keep))
    dataset = read_one_class(data)
    recipe = settled_recipe(RECIPE, dataset, Silent())
    cached = cached_pixels(dataset, recipe.preprocessing(), cache_folder(), progress=lambda done, total: None)
    rows = np.arange(len(cached.dataset))
    passes = Describer.of(recipe, 0, Silent()).passes(SeenImages(cached.dataset, cached.pixels, rows), rows, "")
    found = [(features.patches[:, ::2, ::2].copy(), features.statistics) for _, features in passes]
    patches, statistics = (np.concatenate(part) for part in zip(*found, strict=True))
    paths = np.array([s.path for s in cached.dataset.samples])
    made = Described(patches, statistics, cached.dataset.labels, paths)
    if keep is not None:
        np.savez(keep, patches=made.patches, statistics=made.statistics, labels=made.labels, paths=paths)
    return made


def fitted(data: Described, rows: np.ndarray, kept: np.ndarray, seed: int) -> tuple[CrossFit, Detector, np.ndarray]:
    """Detectors of the images `rows` that are `kept`, the one that is used, and the out-of-fold scores of the rows."""
    grid = (data.patches.shape[1], data.patches.shape[2])
    found = cross_fit(data.cells(rows), data.statistics[rows], grid, SECTION, kept=kept, seed=seed)
    order = np.argsort(found.fold, kind="stable")
    parts = [scored(d, data.features(rows).take(found.fold == k)) for k, d in enumerate(found.detectors)]
    parts = OutOfFold.joined(parts).take(np.argsort(order))
    detector, parts = parts.placed(found.whole)
    detector = with_units(detector, parts.local, parts.image, SECTION.whole)
    return found, detector, parts.scores(detector)


def promise(data: Described, splits: int) -> None:
    """How many new normal images are flagged, over random divisions."""
    normal, rates = np.flatnonzero(data.labels == 0), []
    cut = round(0.8 * len(normal))
    for seed in range(splits):
        order = np.random.default_rng(seed).permutation(normal)
        _, detector, scores = fitted(data, order[:cut], np.ones(cut, bool), seed)
        asked = f"false-alarms<={ASKED}"
        point = choose_operating_point(asked, labels=np.zeros(cut, int), scores=scores)
        new = detector.scores(data.features(order[cut:]))
        rates.append(float((new >= point.threshold).mean()))
    found = np.array(rates)
    print(
        f"{splits} divisions, {cut} normal images and {len(normal) - cut} new ones, at most {ASKED:.0%} asked: "
        f"{found.mean():.2%} flagged on the mean, {(found > ASKED).mean():.0%} of the divisions above {ASKED:.0%}, "
        f"the worst {found.max():.1%}"
    )


def objects(paths: np.ndarray, pattern: str) -> np.ndarray:
    """The number of the object that each path shows: pictures whose numbers lie close together."""
    numbers = np.array([int(found[1]) if (found := re.search(pattern, path)) else -GAP for path in paths])
    order = np.argsort(numbers, kind="stable")
    found = np.zeros(len(paths), int)
    found[order] = np.cumsum(np.diff(numbers[order], prepend=numbers[order[0]]) > GAP)
    return found


def dirt(data: Described, splits: int, pattern: str) -> None:
    """The ROC-AUC with and without bad images among the normal ones, means over divisions."""
    normal, bad = (np.flatnonzero(data.labels == k) for k in (0, 1))
    shown = objects(data.paths[bad], pattern)
    for how in ("at random", "apart"):
        areas = []
        for seed in range(splits):
            rng = np.random.default_rng(seed)
            order, cut = rng.permutation(normal), round(0.8 * len(normal))
            drawn = rng.permutation(len(bad)) if how == "at random" else _by_object(shown, rng)
            many = round(cut / 9)
            while how == "apart" and shown[drawn[many]] == shown[drawn[many - 1]]:
                many += 1
            mixed, test = bad[drawn[:many]], bad[drawn[many:]]
            areas.append([area(data, rows, order[cut:], test) for rows in (order[:cut], np.r_[order[:cut], mixed])])
        clean, dirty = np.mean(areas, axis=0)
        print(
            f"a tenth of the normal images is bad, mixed in {how}: ROC-AUC {clean:.4f} without, {dirty:.4f} with "
            f"them, cost {clean - dirty:.4f} ({splits} divisions)"
        )


def _by_object(shown: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """The images in a random order of their objects."""
    return np.concatenate([np.flatnonzero(shown == k) for k in rng.permutation(np.unique(shown))])


def area(data: Described, rows: np.ndarray, new: np.ndarray, bad: np.ndarray) -> float:
    """The ROC-AUC of a detector of `rows`, without those that look very bad, on new normal and on bad images."""
    far = judge(data.cells(rows), data.statistics[rows], [""] * len(rows), SECTION).far
    _, detector, _ = fitted(data, rows, ~far, 0)
    scores = detector.scores(data.features(np.r_[new, bad]))
    ranking = Ranking.of(scores, np.arange(len(scores)) >= len(new))
    return float(ranking.areas(np.ones((len(scores), 1)))[0][0])


def main() -> None:
    """Describe once, then check both."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("--splits", type=int, default=50)
    parser.add_argument("--dirty", type=int, default=3, help="divisions for the dirt")
    parser.add_argument("--keep", type=Path)
    parser.add_argument("--object", default=r"num_(\d+)")
    given = parser.parse_args()
    data = described(given.data, given.keep)
    promise(data, given.splits)
    dirt(data, given.dirty, given.object)


if __name__ == "__main__":
    main()
