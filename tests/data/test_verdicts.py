from __future__ import annotations

from typing import Any

import pytest

from pellucid.data.finding import Finding
from pellucid.data.inspection import (
    AreaEntry,
    CompanionNotes,
    FileNote,
    Grouping,
    Inspection,
    MeasureEntry,
    MetadataEntry,
    SplitOverlap,
)
from pellucid.data.verdicts import tidy, verdict_of, verdicts

NONE = CompanionNotes(trees={}, unreadable=(), orphans=())
PLAIN = Inspection(
    source="data", classes=("normal", "ill"), positive="ill", images=300,
    counts={"train": {"normal": 90, "ill": 90}, "val": {"normal": 25, "ill": 25}, "test": {"normal": 35, "ill": 35}},
    notes=(), left_out=(), unreadable=(), remarks=(), companions=NONE, identical=(), similar=(),
    threshold=0.95, overlaps=(), grouping=None, formats={}, modes={}, statistics={}, metadata=None,
    metadata_absent="Too few images.", labels=None, labels_absent="No network.",
)  # fmt: skip


def said(topic: str, **changes: Any) -> list[Finding]:
    return [f for f in verdicts(PLAIN.model_copy(update=changes)) if f.topic == topic]


def level(topic: str, **changes: Any) -> str:
    (finding,) = said(topic, **changes)
    return finding.level


def area(value: float, half: float = 0.03) -> AreaEntry:
    return AreaEntry(value=value, low=value - half, high=value + half)


def judged(value: float, half: float = 0.03, measure: float = 0.8) -> MetadataEntry:
    own = MeasureEntry(
        name="brightness", title="Brightness", unit="", family="picture", label="ill", area=area(measure),
        sentence="ill images are brighter: median 120 against 90",
    )  # fmt: skip
    return MetadataEntry(
        area=area(value, half),
        families={"file": area(0.5), "picture": area(value)},
        measures=(own,),
        folds=5,
        units=300,
    )


@pytest.mark.parametrize(
    ("value", "half", "expected"),
    [(0.5, 0.03, "good"), (0.62, 0.03, "good"), (0.64, 0.03, "caution"), (0.77, 0.03, "caution"),
     (0.79, 0.03, "problem"), (0.99, 0.005, "problem"), (0.65, 0.12, "information")],
)  # fmt: skip
def test_the_metadata_test_is_judged_by_the_lower_end(value: float, half: float, expected: str) -> None:
    assert level("Shortcut", metadata=judged(value, half)) == expected


def test_what_gives_the_class_away_is_named() -> None:
    (finding,) = said("Shortcut", metadata=judged(0.9))
    assert "AUC 0.900 [0.870, 0.930], most of all from brightness, contrast, colour and sharpness" in finding.text
    assert "ill images are brighter: median 120 against 90 (alone 0.80)." in finding.text
    assert "No single measure leads." in said("Shortcut", metadata=judged(0.9, measure=0.55))[0].text
    assert said("Shortcut", metadata=judged(0.9, measure=0.2))[0].text.endswith("(alone 0.80).")
    assert level("Shortcut") == "information"


def overlap(criterion: str, images: int, total: int) -> SplitOverlap:
    return SplitOverlap(
        criterion=criterion, splits=("train", "test"), images=images, total=total, examples=(), sentence="They overlap."
    )


def test_leaks_of_bytes_are_always_a_problem_and_few_look_alikes_a_caution() -> None:
    assert level("Split", overlaps=(overlap("content", 1, 1000),)) == "problem"
    assert level("Split", overlaps=(overlap("near-duplicate", 9, 1000),)) == "caution"
    assert level("Split", overlaps=(overlap("near-duplicate", 10, 1000),)) == "problem"
    assert level("Split") == "good"
    assert said("Split", counts={"": {"normal": 50, "ill": 50}}) == []


def test_unreadable_files_are_a_problem_from_one_in_a_hundred() -> None:
    bad = tuple(FileNote(path=f"{i}.png", reason="The file is empty.") for i in range(4))
    assert level("Files", unreadable=bad[:3]) == "caution"
    assert level("Files", unreadable=bad) == "problem"
    assert (
        said("Files", unreadable=bad)[0].text == "4 of 304 images cannot be read, for example 0.png: The file is empty."
    )
    assert PLAIN.model_copy(update={"unreadable": bad[:1]}).serious
    assert not PLAIN.serious


def test_masks_that_are_broken_or_fit_no_image_are_a_caution() -> None:
    bad = FileNote(path="masks/a.png", reason="The file is empty.")
    beside = CompanionNotes(trees={"masks": 9, "lungs": 9}, unreadable=(bad,), orphans=("lungs/b.png", "lungs/c.png"))
    assert [(f.level, f.text) for f in said("Masks", companions=beside)] == [
        ("caution", "1 picture in lungs, masks cannot be read, for example masks/a.png: The file is empty."),
        ("caution", "2 pictures in lungs, masks belong to no image of the same name, for example lungs/b.png."),
    ]
    assert PLAIN.model_copy(update={"companions": beside}).serious
    assert not PLAIN.model_copy(update={"companions": beside.model_copy(update={"unreadable": ()})}).serious
    assert said("Masks") == []


def grouping(known: bool) -> Grouping:
    pattern = None if known else r"(p\d+)"
    return Grouping(
        known=known, pattern=pattern, groups=9, shared=4, images=12, largest=3, alone=0, example_name="p1", example=(),
        across_splits=(),
    )  # fmt: skip


def test_guessed_groups_are_a_caution_where_splits_are_still_to_be_drawn() -> None:
    assert level("Groups", grouping=grouping(known=True)) == "good"
    assert level("Groups", grouping=grouping(known=False)) == "information"
    undivided = {"": {"normal": 150, "ill": 150}}
    small = PLAIN.counts | {"val": {"normal": 25, "ill": 19}}
    for counts in (undivided, small, {"train": PLAIN.counts["train"], "test": PLAIN.counts["test"]}):
        assert level("Groups", grouping=grouping(known=False), counts=counts) == "caution"
    (finding,) = said("Groups", grouping=grouping(known=False), counts=undivided)
    assert r"by (p\d+), 4 of 9 groups hold several images, up to 3" in finding.text
    assert r"give every command `group_by='(p\d+)'`" in finding.advice


@pytest.mark.parametrize(
    ("sizes", "expected"),
    [((100, 100), ["good"]), ((100, 199), ["good"]), ((100, 200), ["information"]), ((30, 300), ["caution"]),
     ((19, 30), ["caution", "good"]), ((0, 30), ["caution", "caution"])],
)  # fmt: skip
def test_balance(sizes: tuple[int, int], expected: list[str]) -> None:
    counts = {"": dict(zip(PLAIN.classes, sizes, strict=True))}
    assert [f.level for f in said("Balance", counts=counts)] == expected


def test_splits_without_a_class_and_small_ones() -> None:
    counts = {
        "train": {"normal": 50, "ill": 0},
        "val": {"normal": 19, "ill": 40},
        "test": {"normal": 29, "ill": 40},
    }
    assert [(f.level, f.text) for f in said("Split sizes", counts=counts)] == [
        ("problem", "train holds no image of ill."),
        ("information", "val holds 19 of normal, too few to choose a model on."),
        ("information", "test holds 29 of normal: intervals will be wide."),
    ]
    assert said("Split sizes") == []


def test_remarks_of_one_kind_are_one_finding() -> None:
    remarks = [
        ("a.jpg", "extension", "The file is named .jpg but holds PNG."),
        ("b.png", "extension", "The file is named .png but holds GIF."),
        ("c.png", "thin", "The picture is very thin, 16 x 400 pixels, and is distorted or cut to fit a model."),
        ("d.png", "thin", "The picture is very thin, 20 x 500 pixels, and is distorted or cut to fit a model."),
        ("d.png", "flat", "The picture is one flat tone."),
    ]
    notes = tuple(FileNote(path=p, code=c, reason=r) for p, c, r in remarks)
    assert [f.text.split(",")[0] for f in said("Odd files", remarks=notes)] == ["2 files", "1 file"]
    assert [f.text.split(",")[0] for f in said("Extensions", remarks=notes)] == ["2 files"]


@pytest.mark.parametrize(
    ("levels", "sentence"),
    [
        ([], "Nothing was found that stands against training."),
        (["good", "information"], "Nothing was found that stands against training."),
        (["caution"], "Nothing serious was found; 1 point needs a look."),
        (["problem"], "1 problem stands against training on these images."),
        (["problem", "problem", "caution", "caution"],
         "2 problems stand against training on these images; 2 points need a look."),
    ],
)  # fmt: skip
def test_the_verdict_counts(levels: list[Any], sentence: str) -> None:
    assert verdict_of([Finding(level=x, topic="", text="") for x in levels]) == sentence


def test_numbers_have_three_digits() -> None:
    assert [tidy(v) for v in (0.13949, 98.1, 1841.2, 50, 2.0, 0)] == ["0.139", "98.1", "1,840", "50", "2", "0"]
