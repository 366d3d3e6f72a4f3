"""`manifest.json` of an explanation folder: what each picture shows and how to make it again."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, ConfigDict, Field


class _Document(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class ExplanationRecord(_Document):
    """One explained image. `files` maps attention, heatmap and overlay to paths relative to the manifest.

    `largest` and `smallest` are the extreme raw values of the map and `limit` the value drawn at the top of the colour
    scale, all in `unit`; `verdict` is the one-line reading.
    """

    path: str
    label: str
    true_label: str | None = None
    confidence: float | None
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


class ExplanationManifest(_Document):
    """All explained images of one command. `model` is the sha256 of the bundle's graph and weights."""

    schema_version: int = 1
    pellucid_version: str
    model: dict[str, str]
    colormap: str
    alpha: float
    scale: str
    images: tuple[ExplanationRecord, ...]
    skipped: tuple[tuple[str, str], ...] = Field(default=())
