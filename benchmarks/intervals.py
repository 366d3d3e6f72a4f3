"""What intervals of all metrics cost, over a plain loop of scikit-learn's functions on resampled images.

    python benchmarks/intervals.py [--images 5000] [--resamples 2000] [--loop 20] [--classes 2]

Both score the same predictions on bootstrap resamples. The loop computes accuracy, balanced accuracy, precision,
recall, F1, MCC, ROC-AUC, average precision, cross-entropy and Brier score, and is timed on a few resamples only, as it
takes minutes for all; ours adds specificity, predictive values, the calibration error and all figures of each class,
over groups of three. The goals: 2,000 resamples of 5,000 predictions within 10 s on two cores, and a tenth of the loop.
"""

from __future__ import annotations

import argparse
import sys
import time

import numpy as np
from sklearn import metrics

from pellucid.evaluation.evaluate import evaluate_predictions

GOAL_SECONDS, GOAL_RATIO = 10.0, 10.0


def predictions(images: int, classes: int) -> tuple[np.ndarray, np.ndarray]:
    """Labels and probabilities of a fairly good model."""
    rng = np.random.default_rng(0)
    labels = rng.integers(0, classes, images)
    logits = rng.normal(size=(images, classes)) + 1.5 * np.eye(classes)[labels]
    shares = np.exp(logits)
    return labels, (shares / shares.sum(axis=1, keepdims=True)).astype(np.float32)


def loop(labels: np.ndarray, shares: np.ndarray, resamples: int) -> float:
    """Seconds a resample of scikit-learn's functions in a plain loop."""
    rng, several = np.random.default_rng(0), shares.shape[1] > 2
    average = "macro" if several else "binary"
    began = time.perf_counter()
    for _ in range(resamples):
        drawn = rng.integers(0, len(labels), len(labels))
        truth, p = labels[drawn], shares[drawn].astype(np.float64)
        p /= p.sum(axis=1, keepdims=True)
        said = p.argmax(axis=1)
        scores = p if several else p[:, 1]
        metrics.accuracy_score(truth, said)
        metrics.balanced_accuracy_score(truth, said)
        metrics.precision_score(truth, said, average=average, zero_division=0)
        metrics.recall_score(truth, said, average=average)
        metrics.f1_score(truth, said, average=average)
        metrics.matthews_corrcoef(truth, said)
        metrics.roc_auc_score(truth, scores, multi_class="ovr" if several else "raise")
        metrics.average_precision_score(np.eye(p.shape[1])[truth] if several else truth, scores)
        metrics.log_loss(truth, p)
        metrics.brier_score_loss(truth == 1, p[:, 1])
    return (time.perf_counter() - began) / resamples


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--images", type=int, default=5000)
    parser.add_argument("--resamples", type=int, default=2000)
    parser.add_argument("--loop", type=int, default=20)
    parser.add_argument("--classes", type=int, default=2)
    options = parser.parse_args()
    labels, shares = predictions(options.images, options.classes)
    given = {
        "task": "binary" if options.classes == 2 else "multiclass",
        "classes": [f"class {k}" for k in range(options.classes)],
        "labels": labels,
        "probabilities": shares,
        "paths": [f"{i}.png" for i in range(options.images)],
        "groups": [f"p{i // 3}" for i in range(options.images)],
        "split": "test",
    }
    evaluate_predictions(**given, resamples=100)
    before = loop(labels, shares, options.loop // 2)
    began = time.perf_counter()
    evaluate_predictions(**given, resamples=options.resamples)
    seconds = time.perf_counter() - began
    each = (before + loop(labels, shares, options.loop // 2)) / 2
    ratio = each * options.resamples / seconds
    sys.stdout.write(
        f"{options.images} predictions of {options.classes} classes, {options.resamples} resamples\n"
        f"pellucid      {seconds:8.2f} s (goal: at most {GOAL_SECONDS:g} s)\n"
        f"scikit-learn  {each * options.resamples:8.2f} s (from {2 * (options.loop // 2)} resamples), "
        f"{ratio:.1f} times as long (goal: at least {GOAL_RATIO:g})\n"
    )
    return 0 if seconds <= GOAL_SECONDS and ratio >= GOAL_RATIO else 1


if __name__ == "__main__":
    sys.exit(main())
