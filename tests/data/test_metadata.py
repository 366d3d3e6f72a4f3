from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
from sklearn.metrics import roc_auc_score
from tests.data.test_areas import clustered

from pellucid.data.dataset import Dataset, Sample
from pellucid.data.fingerprint import SIDE, Fingerprints
from pellucid.data.metadata import enough_units, folds_of, metadata_test
from pellucid.data.statistics import MEASURES, ImageMeasurements

Floats = npt.NDArray[np.float64]


def measured(labels: npt.NDArray[np.int64], seed: int = 0, classes: int = 2, **values: Floats) -> ImageMeasurements:
    """ImageMeasurements in which only the values given differ from noise."""
    rng, n = np.random.default_rng(seed), len(labels)
    paths = tuple(f"{i:04d}.png" for i in range(n))
    data = Dataset(
        Path("data"), tuple("abcdef"[:classes]), tuple(Sample(p, int(k)) for p, k in zip(paths, labels, strict=True))
    )
    prints = Fingerprints(paths, paths, np.zeros((n, SIDE, SIDE), np.float16), {})
    table = {name: values.get(name, rng.normal(100, 10, n)) for name in MEASURES}
    empty = np.zeros((classes, 2, 2), np.float32)
    return ImageMeasurements(data, (), prints, table, ("PNG",) * n, ("L",) * n, {}, empty, empty)


def test_folds_keep_units_whole_and_classes_even_whatever_the_order() -> None:
    _, labels, units = clustered(8, groups=200)
    names = [f"{i}.png" for i in range(len(labels))]
    folds = folds_of(labels, units, names, seed=0)
    assert all(len(np.unique(folds[units == u])) == 1 for u in np.unique(units))
    share = [labels[folds == f].mean() for f in range(5)]
    assert max(share) - min(share) < 0.06
    order = np.random.default_rng(0).permutation(len(labels))
    again = folds_of(labels[order], units[order], [names[i] for i in order], seed=0)
    assert np.array_equal(again, folds[order])
    assert not np.array_equal(folds_of(labels, units, names, seed=1), folds)


def test_a_planted_measure_is_found_and_noise_is_not() -> None:
    labels = np.tile([0, 1], 100)
    rng = np.random.default_rng(0)
    quality = np.where(labels == 1, 70.0, 90.0)
    quality[rng.permutation(200)[:10]] = 80
    found = metadata_test(measured(labels, jpeg_quality=quality), np.arange(200))
    assert found is not None
    assert found.area.low > 0.9
    assert found.families["file"].low > 0.9
    assert found.families["edge"].low < 0.6 > found.families["picture"].low
    first = found.separations[0]
    assert (first.name, first.label) == ("jpeg_quality", 1)
    assert first.area.value == pytest.approx(roc_auc_score(labels, quality))
    clean = metadata_test(measured(labels), np.arange(200))
    assert clean is not None
    assert clean.area.low < 0.55


def test_what_is_neither_more_nor_less_is_found_by_the_trees() -> None:
    labels = np.tile([0, 1], 150)
    rng = np.random.default_rng(0)
    middle = np.where(labels == 1, rng.normal(100, 2, 300), rng.choice([80.0, 120.0], 300) + rng.normal(0, 2, 300))
    found = metadata_test(measured(labels, brightness=middle), np.arange(300))
    assert found is not None
    assert found.area.low > 0.9
    assert found.separations[0].strength < 0.7


def test_images_of_one_unit_are_not_learned_by_heart() -> None:
    rng = np.random.default_rng(0)
    units = np.repeat(np.arange(40), 8)
    labels = np.tile([0, 1], 20)[units]
    own = {name: rng.normal(100, 10, 40)[units] + rng.normal(0, 0.1, 320) for name in MEASURES}
    apart = metadata_test(measured(labels, **own), units)
    alone = metadata_test(measured(labels, **own), np.arange(320))
    assert apart is not None
    assert alone is not None
    assert alone.area.value > 0.95
    assert apart.area.low < 0.6
    assert (apart.units, alone.units) == (40, 320)


def test_of_several_classes_the_one_that_differs_is_named() -> None:
    labels = np.tile([0, 1, 2], 60)
    rng = np.random.default_rng(0)
    bright = rng.normal(100, 10, 180) - 25 * (labels == 2)
    found = metadata_test(measured(labels, classes=3, brightness=bright), np.arange(180))
    assert found is not None
    first = found.separations[0]
    assert (first.name, first.label) == ("brightness", 2)
    assert first.area.value == pytest.approx(roc_auc_score(labels == 2, bright))
    assert first.area.value < 0.1
    assert first.strength == 1 - first.area.value


def test_formats_and_modes_count_and_constant_measures_do_not() -> None:
    labels = np.tile([0, 1], 60)
    found = measured(labels, aspect=np.ones(120), jpeg_quality=np.where(labels == 0, 90.0, np.nan))
    formats = tuple("JPEG" if k == 0 else "PNG" for k in labels)
    modes = tuple("RGB" if i < 1 else "L" for i in range(120))
    mixed = ImageMeasurements(
        found.dataset, (), found.fingerprints, found.values, formats, modes, {}, found.means, found.means
    )
    test = metadata_test(mixed, np.arange(120))
    assert test is not None
    names = [s.name for s in test.separations]
    assert set(names[:2]) == {"format_JPEG", "format_PNG"}
    assert "aspect" not in names
    # One class has no JPEG quality at all, and one odd file does not make a mode.
    assert "jpeg_quality" not in names
    assert not [n for n in names if n.startswith("mode_")]
    assert test.area.low > 0.9


def test_too_few_units_are_not_judged() -> None:
    labels = np.repeat([0, 1], 50)
    units = np.concatenate([np.arange(50), 50 + np.arange(50) % 9])
    assert not enough_units(labels, units, 2)
    assert metadata_test(measured(labels), units) is None
    assert metadata_test(measured(labels, classes=3), np.arange(100)) is None


def test_the_same_files_in_another_order_give_the_same() -> None:
    labels = np.tile([0, 1], 60)
    found = measured(labels, seed=4)
    order = np.random.default_rng(1).permutation(120)
    samples = tuple(found.dataset.samples[i] for i in order)
    turned = replace(
        found,
        dataset=replace(found.dataset, samples=samples),
        fingerprints=found.fingerprints.of(s.path for s in samples),
        values={name: values[order] for name, values in found.values.items()},
    )
    first, second = metadata_test(found, np.arange(120)), metadata_test(turned, np.arange(120)[order])
    assert first is not None
    assert second is not None
    assert second.area.value == pytest.approx(first.area.value, abs=0.02)
    assert [s.name for s in second.separations] == [s.name for s in first.separations]
