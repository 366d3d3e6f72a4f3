"""Find what a model goes by on labelled images, without masks, and prove it by intervention: see `discover`."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from ..bundle.bundle import Bundle
from ..classifier import selected_targets
from ..data.areas import clustered_area
from ..evaluation.discovered import ConceptEntry, DiscoveredDocument, PatchEntry, PeriodEntry, PositionKind, SliceEntry
from ..evaluation.discovered_verdicts import is_proven
from ..evaluation.error_slices import described, error_slices, figures_of
from ..evaluation.figures import Estimate
from ..evaluation.intervals import wilson
from ..evaluation.interventions import Interventions, Patches
from ..evaluation.patches import Box
from ..evaluation.periods import effect_of_period, find_period
from ..evaluation.regions import average_picture
from ..evaluation.sameness import PatchComparison
from ..explanation.concepts import EvidenceCells, evidence_cells, factor
from ..explanation.maps import scores_of_logits
from ..preprocessing import Uint8Array
from ..progress import Progress, Silent

Indices = npt.NDArray[np.int64]
Values = npt.NDArray[np.float64]

FEWEST_OF_A_CLASS, FEWEST_GROUPS = 12, 8
CONCEPTS, CELLS_PER_CONCEPT = 12, 60
TRIED, PATCHES = 5, 24
COMPARED = 16
LEAST_SHARE = 0.03
SHOWN = 24
GALLERIES = "concepts"
BATCH = 16
PROBED = 4


@dataclass(frozen=True, slots=True, eq=False)
class Subjects:
    """Labelled pictures (N, height, width, 3) of a model's input, the group (N,) of each as a number, and its path."""

    pixels: Uint8Array
    labels: Indices
    units: Indices
    paths: tuple[str, ...]


@dataclass(frozen=True, slots=True, eq=False)
class _Question:
    """What is asked about one class."""

    bundle: Bundle
    subjects: Subjects
    label: int
    interventions: Interventions
    seed: int


def discover(
    bundle: Bundle,
    subjects: Subjects,
    *,
    seed: int = 0,
    touches: Callable[[int, Box], bool | None] | None = None,
    progress: Progress | None = None,
) -> DiscoveredDocument:
    """What the model goes by, the most effective first; nothing of the bundle changes.

    `touches(image, box)` says whether a square of the model's input touches the mask of an image, None where the image
    has no mask. A model without a layer, too few images of a class or too few groups are told in `left_out`.
    """
    start = time.monotonic()
    if bundle.manifest.layer is None:
        why = "a model without an explained layer shows no evidence to search; give masks or subgroups instead."
        return DiscoveredDocument(images=len(subjects.labels), passes=0, seconds=0.0, left_out={"Concepts": why})
    progress = progress or Silent()
    few = _too_few(bundle, subjects)
    if len(few) == len(bundle.classes):
        return DiscoveredDocument(images=len(subjects.labels), passes=0, seconds=0.0, left_out=few)
    with progress.bar("Evidence") as advance:
        cells = evidence_cells(bundle, subjects.pixels, subjects.labels, bundle.classes, advance)
    scorer = _ClassScores(bundle)
    found: list[ConceptEntry] = []
    whole = scorer(subjects.pixels)
    average = average_picture(subjects.pixels)
    kept = [k for k, name in enumerate(bundle.classes) if name not in few]
    with progress.bar("Concepts, hidden and put in") as advance:
        for done, k in enumerate(kept, 1):
            interventions = Interventions(scorer.of(k), subjects.pixels, subjects.units, whole.of(k), average)
            question = _Question(bundle, subjects, k, interventions, seed)
            found += [*_concepts(question, cells[k], touches), *_periods(question)]
            advance(done, len(kept))
    slices = _slices(bundle, subjects, whole.answers, seed)
    ranked = sorted(found, key=_importance, reverse=True)
    named = tuple(c.model_copy(update={"name": f"concept-{i}"}) for i, c in enumerate(ranked, 1))
    return DiscoveredDocument(
        images=len(subjects.labels),
        passes=scorer.passes + 3 * len(subjects.labels),
        seconds=round(time.monotonic() - start, 1),
        concepts=named,
        slices=slices,
        left_out=few,
    )


def _slices(bundle: Bundle, subjects: Subjects, answers: Indices, seed: int) -> tuple[SliceEntry, ...]:
    """Where the model errs more: images alike to it, described by what their pixels tell."""
    features = []
    for start in range(0, len(subjects.pixels), BATCH):
        batch = bundle.preprocessing.normalise(subjects.pixels[start : start + BATCH])
        found = bundle.logits_and_features(batch)[1]
        if found is None:
            return ()
        features.append(found)
    wrong = answers != subjects.labels
    known = figures_of(subjects.pixels)
    entries = []
    for found_slice in error_slices(np.concatenate(features), wrong, subjects.labels, seed):
        members = found_slice.members
        count, missed = int(members.sum()), int(wrong[members].sum())
        low, high = wilson(missed, count)
        worst = np.flatnonzero(members)[np.argsort(~wrong[members], kind="stable")][:SHOWN]
        entries.append(
            SliceEntry(
                images=count,
                errors=Estimate(value=missed / count, low=low, high=high),
                others=float(wrong[~members].mean()),
                chance=found_slice.chance,
                described=described(members, known),
                paths=tuple(subjects.paths[i] for i in worst),
            )
        )
    return tuple(entries)


def _too_few(bundle: Bundle, subjects: Subjects) -> dict[str, str]:
    """Why nothing can be said of a class, by its name."""
    said = {}
    for k, name in enumerate(bundle.classes):
        mine = subjects.labels == k
        groups = len(set(subjects.units[mine].tolist()))
        if min(int(mine.sum()), int((~mine).sum())) < FEWEST_OF_A_CLASS or groups < FEWEST_GROUPS:
            said[name] = (
                f"{int(mine.sum())} images of {groups} groups, {int((~mine).sum())} of other classes: at least "
                f"{FEWEST_OF_A_CLASS} of each and {FEWEST_GROUPS} groups are needed to tell what the model goes by."
            )
    return said


def _importance(concept: ConceptEntry) -> tuple[bool, float, float]:
    """Proven concepts first, then by what hiding them costs, then by their share of the evidence."""
    return is_proven(concept), concept.effect.of_gap if concept.effect else -np.inf, concept.share


@dataclass(frozen=True, slots=True, eq=False)
class _ClassAnswers:
    """The score (N, K) of each class, in log-odds, and the answer (N,)."""

    scores: Values
    answers: Indices

    def of(self, label: int) -> tuple[Values, npt.NDArray[np.bool_]]:
        """The score of one class, and whether it is the answer."""
        return self.scores[:, label], self.answers == label


class _ClassScores:
    """A bundle as interventions ask it: pictures to the score of each class."""

    def __init__(self, bundle: Bundle, batch: int = 16) -> None:
        self._bundle, self._batch, self.passes = bundle, batch, 0

    def __call__(self, pixels: Uint8Array) -> _ClassAnswers:
        scores, answers = [], []
        for start in range(0, len(pixels), self._batch):
            logits = self._bundle.logits(self._bundle.preprocessing.normalise(pixels[start : start + self._batch]))
            rows, contrast, _ = selected_targets(
                self._bundle.classes, self._bundle.task, len(logits), self._bundle.classes, None
            )
            scores.append(scores_of_logits(logits, rows, contrast).astype(np.float64))
            answers.append(self._bundle.manifest.predicted(logits))
        self.passes += len(pixels)
        return _ClassAnswers(np.concatenate(scores), np.concatenate(answers))

    def of(self, label: int) -> Callable[[Uint8Array], tuple[Values, npt.NDArray[np.bool_]]]:
        """The same for one class."""
        return lambda pixels: self(pixels).of(label)


def _concepts(
    question: _Question, cells: EvidenceCells, touches: Callable[[int, Box], bool | None] | None
) -> list[ConceptEntry]:
    """The concepts of one class: those with the most evidence are intervened on and compared."""
    if len(cells.image) < FEWEST_OF_A_CLASS:
        return []
    mine = question.subjects.labels == question.label
    count = int(np.clip(len(cells.image) // CELLS_PER_CONCEPT, 3, CONCEPTS))
    factors = factor(cells.vectors, count, question.seed)
    share = factors.amounts[mine[cells.image]].sum(axis=0)
    share = share / max(share.sum(), 1e-12)
    comparison: PatchComparison | None = None
    found = []
    for rank, j in enumerate(np.argsort(-share)):
        order = np.flatnonzero(factors.leading == j)
        order = order[np.argsort(-factors.amounts[order, j], kind="stable")]
        patches = _patches(question, cells, order)
        entry = _entry(question, cells, factors.amounts[:, j], float(share[j]), order, patches)
        if rank < TRIED and share[j] >= LEAST_SHARE and patches.groups >= FEWEST_GROUPS:
            effect, falls = question.interventions.effect(patches, ~mine, question.seed)
            entry = entry.model_copy(update={"effect": effect})
            if is_proven(entry):
                comparison = comparison or _comparison(question, cells)
                decisive = np.sort(np.argsort(-falls, kind="stable")[:COMPARED])
                alike = comparison.of(patches.images[decisive], patches.centres[decisive])
                entry = entry.model_copy(update={"sameness": alike, "inside": _inside(question, patches, touches)})
        found.append(entry)
    return found


def _periods(question: _Question) -> list[ConceptEntry]:
    """A pattern of one period all over the pictures of a class, if there is one."""
    subjects, asked = question.subjects, question.interventions
    mine = subjects.labels == question.label
    period = find_period(subjects.pixels, mine, question.seed)
    if period is None or not (mine & asked.whole[1]).any() or not (~mine & ~asked.whole[1]).any():
        return []
    height, width = subjects.pixels.shape[1:3]
    strongest = np.flatnonzero(mine)[np.argsort(-period.strength[mine], kind="stable")][:SHOWN]
    area = clustered_area(period.strength[:, None], mine.astype(np.int64), subjects.units)
    return [
        ConceptEntry(
            name="",
            label=question.bundle.classes[question.label],
            share=0.0,
            presence=Estimate.where_defined(area),
            groups=len(set(subjects.units[mine].tolist())),
            side=min(height, width) // 4,
            position="anywhere",
            effect=effect_of_period(
                asked.ask, subjects.pixels, subjects.units, asked.whole, mine, period, question.seed
            ),
            period=PeriodEntry(
                pixels=round(period.pixels, 2), down=period.down, across=period.across, chance=period.chance
            ),
            patches=tuple(
                PatchEntry(path=subjects.paths[i], y=0.5, x=0.5, evidence=float(period.strength[i])) for i in strongest
            ),
        )
    ]


def _comparison(question: _Question, cells: EvidenceCells) -> PatchComparison:
    subjects = question.subjects
    reach = max(max(cells.geometry.stride) / 2.5, min(subjects.pixels.shape[1:3]) / 25)
    other = subjects.labels != question.label
    return PatchComparison.against(subjects.pixels, subjects.units, other, reach, question.seed)


def _patches(question: _Question, cells: EvidenceCells, order: Indices) -> Patches:
    """The strongest patches of a concept, one of each group."""
    units, chosen, seen = question.subjects.units, [], set()
    for cell in order.tolist():
        unit = int(units[cells.image[cell]])
        if unit not in seen:
            seen.add(unit)
            chosen.append(cell)
    kept = np.array(chosen[:PATCHES], np.int64)
    return Patches(cells.image[kept], cells.centre(kept), _side(cells, question.subjects.pixels), len(seen))


def _side(cells: EvidenceCells, pixels: Uint8Array) -> int:
    """The side of a patch: two cells, and at least a sixth of the picture."""
    return math.ceil(max(2.0 * max(cells.geometry.stride), float(min(pixels.shape[1:3])) / 6))


def _entry(
    question: _Question, cells: EvidenceCells, amounts: Values, share: float, order: Indices, patches: Patches
) -> ConceptEntry:
    subjects, label = question.subjects, question.label
    presence = np.zeros(len(subjects.labels))
    np.maximum.at(presence, cells.image, amounts)
    area = clustered_area(presence[:, None], (subjects.labels == label).astype(np.int64), subjects.units)
    height, width = subjects.pixels.shape[1:3]
    return ConceptEntry(
        name="",
        label=question.bundle.classes[label],
        share=share,
        presence=Estimate.where_defined(area),
        groups=patches.groups,
        side=patches.side,
        position=_position(patches.centres / (height, width)),
        patches=tuple(
            PatchEntry(path=subjects.paths[i], y=round(float(y), 4), x=round(float(x), 4), evidence=float(amount))
            for i, (y, x), amount in zip(
                patches.images[:SHOWN], patches.centres / (height, width), amounts[order], strict=False
            )
        ),
    )


def _position(places: Values) -> PositionKind:
    """Where patches lie, from how far their middle half spreads: 0.37 of a side if they lie anywhere (0.74 IQR)."""
    if len(places) < 4:
        return "anywhere"
    down, across = 0.74 * np.subtract(*np.quantile(places, (0.75, 0.25), axis=0))
    if max(down, across) < 0.1:
        return "one place"
    if down < 0.06:
        return "one height"
    return "one side" if across < 0.06 else "anywhere"


def _inside(
    question: _Question, patches: Patches, touches: Callable[[int, Box], bool | None] | None
) -> Estimate | None:
    if touches is None:
        return None
    said = [
        touches(int(i), box) for i, box in zip(patches.images, patches.boxes(question.subjects.pixels), strict=True)
    ]
    known = np.array([s for s in said if s is not None], bool)
    if not len(known):
        return None
    low, high = wilson(int(known.sum()), len(known))
    return Estimate(value=float(known.mean()), low=low, high=high)


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


def expected_seconds(bundle: Bundle, images: int) -> float:
    """About how long `discover` takes, from the time of one batch."""
    if bundle.manifest.layer is None:
        return 0.0
    blank = np.zeros((PROBED, 3, bundle.preprocessing.height, bundle.preprocessing.width), np.float32)
    bundle.logits(blank)
    start = time.monotonic()
    bundle.logits(blank)
    each = (time.monotonic() - start) / PROBED
    classes = len(bundle.classes)
    return each * ((2 + classes / 2) * images + 6 * TRIED * PATCHES * classes)


def _overlap(first: ConceptEntry, second: ConceptEntry) -> float:
    places = [{(p.path, round(p.y, 2), round(p.x, 2)) for p in c.patches} for c in (first, second)]
    return len(places[0] & places[1]) / max(len(places[0] | places[1]), 1)
