"""The operating point: the threshold that serves a purpose, chosen on validation images, with what is then sure.

A demand like `sensitivity>=0.95` is met by risk control: with the confidence stated, the true sensitivity at the
threshold chosen is at least what was asked, whatever the distribution of scores. As the sensitivity only falls when the
threshold rises, the pointwise bound holds for the highest threshold that passes (Bates et al., "Distribution-free,
risk-controlling prediction sets", J. ACM 68 (2021), theorem 1). With independent images the bound is Clopper and
Pearson's, and the threshold an order statistic.
"""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, Field


class OperatingPoint(BaseModel):
    """Where the threshold lies, what was asked for, and what holds of it.

    `threshold` applies to the calibrated probability of the positive class, or to the output of a regression: at least
    so much is answered as positive. `sensitivity` and `specificity` are those of the validation images, of which
    `images` (and `groups`, where there are any) were used. `bound` is what is sure with `confidence` of `bounded`
    (`sensitivity`, `specificity`, `youden` or `cost`), and None where nothing was asked. `met` says whether that is as
    much as was asked. `revision` counts later choices on the same validation images, made after the first test.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    asked: str
    threshold: float
    images: int
    groups: int | None = None
    sensitivity: float | None = Field(default=None, ge=0, le=1)
    specificity: float | None = Field(default=None, ge=0, le=1)
    bounded: str | None = None
    bound: float | None = None
    confidence: float = Field(default=0.95, gt=0, lt=1)
    met: bool = True
    statement: str = ""
    revision: int = 0
