"""What a model was found to go by, as plain data: the section `discovered` of `audit.json`."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from ..documents import FiniteDocument
from .figures import Estimate

PositionKind = Literal["one place", "one height", "one side", "anywhere"]


class PatchEntry(FiniteDocument):
    """A patch of a concept: the image, its centre (y, x) as shares of the model's input, and its evidence."""

    path: str
    y: float
    x: float
    evidence: float


class EffectEntry(FiniteDocument):
    """What interventions on a concept do, in units of the score (log-odds; a regression's output), beyond controls.

    `drawn_over` and `averaged` say how much the score of the class falls when the patches are filled in from around
    them or replaced by the average picture, more than when equally large squares elsewhere are; `put_in` how much it
    rises in images of other classes that get a patch, more than with another patch of the same image. `hidden_changes`
    and `put_in_changes` are the shares of answers that change sides, `control_changes` those with another patch.
    `of_gap` is the smaller fall over the difference of the classes' mean scores.
    """

    images: int
    drawn_over: Estimate
    averaged: Estimate
    put_in: Estimate | None
    hidden_changes: Estimate
    put_in_changes: Estimate | None
    control_changes: float | None
    of_gap: float

    @property
    def proven(self) -> bool:
        """Whether the answer is certain to fall without the concept, both ways, and to rise with it."""
        falls = self.drawn_over.low > 0 and self.averaged.low > 0
        return falls and self.put_in is not None and self.put_in.low > 0


class SamenessEntry(FiniteDocument):
    """How alike the patches of different groups are, and whether their texture is one that other images lack.

    `alike` is the correlation of the most typical patch, at its best fit, with half of the others, `usual` that of
    patches of other classes, `chance` the share of random draws that reach it. `texture` is how many standard
    deviations the patches' texture lies from that of other classes' patches, on average over six bands, and
    `texture_spread` the ratio of their own deviation to that of the others. `within`, `within_chance` and
    `within_spread` are the same of textures relative to the rest of their own image. None in an audit of an older
    version.
    """

    patches: int
    alike: float
    usual: float
    chance: float
    texture: float
    texture_chance: float
    texture_spread: float | None = None
    within: float | None = None
    within_chance: float | None = None
    within_spread: float | None = None


class AnswerEntry(FiniteDocument):
    """What a person said of a concept: whether it belongs to the class, and what it is."""

    belongs: bool
    words: str
    given: str = ""


class PeriodEntry(FiniteDocument):
    """A pattern all over the image that repeats every `pixels` pixels of the model's input.

    It repeats `down` times from top to bottom and `across` times from side to side; `chance` is that of a line as
    strong in the spectrum among shuffled labels.
    """

    pixels: float
    down: int
    across: int
    chance: float


class ConceptEntry(FiniteDocument):
    """One thing in which the model finds evidence for `label`.

    `share` of the evidence for the class, in its images, that leads to this concept; `presence` is the area under the
    ROC curve of the concept's evidence in an image for the label. `inside` is the share of patches that touch the masks
    or boxes, None without any. Patches are squares of `side` pixels of the model's input.
    `gallery` is the picture's file beside `audit.json`. With a `period`, the concept
    is a pattern all over the image; `share` is then 0. `factor` is its row among the factors of its class in the file
    that the document names.
    """

    name: str
    label: str
    share: float
    presence: Estimate | None
    groups: int
    side: int
    position: PositionKind
    effect: EffectEntry | None = None
    sameness: SamenessEntry | None = None
    inside: Estimate | None = None
    gallery: str | None = None
    patches: tuple[PatchEntry, ...] = ()
    answer: AnswerEntry | None = None
    period: PeriodEntry | None = None
    factor: int | None = None


class SliceEntry(FiniteDocument):
    """Images alike in what the model sees, on which it errs more than on the others.

    `errors` is the share of wrong answers and `others` that of all other images; `chance` the share of random groupings
    in which any slice stands out as much (the correction for the search). `described` says what they have in common.
    """

    images: int
    errors: Estimate
    others: float
    chance: float
    described: tuple[str, ...] = ()
    paths: tuple[str, ...] = ()
    gallery: str | None = None


class DiscoveredDocument(FiniteDocument):
    """What the model goes by on N images: concepts, the most effective first, and slices of errors.

    `left_out` says of each class, or of the model, why nothing is told. `factors` is the file beside `audit.json` by
    which the concepts are recognised in other images, None in an audit of an older version.
    """

    images: int
    passes: int
    seconds: float
    concepts: tuple[ConceptEntry, ...] = ()
    slices: tuple[SliceEntry, ...] = ()
    left_out: dict[str, str] = Field(default_factory=dict)
    factors: str | None = None
