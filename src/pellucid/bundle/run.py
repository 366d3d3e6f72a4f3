"""The run folder: its files, and `run.json`, the record of how it was made."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from pydantic import Field

from ..documents import Document
from ..errors import BundleError
from ..evaluation.kept_out import AbroadRecord
from ..evaluation.learned import LearningRecord
from .manifest import MANIFEST


class SkippedFile(Document):
    """A file of the dataset that was left out, and why."""

    path: str
    reason: str


class DataRecord(Document):
    """What the run was trained on. `checksum` is over the sorted content hashes of all images used."""

    source: str
    images: int
    checksum: str
    counts: dict[str, dict[str, int]]
    groups: int = 0
    skipped: tuple[SkippedFile, ...] = ()
    notes: tuple[str, ...] = ()
    overlaps: tuple[str, ...] = ()
    synthetic: bool = False


class TrainingRecord(Document):
    """The course of a training; each epoch is a row of `history.csv`.

    `learning` says whether the validation images are told apart, and is None where they are of one class, or the run is
    of an older build. `grown` is None unless the training loss grew tenfold.
    """

    epochs: int
    best_epoch: int
    monitor: str
    best_value: float
    seconds: float
    ended: str
    parameters: int
    trainable_parameters: int
    learning: LearningRecord | None = None
    grown: LossGrowth | None = None

    @property
    def learned(self) -> bool:
        """False when the interval of the validation images' AUC holds that of guessing."""
        return self.learning is None or self.learning.learned


class LossGrowth(Document):
    """The epoch in which the training loss was largest, after it had grown tenfold."""

    epoch: int
    loss: float
    learning_rate: float


class SuspectImage(Document):
    """An image taken as normal that looks bad beside the others, how far (a robust z-score), and if it was left out."""

    path: str
    split: str = ""
    score: float
    left_out: bool = True


class AnomalyRecord(Document):
    """The fit of an anomaly detector: of `images` normal images that do not test, `learnt` were learnt from.

    `held` images chose the threshold, each scored by a detector that had not learnt from it. `suspects` of all look bad
    beside the others, the worst first; `cleaned` says that those farthest out were not learnt from.
    """

    images: int
    learnt: int
    held: int = 0
    suspects: tuple[SuspectImage, ...] = ()
    cleaned: bool = True
    seconds: float = 0.0


class ImportRecord(Document):
    """The origin of an imported model, its pixel scaling, and how that scaling was chosen.

    `rescale`, and that of each trial, are the options of `pellucid import` that choose an input scaling.
    """

    file: str
    sha256: str
    kind: str
    rescale: str
    trials: tuple[dict[str, str | float], ...] = ()
    notes: tuple[str, ...] = ()

    @property
    def scaling(self) -> str:
        """The input scaling by name, with the channel order where it was chosen: `1/255` or `1/255, bgr`."""
        return scaling_name(self.rescale)


def scaling_name(options: str) -> str:
    """The values of options: `1/255, bgr` for `--rescale 1/255 --channels bgr`."""
    return ", ".join(options.split()[1::2])


class LocalisationRecord(Document):
    """Heat maps compared with true masks. Each value has its chance level (the share of the image in the mask)."""

    method: str
    images: int
    pointing: float
    pointing_chance: float
    energy_inside: float
    energy_chance: float


class Opening(Document):
    """One use of sealed test images: when (UTC, ISO 8601), by which command, how many images, and their checksum."""

    time: str
    by: str
    images: int
    checksum: str


class SealedTest(Document):
    """Test images that no decision of the training saw, and every use of these images since.

    `checksum` is over the sorted content hashes of the images when they were sealed.
    """

    images: int
    checksum: str
    openings: tuple[Opening, ...] = ()


class RunRecord(Document):
    """`run.json`: the command, data, software and hardware behind a run, and the seconds of each step.

    A run was trained (`training`), imported (`imported`) or fitted to normal images (`anomaly`).
    """

    schema_version: int = 1
    name: str
    created: str
    command: tuple[str, ...]
    seed: int
    recipe: str
    versions: dict[str, str]
    hardware: dict[str, str]
    data: DataRecord
    training: TrainingRecord | None = None
    imported: ImportRecord | None = None
    anomaly: AnomalyRecord | None = None
    localisation: LocalisationRecord | None = None
    abroad: AbroadRecord | None = None
    sealed: SealedTest | None = None
    seconds: dict[str, float] = Field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class RunFolder:
    """The paths inside a run folder."""

    root: Path

    @property
    def recipe(self) -> Path:
        return self.root / "recipe.toml"

    @property
    def split(self) -> Path:
        return self.root / "split.csv"

    @property
    def history(self) -> Path:
        return self.root / "history.csv"

    @property
    def checkpoints(self) -> Path:
        return self.root / "checkpoints"

    @property
    def bundle(self) -> Path:
        return self.root / "model"

    @property
    def evaluation(self) -> Path:
        return self.root / "evaluation"

    @property
    def figures(self) -> Path:
        return self.evaluation / "figures"

    @property
    def audit(self) -> Path:
        return self.root / "audit"

    @property
    def explanations(self) -> Path:
        return self.root / "explanations"

    @property
    def seal(self) -> Path:
        """Where an unfinished run keeps its sealed test; of a whole run it is in `run.json`."""
        return self.root / "sealed-test.json"

    @property
    def report(self) -> Path:
        return self.root / "report.html"

    @property
    def record(self) -> Path:
        return self.root / "run.json"

    def read_record(self) -> RunRecord:
        """Read `run.json`; BundleError when it is missing or damaged."""
        try:
            return RunRecord.model_validate_json(self.record.read_bytes())
        except FileNotFoundError:
            message = (
                f"{self.root} is not a run folder: it has no run.json. Give the folder that `pellucid train` wrote."
            )
            raise BundleError(message) from None
        except ValueError as error:
            raise BundleError(f"{self.record} cannot be read as a run record: {error}") from error


def find_bundle(path: Path) -> Path:
    """The bundle folder of `path`, a run or a bundle; BundleError for any other folder."""
    if (path / MANIFEST).is_file():
        return path
    if (path / "model" / MANIFEST).is_file():
        return path / "model"
    if not path.exists():
        raise BundleError(
            f"There is no folder {path}. Give a run (`pellucid train` prints where it wrote it) or a bundle."
        )
    message = f"{path} contains no model: it has neither {MANIFEST} nor model/{MANIFEST}. Was the training interrupted?"
    raise BundleError(message)
