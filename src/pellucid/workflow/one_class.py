"""Normal images to a run folder of an anomaly detector: features, memory, threshold, evaluation, report.

Nothing is trained: a backbone with given weights describes every image, and what normal images look like is kept.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import numpy.typing as npt

from .._version import __version__
from ..bundle.bundle import Bundle, load
from ..bundle.io import amend_bundle
from ..bundle.manifest import AnomalyFacts, Manifest
from ..bundle.run import AnomalyRecord, RunFolder, RunRecord, SuspectImage
from ..data.cache import cached_pixels
from ..data.dataset import Dataset
from ..data.labelling import counted
from ..data.manifest import write_split
from ..data.one_class import read_one_class
from ..data.table import TableOptions
from ..evaluation.operating_point import OperatingPoint, choose_operating_point
from ..evaluation.schema import write_evaluation
from ..evaluation.validation import ValidationAnswers, write_validation
from ..progress import Progress
from ..recipe import Recipe
from ..storage import cache_folder
from .decision import check_decision
from .evaluation import evaluate_dataset
from .examples import explain_examples
from .normals import Describer, SeenImages
from .one_class_fit import FittedDetector, fit_normals
from .one_class_split import Divided, divide_normals
from .provenance import data_checksum, data_record, hardware, now, versions
from .scales import scales_by_threshold
from .sealing import open_first
from .settling import settled_recipe

Mask = npt.NDArray[np.bool_]
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
    sealed_test: bool = False
    seconds: dict[str, float] = field(default_factory=dict)

    @contextmanager
    def timed(self, step: str) -> Iterator[None]:
        """Keep how long a step takes, in seconds."""
        began = time.perf_counter()
        yield
        self.seconds[step] = round(time.perf_counter() - began, 2)


def learn_normal(job: OneClassJob) -> None:
    """Fit a detector to the normal images of `job.data`, and write everything that a run folder holds."""
    check_decision(job.recipe.decision, "anomaly")
    section = job.recipe.data
    table = TableOptions(section.path_column, section.label_column, Path(section.images) if section.images else None)
    dataset = read_one_class(job.data, normal=job.recipe.anomaly.normal, group_by=section.group_by, table=table)
    job = replace(job, recipe=settled_recipe(job.recipe, dataset, job.progress))
    with job.timed("network"):
        describer = Describer.of(job.recipe, job.seed, job.progress)
    with job.timed("data"):
        images, divided = _read(job, dataset)
    with job.timed("train"):
        fitted = fit_normals(describer, images)
    with job.timed("export"):
        _export(job, describer, fitted, images)
    with job.timed("decide"):
        bundle = _decide(job, fitted, images)
    test = images.dataset.split("test")
    seal = open_first(job.run, test) if job.sealed_test or job.run.seal.is_file() else None
    with job.timed("evaluate"):
        evaluated = evaluate_dataset(bundle, test, "test", progress=job.progress)
        write_evaluation(evaluated.result, job.run.evaluation)
    with job.timed("explain"):
        explain_examples(bundle, test, evaluated.result, job.run.explanations, job.progress)
    record = _record(job, divided, fitted).model_copy(update={"sealed": seal})
    job.run.record.write_text(record.model_dump_json(indent=2), encoding="utf-8")
    from ..reporting.figures import save_figures
    from ..reporting.html import build_report

    save_figures(evaluated.result, [], job.run.figures, pixels=evaluated.pixels, decisions=False)
    build_report(job.run.root)
    job.run.seal.unlink(missing_ok=True)


def _read(job: OneClassJob, dataset: Dataset) -> tuple[SeenImages, Divided]:
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
    return SeenImages(divided.dataset, cached.pixels, rows), divided


def _export(job: OneClassJob, describer: Describer, fitted: FittedDetector, images: SeenImages) -> Manifest:
    from ..models.anomaly_export import export_detector

    recipe, classes, graph = job.recipe, images.dataset.classes, describer.graph
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
        initial_weights=describer.source,
        provenance={"recipe": recipe.name, "data": data_checksum(images.dataset, job.run), "created": now()},
        anomaly=AnomalyFacts(
            method=section.method,
            layers=graph.layers,
            images=len(fitted.learnt),
            memory=fitted.detector.memory_rows,
            top=fitted.detector.top,
            usual=fitted.usual,
        ),
    )
    some = fitted.learnt
    few = some[np.linspace(0, len(some) - 1, min(PARITY_IMAGES, len(some))).round().astype(int)]
    batch = recipe.preprocessing().normalise(images.pixels[images.rows[few]])
    job.progress.say("Writing the detector as one ONNX graph, and comparing ...")
    return export_detector(graph, fitted.detector, manifest, job.run.bundle, images=batch)


def _decide(job: OneClassJob, fitted: FittedDetector, images: SeenImages) -> Bundle:
    """Choose the threshold by scores of images that were not learnt from, and keep it in the bundle."""
    samples = [images.dataset.samples[i] for i in fitted.held]
    bundle = load(job.run.bundle)
    answers = ValidationAnswers(
        paths=tuple(s.path for s in samples),
        labels=np.array([s.label for s in samples], np.int64),
        groups=tuple(s.group for s in samples),
        logits=fitted.scores[:, None],
    )
    write_validation(answers, bundle.classes, job.run.evaluation)
    point = _threshold(job.recipe, answers, fitted.suspect, bundle.classes[1])
    job.progress.say(f"Threshold {point.threshold:.3g}. {point.statement}")
    scales = scales_by_threshold(bundle.manifest, point.threshold)
    changes = {"operating_point": point, "threshold": point.threshold, "scales": scales}
    amend_bundle(bundle.folder, changes)
    return load(job.run.bundle)


def _threshold(recipe: Recipe, answers: ValidationAnswers, suspect: Mask, positive: str) -> OperatingPoint:
    """The threshold that the recipe asks for, and what is to be said of images that look bad."""
    section, asked = recipe.anomaly, recipe.decision.operating_point
    if asked == "0.5":
        bad = bool(answers.labels.any())
        asked = "youden" if bad and section.use_bad else f"false-alarms<={section.false_alarms:g}"

    def chosen(rows: Mask) -> OperatingPoint:
        groups = [group for group, mine in zip(answers.groups, rows, strict=True) if mine]
        labels, scores = answers.labels[rows], answers.logits[rows, 0]
        return choose_operating_point(asked, labels=labels, scores=scores, groups=groups, positive=positive)

    every = np.ones(len(suspect), bool)
    many = f"{counted(int(suspect.sum()), 'image')} that {'looks' if suspect.sum() == 1 else 'look'} bad"
    if not suspect.any() or suspect.all():
        return chosen(every)
    if not section.count_suspects:
        point = chosen(~suspect)
        more = f" {many} did not count: if normal images look like that, more are flagged."
    else:
        point = chosen(every)
        without = chosen(~suspect).threshold
        more = f" {many} counted as normal."
        if without < point.threshold:
            more += f" Without them the threshold would be {without:.3g}: move bad ones out of the normal images."
    return point.model_copy(update={"statement": point.statement + more})


def _record(job: OneClassJob, divided: Divided, fitted: FittedDetector) -> RunRecord:
    dataset, recipe = divided.dataset, job.recipe.name
    usual = ("pellucid", "train", str(job.data), "--recipe", recipe, "--seed", str(job.seed))
    order = np.argsort(-fitted.judged.scores, kind="stable")
    suspects = tuple(
        SuspectImage(
            path=dataset.samples[fitted.judged_of[i]].path,
            split=dataset.samples[fitted.judged_of[i]].split,
            score=round(float(fitted.judged.scores[i]), 3),
            left_out=bool(fitted.judged.far[i]) and job.recipe.anomaly.clean,
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
        data=data_record(dataset, job.data, job.run, reasons=divided.reasons, overlaps=divided.overlaps),
        anomaly=AnomalyRecord(
            images=len(fitted.judged_of),
            held=len(fitted.held),
            learnt=len(fitted.learnt),
            suspects=suspects,
            cleaned=job.recipe.anomaly.clean,
            seconds=job.seconds["train"],
        ),
        seconds=job.seconds,
    )
