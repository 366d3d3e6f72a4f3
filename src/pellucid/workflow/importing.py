"""A model that somebody already has to a run folder: read, fitted to images, exported, evaluated, explained."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np
import numpy.typing as npt

from .._optional import require
from .._version import __version__
from ..bundle.bundle import Bundle, load
from ..bundle.manifest import Manifest
from ..bundle.run import DataRecord, ImportRecord, RunFolder, RunRecord, SkippedFile
from ..classifier import Task
from ..data.cache import cached_pixels
from ..data.dataset import Dataset
from ..data.folder import read_dataset
from ..data.manifest import write_split
from ..errors import InputError
from ..evaluation.schema import write_evaluation
from ..preprocessing import FloatArray, Preprocessing, Uint8Array
from ..progress import Progress, Silent
from ..storage import new_folder
from .evaluation import evaluate_dataset
from .examples import explain_examples
from .provenance import data_checksum, hardware, now, versions
from .rescaling import Rescaling, Trial, candidates, find_rescaling, spelt, try_rescalings, verdict

if TYPE_CHECKING:
    from ..foreign.imported import Answer, ImportedNetwork, Source

TRIED_IMAGES = 200
PARITY_IMAGES = 32
BATCH = 16
Fit = Literal["stretch", "crop", "pad"]


class Undecided(InputError):
    """Pixel values could be brought to the model in several ways; `trials` says how well each fits, best first."""

    def __init__(self, message: str, trials: Sequence[Trial]) -> None:
        super().__init__(message)
        self.trials = tuple(trials)


@dataclass(frozen=True)
class Imported:
    """The run, the manifest of its bundle, how well each rescaling fitted (empty without data), what was decided."""

    run: Path
    manifest: Manifest
    trials: tuple[Trial, ...]
    notes: tuple[str, ...]


@dataclass(frozen=True)
class _Plan:
    """A model with what is known of it: everything but how pixel values come to it."""

    origin: Source
    size: tuple[int, int]
    classes: tuple[str, ...]
    answer: Answer
    notes: tuple[str, ...]


def import_model(
    model: str | Path,
    out: str | Path,
    *,
    classes: Sequence[str] = (),
    positive: str | None = None,
    data: str | Path | None = None,
    size: int | tuple[int, int] | None = None,
    fit: Fit = "stretch",
    rescale: str | None = None,
    channels: str | None = None,
    layer: str | None = None,
    task: Task | None = None,
    name: str | None = None,
    trust: bool = False,
    every_method: bool = True,
    command: Sequence[str] = (),
    progress: Progress | None = None,
) -> Imported:
    """Make a run folder of a model file: Keras `.h5` or `.keras`, ONNX, TorchScript or an exported program.

    `classes` are in the order of the model's outputs; with `data` they are by default the folders' names in
    alphabetical order, which is Keras' and torchvision's. With `data` the usual rescalings are compared, and the run is
    evaluated and explained on its test images (on all where it has no splits). `rescale` and `channels` say how pixel
    values come to the model; see `rescaling.RESCALINGS`. `trust` opens files whose loader could run code from them.
    Without `every_method` the export is faster, and integrated gradients and ablation-cam are not offered. Needs the
    extra `train`, for Keras files also `keras`.

    Raises Undecided when `rescale` is not given and the file does not say it, InputError and its kinds for a file that
    cannot be read or does not fit, ParityError when the bundle would not agree with the model.
    """
    require("torch", extra="train")
    shown: Progress = progress or Silent()
    path, out = Path(model), Path(out)
    dataset = None if data is None else read_dataset(Path(data))
    plan = _plan(path, classes, positive, dataset, size, task, trust)
    for note in plan.notes:
        shown.say(note)
    if dataset is not None:
        dataset = _fitting(Path(data or ""), plan, dataset)
    trials, chosen = _choose(plan, dataset, rescale, channels, fit, shown)
    network = _network(plan, chosen.order)
    with new_folder(out) as draft:
        run = RunFolder(draft)
        manifest = _export(
            network, plan, chosen, fit, layer, dataset, run, name or path.stem, path, every_method, shown
        )
        record = _record(path, run, name or path.stem, plan, chosen, trials, dataset, command)
        if dataset is not None:
            record = _evaluated(load(draft), dataset, run, record, shown)
        run.record.write_text(record.model_dump_json(indent=2), encoding="utf-8")
        if dataset is not None:
            from ..reporting.html import build_report

            build_report(draft)
    return Imported(out, manifest, trials, record.imported.notes if record.imported else ())


def _plan(
    path: Path,
    classes: Sequence[str],
    positive: str | None,
    dataset: Dataset | None,
    size: int | tuple[int, int] | None,
    task: Task | None,
    trust: bool,
) -> _Plan:
    from ..foreign.imported import answer_of
    from ..foreign.open import open_model, settled

    wanted = (size, size) if isinstance(size, int) else size
    origin = open_model(path, wanted, trust=trust)
    fixed = _size(path, origin, wanted)
    origin, units = settled(origin, fixed)
    if task is None and origin.logits_loss and units == 1 and origin.activation == "linear":
        task = "binary"
    notes = list(origin.notes)
    expected = max(units, 2)
    names = tuple(classes)
    if not names and dataset is not None:
        names = tuple(sorted(dataset.classes))
        notes.append(f"Classes by the folders' names in alphabetical order: {', '.join(names)}.")
    elif not names:
        names = tuple(f"class {i}" for i in range(expected))
    if len(names) != expected or len(set(names)) != len(names):
        raise InputError(
            f"The model has {units} outputs, which is {expected} classes, but {len(names)} are given "
            f"({', '.join(names[:8])}). "
            "Name them by --classes in the order of the outputs."
        )
    if positive is not None and (positive not in names or len(names) > 2):
        raise InputError(
            f"--positive {positive}: it must be one of two classes, and the classes are {', '.join(names)}."
        )
    if positive is None and dataset is not None and set(dataset.classes) == set(names) and units <= 2 and not classes:
        positive = dataset.positive if task != "regression" else None
    turned = positive is not None and positive == names[0]
    answer = answer_of(origin.activation, units, task=task, turned=turned)
    if turned:
        names = (names[1], names[0])
        notes.append(f"{names[1]} is the positive class, so the model's answers are turned round.")
    return _Plan(origin, fixed, names, answer, (*notes, *answer.notes))


def _size(path: Path, origin: Source, wanted: tuple[int, int] | None) -> tuple[int, int]:
    height, width = origin.size
    if wanted is None:
        if height is None or width is None:
            raise InputError(f"{path} takes images of any size: say by --input-size which one it was trained with.")
        return height, width
    if (height or wanted[0], width or wanted[1]) != wanted:
        raise InputError(f"{path} takes images of {height} x {width} pixels, not {wanted[0]} x {wanted[1]}.")
    return wanted


def _fitting(data: Path, plan: _Plan, found: Dataset) -> Dataset:
    """The data with the model's classes in its order; InputError when they are not the same."""
    if set(found.classes) != set(plan.classes):
        raise InputError(
            f"{data} has the classes {', '.join(found.classes)}, the model {', '.join(plan.classes)}. Name the "
            f"folders so, "
            "or give the names by --classes in the order of the model's outputs."
        )
    return read_dataset(data, classes=plan.classes)


def _choose(
    plan: _Plan, dataset: Dataset | None, rescale: str | None, channels: str | None, fit: Fit, shown: Progress
) -> tuple[tuple[Trial, ...], Rescaling]:
    """Try the rescalings where there are data, and take the one that was asked for or that the file has itself."""
    trials: tuple[Trial, ...] = ()
    said = ""
    if dataset is not None:
        pixels, labels = _sample(dataset, plan.size, fit, shown)
        tried = candidates(plan.origin.channels, grey=bool((pixels[..., 0] == pixels[..., 2]).all()))
        shown.say(f"Trying {len(tried)} ways to bring {len(labels)} images to the model ...")

        def logits(rescaling: Rescaling) -> FloatArray:
            return _logits(_network(plan, rescaling.order), rescaling.preprocessing(plan.size).normalise(pixels))

        trials = tuple(try_rescalings(logits, labels, plan.answer.task, tried))
        said = verdict(trials, len(labels))
    if said and (rescale or plan.origin.rescaling):
        shown.say(said)
    if rescale is not None:
        return trials, find_rescaling(rescale, channels)
    if plan.origin.rescaling is not None:
        shown.say(f"The model rescales by itself, in its layer {plan.origin.rescaling!r}: pixels go in as 0..255.")
        return trials, find_rescaling("none", channels)
    names = ", ".join(r.name for r in candidates(plan.origin.channels)[:5])
    if not trials:
        raise Undecided(
            f"How are pixel values brought to this model? Say it by --rescale ({names}), or give labelled images by "
            f"--data, "
            "and the usual ways are compared. A wrong choice gives wrong answers without any error.",
            trials,
        )
    raise Undecided(
        f"{said} Nothing is chosen silently: repeat the command with {spelt(trials[0].rescaling)}, or "
        "with what you know that the model was trained with.",
        trials,
    )


def _network(plan: _Plan, order: Literal["rgb", "bgr"]) -> ImportedNetwork:
    from ..foreign.imported import ImportedNetwork, entry_of

    return ImportedNetwork(entry_of(plan.origin.channels, order), plan.origin.network, plan.answer.module).eval()


def _sample(
    dataset: Dataset, size: tuple[int, int], fit: Fit, shown: Progress
) -> tuple[Uint8Array, npt.NDArray[np.int64]]:
    """Up to 200 images, as many of each class as there are, resized, with their labels."""
    each = max(1, TRIED_IMAGES // len(dataset.classes))
    chosen: set[int] = set()
    for c in range(len(dataset.classes)):
        mine = np.flatnonzero(dataset.labels == c)
        chosen.update(int(i) for i in mine[np.linspace(0, len(mine) - 1, min(each, len(mine))).round().astype(int)])
    few = replace(dataset, samples=tuple(dataset.samples[i] for i in sorted(chosen)))
    preprocessing = Preprocessing(height=size[0], width=size[1], fit=fit)
    with shown.bar("Reading images") as advance:
        cached = cached_pixels(few, preprocessing, None, progress=advance)
    return cached.pixels, cached.dataset.labels


def _logits(network: ImportedNetwork, batch: FloatArray) -> FloatArray:
    return np.concatenate([network.answers(batch[i : i + BATCH]) for i in range(0, len(batch), BATCH)])


def _export(
    network: ImportedNetwork,
    plan: _Plan,
    chosen: Rescaling,
    fit: Fit,
    layer: str | None,
    dataset: Dataset | None,
    run: RunFolder,
    name: str,
    path: Path,
    every_method: bool,
    shown: Progress,
) -> Manifest:
    from ..foreign.export import export_imported, placeholder
    from ..foreign.imported import choose_layer

    black = plan.origin.original is not None and plan.origin.black_box is None
    explained = None if black else choose_layer(network, plan.size, plan.answer.logits, layer)
    if explained is None and not black:
        shown.say("No layer gives a feature map that everything passes: only black-box methods can explain this model.")
    preprocessing = chosen.preprocessing(plan.size, fit)
    manifest = Manifest(
        pellucid_version=__version__,
        name=name,
        task=plan.answer.task,
        classes=plan.classes,
        preprocessing=preprocessing,
        layer=None if explained is None else placeholder(explained),
        logits=plan.answer.logits,
        architecture={"imported": plan.origin.kind, "rescale": chosen.name, "channels": chosen.order},
        initial_weights={"source": path.name, "sha256": _sha256(path)},
        provenance={"imported": path.name, "created": now()},
    )
    images, source = _parity_images(dataset, preprocessing)
    shown.say("Exporting to ONNX and comparing with the model ...")
    made = export_imported(
        network, plan.origin, manifest, run.bundle, images=images, source=source, every_method=every_method
    )
    if made.parity is not None:
        maps = (
            "" if made.parity.heat_map is None else f", heat map within {made.parity.heat_map:.1e} of its largest value"
        )
        shown.say(
            f"Parity with {made.parity.runtime} on {made.parity.images} images ({source}): probability within "
            f"{made.parity.probability:.1e}{maps} (limit {made.parity.tolerance:g})."
        )
    return made


def _parity_images(dataset: Dataset | None, preprocessing: Preprocessing) -> tuple[FloatArray, str]:
    """Images to prove the export on: those of the data, or made-up ones when there are none."""
    if dataset is None:
        made = made_up_pictures(8, (preprocessing.height, preprocessing.width))
        return preprocessing.normalise(made), "made-up pictures, as no data were given"
    spread = np.linspace(0, len(dataset) - 1, min(PARITY_IMAGES, len(dataset))).round().astype(int)
    few = replace(dataset, samples=tuple(dataset.samples[i] for i in np.unique(spread)))
    return preprocessing.normalise(cached_pixels(few, preprocessing, None).pixels), "the data given"


def made_up_pictures(images: int, size: tuple[int, int], seed: int = 0) -> Uint8Array:
    """Smooth coloured patterns with some noise, (images, height, width, 3) uint8: nearer to photographs than noise."""
    rng = np.random.default_rng(seed)
    rows, columns = (np.linspace(0, 1, length, dtype=np.float32) for length in size)
    waves = np.zeros((images, *size, 3), np.float32)
    for frequency in (1, 2, 4, 8, 16):
        phase = rng.uniform(0, 2 * np.pi, (images, 1, 1, 3, 2)).astype(np.float32)
        along = np.sin(2 * np.pi * frequency * rows[None, :, None, None] + phase[..., 0])
        across = np.sin(2 * np.pi * frequency * columns[None, None, :, None] + phase[..., 1])
        waves += along * across / frequency
    noisy = 128 + 60 * waves + rng.normal(0, 8, waves.shape)
    pictures: Uint8Array = np.clip(noisy, 0, 255).astype(np.uint8)
    return pictures


def _record(
    path: Path,
    run: RunFolder,
    name: str,
    plan: _Plan,
    chosen: Rescaling,
    trials: Sequence[Trial],
    dataset: Dataset | None,
    command: Sequence[str],
) -> RunRecord:
    own = "The model rescales by itself." if plan.origin.rescaling and chosen.name == "none" else ""
    return RunRecord(
        name=name,
        created=now(),
        command=tuple(command) or ("pellucid", "import", str(path)),
        seed=0,
        recipe="imported",
        versions=versions(),
        hardware=hardware(),
        data=DataRecord(source="", images=0, checksum="", counts={}),
        imported=ImportRecord(
            file=path.name,
            sha256=_sha256(path),
            kind=plan.origin.kind,
            rescale=spelt(chosen),
            trials=tuple({"rescale": spelt(t.rescaling), "accuracy": t.accuracy, "loss": t.loss} for t in trials),
            notes=tuple(n for n in (*plan.notes, own) if n),
        ),
    )


def _evaluated(bundle: Bundle, dataset: Dataset, run: RunFolder, record: RunRecord, shown: Progress) -> RunRecord:
    """Evaluate and explain on the data's test images, or on all when it has no splits; the record says so."""
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


def _sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()
