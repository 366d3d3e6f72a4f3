"""Sources left out of a quick model: a planted shift is found, an innocent source is not accused, nothing leaks."""

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from pellucid.data.sources import ImageSource
from pellucid.evaluation import abroad
from pellucid.evaluation.abroad import leave_sources_out


def planted(seed: int, *, shift: bool, n: int = 800) -> tuple[np.ndarray, np.ndarray, np.ndarray, ImageSource]:
    """Features whose first column tells the class weakly everywhere, and whose second does so in one source only."""
    rng = np.random.default_rng(seed)
    labels = np.arange(n) % 2
    away = rng.random(n) < 0.3
    features = rng.normal(size=(n, 12))
    features[:, 0] += 1.2 * labels
    features[:, 1] += np.where(away, -1 if shift else 1, 1) * 2.5 * labels
    return features, labels, np.arange(n), ImageSource("name", "IM-#", away)


def test_a_planted_shift_is_a_sure_loss():
    features, labels, units, source = planted(0, shift=True)
    found = leave_sources_out(features, labels, units, [source])
    assert found is not None
    (left,) = found.left_out
    assert found.area.value > 0.75
    assert left.sure
    assert left.area_loss.value > 0.3
    assert left.images == source.images


def test_an_innocent_source_is_seldom_accused():
    accused = 0
    for seed in range(20):
        features, labels, units, source = planted(seed, shift=False)
        found = leave_sources_out(features, labels, units, [source])
        assert found is not None
        accused += found.left_out[0].sure
    assert accused <= 2


def test_the_area_of_a_source_is_that_of_a_head_trained_without_it():
    features, labels, units, source = planted(3, shift=True)
    found = leave_sources_out(features, labels, units, [source])
    assert found is not None
    scores = abroad.answers_of_head(features, labels, ~source.rows, source.rows)[:, 1]
    assert found.left_out[0].area.value == pytest.approx(roc_auc_score(labels[source.rows], scores))


def test_what_is_left_out_changes_nothing_of_what_is_trained(monkeypatch: pytest.MonkeyPatch):
    """Poison: the source's features and labels are made nonsense, and the head's answers on others stay the same."""
    features, labels, _, source = planted(4, shift=True)
    poisoned = features.copy()
    poisoned[source.rows] = 1e6
    other = np.flatnonzero(~source.rows)[:50]
    tested = np.isin(np.arange(len(labels)), other)
    train = ~source.rows & ~tested
    clean = abroad.answers_of_head(features, labels, train, tested)
    np.testing.assert_array_equal(clean, abroad.answers_of_head(poisoned, labels, train, tested))


def test_units_never_stand_on_both_sides(monkeypatch: pytest.MonkeyPatch):
    features, labels, _, source = planted(5, shift=True)
    units = np.arange(len(labels)) // 4
    seen: list[tuple[np.ndarray, np.ndarray]] = []
    true = abroad.answers_of_head

    def watched(features, labels, train, tested):
        seen.append((train, tested))
        return true(features, labels, train, tested)

    monkeypatch.setattr(abroad, "answers_of_head", watched)
    leave_sources_out(features, labels, units, [source])
    assert len(seen) >= abroad.FOLDS
    for train, tested in seen:
        assert not set(units[train]) & set(units[tested])


def test_a_source_of_one_class_is_tested_beside_images_of_the_other():
    rng = np.random.default_rng(6)
    labels = np.repeat([0, 1], 300)
    features = rng.normal(size=(600, 8))
    features[:, 0] += 2 * labels
    away = np.arange(600) < 100  # of class 0 only
    features[away, 0] += 2  # these normals look like the others' sick ...
    features[away, 1] += 6  # ... but for a mark of their source, which is known at home only
    found = leave_sources_out(features, labels, np.arange(600), [ImageSource("name", "A", away)])
    assert found is not None
    (left,) = found.left_out
    assert left.images == 100
    assert left.sure


def test_three_classes_are_judged_each_against_the_rest():
    rng = np.random.default_rng(7)
    labels = np.arange(600) % 3
    features = rng.normal(size=(600, 8))
    features[np.arange(600), labels] += 2.5
    source = ImageSource("size", "64 x 64", rng.random(600) < 0.3)
    found = leave_sources_out(features, labels, np.arange(600), [source])
    assert found is not None
    assert found.area.value > 0.9
    assert not found.left_out[0].sure


def test_too_few_images_of_a_class_are_not_judged():
    labels = np.array([0] * 100 + [1] * 9)
    source = ImageSource("name", "x", np.arange(109) < 30)
    assert leave_sources_out(np.zeros((109, 3)), labels, np.arange(109), [source]) is None
