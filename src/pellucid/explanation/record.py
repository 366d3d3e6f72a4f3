"""`manifest.json` of an explanation folder: what each picture shows and how to make it again."""

from __future__ import annotations

from typing import Any

from pydantic import Field

from ..classifier import Outcome
from ..documents import Document
from .trust import ImageTrust


class ExplanationRecord(Document):
    """One map of one image. `files` maps attention, heatmap, overlay and others to paths relative to the manifest.

    `label` is what is answered, `predicted` the class at the operating point, which `confidence` belongs to (null in
    older folders), and `outcome` says whether it is answered. `sha256` is that of the image file. `largest` and
    `smallest` are the extreme raw values of the map and `limit` the value drawn at the top of the colour scale, all in
    `unit`. `output` is the score of a model without probabilities. `verdict` is the one-line reading, `trust` the short
    trust check, where asked for.
    """

    path: str
    label: str
    predicted: str | None = None
    outcome: Outcome = "answer"
    true_label: str | None = None
    confidence: float | None
    output: float | None = None
    probabilities: dict[str, float]
    target: str
    method: str
    score: str
    unit: str
    layer: str | None
    settings: dict[str, Any]
    smallest: float
    largest: float
    limit: float
    verdict: str
    warnings: tuple[str, ...] = ()
    files: dict[str, str]
    sha256: str = ""
    trust: ImageTrust | None = None

    @property
    def withheld(self) -> bool:
        """Whether no class is answered: such an image is neither right nor wrong."""
        return self.outcome != "answer"

    @property
    def right(self) -> bool | None:
        """Whether the class that is answered is the true one; None where no class is answered or the truth unknown."""
        return None if self.withheld or self.true_label is None else self.label == self.true_label


class ExplanationManifest(Document):
    """All maps of one command, those of an image after each other.

    `model` is the sha256 of the bundle's graph and weights. `sheets` maps the path of an image to the picture that
    shows all of its maps side by side. `left_out` says why a method could not be asked. `top` is how many of the
    `considered` images were chosen by their probability, None for all.
    """

    schema_version: int = 1
    pellucid_version: str
    model: dict[str, str]
    colormap: str
    alpha: float
    scale: str
    signed: bool = False
    command: tuple[str, ...] = ()
    considered: int = 0
    top: int | None = None
    sheets: dict[str, str] = Field(default_factory=dict)
    left_out: dict[str, str] = Field(default_factory=dict)
    images: tuple[ExplanationRecord, ...]
    skipped: tuple[tuple[str, str], ...] = Field(default=())
