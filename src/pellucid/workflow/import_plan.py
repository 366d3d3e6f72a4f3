"""An import before anything is written: what is asked for, checked, and what the model turns out to be."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Literal, get_args

from ..classifier import Task
from ..data.dataset import Dataset
from ..data.folder import read_dataset
from ..errors import DataError, InputError, UnknownNameError
from ..preprocessing import Fit, Interpolation
from ..progress import Progress, Silent
from .class_names import as_class_names
from .rescaling import Trial, candidates, find_rescaling

if TYPE_CHECKING:
    from ..foreign.imported import ImportedNetwork, Source
    from ..foreign.meaning import Gives, OutputMeaning
    from ..foreign.open import ModelDescription

Size = int | tuple[int, int] | None
FEWEST = 2


class Undecided(InputError):
    """Pixel values could be brought to the model in several ways; `trials` says how well each fits, best first."""

    def __init__(self, message: str, trials: Sequence[Trial] = ()) -> None:
        super().__init__(message)
        self.trials = tuple(trials)


@dataclass(frozen=True)
class ImportJob:
    """Everything that a caller of `import_model` asks for; see there."""

    model: Path
    out: Path
    classes: Sequence[str] | str | Path = ()
    positive: str | None = None
    data: Path | None = None
    size: Size = None
    fit: Fit = "stretch"
    interpolation: Interpolation = "bilinear"
    rescale: str | None = None
    channels: str | None = None
    gives: Gives | None = None
    layer: str | None = None
    task: Task | None = None
    name: str | None = None
    allow_code: bool = False
    every_method: bool = True
    command: Sequence[str] = ()
    shown: Progress = field(default_factory=Silent)

    @property
    def title(self) -> str:
        """The run's name."""
        return self.name or self.model.stem

    @property
    def wanted_size(self) -> tuple[int, int] | None:
        """(height, width), where the caller gives one."""
        return (self.size, self.size) if isinstance(self.size, int) else self.size


@dataclass(frozen=True)
class ImportPlan:
    """A model with what is known of it, and the data in its order of classes: all but how pixel values come to it."""

    origin: Source
    size: tuple[int, int]
    classes: tuple[str, ...]
    meaning: OutputMeaning
    dataset: Dataset | None
    notes: tuple[str, ...]

    def network(self, order: Literal["rgb", "bgr"]) -> ImportedNetwork:
        """The model between RGB images and logits, for channels in one order."""
        from ..foreign.imported import ImportedNetwork, entry_of

        entry = entry_of(self.origin.channels, order)
        return ImportedNetwork(entry, self.origin.network, self.meaning.module).eval()


def make_plan(job: ImportJob) -> ImportPlan:
    """Check the job, then read the model. What can be wrong without the model is found before it is read.

    Raises InputError and its kinds, and Undecided when neither the file nor the job says how pixel values come to the
    model and there are no data to try it on.
    """
    from ..foreign.open import describe_model

    check_words(job)
    named = as_class_names(job.classes)
    dataset = _read_data(job, named)
    names = named or (tuple(sorted(dataset.classes)) if dataset is not None else ())
    _check_names(names, job.positive)
    description = describe_model(job.model, job.wanted_size, allow_code=job.allow_code)
    _check_description(description, job, names)
    origin = description.load()
    return _settle(job, origin, names, dataset, chosen=bool(named))


def check_words(job: ImportJob) -> None:
    """Raise InputError for a word that is not among those known, before a file is opened."""
    from ..foreign.meaning import GIVES

    if job.rescale is not None:
        find_rescaling(job.rescale, job.channels)
    elif job.channels is not None:
        find_rescaling("none", job.channels)
    known = {
        ("way to fit images", job.fit): get_args(Fit),
        ("interpolation", job.interpolation): get_args(Interpolation),
        ("task", job.task): get_args(Task),
        ("kind of output", job.gives): GIVES,
    }
    for (kind, word), words in known.items():
        if word is not None and word not in words:
            raise UnknownNameError(kind, str(word), words, f"Choose {', '.join(words[:-1])} or {words[-1]}.")


def _read_data(job: ImportJob, named: tuple[str, ...]) -> Dataset | None:
    return None if job.data is None else read_dataset(job.data, classes=named or None)


def _check_names(names: Sequence[str], positive: str | None) -> None:
    if len(set(names)) < len(names):
        twice = next(n for n in names if list(names).count(n) > 1)
        raise InputError(f"The class {twice!r} is named twice by `classes=`: each output needs a name of its own.")
    if len(names) == 1:
        raise InputError(
            f"`classes={names[0]}` names one class, and 2 classes are the fewest: a model of one output is named by "
            "its negative and its positive class."
        )
    if positive is not None and names and (positive not in names or len(names) > FEWEST):
        raise InputError(
            f"`positive={positive}` does not fit: it must be one of two classes, and the classes are "
            f"{', '.join(names)}."
        )


def _check_description(description: ModelDescription, job: ImportJob, names: Sequence[str]) -> None:
    if description.units is not None and names:
        _check_count(description.units, names)
    if job.rescale is None and job.data is None and not description.may_take_pixels:
        raise unknown_rescaling()


def unknown_rescaling(channels: int = 3) -> Undecided:
    """The error when nothing says how pixel values come to a model."""
    names = ", ".join(r.name for r in candidates(channels)[:5])
    return Undecided(
        f"How are pixel values brought to this model? Say it by `rescale=` ({names}), or give labelled images by "
        "`data=`, and the usual ways are compared. A wrong choice gives wrong answers without any error."
    )


def _check_count(units: int, names: Sequence[str]) -> None:
    expected = max(units, FEWEST)
    if len(names) != expected:
        listed = ", ".join(names[:8]) + (", ..." if len(names) > 8 else "")
        raise InputError(
            f"The model has {units} outputs, which is {expected} classes, but {len(names)} are named ({listed}). Name "
            "them by `classes=` in the order of the outputs."
        )


def _settle(
    job: ImportJob, origin: Source, names: tuple[str, ...], dataset: Dataset | None, *, chosen: bool
) -> ImportPlan:
    from ..foreign.meaning import gives_of, meaning_of
    from ..foreign.settle import settled

    size = _size(job, origin)
    model = settled(origin, size)
    origin, units = model.source, model.units
    notes = list(origin.notes)
    if not names:
        names = tuple(f"class {i}" for i in range(max(units, FEWEST)))
        _check_names(names, job.positive)
    elif not chosen:
        notes.append(f"Classes by the folders' names in alphabetical order: {', '.join(names)}.")
    _check_count(units, names)
    gives = gives_of(origin.activation, model.outputs, gives=job.gives, task=job.task)
    task = job.task
    if task is None and units == 1 and origin.activation == "linear" and (origin.logits_loss or job.gives == "logits"):
        task = "binary"
    positive = job.positive
    if positive is None and not chosen and dataset is not None and len(names) == FEWEST and task != "regression":
        positive = dataset.positive
    turned = positive is not None and positive == names[0]
    meaning = meaning_of(origin.activation, units, task=task, turned=turned, gives=gives)
    if turned:
        names = (names[1], names[0])
        notes.append(f"{names[1]} is the positive class, so the order of the model's answers is reversed.")
    data = None if dataset is None else _in_order(dataset, names)
    return ImportPlan(origin, size, names, meaning, data, (*notes, *meaning.notes))


def _size(job: ImportJob, origin: Source) -> tuple[int, int]:
    height, width = origin.size
    wanted = job.wanted_size
    if wanted is None:
        if height is None or width is None:
            raise InputError(f"{job.model} takes images of any size: say by `size=` which one it was trained with.")
        return height, width
    if (height or wanted[0], width or wanted[1]) != wanted:
        raise InputError(f"{job.model} takes images of {height} x {width} pixels, not {wanted[0]} x {wanted[1]}.")
    return wanted


def _in_order(dataset: Dataset, classes: tuple[str, ...]) -> Dataset:
    """The dataset with its labels in the order of `classes`."""
    place = {name: i for i, name in enumerate(classes)}
    if not set(dataset.classes) <= set(classes):
        raise DataError(f"{dataset.root} has the classes {', '.join(dataset.classes)}, the model {', '.join(classes)}.")
    samples = tuple(replace(s, label=place[dataset.classes[s.label]]) for s in dataset.samples)
    return replace(dataset, classes=classes, samples=samples)
