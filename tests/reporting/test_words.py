"""Numbers and phrases as they are printed."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pellucid.evaluation.metrics import METRICS
from pellucid.reporting.words import (
    TWINS,
    bounds,
    count,
    duration,
    listed,
    metric_name,
    number,
    percent,
    printable,
    series_name,
    with_interval,
)


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0.9144, "0.914"),
        (0.99951, "1.00"),
        (1, "1.00"),
        (12.345, "12.3"),
        (99.96, "100"),
        (5216, "5,220"),
        (0.05234, "0.052"),
        (0.00123, "0.0012"),
        (3.1e-7, "3.1\N{NO-BREAK SPACE}\N{MULTIPLICATION SIGN}\N{NO-BREAK SPACE}10⁻⁷"),
        (0, "0"),
        (-3.2, "\N{MINUS SIGN}3.20"),
        (math.nan, "n/a"),
        (math.inf, "n/a"),
        (None, "n/a"),
    ],
)
def test_numbers(value: float | None, text: str) -> None:
    assert number(value) == text


@given(st.floats(1e-4, 1e6))
def test_a_printed_number_is_within_half_of_its_last_digit(value: float) -> None:
    text = number(value).replace(",", "")
    assert len(text.replace(".", "").strip("0")) <= 3
    tolerance = max(0.005 * value, 0.0005 if value >= 0.01 else 0.05 * value)
    assert abs(float(text) - value) <= tolerance * 1.001


def test_intervals() -> None:
    assert with_interval(0.914, 0.886, 0.937) == "0.914 [0.886, 0.937]"
    assert with_interval(0.914, math.nan, math.nan) == "0.914"
    assert bounds(0.5, math.nan) == ""


@pytest.mark.parametrize(
    ("share", "text"),
    [(0, "0 %"), (0.001, "less than 1 %"), (0.06, "6 %"), (0.999, "more than 99 %"), (1, "100 %")],
)
def test_shares(share: float, text: str) -> None:
    assert percent(share) == text


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0.44, "0.4 s"),
        (9.96, "10 s"),
        (59.7, "1 min 0 s"),
        (185, "3 min 5 s"),
        (3599.8, "1 h 0 min"),
        (7800, "2 h 10 min"),
    ],
)
def test_durations(seconds: float, text: str) -> None:
    assert duration(seconds) == text


def test_counts_and_lists() -> None:
    assert [count(n, "image") for n in (0, 1, 5216)] == ["0 images", "1 image", "5,216 images"]
    assert count(2, "class", "classes") == "2 classes"
    assert [listed(list("abcdef"[:n])) for n in (1, 2, 3, 5)] == ["a", "a and b", "a, b and c", "a, b, c and 2 more"]
    assert listed([]) == ""


def test_every_metric_has_a_name_of_its_own() -> None:
    names = [metric_name(name) for name in METRICS if name not in TWINS]
    assert len(set(names)) == len(names)
    assert all(twin in METRICS and kept in METRICS for twin, kept in TWINS.items())
    assert metric_name("some_new_metric") == "Some new metric"


def test_history_columns() -> None:
    assert series_name("train_loss") == "Training loss"
    assert series_name("val_roc_auc") == "Validation ROC-AUC"


def test_what_is_not_unicode_is_printed_as_a_question_mark() -> None:
    assert printable(b"caf\xe9".decode("utf-8", "surrogateescape")) == "caf?"
    assert printable("café 肺炎") == "café 肺炎"
