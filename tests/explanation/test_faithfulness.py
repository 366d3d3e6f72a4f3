"""Deletion and insertion curves against closed forms, slow loops, and maps that know nothing."""

import numpy as np
import pytest
from tests.black_boxes import BlackBox, linear, preprocessing_of, scene

from pellucid.errors import InputError, UnknownNameError
from pellucid.explanation.faithfulness import (
    BASELINES,
    CurveSettings,
    area,
    baseline_curves,
    deletion_insertion,
    edge_maps,
    places_of,
    random_maps,
)
from pellucid.explanation.replacement import replaced

SIZE = (24, 32)


def patch_model(top: int, left: int, side: int) -> BlackBox:
    """A logit that is the sum of one square patch, and nothing else."""

    def function(batch):
        return batch[:, :, top : top + side, left : left + side].sum(axis=(1, 2, 3))[:, None]

    return BlackBox(function, preprocessing_of(*SIZE))


def patch_map(top: int, left: int, side: int, images: int) -> np.ndarray:
    maps = np.zeros((images, *SIZE), np.float32)
    maps[:, top : top + side, left : left + side] = 1
    return maps


def test_curves_of_a_linear_model_are_those_of_a_slow_loop():
    function = linear(SIZE, seed=3)
    classifier, batch = BlackBox(function, preprocessing_of(*SIZE)), scene(*SIZE, images=2)
    maps = np.random.default_rng(0).normal(size=(2, *SIZE)).astype(np.float32)
    settings = CurveSettings(steps=5, replacement="grey", batch_size=7)
    curves = deletion_insertion(classifier, batch, maps, ["bee", "ant"], settings=settings)
    hidden = replaced(batch, classifier.preprocessing, "grey")
    for i, sign in enumerate((1, -1)):
        order = np.argsort(-maps[i].ravel(), kind="stable")
        for k, share in enumerate(curves.shares):
            first = order[: int(np.ceil(share * order.size))]
            deleted, inserted = batch[i].reshape(3, -1).copy(), hidden[i].reshape(3, -1).copy()
            deleted[:, first], inserted[:, first] = (
                hidden[i].reshape(3, -1)[:, first],
                batch[i].reshape(3, -1)[:, first],
            )
            for found, picture in ((curves.deletion, deleted), (curves.insertion, inserted)):
                assert found[i, k] == pytest.approx(sign * function(picture.reshape(1, 3, *SIZE))[0, 0], abs=1e-4)


def test_areas_of_a_model_that_looks_at_one_patch_have_a_closed_form():
    """Hiding the patch first takes all of the score D by the share s that it covers, evenly: areas 1 - s/2 and s/2."""
    classifier, side = patch_model(4, 6, 8), 8
    batch = np.ones((3, 3, *SIZE), np.float32) * np.array([1, 2, 5], np.float32)[:, None, None, None]
    settings = CurveSettings(steps=200, replacement="grey")
    curves = deletion_insertion(classifier, batch, patch_map(4, 6, side, 3), ["bee"] * 3, settings=settings)
    whole = classifier.function(batch)[:, 0]
    none = classifier.function(replaced(batch, classifier.preprocessing, "grey"))[:, 0]
    share = side * side / (SIZE[0] * SIZE[1])
    drop = whole - none
    np.testing.assert_allclose(curves.deletion_area, none + drop * share / 2, rtol=0.02)
    np.testing.assert_allclose(curves.insertion_area, whole - drop * share / 2, rtol=0.02)
    np.testing.assert_allclose(curves.gap, drop * (1 - share), rtol=0.02)
    np.testing.assert_allclose(curves.deletion[:, [0, -1]], np.stack([whole, none], 1), rtol=1e-6)
    np.testing.assert_allclose(curves.insertion[:, [0, -1]], np.stack([none, whole], 1), rtol=1e-6)


def test_a_map_turned_round_has_the_gap_turned_round():
    classifier, batch = patch_model(0, 0, 6), scene(*SIZE, images=2)
    maps = np.random.default_rng(1).normal(size=(2, *SIZE)).astype(np.float32)
    settings = CurveSettings(steps=300, replacement="mean")
    one, other = (deletion_insertion(classifier, batch, m, ["bee"] * 2, settings=settings) for m in (maps, -maps))
    scale = np.abs(one.deletion[:, 0] - one.deletion[:, -1])
    np.testing.assert_allclose(one.gap / scale, -other.gap / scale, atol=0.01)


def test_the_planted_patch_beats_every_baseline_and_random_maps_do_not():
    classifier, batch = patch_model(2, 20, 8), 3 + np.abs(scene(*SIZE, images=12, seed=4))
    settings = CurveSettings(replacement="grey")
    targets = ["bee"] * len(batch)
    baselines = baseline_curves(classifier, batch, targets, settings=settings)
    planted = deletion_insertion(classifier, batch, patch_map(2, 20, 8, 12), targets, settings=settings)
    whole = planted.deletion[:, 0] - planted.deletion[:, -1]
    assert set(baselines) == set(BASELINES)
    for name, curves in baselines.items():
        assert (planted.gap > curves.gap + 0.3 * whole).all(), name
    assert np.abs(baselines["random"].gap / whole).max() < 0.02
    random = deletion_insertion(
        classifier, batch, random_maps(batch, classifier.preprocessing, 9), targets, settings=settings
    )
    difference = (random.gap - baselines["random"].gap) / whole
    assert difference.mean() < 2.5 * difference.std() / np.sqrt(len(batch))


def test_one_image_alone_and_in_a_batch_and_passes_in_chunks():
    classifier, batch = BlackBox(linear(SIZE, 3), preprocessing_of(*SIZE), count=3), scene(*SIZE, images=5)
    maps, targets = edge_maps(batch, classifier.preprocessing), ["ant", "cat", "ant", "bee", "cat"]
    settings = CurveSettings(steps=6, batch_size=8)
    together = deletion_insertion(classifier, batch, maps, targets, settings=settings)
    assert max(classifier.batches) <= 8
    assert sum(classifier.batches) == 5 * 2 * 6
    for i in range(5):
        alone = deletion_insertion(classifier, batch[i : i + 1], maps[i : i + 1], targets[i : i + 1], settings=settings)
        np.testing.assert_allclose(alone.deletion[0], together.deletion[i], atol=1e-5)
        np.testing.assert_allclose(alone.insertion[0], together.insertion[i], atol=1e-5)


def test_places_follow_the_values_and_ties_are_mixed():
    maps = np.random.default_rng(0).integers(0, 3, (2, *SIZE)).astype(np.float32)
    places = places_of(maps, seed=5)
    for own, values in zip(places, maps, strict=True):
        assert np.array_equal(np.sort(own.ravel()), (np.arange(own.size) / own.size).astype(np.float32))
        order = np.argsort(own.ravel())
        assert (np.diff(values.ravel()[order]) <= 0).all()
        tied = np.flatnonzero(values.ravel()[order] == 2)
        assert abs(np.corrcoef(order[tied], tied)[0, 1]) < 0.3
    assert np.array_equal(places, places_of(maps, seed=5))
    assert not np.array_equal(places, places_of(maps, seed=6))


def test_area_is_the_trapezium_rule():
    shares = CurveSettings(steps=9).shares
    curve = np.random.default_rng(0).normal(size=(4, 10))
    for found, c in zip(area(shares, curve), curve, strict=True):
        expected = sum((shares[k + 1] - shares[k]) * (c[k] + c[k + 1]) / 2 for k in range(9))
        assert found == pytest.approx(expected)
    assert area(np.linspace(0, 1, 3), np.array([[1.0, 0.5, 0.0]]))[0] == 0.5


def test_simpson_s_rule_is_exact_for_cubics_of_the_step_and_needs_fewer_points_than_the_trapezium():
    for steps in (4, 6, 16):
        shares = CurveSettings(steps=steps).shares
        curves = np.stack([np.ones_like(shares), np.sqrt(shares), shares])
        assert np.allclose(area(shares, curves, "simpson"), [1, 2 / 3, 1 / 2], atol=1e-12)
    few, many = (CurveSettings(steps=n).shares for n in (6, 16))
    true = 1 - np.exp(-3.0)
    by_simpson = area(few, 3 * np.exp(-3 * few)[None], "simpson")[0]
    by_trapezium = area(many, 3 * np.exp(-3 * many)[None])[0]
    assert abs(by_simpson - true) < abs(by_trapezium - true)
    with pytest.raises(InputError, match="even number"):
        CurveSettings(steps=5, rule="simpson")


def test_edges_are_where_edges_are():
    preprocessing = preprocessing_of(40, 40)
    pixels = np.zeros((1, 40, 40, 3), np.uint8)
    pixels[:, :, 20:] = 200
    found = edge_maps(preprocessing.normalise(pixels), preprocessing)[0]
    assert set(found.argmax(axis=1)) <= {18, 19, 20, 21}
    assert found[:, :8].max() < 0.05 * found.max()


def test_bad_input_is_refused():
    classifier, batch = patch_model(0, 0, 4), scene(*SIZE, images=2)
    with pytest.raises(InputError, match="as many maps"):
        deletion_insertion(classifier, batch, np.zeros((2, 5, 5), np.float32), ["bee"] * 2)
    with pytest.raises(InputError, match="as many maps"):
        deletion_insertion(classifier, batch, np.zeros((2, *SIZE), np.float32), ["bee"])
    with pytest.raises(UnknownNameError, match="replacement"):
        CurveSettings(replacement="fog")
    with pytest.raises(InputError, match="steps"):
        CurveSettings(steps=1)
