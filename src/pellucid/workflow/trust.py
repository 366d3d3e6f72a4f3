"""Measure how far a model's explanations can be relied on: over a set of images, or in short form for one.

A few images at a time go through every method and every check, so that when a budget ends, all that is said rests on
the same images, only on fewer of them.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from .._version import __version__
from ..bundle.bundle import Bundle, load
from ..bundle.randomised import randomised_classifiers
from ..bundle.run import RunFolder
from ..classifier import EvidenceClassifier
from ..data.dataset import Dataset, Sample, Split
from ..errors import DataError, ImageError, InputError
from ..evaluation.intervals import Resampling, percentiles
from ..explanation.agreement import agreement, coarse, rank_correlation
from ..explanation.attribution import Attribution
from ..explanation.catalogue import METHODS, Method, find_method, settings_of
from ..explanation.faithfulness import BASELINES, Curves, CurveSettings, baseline_curves, deletion_insertion
from ..explanation.localisation import average_precision, best_iou, energy_inside, iou_at, mask_share, pointing_game
from ..explanation.maps import Maps, predicted_classes
from ..explanation.metered import Metered
from ..explanation.sanity import STAGES, randomisation
from ..explanation.stability import noise_stability, reseeded, samples
from ..explanation.trust import (
    FEWEST,
    Agreement,
    Budget,
    CurveEntry,
    Figure,
    Located,
    MethodEntry,
    TrustCard,
    judged,
    ranked,
    summary,
)
from ..files import write_whole
from ..images import Image
from ..preprocessing import FloatArray
from ..progress import Progress, Silent
from .budget import Limit, Spending, parse_limit
from .evaluation import foreign_split, own_split
from .localisation import true_mask
from .scales import cheap_methods

DOCUMENT = "trust.json"
CHUNK = 4
MOST_IMAGES = 100
RESAMPLES = 2000
# Maps of randomised models are made for this many images; a method that takes more than so many passes per map is asked
# on the first chunk only, and of the wholly random model only.
RANDOMISED_IMAGES, CHEAP_PASSES = 16, 8
LOCALISATION = ("pointing", "energy_inside", "average_precision", "iou_best", "iou_half")
NO_LIMIT, USUAL = Limit(), CurveSettings()
Doubles = npt.NDArray[np.float64]


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
        """Values of some more images; NaN where there is none."""
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


def audit_explanations(
    run: Path,
    data: Path | None = None,
    *,
    split: Split = "test",
    methods: Sequence[str] = (),
    images: int = MOST_IMAGES,
    budget: str | None = None,
    replacement: str = "blur",
    seed: int = 0,
    out: Path | None = None,
    progress: Progress | None = None,
) -> tuple[TrustCard, Path]:
    """The trust card of a run's explanations, written as `trust.json` and `trust.html`; and the folder they are in.

    Measured on up to `images` images, evenly by class, of the run's own `split` or of `data`. `methods` are names, or
    `all`; by default those that take one pass. `budget` is passes or a time, as in `20000` or `5min`. The folder is
    `out`, by default `audit/` of the run. Raises InputError and its kinds for names, data or a budget that cannot be.
    """
    limit = parse_limit(budget)
    bundle = load(run)
    dataset = own_split(RunFolder(run), bundle, split) if data is None else foreign_split(bundle, data, split)
    chosen = chosen_methods(methods)
    curves = CurveSettings(replacement=replacement, seed=seed)
    card = measure_trust(
        bundle,
        dataset,
        {m.name: settings_of(m) for m in chosen},
        images=images,
        limit=limit,
        curves=curves,
        data=str(data or f"{split} split of the run"),
        progress=progress,
    )
    folder = out or run / "audit"
    write_card(card, folder)
    return card, folder


def write_card(card: TrustCard, folder: Path) -> None:
    """Write `trust.json` and the page `trust.html` into a folder, which is made if need be."""
    from ..reporting.trust import write_trust_page

    folder.mkdir(parents=True, exist_ok=True)
    write_whole(folder / DOCUMENT, card.model_dump_json(indent=2) + "\n")
    write_trust_page(card, folder)


def chosen_methods(names: Sequence[str]) -> list[Method]:
    """Catalogue rows by name, `all` meaning all; the cheap ones when none is named."""
    if not names:
        return cheap_methods()
    if "all" in names:
        return list(METHODS)
    return [find_method(name) for name in dict.fromkeys(names)]


def measure_trust(
    bundle: Bundle,
    dataset: Dataset,
    methods: Mapping[str, Any],
    *,
    images: int,
    limit: Limit = NO_LIMIT,
    curves: CurveSettings = USUAL,
    data: str = "",
    progress: Progress | None = None,
) -> TrustCard:
    """Measure methods (name to settings) on up to `images` images of a dataset whose classes are the bundle's."""
    if images < 1:
        raise InputError(f"At least one image is needed to measure explanations, not {images}.")
    chosen = choose_samples(dataset, images, curves.seed)
    audit = _Audit(bundle, dataset, dict(methods), curves)
    spending = Spending(limit)
    reached = False
    with (progress or Silent()).bar("Measuring explanations") as advance:
        for start in range(0, len(chosen), CHUNK):
            some = chosen[start : start + CHUNK]
            if not spending.allows(start, len(some)):
                reached = True
                break
            audit.measure(some)
            spending.passes = audit.classifier.passes
            advance(min(start + CHUNK, len(chosen)), len(chosen))
    if not audit.samples:
        raise DataError(f"None of the {len(chosen)} images chosen from {dataset.root} can be read.")
    return _card(audit, spending, reached, len(chosen), data)


def choose_samples(dataset: Dataset, images: int, seed: int) -> list[Sample]:
    """Up to `images` samples, in turn from each class, those with masks or boxes first; the rest is up to the seed."""
    order = np.random.default_rng(seed).permutation(len(dataset.samples))
    mixed = sorted((dataset.samples[i] for i in order), key=lambda s: s.mask is None and not s.boxes)
    by_class = [[s for s in mixed if s.label == c] for c in range(len(dataset.classes))]
    turns = [own[i] for i in range(len(mixed)) for own in by_class if i < len(own)]
    return turns[:images]


class _Audit:
    """The state of one audit."""

    def __init__(self, bundle: Bundle, dataset: Dataset, methods: dict[str, Any], curves: CurveSettings) -> None:
        self.bundle, self.dataset, self.curves = bundle, dataset, curves
        self.classifier = Metered(bundle)
        self.methods = methods
        self.measured = {name: Measured() for name in methods}
        self.baselines = {name: Measured() for name in BASELINES}
        self.agreements: list[Doubles] = []
        self.samples: list[Sample] = []
        self.skipped: list[str] = []
        self.left_out: dict[str, str] = {}
        self.layers = 0

    def measure(self, samples: Sequence[Sample]) -> None:
        """Put a few images through everything."""
        batch = self._read(samples)
        if batch is None:
            return
        self._measure_baselines(batch)
        maps: dict[str, FloatArray] = {}
        for name in list(self.methods):
            try:
                maps[name] = self._measure_method(name, batch)
            except InputError as error:
                if self.samples:
                    raise
                # A method that this model cannot serve: found on the first images, and said.
                self.left_out[name] = str(error)
                del self.methods[name], self.measured[name]
        if not maps:
            raise InputError(f"No method can be measured: {'; '.join(self.left_out.values())}")
        self.agreements.append(agreement(maps))
        if len(self.samples) < RANDOMISED_IMAGES:
            self._measure_randomised(batch, maps)
        self.samples += batch.samples

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
        if self.bundle.task == "regression":
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

    def _measure_baselines(self, batch: Batch) -> None:
        settings = replace(self.curves, seed=self.curves.seed + len(self.samples))
        curves = baseline_curves(self.classifier, batch.tensors, batch.answered, settings=settings)
        for name, found in curves.items():
            self.baselines[name].add_curves(found)

    def _curves(self, batch: Batch, maps: FloatArray) -> Curves:
        return deletion_insertion(self.classifier, batch.tensors, maps, batch.answered, settings=self.curves)

    def _measure_method(self, name: str, batch: Batch) -> FloatArray:
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
        measured.add_curves(self._curves(batch, maps))
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

    def _measure_randomised(self, batch: Batch, maps: dict[str, FloatArray]) -> None:
        """How alike the maps stay as more and more layers are randomised; one such model is in memory at a time."""
        stages = randomised_classifiers(self.bundle.folder, self.bundle.manifest, STAGES, seed=self.curves.seed)
        for count, self.layers, classifier in stages:
            metered = Metered(classifier)
            for name, own in maps.items():
                measured = self.measured[name]
                cheap = measured.passes <= CHEAP_PASSES * (len(self.samples) + len(batch))
                if cheap or (not self.samples and count == self.layers):
                    maker = _maker(find_method(name), self.methods[name], metered, self.bundle, batch.answered)
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
    whole = bundle.preprocessing.model_copy(update={"fit": "stretch"})
    return whole.to_original(maps.values, maps.geometry, (whole.height, whole.width))


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


def _card(audit: _Audit, spending: Spending, reached: bool, wanted: int, data: str) -> TrustCard:
    n = len(audit.samples)
    resampling = Resampling.of(n, [s.group for s in audit.samples], RESAMPLES, audit.curves.seed)
    bundle, counts = audit.bundle, np.bincount([s.label for s in audit.samples], minlength=len(audit.bundle.classes))
    entries = ranked([_entry(name, m, audit, resampling) for name, m in audit.measured.items()])
    names = list(audit.measured)
    order = [names.index(e.name) for e in entries]
    matrix = np.nan_to_num(_nanmean(np.concatenate(audit.agreements, axis=2)))[np.ix_(order, order)]
    left = f"The budget of {spending.limit.text} was reached after {n} of {wanted} images; all figures rest on these."
    return TrustCard(
        pellucid_version=__version__,
        name=bundle.manifest.name,
        model=bundle.manifest.files,
        data=data,
        images=n,
        of=wanted,
        classes={c: int(k) for c, k in zip(bundle.classes, counts, strict=True)},
        score="output" if bundle.task == "regression" else "log-odds",
        layer=bundle.manifest.layer.name if bundle.manifest.layer else None,
        replacement=audit.curves.replacement,
        seed=audit.curves.seed,
        intervals=resampling.in_words().split(";")[0],
        layers=audit.layers,
        shares=tuple(_short(s) for s in audit.curves.shares),
        baselines={name: _curve_entry(m, resampling) for name, m in audit.baselines.items()},
        methods=tuple(entries),
        agreement=Agreement(
            methods=tuple(e.name for e in entries),
            correlation=tuple(tuple(_short(v) for v in row) for row in matrix),
        ),
        left_out=audit.left_out,
        budget=Budget(
            wanted=spending.limit.text,
            reached=reached,
            passes=audit.classifier.passes,
            seconds=round(spending.seconds, 2),
            sentence=left if reached else f"All {n} images were measured.",
        ),
        verdict=summary(entries),
        notes=tuple(_notes(audit)),
    )


def _notes(audit: _Audit) -> Iterator[str]:
    if audit.skipped:
        yield f"{len(audit.skipped)} images could not be read and were left out, the first: {audit.skipped[0]}"
    random = audit.baselines["random"]
    fall = np.concatenate(random.deletion)
    change = float((fall[:, 0] - fall[:, -1]).mean())
    if change <= 0:
        yield (
            f"Hiding whole images ({audit.curves.replacement}) does not lower the score: what replaces a pixel is "
            "itself evidence here. Take another --replacement before believing the curves."
        )


def _entry(name: str, measured: Measured, audit: _Audit, resampling: Resampling) -> MethodEntry:
    gap = measured.all("gap")
    against = {b: figure(gap - m.all("gap"), resampling) for b, m in audit.baselines.items()}
    randomised = {c: _short(abs(float(_nanmean(np.concatenate(v))))) for c, v in measured.randomised.items()}
    noise = figure(measured.all("noise"), resampling)
    seed = figure(measured.all("seed"), resampling) if "seed" in measured.values else None
    localised = int(np.isfinite(measured.all("pointing")).sum())
    places = {k: _located(measured, k, resampling) for k in LOCALISATION} if localised else {}
    level, verdict = judged(
        images=len(gap), against=against, randomisation=randomised, noise=noise, seed=seed, located=places
    )
    return MethodEntry(
        name=name,
        level=level,
        verdict=verdict,
        images=len(gap),
        silent=int(measured.all("silent").sum()),
        seconds=_short(measured.seconds / len(gap)),
        passes=_short(measured.passes / len(gap)),
        curves=_curve_entry(measured, resampling),
        against=against,
        beaten=tuple(b for b, f in against.items() if f.low is not None and f.low > 0),
        randomisation=randomised,
        noise=noise,
        seed=seed,
        localisation=places,
        localised=localised,
    )


def _located(measured: Measured, name: str, resampling: Resampling) -> Located:
    chance = float(_nanmean(measured.all(f"{name} by chance")))
    return Located(found=figure(measured.all(name), resampling), chance=_short(chance))


def _curve_entry(measured: Measured, resampling: Resampling) -> CurveEntry:
    deletion, insertion = (np.concatenate(c).mean(axis=0) for c in (measured.deletion, measured.insertion))
    return CurveEntry(
        deletion=figure(measured.all("deletion_area"), resampling),
        insertion=figure(measured.all("insertion_area"), resampling),
        gap=figure(measured.all("gap"), resampling),
        deletion_curve=tuple(_short(v) for v in deletion),
        insertion_curve=tuple(_short(v) for v in insertion),
    )


def figure(values: Doubles, resampling: Resampling) -> Figure:
    """The mean of values (N,), of which some may be NaN, with its bootstrap interval; none below five images."""
    known = np.isfinite(values)
    if not known.any():
        return Figure(value=0.0)
    mean = float(values[known].mean())
    if known.sum() < FEWEST or resampling.units_among(known) < 2:
        return Figure(value=_short(mean))
    filled = np.where(known, values, 0.0)
    with np.errstate(invalid="ignore", divide="ignore"):
        means = [(filled @ w) / (known.astype(np.float64) @ w) for w in resampling.weights()]
    low, high = percentiles(np.concatenate(means)[None])
    return Figure(value=_short(mean), low=_short(float(low[0])), high=_short(float(high[0])))


def _nanmean(values: Doubles) -> Any:
    """The mean over the last axis of what is known; 0 where nothing is."""
    known = np.isfinite(values)
    return np.where(known, values, 0).sum(axis=-1) / np.maximum(known.sum(axis=-1), 1)


def _short(value: float) -> float:
    return float(f"{value:.5g}")
