from pathlib import Path

import pytest

from pellucid.data.labelling import LabelledFile, build_dataset, counted, match_name, order_classes, shorten
from pellucid.errors import DataError

ROOT = Path("data")


def entries(*names: str, split: str = "") -> list[LabelledFile]:
    return [LabelledFile(f"{name}/{i}.png", name, split) for i, name in enumerate(names)]  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        (("PNEUMONIA", "NORMAL"), ("NORMAL", "PNEUMONIA")),
        (("healthy", "congenital"), ("healthy", "congenital")),
        (("anomalous", "normal"), ("normal", "anomalous")),
        (("yes", "no"), ("no", "yes")),
        (("good", "broken"), ("good", "broken")),
        (("malignant", "benign"), ("benign", "malignant")),
        (("1", "0"), ("0", "1")),
        (("tumour", "no_tumour"), ("no_tumour", "tumour")),
        (("Tumour", "NoTumour"), ("NoTumour", "Tumour")),
        (("Parasitized", "Uninfected"), ("Uninfected", "Parasitized")),
        (("with_mask", "without_mask"), ("without_mask", "with_mask")),
        (("abnormal", "normal"), ("normal", "abnormal")),
        (("non-normal", "normal"), ("normal", "non-normal")),
        (("dog", "cat"), ("cat", "dog")),
        (("raccoon", "kangaroo"), ("kangaroo", "raccoon")),
        (("b", "c", "a"), ("a", "b", "c")),
        (("zero", "normal", "a"), ("a", "normal", "zero")),
    ],
)
def test_order_of_classes_by_their_names(names: tuple[str, ...], expected: tuple[str, ...]) -> None:
    assert order_classes(names) == expected
    assert order_classes(names[::-1]) == expected


def test_the_positive_class_can_be_said_and_the_note_says_how() -> None:
    notes: list[str] = []
    assert order_classes(("PNEUMONIA", "NORMAL"), None, notes) == ("NORMAL", "PNEUMONIA")
    assert notes == [
        "The positive class is PNEUMONIA (NORMAL reads as negative); `positive='NORMAL'` reverses the order."
    ]
    assert order_classes(("PNEUMONIA", "NORMAL"), "normal") == ("PNEUMONIA", "NORMAL")


def test_an_unknown_positive_class_offers_the_nearest() -> None:
    with pytest.raises(DataError, match=r"no class named 'PNEUMONA': did you mean PNEUMONIA\?"):
        order_classes(("NORMAL", "PNEUMONIA"), "PNEUMONA")
    with pytest.raises(DataError, match="there are NORMAL, PNEUMONIA"):
        order_classes(("NORMAL", "PNEUMONIA"), "zebra")


def test_a_positive_class_among_three_asks_for_merging() -> None:
    with pytest.raises(DataError, match=r"needs two classes, and there are 3 .*`merge="):
        order_classes(("a", "b", "c"), "b")


def test_classes_are_merged_and_then_ordered() -> None:
    found = build_dataset(ROOT, entries("covid", "pneumonia", "normal"), merge={"ill": ["covid", "pneumonia"]})
    assert found.classes == ("normal", "ill")
    assert {s.path: s.label for s in found.samples} == {"covid/0.png": 1, "normal/2.png": 0, "pneumonia/1.png": 1}


def test_a_merged_class_may_keep_the_name_of_a_member() -> None:
    merged = {"pneumonia": ["Covid", "pneumonia"]}
    found = build_dataset(ROOT, entries("covid", "pneumonia", "normal"), merge=merged)
    assert found.classes == ("normal", "pneumonia")


@pytest.mark.parametrize(
    ("grouping", "message"),
    [
        ({"ill": ["covit", "pneumonia"]}, r"no class named 'covit': did you mean covid\?"),
        ({"ill": ["covid", "pneumonia", "normal"]}, "has only the class ill; a classifier needs two"),
        ({"ill": ["covid"], "bad": ["covid", "pneumonia"]}, "covid cannot go into both ill and bad"),
        ({"normal": ["covid"]}, "take in the class normal .* `merge=normal=covid,normal`"),
        ({"ill": []}, "Merging into ill names no class"),
    ],
)
def test_merging_that_cannot_be_meant(grouping: dict[str, list[str]], message: str) -> None:
    with pytest.raises(DataError, match=message):
        build_dataset(ROOT, entries("covid", "pneumonia", "normal"), merge=grouping)


def test_classes_asked_for_are_kept_in_that_order_and_spelling() -> None:
    found = build_dataset(ROOT, entries("cat", "dog", "owl"), classes=["OWL", "cat"])
    assert found.classes == ("OWL", "cat")
    assert [(s.path, s.label) for s in found.samples] == [("cat/0.png", 1), ("owl/2.png", 0)]
    assert found.notes == ("Left out, because other classes were asked for: dog.",)
    assert found.unknown == (("dog", 1),)
    absent = build_dataset(ROOT, entries("cat", "dog"), classes=["fox", "cat"])
    assert (absent.classes, absent.labels.tolist(), absent.unknown) == (("fox", "cat"), [1], (("dog", 1),))
    with pytest.raises(DataError, match="no images of fox, owl: the data have cat, dog"):
        build_dataset(ROOT, entries("cat", "dog"), classes=["fox", "owl"])
    with pytest.raises(DataError, match="one class twice"):
        build_dataset(ROOT, entries("cat", "dog"), classes=["cat", "CAT"])


def test_one_class_is_not_enough() -> None:
    with pytest.raises(DataError, match="data holds one class only, cat: a classifier needs at least two"):
        build_dataset(ROOT, entries("cat", "cat"))


def test_spelling_that_differs_between_splits_is_one_class() -> None:
    decomposed, composed = "cafe\u0301", "caf\u00e9"
    found = build_dataset(
        ROOT,
        [
            *entries("NORMAL", "NORMAL", composed, composed, split="train"),
            *[LabelledFile("test/1.png", "Normal", "test"), LabelledFile("test/2.png", decomposed, "test")],
        ],
    )
    assert found.classes == ("NORMAL", composed)
    assert found.counts()["test"] == {"NORMAL": 1, composed: 1}
    assert any("Normal is taken as NORMAL" in note for note in found.notes)


def test_letters_that_meet_in_one_split_stay_two_classes() -> None:
    assert build_dataset(ROOT, entries("a", "A")).classes == ("A", "a")


def test_a_class_that_is_missing_from_a_split_is_told() -> None:
    found = build_dataset(ROOT, [*entries("cat", "dog", split="train"), LabelledFile("t.png", "cat", "test")])
    assert "The test folder holds no image of dog." in found.notes


def test_names_match_whatever_their_case_but_exactly_first() -> None:
    assert match_name("class", "a", ["A", "a"]) == "a"
    assert match_name("class", "NORMAL", ["normal", "x"]) == "normal"


def test_long_lists_are_shortened() -> None:
    assert shorten(["a", "b", "c"], 2) == "a, b and 1 more"
    assert shorten(["a", "b"], 2) == "a, b"
    assert (counted(1, "image"), counted(1234, "image")) == ("1 image", "1,234 images")
