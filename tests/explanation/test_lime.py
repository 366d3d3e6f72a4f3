from itertools import product

import numpy as np
import pytest
from sklearn.linear_model import LinearRegression
from sklearn.metrics.pairwise import cosine_distances
from tests.black_boxes import BlackBox, ProbabilitiesOnly, bent, linear, preprocessing_of, scene

from pellucid.classifier import PREDICTED
from pellucid.errors import InputError
from pellucid.explanation.explain import explain_tensors
from pellucid.explanation.lime import LimeSettings, fit_lime, lime, lime_samples, proximity
from pellucid.explanation.maps import Maps
from pellucid.explanation.replacement import REPLACEMENTS, replaced
from pellucid.explanation.superpixels import superpixels

SIZE = (32, 40)
SMALL = LimeSettings(samples=200, superpixels=20, stable=2.0)


def box_of(function: object, count: int = 1, kind: type[ProbabilitiesOnly] = BlackBox) -> ProbabilitiesOnly:
    return kind(function, preprocessing_of(*SIZE), count)  # type: ignore[arg-type]


def weights_of(maps: Maps, target: str, image: int = 0) -> np.ndarray:
    return np.array(maps.settings[image]["targets"][target]["weights"])


@pytest.mark.parametrize("replacement", REPLACEMENTS)
def test_an_additive_model_gives_back_its_own_weights(replacement: str) -> None:
    function, batch = linear(SIZE), scene(*SIZE)
    box = box_of(function)
    maps = lime(box, batch, "bee", None, LimeSettings(samples=200, superpixels=20, replacement=replacement))
    labels = superpixels(box.preprocessing.to_pixels(batch[0]), 20)
    changes = function.coefficients[0] * (batch - replaced(batch, box.preprocessing, replacement))[0]
    expected = np.bincount(labels.ravel(), changes.sum(axis=0).ravel())
    np.testing.assert_allclose(maps.values[0, 0], expected[labels], atol=2e-5)
    np.testing.assert_allclose(weights_of(maps, "bee"), expected, rtol=1e-3, atol=2e-5)
    assert maps.settings[0]["targets"]["bee"]["r2"] == pytest.approx(1, abs=1e-6)
    assert max(maps.settings[0]["targets"]["bee"]["standard_errors"]) < 1e-4
    assert maps.settings[0]["stopped_by"] == "stable"
    assert maps.geometry.stride == (1, 1)
    assert maps.geometry.offset == (0.5, 0.5)


def test_the_fit_is_weighted_linear_regression_with_the_authors_kernel() -> None:
    random = np.random.default_rng(0)
    coalitions, scores = random.random((80, 6)) < 0.5, random.normal(size=(80, 2))
    coalitions[3] = False
    distances = cosine_distances(coalitions.astype(float), np.ones((1, 6)))[:, 0]
    kernel = np.sqrt(np.exp(-(distances**2) / 0.3**2))
    np.testing.assert_allclose(proximity(coalitions, 0.3), kernel, rtol=1e-6)
    model = LinearRegression().fit(coalitions, scores, sample_weight=kernel)
    fit = fit_lime(coalitions, scores, 0.3)
    np.testing.assert_allclose(fit.weights, model.coef_.T, rtol=1e-6)
    centred = kernel @ (scores - model.predict(coalitions)) ** 2
    around = kernel @ (scores - np.average(scores, axis=0, weights=kernel)) ** 2
    np.testing.assert_allclose(fit.r2, 1 - centred / around, rtol=1e-6)


def test_standard_errors_cover_the_weights_of_all_samples_there_are() -> None:
    everything = np.array(list(product([False, True], repeat=6)))
    random = np.random.default_rng(5)
    table = random.normal(size=(64, 2)) * (1 + 3 * everything[:, :1])
    truth = fit_lime(everything, table).weights
    inside = []
    for _ in range(600):
        drawn = random.integers(0, 64, 120)
        fit = fit_lime(everything[drawn], table[drawn])
        inside.append(np.abs(fit.weights - truth) < 1.96 * fit.standard_errors)
    assert 0.925 <= np.mean(inside) <= 0.975
    assert np.mean(inside, axis=0).min() >= 0.91


def test_samples_toss_a_coin_for_every_superpixel_and_the_whole_image_comes_first() -> None:
    samples = lime_samples(25, LimeSettings(samples=4000))
    assert samples.coalitions[0].all()
    shares = samples.coalitions[1:].mean(axis=0)
    assert np.abs(shares - 0.5).max() < 4 * 0.5 / np.sqrt(4000)
    assert samples.units[:3].tolist() == [-1, 0, 1]


def test_the_first_and_the_last_superpixel_get_their_evidence() -> None:
    batch = scene(*SIZE)
    labels = superpixels(preprocessing_of(*SIZE).to_pixels(batch[0]), 20)
    for wanted in (0, labels.max()):
        inside = labels == wanted

        def seen(pictures: np.ndarray, inside: np.ndarray = inside) -> np.ndarray:
            return 5.0 * (np.abs(pictures - batch)[:, :, inside].max(axis=(1, 2)) < 1e-5)[:, None]

        maps = lime(box_of(seen), batch, "bee", None, SMALL)
        np.testing.assert_allclose(maps.values[0, 0], 5.0 * inside, atol=1e-4)


def test_all_targets_come_from_the_same_passes_and_each_as_if_alone() -> None:
    box, batch = box_of(bent(SIZE, 3), 3), scene(*SIZE)
    together = lime(box, batch, ("ant", "bee", "cat"), None, SMALL)
    assert sum(box.batches) == 1 + 200
    for t, name in enumerate(box.classes):
        alone = lime(box, batch, name, None, SMALL)
        np.testing.assert_allclose(together.values[:, t], alone.values[:, 0], atol=1e-6)
        assert together.settings[0]["targets"][name] == alone.settings[0]["targets"][name]


def test_classes_of_one_logit_have_opposite_weights() -> None:
    maps = lime(box_of(bent(SIZE)), scene(*SIZE), ("ant", "bee"), None, SMALL)
    np.testing.assert_allclose(maps.values[0, 0], -maps.values[0, 1], atol=1e-6)


@pytest.mark.parametrize("kind", [BlackBox, ProbabilitiesOnly])
def test_repeats_are_equal_to_the_bit_alone_and_in_a_batch(kind: type[ProbabilitiesOnly]) -> None:
    box, batch = box_of(bent(SIZE, 3), 3, kind), scene(*SIZE, images=3)
    together = lime(box, batch, None, None, SMALL)
    assert together.targets == (PREDICTED,)
    again = lime(box, batch, None, None, SMALL)
    assert (together.values == again.values).all()
    for i in range(3):
        alone = lime(box, batch[i : i + 1], None, None, SMALL)
        assert (alone.values[0] == together.values[i]).all()
        assert alone.settings[0] == together.settings[i]
    other = lime(box, batch, None, None, LimeSettings(samples=200, superpixels=20, stable=2, seed=1))
    assert (other.values != together.values).any()


def test_the_batch_size_changes_nothing_and_is_kept() -> None:
    box, batch = box_of(linear(SIZE)), scene(*SIZE)
    one = lime(box, batch, "bee", None, SMALL)
    box.batches.clear()
    other = lime(box, batch, "bee", None, LimeSettings(samples=200, superpixels=20, stable=2, batch_size=7))
    assert max(box.batches) == 7
    np.testing.assert_allclose(one.values, other.values, atol=1e-6)


def test_the_predicted_class_is_that_of_the_whole_image_under_every_mask() -> None:
    function, batch = linear(SIZE, 3, seed=2), scene(*SIZE)
    box = box_of(function, 3)
    own = box.classes[int(function(batch).argmax())]
    np.testing.assert_array_equal(lime(box, batch, None, None, SMALL).values, lime(box, batch, own, None, SMALL).values)


def test_a_uniform_image_has_no_evidence() -> None:
    uniform = preprocessing_of(*SIZE).normalise(np.full((1, *SIZE, 3), 120, np.uint8))
    maps = lime(box_of(bent(SIZE)), uniform, "bee", None, SMALL)
    assert not maps.values.any()
    assert maps.settings[0]["targets"]["bee"]["r2"] == 1


def test_one_superpixel_has_the_whole_difference() -> None:
    function, batch = bent(SIZE), scene(*SIZE)
    box = box_of(function)
    maps = lime(box, batch, "bee", None, LimeSettings(samples=40, superpixels=1))
    difference = function(batch) - function(replaced(batch, box.preprocessing, "blur"))
    np.testing.assert_allclose(maps.values, difference[0, 0], rtol=1e-4)
    assert maps.settings[0]["superpixels"] == 1


def test_an_attribution_says_how_it_was_made() -> None:
    box = box_of(bent(SIZE))
    (explained,) = explain_tensors(box, scene(*SIZE), [(64, 80)], method="lime", target="bee", settings=SMALL)
    attribution = explained.attributions[0]
    assert attribution.unit == "log-odds per superpixel"
    assert attribution.values.shape == (64, 80)
    assert attribution.settings["replacement"] == "blur"
    assert attribution.settings["stable"] is False
    assert attribution.settings["stopped_by"] == "budget"
    assert attribution.settings["samples"] == 200


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"samples": 239}, "4 per superpixel.* at least 240, not 239"),
        ({"superpixels": 0}, "superpixels must be at least 1"),
        ({"top": 0}, "top"),
        ({"kernel_width": 0.0}, "kernel_width"),
        ({"compactness": 0.0}, "compactness"),
    ],
)
def test_unsuitable_settings_are_refused(settings: dict[str, float], message: str) -> None:
    with pytest.raises(InputError, match=message):
        LimeSettings(**settings)  # type: ignore[arg-type]
