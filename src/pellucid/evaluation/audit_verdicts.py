"""What an audit of a model means, and what to do about it.

Figures are judged by the end of their interval that is kinder to the model, so that few images raise no alarm by
chance. An area told from a corner or the border alone is judged as the metadata-only test of a dataset is: a caution
from 0.6 on, a problem from 0.75.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from ..data.finding import LEVELS, Finding, Level
from ..data.labelling import counted
from ..data.verdicts import SHORTCUT_CAUTION, SHORTCUT_PROBLEM
from .audit import AuditDocument, DisturbanceEntry, RegionEntry, SubgroupEntry
from .discovered_verdicts import QUESTION, concept_questions, concept_shortcuts
from .figures import Estimate
from .regions import CENTRE

# From these on, an area that is certainly lost, and a share of answers that certainly changes, counts.
LOST_CAUTION, LOST_PROBLEM = 0.02, 0.1
CHANGED_CAUTION, CHANGED_PROBLEM = 0.05, 0.15
# Evidence in a region, as a multiple of the region's share of the picture, that is worth a look.
CROWDED = 4.0
# Where every region suffices alone, one that tells more than the weakest by this much is still named.
STANDS_OUT = 0.1
GAP_PROBLEM = 0.1
OUTSIDE_CAUTION = 0.1
FEW_IMAGES = 60


@dataclass(frozen=True, slots=True)
class _RegionLosses:
    """A region of which both areas are known."""

    entry: RegionEntry
    alone: Estimate
    lost: Estimate


def judge(found: AuditDocument) -> AuditDocument:
    """The document with its findings, worst first, and its verdict."""
    checks: tuple[Callable[[AuditDocument], Iterator[Finding]], ...] = (
        _questions, _size, _skill, _regions, _concepts, _masks, _metadata, _disturbances, _breaking, _subgroups,
        _outside, _false_alarms,
    )  # fmt: skip
    findings = sorted((f for check in checks for f in check(found)), key=lambda f: LEVELS.index(f.level))
    return found.model_copy(update={"findings": tuple(findings), "verdict": verdict_of(findings)})


def verdict_of(findings: Sequence[Finding]) -> str:
    """All findings in one sentence."""
    problems = [f for f in findings if f.level == "problem"]
    cautions = sum(f.level == "caution" for f in findings)
    look = f"{counted(cautions, 'point')} {'needs' if cautions == 1 else 'need'} a look" if cautions else ""
    if problems:
        also = f"; {look}" if look else ""
        return f"{counted(len(problems), 'problem')}, worst: {problems[0].text.split('. ')[0].rstrip('.')}{also}."
    questions = sum(f.topic == QUESTION and f.level == "caution" for f in findings)
    if questions:
        others = f"; {counted(cautions - questions, 'more point')} to look at" if cautions > questions else ""
        asked = "One thing that decides" if questions == 1 else f"{questions} things that decide"
        return f"No shortcut is proven; {asked} must be looked at by a person{others}."
    return f"No shortcut was found; {look}." if look else "No shortcut was found, and nothing else that needs a look."


def _finding(level: Level, topic: str, text: str, advice: str = "") -> Finding:
    return Finding(level=level, topic=topic, text=text, advice=advice)


def _questions(found: AuditDocument) -> Iterator[Finding]:
    yield from concept_questions(found.discovered)


def _concepts(found: AuditDocument) -> Iterator[Finding]:
    yield from concept_shortcuts(found.discovered)


def _size(found: AuditDocument) -> Iterator[Finding]:
    if found.unknown:
        named = ", ".join(f"{name} ({counted(n, 'image')})" for name, n in found.unknown.items())
        yield _finding("caution", "Classes", f"Left out, because the model does not know these classes: {named}.")
    if found.absent and found.area is not None:
        yield _finding(
            "caution", "Classes", f"There is no image of {' or '.join(found.absent)}: nothing is said of it."
        )
    if found.images < FEW_IMAGES:
        text = f"Only {counted(found.images, 'image')}: intervals are wide, and what is not found may still be there."
        yield _finding("caution", "Images", text, "Audit on more images where you can.")


def _skill(found: AuditDocument) -> Iterator[Finding]:
    if found.area is None:
        text = "All images are of one class: how well it is told from others, alone and when parts are hidden, is open."
        yield _finding("caution", "Classes", text, "Audit on images of at least two classes.")
        return
    if found.area.low <= 0.5:
        text = f"The model is not shown to tell the classes apart: area under the curve {found.area}."
        yield _finding("caution", "Skill", text, "A model that has learned nothing shows no shortcut either.")


def _regions(found: AuditDocument) -> Iterator[Finding]:
    parts = [_RegionLosses(r, r.alone, r.lost) for r in found.regions if r.alone is not None and r.lost is not None]
    edges = [p for p in parts if p.entry.region != CENTRE]
    everywhere = _everywhere(parts)
    if everywhere:
        yield _evidence_everywhere(parts)
        edges = [p for p in edges if _stands_out(p, parts)]
    bad = [(part, level) for part in edges if (level := _level(part))]
    for part, level in bad:
        yield _finding(
            level,
            "Shortcut",
            _relies(part),
            f"Look at the {part.entry.region} in images of each class (letters, tags, frames); crop it or cover it in "
            "all images, and train again.",
        )
    if edges and not bad and not everywhere:
        most = max(edges, key=lambda p: p.alone.value)
        text = (
            "Neither a corner nor the border alone tells the model the class: at most "
            f"{most.alone} ({most.entry.region}). None is missed when hidden."
        )
        yield _finding("good", "Shortcut", text)
    for centre in (p for p in parts if p.entry.region == CENTRE and p.lost.high < LOST_CAUTION):
        text = (
            f"Hiding the centre ({100 * centre.entry.share:.0f} % of the picture) costs {centre.lost} of the area "
            "under the curve: all that the model needs lies around it."
        )
        yield _finding("information", "Centre", text, "If the object is in the middle, that is not where it looks.")


def _everywhere(parts: Sequence[_RegionLosses]) -> bool:
    """Whether each part of the picture suffices alone, the centre as well as every corner and the border."""
    return CENTRE in {p.entry.region for p in parts} and all(p.alone.low >= SHORTCUT_CAUTION for p in parts)


def _evidence_everywhere(parts: Sequence[_RegionLosses]) -> Finding:
    least = min(parts, key=lambda p: p.alone.value)
    text = (
        "Every part of the picture alone tells the model the class, the weakest at "
        f"{least.alone} ({least.entry.region}): the evidence is everywhere, as in a texture."
    )
    advice = (
        "Expected of materials and surfaces. Of anything else, ask whether the classes differ in how the images were "
        "made (sharpness, brightness, compression), which also shows everywhere."
    )
    return _finding("information", "Evidence everywhere", text, advice)


def _stands_out(part: _RegionLosses, parts: Sequence[_RegionLosses]) -> bool:
    """Whether a region alone tells much more than the weakest part, or is missed although all others remain."""
    weakest = min(p.alone.high for p in parts)
    return part.alone.low > weakest + STANDS_OUT or part.lost.low >= LOST_CAUTION


def _level(part: _RegionLosses) -> Level | None:
    region = part.entry
    if part.alone.low >= SHORTCUT_PROBLEM or part.lost.low >= LOST_PROBLEM:
        return "problem"
    crowded = region.evidence is not None and region.evidence >= CROWDED * region.share
    if part.alone.low >= SHORTCUT_CAUTION or part.lost.low >= LOST_CAUTION or crowded:
        return "caution"
    return None


def _relies(part: _RegionLosses) -> str:
    """What speaks for a shortcut through a region, in figures."""
    region = part.entry
    area = f"{100 * region.share:.0f} % of the picture"
    said = [f"From the {region.region} alone ({area}) the model tells the class at {part.alone}"]
    if part.lost.low > 0:
        said.append(f"Hiding it costs {part.lost} of the area under the curve")
    if region.changed >= 0.01:
        said.append(f"{'It' if part.lost.low > 0 else 'Hiding it'} changes {100 * region.changed:.0f} % of the answers")
    if region.evidence is not None and region.evidence >= 2 * region.share:
        said.append(f"{100 * region.evidence:.0f} % of the heat maps' evidence lies there")
    return ". ".join(said) + "."


def _masks(found: AuditDocument) -> Iterator[Finding]:
    masks, topic = found.masks, "Masks"
    if masks is None:
        text = "The heat maps were not compared with masks or boxes, because the data have neither."
        yield _finding("information", topic, text, "Audit again with a folder of masks of lungs or objects.")
        return
    of = counted(masks.images, "image")
    if masks.measure == "area":
        where = f"Maps rank pixels by {masks.source} with a mean ROC-AUC of {masks.inside}, by chance 0.5 ({of})."
    else:
        where = (
            f"{100 * (1 - masks.inside.value):.0f} % of the heat maps' evidence lies outside {masks.source}, by chance "
            f"it would be {100 * (1 - masks.chance):.0f} % ({of})."
        )
    if masks.inside.high <= masks.chance:
        yield _finding("problem", topic, where, "The model looks elsewhere: find out at what before it is used.")
    elif masks.inside.low <= masks.chance:
        yield _finding("caution", topic, where, "That is no better than chance: look at the heat maps one by one.")
    else:
        yield _finding("good", topic, where)
    if masks.empty > masks.images / 4:
        text = f"{masks.empty:,} of {counted(masks.images, 'heat map')} show no evidence for the true class."
        yield _finding("caution", "Empty maps", text)


def _metadata(found: AuditDocument) -> Iterator[Finding]:
    entry = found.metadata
    if entry is None:
        return
    text = f"Without looking, from file and border statistics alone, the class is told at {entry.area}."
    if entry.area.low < SHORTCUT_CAUTION:
        yield _finding("good", "Metadata", text)
        return
    named = f" Most of all: {'; '.join(entry.strongest)}." if entry.strongest else ""
    level: Level = "problem" if entry.area.low >= SHORTCUT_PROBLEM else "caution"
    advice = "The model can use this too: test it on images from another source, and see pellucid data inspect."
    yield _finding(level, "Metadata", text + named, advice)


def _disturbances(found: AuditDocument) -> Iterator[Finding]:
    mild = [d for d in found.disturbances if d.strength == "mild"]
    bad = False
    for kind in dict.fromkeys(d.kind for d in mild):
        worst = max((d for d in mild if d.kind == kind), key=lambda d: (d.changed.low, d.changed.value))
        level = _disturbed(worst)
        if level:
            bad = True
            area = "" if worst.lost is None else f", and the area under the curve by {-worst.lost.value:+.3f}"
            text = (
                f"A {worst.kind} change of {worst.amount} alters {100 * worst.changed.value:.0f} % "
                f"[{100 * worst.changed.low:.0f}, {100 * worst.changed.high:.0f}] of the answers{area}."
            )
            advice = "Train with such changes (recipe section [augment]), or fix how images are made."
            yield _finding(level, "Robustness", text, advice)
    if mild and not bad:
        worst = max(mild, key=lambda d: d.changed.value)
        text = (
            "Small shifts, blur, noise, JPEG and changes of tone alter few answers: at most "
            f"{100 * worst.changed.value:.1f} % ({worst.kind}, {worst.amount})."
        )
        yield _finding("good", "Robustness", text)


def _disturbed(entry: DisturbanceEntry) -> Level | None:
    lost = 0.0 if entry.lost is None else entry.lost.low
    if entry.changed.low >= CHANGED_PROBLEM or lost >= LOST_PROBLEM:
        return "problem"
    return "caution" if entry.changed.low >= CHANGED_CAUTION or lost >= LOST_CAUTION else None


def _breaking(found: AuditDocument) -> Iterator[Finding]:
    broken = [d for d in found.disturbances if d.strength == "strong" and _disturbed(d) == "problem"]
    if broken:
        named = ", ".join(f"{d.kind} ({d.amount}): {100 * d.changed.value:.0f} %" for d in broken)
        text = f"Strong changes break it; share of answers that change: {named}."
        yield _finding("information", "Limits", text, "Do not use it on images like that.")


def _subgroups(found: AuditDocument) -> Iterator[Finding]:
    if not found.subgroup_by:
        return
    judged = [s for s in found.subgroups if s.accuracy is not None]
    behind = [(entry, *worse) for entry in judged if (worse := _behind(entry))]
    for entry, what, gap in behind:
        level: Level = "problem" if gap.value <= -GAP_PROBLEM else "caution"
        text = (
            f"In subgroup {entry.name} ({counted(entry.images, 'image')}) {what} is lower than elsewhere by "
            f"{-gap.value:.3f} [{-gap.high:.3f}, {-gap.low:.3f}]."
        )
        advice = f"Of {len(judged)} subgroups one in twenty would look so by chance; add training images of this one."
        yield _finding(level, "Subgroups", text, advice)
    if judged and not behind:
        text = f"No worse in any of {counted(len(judged), 'subgroup')} than elsewhere, as far as these images can tell."
        yield _finding("good", "Subgroups", text)
    small = [s.name for s in found.subgroups if s.accuracy is None]
    if small:
        text = f"{counted(len(small), 'subgroup')} too small to judge, for example {small[0]}."
        yield _finding("information", "Subgroups", text)


def _behind(entry: SubgroupEntry) -> tuple[str, Estimate] | None:
    """The figure in which a subgroup is certainly worse than all other images, and the gap."""
    for what, gap in (("the area under the curve", entry.area_gap), ("the accuracy", entry.accuracy_gap)):
        if gap is not None and gap.high < 0:
            return what, gap
    return None


def _outside(found: AuditDocument) -> Iterator[Finding]:
    share = found.outside_share
    if share is not None and share >= OUTSIDE_CAUTION:
        text = f"{100 * share:.0f} % of the images are unusual: they do not resemble the training images."
        yield _finding("caution", "Outside", text, "Its answers for these mean little; see where they come from.")


def _false_alarms(found: AuditDocument) -> Iterator[Finding]:
    """Changes of light, place or focus that pass for defects."""
    table = found.false_alarms
    if table is None:
        return
    worse = [e for e in table.changed if e.low > table.usual.high]
    topic = "False alarms"
    if not worse:
        text = (
            f"Light, place and focus within the tested range raise no more false alarms: {table.usual.rate:.1%} as is."
        )
        yield _finding("good", topic, text)
        return
    worst = max(worse, key=lambda e: e.rate)
    kinds = ", ".join(dict.fromkeys(e.kind for e in worse))
    yield _finding(
        "problem" if worst.rate > 2 * table.usual.high + 0.1 else "caution",
        topic,
        f"A change that is no defect passes for one ({kinds}): with {worst.kind} {worst.amount} {worst.rate:.0%} of "
        f"{counted(table.images, 'normal image')} are flagged, {table.usual.rate:.1%} as they are.",
        "Keep light, place and focus as they were, or add normal images taken under such changes.",
    )
