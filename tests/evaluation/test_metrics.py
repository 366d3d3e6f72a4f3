"""Every metric against scikit-learn, unweighted and under weights, with and without ties."""

import numpy as np
import pytest
from sklearn import metrics as oracle

from pellucid.evaluation.metrics import CLASS_METRICS, METRICS
from pellucid.evaluation.tally import Answers


def draw(classes, n, tied, seed):
    """Labels (n,) and float32 probabilities (n, classes) that are better than chance; `tied` ones take few values."""
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, classes, n)
    labels[:classes] = np.arange(classes)
    logits = rng.normal(size=(n, classes))
    logits[np.arange(n), labels] += 1
    if tied:
        logits = np.round(logits)
    p = np.exp(logits)
    return labels, (p / p.sum(axis=1, keepdims=True)).astype(np.float32)


def weightings(n, seed=5, count=7):
    """Ones, then bootstrap multiplicities: (n, 1 + count)."""
    rng = np.random.default_rng(seed)
    drawn = [np.bincount(rng.integers(0, n, n), minlength=n) for _ in range(count)]
    return np.array([np.ones(n), *drawn]).T.astype(float)


def calibration_error(confidence, outcome, weights):
    total = 0.0
    for b in range(15):
        inside = (confidence >= b / 15) & ((confidence < (b + 1) / 15) | (b == 14))
        total += abs((weights * (confidence - outcome))[inside].sum())
    return total / weights.sum()


def binary_truth(labels, p, w):
    predicted = (p[:, 1] >= 0.5).astype(int)
    score = p[:, 1].astype(float)
    shared = {"sample_weight": w, "zero_division": np.nan}
    return {
        **thresholded_truth(labels, predicted, score, w, shared),
        "loss": oracle.log_loss(labels, np.stack([1 - score, score], 1), sample_weight=w),
        "brier": oracle.brier_score_loss(labels, score, sample_weight=w),
        "ece": calibration_error(score, labels, w),
    }


def thresholded_truth(labels, predicted, score, w, shared):
    ppv = oracle.precision_score(labels, predicted, **shared)
    sensitivity = oracle.recall_score(labels, predicted, **shared)
    return {
        "accuracy": oracle.accuracy_score(labels, predicted, sample_weight=w),
        "balanced_accuracy": oracle.balanced_accuracy_score(labels, predicted, sample_weight=w),
        "precision": ppv,
        "ppv": ppv,
        "recall": sensitivity,
        "sensitivity": sensitivity,
        "specificity": oracle.recall_score(labels, predicted, pos_label=0, **shared),
        "npv": oracle.precision_score(labels, predicted, pos_label=0, **shared),
        "f1": oracle.f1_score(labels, predicted, **shared),
        "mcc": oracle.matthews_corrcoef(labels, predicted, sample_weight=w),
        "roc_auc": oracle.roc_auc_score(labels, score, sample_weight=w),
        "pr_auc": oracle.average_precision_score(labels, score, sample_weight=w),
    }


def multiclass_truth(labels, p, w):
    k = p.shape[1]
    predicted = p.argmax(axis=1)
    macro = {"average": "macro", "sample_weight": w, "zero_division": 0}
    confusion = oracle.multilabel_confusion_matrix(labels, predicted, sample_weight=w)
    tn, fp, fn = confusion[:, 0, 0], confusion[:, 0, 1], confusion[:, 1, 0]
    one_hot = np.eye(k)[labels]
    precision, recall = (f(labels, predicted, **macro) for f in (oracle.precision_score, oracle.recall_score))
    p = p.astype(float)
    return {
        "accuracy": oracle.accuracy_score(labels, predicted, sample_weight=w),
        "balanced_accuracy": oracle.balanced_accuracy_score(labels, predicted, sample_weight=w),
        "precision": precision,
        "ppv": precision,
        "recall": recall,
        "sensitivity": recall,
        "specificity": (tn / (tn + fp)).mean(),
        "npv": (tn / (tn + fn)).mean(),
        "f1": oracle.f1_score(labels, predicted, **macro),
        "mcc": oracle.matthews_corrcoef(labels, predicted, sample_weight=w),
        "roc_auc": np.mean([oracle.roc_auc_score(labels == c, p[:, c], sample_weight=w) for c in range(k)]),
        "pr_auc": np.mean([oracle.average_precision_score(labels == c, p[:, c], sample_weight=w) for c in range(k)]),
        "loss": oracle.log_loss(labels, p / p.sum(1, keepdims=True), sample_weight=w),
        "brier": np.average(((p - one_hot) ** 2).sum(axis=1), weights=w),
        "ece": calibration_error(p.max(axis=1), predicted == labels, w),
    }


@pytest.mark.parametrize("tied", [False, True])
@pytest.mark.parametrize("classes", [2, 3, 5])
@pytest.mark.parametrize("n", [60, 501])
def test_classification_agrees_with_scikit_learn(classes, tied, n):
    labels, p = draw(classes, n, tied, seed=classes * n)
    task = "binary" if classes == 2 else "multiclass"
    predicted = (p[:, 1] >= 0.5).astype(int) if classes == 2 else p.argmax(axis=1)
    weights = weightings(n)
    tally = Answers(task, classes, labels, predicted, p).tally(weights)
    found = {name: row.compute(tally) for name, row in METRICS.items() if task in row.tasks}
    truth = binary_truth if classes == 2 else multiclass_truth
    for b, w in enumerate(weights.T):
        expected = truth(labels, p, w)
        assert found.keys() == expected.keys()
        for name, value in expected.items():
            assert found[name][b] == pytest.approx(value, abs=1e-6), name


@pytest.mark.parametrize("classes", [2, 4])
def test_class_metrics_agree_with_scikit_learn(classes):
    labels, p = draw(classes, 300, True, seed=8)
    predicted = p.argmax(axis=1)
    weights = weightings(300)
    tally = Answers("multiclass", classes, labels, predicted, p).tally(weights)
    for b, w in enumerate(weights.T):
        precision, recall, f1, _ = oracle.precision_recall_fscore_support(labels, predicted, sample_weight=w)
        confusion = oracle.multilabel_confusion_matrix(labels, predicted, sample_weight=w)
        expected = {
            "precision": precision,
            "recall": recall,
            "f1": f1,
            "specificity": confusion[:, 0, 0] / confusion[:, 0].sum(axis=1),
            "npv": confusion[:, 0, 0] / (confusion[:, 0, 0] + confusion[:, 1, 0]),
            "roc_auc": [oracle.roc_auc_score(labels == c, p[:, c], sample_weight=w) for c in range(classes)],
            "pr_auc": [oracle.average_precision_score(labels == c, p[:, c], sample_weight=w) for c in range(classes)],
        }
        assert CLASS_METRICS.keys() == expected.keys()
        for name, row in CLASS_METRICS.items():
            assert row.compute(tally)[:, b] == pytest.approx(np.asarray(expected[name]), abs=1e-9), name


def test_regression_agrees_with_scikit_learn():
    labels, p = draw(2, 200, True, seed=1)
    outputs = (p[:, 1] * 1.4 - 0.2).astype(np.float32)
    predicted = (outputs >= 0.5).astype(int)
    weights = weightings(200)
    tally = Answers("regression", 2, labels, predicted, outputs[:, None]).tally(weights)
    found = {name: row.compute(tally) for name, row in METRICS.items() if "regression" in row.tasks}
    for b, w in enumerate(weights.T):
        score = outputs.astype(float)
        expected = {
            "mae": oracle.mean_absolute_error(labels, score, sample_weight=w),
            "rmse": oracle.root_mean_squared_error(labels, score, sample_weight=w),
            "r2": oracle.r2_score(labels, score, sample_weight=w),
            **thresholded_truth(labels, predicted, score, w, {"sample_weight": w}),
        }
        assert found.keys() == expected.keys()
        for name, value in expected.items():
            assert found[name][b] == pytest.approx(value, abs=1e-9), name


def test_areas_of_a_case_worked_by_hand():
    # Scores 1, 2, 2, 3 of labels 0, 1, 0, 1: of the four pairs, three are won and one is tied.
    scores = np.array([[1], [2], [2], [3]])
    labels = np.array([0, 1, 0, 1])
    tally = Answers("regression", 2, labels, labels, scores).tally(np.ones((4, 1)))
    assert METRICS["roc_auc"].compute(tally)[0] == 3.5 / 4
    # At 3: precision 1 for half the recall; at 2: two of three, for the other half.
    assert METRICS["pr_auc"].compute(tally)[0] == pytest.approx((1 + 2 / 3) / 2)


def test_one_class_leaves_undefined_what_needs_two():
    labels = np.zeros(5, int)
    p = np.tile(np.float32([0.8, 0.2]), (5, 1))
    tally = Answers("binary", 2, labels, labels, p).tally(np.ones((5, 1)))
    found = {name: row.compute(tally)[0] for name, row in METRICS.items() if "binary" in row.tasks}
    undefined = {"balanced_accuracy", "precision", "ppv", "recall", "sensitivity", "f1", "mcc", "roc_auc", "pr_auc"}
    assert {name for name, value in found.items() if np.isnan(value)} == undefined
    assert found["accuracy"] == found["specificity"] == found["npv"] == 1
    assert found["loss"] == pytest.approx(-np.log(0.8))


def test_means_leave_out_a_class_without_images_and_count_one_never_predicted_as_zero():
    labels = np.array([0, 0, 1, 1])
    predicted = np.zeros(4, int)
    p = np.tile(np.float32([0.6, 0.3, 0.1]), (4, 1))
    tally = Answers("multiclass", 3, labels, predicted, p).tally(np.ones((4, 1)))
    assert METRICS["precision"].compute(tally)[0] == (0.5 + 0) / 2
    assert METRICS["recall"].compute(tally)[0] == (1 + 0) / 2
    assert METRICS["roc_auc"].compute(tally)[0] == 0.5
    assert METRICS["mcc"].compute(tally)[0] == 0


def test_a_probability_of_zero_for_the_truth_has_a_finite_loss():
    p = np.float32([[1, 0]])
    tally = Answers("binary", 2, np.array([1]), np.array([0]), p).tally(np.ones((1, 1)))
    assert METRICS["loss"].compute(tally)[0] == pytest.approx(-np.log(np.finfo(np.float32).eps))
