"""Recipe and data to a run folder: read, split, train, export, evaluate, explain, report."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from .._optional import require
from .._version import __version__
from ..bundle.bundle import Bundle
from ..bundle.manifest import Layer, Manifest
from ..bundle.run import DataRecord, LocalisationRecord, RunFolder, RunRecord, SkippedFile, TrainingRecord
from ..data.cache import cached_pixels
from ..data.dataset import Dataset
from ..data.disjointness import Disjointness
from ..data.folder import read_dataset
from ..data.manifest import write_split
from ..data.split import split_dataset
from ..errors import DataError, InputError
from ..evaluation.schema import write_evaluation
from ..preprocessing import Uint8Array
from ..progress import Progress, Silent
from ..recipe import Recipe, load_recipe, validate_recipe
from .decision import check_decision, decide
from .evaluation import Evaluated, evaluate_dataset
from .examples import explain_examples
from .localisation import localise
from .provenance import data_checksum, hardware, now, versions
from .scales import keep_scales
from .storage import cache_folder, draft_of, resumable_folder

if TYPE_CHECKING:
    from ..models.network import Network
    from ..training.loop import Fitted
    from ..training.processes import Processes

PARITY_IMAGES = 32


@dataclass
class _Clock:
    seconds: dict[str, float] = field(default_factory=dict)

    @contextmanager
    def measure(self, name: str) -> Iterator[None]:
        began = time.perf_counter()
        yield
        self.seconds[name] = round(time.perf_counter() - began, 2)


@dataclass(frozen=True)
class Prepared:
    """The data as the model sees them: sample i of `dataset` is `pixels[rows[i]]`, (height, width, 3) uint8."""

    dataset: Dataset
    pixels: Uint8Array
    rows: npt.NDArray[np.intp]
    proof: Disjointness
    reasons: tuple[str, ...]

    def positions(self, split: str) -> npt.NDArray[np.intp]:
        """Which samples are in a split."""
        return np.flatnonzero([s.split == split for s in self.dataset.samples])

    def source(self, split: str) -> tuple[Uint8Array, npt.NDArray[np.intp], npt.NDArray[np.int64]]:
        """A split as training takes it: pixels, rows of them, labels."""
        chosen = self.positions(split)
        return self.pixels, self.rows[chosen], self.dataset.labels[chosen]


def train(
    data: str | Path,
    *,
    recipe: str | Path | Recipe = "scratch-cnn",
    out: str | Path,
    backbone: str | None = None,
    weights: str | None = None,
    seed: int = 0,
    overrides: Sequence[str] = (),
    group_by: str | None = None,
    positive: str | None = None,
    merge: Mapping[str, Sequence[str]] | None = None,
    name: str | None = None,
    resume: bool = False,
    track: str | None = None,
    command: Sequence[str] = (),
    progress: Progress | None = None,
) -> Path:
    """Train a classifier on labelled images and write a complete run folder to `out`; returns it.

    `data` is a folder or CSV as `read_dataset` takes it. `overrides` are `section.key=value`; `backbone`, `weights`,
    `group_by`, `positive` and `merge` ({class: folders merged into it}) replace the recipe's where given; `name` is the
    title of the report, by default the folder's name. The folder appears whole, or not at all when anything fails;
    finished epochs then stay beside it, and the same call with `resume` goes on from them. `track` is `tensorboard` or
    `mlflow`. Started by `torchrun` or `accelerate launch`, the processes train together and the first one writes.
    Needs the extra `train`. Raises InputError and its kinds for what cannot be used, ResourceError when memory or disk
    give out.
    """
    require("torch", extra="train")
    shown: Progress = progress or Silent()
    chosen = choose_recipe(
        recipe,
        overrides=overrides,
        backbone=backbone,
        weights=weights,
        group_by=group_by,
        positive=positive,
        merge=merge,
    )
    if track:
        from ..training.tracking import check_tracker

        check_tracker(track)
    processes = _processes()
    if not processes.first:
        shown = Silent()
    out = Path(out)
    clock = _Clock()
    with resumable_folder(out, resume=resume) if processes.first else _followed(out, processes) as draft:
        run = RunFolder(draft)
        # The network first: a weights file that does not fit is found before thousands of images are read.
        dataset = read_labelled(Path(data), chosen)
        network, source = build(chosen, len(dataset.classes), seed)
        with clock.measure("data"), processes.first_before_others():
            prepared = prepare(dataset, chosen, seed, shown)
            if processes.first:
                _write_or_compare(run, prepared, chosen)
        with clock.measure("train"):
            tracked = track if processes.first else None
            fitted = _fit(network, prepared, chosen, seed, run, shown, processes, tracked, name or out.name)
        if not processes.first:
            return out
        with clock.measure("export"):
            shown.say("Exporting to ONNX and comparing with the trained network ...")
            manifest = _export(network, prepared, chosen, source, run, name or out.name)
        _say_parity(manifest, shown)
        with clock.measure("decide"):
            bundle = _decide(run, prepared, chosen, shown)
        with clock.measure("scales"), shown.bar("Scales of the heat maps") as advance:
            bundle = keep_scales(bundle, prepared.pixels, prepared.rows[prepared.positions("val")], advance)
        with clock.measure("evaluate"):
            evaluated = _evaluate(bundle, prepared.dataset, run, shown)
        with clock.measure("explain"):
            explain_examples(bundle, prepared.dataset, evaluated.result, run.explanations, shown)
            found = localise(bundle, prepared.dataset.split("test"), shown)
        record = _record(
            Path(data), name or out.name, run, chosen, seed, command, prepared, network, fitted, found, clock
        )
        run.record.write_text(record.model_dump_json(indent=2), encoding="utf-8")
        _draw(run, fitted, evaluated)
        _forget(run)
    return out


def follows() -> bool:
    """Whether this process follows another in training: it neither writes nor speaks."""
    return int(os.environ.get("RANK", "0")) > 0


def _processes() -> Processes:
    from ..training.hardware import pick_device
    from ..training.processes import Processes

    return Processes.join(pick_device())


@contextmanager
def _followed(out: Path, processes: Processes) -> Iterator[Path]:
    """The draft that the first process makes."""
    yield draft_of(out)


def _write_or_compare(run: RunFolder, prepared: Prepared, recipe: Recipe) -> None:
    """Write recipe and split; where a run goes on, they must be what they were."""
    before = {path: path.read_bytes() for path in (run.root / "recipe.toml", run.split) if path.is_file()}
    (run.root / "recipe.toml").write_text(recipe.to_toml(), encoding="utf-8")
    write_split(run.split, prepared.dataset)
    for path, content in before.items():
        if path.read_bytes() != content:
            what = "recipe" if path.suffix == ".toml" else "data or their split"
            path.write_bytes(content)
            raise InputError(
                f"The {what} of the unfinished run in {run.root} differ from those given now: "
                "repeat the command as it was and add --resume, or remove that folder."
            )


def _forget(run: RunFolder) -> None:
    from ..training.session import forget

    forget(run.checkpoints)


def choose_recipe(
    recipe: str | Path | Recipe,
    *,
    overrides: Sequence[str] = (),
    backbone: str | None = None,
    weights: str | None = None,
    group_by: str | None = None,
    positive: str | None = None,
    merge: Mapping[str, Sequence[str]] | None = None,
) -> Recipe:
    """The recipe that the arguments of `train` describe; an unknown backbone or missing weights are found here."""
    if isinstance(recipe, Recipe):
        if overrides:
            raise InputError(
                "Overrides go with a recipe's name or file; a Recipe is changed by model_copy(update=...)."
            )
        values = recipe.model_dump()
    else:
        values = load_recipe(recipe, overrides).model_dump()
    model = {"backbone": backbone, "weights": "none" if backbone == "cnn" and weights is None else weights}
    data = {"group_by": group_by, "positive": positive, "merge": merge}
    for section, given in (("model", model), ("data", data)):
        values[section] |= {key: value for key, value in given.items() if value}
    chosen = validate_recipe(values, str(values["name"]))
    _check_names(chosen)
    return chosen


def _check_names(recipe: Recipe) -> None:
    """Fail on an unknown backbone or a missing weights file before any data are read."""
    from ..models.catalogue import find_backbone
    from ..models.weights import check_weights

    find_backbone(recipe.model.backbone)
    check_weights(recipe.model.backbone, recipe.model.weights)


def read_labelled(data: Path, recipe: Recipe) -> Dataset:
    """The dataset that a recipe's data section makes of a folder or CSV."""
    wanted = recipe.data
    return read_dataset(data, positive=wanted.positive, grouping=wanted.merge, group_by=wanted.group_by)


def prepare(dataset: Dataset, recipe: Recipe, seed: int, progress: Progress) -> Prepared:
    """Decode and split a dataset as a recipe says, telling what was decided."""
    with progress.bar("Reading images") as advance:
        cached = cached_pixels(dataset, recipe.preprocessing(), cache_folder(), progress=advance)
    progress.say("Splitting, and comparing images across splits ...")
    wanted = recipe.data
    plan = split_dataset(
        cached.dataset, seed=seed, validation=wanted.validation, test=wanted.test, leave_out_twins=True
    )
    place = {s.path: i for i, s in enumerate(cached.dataset.samples)}
    rows = np.array([place[s.path] for s in plan.dataset.samples], np.intp)
    prepared = Prepared(plan.dataset, cached.pixels, rows, plan.proof, plan.reasons)
    for line in (*plan.dataset.notes, *plan.reasons, *plan.proof.sentences()):
        progress.say(line)
    for split, share in (("train", "data.test"), ("val", "data.validation"), ("test", "data.test")):
        if not len(prepared.positions(split)):
            raise DataError(f"There are no {split} images: give a folder for them, or change {share}.")
    return prepared


def build(recipe: Recipe, classes: int, seed: int) -> tuple[Network, dict[str, str]]:
    """The network of a recipe with its initial weights, and where those come from."""
    from ..models.network import build_network, task_of
    from ..models.weights import load_initial_weights
    from ..training.hardware import seed_torch
    from ..training.session import freeze, stages

    check_decision(recipe.decision, task_of(recipe, classes))
    seed_torch(seed)
    network = build_network(recipe, classes)
    for frozen, _ in stages(recipe):
        freeze(network, frozen)  # a layer that is not there is found before any image is read
    return network, load_initial_weights(network.backbone, recipe.model.backbone, recipe.model.weights)


def _fit(
    network: Network,
    prepared: Prepared,
    recipe: Recipe,
    seed: int,
    run: RunFolder,
    progress: Progress,
    processes: Processes,
    tracked: str | None,
    name: str,
) -> Fitted:
    from ..training.hardware import denormals_as_zero
    from ..training.session import Training, train_network
    from ..training.tracking import tracker

    settings = {"recipe": recipe.name, "backbone": recipe.model.backbone, "seed": str(seed)}
    with denormals_as_zero(), tracker(tracked, run.root, name, settings) as track:
        fitted = train_network(
            network,
            Training(
                recipe,
                train=prepared.source("train"),
                validation=prepared.source("val"),
                classes=len(prepared.dataset.classes),
                seed=seed,
                checkpoints=run.checkpoints,
                progress=progress,
                processes=processes,
                track=track,
            ),
        )
    if processes.first:
        fitted.history.write(run.history)
    return fitted


def _export(
    network: Network, prepared: Prepared, recipe: Recipe, source: dict[str, str], run: RunFolder, name: str
) -> Manifest:
    from ..models.export import export_bundle
    from ..models.network import number_of_logits, task_of

    preprocessing = recipe.preprocessing()
    task = task_of(recipe, len(prepared.dataset.classes))
    validation = prepared.positions("val")
    few = validation[np.linspace(0, len(validation) - 1, min(PARITY_IMAGES, len(validation))).round().astype(int)]
    images = preprocessing.normalise(prepared.pixels[np.sort(prepared.rows[few])])
    manifest = Manifest(
        pellucid_version=__version__,
        name=name,
        task=task,
        classes=prepared.dataset.classes,
        preprocessing=preprocessing,
        layer=Layer(name=network.explained_layer, channels=0, height=0, width=0, stride=(1, 1), offset=(0.5, 0.5)),
        logits=number_of_logits(task, len(prepared.dataset.classes)),
        medical=recipe.medical,
        architecture=recipe.model.model_dump(mode="json", exclude_none=True),
        initial_weights=source,
        provenance={"recipe": recipe.name, "data": data_checksum(prepared.dataset, run), "created": now()},
    )
    return export_bundle(
        network,
        manifest,
        run.bundle,
        images=images,
        source="the validation set",
        layers=recipe.model.layers,
        every_method=recipe.model.every_method,
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


def _decide(run: RunFolder, prepared: Prepared, recipe: Recipe, progress: Progress) -> Bundle:
    train, validation = (prepared.positions(split) for split in ("train", "val"))
    return decide(
        run,
        pixels=prepared.pixels,
        train=prepared.rows[train],
        validation=prepared.rows[validation],
        samples=[prepared.dataset.samples[i] for i in validation],
        wanted=recipe.decision,
        progress=progress,
    )


def _evaluate(bundle: Bundle, dataset: Dataset, run: RunFolder, progress: Progress) -> Evaluated:
    evaluated = evaluate_dataset(bundle, dataset.split("test"), "test", progress=progress)
    write_evaluation(evaluated.result, run.evaluation)
    if bundle.task == "regression":
        # A scatter of scores says little without that of the images that were learned from.
        learned = evaluate_dataset(bundle, dataset.split("train"), "train", progress=progress)
        write_evaluation(learned.result, run.root / "evaluation-train")
    return evaluated


def _draw(run: RunFolder, fitted: Fitted, evaluated: Evaluated) -> None:
    from ..reporting.figures import save_figures
    from ..reporting.html import build_report

    best = int(fitted.history.best_row["epoch"])
    save_figures(
        evaluated.result,
        fitted.history.rows,
        run.figures,
        best_epoch=best,
        monitor=fitted.history.monitor,
        pixels=evaluated.pixels,
    )
    build_report(run.root)


def _record(
    data: Path,
    name: str,
    run: RunFolder,
    recipe: Recipe,
    seed: int,
    command: Sequence[str],
    prepared: Prepared,
    network: Network,
    fitted: Fitted,
    found: LocalisationRecord | None,
    clock: _Clock,
) -> RunRecord:
    dataset, best = prepared.dataset, fitted.history.best_row
    checksum = data_checksum(dataset, run)
    groups = {s.group for s in dataset.samples if s.group}
    parameters = list(network.parameters())
    return RunRecord(
        name=name,
        created=now(),
        command=tuple(command) or ("pellucid", "train", str(data), "--recipe", recipe.name, "--seed", str(seed)),
        seed=seed,
        recipe=recipe.name,
        versions=versions(),
        hardware=hardware(),
        data=DataRecord(
            source=str(data.resolve()),
            images=len(dataset),
            checksum=checksum,
            counts=dataset.counts(),
            groups=len(groups),
            skipped=tuple(SkippedFile(path=s.path, reason=s.reason) for s in dataset.skipped),
            notes=(*dataset.notes, *prepared.reasons),
            overlaps=tuple(str(o) for o in prepared.proof.leaks),
            synthetic=(data / "phantom.json").is_file(),
        ),
        training=TrainingRecord(
            epochs=len(fitted.history.rows),
            best_epoch=int(best["epoch"]),
            monitor=fitted.history.monitor,
            best_value=best[fitted.history.monitor],
            seconds=clock.seconds["train"],
            ended=fitted.ended,
            parameters=sum(p.numel() for p in parameters),
            trainable_parameters=sum(p.numel() for p in parameters if p.requires_grad),
        ),
        localisation=found,
        seconds=clock.seconds,
    )
