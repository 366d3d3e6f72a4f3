"""Audit a model: is it right for the right reason? Probes of its own answers on labelled images, judged in words."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timezone
from pathlib import Path

import numpy as np

from ..bundle.bundle import Bundle, load_chosen
from ..bundle.run import RunFolder
from ..bundle.runtimes import USUAL_ENGINE, EngineChoice, audit_name
from ..classifier import selected_targets
from ..data.areas import Area, clustered_area, clustered_mean
from ..data.cache import CachedPixels, cached_pixels
from ..data.dataset import Dataset, Sample
from ..data.metadata import metadata_test
from ..data.statistics import measure_images
from ..data.summary import describe_difference
from ..errors import DataError, InputError
from ..evaluation.audit import (
    AUDIT_FILE,
    AuditDocument,
    DisturbanceEntry,
    MaskEntry,
    MetadataProbe,
    RegionEntry,
    SubgroupEntry,
)
from ..evaluation.audit_verdicts import judge
from ..evaluation.false_alarms import FalseAlarmTable, false_alarms
from ..evaluation.figures import Estimate
from ..evaluation.regions import Region, probed_regions
from ..evaluation.robustness import DisturbanceProbe, probe_disturbances
from ..evaluation.shortcuts import Indices, RegionProbe, Scores, probe_regions
from ..evaluation.subgroups import Subgroup, by_subgroup
from ..explanation.catalogue import find_method, settings_of
from ..explanation.localisation import energy_inside, mask_share, pixel_area
from ..explanation.maps import scores_of_logits
from ..files import write_whole
from ..images.formats import IMAGE_SUFFIXES
from ..preprocessing import Preprocessing, Uint8Array
from ..progress import Progress, Silent
from ..storage import cache_folder
from .discovering_run import USUAL, AuditSettings, search
from .evaluation import foreign_split, own_split
from .localisation import true_mask
from .prediction import answers_on_pixels
from .sealing import open_again
from .subgrouping import table_of, told_apart

BATCH = 16
STRONGEST = 3
LEADING = 0.6


def audit_run(
    run: Path,
    data: Path | None = None,
    *,
    settings: AuditSettings = USUAL,
    out: Path | None = None,
    choice: EngineChoice = USUAL_ENGINE,
    progress: Progress | None = None,
) -> tuple[AuditDocument, Path]:
    """Audit a run on a split of its own data or on `data`; writes `audit.json` into `out`, by default `RUN/audit`.

    Raises DataError where there are no images, or images of one class only, and InputError for a subgroup pattern that
    tells nothing apart or a folder of masks that fits no image.
    """
    bundle = load_chosen(run, choice)
    dataset = (
        own_split(RunFolder(run), bundle, settings.split)
        if data is None
        else foreign_split(bundle, data, settings.split)
    )
    open_again(RunFolder(run), dataset, "audit", own_test=data is None and settings.split == "test")
    source = data or Path(RunFolder(run).read_record().data.source)
    folder = out or run / audit_name(bundle.runtime)
    document = audit_bundle(
        bundle, dataset, source=source, settings=settings, progress=progress or Silent(), folder=folder
    )
    folder.mkdir(parents=True, exist_ok=True)
    write_whole(folder / AUDIT_FILE, document.model_dump_json(indent=2).encode())
    return document, folder


def audit_bundle(
    bundle: Bundle,
    dataset: Dataset,
    *,
    source: Path,
    settings: AuditSettings,
    progress: Progress,
    folder: Path | None = None,
) -> AuditDocument:
    """Audit a model on labelled images of its classes, and judge what was found.

    Galleries of what the model goes by are written below `folder`, and answers of a person there are kept.
    """
    chosen = _with_masks(_some(dataset, settings), settings.masks)
    with progress.bar("Reading images") as advance:
        cached = cached_pixels(chosen, bundle.preprocessing, cache_folder(), progress=advance)
    labels = cached.dataset.labels
    if not len(labels):
        raise DataError(f"There is no readable image in the {settings.split} split.")
    probed = _Probed.of(bundle, cached, progress)
    units = probed.units
    names = _subgroups(cached.dataset, source, settings.subgroup)
    document = AuditDocument(
        name=bundle.manifest.name,
        created=datetime.now(timezone.utc).isoformat(timespec="seconds"),
        source=str(source),
        split=settings.split,
        images=len(labels),
        sampled_from=len(dataset),
        groups=len({s.group for s in cached.dataset.samples} - {""}),
        classes=bundle.classes,
        seed=settings.seed,
        bundle=bundle.manifest.files.get("model.onnx", ""),
        area=Estimate.where_defined(clustered_area(probed.whole.ranking, labels, units)),
        accuracy=Estimate.of(clustered_mean((probed.whole.answers == labels).astype(np.float64), units)),
        regions=probed.regions,
        masks=_mask_entry(bundle, cached.dataset, units, settings.masks, progress),
        metadata=_metadata(cached.dataset, units, settings.seed, progress),
        disturbances=probed.disturbances,
        subgroup_by=settings.subgroup,
        subgroups=tuple(_subgroup_entry(s) for s in by_subgroup(names, probed.whole, labels, units)) if names else (),
        outside_share=_outside_share(bundle, cached.pixels),
        absent=tuple(name for k, name in enumerate(bundle.classes) if not (labels == k).any()),
        unknown=dict(dataset.unknown),
        discovered=None
        if bundle.task == "anomaly"
        else search(bundle, cached, units, folder=folder, settings=settings, progress=progress),
        false_alarms=_false_alarms(bundle, cached, progress) if bundle.task == "anomaly" else None,
    )
    return judge(document)


@dataclass(frozen=True, slots=True)
class _Probed:
    """What the model says of the pictures (N, height, width, 3) as they are, and when parts or tones are changed.

    `units` (N,) number the group of each image.
    """

    units: Indices
    whole: Scores
    regions: tuple[RegionEntry, ...]
    disturbances: tuple[DisturbanceEntry, ...]

    @classmethod
    def of(cls, bundle: Bundle, cached: CachedPixels, progress: Progress) -> _Probed:
        pixels, labels = cached.pixels, cached.dataset.labels
        units, scorer = image_units(cached.dataset), _Scorer(bundle)
        whole = scorer(pixels)
        regions = probed_regions(bundle.preprocessing.height, bundle.preprocessing.width)
        with progress.bar("Corners and borders") as advance:
            probes = probe_regions(scorer, pixels, whole, labels, units, regions, advance)
        evidence = _evidence_shares(bundle, pixels, regions)
        with progress.bar("Shifts, tones, blur") as advance:
            disturbed = probe_disturbances(scorer, pixels, whole, labels, units, advance)
        return cls(
            units,
            whole,
            tuple(_region_entry(p, evidence.get(p.region)) for p in probes),
            tuple(_disturbance_entry(d) for d in disturbed),
        )


def _false_alarms(bundle: Bundle, cached: CachedPixels, progress: Progress) -> FalseAlarmTable | None:
    scorer = _Scorer(bundle)
    normal = cached.pixels[np.flatnonzero(cached.dataset.labels == 0)]
    with progress.bar("Light, place and focus of normal images") as advance:
        return false_alarms(lambda pixels: scorer(pixels).answers == 1, normal, advance)


def _region_entry(probe: RegionProbe, evidence: float | None) -> RegionEntry:
    return RegionEntry(
        region=probe.region,
        share=probe.share,
        alone=Estimate.where_defined(probe.alone),
        lost=Estimate.where_defined(probe.lost),
        changed=probe.changed,
        evidence=evidence,
    )


def _disturbance_entry(found: DisturbanceProbe) -> DisturbanceEntry:
    return DisturbanceEntry(
        kind=found.kind,
        amount=found.amount,
        strength=found.strength,
        changed=Estimate.of(found.changed),
        lost=Estimate.where_defined(found.lost),
    )


class _Scorer:
    """A bundle as the probes ask it: pictures (N, height, width, 3) uint8 to rankings and answers."""

    def __init__(self, bundle: Bundle) -> None:
        self._bundle = bundle
        # A single logit already ranks two classes; of K classes each is ranked by its log-odds.
        self._targets = bundle.classes[1:] if len(bundle.classes) == 2 else bundle.classes

    def __call__(self, pixels: Uint8Array) -> Scores:
        rankings, answers = [], []
        for start in range(0, len(pixels), BATCH):
            logits = self._bundle.logits(self._bundle.preprocessing.normalise(pixels[start : start + BATCH]))
            rows, contrast, _ = selected_targets(
                self._bundle.classes, self._bundle.task, len(logits), self._targets, None
            )
            rankings.append(scores_of_logits(logits, rows, contrast).astype(np.float64))
            answers.append(self._bundle.manifest.predicted(logits))
        return Scores(np.concatenate(rankings), np.concatenate(answers))


def _some(dataset: Dataset, settings: AuditSettings) -> Dataset:
    """At most as many images as asked for, drawn by the seed, the classes as they are."""
    if len(dataset) <= settings.images:
        return dataset
    drawn = np.random.default_rng(settings.seed).permutation(len(dataset))[: settings.images]
    kept = {dataset.samples[i].path for i in drawn}
    return dataset.where(lambda sample: sample.path in kept)


def image_units(dataset: Dataset) -> Indices:
    """A number (N,) for each group; an image without one is alone."""
    names = [f"group {s.group}" if s.group else f"image {s.path}" for s in dataset.samples]
    units: Indices = np.unique(names, return_inverse=True)[1].astype(np.int64)
    return units


def _with_masks(dataset: Dataset, folder: Path | None) -> Dataset:
    """The dataset with the masks of a folder: each at the image's own path below it, or under the image's name."""
    if folder is None:
        return dataset
    if not folder.is_dir():
        raise InputError(f"`masks=`: there is no folder {folder}.")
    masked = tuple(replace(s, mask=_mask_of(s, folder), boxes=()) for s in dataset.samples)
    if not any(s.mask for s in masked):
        raise InputError(
            f"No mask in {folder} fits an image, for example {dataset.samples[0].path}: masks bear the image's path "
            "or name, with the suffix of any picture."
        )
    return replace(dataset, samples=masked)


def _mask_of(sample: Sample, folder: Path) -> str | None:
    path = Path(sample.path)
    places = [Path(*path.parts[i:]) for i in range(len(path.parts))]
    for place in places:
        for suffix in (path.suffix, ".png", *sorted(IMAGE_SUFFIXES)):
            if (folder / place.with_suffix(suffix)).is_file():
                return str((folder / place.with_suffix(suffix)).resolve())
    return None


def _evidence_shares(bundle: Bundle, pixels: Uint8Array, regions: Sequence[Region]) -> dict[str, float]:
    """The mean share of the positive evidence for the answer in each region; empty for a model without evidence."""
    if bundle.manifest.layer is None:
        return {}
    row = find_method(bundle.usual_method)
    size = bundle.preprocessing.height, bundle.preprocessing.width
    plain = Preprocessing(height=size[0], width=size[1])
    shares = []
    for start in range(0, len(pixels), BATCH):
        batch = bundle.preprocessing.normalise(pixels[start : start + BATCH])
        maps = row.run(bundle, batch, None, None, settings_of(row, None))
        positive = np.maximum(plain.to_original(maps.values[:, 0], maps.geometry, size), 0)
        total = positive.sum(axis=(1, 2))
        inside = np.stack([positive[:, region.mask].sum(axis=1) for region in regions], axis=1)
        shares.append(inside[total > 0] / total[total > 0, None])
    joined = np.concatenate(shares)
    if not len(joined):
        return {}
    return {region.name: float(share) for region, share in zip(regions, joined.mean(axis=0), strict=True)}


def _mask_entry(
    bundle: Bundle, dataset: Dataset, units: Indices, folder: Path | None, progress: Progress
) -> MaskEntry | None:
    """Heat maps for the true class against the masks or boxes of the images that have them."""
    marked = [i for i, s in enumerate(dataset.samples) if s.mask is not None or s.boxes]
    if not marked or bundle.manifest.layer is None:
        return None
    inside, chance, of, empty = [], [], [], 0
    distances = bundle.task == "anomaly"
    with progress.bar("Heat maps against the masks") as advance:
        for done, i in enumerate(marked, 1):
            sample = dataset.samples[i]
            image = bundle.read(dataset.file(sample))
            mask = true_mask(dataset, sample, image.size)
            if mask is not None:
                attribution = bundle.explain(image, target=bundle.classes[sample.label])
                share = pixel_area(attribution, mask) if distances else energy_inside(attribution, mask)
                if distances and share is None:  # the mask is the whole image
                    continue
                empty += share is None
                inside.append(share or 0.0)
                chance.append(0.5 if distances else mask_share(mask))
                of.append(units[i])
            advance(done, len(marked))
    if not inside:
        return None
    return MaskEntry(
        source=f"the masks of {folder}" if folder else "the masks or boxes",
        method=bundle.usual_method,
        images=len(inside),
        empty=empty,
        inside=Estimate.of(clustered_mean(np.array(inside), np.array(of))),
        chance=float(np.mean(chance)),
        measure="area" if distances else "energy",
    )


def _metadata(dataset: Dataset, units: Indices, seed: int, progress: Progress) -> MetadataProbe | None:
    """The metadata-only test on the images of the audit; None where a class has too few to be judged by."""
    with progress.bar("Files and borders") as advance:
        found = measure_images(dataset, progress=advance)
    if len(found.dataset) != len(dataset):
        return None
    test = metadata_test(found, units, seed=seed)
    if test is None:
        return None
    leading = [s for s in test.separations if s.strength >= LEADING][:STRONGEST]
    return MetadataProbe(
        area=Estimate.of(test.area), strongest=tuple(describe_difference(s, dataset.classes, found) for s in leading)
    )


def _outside_share(bundle: Bundle, pixels: Uint8Array) -> float | None:
    """The share of pictures flagged as unusual; None for a model that cannot tell."""
    logits, features = answers_on_pixels(bundle, pixels, lambda done, total: None)
    scores = None if features is None else bundle.outside_scores(features, logits)
    return None if scores is None else float((scores > 1).mean())


def _subgroups(dataset: Dataset, source: Path, wanted: str | None) -> list[str]:
    """The subgroup of each image: by a column of the CSV that they came from, or by what a pattern finds in paths."""
    if wanted is None:
        return []
    return told_apart([s.path for s in dataset.samples], wanted, table_of(source, dataset.root))


def _figure(area: Area | None) -> Estimate | None:
    return None if area is None else Estimate.of(area)


def _subgroup_entry(found: Subgroup) -> SubgroupEntry:
    return SubgroupEntry(
        name=found.name,
        images=found.images,
        accuracy=_figure(found.accuracy),
        accuracy_gap=_figure(found.accuracy_gap),
        area=_figure(found.area),
        area_gap=_figure(found.area_gap),
    )
