"""What the concepts that a model goes by mean: which are shortcuts, and which a person is asked about.

A real finding shows the same signs as a shortcut: it is there in one class, the answer falls without it and rises with
it. A concept is therefore only called a shortcut if that is proven by interventions and, besides, its patches are
copies of each other or share a texture that no other image has, or they lie off the object, or a person says so.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal

from ..data.finding import Finding
from ..data.labelling import counted
from .discovered import ConceptEntry, DiscoveredDocument, EffectEntry, SamenessEntry, SliceEntry

ConceptStatus = Literal["accepted", "rejected", "shortcut", "question", "unproven"]
SHORTCUT, QUESTION = "Shortcut", "What it goes by"
# How alike patches are at least, how much more than others', and how seldom by chance, so that they count as copies.
# Defects of one kind reach 0.58 (blowholes of tiles), planted objects of 96 pixels' films 0.62 and more.
ALIKE, MORE_ALIKE, CHANCE = 0.62, 0.12, 0.01
# From this many standard deviations on, averaged over six bands, a texture is one that other images lack: measured
# beside the rest of its image, if it varies from image to image hardly more than theirs, as what a machine adds does;
# from the second figure on, always. A texture all over the images has to reach the second: sets differ in sharpness.
OWN_TEXTURE, FAR_TEXTURE, SPREAD = 0.8, 2.0, 1.2
OLDER_OWN_TEXTURE = 1.2
# The presence of a concept must tell the class at least this well for certain; its fall must cover this share of the
# difference between the classes.
TELLS, OF_GAP = 0.6, 0.1
# Fewer patches than this on the objects, for certain, lie off them.
OFF_OBJECT = 0.5
ASKED = 3


def is_proven(concept: ConceptEntry) -> bool:
    """Whether interventions and presence agree that the model goes by the concept."""
    effect, presence = concept.effect, concept.presence
    if effect is None or presence is None:
        return False
    return effect.proven and effect.of_gap >= OF_GAP and presence.low >= TELLS


def is_copied(found: SamenessEntry | None) -> bool:
    """Whether the patches are copies of each other."""
    if found is None or found.chance > CHANCE:
        return False
    return found.alike >= ALIKE and found.alike - found.usual >= MORE_ALIKE


def has_own_texture(found: SamenessEntry | None) -> bool:
    """Whether the patches share a texture that patches of other classes lack."""
    return found is not None and texture_beyond(found) > 0


def texture_beyond(found: SamenessEntry) -> float:
    """How many standard deviations the patches' own texture lies from others', 0 for one that is not their own."""
    if found.within is None or found.within_chance is None:
        # An audit of an older version, which did not look at the rest of the image.
        even = found.texture_spread is None or found.texture_spread <= SPREAD
        least = OLDER_OWN_TEXTURE if even else FAR_TEXTURE
        return found.texture if found.texture_chance <= CHANCE and found.texture >= least else 0.0
    even = found.within_spread is None or found.within_spread <= SPREAD
    local = found.within_chance <= CHANCE and found.within >= (OWN_TEXTURE if even else FAR_TEXTURE)
    everywhere = found.texture_chance <= CHANCE and found.texture >= FAR_TEXTURE
    return max(found.within if local else 0.0, found.texture if everywhere else 0.0)


def lies_off(concept: ConceptEntry) -> bool:
    """Whether most patches are certain to lie off the masks or boxes."""
    return concept.inside is not None and concept.inside.high < OFF_OBJECT


def is_shortcut(concept: ConceptEntry) -> bool:
    """Whether the concept is called a shortcut; see the head of this module."""
    if concept.answer is not None:
        return not concept.answer.belongs
    if concept.period is not None:
        return is_proven(concept)
    alike = is_copied(concept.sameness) or has_own_texture(concept.sameness)
    return is_proven(concept) and (alike or lies_off(concept))


def status_of(concept: ConceptEntry) -> ConceptStatus:
    """What is known of a concept: a person's answer, else what the audit makes of it."""
    if concept.answer is not None:
        return "accepted" if concept.answer.belongs else "rejected"
    if is_shortcut(concept):
        return "shortcut"
    return "question" if is_proven(concept) else "unproven"


def concept_shortcuts(found: DiscoveredDocument | None) -> Iterator[Finding]:
    """A finding on each concept that is called a shortcut."""
    if found is not None:
        yield from (_shortcut(c) for c in found.concepts if is_shortcut(c))


def concept_questions(found: DiscoveredDocument | None) -> Iterator[Finding]:
    """What a person is asked about the other concepts, their answers, and slices of errors."""
    if found is None:
        return
    shortcuts = [c for c in found.concepts if is_shortcut(c)]
    open_questions = [c for c in found.concepts if c.answer is None and is_proven(c) and c not in shortcuts]
    yield from map(_question, open_questions[:ASKED])
    yield from map(_accepted, (c for c in found.concepts if c.answer is not None and c.answer.belongs))
    yield from map(_slice, found.slices)
    for what, why in found.left_out.items():
        yield Finding(level="information", topic=QUESTION, text=f"{what}: {why}")
    if found.concepts and not shortcuts and not open_questions and not any(c.answer for c in found.concepts):
        text = "No single concept is proven to decide: the evidence is spread over many things."
        yield Finding(level="information", topic=QUESTION, text=text)


def _shortcut(concept: ConceptEntry) -> Finding:
    said = concept.answer
    why = [f"You answered that it does not belong to {concept.label}: {said.words}"] if said else _signs(concept)
    signs = ". ".join([*why, *_effects(concept)])
    text = f"{concept.name} speaks for {concept.label} and looks like a shortcut. {signs}."
    advice = (
        f"Look at {concept.gallery}. If it does not belong to {concept.label}, train again with it hidden (`hide=`), "
        "or remove it from the images; if it does, accept it."
    )
    return Finding(level="problem", topic=SHORTCUT, text=text, advice=advice)


def _question(concept: ConceptEntry) -> Finding:
    text = f"Does {concept.name} belong to {concept.label}? {'. '.join(_effects(concept))}."
    advice = (
        f"Look at {concept.gallery}: a real finding and a shortcut show the same figures. Accept it if it belongs "
        "there, reject it if not."
    )
    return Finding(level="caution", topic=QUESTION, text=text, advice=advice)


def _accepted(concept: ConceptEntry) -> Finding:
    words = concept.answer.words if concept.answer else ""
    text = f"{concept.name} belongs to {concept.label}, as you answered: {words}. {'. '.join(_effects(concept))}."
    return Finding(level="good", topic=QUESTION, text=text)


def _slice(entry: SliceEntry) -> Finding:
    described = f" They share: {'; '.join(entry.described)}." if entry.described else ""
    text = (
        f"On {counted(entry.images, 'image')} that look alike to the model, {100 * entry.errors.value:.0f} % of the "
        f"answers are wrong, on all others {100 * entry.others:.0f} % (chance after the search "
        f"{entry.chance:.3f}).{described}"
    )
    return Finding(level="caution", topic="Errors", text=text, advice=f"Look at {entry.gallery}.")


def concept_sentence(concept: ConceptEntry) -> str:
    """What was measured of a concept, in words."""
    return ". ".join([*_effects(concept), *_signs(concept)]) + "."


def _signs(concept: ConceptEntry) -> Iterator[str]:
    found = concept.sameness
    if found is not None and is_copied(found):
        yield (
            f"Its patches from {found.patches} groups are copies of each other, as nature does not make them "
            f"(correlation {found.alike:.2f}, among other images {found.usual:.2f})"
        )
    if found is not None and (beyond := texture_beyond(found)):
        yield f"Its patches share a texture that images of other classes lack ({beyond:.1f} standard deviations away)"
    if lies_off(concept) and concept.inside is not None:
        yield f"Only {100 * concept.inside.value:.0f} % of its patches touch the masks or boxes"


def _effects(concept: ConceptEntry) -> Iterator[str]:
    if concept.period is not None:
        yield (
            f"A pattern with a period of {concept.period.pixels:.1f} pixels lies all over images of {concept.label}, "
            "as a machine makes it"
        )
        words = ("Taken out of", "when another frequency is taken out", "another frequency")
    else:
        where = "" if concept.position == "anywhere" else f", at {concept.position}"
        yield f"{100 * concept.share:.0f} % of the evidence for {concept.label} lies there{where}"
        words = ("Hidden in", "with other places hidden", "other patches")
    if concept.effect is not None:
        yield from _measured_effects(concept.effect, *words)


def _measured_effects(effect: EffectEntry, taken: str, beside: str, others: str) -> Iterator[str]:
    """What taking a concept away and putting it in does, beside the same with something else."""
    yield (
        f"{taken} {counted(effect.images, 'image')}, the score falls by {effect.drawn_over} more than {beside}, and "
        f"{100 * effect.hidden_changes.value:.0f} % of the answers change"
    )
    if effect.put_in_changes is not None and effect.control_changes is not None:
        yield (
            f"Put into other images, it changes {100 * effect.put_in_changes.value:.0f} % of the answers, {others} "
            f"{100 * effect.control_changes:.0f} %"
        )
