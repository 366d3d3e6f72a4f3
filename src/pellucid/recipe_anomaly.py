"""The section of a recipe that says how anomalies are told from normal images, and the base of all sections."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

AnomalyMethod = Literal["combined", "patch-memory", "gaussian", "image-statistics"]


class RecipeSection(BaseModel):
    """A part of a recipe: its values are fixed, and keys that it does not know are refused."""

    model_config = ConfigDict(frozen=True, extra="forbid", coerce_numbers_to_str=True)


class AnomalySection(RecipeSection):
    """How a model that learns from normal images alone tells what is anomalous. For `task = "anomaly"`."""

    method: AnomalyMethod = Field(
        default="combined",
        description="combined: patch-memory and image-statistics together; gaussian: one for each position (PaDiM)",
    )
    layers: tuple[str, ...] = Field(
        default=(), description="layers of the backbone whose features are used; none: those that suit its family"
    )
    smoothing: int = Field(default=3, ge=1, le=15, description="cells over which each feature map is averaged; odd")
    memory: int = Field(default=2000, ge=1, le=1_000_000, description="normal patches that are kept")
    candidates: int = Field(
        default=40_000, ge=100, le=10_000_000, description="patches among which those to keep are chosen"
    )
    top: float = Field(
        default=0.03, ge=0, le=1, description="share of the cells whose mean is the score; 0: the greatest alone"
    )
    reweighted: bool = Field(
        default=False, description="with patch-memory: the greatest distance, weighed as PatchCore does, is the score"
    )
    whole: float = Field(
        default=4.0, ge=0, le=100, description="with combined: weight of the image's distance in the score"
    )
    channels: int = Field(default=100, ge=2, le=2000, description="with gaussian: channels drawn, as in PaDiM")
    clean: bool = Field(default=True, description="leave out normal images that look very bad beside the others")
    count_suspects: bool = Field(
        default=True,
        description="images that look bad count as normal for the threshold; else more is flagged if they are normal",
    )
    false_alarms: float = Field(
        default=0.05, gt=0, lt=1, description="share of normal images that is flagged at most, sure to 95 %"
    )
    use_bad: bool = Field(
        default=False, description="bad images of the data help to choose the threshold; else they are for testing only"
    )
    normal: str | None = Field(default=None, description="folder or label of the normal images, where names do not say")

    @property
    def with_places(self) -> bool:
        """Whether distances are measured against what is usual at their place: where nothing is as it was published."""
        return self.method == "combined"
