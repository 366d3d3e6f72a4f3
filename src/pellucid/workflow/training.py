"""Recipe and data to a run folder: read, split, train, export, evaluate, explain, report.

`train` does it; its first steps are in `preparing.py`. Every step takes the `_TrainingJob`, which says what to do.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np

from .._version import __version__
from ..bundle.bundle import Bundle
from ..bundle.io import amend_bundle
from ..bundle.manifest import Layer, Manifest
from ..bundle.run import LocalisationRecord, LossGrowth, RunFolder, RunRecord, TrainingRecord
from ..data.manifest import write_split
from ..errors import InputError
from ..evaluation.kept_out import AbroadRecord
from ..evaluation.learned import learning_of
from ..evaluation.schema import write_evaluation
from ..evaluation.validation import read_validation
from ..progress import Progress, Silent
from ..recipe import Recipe, same_recipe
from ..storage import draft_of, resumable_folder, the_same_as_before
from .abroad import estimate_abroad
from .abroad_full import FullSearch, estimate_fully, forget_fully
from .decision import KeptOutAnswers, decide
from .evaluation import Evaluated, evaluate_dataset
from .examples import explain_examples
from .hiding import hiding_of
from .localisation import localise
from .preparing import Prepared, build, choose_recipe, prepare, read_labelled
from .provenance import data_checksum, data_record, hardware, now, versions
from .scales import keep_scales
from .sealing import open_first
from .settling import settled_recipe
from .sparing import LookedAt, sparing_details
from .subgrouping import ImageTable, table_by_recipe

if TYPE_CHECKING:
    from ..evaluation.hiding import SignHiding
    from ..models.network import Network
    from ..training.loop import Fitted
    from ..training.processes import Processes

COARSE = 4
"""Heat maps of up to this number of cells are remarked on."""
PARITY_IMAGES = 32
AbroadMode = Literal["quick", "full", "none"]


@dataclass(frozen=True)
class _TrainingJob:
    """One training: what was asked for, where it is written, which processes take part, and how long each step took."""

    data: Path
    name: str
    recipe: Recipe
    seed: int
    command: Sequence[str]
    track: str | None
    sealed_test: bool
    abroad: AbroadMode
    run: RunFolder
    processes: Processes
    progress: Progress
    seconds: dict[str, float] = field(default_factory=dict)

    @contextmanager
    def timed(self, step: str) -> Iterator[None]:
        """Keep how long a step takes, in seconds."""
        began = time.perf_counter()
        yield
        self.seconds[step] = round(time.perf_counter() - began, 2)


def train(
    data: str | Path,
    *,
    recipe: str | Path | Recipe | None = None,
    out: str | Path,
    backbone: str | None = None,
    weights: str | None = None,
    seed: int = 0,
    overrides: Sequence[str] = (),
    group_by: str | None = None,
    positive: str | None = None,
    merge: Mapping[str, Sequence[str]] | None = None,
    hide: Sequence[str] = (),
    name: str | None = None,
    resume: bool = False,
    track: str | None = None,
    sealed_test: bool = False,
    abroad: AbroadMode = "quick",
    command: Sequence[str] = (),
    progress: Progress | None = None,
) -> Path:
    """Train a classifier on labelled images and write a complete run folder to `out`; returns it.

    `data` is a folder or CSV as `read_dataset` takes it. Without a `recipe` it is `default`, or `small` where no
    ImageNet weights can be had. `overrides` are `section.key=value`. `backbone`, `weights`, `group_by`, `positive` and
    `merge` ({class: folders merged into it}) replace the recipe's values where given, and so does `hide`: what an audit
    accused, `RUN:concept-1` or a region, is covered and exchanged in training images. `name` is the title of the
    report, by default the folder's name. The folder appears whole, or not at all when anything fails; finished epochs
    then stay beside it, and the same call with `resume=True` continues after them.
    `track` is `tensorboard` or `mlflow`. Under `torchrun` or `accelerate launch` the processes train together and the
    first one writes. With `sealed_test=True` the test images are opened once, after the last decision, and `run.json`
    counts every later use. `abroad` says how figures for images from elsewhere are found: `quick` leaves each source of
    images out of a linear head, `full` trains the whole recipe again without each source as well (up to 8 times, each
    resumed as the training itself), `none` does neither. Needs the extra `train`. Raises InputError and its kinds for
    what cannot be used, ResourceError when memory or disk space runs out.
    """
    chosen = choose_recipe(
        recipe,
        overrides=overrides,
        backbone=backbone,
        weights=weights,
        group_by=group_by,
        positive=positive,
        merge=merge,
        hide=hide,
        progress=progress,
    )
    if abroad == "full" and chosen.data.hide:
        raise InputError("`abroad='full'` trains without `hide=`: leave one or the other out.")
    if chosen.task == "anomaly" and (track or abroad == "full"):
        raise InputError("Nothing is trained to detect anomalies: leave out `track=` and `abroad='full'`.")
    if track:
        from ..training.tracking import check_tracker

        check_tracker(track)
    processes = _processes()
    if abroad == "full" and processes.share.processes > 1:
        raise InputError("`abroad='full'` trains in one process: start pellucid without a launcher, or leave it out.")
    shown = progress if progress is not None and processes.first else Silent()
    out = Path(out)
    with resumable_folder(out, resume=resume) if processes.first else _followed(out) as draft:
        run = RunFolder(draft)
        _run(
            _TrainingJob(
                Path(data), name or out.name, chosen, seed, command, track, sealed_test, abroad, run, processes, shown
            )
        )
    return out


def follows() -> bool:
    """Whether this process follows another in training: it neither writes nor speaks."""
    return int(os.environ.get("RANK", "0")) > 0


def _processes() -> Processes:
    from ..training.hardware import pick_device
    from ..training.processes import Processes

    return Processes.join(pick_device())


@contextmanager
def _followed(out: Path) -> Iterator[Path]:
    """The draft that the first process makes."""
    yield draft_of(out)


def _run(job: _TrainingJob) -> None:
    """Every step, of which the processes that follow take part in those up to the last epoch."""
    if job.recipe.task == "anomaly":
        from .one_class import OneClassJob, learn_normal

        normals = OneClassJob(job.data, job.name, job.recipe, job.seed, job.command, job.run, job.progress)
        learn_normal(replace(normals, sealed_test=job.sealed_test))
        return
    # The network first: a weights file that does not fit is found before thousands of images are read.
    dataset = read_labelled(job.data, job.recipe)
    job = replace(job, recipe=settled_recipe(job.recipe, dataset, job.progress))
    network, source = build(job.recipe, len(dataset.classes), job.seed)
    with job.timed("data"), job.processes.first_before_others():
        prepared = prepare(dataset, job.recipe, job.seed, job.progress)
        looked_at = LookedAt(prepared.dataset, prepared.pixels, prepared.rows)
        recipe, reasons = sparing_details(job.recipe, network, looked_at, job.progress)
        job, prepared = replace(job, recipe=recipe), replace(prepared, reasons=(*prepared.reasons, *reasons))
        if job.processes.first:
            with the_same_as_before(job.run.root, "recipe.toml", "split.csv", same={"recipe.toml": same_recipe}):
                (job.run.root / "recipe.toml").write_text(job.recipe.to_toml(), encoding="utf-8")
                write_split(job.run.split, prepared.dataset)
    with job.timed("abroad"):
        asked = job.abroad != "none" and job.processes.first
        abroad = estimate_abroad(network, prepared, job.recipe, job.progress) if asked else None
    hiding = hiding_of(job.recipe.data.hide, prepared, job.recipe.preprocessing(), job.seed, job.progress)
    with job.timed("train"):
        fitted = _fit(job, network, prepared, hiding)
    if not job.processes.first:
        return
    kept_out = None
    if abroad is not None and job.abroad == "full":
        with job.timed("abroad_full"):
            search = FullSearch(prepared, job.recipe, job.seed, job.run.checkpoints, job.progress)
            full, kept_out = estimate_fully(search, network, job.seconds["train"])
        abroad = abroad.model_copy(update={"full": full})
    with job.timed("export"):
        _export(job, network, prepared, source)
    with job.timed("decide"):
        bundle = _decide(job, prepared, abroad, kept_out)
    with job.timed("scales"), job.progress.bar("Scales of the heat maps") as advance:
        bundle = keep_scales(bundle, prepared.pixels, prepared.rows[prepared.positions("val")], advance)
    sealed = job.sealed_test or job.run.seal.is_file()
    seal = open_first(job.run, prepared.dataset.split("test")) if sealed else None
    with job.timed("evaluate"):
        evaluated = _evaluate(job, bundle, prepared)
    with job.timed("explain"):
        explain_examples(bundle, prepared.dataset, evaluated.result, job.run.explanations, job.progress)
        localisation = localise(bundle, prepared.dataset.split("test"), job.progress)
    record = _record(job, prepared, _training_record(job, network, fitted, bundle), localisation)
    record = record.model_copy(update={"sealed": seal, "abroad": abroad})
    job.run.record.write_text(record.model_dump_json(indent=2), encoding="utf-8")
    _draw(job, fitted, evaluated)
    _forget(job)


def _fit(job: _TrainingJob, network: Network, prepared: Prepared, hiding: SignHiding | None) -> Fitted:
    from ..training.hardware import denormals_as_zero
    from ..training.session import Training, train_network
    from ..training.tracking import tracker

    recipe, run = job.recipe, job.run
    settings = {"recipe": recipe.name, "backbone": recipe.model.backbone, "seed": str(job.seed)}
    tracked = job.track if job.processes.first else None
    with denormals_as_zero(), tracker(tracked, run.root, job.name, settings) as track:
        fitted = train_network(
            network,
            Training(
                recipe,
                train=prepared.source("train"),
                validation=prepared.source("val"),
                classes=len(prepared.dataset.classes),
                seed=job.seed,
                checkpoints=run.checkpoints,
                progress=job.progress,
                processes=job.processes,
                track=track,
                hiding=hiding,
            ),
        )
    if job.processes.first:
        fitted.history.write(run.history)
    return fitted


def _export(job: _TrainingJob, network: Network, prepared: Prepared, source: dict[str, str]) -> None:
    from ..models.export import export_bundle

    job.progress.say("Exporting to ONNX and comparing with the trained network ...")
    validation = prepared.positions("val")
    few = validation[np.linspace(0, len(validation) - 1, min(PARITY_IMAGES, len(validation))).round().astype(int)]
    manifest = export_bundle(
        network,
        _manifest(job, network, prepared, source),
        job.run.bundle,
        images=job.recipe.preprocessing().normalise(prepared.pixels[np.sort(prepared.rows[few])]),
        source="the validation set",
        layers=job.recipe.model.layers,
        every_method=job.recipe.model.every_method,
    )
    _say_parity(manifest, job.progress)


def _manifest(job: _TrainingJob, network: Network, prepared: Prepared, source: dict[str, str]) -> Manifest:
    """What is known of the bundle before its export."""
    from ..models.network import number_of_logits, task_of

    recipe, classes = job.recipe, prepared.dataset.classes
    task = task_of(recipe, len(classes))
    return Manifest(
        pellucid_version=__version__,
        name=job.name,
        task=task,
        classes=classes,
        preprocessing=recipe.preprocessing(),
        layer=Layer(name=network.explained_layer, channels=0, height=0, width=0, stride=(1, 1), offset=(0.5, 0.5)),
        logits=number_of_logits(task, len(classes)),
        medical=recipe.medical,
        architecture=recipe.model.model_dump(mode="json", exclude_none=True),
        initial_weights=source,
        provenance={"recipe": recipe.name, "data": data_checksum(prepared.dataset, job.run), "created": now()},
    )


def _say_parity(manifest: Manifest, progress: Progress) -> None:
    parity = manifest.parity
    if parity is not None:
        progress.say(
            f"Parity on {parity.images} validation images: probability within {parity.probability:.1e}, "
            f"heat map within {parity.heat_map:.1e} of its largest value (limit {parity.tolerance:g})."
        )
    for what, reason in manifest.missing.items():
        progress.say(f"The bundle has no graph for the {what}: {reason}.")
    layer = manifest.layer
    if layer is not None and 0 < layer.height * layer.width <= COARSE:
        progress.say(
            f"Heat maps have only {layer.height} x {layer.width} cells and hardly show where the evidence is: "
            "choose a larger `data.size`, or `model.output_stride` = 16."
        )


def _decide(
    job: _TrainingJob, prepared: Prepared, abroad: AbroadRecord | None, kept_out: KeptOutAnswers | None
) -> Bundle:
    train, validation = (prepared.positions(split) for split in ("train", "val"))
    amend_bundle(job.run.bundle, {"abroad": abroad})
    return decide(
        job.run,
        pixels=prepared.pixels,
        train=prepared.rows[train],
        labels=prepared.dataset.labels[train],
        validation=prepared.rows[validation],
        samples=[prepared.dataset.samples[i] for i in validation],
        wanted=job.recipe.decision,
        progress=job.progress,
        kept_out=kept_out,
        table=_table(job, prepared),
    )


def _table(job: _TrainingJob, prepared: Prepared) -> ImageTable | None:
    return table_by_recipe(job.data, prepared.dataset.root, job.recipe.data)


def _evaluate(job: _TrainingJob, bundle: Bundle, prepared: Prepared) -> Evaluated:
    table = _table(job, prepared)
    evaluated = evaluate_dataset(bundle, prepared.dataset.split("test"), "test", table=table, progress=job.progress)
    write_evaluation(evaluated.result, job.run.evaluation)
    if bundle.task == "regression":
        # A scatter of scores says little without that of the images that were learned from.
        learned = evaluate_dataset(bundle, prepared.dataset.split("train"), "train", progress=job.progress)
        write_evaluation(learned.result, job.run.root / "evaluation-train")
    return evaluated


def _draw(job: _TrainingJob, fitted: Fitted, evaluated: Evaluated) -> None:
    from ..reporting.figures import save_figures
    from ..reporting.html import build_report

    best = int(fitted.history.best_row["epoch"])
    save_figures(
        evaluated.result,
        fitted.history.rows,
        job.run.figures,
        best_epoch=best,
        monitor=fitted.history.monitor,
        pixels=evaluated.pixels,
        decisions=False,  # the report saves these, with the published figures in them
    )
    build_report(job.run.root)


def _forget(job: _TrainingJob) -> None:
    from ..training.session import forget

    forget(job.run.checkpoints)
    forget_fully(job.run.checkpoints)
    job.run.seal.unlink(missing_ok=True)


def _record(
    job: _TrainingJob, prepared: Prepared, training: TrainingRecord, localisation: LocalisationRecord | None
) -> RunRecord:
    dataset, recipe = prepared.dataset, job.recipe.name
    usual = ("pellucid", "train", str(job.data), "--recipe", recipe, "--seed", str(job.seed))
    return RunRecord(
        name=job.name,
        created=now(),
        command=tuple(job.command) or usual,
        seed=job.seed,
        recipe=recipe,
        versions=versions(),
        hardware=hardware(),
        data=data_record(
            dataset, job.data, job.run, reasons=prepared.reasons, overlaps=tuple(str(o) for o in prepared.proof.leaks)
        ),
        training=training,
        localisation=localisation,
        seconds=job.seconds,
    )


def _training_record(job: _TrainingJob, network: Network, fitted: Fitted, bundle: Bundle) -> TrainingRecord:
    best, monitor = fitted.history.best_row, fitted.history.monitor
    answers = read_validation(job.run.evaluation, bundle.classes, bundle.manifest.logits)
    parameters = list(network.parameters())
    return TrainingRecord(
        epochs=len(fitted.history.rows),
        best_epoch=int(best["epoch"]),
        monitor=monitor,
        best_value=best[monitor],
        seconds=job.seconds["train"],
        ended=fitted.ended,
        parameters=sum(p.numel() for p in parameters),
        trainable_parameters=sum(p.numel() for p in parameters if p.requires_grad),
        learning=answers and learning_of(bundle.task, answers.logits, answers.labels, answers.groups),
        grown=_growth(job, fitted, bundle),
    )


def _growth(job: _TrainingJob, fitted: Fitted, bundle: Bundle) -> LossGrowth | None:
    from ..training.divergence import grown, guessing_loss

    row = grown(fitted.history.rows, guessing_loss(job.recipe.train, bundle.task, len(bundle.classes)))
    if row is None:
        return None
    return LossGrowth(epoch=int(row["epoch"]), loss=row["train_loss"], learning_rate=row["learning_rate"])
