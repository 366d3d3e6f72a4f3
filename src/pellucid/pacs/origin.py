"""Which bundle, at which operating point, makes the results: their UIDs, their equipment and their algorithm."""

from __future__ import annotations

import hashlib
import json
import uuid
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Literal

from .._version import __version__
from ..bundle.manifest import MANIFEST
from ..errors import InputError
from .codes import RESEARCH, Code, CodeTable, printable

if TYPE_CHECKING:
    from pathlib import Path

    from ..bundle.bundle import Bundle

SrClass = Literal["comprehensive-3d", "comprehensive", "enhanced"]
SR_CLASSES: dict[SrClass, str] = {
    "comprehensive-3d": "1.2.840.10008.5.1.4.1.1.88.34",
    "comprehensive": "1.2.840.10008.5.1.4.1.1.88.33",
    "enhanced": "1.2.840.10008.5.1.4.1.1.88.22",
}
IMPLEMENTATION = "2.25.247386210573184210995148306164817463204"
"""The Implementation Class UID in the header of every file that pellucid writes."""


@dataclass(frozen=True)
class ResultOrigin:
    """A bundle as the origin of results.

    `checksum` is that of manifest.json, which holds those of the bundle's other files, the threshold and the
    calibration. Results follow from it, from `codes` and `sr`, and from the film: the same give the same UIDs.
    """

    bundle: Bundle
    codes: CodeTable
    sr: SrClass = "comprehensive-3d"

    @cached_property
    def checksum(self) -> str:
        return hashlib.sha256((self.bundle.folder / MANIFEST).read_bytes()).hexdigest()

    @cached_property
    def name(self) -> str:
        return printable(self.bundle.manifest.name)

    @cached_property
    def settings(self) -> str:
        """What results depend on besides bundle and film, as one text."""
        codes = {name: [row.finding, *row.also] for name, row in sorted(self.codes.classes.items())}
        return json.dumps([__version__, self.sr, codes, self.codes.region, self.codes.procedure])

    @property
    def plain(self) -> bool:
        """Whether every text that pellucid adds is ASCII, which every character set holds."""
        return all(text.isascii() for text in (*self.bundle.classes, self.name, *self.codes.texts))

    def uid(self, *parts: str) -> str:
        """The same UID for the same parts and origin. No registered root is needed: DICOM PS3.5, B.2."""
        return f"2.25.{uuid.uuid5(uuid.NAMESPACE_OID, '|'.join((self.checksum, self.settings, *parts))).int}"

    @cached_property
    def algorithm(self) -> tuple[str, ...]:
        """What identifies the algorithm: checksum, operating point, calibration, use. Texts of reports."""
        manifest = self.bundle.manifest
        found = [f"bundle sha256 {self.checksum}"]
        if manifest.operating_point is not None and manifest.operating_point.statement:
            found.append(f"operating point: {manifest.operating_point.statement}")
        if manifest.calibration is not None:
            shift = f", shift {manifest.calibration.shift:.4f}" if manifest.calibration.shift else ""
            found.append(f"calibration: {manifest.calibration.method}, scale {manifest.calibration.scale:.4f}{shift}")
        return (*found, RESEARCH)

    def region(self, body_part: str) -> Code | None:
        """The finding site: that of `codes.toml`, else that of the film's body part where a code is known."""
        return self.codes.region or BODY_PARTS.get(body_part.strip().upper())


# Reference: DICOM PS3.16, annex L (defined terms of Body Part Examined and their SNOMED CT codes).
BODY_PARTS = {
    "CHEST": Code("816094009", "SCT", "Chest"),
    "THORAX": Code("816094009", "SCT", "Chest"),
    "ABDOMEN": Code("818981001", "SCT", "Abdomen"),
    "HAND": Code("85562004", "SCT", "Hand"),
    "WRIST": Code("8205005", "SCT", "Wrist"),
    "KNEE": Code("72696002", "SCT", "Knee"),
    "FOOT": Code("56459004", "SCT", "Foot"),
    "ANKLE": Code("70258002", "SCT", "Ankle"),
    "SHOULDER": Code("16982005", "SCT", "Shoulder"),
    "PELVIS": Code("816092008", "SCT", "Pelvis"),
    "SKULL": Code("89546000", "SCT", "Skull"),
    "BREAST": Code("76752008", "SCT", "Breast"),
}


def check_use(bundle: Bundle, run: Path, *, research: bool) -> None:
    """Refuse a bundle that is not marked medical, or that has no measured figures, unless for research.

    Raises InputError with what is missing.
    """
    from ..evaluation.schema import METRICS_FILE

    if research:
        return
    if not bundle.manifest.medical:
        why = "is not marked as medical (the recipe's key `medical`), so that nothing says that it knows such films"
    elif not any((folder / METRICS_FILE).is_file() for folder in (run / "evaluation",)):
        why = "has no measured figures (evaluation/metrics.json), so that nobody can judge its answers"
    else:
        return
    raise InputError(f"{bundle.manifest.name} {why}. For trials with such a bundle, add `research=True`.")
