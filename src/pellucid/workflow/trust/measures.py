"""The measurements behind a trust card: a few images at a time through every method and every check."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from ...bundle.bundle import Bundle
from ...bundle.randomised import randomised_classifiers
from ...classifier import EvidenceClassifier, gives_score
from ...data.dataset import Dataset, Sample
from ...errors import ImageError, InputError
from ...explanation.agreement import agreement, coarse, rank_correlation
from ...explanation.attribution import Attribution
from ...explanation.catalogue import Method, find_method
from ...explanation.faithfulness import (
    BASELINE_ORDER,
    Curves,
    CurveSettings,
    Ends,
    baseline_curves,
    deletion_insertion,
    ends_of,
)
from ...explanation.localisation import average_precision, best_iou, energy_inside, iou_at, mask_share, pointing_game
from ...explanation.maps import Maps, laid_on_input, predicted_classes
from ...explanation.metered import Metered
from ...explanation.sanity import STAGES, randomisation
from ...explanation.stability import noise_stability, reseeded, samples
from ...images import Image
from ...preprocessing import FloatArray
from ...reporting.words import lack_words
from ..localisation import true_mask

RANDOMISED_IMAGES = 16
"""Maps of randomised models are made for this many images; slow methods explain only the first few, and only the model
whose layers are all random."""

RANDOM = BASELINE_ORDER[0]
LOCALISATION = ("pointing", "energy_inside", "average_precision", "iou_best", "iou_half")
Doubles = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Effort:
    """How much is measured beside a method's own curves.

    `stages` are shares of layers that are randomised, for images in groups of `at_once`. Curves of random maps are
    measured on up to `random` images; their gap is 0 in expectation by the way they are made, and is taken for 0 after.
    """

    stages: tuple[float, ...] = STAGES
    at_once: int = RANDOMISED_IMAGES
    random: int | None = None


@dataclass(frozen=True, slots=True)
class Batch:
    """A few images on their way through all checks: tensors (N, 3, h, w), the class answered and the true one."""

    samples: tuple[Sample, ...]
    images: tuple[Image, ...]
    tensors: FloatArray
    answered: tuple[str, ...]
    true: tuple[str, ...]
    masks: tuple[npt.NDArray[np.bool_] | None, ...]

    def __len__(self) -> int:
        return len(self.samples)

    @property
    def targets(self) -> tuple[str, ...]:
        """Every class that a map is wanted for."""
        marked = (t for t, mask in zip(self.true, self.masks, strict=True) if mask is not None)
        return tuple(dict.fromkeys((*self.answered, *marked)))


@dataclass
class Measured:
    """What has been measured of one method, image by image; `curves` likewise of a baseline."""

    values: dict[str, list[Doubles]] = field(default_factory=dict)
    deletion: list[Doubles] = field(default_factory=list)
    insertion: list[Doubles] = field(default_factory=list)
    randomised: dict[int, list[Doubles]] = field(default_factory=dict)
    seconds: float = 0.0
    passes: int = 0

    def add(self, name: str, values: Doubles) -> None:
        """Values of some more images; NaN where it is not known."""
        self.values.setdefault(name, []).append(values)

    def add_curves(self, curves: Curves) -> None:
        """Areas and curves of some more images."""
        for name in ("deletion_area", "insertion_area", "gap"):
            self.add(name, getattr(curves, name))
        self.deletion.append(curves.deletion)
        self.insertion.append(curves.insertion)

    def all(self, name: str) -> Doubles:
        """Values of all images so far, (N,); empty for what was not measured."""
        return np.concatenate(self.values.get(name, [np.zeros(0)]))


class TrustMeasurements:
    """What has been measured so far of methods (name to settings), of the baselines, and on which images."""

    def __init__(
        self,
        bundle: Bundle,
        dataset: Dataset,
        methods: Mapping[str, Any],
        curves: CurveSettings,
        effort: Effort = Effort(),
    ) -> None:
        self.bundle, self.dataset, self.curves, self.effort = bundle, dataset, curves, effort
        self.classifier = Metered(bundle)
        self.methods = dict(methods)
        self.measured = {name: Measured() for name in methods}
        self.baselines = {name: Measured() for name in BASELINE_ORDER}
        self.agreements: list[Doubles] = []
        self.samples: list[Sample] = []
        self.skipped: list[str] = []
        self.newest = 0
        """How many of the samples came last."""
        lacks = {name: find_method(name).lacking(bundle.manifest) for name in methods}
        self.left_out = {name: lack_words(lack) for name, lack in lacks.items() if lack}
        for name in self.left_out:
            del self.methods[name], self.measured[name]
        self.layers = 0
        self._waiting: list[tuple[Batch, dict[str, FloatArray]]] = []
        self._randomised = 0

    def measure(self, samples: Sequence[Sample]) -> None:
        """Put a few images through everything."""
        batch = self._read(samples)
        if batch is None:
            return
        ends = ends_of(self.classifier, batch.tensors, batch.answered, settings=self.curves)
        self._measure_baselines(batch, ends)
        maps: dict[str, FloatArray] = {}
        for name in list(self.methods):
            try:
                maps[name] = self._measure_method(name, batch, ends)
            except InputError as error:
                if self.samples:
                    raise
                # The first images show what the manifest does not say: values that are not finite, for one.
                self.left_out[name] = str(error)
                del self.methods[name], self.measured[name]
        if not maps:
            raise InputError(f"No method can be measured: {'; '.join(self.left_out.values())}")
        self.agreements.append(agreement(maps))
        if len(self.samples) < RANDOMISED_IMAGES:
            self._waiting.append((batch, maps))
        self.samples += batch.samples
        self.newest = len(batch)
        if sum(len(waiting) for waiting, _ in self._waiting) >= self.effort.at_once:
            self.finish()

    def finish(self) -> None:
        """Put what waits for it through the randomised models."""
        if self._waiting:
            self._measure_randomised(self._waiting)
            self._randomised += len(self._waiting)
            self._waiting = []

    def _read(self, samples: Sequence[Sample]) -> Batch | None:
        found: list[tuple[Sample, Image]] = []
        for sample in samples:
            try:
                found.append((sample, self.bundle.read(self.dataset.file(sample))))
            except ImageError as error:
                self.skipped.append(f"{sample.path}: {error.reason}")
        if not found:
            return None
        tensors = self.bundle.preprocessing.tensors([image for _, image in found])
        classes = self.bundle.classes
        if gives_score(self.bundle.task):
            answered = [classes[1]] * len(found)
        else:
            answered = [classes[c] for c in predicted_classes(self.classifier, self.classifier.logits(tensors))]
        return Batch(
            tuple(s for s, _ in found),
            tuple(image for _, image in found),
            tensors,
            tuple(answered),
            tuple(classes[s.label] for s, _ in found),
            tuple(true_mask(self.dataset, s, image.size) for s, image in found),
        )

    def _measure_baselines(self, batch: Batch, ends: Ends) -> None:
        settings = replace(self.curves, seed=self.curves.seed + len(self.samples))
        most = self.effort.random
        names = BASELINE_ORDER if most is None or len(self.samples) < most else BASELINE_ORDER[1:]
        curves = baseline_curves(
            self.classifier, batch.tensors, batch.answered, settings=settings, ends=ends, names=names
        )
        for name, found in curves.items():
            self.baselines[name].add_curves(found)
        if RANDOM not in names:
            self.baselines[RANDOM].add("gap", np.zeros(len(batch)))
            for key in ("deletion_area", "insertion_area"):
                self.baselines[RANDOM].add(key, np.full(len(batch), np.nan))

    def _curves(self, batch: Batch, maps: FloatArray, ends: Ends) -> Curves:
        return deletion_insertion(self.classifier, batch.tensors, maps, batch.answered, settings=self.curves, ends=ends)

    def _measure_method(self, name: str, batch: Batch, ends: Ends) -> FloatArray:
        """All checks of one method but that of random weights; its maps (N, h, w) for the classes answered."""
        row, settings, measured = find_method(name), self.methods[name], self.measured[name]
        before, began = self.classifier.passes, time.perf_counter()
        found = row.run(self.classifier, batch.tensors, batch.targets, None, settings)
        seconds, passes = time.perf_counter() - began, self.classifier.passes - before
        maps = _of_targets(on_input(found, self.bundle), batch.targets, batch.answered)
        if not np.isfinite(maps).all():
            raise InputError(f"{name} gives values that are not finite numbers for this model.")
        measured.seconds += seconds
        measured.passes += passes
        measured.add("silent", (maps.max(axis=(1, 2)) <= 0).astype(np.float64))
        measured.add_curves(self._curves(batch, maps, ends))
        again = _maker(row, settings, self.classifier, self.bundle, batch.answered)
        measured.add("noise", noise_stability(again, batch.tensors, maps, self.bundle.preprocessing))
        if samples(settings):
            other = _maker(row, reseeded(settings), self.classifier, self.bundle, batch.answered)
            measured.add("seed", rank_correlation(coarse(maps), coarse(other(batch.tensors))))
        self._locate(row, found, batch, measured)
        return maps

    def _locate(self, row: Method, found: Maps, batch: Batch, measured: Measured) -> None:
        """Score the maps for the true class against the masks of those images that have one."""
        scores = np.full((2, len(LOCALISATION), len(batch)), np.nan)
        for i, (image, mask, true) in enumerate(zip(batch.images, batch.masks, batch.true, strict=True)):
            if mask is not None:
                grid = found.values[i, batch.targets.index(true)]
                values = self.bundle.preprocessing.to_original(grid, found.geometry, image.size)
                scores[:, :, i] = located(Attribution(values, row.name, true, "", row.unit, row.signed), mask)
        for name, own, chance in zip(LOCALISATION, *scores, strict=True):
            measured.add(name, own)
            measured.add(f"{name} by chance", chance)

    def _measure_randomised(self, waiting: Sequence[tuple[Batch, dict[str, FloatArray]]]) -> None:
        """How alike the maps stay as more and more layers are randomised; one such model is in memory at a time."""
        folder, manifest = self.bundle.folder, self.bundle.manifest
        stages = randomised_classifiers(folder, manifest, self.effort.stages, seed=self.curves.seed)
        for count, self.layers, classifier in stages:
            metered = Metered(classifier)
            for place, (batch, maps) in enumerate(waiting, self._randomised):
                for name, own in maps.items():
                    measured = self.measured[name]
                    row, settings = find_method(name), self.methods[name]
                    slow = row.cost(settings, batch.tensors.shape[2:]).slow
                    if not slow or (place == 0 and count == self.layers):
                        maker = _maker(row, settings, metered, self.bundle, batch.answered)
                        measured.randomised.setdefault(count, []).append(randomisation(own, [maker], batch.tensors)[0])
            self.classifier.passes += metered.passes


def _maker(
    row: Method, settings: Any, classifier: EvidenceClassifier, bundle: Bundle, answered: Sequence[str]
) -> Callable[[FloatArray], FloatArray]:
    """A function of images (N, 3, h, w) to their maps (N, h, w) on the model's input, each for its class answered."""
    names = tuple(dict.fromkeys(answered))

    def make(batch: FloatArray) -> FloatArray:
        return _of_targets(on_input(row.run(classifier, batch, names, None, settings), bundle), names, answered)

    return make


def on_input(maps: Maps, bundle: Bundle) -> FloatArray:
    """Maps laid on the model's input pixel for pixel, (N, T, height, width)."""
    return laid_on_input(maps.values, maps.geometry, bundle.preprocessing)


def _of_targets(maps: FloatArray, names: Sequence[str], wanted: Sequence[str]) -> FloatArray:
    """From maps (N, T, h, w) of T names, each image's map of its own wanted name: (N, h, w)."""
    return maps[np.arange(len(maps)), [list(names).index(w) for w in wanted]]


def located(attribution: Attribution, mask: npt.NDArray[np.bool_]) -> tuple[list[float], list[float]]:
    """The measures of LOCALISATION and their chance levels; a map without evidence misses, and ranks as chance does."""
    share = mask_share(mask)
    half = iou_at(attribution, mask)
    ranking = average_precision(attribution, mask)
    found = [
        float(pointing_game(attribution, mask) or False),
        energy_inside(attribution, mask) or 0.0,
        share if ranking is None else ranking,
        best_iou(attribution, mask) or 0.0,
        half[0] if half else 0.0,
    ]
    return found, [share, share, share, share, half[1] if half else 0.0]
