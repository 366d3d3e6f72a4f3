import numpy as np
import pytest
from scipy.stats import binomtest
from sklearn.metrics import roc_auc_score
from tests.evaluation.test_evaluate import binary

from pellucid.errors import DataError, InputError
from pellucid.evaluation.intervals import Resampling
from pellucid.evaluation.paired import Named, compare_models, paired_p_value


def models(n, noise, seed=0, **more):
    """Two models whose logits are the truth and more or less noise."""
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, 2, n)
    both = []
    for name, amount in zip(("ours", "theirs"), noise, strict=True):
        z = 2 * (2 * labels - 1) + amount * rng.normal(size=n)
        both.append(Named(name, binary(labels, 1 / (1 + np.exp(-z)), resamples=100, **more)))
    return both


def test_the_better_model_is_named():
    ours, theirs = models(600, (1.5, 3.0))
    found = compare_models(ours, theirs)
    assert found.verdict.startswith("ours is right more often than theirs")
    assert found.metrics["accuracy"].judgement == "better"
    assert found.metrics["loss"].judgement == "better"
    back = compare_models(theirs, ours)
    assert back.verdict.startswith("ours is right more often than theirs")
    assert back.metrics["brier"].judgement == "worse"
    assert back.metrics["roc_auc"].difference == -found.metrics["roc_auc"].difference


def test_figures_are_those_of_the_definitions():
    ours, theirs = models(150, (2.0, 2.5))
    found = compare_models(ours, theirs, resamples=200, seed=3)
    a, b = ours.result, theirs.result
    right = a.predicted == a.labels, b.predicted == b.labels
    only = (right[0] & ~right[1]).sum(), (right[1] & ~right[0]).sum()
    assert (found.only_ours, found.only_theirs) == only
    assert found.p_value == binomtest(only[0], sum(only)).pvalue
    rng, areas = np.random.default_rng(3), []
    for _ in range(200):
        drawn = rng.integers(0, 150, 150)
        area = [roc_auc_score(r.labels[drawn], r.probabilities[drawn, 1].astype(float)) for r in (a, b)]
        areas.append(area[0] - area[1])
    of = found.metrics["roc_auc"]
    assert (of.low, of.high) == pytest.approx(tuple(np.quantile(areas, [0.025, 0.975])), abs=1e-9)
    assert of.difference == pytest.approx(a.metrics["roc_auc"].value - b.metrics["roc_auc"].value)


def test_few_images_cannot_tell_and_equal_models_are_alike():
    ours, theirs = models(40, (2.0, 2.2), seed=1)
    found = compare_models(ours, theirs)
    assert found.verdict.startswith("Too few images to tell")
    assert "it would take about" in found.verdict
    same = compare_models(ours, Named("again", ours.result))
    assert same.p_value == 1
    assert "about equally often" in same.verdict
    assert {of.judgement for of in same.metrics.values()} <= {"alike", "too few images to tell"}


def test_no_difference_is_seldom_taken_for_one():
    """Two equally noisy models: a p value of at most 0.05 in no more than 5 % of 300 draws, by images and by groups."""
    below = {"images": 0, "groups": 0}
    for seed in range(300):
        rng = np.random.default_rng(seed)
        right = rng.random((2, 40)) < 0.7
        images = right[0].astype(int) - right[1]
        below["images"] += paired_p_value(images, Resampling.of(40, (), 100, 0)) <= 0.05
        # Five copies of each image: a test that took them for independent would find differences everywhere.
        groups = Resampling.of(200, [f"p{i // 5}" for i in range(200)], 100, 0)
        below["groups"] += paired_p_value(np.repeat(images, 5), groups) <= 0.05
    assert all(count <= 15 + 10 for count in below.values()), below


def test_only_common_images_count():
    ours, theirs = models(100, (1.0, 2.0))
    part = binary(
        theirs.result.labels[20:], theirs.result.probabilities[20:, 1], paths=theirs.result.paths[20:], resamples=100
    )
    found = compare_models(ours, Named("part", part), left_out=20)
    assert (found.images, found.left_out) == (80, 20)
    expected = (ours.result.predicted == ours.result.labels)[20:].mean()
    assert found.metrics["accuracy"].ours == pytest.approx(expected)


def test_wrong_input():
    ours, theirs = models(30, (1.0, 2.0))
    elsewhere = binary([0, 1], [0.1, 0.9], paths=["x", "y"])
    with pytest.raises(DataError, match="no image in common"):
        compare_models(ours, Named("other", elsewhere))
    turned = binary(1 - theirs.result.labels, theirs.result.probabilities[:, 1], resamples=100)
    with pytest.raises(DataError, match="another label"):
        compare_models(ours, Named("turned", turned))
    named = binary([0, 1], [0.1, 0.9], classes=("cat", "dog"))
    with pytest.raises(InputError, match="only models of one question"):
        compare_models(ours, Named("other", named))
