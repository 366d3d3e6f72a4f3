"""Find what a model goes by on labelled images, without masks, and prove it by intervention: see `discover`."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from ..bundle.bundle import Bundle
from ..data.areas import clustered_area
from ..evaluation.discovered import ConceptEntry, DiscoveredDocument, PatchEntry, PeriodEntry, PositionKind
from ..evaluation.discovered_verdicts import is_proven
from ..evaluation.figures import Estimate
from ..evaluation.intervals import wilson
from ..evaluation.interventions import Interventions, Patches
from ..evaluation.patches import Box
from ..evaluation.periods import effect_of_period, find_period
from ..evaluation.regions import average_picture
from ..evaluation.sameness import PatchComparison
from ..explanation.concepts import EvidenceCells, evidence_cells, factor
from ..explanation.known_concepts import ClassFactors
from ..preprocessing import Uint8Array
from ..progress import Progress, Silent
from .class_scores import ClassAnswers, ClassScores
from .discovering_slices import Subjects, slices_of

Indices = npt.NDArray[np.int64]
Values = npt.NDArray[np.float64]

FEWEST_OF_A_CLASS, FEWEST_GROUPS = 12, 8
CONCEPTS, CELLS_PER_CONCEPT = 12, 60
TRIED, PATCHES = 5, 24
COMPARED = 16
LEAST_SHARE = 0.03
SHOWN = 24
PROBED = 4


@dataclass(frozen=True, slots=True, eq=False)
class Discovery:
    """What was found, and the factors of each class, by number, by which its concepts are recognised elsewhere."""

    document: DiscoveredDocument
    factors: dict[int, ClassFactors]


@dataclass(frozen=True, slots=True, eq=False)
class _Question:
    """What is asked about one class."""

    bundle: Bundle
    subjects: Subjects
    label: int
    interventions: Interventions
    seed: int


@dataclass(frozen=True, slots=True, eq=False)
class _FoundConcept:
    """A concept, and how much of it each of the N images holds."""

    entry: ConceptEntry
    presence: Values


def discover(
    bundle: Bundle,
    subjects: Subjects,
    *,
    seed: int = 0,
    touches: Callable[[int, Box], bool | None] | None = None,
    progress: Progress | None = None,
) -> Discovery:
    """What the model goes by, the most effective first; nothing of the bundle changes.

    `touches(image, box)` says whether a square of the model's input touches the mask of an image, None where the image
    has no mask. A model without a layer, too few images of a class or too few groups are told in `left_out`.
    """
    start = time.monotonic()
    if bundle.manifest.layer is None:
        why = "a model without an explained layer shows no evidence to search; give masks or subgroups instead."
        return _nothing(subjects, {"Concepts": why})
    few = _too_few(bundle, subjects)
    if len(few) == len(bundle.classes):
        return _nothing(subjects, few)
    scorer = ClassScores(bundle)
    whole = scorer(subjects.pixels)
    kept = [k for k, name in enumerate(bundle.classes) if name not in few]
    found, factors = _search(bundle, subjects, scorer, whole, kept, seed, touches, progress or Silent())
    ranked = sorted(found, key=lambda f: _importance(f.entry), reverse=True)
    named = [replace(f, entry=f.entry.model_copy(update={"name": f"concept-{i}"})) for i, f in enumerate(ranked, 1)]
    presence = {f.entry.name: f.presence for f in named if f.entry.effect is not None and f.entry.period is None}
    slices = slices_of(bundle, subjects, whole.answers, presence, seed)
    document = DiscoveredDocument(
        images=len(subjects.labels),
        passes=scorer.passes + 3 * len(subjects.labels),
        seconds=round(time.monotonic() - start, 1),
        concepts=tuple(f.entry for f in named),
        slices=slices,
        left_out=few,
    )
    return Discovery(document, factors)


def _search(
    bundle: Bundle,
    subjects: Subjects,
    scorer: ClassScores,
    whole: ClassAnswers,
    kept: Sequence[int],
    seed: int,
    touches: Callable[[int, Box], bool | None] | None,
    progress: Progress,
) -> tuple[list[_FoundConcept], dict[int, ClassFactors]]:
    """The concepts of the classes `kept`, and each class's factors."""
    with progress.bar("Evidence") as advance:
        cells = evidence_cells(bundle, subjects.pixels, subjects.labels, bundle.classes, advance)
    average = average_picture(subjects.pixels)
    found: list[_FoundConcept] = []
    factors: dict[int, ClassFactors] = {}
    with progress.bar("Concepts, hidden and put in") as advance:
        for done, k in enumerate(kept, 1):
            interventions = Interventions(scorer.of(k), subjects.pixels, subjects.units, whole.of(k), average)
            question = _Question(bundle, subjects, k, interventions, seed)
            concepts, of_class = _concepts(question, cells[k], touches)
            if of_class is not None:
                factors[k] = of_class
            found += [*concepts, *_periods(question)]
            advance(done, len(kept))
    return found, factors


def _nothing(subjects: Subjects, why: dict[str, str]) -> Discovery:
    document = DiscoveredDocument(images=len(subjects.labels), passes=0, seconds=0.0, left_out=why)
    return Discovery(document, {})


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


def _concepts(
    question: _Question, cells: EvidenceCells, touches: Callable[[int, Box], bool | None] | None
) -> tuple[list[_FoundConcept], ClassFactors | None]:
    """The concepts of one class: those with the most evidence are intervened on and compared."""
    if len(cells.image) < FEWEST_OF_A_CLASS:
        return [], None
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
        presence = np.zeros(len(mine))
        np.maximum.at(presence, cells.image, factors.amounts[:, j])
        entry = _entry(question, factors.amounts[:, j], presence, float(share[j]), order, patches)
        entry = entry.model_copy(update={"factor": int(j)})
        if rank < TRIED and share[j] >= LEAST_SHARE and patches.groups >= FEWEST_GROUPS:
            effect, falls = question.interventions.effect(patches, ~mine, question.seed)
            entry = entry.model_copy(update={"effect": effect})
            if is_proven(entry):
                comparison = comparison or _comparison(question, cells)
                decisive = np.sort(np.argsort(-falls, kind="stable")[:COMPARED])
                where = question.interventions.decisive_halves(patches, decisive)
                alike = comparison.of(patches.images[decisive], where)
                entry = entry.model_copy(update={"sameness": alike, "inside": _inside(question, patches, touches)})
        found.append(_FoundConcept(entry, presence))
    return found, ClassFactors(factors.parts, cells.usual)


def _periods(question: _Question) -> list[_FoundConcept]:
    """A pattern of one period all over the pictures of a class, if there is one."""
    subjects, asked = question.subjects, question.interventions
    mine = subjects.labels == question.label
    period = find_period(subjects.pixels, mine, question.seed)
    if period is None or not (mine & asked.whole[1]).any() or not (~mine & ~asked.whole[1]).any():
        return []
    height, width = subjects.pixels.shape[1:3]
    strongest = np.flatnonzero(mine)[np.argsort(-period.strength[mine], kind="stable")][:SHOWN]
    area = clustered_area(period.strength[:, None], mine.astype(np.int64), subjects.units)
    entry = ConceptEntry(
        name="",
        label=question.bundle.classes[question.label],
        share=0.0,
        presence=Estimate.where_defined(area),
        groups=len(set(subjects.units[mine].tolist())),
        side=min(height, width) // 4,
        position="anywhere",
        effect=effect_of_period(asked.ask, subjects.pixels, subjects.units, asked.whole, mine, period, question.seed),
        period=PeriodEntry(
            pixels=round(period.pixels, 2), down=period.down, across=period.across, chance=period.chance
        ),
        patches=tuple(
            PatchEntry(path=subjects.paths[i], y=0.5, x=0.5, evidence=float(period.strength[i])) for i in strongest
        ),
    )
    return [_FoundConcept(entry, period.strength)]


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
    question: _Question, amounts: Values, presence: Values, share: float, order: Indices, patches: Patches
) -> ConceptEntry:
    subjects, label = question.subjects, question.label
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
