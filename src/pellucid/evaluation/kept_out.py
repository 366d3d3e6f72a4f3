"""The record of what a model is worth elsewhere: sources of images that were kept out of a training."""

from __future__ import annotations

from typing import Literal

from ..data.sources import Kind
from ..documents import Document
from .second_head import KeptOut

Reason = Literal["", "regression", "no-weights", "few-images", "no-sources"]
Three = tuple[float, float, float]


class SourceLeftOut(Document):
    """A model on a source of images that it was not trained on; `sure` when the interval of a loss is above 0.

    `kind` says by what the source was found: `name` (pattern `value`, # for digits), `size`, `compression`, a measure
    of the pixels whose values fall into two heaps (`value` is "low" or "high"), or `look` (the images of each class
    that look most unlike the others). `auc`, `accuracy` (the mean of the classes' rates) and what they lose against
    home are (value, low, high). `kept` has what estimates without labels are built on.
    """

    kind: Kind
    value: str
    images: int
    auc: Three
    accuracy: Three
    auc_loss: Three
    accuracy_loss: Three
    sure: bool
    kept: KeptOut | None = None


class AbroadRecord(Document):
    """What is known of a model on images from elsewhere: a quick model, at home and with each source left out.

    The quick model is a linear head on features of the initial weights, which no image of the set has shaped. `unknown`
    says why there is no figure: `regression`, `no-weights`, `few-images`, or `no-sources`. `full` is the same of the
    whole recipe, trained again without each source, where that was asked for; its home are the validation images.
    """

    auc: Three | None = None
    accuracy: Three | None = None
    sources: tuple[SourceLeftOut, ...] = ()
    images: int = 0
    unknown: Reason = ""
    full: AbroadRecord | None = None

    @property
    def best(self) -> AbroadRecord:
        """The record of the whole recipe where it was trained without each source, else this one."""
        return self.full if self.full is not None and self.full.known else self

    @property
    def known(self) -> bool:
        """Whether there is any figure."""
        return bool(self.sources) and self.auc is not None and self.accuracy is not None

    @property
    def worst(self) -> SourceLeftOut:
        """The source on which most is lost, of those where a loss is certain if there are any; there must be one."""
        return max(self.sources, key=lambda s: (s.sure, max(s.auc_loss[0], s.accuracy_loss[0])))

    @property
    def sure(self) -> bool:
        """Whether a loss on any source is certain."""
        return any(s.sure for s in self.sources)
