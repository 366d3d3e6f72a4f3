"""Normal images to a run folder of an anomaly detector: features, memory, threshold, evaluation, report.

Nothing is trained: a backbone with given weights describes every image, and what normal images look like is kept.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from .._version import __version__
from ..anomaly.detector import Detector, ImageFeatures, Parts
from ..anomaly.fitting import Suspicion, cells_wanted, fit_detector, judge, with_units
from ..bundle.bundle import Bundle, load
from ..bundle.io import amend_bundle
from ..bundle.manifest import AnomalyFacts, Manifest
from ..bundle.run import AnomalyRecord, RunFolder, RunRecord, SuspectImage
from ..data.cache import cached_pixels
from ..data.dataset import Dataset
from ..data.manifest import write_split
from ..data.one_class import read_one_class
from ..data.table import TableOptions
from ..errors import DataError
from ..evaluation.operating_point import choose_operating_point
from ..evaluation.schema import write_evaluation
from ..evaluation.validation import ValidationAnswers, write_validation
from ..explanation.anomaly_map import NAME as MAP_METHOD
from ..preprocessing import FloatArray, Uint8Array
from ..progress import Progress
from ..recipe import Recipe
from ..storage import cache_folder
from .decision import check_decision
from .evaluation import evaluate_dataset
from .examples import explain_examples
from .localisation import localise
from .one_class_split import Divided, divide_normals
from .prediction import BATCH, Rows
from .provenance import data_checksum, data_record, hardware, now, versions
from .settling import settled_recipe

if TYPE_CHECKING:
    from ..models.patch_features import FeatureGraph

PARITY_IMAGES = 16


@dataclass(frozen=True)
class OneClassJob:
    """One fit: what was asked for, and where it is written."""

    data: Path
    name: str
    recipe: Recipe
    seed: int
    command: Sequence[str]
    run: RunFolder
    progress: Progress
    seconds: dict[str, float] = field(default_factory=dict)

    @contextmanager
    def timed(self, step: str) -> Iterator[None]:
        """Keep how long a step takes, in seconds."""
        began = time.perf_counter()
        yield
        self.seconds[step] = round(time.perf_counter() - began, 2)


@dataclass(frozen=True)
class _NormalImages:
    """The images as the model sees them: sample i of `divided.dataset` is `pixels[rows[i]]`."""

    divided: Divided
    pixels: Uint8Array
    rows: Rows

    @property
    def dataset(self) -> Dataset:
        return self.divided.dataset

    def positions(self, split: str) -> Rows:
        """Which samples are in a split."""
        return np.flatnonzero([s.split == split for s in self.dataset.samples])

    def groups(self, positions: Rows) -> tuple[str, ...]:
        """The groups of some samples."""
        return tuple(self.dataset.samples[i].group for i in positions)


@dataclass(frozen=True)
class _Fitted:
    """A detector, what was judged of the normal images (`judged_of`), and those learnt from and held out, as samples.

    `held` are the validation images; `learnt` are the normal ones of these and the training images, but for those that
    look bad, if these are left out. `scores` (of `held`) are by a detector that had not learnt from these images.
    """

    detector: Detector
    judged: Suspicion
    judged_of: Rows
    learnt: Rows
    held: Rows
    scores: FloatArray


def learn_normal(job: OneClassJob) -> None:
    """Fit a detector to the normal images of `job.data`, and write everything that a run folder holds."""
    check_decision(job.recipe.decision, "anomaly")
    section = job.recipe.data
    table = TableOptions(section.path_column, section.label_column, Path(section.images) if section.images else None)
    dataset = read_one_class(job.data, normal=job.recipe.anomaly.normal, group_by=section.group_by, table=table)
    job = replace(job, recipe=settled_recipe(job.recipe, dataset, job.progress))
    with job.timed("network"):
        graph, source = _features(job)
    with job.timed("data"):
        images = _read(job, dataset)
    with job.timed("train"):
        fitted = _fit(job, graph, images)
    with job.timed("export"):
        _export(job, graph, fitted, images, source)
    with job.timed("decide"):
        bundle = _decide(job, fitted, images)
    with job.timed("evaluate"):
        test = images.dataset.split("test")
        evaluated = evaluate_dataset(bundle, test, "test", progress=job.progress)
        write_evaluation(evaluated.result, job.run.evaluation)
    with job.timed("explain"):
        explain_examples(bundle, test, evaluated.result, job.run.explanations, job.progress)
        localisation = localise(bundle, test, job.progress)
    record = _record(job, images, fitted).model_copy(update={"localisation": localisation})
    job.run.record.write_text(record.model_dump_json(indent=2), encoding="utf-8")
    from ..reporting.figures import save_figures
    from ..reporting.html import build_report

    save_figures(evaluated.result, [], job.run.figures, pixels=evaluated.pixels, decisions=False)
    build_report(job.run.root)


def _features(job: OneClassJob) -> tuple[FeatureGraph, dict[str, str]]:
    """The backbone's features as a graph, and where its weights come from."""
    from ..models.backbones import build_backbone
    from ..models.patch_features import PatchFeatures, choose_layers, feature_graph
    from ..models.weights import load_initial_weights
    from ..training.hardware import seed_torch

    recipe = job.recipe
    shape = recipe.preprocessing()
    size = (shape.height, shape.width)
    seed_torch(job.seed)
    backbone = build_backbone(recipe.model, size).eval()
    source = load_initial_weights(backbone, recipe.model.backbone, recipe.model.weights)
    layers = choose_layers(backbone, recipe.model.backbone, recipe.anomaly.layers, size)
    job.progress.say(f"Features of {recipe.model.backbone}: layers {' and '.join(layers)}.")
    return feature_graph(PatchFeatures(backbone, layers, recipe.anomaly.smoothing), size), source


def _read(job: OneClassJob, dataset: Dataset) -> _NormalImages:
    """Decode and divide the images, telling what was decided."""
    with job.progress.bar("Reading images") as advance:
        cached = cached_pixels(dataset, job.recipe.preprocessing(), cache_folder(), progress=advance)
    job.progress.say("Splitting, and comparing images across splits ...")
    divided = divide_normals(cached.dataset, job.recipe, job.seed)
    for line in (*divided.dataset.notes, *divided.reasons):
        job.progress.say(line)
    place = {s.path: i for i, s in enumerate(cached.dataset.samples)}
    rows = np.array([place[s.path] for s in divided.dataset.samples], np.intp)
    (job.run.root / "recipe.toml").write_text(job.recipe.to_toml(), encoding="utf-8")
    write_split(job.run.split, divided.dataset)
    return _NormalImages(divided, cached.pixels, rows)


def _fit(job: OneClassJob, graph: FeatureGraph, images: _NormalImages) -> _Fitted:
    """Describe the normal images, leave out those that look bad, fit to the training images, measure those held out."""
    section = job.recipe.anomaly
    description = _describe(job, graph, images)
    judged = _judge(job, images, description)
    rows, labels = description.rows, images.dataset.labels
    kept = ~judged.suspect if section.clean else np.ones(len(rows), bool)
    train = np.isin(rows, images.positions("train")) & kept
    validation = images.positions("val")
    left_out = set(rows[~kept].tolist())
    held = np.array([i for i in validation if int(i) not in left_out], np.intp)
    normal = held[labels[held] == 0]
    if train.sum() < 2 or not len(normal):
        raise DataError(
            "Too few normal images are left, as most look unlike one another: set anomaly.clean to false to learn from "
            "every image."
        )
    job.progress.say("Choosing what to keep of the normal images ...")
    chosen = description.patches[train], description.statistics[train]
    first = fit_detector(*chosen, graph.grid, section, seed=job.seed)
    parts, local = _measured(job, graph, images, first, held)
    first = with_units(first, parts.take(np.flatnonzero(labels[held] == 0)), section.whole)
    scores = local / np.float32(first.local_unit)
    if parts.whole is not None:
        scores = scores + parts.whole / np.float32(first.whole_unit)
    # What chose the threshold is learnt from afterwards: new normal images come nearer by it, not farther.
    final = fit_detector(description.patches[kept], description.statistics[kept], graph.grid, section, seed=job.seed)
    final = replace(final, local_unit=first.local_unit, whole_unit=first.whole_unit)
    return _Fitted(final, judged, rows, rows[kept], held, scores)


@dataclass(frozen=True)
class _Description:
    """Some cells (N, P, C) and the statistics (N, S) of the normal images `rows` (N,) that do not test."""

    rows: Rows
    patches: FloatArray
    statistics: FloatArray


def _describe(job: OneClassJob, graph: FeatureGraph, images: _NormalImages) -> _Description:
    labels = images.dataset.labels
    rows = np.sort(np.concatenate([images.positions(split) for split in ("train", "val")]))
    rows = rows[labels[rows] == 0]
    cells = graph.grid[0] * graph.grid[1]
    wanted = cells_wanted(len(images.positions("train")), job.recipe.anomaly, cells)
    rng = np.random.default_rng(job.seed)
    patches: list[FloatArray] = []
    statistics: list[FloatArray] = []
    for features in _passes(job, graph, images, rows, "Describing the normal images"):
        for image in features.patches.reshape(len(features), cells, -1):
            patches.append(image if wanted == cells else image[rng.choice(cells, wanted, replace=False)])
        statistics.append(features.statistics)
    return _Description(rows, np.stack(patches), np.concatenate(statistics))


def _passes(
    job: OneClassJob, graph: FeatureGraph, images: _NormalImages, rows: Rows, what: str
) -> Iterator[ImageFeatures]:
    """Features of the samples `rows`, a batch at a time."""
    session, shape = graph.session(), job.recipe.preprocessing()
    with job.progress.bar(what) as advance:
        for start in range(0, len(rows), BATCH):
            yield session(shape.normalise(images.pixels[images.rows[rows[start : start + BATCH]]]))
            advance(min(start + BATCH, len(rows)), len(rows))


def _measured(
    job: OneClassJob, graph: FeatureGraph, images: _NormalImages, detector: Detector, rows: Rows
) -> tuple[Parts, FloatArray]:
    """The distances of held-out images from what was learnt, and their local scores (N,) before any unit."""
    local, whole, scores = [], [], []
    for features in _passes(job, graph, images, rows, "Measuring the images held out"):
        parts = detector.parts(features)
        found = np.zeros(len(features), np.float32)
        if parts.local is not None:
            local.append(parts.local)
            found = detector.local_scores(parts.local, features)
        if parts.whole is not None:
            whole.append(parts.whole)
        scores.append(found)
    both = Parts(np.concatenate(local) if local else None, np.concatenate(whole) if whole else None)
    return both, np.concatenate(scores)


def _judge(job: OneClassJob, images: _NormalImages, description: _Description) -> Suspicion:
    job.progress.say("Looking for bad images among the normal ones ...")
    groups = images.groups(description.rows)
    judged = judge(description.patches, description.statistics, groups, job.recipe.anomaly, seed=job.seed)
    many = int(judged.suspect.sum())
    if many:
        end = "left out" if job.recipe.anomaly.clean else "kept nevertheless, as anomaly.clean is off"
        whole = len(description.rows)
        job.progress.say(f"{many:,} of {whole:,} images taken as normal look unlike the others and are {end}.")
    return judged


def _export(
    job: OneClassJob, graph: FeatureGraph, fitted: _Fitted, images: _NormalImages, source: dict[str, str]
) -> Manifest:
    from ..models.anomaly_export import export_detector

    recipe, classes = job.recipe, images.dataset.classes
    section = recipe.anomaly
    manifest = Manifest(
        pellucid_version=__version__,
        name=job.name,
        task="anomaly",
        classes=classes,
        preprocessing=recipe.preprocessing(),
        layer=graph.layer,
        logits=1,
        medical=recipe.medical,
        architecture=recipe.model.model_dump(mode="json", exclude_none=True),
        initial_weights=source,
        provenance={"recipe": recipe.name, "data": data_checksum(images.dataset, job.run), "created": now()},
        anomaly=AnomalyFacts(
            method=section.method,
            layers=graph.layers,
            images=len(fitted.learnt),
            memory=fitted.detector.memory_rows,
            top=fitted.detector.top,
        ),
    )
    some = images.positions("val")
    few = some[np.linspace(0, len(some) - 1, min(PARITY_IMAGES, len(some))).round().astype(int)]
    batch = recipe.preprocessing().normalise(images.pixels[images.rows[few]])
    job.progress.say("Writing the detector as one ONNX graph, and comparing ...")
    return export_detector(graph, fitted.detector, manifest, job.run.bundle, images=batch)


def _decide(job: OneClassJob, fitted: _Fitted, images: _NormalImages) -> Bundle:
    """Choose the threshold from images that were held out, and keep it in the bundle."""
    validation = fitted.held
    samples = [images.dataset.samples[i] for i in validation]
    bundle = load(job.run.bundle)
    scores = fitted.scores[:, None]
    answers = ValidationAnswers(
        paths=tuple(s.path for s in samples),
        labels=np.array([s.label for s in samples], np.int64),
        groups=tuple(s.group for s in samples),
        logits=scores,
    )
    write_validation(answers, bundle.classes, job.run.evaluation)
    asked = job.recipe.decision.operating_point
    if asked == "0.5":
        bad = bool(answers.labels.any())
        asked = "youden" if bad and job.recipe.anomaly.use_bad else f"false-alarms<={job.recipe.anomaly.false_alarms:g}"
    point = choose_operating_point(
        asked, labels=answers.labels, scores=scores[:, 0], groups=answers.groups, positive=bundle.classes[1]
    )
    gone = len(images.positions("val")) - len(validation)
    if gone:
        counted_out = f" {gone:,} that look bad were not counted: if they are normal, more will be flagged."
        point = point.model_copy(update={"statement": point.statement + counted_out})
    job.progress.say(f"Threshold {point.threshold:.3g}. {point.statement}")
    scale = {key: point.threshold * share for key, share in SCALE.items()}
    changes = {"operating_point": point, "threshold": point.threshold, "scales": {MAP_METHOD: scale}}
    amend_bundle(bundle.folder, changes)
    return load(job.run.bundle)


SCALE = {"q05": 0.2, "q25": 0.4, "q50": 0.6, "q75": 0.8, "q95": 1.0}
"""The scale of the map by its threshold: a map is drawn in full colour where it reaches the threshold."""


def _record(job: OneClassJob, images: _NormalImages, fitted: _Fitted) -> RunRecord:
    dataset, recipe = images.dataset, job.recipe.name
    usual = ("pellucid", "train", str(job.data), "--recipe", recipe, "--seed", str(job.seed))
    order = np.argsort(-fitted.judged.scores, kind="stable")
    suspects = tuple(
        SuspectImage(
            path=dataset.samples[fitted.judged_of[i]].path,
            split=dataset.samples[fitted.judged_of[i]].split,
            score=round(float(fitted.judged.scores[i]), 3),
        )
        for i in order
        if fitted.judged.suspect[i]
    )
    return RunRecord(
        name=job.name,
        created=now(),
        command=tuple(job.command) or usual,
        seed=job.seed,
        recipe=recipe,
        versions=versions(),
        hardware=hardware(),
        data=data_record(dataset, job.data, job.run, reasons=images.divided.reasons, overlaps=images.divided.overlaps),
        anomaly=AnomalyRecord(
            images=len(images.positions("train")),
            held=len(fitted.held),
            learnt=len(fitted.learnt),
            suspects=suspects,
            cleaned=job.recipe.anomaly.clean,
            seconds=job.seconds["train"],
        ),
        seconds=job.seconds,
    )
