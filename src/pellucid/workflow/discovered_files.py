"""What an audit keeps of the search for what a model goes by: galleries, factors, and a person's answers."""

from __future__ import annotations

from pathlib import Path

from ..evaluation.discovered import ConceptEntry, DiscoveredDocument
from ..evaluation.patches import Box
from ..evaluation.regions import average_picture
from ..explanation.known_concepts import ClassFactors, write_factors
from .discovering_slices import Subjects

GALLERIES, FACTORS = "concepts", "concepts/factors.npz"


def keep_factors(found: DiscoveredDocument, factors: dict[int, ClassFactors], folder: Path) -> DiscoveredDocument:
    """Write the factors of the classes into `folder`; the document with the file's name."""
    if not factors:
        return found
    write_factors(folder / FACTORS, factors)
    return found.model_copy(update={"factors": FACTORS})


def with_answers(found: DiscoveredDocument, earlier: DiscoveredDocument | None) -> DiscoveredDocument:
    """The document with the answers that a person gave on an earlier one, where most patches are the same."""
    if earlier is None:
        return found
    answered = [c for c in earlier.concepts if c.answer is not None]
    concepts = []
    for concept in found.concepts:
        same = (old for old in answered if old.label == concept.label and _overlap(old, concept) >= 0.5)
        old = next(same, None)
        concepts.append(concept if old is None else concept.model_copy(update={"answer": old.answer}))
    return found.model_copy(update={"concepts": tuple(concepts)})


def write_galleries(found: DiscoveredDocument, subjects: Subjects, folder: Path) -> DiscoveredDocument:
    """Draw a gallery of each concept into `folder`, named after it; the document with the files' names."""
    from ..reporting.concept_gallery import concept_gallery, picture_sheet, write_concept_gallery

    average = average_picture(subjects.pixels)
    height, width = subjects.pixels.shape[1:3]
    number = {path: i for i, path in enumerate(subjects.paths)}
    concepts = []
    for concept in found.concepts:
        pictures = [subjects.pixels[number[p.path]] for p in concept.patches]
        boxes = [Box.around(p.y * height, p.x * width, concept.side, height, width) for p in concept.patches]
        name = f"{GALLERIES}/{concept.name}.png"
        write_concept_gallery(folder / name, concept_gallery(pictures, boxes, average))
        concepts.append(concept.model_copy(update={"gallery": name}))
    slices = []
    for at, entry in enumerate(found.slices, 1):
        name = f"{GALLERIES}/errors-{at}.png"
        write_concept_gallery(folder / name, picture_sheet([subjects.pixels[number[path]] for path in entry.paths]))
        slices.append(entry.model_copy(update={"gallery": name}))
    return found.model_copy(update={"concepts": tuple(concepts), "slices": tuple(slices)})


def _overlap(first: ConceptEntry, second: ConceptEntry) -> float:
    places = [{(p.path, round(p.y, 2), round(p.x, 2)) for p in c.patches} for c in (first, second)]
    return len(places[0] & places[1]) / max(len(places[0] | places[1]), 1)
