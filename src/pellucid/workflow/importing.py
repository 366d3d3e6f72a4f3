"""A model that somebody already has to a run folder: read, fitted to images, exported, evaluated, explained."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from .._optional import require
from .._version import __version__
from ..bundle.bundle import Bundle, load
from ..bundle.io import checksum
from ..bundle.manifest import Manifest, Parity
from ..bundle.run import DataRecord, ImportRecord, RunFolder, RunRecord, SkippedFile
from ..classifier import Task
from ..data.cache import cached_pixels
from ..data.dataset import Dataset
from ..data.manifest import write_split
from ..evaluation.schema import write_evaluation
from ..preprocessing import Fit, FloatArray, Interpolation, Preprocessing, Uint8Array
from ..progress import Progress, Silent
from ..storage import new_folder
from .evaluation import evaluate_dataset
from .examples import explain_examples
from .import_plan import ImportJob, ImportPlan, Size, Undecided, make_plan, unknown_rescaling
from .provenance import data_checksum, hardware, now, versions
from .rescaling import Rescaling, Trial, as_parameters, candidates, find_rescaling, spelt, try_rescalings, verdict

if TYPE_CHECKING:
    from ..foreign.imported import ImportedNetwork
    from ..foreign.meaning import Gives

__all__ = ["Imported", "Undecided", "import_model"]

TRIED_IMAGES = 200
PARITY_IMAGES = 32
BATCH = 16


@dataclass(frozen=True)
class Imported:
    """The run, the manifest of its bundle, how well each rescaling fitted (empty without data), what was decided."""

    run: Path
    manifest: Manifest
    trials: tuple[Trial, ...]
    notes: tuple[str, ...]


@dataclass(frozen=True)
class _Draft:
    """A run that is being written: the job, the plan of its model, and how pixel values come to it."""

    job: ImportJob
    plan: ImportPlan
    trials: tuple[Trial, ...]
    rescaling: Rescaling
    run: RunFolder

    @property
    def preprocessing(self) -> Preprocessing:
        """What brings an image to the model."""
        return self.rescaling.preprocessing(self.plan.size, self.job.fit, self.job.interpolation)

    @cached_property
    def sha256(self) -> str:
        """The checksum of the model file."""
        return checksum(self.job.model)

    @property
    def network(self) -> ImportedNetwork:
        """The model between RGB images and logits."""
        return self.plan.network(self.rescaling.order)


def import_model(
    model: str | Path,
    out: str | Path,
    *,
    classes: Sequence[str] | str | Path = (),
    positive: str | None = None,
    data: str | Path | None = None,
    size: Size = None,
    fit: Fit = "stretch",
    interpolation: Interpolation = "bilinear",
    rescale: str | None = None,
    channels: str | None = None,
    gives: Gives | None = None,
    layer: str | None = None,
    task: Task | None = None,
    name: str | None = None,
    allow_code: bool = False,
    trust: bool | None = None,
    every_method: bool = True,
    command: Sequence[str] = (),
    progress: Progress | None = None,
) -> Imported:
    """Make a run folder of a model file: Keras `.h5` or `.keras`, ONNX, TorchScript or an exported program.

    `classes` are in the order of the model's outputs, as a list or in a file (see `read_class_names`); with `data` they
    are by default the folders' names in alphabetical order, which is Keras' and torchvision's. With `data` the usual
    rescalings are compared, and the run is evaluated and explained on its test images (on all where it has no splits).
    `size` (pixels, or (height, width)) is needed where the file leaves it open. `fit` and `interpolation` say how an
    image is brought to that size, `rescale` and `channels` how pixel values come to the model; see
    `rescaling.RESCALINGS`. `gives` says what the outputs are where neither the model's end nor its answers do: logits,
    probabilities, or independent (several sigmoids). `allow_code` opens files whose loader could run code from them;
    `trust` is its old name. Without `every_method` the export is faster, and integrated gradients and ablation-cam are
    not offered. Needs the extra `train`, for Keras files also `keras`.

    Raises Undecided when `rescale` is not given and the file does not say it, InputError and its kinds for a file that
    cannot be read or does not fit, ParityError when the bundle would not agree with the model.
    """
    require("torch", extra="train")
    if trust is not None:
        warnings.warn("`trust=` of import_model is called `allow_code=` now.", FutureWarning, stacklevel=2)
    job = ImportJob(
        Path(model),
        Path(out),
        classes,
        positive,
        None if data is None else Path(data),
        size,
        fit,
        interpolation,
        rescale,
        channels,
        gives,
        layer,
        task,
        name,
        allow_code or bool(trust),
        every_method,
        command,
        progress or Silent(),
    )
    return _run(job)


def _run(job: ImportJob) -> Imported:
    plan = make_plan(job)
    for note in (*plan.notes, *(plan.dataset.notes if plan.dataset is not None else ())):
        job.shown.say(note)
    trials, rescaling = _choose(job, plan)
    with new_folder(job.out) as folder:
        draft = _Draft(job, plan, trials, rescaling, RunFolder(folder))
        manifest = _export(draft)
        record = _record(draft)
        if plan.dataset is not None:
            record = _evaluated(draft, load(folder), plan.dataset, record)
        draft.run.record.write_text(record.model_dump_json(indent=2), encoding="utf-8")
        if plan.dataset is not None:
            from ..reporting.html import build_report

            build_report(folder)
    return Imported(job.out, manifest, trials, record.imported.notes if record.imported else ())


def _choose(job: ImportJob, plan: ImportPlan) -> tuple[tuple[Trial, ...], Rescaling]:
    """Try the rescalings where there are data, and take the one that was asked for or that the file has itself."""
    trials: tuple[Trial, ...] = ()
    result = ""
    if plan.dataset is not None:
        pixels, labels = _sample(job, plan, plan.dataset)
        tried = candidates(plan.origin.channels, grey=bool((pixels[..., 0] == pixels[..., 2]).all()))
        job.shown.say(f"Trying {len(tried)} ways to bring {len(labels)} images to the model ...")

        def logits(rescaling: Rescaling) -> FloatArray:
            return _logits(plan.network(rescaling.order), rescaling.preprocessing(plan.size).normalise(pixels))

        trials = tuple(try_rescalings(logits, labels, plan.meaning.task, tried))
        result = verdict(trials, len(labels))
    if result and (job.rescale or plan.origin.pixels):
        job.shown.say(result)
    if job.rescale is not None:
        return trials, find_rescaling(job.rescale, job.channels)
    if plan.origin.pixels is not None:
        job.shown.say(f"Pixels go into the model as 0..255: {plan.origin.pixels}.")
        return trials, find_rescaling("none", job.channels)
    if not trials:
        raise unknown_rescaling(plan.origin.channels)
    raise Undecided(
        f"{result} Nothing is chosen silently: repeat with {as_parameters(trials[0].rescaling)}, or with what you "
        "know that the model was trained with.",
        trials,
    )


def _sample(job: ImportJob, plan: ImportPlan, dataset: Dataset) -> tuple[Uint8Array, npt.NDArray[np.int64]]:
    """Up to 200 images, as many of each class as there are, resized, with their labels."""
    each = max(1, TRIED_IMAGES // len(dataset.classes))
    chosen: set[int] = set()
    for c in range(len(dataset.classes)):
        mine = np.flatnonzero(dataset.labels == c)
        if len(mine):
            chosen.update(int(i) for i in mine[np.linspace(0, len(mine) - 1, min(each, len(mine))).round().astype(int)])
    few = replace(dataset, samples=tuple(dataset.samples[i] for i in sorted(chosen)))
    preprocessing = Preprocessing(height=plan.size[0], width=plan.size[1], fit=job.fit, interpolation=job.interpolation)
    with job.shown.bar("Reading images") as advance:
        cached = cached_pixels(few, preprocessing, None, progress=advance)
    return cached.pixels, cached.dataset.labels


def _logits(network: ImportedNetwork, batch: FloatArray) -> FloatArray:
    return np.concatenate([network.answers(batch[i : i + BATCH]) for i in range(0, len(batch), BATCH)])


def _export(draft: _Draft) -> Manifest:
    from ..foreign.export import export_imported, placeholder
    from ..foreign.imported import choose_layer

    job, plan, network = draft.job, draft.plan, draft.network
    black = plan.origin.original is not None and _is_black_box(network.model)
    explained = None if black else choose_layer(network, plan.size, plan.meaning.logits, job.layer)
    if explained is None and not black:
        job.shown.say(
            "No layer gives a feature map that everything passes: only black-box methods can explain this model."
        )
    manifest = Manifest(
        pellucid_version=__version__,
        name=job.title,
        task=plan.meaning.task,
        classes=plan.classes,
        preprocessing=draft.preprocessing,
        layer=None if explained is None else placeholder(explained),
        logits=plan.meaning.logits,
        batchable=plan.origin.batchable,
        architecture={
            "imported": plan.origin.kind,
            "rescale": draft.rescaling.name,
            "channels": draft.rescaling.order,
        },
        initial_weights={"source": job.model.name, "sha256": draft.sha256},
        provenance={"imported": job.model.name, "created": now()},
    )
    images, source = _parity_images(plan.dataset, manifest.preprocessing)
    job.shown.say("Exporting to ONNX and comparing with the model ...")
    made = export_imported(
        network, plan.origin, manifest, draft.run.bundle, images=images, source=source, every_method=job.every_method
    )
    if made.parity is not None:
        job.shown.say(parity_sentence(made.parity))
    return made


def _is_black_box(model: object) -> bool:
    """Whether a model is a graph that stays as it is, without gradients."""
    from ..foreign.onnx_black_box import OnnxModule

    return isinstance(model, OnnxModule)


def parity_sentence(parity: Parity) -> str:
    """How far a bundle lies from the model it was made from, and in what runtime that model ran."""
    maps = "" if parity.heat_map is None else f", heat map within {parity.heat_map:.1e} of its largest value"
    return (
        f"Parity with {parity.runtime} on {parity.images} images ({parity.source}): probability within "
        f"{parity.probability:.1e}{maps} (limit {parity.tolerance:g})."
    )


def _parity_images(dataset: Dataset | None, preprocessing: Preprocessing) -> tuple[FloatArray, str]:
    """Images to prove the export on: those of the data, or made-up ones without data."""
    if dataset is None:
        from ..foreign.pictures import made_up_pictures

        made = made_up_pictures(8, (preprocessing.height, preprocessing.width))
        return preprocessing.normalise(made), "made-up pictures, as no data were given"
    spread = np.linspace(0, len(dataset) - 1, min(PARITY_IMAGES, len(dataset))).round().astype(int)
    few = replace(dataset, samples=tuple(dataset.samples[i] for i in np.unique(spread)))
    return preprocessing.normalise(cached_pixels(few, preprocessing, None).pixels), "the data given"


def _record(draft: _Draft) -> RunRecord:
    job, origin = draft.job, draft.plan.origin
    pixels = f"Pixels go into the model as 0..255: {origin.pixels}." if origin.pixels else ""
    return RunRecord(
        name=job.title,
        created=now(),
        command=tuple(job.command) or ("pellucid", "import", str(job.model)),
        seed=0,
        recipe="imported",
        versions=versions(),
        hardware=hardware(),
        data=DataRecord(source="", images=0, checksum="", counts={}),
        imported=ImportRecord(
            file=job.model.name,
            sha256=draft.sha256,
            kind=origin.kind,
            rescale=spelt(draft.rescaling),
            trials=tuple({"rescale": spelt(t.rescaling), "accuracy": t.accuracy, "loss": t.loss} for t in draft.trials),
            notes=tuple(n for n in (*draft.plan.notes, pixels if draft.rescaling.name == "none" else "") if n),
        ),
    )


def _evaluated(draft: _Draft, bundle: Bundle, dataset: Dataset, record: RunRecord) -> RunRecord:
    """Evaluate and explain on the data's test images, or on all when it has no splits; the record says so."""
    run, shown = draft.run, draft.job.shown
    splits = {s.split for s in dataset.samples}
    used = dataset.split("test") if "test" in splits else dataset
    used = replace(used, samples=tuple(replace(s, split="test") for s in used.samples))
    evaluated = evaluate_dataset(bundle, used, "test", progress=shown)
    write_evaluation(evaluated.result, run.evaluation)
    from ..reporting.figures import save_figures

    save_figures(evaluated.result, (), run.figures, decisions=False)  # the report draws these
    write_split(run.split, used)
    explain_examples(
        bundle,
        used,
        evaluated.result,
        run.explanations,
        shown,
        method="grad-cam" if bundle.manifest.layer else "occlusion",
    )
    data = DataRecord(
        source=str(dataset.root.resolve()),
        images=len(used),
        checksum=data_checksum(used, run),
        counts=used.counts(),
        groups=len({s.group for s in used.samples if s.group}),
        skipped=tuple(SkippedFile(path=s.path, reason=s.reason) for s in evaluated.skipped),
        notes=dataset.notes,
        synthetic=(dataset.root / "phantom.json").is_file(),
    )
    return record.model_copy(update={"data": data})
