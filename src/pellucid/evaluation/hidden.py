"""What hiding a shortcut while training did, as plain data: `hidden.json`, schema version 1."""

from __future__ import annotations

from typing import Literal

from ..documents import FiniteDocument
from .figures import Estimate

HIDDEN_FILE = "hidden.json"
HiddenKind = Literal["as-they-are", "agrees", "against", "covered", "put-in"]


class HiddenRow(FiniteDocument):
    """The share of right answers on test images, of the earlier model and of the new one.

    `what` is `as-they-are`, `agrees` and `against` for the images on which the sign agrees with the class and those on
    which it does not, `covered` and `put-in` for all images with the sign covered, and put in. `before` is None where
    there is no earlier model, or it was trained on some of these images.
    """

    what: HiddenKind
    images: int
    before: Estimate | None
    after: Estimate


class AuditSide(FiniteDocument):
    """An audit in short: its verdict, and its problems and cautions in its own words."""

    verdict: str
    problems: tuple[str, ...]
    cautions: tuple[str, ...]


class HiddenDocument(FiniteDocument):
    """A model trained with something hidden, beside the model whose audit accused it.

    `hidden` is what was asked for, `earlier` the run of the first concept, "" where only regions were hidden. `truth`
    says whether the images with the sign are known (`planted`) or those where it was found (`found`); "" without one.
    `showing` is the number of training images in which a sign was found.
    """

    schema_version: Literal[1] = 1
    hidden: tuple[str, ...]
    earlier: str
    truth: Literal["planted", "found", ""]
    training_images: int
    showing: int
    rows: tuple[HiddenRow, ...]
    audit_before: AuditSide | None
    audit_after: AuditSide
