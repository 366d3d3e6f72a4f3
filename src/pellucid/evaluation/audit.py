"""What an audit of a model found, as plain data: `audit.json` and `pellucid audit --json`, schema version 1."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from ..data.finding import Finding
from ..documents import FiniteDocument
from .discovered import DiscoveredDocument
from .false_alarms import FalseAlarmTable
from .figures import Estimate

AUDIT_FILE = "audit.json"


class RegionEntry(FiniteDocument):
    """A region of the picture that covers `share` of it (0 to 1).

    `alone` is the area under the ROC curve when the model is shown nothing else, `lost` the area that is lost when the
    region is hidden, `changed` the share of answers that hiding it changes. `evidence` is the share of the heat maps'
    positive evidence that lies there, `share` being its chance level; None for a model without heat maps.
    """

    region: str
    share: float
    alone: Estimate | None
    lost: Estimate | None
    changed: float
    evidence: float | None


class MaskEntry(FiniteDocument):
    """Heat maps against masks or boxes: the mean share of the positive evidence inside, and the share by chance.

    Of an anomaly detector `inside` is the mean `area` under the ROC curve of an image's pixels instead: its map has
    distances everywhere.
    """

    source: str
    method: str
    images: int
    empty: int
    inside: Estimate
    chance: float
    measure: Literal["energy", "area"] = "energy"


class MetadataProbe(FiniteDocument):
    """How well the class is told without looking, from file and border statistics, and by what most of all."""

    area: Estimate
    strongest: tuple[str, ...]


class DisturbanceEntry(FiniteDocument):
    """What a change of the pictures did: the share of answers changed, and the area under the ROC curve lost."""

    kind: str
    amount: str
    strength: Literal["mild", "strong"]
    changed: Estimate
    lost: Estimate | None


class SubgroupEntry(FiniteDocument):
    """A subgroup's figures; gaps are its value minus that of all other images. None where images are too few."""

    name: str
    images: int
    accuracy: Estimate | None
    accuracy_gap: Estimate | None
    area: Estimate | None
    area_gap: Estimate | None


class AuditDocument(FiniteDocument):
    """Everything that `pellucid audit` found of a model on N images of one split.

    `area` is the area under the ROC curve on the pictures as they are; for more than two classes every area is the mean
    over the classes that have images, each against the rest. With images of one class only no area is defined, and each
    is None. `absent` names the classes without images, `unknown` those of the data that the model does not know, whose
    images were left out. `outside_share` is the share of images flagged as unusual. `false_alarms` are those of an
    anomaly detector under changes of light, place and focus.
    """

    schema_version: Literal[1] = 1
    name: str
    created: str
    source: str
    split: str
    images: int
    sampled_from: int
    groups: int
    classes: tuple[str, ...]
    seed: int
    bundle: str
    area: Estimate | None
    accuracy: Estimate
    regions: tuple[RegionEntry, ...]
    masks: MaskEntry | None
    metadata: MetadataProbe | None
    disturbances: tuple[DisturbanceEntry, ...]
    subgroup_by: str | None
    subgroups: tuple[SubgroupEntry, ...]
    outside_share: float | None
    absent: tuple[str, ...] = ()
    unknown: dict[str, int] = Field(default_factory=dict)
    discovered: DiscoveredDocument | None = None
    false_alarms: FalseAlarmTable | None = None
    findings: tuple[Finding, ...] = ()
    verdict: str = ""

    @property
    def serious(self) -> bool:
        """Whether anything stands against the use of the model."""
        return any(finding.level == "problem" for finding in self.findings)
