from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest

from pellucid.data.label_errors import LabelCheck, check_labels

pytest.importorskip("cleanlab")


def clouds(
    distance: float, classes: int = 2, each: int = 150, flips: int = 12, seed: int = 0
) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.int64], set[int]]:
    """Features of classes in clouds `distance` standard deviations apart, labels, and which of these are wrong."""
    rng = np.random.default_rng(seed)
    truth = np.repeat(np.arange(classes), each)
    features = rng.normal(0, 1, (len(truth), 40))
    # Spread over all features, as what a backbone knows of a class is.
    centres = rng.normal(0, 1, (classes, 40))
    features += distance * (centres / np.linalg.norm(centres, axis=1, keepdims=True))[truth]
    wrong = rng.permutation(len(truth))[:flips]
    labels = truth.copy()
    labels[wrong] = (truth[wrong] + rng.integers(1, classes, flips)) % classes
    return features.astype(np.float32), labels, {int(i) for i in wrong}


def check(features: npt.NDArray[np.float32], labels: npt.NDArray[np.int64], seed: int = 0) -> LabelCheck:
    names = [f"{i}.png" for i in range(len(labels))]
    found = check_labels(features, labels, np.arange(len(labels)), names, seed=seed)
    assert found is not None
    return found


@pytest.mark.parametrize("classes", [2, 4])
def test_most_exchanged_labels_are_found_and_no_others(classes: int) -> None:
    features, labels, wrong = clouds(9, classes)
    found = check(features, labels)
    assert set(found.suspects.tolist()) <= wrong
    assert len(found.suspects) >= 0.7 * len(wrong)
    assert found.enough
    clean, right, _ = clouds(9, classes, flips=0)
    assert check(clean, right).suspects.size == 0


def test_suspects_are_those_of_the_published_rule_and_the_worst_come_first() -> None:
    features, labels, _ = clouds(2.5, 3, flips=30)
    found = check(features, labels)
    p = found.probabilities
    np.testing.assert_allclose(p.sum(axis=1), 1, rtol=1e-6)
    # Northcutt et al. (2021), equations 1 and 2: a label counts as class j when j is the most probable of the classes
    # that reach their mean self-confidence.
    thresholds = [p[labels == k, k].mean() for k in range(3)]
    expected = set()
    for i, row in enumerate(p):
        able = [k for k in range(3) if row[k] >= thresholds[k]]
        if able and max(able, key=lambda k: row[k]) != labels[i]:
            expected.add(i)
    assert set(found.suspects.tolist()) == expected
    own = p[found.suspects, labels[found.suspects]]
    assert (np.diff(own) >= 0).all()


def test_no_image_is_judged_by_its_own_label_or_that_of_its_copies() -> None:
    # Noise whose copies share a label: only a fold that parted them could tell anything.
    rng = np.random.default_rng(0)
    units = np.repeat(np.arange(60), 5)
    features = rng.normal(0, 1, (60, 40))[units].astype(np.float32)
    labels = rng.integers(0, 2, 60)[units]
    names = [str(i) for i in range(300)]
    found = check_labels(features, labels, units, names)
    assert found is not None
    assert found.area.low < 0.6
    parted = check_labels(features, labels, np.arange(300), names)
    assert parted is not None
    assert parted.area.low > 0.8


def test_features_that_know_too_little_accuse_nobody() -> None:
    features, labels, _ = clouds(0.5)
    found = check(features, labels)
    assert found.area.value < 0.8
    assert not found.enough
    assert found.suspects.size == 0


def test_too_few_images_are_not_judged() -> None:
    features, labels, _ = clouds(6, each=9, flips=0)
    assert check_labels(features, labels, np.arange(18), [str(i) for i in range(18)]) is None
