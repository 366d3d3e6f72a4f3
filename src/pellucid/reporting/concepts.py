"""What the model goes by, for the report and the model card: concepts with their galleries and a sentence each."""

from __future__ import annotations

import base64
from dataclasses import dataclass
from io import BytesIO

import PIL.Image

from ..data.finding import Level
from ..evaluation.discovered import ConceptEntry
from ..evaluation.discovered_verdicts import ConceptStatus, concept_sentence, is_shortcut, status_of
from .contents import AUDIT, RunContents

SHOWN = 5


@dataclass(frozen=True, slots=True)
class ShownConcept:
    """A concept as a page shows it: `picture` is a data URI, "" where the gallery's file is absent."""

    name: str
    label: str
    level: Level
    status: str
    sentence: str
    picture: str


def shown_concepts(run: RunContents) -> list[ShownConcept]:
    """The concepts that were intervened on, at most five, the most effective first."""
    if run.audit is None or run.audit.discovered is None:
        return []
    concepts = [c for c in run.audit.discovered.concepts if c.effect is not None]
    # What is proven or answered for stays in view, however many there are.
    chosen = [c for i, c in enumerate(concepts) if i < SHOWN or c.answer is not None or is_shortcut(c)]
    return [_shown(run, concept) for concept in chosen]


def _shown(run: RunContents, concept: ConceptEntry) -> ShownConcept:
    level, status = _status(concept)
    return ShownConcept(
        concept.name, concept.label, level, status, concept_sentence(concept), _picture(run, concept.gallery)
    )


def _status(concept: ConceptEntry) -> tuple[Level, str]:
    """How grave a concept is, and what is known of it in a few words."""
    words = concept.answer.words if concept.answer else ""
    said: dict[ConceptStatus, tuple[Level, str]] = {
        "accepted": ("good", f"belongs to {concept.label}, as a person answered: {words}"),
        "rejected": ("problem", f"does not belong to {concept.label}, as a person answered: {words}"),
        "shortcut": ("problem", "looks like a shortcut"),
        "question": ("caution", f"decides; does it belong to {concept.label}?"),
        "unproven": ("information", "not proven to decide"),
    }
    return said[status_of(concept)]


def _picture(run: RunContents, gallery: str | None) -> str:
    """The gallery as a JPEG in a data URI."""
    file = run.folder.root / AUDIT / gallery if gallery else None
    if file is None or not file.is_file():
        return ""
    buffer = BytesIO()
    with PIL.Image.open(file) as picture:
        picture.convert("RGB").save(buffer, format="JPEG", quality=85)
    return "data:image/jpeg;base64," + base64.b64encode(buffer.getvalue()).decode("ascii")
