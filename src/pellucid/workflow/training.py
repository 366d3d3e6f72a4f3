"""Recipe and data to a run folder: read, split, train, export, evaluate, explain, report."""

from __future__ import annotations

import hashlib
import platform
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import datetime, timezone
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from .. import __version__
from .._optional import require
from ..bundle.bundle import Bundle, load
from ..bundle.manifest import Layer, Manifest
from ..bundle.run import DataRecord, LocalisationRecord, RunFolder, RunRecord, SkippedFile, TrainingRecord
from ..data.cache import CachedPixels, cached_pixels
from ..data.dataset import Dataset
from ..data.disjointness import Disjointness
from ..data.folder import read_dataset
from ..data.manifest import write_split
from ..data.split import split_dataset
from ..errors import DataError
from ..evaluation.schema import write_evaluation
from ..progress import Progress, Silent
from ..recipe import Recipe, load_recipe
from .evaluation import Evaluated, evaluate_dataset
from .examples import explain_examples
from .localisation import localise
from .storage import cache_folder, new_folder

if TYPE_CHECKING:
    from ..models.network import Network
    from ..training.loop import Fitted

PARITY_IMAGES = 32
VERSIONS = ("numpy", "pillow", "onnxruntime", "torch", "torchvision", "timm", "onnx", "onnxscript", "scikit-learn")


@dataclass
class _Clock:
    seconds: dict[str, float] = field(default_factory=dict)

    @contextmanager
    def measure(self, name: str) -> Iterator[None]:
        began = time.perf_counter()
        yield
        self.seconds[name] = round(time.perf_counter() - began, 2)


@dataclass(frozen=True)
class _Prepared:
    """The data as the model sees them. `pixels` and `dataset` go together, sample by sample."""

    dataset: Dataset
    cached: CachedPixels
    proof: Disjointness
    reasons: tuple[str, ...]

    def positions(self, split: str) -> np.ndarray[Any, np.dtype[np.intp]]:
        return np.flatnonzero([s.split == split for s in self.dataset.samples])


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
    command: Sequence[str] = (),
    progress: Progress | None = None,
) -> Path:
    """Train a classifier on labelled images and write a complete run folder to `out`; returns it.

    `data` is a folder or CSV as `read_dataset` takes it. `backbone`, `weights` and `group_by` replace the recipe's.
    The folder appears whole, or not at all when anything fails. Needs the extra `train`. Raises InputError and its
    kinds for what cannot be used, ResourceError when memory or disk give out.
    """
    require("torch", extra="train")
    shown: Progress = progress or Silent()
    chosen = _choose(recipe, overrides, backbone, weights, group_by)
    _check_names(chosen)
    out = Path(out)
    clock = _Clock()
    with new_folder(out) as draft:
        run = RunFolder(draft)
        with clock.measure("data"):
            prepared = prepare(Path(data), chosen, seed, shown)
        (draft / "recipe.toml").write_text(chosen.to_toml(), encoding="utf-8")
        write_split(run.split, prepared.dataset)
        network, fitted, source = _train_network(prepared, chosen, seed, run, clock, shown)
        with clock.measure("export"):
            shown.say("Exporting to ONNX and comparing with the trained network ...")
            manifest = _export(network, prepared, chosen, source, run, out.name)
        _say_parity(manifest, shown)
        bundle = load(draft)
        with clock.measure("evaluate"):
            evaluated = _evaluate(bundle, prepared.dataset, run, shown)
        with clock.measure("explain"):
            explain_examples(bundle, prepared.dataset, evaluated.result, run.explanations, shown)
            found = localise(bundle, prepared.dataset.split("test"), shown)
        record = _record(Path(data), out.name, run, chosen, seed, command, prepared, network, fitted, found, clock)
        run.record.write_text(record.model_dump_json(indent=2), encoding="utf-8")
        _draw(run, fitted, evaluated)
    return out


def _choose(
    recipe: str | Path | Recipe,
    overrides: Sequence[str],
    backbone: str | None,
    weights: str | None,
    group_by: str | None,
) -> Recipe:
    chosen = recipe if isinstance(recipe, Recipe) else load_recipe(recipe, overrides)
    model: dict[str, Any] = {k: v for k, v in (("backbone", backbone), ("weights", weights)) if v is not None}
    if backbone == "cnn" and weights is None:
        model["weights"] = "none"
    updated = {"model": chosen.model.model_copy(update=model)}
    if group_by is not None:
        updated["data"] = chosen.data.model_copy(update={"group_by": group_by})  # type: ignore[assignment]
    return chosen.model_copy(update=updated)


def _check_names(recipe: Recipe) -> None:
    """Fail on an unknown backbone or a missing weights file before any data are read."""
    from ..models.catalogue import find_backbone
    from ..models.weights import check_weights

    find_backbone(recipe.model.backbone)
    check_weights(recipe.model.backbone, recipe.model.weights)


def prepare(data: Path, recipe: Recipe, seed: int, progress: Progress) -> _Prepared:
    """Read, split and decode a dataset as a recipe says, telling what was decided."""
    wanted = recipe.data
    dataset = read_dataset(data, positive=wanted.positive, grouping=wanted.merge, group_by=wanted.group_by)
    with progress.bar("Reading images") as advance:
        cached = cached_pixels(dataset, recipe.preprocessing(), cache_folder(), progress=advance)
    progress.say("Splitting, and comparing images across splits ...")
    plan = split_dataset(
        cached.dataset, seed=seed, validation=wanted.validation, test=wanted.test, leave_out_twins=True
    )
    place = {s.path: i for i, s in enumerate(cached.dataset.samples)}
    keep = np.array([place[s.path] for s in plan.dataset.samples], np.intp)
    cached = replace(cached, index=keep, dataset=plan.dataset)
    prepared = _Prepared(plan.dataset, cached, plan.proof, plan.reasons)
    for line in (*plan.dataset.notes, *plan.reasons, *plan.proof.sentences()):
        progress.say(line)
    for split, share in (("train", "data.test"), ("val", "data.validation"), ("test", "data.test")):
        if not len(prepared.positions(split)):
            raise DataError(f"There are no {split} images: give a folder for them, or change {share}.")
    return prepared


def _train_network(
    prepared: _Prepared, recipe: Recipe, seed: int, run: RunFolder, clock: _Clock, progress: Progress
) -> tuple[Network, Fitted, dict[str, str]]:
    from ..models.network import build_network
    from ..models.weights import load_initial_weights
    from ..training.hardware import prepare_torch
    from ..training.session import train_network

    prepare_torch(seed)
    network = build_network(recipe, len(prepared.dataset.classes))
    source = load_initial_weights(network.backbone, recipe.model.backbone, recipe.model.weights)
    pixels, rows = prepared.cached.pixels, prepared.cached.index
    labels = prepared.dataset.labels
    chosen = {s: prepared.positions(s) for s in ("train", "val")}
    with clock.measure("train"):
        fitted = train_network(
            network,
            recipe,
            train=(pixels, rows[chosen["train"]], labels[chosen["train"]]),
            validation=(pixels, rows[chosen["val"]], labels[chosen["val"]]),
            classes=len(prepared.dataset.classes),
            seed=seed,
            checkpoints=run.checkpoints,
            progress=progress,
        )
    fitted.history.write(run.history)
    return network, fitted, source


def _export(
    network: Network, prepared: _Prepared, recipe: Recipe, source: dict[str, str], run: RunFolder, name: str
) -> Manifest:
    from ..models.export import export_bundle
    from ..models.network import number_of_logits, task_of

    preprocessing = recipe.preprocessing()
    task = task_of(recipe, len(prepared.dataset.classes))
    validation = prepared.positions("val")
    few = validation[np.linspace(0, len(validation) - 1, min(PARITY_IMAGES, len(validation))).round().astype(int)]
    images = preprocessing.normalise(prepared.cached.pixels[np.sort(prepared.cached.index[few])])
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
        provenance={"recipe": recipe.name, "data": data_checksum(prepared.dataset, run), "created": _now()},
    )
    return export_bundle(network, manifest, run.bundle, images=images, source="the validation set")


def _say_parity(manifest: Manifest, progress: Progress) -> None:
    parity = manifest.parity
    if parity is not None:
        progress.say(
            f"Parity on {parity.images} validation images: probability within {parity.probability:.1e}, "
            f"heat map within {parity.heat_map:.1e} of its largest value (limit {parity.tolerance:g})."
        )


def _evaluate(bundle: Bundle, dataset: Dataset, run: RunFolder, progress: Progress) -> Evaluated:
    evaluated = evaluate_dataset(bundle, dataset.split("test"), "test", progress=progress)
    write_evaluation(evaluated.result, run.evaluation)
    return evaluated


def _draw(run: RunFolder, fitted: Fitted, evaluated: Evaluated) -> None:
    from ..reporting.figures import save_figures
    from ..reporting.html import build_report

    best = int(fitted.history.best_row["epoch"])
    save_figures(evaluated.result, fitted.history.rows, run.figures, best_epoch=best, monitor=fitted.history.monitor)
    build_report(run.root)


def data_checksum(dataset: Dataset, run: RunFolder) -> str:
    """One sha256 over the content hashes of all images of a run, in sorted order."""
    from ..data.manifest import read_checksums

    hashes = read_checksums(run.split)
    return hashlib.sha256("\n".join(sorted(hashes[s.path] for s in dataset.samples)).encode()).hexdigest()


def _now() -> str:
    return datetime.now(timezone.utc).isoformat(timespec="seconds")


def _record(
    data: Path,
    name: str,
    run: RunFolder,
    recipe: Recipe,
    seed: int,
    command: Sequence[str],
    prepared: _Prepared,
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
        created=_now(),
        command=tuple(command) or ("pellucid", "train", str(data), "--recipe", recipe.name, "--seed", str(seed)),
        seed=seed,
        recipe=recipe.name,
        versions={"pellucid": __version__, "python": platform.python_version(), **_versions()},
        hardware=_hardware(),
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
            seconds=round(fitted.seconds, 2),
            ended=fitted.ended,
            parameters=sum(p.numel() for p in parameters),
            trainable_parameters=sum(p.numel() for p in parameters if p.requires_grad),
        ),
        localisation=found,
        seconds=clock.seconds,
    )


def _versions() -> dict[str, str]:
    found = {}
    for name in VERSIONS:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return found


def _hardware() -> dict[str, str]:
    from ..training.hardware import describe, pick_device

    return {
        "device": describe(pick_device()),
        "machine": platform.machine(),
        "system": f"{platform.system()} {sys.platform}",
    }
