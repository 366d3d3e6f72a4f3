from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import pellucid
from pellucid.errors import InputError
from pellucid.preprocessing import Preprocessing


def left_bright(images: Any) -> Any:
    """The probability that the left half is bright, of (N, 16, 20, 3) uint8."""
    assert images.dtype == np.uint8
    assert images.shape[1:] == (16, 20, 3)
    return 1 / (1 + np.exp(-(images[:, :, :10].mean((1, 2, 3)) - 128) / 20))


def half(left: int, right: int) -> Any:
    image = np.full((32, 40, 3), right, np.uint8)
    image[:, :20] = left
    return image


def test_it_predicts_what_the_function_says() -> None:
    classifier = pellucid.from_function(left_bright, ["dark", "bright"], size=(16, 20))
    assert classifier.task == "binary"
    for value in (100, 128, 150):
        wanted = 1 / (1 + np.exp(-(value - 128) / 20))
        found = classifier.predict(half(value, value))
        assert found.probabilities["bright"] == pytest.approx(wanted, abs=1e-4)
        assert found.label == ("bright" if wanted >= 0.5 else "dark")


def test_black_box_methods_find_the_half_that_matters() -> None:
    classifier = pellucid.from_function(left_bright, ["dark", "bright"], size=(16, 20))
    values = classifier.explain(half(200, 60), method="occlusion", target="bright").values
    assert values.shape == (32, 40)
    assert values[:, :15].mean() > 10 * np.abs(values[:, 25:]).mean()


@pytest.mark.parametrize("method", ["grad-cam", "ablation-cam", "gradient-x-input"])
def test_methods_that_need_evidence_name_others(method: str) -> None:
    classifier = pellucid.from_function(left_bright, ["dark", "bright"], size=(16, 20))
    with pytest.raises(InputError, match=r"function is a black box.*lime"):
        classifier.explain(half(200, 60), method=method)
    with pytest.raises(InputError, match="is not a folder"):
        _ = classifier.folder


def test_several_classes_keep_their_probabilities() -> None:
    rows = np.array([[0.2, 0.5, 0.3], [1.0, 0.0, 0.0]])
    classifier = pellucid.from_function(lambda x: rows[: len(x)], ["a", "b", "c"], preprocessing=square())
    batch = np.zeros((2, 3, 8, 8), np.float32)
    np.testing.assert_allclose(classifier.probabilities(batch), rows, atol=3e-6)
    np.testing.assert_allclose(classifier.logits(batch)[0], np.log(rows[0]), rtol=1e-6)
    assert np.isfinite(classifier.logits(batch)).all()


def square() -> Preprocessing:
    return Preprocessing(height=8, width=8)


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        (lambda x: np.zeros((len(x), 3)), r"shape \(2, 3\) for 2 images and 2 classes"),
        (lambda x: np.ones((len(x), 2)), "a sum is 1 away from 1"),
        (lambda x: np.array([[1.5, -0.5]] * len(x)), "the least value is -0.5"),
        (lambda x: np.full((len(x), 2), np.nan), "a sum is nan away"),
    ],
)
def test_answers_that_are_no_probabilities(answer: Any, said: str) -> None:
    classifier = pellucid.from_function(answer, ["no", "yes"], preprocessing=square())
    with pytest.raises(InputError, match=said):
        classifier.probabilities(np.zeros((2, 3, 8, 8), np.float32))


def test_what_from_function_needs() -> None:
    with pytest.raises(InputError, match="either the size"):
        pellucid.from_function(left_bright, ["a", "b"])
    with pytest.raises(InputError, match="either the size"):
        pellucid.from_function(left_bright, ["a", "b"], size=8, preprocessing=square())
    with pytest.raises(InputError, match="Two or more different classes"):
        pellucid.from_function(left_bright, ["a", "a"], size=8)
