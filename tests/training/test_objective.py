"""Losses and watched figures against scikit-learn and plain formulas."""

import numpy as np
import pytest
import torch
from sklearn import metrics
from sklearn.utils.class_weight import compute_class_weight

from pellucid.classifier import probabilities_from_logits
from pellucid.recipe_sections import TrainSection
from pellucid.training.objective import class_weights, loss_function, watched_values

RNG = np.random.default_rng(4)


def draw(classes, count=60, rounded=False):
    """Logits (count, L) that know a little of the labels (count,)."""
    labels = np.concatenate([np.arange(classes), RNG.integers(0, classes, count - classes)])
    logits = RNG.normal(size=(count, 1 if classes == 2 else classes)).astype(np.float32)
    if classes == 2:
        logits[:, 0] += labels
    else:
        logits[np.arange(count), labels] += 1
    return (np.round(logits) if rounded else logits), labels


def task(classes):
    return "binary" if classes == 2 else "multiclass"


def log_probabilities(logits):
    """(N, K) in double precision, from one logit or K."""
    z = logits.astype(float)
    if z.shape[1] == 1:
        z = np.concatenate([np.zeros_like(z), z], axis=1)
    return z - np.log(np.exp(z).sum(axis=1, keepdims=True))


def value(section, kind, logits, labels, weights=None):
    return float(loss_function(section, kind, weights)(torch.from_numpy(logits), torch.from_numpy(labels)))


class TestClassWeights:
    @pytest.mark.parametrize("classes", [2, 3, 7])
    def test_are_scikit_learns(self, classes):
        _, labels = draw(classes)
        wanted = compute_class_weight("balanced", classes=np.arange(classes), y=labels)
        assert class_weights(labels, classes) == pytest.approx(wanted)
        assert class_weights(labels, classes)[labels].mean() == pytest.approx(1)

    def test_a_class_without_images_does_no_harm(self):
        assert class_weights(np.array([0, 0, 2, 2]), 3) == pytest.approx([2 / 3, 4 / 3, 2 / 3])


@pytest.mark.parametrize("classes", [2, 3, 6])
class TestCrossEntropy:
    def test_is_the_log_loss(self, classes):
        logits, labels = draw(classes)
        wanted = metrics.log_loss(labels, np.exp(log_probabilities(logits)))
        assert value(TrainSection(), task(classes), logits, labels) == pytest.approx(wanted, rel=1e-5)

    def test_class_weights_are_sample_weights(self, classes):
        logits, labels = draw(classes)
        weights = RNG.uniform(0.2, 3, classes).astype(np.float32)
        wanted = metrics.log_loss(labels, np.exp(log_probabilities(logits)), sample_weight=weights[labels])
        assert value(TrainSection(), task(classes), logits, labels, weights) == pytest.approx(wanted, rel=1e-5)

    @pytest.mark.parametrize("weighted", [False, True])
    def test_label_smoothing_spreads_a_share_over_all_classes(self, classes, weighted):
        logits, labels = draw(classes)
        weights = RNG.uniform(0.2, 3, classes).astype(np.float32) if weighted else np.ones(classes, np.float32)
        wanted = np.full((len(labels), classes), 0.2 / classes)
        wanted[np.arange(len(labels)), labels] += 0.8
        total = -(wanted * weights * log_probabilities(logits)).sum() / weights[labels].sum()
        section = TrainSection(label_smoothing=0.2)
        assert value(section, task(classes), logits, labels, weights if weighted else None) == pytest.approx(
            total, rel=1e-5
        )

    def test_its_gradient_is_probability_minus_label(self, classes):
        logits, labels = draw(classes)
        inputs = torch.from_numpy(logits).requires_grad_()
        loss_function(TrainSection(), task(classes))(inputs, torch.from_numpy(labels)).backward()
        wanted = (np.exp(log_probabilities(logits)) - np.eye(classes)[labels]) / len(labels)
        assert inputs.grad.numpy() == pytest.approx(wanted[:, -logits.shape[1] :], abs=1e-7)


def test_sure_and_wrong_is_a_large_number_and_no_infinity():
    logits, labels = np.array([[400.0], [-400.0]], np.float32), np.array([0, 1])
    assert value(TrainSection(), "binary", logits, labels) == pytest.approx(400)


@pytest.mark.parametrize(
    ("loss", "truth"),
    [("auto", metrics.mean_absolute_error), ("mae", metrics.mean_absolute_error), ("mse", metrics.mean_squared_error)],
)
def test_a_regression_minimises_the_error_of_its_score(loss, truth):
    logits, labels = draw(2)
    section = TrainSection(loss=loss, monitor="val_mae")
    assert value(section, "regression", logits, labels) == pytest.approx(truth(labels, logits[:, 0]), rel=1e-5)
    assert watched_values(logits, labels, "regression") == pytest.approx(
        {"val_mae": metrics.mean_absolute_error(labels, logits[:, 0])}, rel=1e-5
    )


class TestWatched:
    @pytest.mark.parametrize("rounded", [False, True], ids=["apart", "tied"])
    @pytest.mark.parametrize("classes", [2, 3, 6])
    def test_are_scikit_learns(self, classes, rounded):
        logits, labels = draw(classes, rounded=rounded)
        # In single precision, as they are ranked: in double, other probabilities would be tied.
        p = probabilities_from_logits(logits)
        assert p == pytest.approx(np.exp(log_probabilities(logits)), abs=1e-6)
        assert rounded == (len(np.unique(p[:, 0])) < len(p))
        found = watched_values(logits, labels, task(classes))
        areas = [metrics.roc_auc_score(labels == c, p[:, c]) for c in range(classes)]
        assert found["val_roc_auc"] == pytest.approx(areas[1] if classes == 2 else np.mean(areas))
        assert found["val_accuracy"] == pytest.approx(metrics.accuracy_score(labels, p.argmax(axis=1)))

    def test_a_class_without_images_is_left_out_of_the_area(self):
        logits, labels = draw(4)
        kept = labels != 2
        logits, labels = logits[kept], labels[kept]
        p = np.exp(log_probabilities(logits))
        wanted = np.mean([metrics.roc_auc_score(labels == c, p[:, c]) for c in (0, 1, 3)])
        assert watched_values(logits, labels, "multiclass")["val_roc_auc"] == pytest.approx(wanted)

    def test_images_of_one_class_only_say_nothing(self):
        assert watched_values(np.ones((3, 1), np.float32), np.ones(3, np.int64), "binary")["val_roc_auc"] == 0.5
