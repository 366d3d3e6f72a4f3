"""What is usual at a place, and that a detector measures against it."""

from dataclasses import replace

import numpy as np
import pytest

from pellucid.anomaly.crossfit import OutOfFold, scored
from pellucid.anomaly.detector import Detector, ImageFeatures, PatchMemory, detector_of
from pellucid.anomaly.fitting import with_units
from pellucid.anomaly.gaussian import fit_gaussian
from pellucid.anomaly.memory import top_mean
from pellucid.anomaly.moments import statistics_of
from pellucid.anomaly.places import FEW, usual_places

RNG = np.random.default_rng(0)
BORDER = np.pad(np.ones((2, 3)), 1, constant_values=2.0)


def detector_and(images: int) -> tuple[Detector, ImageFeatures]:
    maps = RNG.normal(size=(images, 5, 4, 5)).astype(np.float32) * BORDER.astype(np.float32)
    features = ImageFeatures(maps.transpose(0, 2, 3, 1), statistics_of([maps]), (maps,))
    memory = PatchMemory(RNG.normal(size=(20, 5)).astype(np.float32), np.ones(5, np.float32))
    return Detector(memory, fit_gaussian(features.statistics), (4, 5), top=3), features


def test_the_usual_distance_of_many_images_is_found_and_few_count_for_less() -> None:
    cells = (RNG.gamma(20, 0.05, (2000, 4, 5)) * BORDER).astype(np.float32)
    found = usual_places(cells, None)
    np.testing.assert_allclose(found.cells, BORDER / BORDER.mean(), rtol=0.03)
    assert not found.shares.any()
    few = usual_places(cells[:FEW], None).cells
    slow = [[(cells[:FEW, y, x].mean() / cells[:FEW].mean() + 1) / 2 for x in range(5)] for y in range(4)]
    np.testing.assert_allclose(few, slow, rtol=1e-5)


def test_at_a_place_where_all_is_far_only_what_is_farther_counts() -> None:
    detector, features = detector_and(60)
    parts = scored(detector, features)
    placed, found = parts.placed(detector)
    assert parts.cells is not None
    assert found.local is not None
    assert placed.local is not None
    assert placed.places is not None
    expected = placed.local.distances(features.patches) / placed.places.cells
    np.testing.assert_allclose(scored(placed, features).local, top_mean(expected, 3), rtol=1e-6)
    others = usual_places(np.delete(parts.cells, 7, axis=0), None).cells
    np.testing.assert_allclose(found.local[7], top_mean(parts.cells[7:8] / others, 3)[0], rtol=1e-5)
    outer = BORDER > 1
    assert parts.cells[:, outer].mean() > 1.5 * parts.cells[:, ~outer].mean()
    assert expected[:, outer].mean() == pytest.approx(expected[:, ~outer].mean(), rel=0.15)
    np.testing.assert_allclose(placed.scores(features), found.scores(placed), rtol=0.03)


def test_shares_still_add_up_to_the_distance_of_the_image() -> None:
    detector, features = detector_and(60)
    placed, _ = scored(detector, features).placed(detector)
    assert placed.whole is not None
    distances = placed.whole.distances(features.statistics)
    np.testing.assert_allclose(placed.shares(features).mean(axis=(1, 2)), distances, rtol=2e-3)
    assert np.abs(placed.shares(features).mean(axis=0) - distances.mean()).max() < 0.2 * (
        np.abs(detector.shares(features).mean(axis=0) - distances.mean()).max()
    )


def test_a_detector_is_read_as_it_was_written_and_one_of_before_has_no_places() -> None:
    detector, features = detector_and(40)
    placed, parts = scored(detector, features).placed(detector)
    placed = with_units(placed, parts.local, parts.image, 4.0)
    again = detector_of(placed.arrays())
    np.testing.assert_allclose(again.maps(features), placed.maps(features), rtol=1e-5, atol=1e-5)
    before = {name: values for name, values in placed.arrays().items() if not name.startswith("places")}
    np.testing.assert_allclose(detector_of(before).maps(features), replace(placed, places=None).maps(features))


def test_without_cells_nothing_is_placed() -> None:
    detector, features = detector_and(10)
    parts = OutOfFold(None, scored(detector, features).image)
    assert parts.placed(detector) == (detector, parts)
