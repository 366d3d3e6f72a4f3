import math
import re
import time

import numpy as np
import pytest
from sklearn import metrics as oracle

from pellucid.errors import DataError, InputError
from pellucid.evaluation.evaluate import classification_report, evaluate_predictions
from pellucid.evaluation.intervals import wilson
from pellucid.evaluation.metrics import CLASS_METRICS, METRICS


def binary(labels, positive, **more):
    """An evaluation of positive-class probabilities."""
    p = np.asarray(positive, np.float32)
    given = {
        "task": "binary",
        "classes": ("NORMAL", "PNEUMONIA"),
        "labels": labels,
        "probabilities": np.stack([1 - p, p], axis=1),
        "paths": [f"{i}.png" for i in range(len(p))],
        "split": "test",
    }
    return evaluate_predictions(**{**given, **more})


def sample(n, seed, separation=2.0):
    """Labels and the calibrated probabilities of two normal distributions `separation` deviations apart."""
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, 2, n)
    z = rng.normal(size=n) + separation * (labels - 0.5)
    return labels, 1 / (1 + np.exp(-separation * z))


def test_published_confusion_matrix():
    counts = {(0, 0): 211, (0, 1): 23, (1, 0): 48, (1, 1): 342}
    labels = np.repeat([true for true, _ in counts], list(counts.values()))
    said = np.repeat([said for _, said in counts], list(counts.values()))
    result = binary(labels, np.where(said, 0.9, 0.1))
    assert result.confusion.tolist() == [[211, 23], [48, 342]]
    published = {
        "accuracy": 88.62,
        "precision": 93.70,
        "ppv": 93.70,
        "recall": 87.69,
        "sensitivity": 87.69,
        "specificity": 90.17,
        "npv": 81.47,  # 81.467 in full; the published table cuts where others round.
        "f1": 90.60,
    }
    for name, percent in published.items():
        assert 100 * result.metrics[name].value == pytest.approx(percent, abs=0.006), name
    accuracy = result.metrics["accuracy"]
    # Published as 85.9 to 91.0, which is Clopper and Pearson's 85.9 to 91.0; Wilson's ends at 90.9.
    assert (100 * accuracy.low, 100 * accuracy.high) == pytest.approx((85.89, 90.88), abs=0.005)
    assert (accuracy.low, accuracy.high) == wilson(553, 624)
    shares = {"sensitivity": (342, 390), "specificity": (211, 234), "ppv": (342, 365), "npv": (211, 259)}
    for name, share in shares.items():
        assert (result.metrics[name].low, result.metrics[name].high) == wilson(*share), name
    assert "624 images" in result.interval
    assert "2,000 resamples" in result.interval
    assert result.notes == ()


def test_bounds_are_those_of_a_plain_bootstrap():
    labels, p = sample(80, 1)
    result = binary(labels, p, resamples=200, seed=9)
    rng = np.random.default_rng(9)
    p = result.probabilities[:, 1].astype(float)
    areas, scores = [], []
    for _ in range(200):
        drawn = rng.integers(0, 80, 80)
        areas.append(oracle.roc_auc_score(labels[drawn], p[drawn]))
        scores.append(oracle.f1_score(labels[drawn], p[drawn] >= 0.5))
    for name, values in (("roc_auc", areas), ("f1", scores)):
        found = result.metrics[name]
        assert (found.low, found.high) == pytest.approx(tuple(np.quantile(values, [0.025, 0.975])), abs=1e-9)


def test_grouped_bounds_are_those_of_a_plain_cluster_bootstrap():
    labels, p = sample(90, 4)
    groups = [f"patient{i % 30}" for i in range(90)]
    result = binary(labels, p, groups=groups, resamples=200, seed=2)
    rng = np.random.default_rng(2)
    right = (p >= 0.5) == labels
    values = []
    for _ in range(200):
        rows = np.concatenate([np.arange(90)[g::30] for g in rng.integers(0, 30, 30)])
        values.append(right[rows].mean())
    found = result.metrics["accuracy"]
    assert (found.low, found.high) == pytest.approx(tuple(np.quantile(values, [0.025, 0.975])), abs=1e-9)
    assert "30 groups of 90 images" in result.interval


def test_coverage():
    """95 % intervals hold the truth in 92 to 98 % of 500 draws, by images and by groups."""
    separation, draws, n = 2.0, 500, 200
    accuracy = 0.5 * (1 + math.erf(separation / 2 / math.sqrt(2)))
    area = 0.5 * (1 + math.erf(separation / 2))
    held = dict.fromkeys(("accuracy", "roc_auc", "grouped accuracy", "grouped roc_auc", "ece"), 0)
    for seed in range(draws):
        labels, p = sample(n, seed, separation)
        alone = binary(labels, p, resamples=250, seed=seed).metrics
        # Each image is in twice: grouped, it must count once.
        twins = {"groups": [str(i // 2) for i in range(2 * n)]}
        grouped = binary(np.repeat(labels, 2), np.repeat(p, 2), resamples=250, seed=seed, **twins).metrics
        for name, metrics in (("", alone), ("grouped ", grouped)):
            held[name + "accuracy"] += metrics["accuracy"].low <= accuracy <= metrics["accuracy"].high
            held[name + "roc_auc"] += metrics["roc_auc"].low <= area <= metrics["roc_auc"].high
        held["ece"] += alone["ece"].low == 0
    assert all(0.92 <= count / draws <= 0.98 for count in held.values()), held


def test_clustered_data_have_wider_intervals_by_groups():
    rng = np.random.default_rng(0)
    labels = np.repeat(rng.integers(0, 2, 60), 10)
    z = np.repeat(rng.normal(size=60), 10) + 0.3 * rng.normal(size=600) + 2 * (labels - 0.5)
    p = 1 / (1 + np.exp(-2 * z))
    alone, grouped = binary(labels, p), binary(labels, p, groups=[f"p{i // 10}" for i in range(600)])
    for name, metric in alone.metrics.items():
        other = grouped.metrics[name]
        assert other.value == metric.value
        if name == "ece":
            continue  # Its lower bound ends at 0.
        # Ten near-copies each: the naive interval is narrower by about the root of ten; bounds near 1 blunt it.
        assert other.high - other.low > 1.5 * (metric.high - metric.low), name


def test_calibration_error_of_a_bad_model_is_bounded_away_from_zero():
    labels, p = sample(2000, 3)
    logit = np.log(p / (1 - p))
    error = binary(labels, 1 / (1 + np.exp(-4 * logit))).metrics["ece"]
    assert 0.02 < error.low < error.value < error.high < 0.2


@pytest.mark.parametrize("groups", [(), [f"p{i // 4}" for i in range(80)]])
def test_a_perfect_model_is_not_certain(groups):
    labels = np.tile([0, 1, 1, 0], 20) if not groups else np.repeat([0, 1] * 10, 4)
    result = binary(labels, np.where(labels, 0.99, 0.01), groups=groups)
    every = 20 if groups else 80
    for name in ("accuracy", "sensitivity", "specificity", "ppv", "npv", "roc_auc"):
        found = result.metrics[name]
        n = every if name == "accuracy" else every // 2
        assert found.value == 1
        assert (found.low, found.high) == wilson(n, n), name
    for name in ("f1", "mcc", "pr_auc", "balanced_accuracy"):
        assert result.metrics[name].value == 1
        assert math.isnan(result.metrics[name].low), name
    assert any("Wilson" in note and "ROC-AUC" in note for note in result.notes)
    assert any("too few to tell" in note and "Matthews" in note for note in result.notes)


def test_one_prediction():
    result = binary([1], [0.8])
    assert result.metrics["accuracy"].value == 1
    assert (result.metrics["accuracy"].low, result.metrics["accuracy"].high) == wilson(1, 1)
    assert math.isnan(result.metrics["roc_auc"].value)
    assert math.isnan(result.metrics["loss"].low)
    assert "one image only" in result.interval
    assert any("no image of NORMAL in the test split" in note for note in result.notes)


def test_a_split_with_one_class():
    result = binary([0] * 30, np.linspace(0, 0.7, 30))
    undefined = {name for name, metric in result.metrics.items() if math.isnan(metric.value)}
    assert undefined == {"roc_auc", "pr_auc", "sensitivity", "recall", "balanced_accuracy", "mcc"}
    assert result.metrics["specificity"].value == result.metrics["accuracy"].value
    assert result.per_class["PNEUMONIA"]["support"].value == 0
    assert any("both kinds" in note for note in result.notes)


def test_one_group_only_has_no_bootstrap():
    result = binary([0, 1, 1], [0.2, 0.9, 0.4], groups=["a", "a", "a"])
    assert math.isnan(result.metrics["accuracy"].low)
    assert "one group only" in result.interval


def test_a_class_never_predicted_is_noted():
    result = binary([0, 1] * 40, np.tile([0.1, 0.2], 40))
    assert math.isnan(result.metrics["ppv"].value)
    assert any("predicted to be PNEUMONIA" in note for note in result.notes)


def test_threshold_moves_the_confusion_and_counts_equality_as_positive():
    result = binary([0, 0, 1, 1], np.float32([0.1, 0.3, 0.3, 0.9]), threshold=0.3)
    assert result.confusion.tolist() == [[1, 1], [0, 2]]
    assert np.array_equal(result.predicted, [0, 1, 1, 1])


def test_multiclass():
    rng = np.random.default_rng(0)
    labels = np.repeat([0, 1, 2], [50, 30, 20])
    p = rng.dirichlet([1, 1, 1], 100).astype(np.float32)
    p[np.arange(100), labels] += 0.5
    p /= p.sum(axis=1, keepdims=True)
    classes = ("a", "b", "c")
    paths = [str(i) for i in range(100)]
    result = evaluate_predictions(
        task="multiclass", classes=classes, labels=labels, probabilities=p, paths=paths, split="val"
    )
    predicted = p.argmax(axis=1)
    assert np.array_equal(result.confusion, oracle.confusion_matrix(labels, predicted))
    assert result.threshold is None
    recall = result.per_class["b"]["recall"]
    found = result.confusion[1, 1]
    assert (recall.value, recall.low, recall.high) == (found / 30, *wilson(found, 30))
    assert result.metrics["roc_auc"].value == pytest.approx(
        oracle.roc_auc_score(labels, p / p.astype(float).sum(axis=1, keepdims=True), multi_class="ovr"), abs=1e-6
    )
    for metric in result.metrics.values():
        assert metric.low < metric.value < metric.high

    expected = oracle.classification_report(labels, predicted, target_names=classes, output_dict=True)
    for line in classification_report(result):
        row = expected[line.name.replace("average", "avg")]
        assert (line.precision.value, line.recall.value, line.f1.value, line.support) == pytest.approx(
            (row["precision"], row["recall"], row["f1-score"], row["support"])
        )


def test_regression():
    rng = np.random.default_rng(0)
    labels = np.arange(120) % 2
    outputs = (labels + rng.normal(size=120) * 0.5).astype(np.float32)
    result = binary(labels, outputs, task="regression", probabilities=None, outputs=outputs)
    assert result.metrics["mae"].value == pytest.approx(np.abs(outputs - labels).mean(), abs=1e-6)
    assert result.metrics["accuracy"].value == ((outputs >= 0.5) == labels).mean()
    assert result.metrics["roc_auc"].value == pytest.approx(oracle.roc_auc_score(labels, outputs))
    assert list(result.metrics)[:3] == ["mae", "rmse", "r2"]
    assert result.probabilities.shape == (120, 0)
    for metric in result.metrics.values():
        assert metric.low < metric.value < metric.high


def test_the_seed_decides():
    labels, p = sample(60, 0)
    first, again, other = (binary(labels, p, seed=s, resamples=300).metrics["mcc"] for s in (1, 1, 2))
    assert first == again
    assert first != other


def test_two_thousand_resamples_of_five_thousand_predictions_are_quick():
    labels, p = sample(5000, 0)
    start = time.process_time()
    result = binary(labels, p, groups=[f"p{i // 3}" for i in range(5000)])
    assert time.process_time() - start < 10
    assert list(result.metrics) == [name for name, row in METRICS.items() if "binary" in row.tasks]


@pytest.mark.parametrize(
    ("change", "error", "words"),
    [
        ({"labels": []}, DataError, "no images in the test split"),
        ({"labels": [0, 1, 2, 1]}, DataError, "1 of 4 labels are unknown to the model"),
        ({"labels": [0, -1, 0, 1]}, DataError, "unknown to the model"),
        ({"labels": [0, 0.5, 0, 1]}, DataError, "whole number"),
        ({"labels": ["a", "b", "a", "b"]}, DataError, "whole number"),
        ({"labels": [0, 1]}, InputError, "2 labels and 4 paths"),
        ({"groups": ["a"]}, InputError, "4 labels and 1 groups"),
        ({"probabilities": [[0.5, 0.5]] * 3}, InputError, "4 labels and 3 predictions"),
        ({"probabilities": [[0.5, 0.5]] * 3 + [[np.nan, 0.5]]}, InputError, r"1 of 4 predictions .* 3\.png"),
        ({"probabilities": [[0.5, 0.6]] + [[0.5, 0.5]] * 3}, InputError, r"not probabilities .* 0\.png"),
        ({"probabilities": [[1.5, -0.5]] + [[0.5, 0.5]] * 3}, InputError, "not probabilities"),
        ({"probabilities": [0.5] * 4}, InputError, "one column for each of the 2 classes"),
        ({"probabilities": None}, InputError, "needs `probabilities="),
        ({"task": "regression"}, InputError, "give `outputs="),
        ({"task": "regression", "outputs": [0, 1, np.inf, 1]}, InputError, r"2\.png"),
        ({"classes": ("a", "b", "c")}, InputError, "exactly two classes"),
        ({"threshold": math.nan}, InputError, "threshold"),
        ({"resamples": 10}, InputError, "at least 100"),
    ],
)
def test_wrong_input(change, error, words):
    with pytest.raises(error, match=words):
        binary(**{"labels": [0, 1, 0, 1], "positive": [0.1, 0.9, 0.2, 0.8], **change})


def named_in(result, start):
    """Which (class or None, title) the note that begins so names."""
    note = next((n for n in result.notes if n.startswith(start)), "")
    named = set()
    for item in re.split(r", (?=[A-Z])", note.partition(": ")[2].rstrip(".")):
        title, of, classes = item.partition(" of ")
        named |= {(name, title) for name in re.split(", | and ", classes)} if of else {(None, title)}
    return named - {(None, "")}


@pytest.mark.parametrize("groups", [(), True])
@pytest.mark.parametrize("classes", [("a", "b"), ("a", "b", "c")])
@pytest.mark.parametrize("errors", [0, 1, 6])
def test_footnotes_name_the_rows_that_they_are_about(classes, errors, groups):
    k = len(classes)
    labels = np.arange(60) % k
    said = labels.copy()
    said[: k * errors : k] = 1  # images of a taken for b: c is told without error
    result = evaluate_predictions(
        task="binary" if k == 2 else "multiclass", classes=classes, labels=labels,
        probabilities=np.where(np.eye(k)[said] > 0, 0.9, 0.1 / (k - 1)), paths=[f"{i}" for i in range(60)],
        groups=[f"g{i // k}" for i in range(60)] if groups else (), split="test", resamples=300,
    )  # fmt: skip
    flat, exact = named_in(result, "Without an interval"), named_in(result, "Exactly 0 or 1")
    rows = {(None, METRICS[name].title): m for name, m in result.metrics.items() if METRICS[name].twin_of is None}
    for of, metrics in result.per_class.items():
        rows |= {(of, CLASS_METRICS[name].title): m for name, m in metrics.items() if name != "support"}
    if k == 2:  # the positive class's figures are the overall ones, and an area is the same from either side
        rows = {row: m for row, m in rows.items() if row[0] != "b" and row != ("a", "ROC-AUC")}
    without = {row for row, m in rows.items() if np.isfinite(m.value) and not np.isfinite(m.low)}
    assert flat == without
    assert exact <= {row for row, m in rows.items() if m.value in (0, 1) and np.isfinite(m.low)}
