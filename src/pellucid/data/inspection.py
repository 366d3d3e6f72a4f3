"""What an audit of a dataset says, as plain data: the document behind `pellucid data inspect --json` and its page."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict

from .dataset import Split
from .disjointness import Criterion
from .finding import Finding
from .statistics import Family


class _InspectionPart(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class FileNote(_InspectionPart):
    """A file or folder and a remark on it, in words and as a code; `images` is how many images it stands for."""

    path: str
    reason: str
    code: str = ""
    images: int = 1


class ImageEntry(_InspectionPart):
    """An image by its path relative to the dataset's root, the name of its class, and its split ("" if undecided)."""

    path: str
    label: str
    split: Split


class CompanionNotes(_InspectionPart):
    """Masks and the like: how many in each parallel folder, those that cannot be read, those that fit no image."""

    trees: dict[str, int]
    unreadable: tuple[FileNote, ...]
    orphans: tuple[str, ...]


class Copies(_InspectionPart):
    """Images that are the same, and whether they lie in several splits or under several classes."""

    images: tuple[ImageEntry, ...]
    across_splits: bool
    across_classes: bool


class SplitOverlap(_InspectionPart):
    """How many of the `total` images of the second split have a twin in the first, with some pairs of paths."""

    criterion: Criterion
    splits: tuple[Split, Split]
    images: int
    total: int
    examples: tuple[tuple[str, str], ...]
    sentence: str


class SharedGroup(_InspectionPart):
    """A group with images in more than one split."""

    name: str
    splits: tuple[Split, ...]
    images: int


class Grouping(_InspectionPart):
    """Which images show the same patient or object.

    `known` says that the dataset's groups were given; otherwise they are those of `pattern`, a guess at file names.
    `shared` groups hold several images, `images` in all, the largest has `largest`; `alone` images have no group.
    `example` are up to six images of the largest group, `example_name`.
    """

    known: bool
    pattern: str | None
    groups: int
    shared: int
    images: int
    largest: int
    alone: int
    example_name: str
    example: tuple[ImageEntry, ...]
    across_splits: tuple[SharedGroup, ...]


class AreaEntry(_InspectionPart):
    """An area under the ROC curve with its 95 % interval."""

    value: float
    low: float
    high: float


class MeasureEntry(_InspectionPart):
    """A measure alone: the chance that an image of class `label` has more of it than one of another class."""

    name: str
    title: str
    unit: str
    family: Family
    label: str
    area: AreaEntry
    sentence: str


class MetadataEntry(_InspectionPart):
    """The metadata-only test: how well all measures together, and each family, predict the class."""

    area: AreaEntry
    families: dict[Family, AreaEntry]
    measures: tuple[MeasureEntry, ...]
    folds: int
    units: int


class Suspect(_InspectionPart):
    """An image whose label is doubted: its own class, the class that images like it have, and their probabilities."""

    path: str
    label: str
    split: Split
    probability: float
    suggested: str
    suggested_probability: float


class LabelEntry(_InspectionPart):
    """The search for label errors: by which features, how well these know the classes, and the suspects, worst first.

    `judged` is False where the features know the classes too poorly for anything to be said.
    """

    features: str
    area: AreaEntry
    judged: bool
    suspects: tuple[Suspect, ...]


class OddImage(_InspectionPart):
    """An image taken as normal that looks unlike the other normal ones, and how far: a robust z-score."""

    path: str
    split: Split
    score: float


class OddEntry(_InspectionPart):
    """The search for bad images among normal ones: by which features, among how many, and those found, worst first."""

    features: str
    images: int
    found: tuple[OddImage, ...]


class Inspection(_InspectionPart):
    """Everything that an audit of a dataset found; `pellucid data inspect --json` prints this, version 1.

    `counts` is {split: {class: images}} of the readable images, `formats` and `modes` {class: {name: images}}, and
    `statistics` {measure: {class: quartiles}}, without the classes for which a measure has no meaning.
    `metadata` and `labels` are None where the test could not be made, for the reason in `metadata_absent` and
    `labels_absent`. `threshold` is the correlation of thumbnails from which on two pictures look the same.
    `nested` maps classes to the folders below that may be the classes. `odd` is set where the data were read as normal
    and bad images, for a detector that learns from normal ones alone.
    """

    schema_version: Literal[1] = 1
    source: str
    classes: tuple[str, ...]
    positive: str | None
    images: int
    counts: dict[str, dict[str, int]]
    verdict: str = ""
    findings: tuple[Finding, ...] = ()
    notes: tuple[str, ...]
    left_out: tuple[FileNote, ...]
    unreadable: tuple[FileNote, ...]
    remarks: tuple[FileNote, ...]
    companions: CompanionNotes
    identical: tuple[Copies, ...]
    similar: tuple[Copies, ...]
    threshold: float
    overlaps: tuple[SplitOverlap, ...]
    grouping: Grouping | None
    formats: dict[str, dict[str, int]]
    modes: dict[str, dict[str, int]]
    statistics: dict[str, dict[str, tuple[float, float, float]]]
    metadata: MetadataEntry | None
    metadata_absent: str = ""
    labels: LabelEntry | None
    labels_absent: str = ""
    nested: dict[str, tuple[str, ...]] = {}
    odd: OddEntry | None = None

    @property
    def images_left_out(self) -> int:
        """How many images were found and not used, those that cannot be read not counted."""
        return sum(note.images for note in self.left_out)

    @property
    def serious(self) -> bool:
        """Whether there is a problem, or a file that cannot be read."""
        unreadable = self.unreadable or self.companions.unreadable
        return bool(unreadable) or any(f.level == "problem" for f in self.findings)
