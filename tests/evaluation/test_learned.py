"""Has it learned? The area is scikit-learn's, and the interval is asked whether it holds that of guessing."""

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from pellucid.classifier import probabilities_from_logits
from pellucid.evaluation.learned import learning_of


def drawn(n, separation, classes=2, seed=0):
    rng = np.random.default_rng(seed)
    labels = np.arange(n) % classes
    logits = rng.normal(size=(n, 1 if classes == 2 else classes))
    if classes == 2:
        logits[:, 0] += separation * labels
    else:
        logits[np.arange(n), labels] += separation
    return logits.astype(np.float32), labels


@pytest.mark.parametrize(("task", "classes"), [("binary", 2), ("regression", 2), ("multiclass", 4)])
def test_the_area_is_that_of_scikit_learn(task, classes):
    logits, labels = drawn(120, 1.0, classes)
    found = learning_of(task, logits, labels, [""] * 120)
    scores = logits[:, 0] if classes == 2 else probabilities_from_logits(logits)
    assert found.area == pytest.approx(roc_auc_score(labels, scores, multi_class="ovr"), abs=1e-6)
    assert found.low < found.area < found.high
    assert found.images == 120
    assert found.learned


def test_a_model_that_guesses_has_not_learned():
    logits, labels = drawn(200, 0.0, seed=4)
    assert not learning_of("binary", logits, labels, [""] * 200).learned
    assert not learning_of("binary", -drawn(200, 2.0)[0], labels, [""] * 200).learned  # worse than guessing
    assert not learning_of("binary", np.zeros((200, 1), np.float32), labels, [""] * 200).learned


def test_few_images_and_few_patients_show_nothing():
    logits, labels = drawn(6, 9.0)
    assert not learning_of("binary", logits, labels, [""] * 6).learned  # three of a class: 0.025 ** (1 / 3) < 0.5
    logits, labels = drawn(80, 0.6, seed=1)
    alone = learning_of("binary", logits, labels, [""] * 80)
    grouped = learning_of("binary", logits, labels, [f"p{i // 20}" for i in range(80)])
    assert alone.area == grouped.area
    assert alone.low != grouped.low


def test_one_class_says_nothing():
    assert learning_of("binary", np.zeros((5, 1), np.float32), np.ones(5, np.int64), [""] * 5) is None


def test_a_class_without_validation_images_is_left_out():
    logits, labels = drawn(120, 1.0, 3)
    chosen = labels != 2
    found = learning_of("multiclass", logits[chosen], labels[chosen], [""] * int(chosen.sum()))
    p = probabilities_from_logits(logits[chosen])
    areas = [roc_auc_score(labels[chosen] == k, p[:, k]) for k in (0, 1)]
    assert found.area == pytest.approx(np.mean(areas), abs=1e-6)
