"""`inspection.html`: one file that shows what an audit of a dataset found, worst first, with pictures.

Like the report of a run it asks for nothing from outside and reads without its script, with which it shares its look.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from markupsafe import Markup, escape

from .._version import __version__
from ..data.inspection import Copies, FileNote, ImageEntry, Inspection, MeasureEntry, MetadataEntry
from ..data.metadata import FAMILIES
from ..data.statistics import MEASURES, ImageMeasurements
from ..errors import ResourceError
from ..files import write_whole
from .html import page_environment, page_frame
from .inspection_pictures import averages, difference, ends_of, leading, picture_of, spread_figures, strength
from .overlay import DIVERGING
from .words import bounds, count, number, percent

PAGE, DOCUMENT = "inspection.html", "inspection.json"
# Pictures of each kind in the page; the document names everything.
IN_TABLE = ("longer_side", "aspect", "brightness", "contrast", "colour")
EXAMPLES, MOST_SETS, MOST_IN_A_SET, MOST_SUSPECTS, MOST_CLASSES, MOST_FILES = 6, 12, 4, 24, 12, 60


@dataclass(frozen=True, slots=True)
class InspectedImage:
    """An image in the page: its picture as a data address, and what is said under it."""

    entry: ImageEntry
    picture: str
    note: str = ""


@dataclass(frozen=True, slots=True)
class ShownSet:
    """Copies in the page; `more` copies are not shown."""

    copies: Copies
    images: tuple[InspectedImage, ...]
    more: int


@dataclass(frozen=True, slots=True)
class Strip:
    """A row of images under a heading."""

    title: str
    images: tuple[InspectedImage, ...]


@dataclass(frozen=True, slots=True)
class ClassRow:
    """A class in the table of classes; `measures` are (median, range of the middle half)."""

    name: str
    counts: list[int]
    formats: str
    modes: str
    measures: list[tuple[str, str]]


@dataclass(frozen=True, slots=True)
class Bar:
    """An area under the curve as it is drawn between 0.5 and 1, in per cent of that length."""

    name: str
    value: float
    interval: str
    drawn: tuple[float, float, float]
    meaning: str = ""


def write_inspection(folder: Path, inspection: Inspection, found: ImageMeasurements) -> Path:
    """Write `inspection.html` and `inspection.json` into `folder`, which is made if need be; returns the page.

    Each file appears whole or not at all, and replaces an older one. Raises ResourceError when it cannot be written.
    """
    page = render_inspection(inspection, found)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        write_whole(folder / DOCUMENT, (inspection.model_dump_json(indent=2) + "\n").encode("utf-8", "replace"))
        write_whole(folder / PAGE, page.encode("utf-8", "replace"))
    except OSError as error:
        message = f"{folder} cannot be written to ({error.strerror}). Choose another folder by `out=`, or make room."
        raise ResourceError(message) from error
    return folder / PAGE


def render_inspection(inspection: Inspection, found: ImageMeasurements) -> str:
    """An inspection as one HTML page. Pictures are read from the dataset's files."""
    environment = page_environment()
    environment.filters["breakable"] = breakable
    return environment.get_template("inspection.html").render(
        found=inspection,
        name=Path(inspection.source).resolve().name,
        version=__version__,
        headlines=headlines(inspection),
        examples=_examples(inspection, found),
        averages=averages(found),
        difference=difference(found),
        classes=class_rows(inspection),
        columns=[MEASURES[name] for name in IN_TABLE],
        families=family_bars(inspection.metadata) if inspection.metadata else [],
        measures=[measure_bar(m) for m in inspection.metadata.measures] if inspection.metadata else [],
        spreads=list(spread_figures(inspection, found)),
        ends=_ends(inspection, found),
        identical=_sets(inspection.identical, found),
        similar=_sets(inspection.similar, found),
        group=_strip("", inspection.grouping.example, found) if inspection.grouping else None,
        suspects=_suspects(inspection, found),
        odd=_odd(inspection, found),
        orphans=[FileNote(path=p, reason="no image of this name") for p in inspection.companions.orphans],
        most_files=MOST_FILES,
        **page_frame("inspection.css", colormap=DIVERGING),
    )


def breakable(path: str) -> Markup:
    """A path that may be broken after its slashes, dashes and underscores."""
    return Markup(re.sub(r"([/_-])", r"\1<wbr>", str(escape(path))))


def headlines(inspection: Inspection) -> list[tuple[str, str, str]]:
    """The three figures of the summary: (name, value, what stands beside it)."""
    sizes = [f"{sum(of.get(c, 0) for of in inspection.counts.values()):,} {c}" for c in inspection.classes[:3]]
    more = f" and {len(inspection.classes) - 3} classes more" if len(inspection.classes) > 3 else ""
    twice = sum(len(s.images) - 1 for s in inspection.identical)
    alike = f"and {count(len(inspection.similar), 'set')} that look the same" if inspection.similar else ""
    area = inspection.metadata.area if inspection.metadata else None
    return [
        ("Images", f"{inspection.images:,}", ", ".join(sizes) + more),
        ("Files more than needed", f"{twice:,}", alike),
        (
            "Class told without looking, AUC",
            number(area.value) if area else "n/a",
            bounds(area.low, area.high) if area else "",
        ),
    ]


def family_bars(test: MetadataEntry) -> list[Bar]:
    """How well each family of measures, and all together, give the class away."""
    rows = [("everything together", test.area), *((FAMILIES[f], a) for f, a in test.families.items())]
    return [_bar(f"From {name}", area.value, area.low, area.high) for name, area in rows]


def measure_bar(measure: MeasureEntry) -> Bar:
    """One measure, from its better side."""
    low, high = measure.area.low, measure.area.high
    if measure.area.value < 0.5:
        low, high = 1 - high, 1 - low
    return _bar(measure.title, strength(measure), low, high, measure.sentence if low > 0.5 else "no clear difference")


def _bar(name: str, value: float, low: float, high: float, meaning: str = "") -> Bar:
    drawn = (round(min(max(200 * (v - 0.5), 0), 100), 2) for v in (value, low, high))
    return Bar(name, value, bounds(low, high), (next(drawn), next(drawn), next(drawn)), meaning)


def class_rows(inspection: Inspection) -> list[ClassRow]:
    """What the images of each class are like, in a few words each."""
    return [
        ClassRow(
            name,
            [of.get(name, 0) for of in inspection.counts.values()],
            _most(inspection.formats[name]),
            _most(inspection.modes[name]),
            [_middle(inspection.statistics[measure].get(name)) for measure in IN_TABLE],
        )
        for name in inspection.classes
    ]


def _most(names: dict[str, int]) -> str:
    """`JPEG`, or `JPEG 90 %, PNG 10 %`."""
    total = sum(names.values())
    return ", ".join(name if n == total else f"{name} {percent(n / total)}" for name, n in names.items())


def _middle(quartiles: tuple[float, float, float] | None) -> tuple[str, str]:
    """The median, and the range of the middle half where it has a width."""
    if quartiles is None:
        return "n/a", ""
    low, middle, high = (number(v) for v in quartiles)
    return middle, "" if low == high else f"{low} to {high}"


def _shown(found: ImageMeasurements, entries: Iterable[ImageEntry], note: str = "") -> tuple[InspectedImage, ...]:
    root = found.dataset.root
    return tuple(InspectedImage(e, picture, note) for e in entries if (picture := picture_of(root / e.path)))


def _strip(title: str, entries: Iterable[ImageEntry], found: ImageMeasurements) -> Strip:
    return Strip(title, _shown(found, entries))


def _entry(found: ImageMeasurements, index: int) -> ImageEntry:
    sample = found.dataset.samples[index]
    return ImageEntry(path=sample.path, label=found.dataset.classes[sample.label], split=sample.split)


def _examples(inspection: Inspection, found: ImageMeasurements) -> list[Strip]:
    """Images of each class, evenly over its files."""
    strips = []
    for number_, name in enumerate(inspection.classes[:MOST_CLASSES]):
        mine = [i for i, s in enumerate(found.dataset.samples) if s.label == number_]
        chosen = [mine[round(k * (len(mine) - 1) / max(EXAMPLES - 1, 1))] for k in range(min(EXAMPLES, len(mine)))]
        strips.append(_strip(name, [_entry(found, i) for i in dict.fromkeys(chosen)], found))
    return strips


def _ends(inspection: Inspection, found: ImageMeasurements) -> list[Strip]:
    """The images at both ends of the measure that tells most, where one does."""
    measures = leading(inspection, found)
    if not measures:
        return []
    low, high = ends_of(found, measures[0].name, EXAMPLES)
    title = measures[0].title
    return [
        _strip(f"{title}: the lowest", [_entry(found, i) for i in low], found),
        _strip(f"{title}: the highest", [_entry(found, i) for i in high], found),
    ]


def _sets(sets: Sequence[Copies], found: ImageMeasurements) -> list[ShownSet]:
    return [
        ShownSet(s, _shown(found, s.images[:MOST_IN_A_SET]), max(len(s.images) - MOST_IN_A_SET, 0))
        for s in sets[:MOST_SETS]
    ]


def _suspects(inspection: Inspection, found: ImageMeasurements) -> list[InspectedImage]:
    shown: list[InspectedImage] = []
    for s in inspection.labels.suspects[:MOST_SUSPECTS] if inspection.labels else ():
        entry = ImageEntry(path=s.path, label=s.label, split=s.split)
        shown += _shown(found, [entry], f"{s.suggested} {number(s.suggested_probability)}")
    return shown


def _odd(inspection: Inspection, found: ImageMeasurements) -> list[InspectedImage]:
    shown: list[InspectedImage] = []
    for odd in inspection.odd.found[:MOST_SUSPECTS] if inspection.odd else ():
        entry = ImageEntry(path=odd.path, label=inspection.classes[0], split=odd.split)
        shown += _shown(found, [entry], number(odd.score))
    return shown
