from __future__ import annotations

import numpy as np
import pytest

from pellucid.errors import InputError, UnknownNameError
from pellucid.workflow.rescaling import (
    RESCALINGS,
    as_parameters,
    candidates,
    find_rescaling,
    spelt,
    try_rescalings,
    verdict,
)


@pytest.mark.parametrize(
    ("name", "black", "white"),
    [
        ("1/255", 0.0, 1.0),
        ("-1..1", -1.0, 1.0),
        ("none", 0.0, 255.0),
        ("imagenet", np.array([-2.1179, -2.0357, -1.8044]), np.array([2.2489, 2.4286, 2.6400])),
        ("caffe", np.array([-123.68, -116.779, -103.939]), np.array([131.32, 138.221, 151.061])),
    ],
)
def test_what_black_and_white_become(name: str, black: object, white: object) -> None:
    preprocessing = find_rescaling(name).preprocessing((8, 9))
    values = preprocessing.normalise(np.stack([np.zeros((8, 9, 3), np.uint8), np.full((8, 9, 3), 255, np.uint8)]))
    np.testing.assert_allclose(values[0, :, 0, 0], black, atol=1e-4)
    np.testing.assert_allclose(values[1, :, 7, 8], white, atol=1e-4)


def test_the_order_of_channels() -> None:
    assert {r.name: r.order for r in RESCALINGS}["caffe"] == "bgr"
    assert find_rescaling("caffe", "rgb").order == "rgb"
    assert spelt(find_rescaling("1/255", "bgr")) == "1/255, bgr"
    assert spelt(find_rescaling("caffe", "bgr")) == "caffe"
    assert as_parameters(find_rescaling("1/255", "bgr")) == "`rescale='1/255'` `channels='bgr'`"
    assert len(candidates(3)) == 8
    assert {r.order for r in candidates(3, grey=True) if r.name != "caffe"} == {"rgb"}
    assert [r.name for r in candidates(1)] == ["1/255", "-1..1", "none"]
    with pytest.raises(UnknownNameError, match="Did you mean imagenet"):
        find_rescaling("imagenett")
    with pytest.raises(InputError, match="rgb or bgr"):
        find_rescaling("none", "gbr")


def test_trials_are_ranked_by_loss_with_a_paired_interval() -> None:
    """By hand: cross-entropies log(1 + exp(-z)) of the right side, their mean, and the mean of paired differences."""
    labels = np.array([0, 1, 1, 0])
    logits = {"1/255": [-2.0, 2.0, 1.0, -1.0], "none": [1.0, 1.0, 1.0, -3.0]}
    tried = [find_rescaling("none"), find_rescaling("1/255")]
    trials = try_rescalings(lambda r: np.array(logits[r.name], np.float32)[:, None], labels, "binary", tried)
    assert [t.rescaling.name for t in trials] == ["1/255", "none"]
    signs = np.where(labels == 1, 1, -1)
    losses = {name: np.log1p(np.exp(-signs * np.array(z))) for name, z in logits.items()}
    assert trials[0].loss == pytest.approx(losses["1/255"].mean())
    assert (trials[0].accuracy, trials[1].accuracy, trials[1].reversed_accuracy) == (1.0, 0.75, 0.25)
    difference = losses["none"] - losses["1/255"]
    half = 1.96 * difference.std(ddof=1) / 2
    assert trials[1].behind == pytest.approx((difference.mean(), difference.mean() - half, difference.mean() + half))
    assert "more images are needed" in verdict(trials, 4)
    assert "do not decide" not in verdict(trials, 4)


def test_a_rival_that_answers_as_well_is_named() -> None:
    labels = np.array([0, 1])
    factor = {"1/255": 1.0, "-1..1": 3.0}
    tried = [find_rescaling(name) for name in factor]
    logits = np.array([[-1.0], [1.0]], np.float32)
    trials = try_rescalings(lambda r: logits * np.float32(factor[r.name]), labels, "binary", tried)
    assert "But `rescale='1/255'` is as accurate, so the labels alone do not decide." in verdict(trials, 2)


def test_reversed_classes_are_noticed() -> None:
    labels = np.arange(40) % 2
    logits = np.where(labels == 1, -3.0, 3.0).astype(np.float32)[:, None]
    trials = try_rescalings(lambda r: logits, labels, "binary", [find_rescaling("1/255")])
    assert "accuracy would reach 1.000: is the order right?" in verdict(trials, 40)


def test_a_regression_is_judged_by_its_distance() -> None:
    outputs = np.array([[0.1], [0.8]], np.float32)
    (trial,) = try_rescalings(lambda r: outputs, np.array([0, 1]), "regression", [find_rescaling("none")])
    assert (trial.loss, trial.accuracy, trial.reversed_accuracy) == (pytest.approx(0.15), 1.0, None)
