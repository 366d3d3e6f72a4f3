"""Maps that know the model are told from maps that know only the image."""

import numpy as np
import pytest
from tests.black_boxes import preprocessing_of, scene

from pellucid.explanation.faithfulness import edge_maps
from pellucid.explanation.lime import LimeSettings
from pellucid.explanation.occlusion import OcclusionSettings
from pellucid.explanation.sanity import randomisation
from pellucid.explanation.stability import NOISE, noise_stability, noisy, reseeded, samples

SIZE = (48, 56)
PREPROCESSING = preprocessing_of(*SIZE)


def model(seed: int):
    """A method's maps for a linear model: contributions of its smooth coefficients."""
    coarse = np.random.default_rng(seed).normal(size=(6, 7))
    coefficients = np.kron(coarse, np.ones((8, 8)))

    def maps_of(batch: np.ndarray) -> np.ndarray:
        return (coefficients * (batch.mean(axis=1) + 3)).astype(np.float32)

    return maps_of


def edges_of(batch: np.ndarray) -> np.ndarray:
    return edge_maps(batch, PREPROCESSING)


def test_an_edge_detector_stays_whatever_the_weights_and_a_model_s_map_does_not():
    batch = scene(*SIZE, images=8)
    stages = [model(seed) for seed in range(1, 4)]
    own = randomisation(model(0)(batch), stages, batch)
    assert own.shape == (3, 8)
    assert np.abs(own.mean(axis=1)).max() < 0.4
    edges = randomisation(edges_of(batch), [edges_of] * 3, batch)
    np.testing.assert_allclose(edges, 1)


def test_no_stages_and_even_maps():
    batch = scene(*SIZE, images=3)
    assert randomisation(model(0)(batch), [], batch).shape == (0, 3)
    assert np.isnan(randomisation(np.zeros((3, *SIZE), np.float32), [model(1)], batch)).all()


def test_noise_has_the_deviation_in_grey_values_and_no_colour():
    batch = np.zeros((2, 3, 200, 200), np.float32)
    factor, _ = PREPROCESSING.factor_and_shift()
    added = (noisy(batch, PREPROCESSING, seed=1) - batch) / factor[:, None, None]
    assert added.std() == pytest.approx(NOISE, rel=0.02)
    np.testing.assert_allclose(added[:, 0], added[:, 2], atol=1e-3)
    assert np.array_equal(noisy(batch, PREPROCESSING, seed=1), noisy(batch, PREPROCESSING, seed=1))


def test_a_steady_map_is_stable_and_one_of_noise_is_not():
    batch = scene(*SIZE, images=4)
    steady = noise_stability(model(0), batch, model(0)(batch), PREPROCESSING)
    assert steady.min() > 0.95
    random = np.random.default_rng(0)

    def careless(images: np.ndarray) -> np.ndarray:
        return random.normal(size=(len(images), *SIZE)).astype(np.float32)

    assert np.abs(noise_stability(careless, batch, careless(batch), PREPROCESSING)).max() < 0.2


def test_which_methods_sample():
    assert samples(LimeSettings())
    assert not samples(OcclusionSettings())
    assert reseeded(LimeSettings(seed=4, samples=500)) == LimeSettings(seed=5, samples=500)
