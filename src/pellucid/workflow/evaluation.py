"""Score a bundle on labelled images, and keep figures honest about overlap with its training data."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from ..bundle.bundle import Bundle, load, load_chosen
from ..bundle.manifest import Manifest
from ..bundle.run import RunFolder, SealedTest
from ..bundle.runtimes import REFERENCE_RUNTIME, USUAL_ENGINE, EngineChoice, ModelRuntime
from ..classifier import gives_score, probabilities_from_logits
from ..data.cache import cached_pixels
from ..data.dataset import Dataset, OmittedFile, Split
from ..data.folder import read_dataset
from ..data.labelling import counted
from ..data.manifest import read_split
from ..data.one_class import read_one_class
from ..data.table import TableOptions
from ..errors import DataError, InputError
from ..evaluation.evaluate import evaluate_predictions
from ..evaluation.paired import Named, PairedComparison, compare_models
from ..evaluation.result import EvaluationResult
from ..evaluation.schema import write_evaluation
from ..files import write_whole
from ..preprocessing import Uint8Array
from ..progress import Progress, Silent
from ..storage import cache_folder
from .anomaly_maps import against_masks, scores_and_maps
from .leaks import overlap_with_training, trained_on
from .prediction import answers_on_pixels
from .sealing import open_again
from .subgrouping import ImageTable, as_they_are, table_of, table_of_run

AGAINST_FILE = "against.json"


@dataclass(frozen=True, slots=True)
class Evaluated:
    """The result, the files that could not be scored, where it was written, and how another model does beside it.

    `pixels` (N, height, width, 3) uint8 are the images as the model saw them, in the order of the result. `sealed` is
    the run's sealed test where its images were used, with every use until now.
    """

    result: EvaluationResult
    skipped: tuple[OmittedFile, ...]
    folder: Path | None
    against: PairedComparison | None = None
    pixels: Uint8Array | None = None
    sealed: SealedTest | None = None


def evaluate_run(
    run: Path,
    data: Path | None = None,
    *,
    split: Split = "test",
    allow_leak: bool = False,
    prevalence: float | None = None,
    against: Path | None = None,
    out: Path | None = None,
    table: TableOptions | None = None,
    choice: EngineChoice = USUAL_ENGINE,
    progress: Progress | None = None,
) -> Evaluated:
    """Evaluate a run on a split of its own data, or on `data`, and write `metrics.json` and `predictions.csv`.

    The files go to `out`, by default to `evaluation/` in the run for its own test split and to `evaluation-<name>/`
    otherwise; the name says so when `choice` is another engine or precision than the one that the run's own figures are
    of. `prevalence` (0 to 1) of the positive class recomputes the predictive values. `against` is a second run
    or bundle, compared on the same images in `against.json`. `table` names the
    columns of a CSV as `data`, and the folder of its files.
    Raises DataError if the images overlap with the training images, unless `allow_leak`; the notes then say so.
    """
    bundle = load_chosen(run, choice)
    folder = RunFolder(run)
    dataset = own_split(folder, bundle, split) if data is None else foreign_split(bundle, data, split, table)
    leaks = () if data is None else overlap_with_training(folder, dataset, look=bundle.task != "anomaly")
    if leaks and not allow_leak:
        raise DataError(
            f"{leaks[0]} Figures on images that were trained on mean nothing; "
            "`allow_leak=True` gives them nevertheless, marked."
        )
    sealed = open_again(folder, dataset, "evaluate", own_test=data is None and split == "test")
    rows = table_of_run(folder) if data is None else table_of(data, dataset.root, table)
    evaluated = evaluate_dataset(
        bundle, dataset, split or "all", leaks=leaks, prevalence=prevalence, table=rows, progress=progress
    )
    target = out or _folder_of(folder, data, split, bundle.runtime)
    compared = None if against is None else _compare(bundle, evaluated.result, dataset, against, progress)
    write_evaluation(evaluated.result, target)
    if compared is not None:
        write_whole(target / AGAINST_FILE, compared.model_dump_json(indent=2) + "\n")
    return replace(evaluated, folder=target, against=compared, sealed=sealed)


def _folder_of(folder: RunFolder, data: Path | None, split: Split, runtime: ModelRuntime) -> Path:
    """Where an evaluation is written by default."""
    own = data is None and split == "test"
    name = folder.evaluation.name if own else f"evaluation-{data.name if data else split}"
    return folder.root / (name if runtime == REFERENCE_RUNTIME else f"{name}-{runtime.key}")


def _compare(
    bundle: Bundle, result: EvaluationResult, dataset: Dataset, other: Path, progress: Progress | None
) -> PairedComparison:
    """Another model on the same images, but for those that it was trained on."""
    theirs = load(other)
    names = bundle.manifest.name, theirs.manifest.name
    if names[0] == names[1]:
        names = names[0], str(other)
    known = set(trained_on(RunFolder(other), dataset))
    rest = replace(dataset, samples=tuple(s for s in dataset.samples if s.path not in known))
    if not rest.samples:
        raise DataError(f"{other} was trained on all of these images: compare on images that neither has seen.")
    if theirs.classes != bundle.classes:
        raise InputError(
            f"{other} answers {', '.join(theirs.classes)}, and this model {', '.join(bundle.classes)}: only models of"
            " the same classes can be compared."
        )
    open_again(RunFolder(other), rest, "evaluate against", own_test=False)
    beside = evaluate_dataset(theirs, rest, result.split, progress=progress).result
    return compare_models(Named(names[0], result), Named(names[1], beside), left_out=len(known))


def evaluate_dataset(
    bundle: Bundle,
    dataset: Dataset,
    split: str,
    *,
    leaks: tuple[str, ...] = (),
    prevalence: float | None = None,
    table: ImageTable | None = None,
    progress: Progress | None = None,
) -> Evaluated:
    """Score every image of a dataset whose classes are the bundle's, in its order; `table` may name subgroups."""
    progress = progress or Silent()
    with progress.bar("Reading images") as advance:
        cached = cached_pixels(dataset, bundle.preprocessing, cache_folder(), progress=advance)
    samples = cached.dataset.samples
    if not samples:
        raise DataError(f"None of the {len(dataset)} images of {dataset.root} can be read.")
    maps = None
    with progress.bar("Predicting") as advance:
        if bundle.task == "anomaly":
            (logits, maps), features = scores_and_maps(bundle, cached.pixels, advance), None
        else:
            logits, features = answers_on_pixels(bundle, cached.pixels, advance)
    regression, manifest = gives_score(bundle.task), bundle.manifest
    calibrated = manifest.calibration is not None and not regression
    result = evaluate_predictions(
        task=bundle.task,
        classes=bundle.classes,
        labels=cached.dataset.labels,
        probabilities=None if regression else bundle.probabilities_of(logits),
        outputs=logits[:, 0] if regression else None,
        paths=[s.path for s in samples],
        groups=[s.group for s in samples],
        split=split,
        threshold=manifest.threshold,
        uncalibrated=probabilities_from_logits(logits) if calibrated else None,
        outside=None if features is None else bundle.outside_scores(features, logits),
        calibration=manifest.calibration if calibrated else None,
        operating_point=manifest.operating_point,
        prevalence=prevalence,
        answering=manifest.answering,
        subgroups=_subgroups(manifest, [s.path for s in samples], table),
    )
    if maps is not None:
        result = replace(result, defects=against_masks(bundle, cached.dataset, logits, maps, progress))
    result = replace(
        result, leaks=leaks, notes=(*_notes_on_unknown(dataset), *_note_on_runtime(bundle.runtime), *result.notes)
    )
    return Evaluated(result, cached.dataset.skipped, None, pixels=cached.pixels)


def _subgroups(manifest: Manifest, paths: Sequence[str], table: ImageTable | None) -> list[str]:
    """The subgroup of each path as the model's rules tell them apart; empty where they do not."""
    wanted = manifest.answering.subgroup if manifest.answering is not None else ""
    return as_they_are(paths, wanted, table)


def _notes_on_unknown(dataset: Dataset) -> list[str]:
    if not dataset.unknown:
        return []
    named = ", ".join(f"{name} ({counted(images, 'image')})" for name, images in dataset.unknown)
    return [f"Left out, because the model does not know these classes: {named}."]


def _note_on_runtime(runtime: ModelRuntime) -> list[str]:
    return [] if runtime == REFERENCE_RUNTIME else [f"The model was run by {runtime.title}."]


def own_split(folder: RunFolder, bundle: Bundle, split: Split) -> Dataset:
    """A split of the data that the run was trained on; DataError when the data have moved or the split is empty."""
    if not folder.split.is_file():
        raise DataError(
            "This run was imported without data, so it has no images of its own: give labelled images as DATA."
        )
    source = Path(folder.read_record().data.source)
    root = source if source.is_dir() else source.parent
    if not root.is_dir():
        raise DataError(f"The data of this run lay in {source}, which is not there now. Give their new place as DATA.")
    dataset = read_split(folder.split, root, bundle.classes).split(split)
    if not len(dataset):
        raise DataError(f"The run has no images in its {split!r} split.")
    return dataset


def foreign_split(bundle: Bundle, data: Path, split: Split, table: TableOptions | None = None) -> Dataset:
    """Other data for the bundle's classes: its `split` where it has splits, all of it otherwise.

    A class may be absent; images of classes that the model does not know are left out and counted in `unknown`.
    """
    if bundle.task == "anomaly":
        dataset = read_one_class(data, known=bundle.classes[0], table=table)
    else:
        dataset = read_dataset(data, classes=bundle.classes, table=table)
    splits = {s.split for s in dataset.samples}
    if splits == {""}:
        return dataset
    if split not in splits:
        raise DataError(
            f"{data} has no split {split!r}, only {', '.join(sorted(splits - {''}))}. Choose one by `split=`."
        )
    chosen = dataset.split(split)
    if not len(chosen):
        raise DataError(f"The {split} split of {data} has no images of {', '.join(bundle.classes)}.")
    return chosen
