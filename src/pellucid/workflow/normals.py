"""What a backbone says of normal images: features image by image, kept in brief, and which images look odd."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from .._optional import require
from ..anomaly.detector import ImageFeatures
from ..anomaly.fitting import cells_wanted
from ..anomaly.suspects import Suspicion, judge
from ..data.cache import cached_pixels
from ..data.dataset import Dataset
from ..data.inspection import OddEntry, OddImage
from ..errors import DataError
from ..preprocessing import FloatArray, Uint8Array
from ..progress import Progress
from ..recipe import Recipe
from ..storage import cache_folder
from .kept_cells import KeptCells
from .prediction import Rows
from .settling import settled_recipe

if TYPE_CHECKING:
    from ..models.patch_features import FeatureGraph

BATCH = 4
"""Images described at a time: on a CPU as quick as more, and early layers of many large images take much memory."""


@dataclass(frozen=True)
class SeenImages:
    """Images as a model sees them: sample i of `dataset` is `pixels[rows[i]]`."""

    dataset: Dataset
    pixels: Uint8Array
    rows: Rows

    def positions(self, split: str) -> Rows:
        """Which samples are in a split."""
        return np.flatnonzero([s.split == split for s in self.dataset.samples])

    def groups(self, positions: Rows) -> tuple[str, ...]:
        """The groups of some samples."""
        return tuple(self.dataset.samples[i].group for i in positions)


@dataclass(frozen=True)
class Description:
    """Some cells (N, P, C) and the statistics (N, S) of the samples `rows` (N,)."""

    rows: Rows
    patches: FloatArray
    statistics: FloatArray


@dataclass(frozen=True)
class Describer:
    """A backbone's features, and how images are made ready for it."""

    graph: FeatureGraph
    source: dict[str, str]
    recipe: Recipe
    seed: int
    progress: Progress

    @classmethod
    def of(cls, recipe: Recipe, seed: int, progress: Progress) -> Describer:
        """Build the backbone of a recipe and load its weights; `source` says where these come from."""
        from ..models.backbones import build_backbone
        from ..models.patch_features import PatchFeatures, choose_guide, choose_layers, feature_graph
        from ..models.weights import load_initial_weights
        from ..training.hardware import seed_torch

        shape = recipe.preprocessing()
        size = (shape.height, shape.width)
        seed_torch(seed)
        backbone = build_backbone(recipe.model, size).eval()
        source = load_initial_weights(backbone, recipe.model.backbone, recipe.model.weights)
        layers = choose_layers(backbone, recipe.model.backbone, recipe.anomaly.layers, size)
        progress.say(f"Features of {recipe.model.backbone}: layers {' and '.join(layers)}.")
        padded = recipe.anomaly.method == "patch-memory"
        guide = choose_guide(backbone, layers, size) if recipe.anomaly.with_places else None
        features = PatchFeatures(backbone, layers, recipe.anomaly.smoothing, padded=padded, guide=guide)
        graph = feature_graph(features, size)
        return cls(graph, source, recipe, seed, progress)

    def passes(self, images: SeenImages, rows: Rows, what: str) -> Iterator[tuple[Rows, ImageFeatures]]:
        """Features of the samples `rows`, a batch at a time, each with its samples."""
        session, shape = self.graph.session(), self.recipe.preprocessing()
        with self.progress.bar(what) as advance:
            for start in range(0, len(rows), BATCH):
                mine = rows[start : start + BATCH]
                yield mine, session(shape.normalise(images.pixels[images.rows[mine]]))
                advance(min(start + BATCH, len(rows)), len(rows))

    def described(self, images: SeenImages, rows: Rows, *, keep: KeptCells | None = None) -> Description:
        """The statistics of the normal samples `rows`, and as many cells of each as the memory chooses among.

        All cells of all samples go into `keep`, and the layers' maps where they are needed again.
        """
        cells = self.graph.grid[0] * self.graph.grid[1]
        wanted = cells_wanted(len(rows), self.recipe.anomaly, cells)
        rng = np.random.default_rng(self.seed)
        patches: FloatArray | None = None
        statistics: list[FloatArray] = []
        many = 0
        for samples, features in self.passes(images, rows, "Describing the normal images"):
            if patches is None:
                patches = np.empty((len(rows), wanted, features.patches.shape[-1]), np.float32)
            for image in features.patches.reshape(len(features), cells, -1):
                patches[many] = image if wanted == cells else image[rng.choice(cells, wanted, replace=False)]
                many += 1
            statistics.append(features.statistics)
            if keep is not None:
                keep.add(samples, features.patches, *(features.maps if self.recipe.anomaly.with_places else ()))
        if patches is None:
            raise DataError("There are no normal images to describe.")
        return Description(rows, patches, np.concatenate(statistics))

    def judged(self, images: SeenImages, description: Description) -> Suspicion:
        """Which of the described images look bad beside the others."""
        self.progress.say("Looking for bad images among the normal ones ...")
        groups = images.groups(description.rows)
        return judge(description.patches, description.statistics, groups, self.recipe.anomaly, seed=self.seed)


def odd_normals(dataset: Dataset, recipe: Recipe, seed: int, progress: Progress) -> OddEntry:
    """Which normal images of a dataset look bad beside the others, by the features of a recipe, worst first."""
    require("torch", extra="train")
    recipe = settled_recipe(recipe, dataset, progress)
    describer = Describer.of(recipe, seed, progress)
    with progress.bar("Decoding for the backbone") as advance:
        cached = cached_pixels(dataset, recipe.preprocessing(), cache_folder(), progress=advance)
    samples = cached.dataset.samples
    images = SeenImages(cached.dataset, cached.pixels, np.arange(len(samples)))
    normal = np.flatnonzero(cached.dataset.labels == 0)
    judged = describer.judged(images, describer.described(images, normal))
    worst = [i for i in np.argsort(-judged.scores, kind="stable") if judged.suspect[i]]
    found = (
        OddImage(path=sample.path, split=sample.split, score=round(float(judged.scores[i]), 3))
        for i, sample in ((i, samples[normal[i]]) for i in worst)
    )
    return OddEntry(features=f"features of {recipe.model.backbone}", images=len(normal), found=tuple(found))
