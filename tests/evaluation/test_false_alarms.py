"""The table of false alarms under changes of light, place and focus."""

import numpy as np
from scipy.ndimage import rotate

from pellucid.evaluation.false_alarms import SENSITIVITIES, exposed, false_alarms, rotated
from pellucid.evaluation.intervals import wilson


def pictures(n: int = 8) -> np.ndarray:
    rng = np.random.default_rng(0)
    return rng.integers(90, 110, (n, 32, 24, 3)).astype(np.uint8)


def test_a_model_that_goes_by_brightness_is_told_from_one_that_does_not() -> None:
    table = false_alarms(lambda p: p.mean(axis=(1, 2, 3)) > 105, pictures(), lambda done, total: None)
    assert table is not None
    assert table.images == 8
    assert (table.usual.rate, table.usual.low, table.usual.high) == (0.0, *wilson(0, 8))
    rates = {(e.kind, e.amount): e.rate for e in table.changed}
    assert rates["exposure", "10 % more"] == rates["exposure", "20 % more"] == 1.0
    assert {v for (kind, _), v in rates.items() if kind != "exposure"} == {0.0}
    assert len(table.changed) == len(SENSITIVITIES)


def test_without_normal_images_there_is_no_table() -> None:
    assert false_alarms(lambda p: np.zeros(len(p), bool), pictures(0), lambda done, total: None) is None


def test_exposure_is_a_factor() -> None:
    assert exposed(1.2)(np.array([0, 100, 250], np.uint8)).tolist() == [0, 120, 255]


def test_pictures_turn_about_their_centre() -> None:
    ramp = np.repeat((np.add.outer(2.0 * np.arange(64), np.arange(64)) + 20)[..., None], 3, axis=2).astype(np.uint8)
    found = rotated(5)(ramp[None])[0, 16:48, 16:48, 0].astype(float)
    expected = rotate(ramp[..., 0].astype(float), 5, reshape=False, order=1)[16:48, 16:48]
    assert np.abs(found - expected).max() < 2
