import pytest

from pellucid.data.labelling import order_classes
from pellucid.data.positive import order_of_two


@pytest.mark.parametrize(
    ("negative", "positive"),
    [
        ("nofire", "fire"), ("no_fire", "fire"), ("non-crack", "crack"), ("noncrack", "crack"), ("pass", "fail"),
        ("uncracked", "cracked"), ("noncracked", "crack"), ("NoTumors", "tumor"), ("not_hotdog", "hotdog"),
        ("healthy", "unhealthy"), ("ok", "not ok"), ("ok", "nok"), ("OK", "NG"), ("normal", "abnormal"),
        ("safe", "unsafe"), ("valid", "invalid"), ("real", "fake"), ("live", "spoof"), ("ham", "spam"),
        ("genuine", "forged"), ("without mask", "with mask"), ("maskless", "mask"), ("defect-free", "defect"),
        ("surface", "crack"), ("empty", "animal"), ("accepted", "rejected"), ("Negative", "Positive"), ("0", "1"),
        ("0.0", "1.0"),
        ("false", "true"), ("no", "yes"), ("unripe", "ripe"), ("alive", "dead"), ("clear", "smoke"),
        ("Non Violence", "Violence"), ("gut", "defekt"),
    ],
)  # fmt: skip
def test_the_negative_class_by_names(negative: str, positive: str) -> None:
    for pair in ((negative, positive), (positive, negative)):
        assert order_of_two(*pair)[:2] == (negative, positive)
        assert order_of_two(*pair)[2] != "alphabet"


@pytest.mark.parametrize(("first", "second"), [("cat", "dog"), ("ants", "bees"), ("left", "right"), ("nose", "ear")])
def test_names_that_say_nothing_are_asked_about(first: str, second: str) -> None:
    notes: list[str] = []
    low, high = sorted((first, second))
    assert order_classes((first, second), None, notes) == (low, high)
    assert len(notes) == 1
    assert "Which class is positive?" in notes[0]
    assert f"`positive={low!r}`" in notes[0]
    assert f"`positive={high!r}`" in notes[0]
