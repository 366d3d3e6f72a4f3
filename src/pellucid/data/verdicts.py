"""What an audit means, and what to do about it.

Levels: `problem` stands against training on the data as they are, `caution` needs a look, `information` is good to
know, `good` was checked and is in order.

The metadata-only test is judged by the lower end of its interval: a caution from 0.6 on, a problem from 0.75. On clean
phantoms, where it is 0.5 by construction, it stayed below 0.52; photographs of two kinds of animal, whose colours and
backgrounds differ by nature, reached 0.66; planted signs that agree with 95 % of the labels gave 0.86 or more.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence

from .finding import Finding, Level
from .folder import MANY_LEFT_OUT
from .inspection import AreaEntry, Copies, FileNote, Grouping, Inspection
from .labelling import counted, shorten
from .metadata import FAMILIES

SHORTCUT_CAUTION, SHORTCUT_PROBLEM = 0.6, 0.75
# A measure is named among those that lead when alone, seen from its better side, it reaches this area.
LEADING = 0.6
# Shares of the images from which on a matter weighs more.
MANY_UNREADABLE, MANY_TWINS, MANY_SUSPECTS = 0.01, 0.01, 0.01
FEW_OF_A_CLASS, FEW_TO_CHOOSE_ON, FEW_TO_TEST_ON = 20, 20, 30
UNEVEN, VERY_UNEVEN = 2, 10
# A texture fills the picture where corners have this share of the whole picture's contrast, in every class; its corners
# tell the class about equally well.
FILLED, BALANCED = 0.5, 0.15
# Grey values by which the borders of classes may differ, where whole pictures do not, before it is called a frame.
FRAME = 10
CORNERS = ("corner_top_left", "corner_top_right", "corner_bottom_left", "corner_bottom_right")


def verdicts(found: Inspection) -> list[Finding]:
    """Every finding that an inspection allows, in no order."""
    checks: tuple[Callable[[Inspection], Iterator[Finding]], ...] = (
        _left_out,
        _nested,
        _two_labels,
        _across_splits,
        _groups,
        _shortcut,
        _unreadable,
        _copies,
        _odd_files,
        _companions,
        _labels,
        _odd,
        _balance,
        _split_sizes,
    )
    return [finding for check in checks for finding in check(found)]


def verdict_of(findings: Sequence[Finding], inspection: Inspection | None = None) -> str:
    """All findings in one sentence; before it, one on images left out where these are many."""
    before = _many_left_out(inspection) if inspection is not None else ""
    return f"{before} {_stand(findings)}".lstrip()


def _stand(findings: Sequence[Finding]) -> str:
    problems, cautions = (sum(f.level == level for f in findings) for level in ("problem", "caution"))
    look = f"{counted(cautions, 'point')} {'needs' if cautions == 1 else 'need'} a look"
    if problems:
        stand = (
            f"{counted(problems, 'problem')} {'stands' if problems == 1 else 'stand'} against training on these images"
        )
        return f"{stand}; {look}." if cautions else f"{stand}."
    return f"Nothing serious was found; {look}." if cautions else "Nothing was found that stands against training."


def _finding(level: Level, topic: str, text: str, advice: str = "") -> Finding:
    return Finding(level=level, topic=topic, text=text, advice=advice)


def _two_labels(found: Inspection) -> Iterator[Finding]:
    """The same picture under two classes."""
    topic = "Two labels"
    exact = [s for s in found.identical if s.across_classes]
    if exact:
        text = f"{_pictures(exact)} under two classes, byte for byte, for example {_pair(exact[0])}."
        yield _finding("problem", topic, text, "Decide which label is right, and remove the other copy.")
    known = {i.path for s in exact for i in s.images}
    alike = [s for s in found.similar if s.across_classes and not {i.path for i in s.images} <= known]
    if alike:
        text = f"{_pictures(alike)} under two classes in files that look the same, for example {_pair(alike[0])}."
        advice = "Look at each: a label is wrong, or what tells the two apart is too small to show at 32 pixels."
        yield _finding("caution", topic, text, advice)


def _across_splits(found: Inspection) -> Iterator[Finding]:
    topic, splits = "Split", [s for s in found.counts if s]
    for overlap in found.overlaps:
        few = overlap.criterion != "content" and overlap.images < MANY_TWINS * overlap.total
        advice = "Remove one of each pair; `pellucid train` leaves such images out of training."
        yield _finding("caution" if few else "problem", topic, overlap.sentence, advice)
    if not found.overlaps and len(splits) > 1:
        text = f"No picture is in two of {', '.join(splits)}, neither by its bytes nor by its look."
        yield _finding("good", topic, text)


def _groups(found: Inspection) -> Iterator[Finding]:
    topic, groups = "Groups", found.grouping
    if groups is None:
        text = "Which images show the same patient or object is not known, and the file names do not tell."
        advice = (
            "If several do, name the patient or object by `group_by=`, or by a column group in a CSV: otherwise "
            "metrics come out too good."
        )
        yield _finding("information", topic, text, advice)
        return
    told = (
        f"{groups.shared:,} of {counted(groups.groups, 'group')} hold several images, up to {groups.largest:,}"
        if groups.shared
        else f"each of {counted(groups.groups, 'group')} holds one image"
    )
    yield _known_groups(found, groups, told) if groups.known else _guessed_groups(found, groups, told)


def _known_groups(found: Inspection, groups: Grouping, told: str) -> Finding:
    said = f"{told[0].upper()}{told[1:]}"
    if groups.across_splits:
        advice = "Divide the images again by group with `pellucid data split`: until then every figure is too good."
        return _finding("problem", "Groups", f"{_crossing(groups)}. {said}.", advice)
    apart = "; none is in two splits" if len([s for s in found.counts if s]) > 1 else ""
    return _finding("good", "Groups", f"{said}{apart}.")


def _guessed_groups(found: Inspection, groups: Grouping, told: str) -> Finding:
    option = f"If they do, give every command `group_by='{groups.pattern}'`"
    text = f"File names look as if images belong together: by {groups.pattern}, {told}."
    if groups.across_splits:
        return _finding("caution", "Groups", f"{text} {_crossing(groups)}.", f"{option}, and divide the images again.")
    if _complete(found):
        text = f"{text} None of these is in two splits."
        return _finding("information", "Groups", text, f"{option}, so that intervals count groups.")
    return _finding("caution", "Groups", text, f"{option}, so that the splits still to be drawn do not part them.")


def _complete(found: Inspection) -> bool:
    """Whether the splits can stay as they are, so that none is drawn when a model is trained."""
    val = found.counts.get("val", {})
    return {"train", "val", "test"} <= found.counts.keys() and min(val.values()) >= FEW_TO_CHOOSE_ON


def _crossing(groups: Grouping) -> str:
    first = groups.across_splits[0]
    many = counted(len(groups.across_splits), "group")
    where = f"{first.name} in {' and '.join(first.splits)}"
    return f"{many} {'is' if len(groups.across_splits) == 1 else 'are'} in more than one split, for example {where}"


def _shortcut(found: Inspection) -> Iterator[Finding]:
    """The metadata-only test."""
    topic, test = "Shortcut", found.metadata
    if test is None:
        text = f"Whether the class can be told without looking was not tested. {found.metadata_absent}"
        yield _finding("information", topic, text)
        return
    if test.area.low < SHORTCUT_CAUTION:
        unsure = test.area.high >= SHORTCUT_PROBLEM
        text = (
            f"Files and simple statistics do not give the class away: AUC {_interval(test.area)}, where 0.5 is chance."
        )
        advice = "The interval is wide: more images would say more." if unsure else ""
        yield _finding("information" if unsure else "good", topic, text, advice)
        return
    if evidence_everywhere(found):
        text = (
            f"The pictures are textures: what tells the classes (AUC {_interval(test.area)} without looking at shapes) "
            "is everywhere in the picture, and each corner alone tells them as well. That is no sign of a shortcut."
        )
        advice = "Make sure that all classes were taken with the same light, distance and camera."
        yield _finding("information", topic, text, advice)
        return
    leading = [f"{m.sentence} (alone {s:.2f})" for m in test.measures if (s := _strength(m.area)) >= LEADING][:2]
    told = f"{'; '.join(leading)}." if leading else "No single measure leads."
    best = max(test.families, key=lambda family: test.families[family].value)
    advice = (
        "A classifier can learn this instead: save all images in one way, crop frames and labels away, take all "
        "classes from the same sources. What belongs to the subject (some things are brighter) may stay."
    )
    text = (
        f"The class can be told without looking, AUC {_interval(test.area)}, most of all from {FAMILIES[best]}. {told}"
    )
    yield _finding("problem" if test.area.low >= SHORTCUT_PROBLEM else "caution", topic, text, advice)


def evidence_everywhere(found: Inspection) -> bool:
    """Whether the class can be told from every part of the picture, as of textures: no part of it is a shortcut.

    Each corner alone tells the class, about as well as the others; corners are as rich in contrast as whole pictures in
    every class; and neither size nor format tells it.
    """
    test = found.metadata
    if test is None:
        return False
    # Textures differ in how well they compress, so that bytes per pixel say nothing of how files were made.
    made = [m.area for m in test.measures if m.family == "file" and m.name != "bytes_per_pixel"]
    if any(max(area.low, 1 - area.high) >= SHORTCUT_CAUTION for area in made):
        return False
    alone = {m.name: _strength(m.area) for m in test.measures if m.name in CORNERS}
    if len(alone) < len(CORNERS) or min(alone.values()) < LEADING:
        return False
    if max(alone.values()) - min(alone.values()) > BALANCED:
        return False
    if _span(found, "border_brightness") > max(FRAME, 2 * _span(found, "brightness")):
        return False
    whole = found.statistics.get("contrast", {})
    return all(
        found.statistics[corner].get(name, (0.0, 0.0, 0.0))[1] >= FILLED * middle
        for corner in CORNERS
        for name, (_, middle, _) in whole.items()
    )


def _span(found: Inspection, measure: str) -> float:
    """How far the medians of the classes lie apart."""
    middles = [middle for _, middle, _ in found.statistics.get(measure, {}).values()]
    return max(middles, default=0.0) - min(middles, default=0.0)


def _unreadable(found: Inspection) -> Iterator[Finding]:
    bad, total = found.unreadable, found.images + len(found.unreadable)
    if bad:
        example = f"for example {bad[0].path}: {bad[0].reason}"
        level: Level = "problem" if len(bad) >= MANY_UNREADABLE * total else "caution"
        advice = "Fetch them again or remove them; training leaves them out."
        yield _finding(level, "Files", f"{len(bad):,} of {counted(total, 'image')} cannot be read, {example}", advice)
    else:
        yield _finding("good", "Files", f"All {counted(total, 'image')} can be read.")


def _copies(found: Inspection) -> Iterator[Finding]:
    same, alike = found.identical, found.similar
    if same:
        more = sum(len(s.images) - 1 for s in same)
        text = (
            f"{counted(len(same), 'set')} of identical files, {more:,} more than needed, for example {_pair(same[0])}."
        )
        advice = "Keep one of each: copies weigh double. pellucid never parts them when it divides images."
        yield _finding("caution", "Copies", text, advice)
    if alike:
        text = f"{counted(len(alike), 'set')} of pictures that look the same, for example {_pair(alike[0])}."
        advice = "They add little that is new. pellucid never parts them when it divides images."
        yield _finding("information", "Similar images", text, advice)
    if not same and not alike:
        yield _finding("good", "Copies", "No file occurs twice, and no two pictures look the same.")


def _odd_files(found: Inspection) -> Iterator[Finding]:
    kinds: dict[str, list[FileNote]] = defaultdict(list)
    for note in found.remarks:
        kinds[note.code or note.reason].append(note)
    for kind, notes in kinds.items():
        text = f"{counted(len(notes), 'file')}, for example {notes[0].path}: {notes[0].reason}"
        if kind == "extension":
            advice = "pellucid goes by the content; rename them for programs that do not."
            yield _finding("information", "Extensions", text, advice)
        else:
            yield _finding("caution", "Odd files", text, "Look at them, and remove what does not belong.")


def _companions(found: Inspection) -> Iterator[Finding]:
    """Masks and the like."""
    beside = found.companions
    where = f"in {shorten(sorted(beside.trees))}" if beside.trees else "among the masks"
    if beside.unreadable:
        first = beside.unreadable[0]
        text = f"{counted(len(beside.unreadable), 'picture')} {where} cannot be read, for example {first.path}: "
        yield _finding("caution", "Masks", text + first.reason, "Make them again, or remove them.")
    if beside.orphans:
        many = len(beside.orphans)
        fit = "belongs to no image" if many == 1 else "belong to no image"
        text = f"{counted(many, 'picture')} {where} {fit} of the same name, for example {beside.orphans[0]}."
        yield _finding("caution", "Masks", text, "Bring back the images, correct the names, or remove them.")


def _odd(found: Inspection) -> Iterator[Finding]:
    """Bad images among those taken as normal."""
    topic, odd = "Odd images", found.odd
    if odd is None:
        return
    if not odd.found:
        text = f"No image looks unlike the others among {counted(odd.images, 'normal image')}, by {odd.features}."
        yield _finding("good", topic, text)
        return
    named = shorten([image.path for image in odd.found], 3)
    text = f"{len(odd.found):,} of {counted(odd.images, 'normal image')} look unlike the others: {named}."
    advice = "Look at each, and move those that are bad out of the normal images."
    yield _finding("caution", topic, text, advice)


def _labels(found: Inspection) -> Iterator[Finding]:
    topic, check = "Labels", found.labels
    if check is None and found.odd is not None:
        return
    if check is None:
        yield _finding("information", topic, f"Wrong labels were not looked for. {found.labels_absent}")
        return
    told = f"By {check.features}, which tell the classes at AUC {_interval(check.area)}"
    if not check.judged:
        text = f"{told}, a wrong label cannot be told from a hard image."
        yield _finding("information", topic, text, "Try another backbone, or one that was trained on such images.")
    elif not check.suspects:
        yield _finding("good", topic, f"{told}, no label is at odds with images like it.")
    else:
        many, first = len(check.suspects), check.suspects[0]
        share = 100 * many / found.images
        text = (
            f"{told}, {counted(many, 'label')} ({share:.1f} %) {'is' if many == 1 else 'are'} at odds with images like "
            f"{'it' if many == 1 else 'them'}, for example {first.path}: {first.label}, or {first.suggested}?"
        )
        advice = (
            "Look at them, the first ones first: some are wrong labels, to be corrected, some hard images, to be kept."
        )
        yield _finding("caution" if share >= 100 * MANY_SUSPECTS else "information", topic, text, advice)


def _balance(found: Inspection) -> Iterator[Finding]:
    topic = "Balance"
    if found.odd is not None:  # few bad images, or none, are what such data have
        return
    sizes = {c: sum(of.get(c, 0) for of in found.counts.values()) for c in found.classes}
    least, most = min(sizes, key=lambda c: sizes[c]), max(sizes, key=lambda c: sizes[c])
    few = [f"{c} {n:,}" for c, n in sizes.items() if n < FEW_OF_A_CLASS]
    if few:
        text = f"Too few images to learn from or to judge by: {shorten(few)}."
        yield _finding("caution", topic, text, "Add images of these classes, or merge classes.")
    ratio = sizes[most] / max(sizes[least], 1)
    if ratio < UNEVEN:
        span = f"{sizes[least]:,} to {sizes[most]:,} images" if ratio > 1 else counted(sizes[most], "image")
        yield _finding("good", topic, f"The classes have {span} each.")
        return
    text = f"{most} has {sizes[most]:,} images and {least} {sizes[least]:,}: {tidy(ratio)} times as many."
    advice = "Read the metrics of each class rather than accuracy; `train.class_weights` = balanced evens training out."
    yield _finding("caution" if ratio >= VERY_UNEVEN else "information", topic, text, advice)


def _split_sizes(found: Inspection) -> Iterator[Finding]:
    topic = "Split sizes"
    if found.odd is not None:
        return
    for split, of in found.counts.items():
        gone = [c for c in found.classes if not of.get(c)]
        least = min(found.classes, key=lambda c: of.get(c, 0))
        if gone and split:
            advice = "Divide the images again: `pellucid data split`."
            level: Level = "problem" if split == "train" else "caution"
            yield _finding(level, topic, f"{split} holds no image of {shorten(gone)}.", advice)
        elif split == "val" and of[least] < FEW_TO_CHOOSE_ON:
            text = f"val holds {of[least]:,} of {least}, too few to choose a model on."
            yield _finding(
                "information", topic, text, "`pellucid train` creates a larger one from the training images."
            )
        elif split == "test" and of[least] < FEW_TO_TEST_ON:
            text = f"test holds {of[least]:,} of {least}: intervals will be wide."
            yield _finding("information", topic, text, "Add test images where you can.")


def _left_out(found: Inspection) -> Iterator[Finding]:
    if not found.left_out:
        return
    topic = "Left out"
    worst = max(found.left_out, key=lambda note: note.images)
    example = f"for example {worst.path}: {worst.reason.rstrip('.')}."
    many = _many_left_out(found)
    if many:
        advice = "Check that this is the folder you mean, and that its layout was read as you mean it (see the notes)."
        yield _finding("problem", topic, f"{many.rstrip('.')}, {example}", advice)
    else:
        yield _finding("information", topic, f"Files and folders left out: {len(found.left_out):,}, {example}")


def _nested(found: Inspection) -> Iterator[Finding]:
    for name, below in found.nested.items():
        text = f"All images of {name} lie in folders below it ({shorten(below, 4)}), other classes hold theirs."
        yield _finding("caution", "Folders", text, "If these are the classes, give the folder that holds them.")


def _many_left_out(found: Inspection) -> str:
    """A sentence where more than a tenth of the images were left out; else ""."""
    gone = found.images_left_out
    total = found.images + len(found.unreadable) + gone
    return f"{gone:,} of {counted(total, 'image')} were left out." if gone > MANY_LEFT_OUT * total else ""


def _strength(area: AreaEntry) -> float:
    return max(area.value, 1 - area.value)


def _pictures(sets: Sequence[Copies]) -> str:
    return f"{counted(len(sets), 'picture')} {'is' if len(sets) == 1 else 'are'}"


def _pair(copies: Copies) -> str:
    """Two of a set, of different classes or else splits where it has them."""
    first = copies.images[0]
    other = next((i for i in copies.images if i.label != first.label), None)
    other = other or next((i for i in copies.images if i.split != first.split), copies.images[1])
    return f"{first.path} and {other.path}"


def _interval(area: AreaEntry) -> str:
    return f"{area.value:.3f} [{area.low:.3f}, {area.high:.3f}]"


def tidy(value: float) -> str:
    """At most three significant digits, thousands set apart: 0.139, 98.1, 1,840."""
    return f"{float(f'{value:.3g}'):,.10g}"
