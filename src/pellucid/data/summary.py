"""The audit of a dataset: what was measured, gathered into one document with its verdicts.

It opens no file and draws nothing. What the findings mean is said by verdicts.py.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence

import numpy as np
import numpy.typing as npt

from .areas import Area
from .companions import Companions
from .dataset import SPLITS, OmittedFile
from .disjointness import Kinship, proof_of
from .finding import LEVELS
from .fingerprint import IntArray
from .inspection import (
    AreaEntry,
    CompanionNotes,
    Copies,
    FileNote,
    Grouping,
    ImageEntry,
    Inspection,
    LabelEntry,
    MeasureEntry,
    MetadataEntry,
    OddEntry,
    SharedGroup,
    SplitOverlap,
    Suspect,
)
from .label_errors import LabelCheck
from .metadata import MetadataTest, Separation
from .statistics import ImageMeasurements, Values
from .verdicts import tidy, verdict_of, verdicts

EXAMPLES = 6


def audit(
    found: ImageMeasurements,
    kin: Kinship,
    *,
    companions: Companions,
    source: str,
    groups: Sequence[str],
    pattern: str | None,
    metadata: MetadataTest | None,
    labels: LabelCheck | None,
    features: str = "",
    labels_absent: str = "",
    odd: OddEntry | None = None,
) -> Inspection:
    """Gather what was measured of a dataset into an Inspection with its verdicts.

    `kin` and `groups` (N,) are in the order of `found`; `pattern` is the one that the groups were guessed by, None
    where they are known or absent. `features` says in words what `labels` was based on.
    """
    dataset = found.dataset
    inspection = Inspection(
        source=source,
        classes=dataset.classes,
        positive=dataset.positive,
        images=len(dataset),
        counts={split: dict(of) for split, of in dataset.counts().items()},
        notes=dataset.notes,
        left_out=_file_notes(dataset.skipped),
        unreadable=_file_notes(found.unreadable),
        nested=dict(found.dataset.nested),
        remarks=tuple(
            FileNote(path=p, reason=r.text, code=r.code) for p, remarks in found.remarks.items() for r in remarks
        ),
        companions=CompanionNotes(
            trees=companions.trees, unreadable=_file_notes(companions.unreadable), orphans=companions.orphans
        ),
        identical=_copies(found, kin.content),
        similar=tuple(_copies(found, kin.near, distinct=kin.content)),
        threshold=kin.threshold,
        overlaps=_overlaps(found, kin),
        grouping=_grouping(found, groups, pattern),
        formats=_by_class(found, found.formats),
        modes=_by_class(found, found.modes),
        statistics={name: _quartiles(found, values) for name, values in found.values.items()},
        metadata=_metadata_entry(metadata, found) if metadata else None,
        metadata_absent="" if metadata else "A class has fewer than 10 independent images, too few to judge by.",
        labels=_label_entry(labels, found, features) if labels else None,
        labels_absent="" if labels else labels_absent,
        odd=odd,
    )
    ordered = sorted(verdicts(inspection), key=lambda f: LEVELS.index(f.level))
    return inspection.model_copy(update={"findings": tuple(ordered), "verdict": verdict_of(ordered, inspection)})


def _file_notes(skipped: Iterable[OmittedFile]) -> tuple[FileNote, ...]:
    return tuple(FileNote(path=s.path, reason=s.reason, code=s.code, images=s.images) for s in skipped)


def _entry(found: ImageMeasurements, index: int) -> ImageEntry:
    sample = found.dataset.samples[index]
    return ImageEntry(path=sample.path, label=found.dataset.classes[sample.label], split=sample.split)


def _copies(found: ImageMeasurements, numbers: IntArray, distinct: IntArray | None = None) -> tuple[Copies, ...]:
    """Sets of several images of one number, the worst first; with `distinct`, only sets that hold two of those."""
    members: dict[int, list[int]] = defaultdict(list)
    for index, number in enumerate(numbers.tolist()):
        if number >= 0:
            members[number].append(index)
    sets = []
    for indices in members.values():
        if len(indices) > 1 and (distinct is None or len(set(distinct[indices].tolist())) > 1):
            images = tuple(_entry(found, i) for i in indices)
            sets.append(
                Copies(
                    images=images,
                    across_splits=len({i.split for i in images}) > 1,
                    across_classes=len({i.label for i in images}) > 1,
                )
            )
    sets.sort(key=lambda s: (not s.across_classes, not s.across_splits, -len(s.images)))
    return tuple(sets)


def _overlaps(found: ImageMeasurements, kin: Kinship) -> tuple[SplitOverlap, ...]:
    """The leaks by content and by look; those by group are told apart in `_grouping`."""
    return tuple(
        SplitOverlap(
            criterion=leak.criterion,
            splits=leak.splits,
            images=leak.images,
            total=leak.total,
            examples=leak.examples,
            sentence=str(leak),
        )
        for leak in proof_of(found.dataset, kin).leaks
        if leak.criterion != "group"
    )


def _grouping(found: ImageMeasurements, groups: Sequence[str], pattern: str | None) -> Grouping | None:
    members: dict[str, list[int]] = defaultdict(list)
    for index, group in enumerate(groups):
        if group:
            members[group].append(index)
    if not members:
        return None
    several = {name: of for name, of in members.items() if len(of) > 1}
    crossing = []
    for name, of in several.items():
        held = {found.dataset.samples[i].split for i in of} - {""}
        if len(held) > 1:
            splits = tuple(s for s in SPLITS if s in held)
            crossing.append(SharedGroup(name=name, splits=splits, images=len(of)))
    biggest = max(members, key=lambda name: len(members[name]))
    return Grouping(
        known=pattern is None,
        pattern=pattern,
        groups=len(members),
        shared=len(several),
        images=sum(map(len, several.values())),
        largest=len(members[biggest]),
        alone=len(groups) - sum(map(len, members.values())),
        example_name=biggest,
        example=tuple(_entry(found, i) for i in members[biggest][:EXAMPLES]),
        across_splits=tuple(sorted(crossing, key=lambda g: -g.images)),
    )


def _by_class(found: ImageMeasurements, names: Sequence[str]) -> dict[str, dict[str, int]]:
    """{class: {name: images}}, the most frequent first."""
    labels = found.dataset.labels
    return {
        label: dict(Counter(n for n, k in zip(names, labels, strict=True) if k == number).most_common())
        for number, label in enumerate(found.dataset.classes)
    }


def _quartiles(found: ImageMeasurements, values: Values) -> dict[str, tuple[float, float, float]]:
    labels, result = found.dataset.labels, {}
    for number, name in enumerate(found.dataset.classes):
        known = values[(labels == number) & np.isfinite(values)]
        if len(known):
            low, middle, high = np.quantile(known, (0.25, 0.5, 0.75)).tolist()
            result[name] = (low, middle, high)
    return result


def _area(area: Area) -> AreaEntry:
    return AreaEntry(value=area.value, low=area.low, high=area.high)


def _metadata_entry(test: MetadataTest, found: ImageMeasurements) -> MetadataEntry:
    classes = found.dataset.classes
    return MetadataEntry(
        area=_area(test.area),
        families={family: _area(area) for family, area in test.families.items()},
        measures=tuple(_measure_entry(s, classes, found) for s in test.separations),
        folds=test.folds,
        units=test.units,
    )


def _measure_entry(separation: Separation, classes: Sequence[str], found: ImageMeasurements) -> MeasureEntry:
    return MeasureEntry(
        name=separation.name,
        title=separation.measure.title,
        unit=separation.measure.unit,
        family=separation.measure.family,
        label=classes[separation.label],
        area=_area(separation.area),
        sentence=describe_difference(separation, classes, found),
    )


def describe_difference(separation: Separation, classes: Sequence[str], found: ImageMeasurements) -> str:
    """Which class is what: "normal images are larger: median 1,841 px against 1,200 px"."""
    measure, label = separation.measure, separation.label
    above = separation.area.value >= 0.5
    if len(classes) == 2 and not above:
        # Of two classes the one with more is named: "brighter" is easier to see than "darker".
        label, above = 1 - label, True
    words = measure.more if above else measure.less
    if separation.name.startswith(("format_", "mode_")):
        return f"{classes[label]} images are {words}"
    here, there, which = _apart(found.values[separation.name], found.dataset.labels == label, above)
    unit = f" {measure.unit}" if measure.unit else ""
    other = "" if len(classes) == 2 else " for the rest"
    return f"{classes[label]} images are {words}: {which} {here} against {there}{unit}{other}"


def _apart(values: Values, mine: npt.NDArray[np.bool_], above: bool) -> tuple[str, str, str]:
    """A figure of a class, that of the others, and which one it is: the median, or else one that differs as they do."""
    figures = {
        "median": 0.5,
        "lower quartile": 0.25,
        "upper quartile": 0.75,
        "tenth percentile": 0.1,
        "90th percentile": 0.9,
    }
    for which, share in figures.items():
        here, there = (float(np.nanquantile(values[chosen], share)) for chosen in (mine, ~mine))
        if tidy(here) != tidy(there) and (here > there) == above:
            return tidy(here), tidy(there), which
    here, there = (float(np.nanmedian(values[chosen])) for chosen in (mine, ~mine))
    return tidy(here), tidy(there), "median"


def _label_entry(check: LabelCheck, found: ImageMeasurements, features: str) -> LabelEntry:
    suspects = []
    for index in check.suspects.tolist():
        sample, row = found.dataset.samples[index], check.probabilities[index].copy()
        own = float(row[sample.label])
        row[sample.label] = -1
        other = int(row.argmax())
        suspects.append(
            Suspect(
                path=sample.path,
                label=found.dataset.classes[sample.label],
                split=sample.split,
                probability=own,
                suggested=found.dataset.classes[other],
                suggested_probability=float(row[other]),
            )
        )
    return LabelEntry(features=features, area=_area(check.area), judged=check.enough, suspects=tuple(suspects))
