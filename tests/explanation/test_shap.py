from itertools import permutations, product

import numpy as np
import pytest
from tests.black_boxes import BlackBox, ProbabilitiesOnly, bent, linear, preprocessing_of, scene

from pellucid.errors import InputError
from pellucid.explanation.maps import Maps
from pellucid.explanation.replacement import replaced
from pellucid.explanation.shap import ShapSettings, fit_shap, kernel_shap, shap_samples
from pellucid.explanation.superpixels import superpixels

SIZE = (32, 40)


def brute_force(table: dict[tuple[bool, ...], float], count: int) -> np.ndarray:
    """Shapley values by definition: what each player adds, averaged over all orders in which players can come."""
    added = np.zeros(count)
    orders = list(permutations(range(count)))
    for order in orders:
        present = [False] * count
        for player in order:
            before = table[tuple(present)]
            present[player] = True
            added[player] += table[tuple(present)] - before
    return added / len(orders)


def game(count: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    subsets = np.array(list(product([False, True], repeat=count)))
    return subsets, np.random.default_rng(seed).normal(size=len(subsets)) + subsets @ np.linspace(-2, 2, count)


def shapley(maps: Maps, target: str = "bee") -> np.ndarray:
    return np.array(maps.settings[0]["targets"][target]["weights"])


@pytest.mark.parametrize("count", [4, 6, 9])
def test_few_superpixels_get_the_values_of_the_definition(count: int) -> None:
    function, batch = bent(SIZE, 3), scene(*SIZE)
    box = BlackBox(function, preprocessing_of(*SIZE), 3)
    maps = kernel_shap(box, batch, ("ant", "cat"), "logit", ShapSettings(superpixels=count))
    labels = superpixels(box.preprocessing.to_pixels(batch[0]), count)
    found = int(labels.max()) + 1
    assert 2 < found < 9
    hidden = replaced(batch, box.preprocessing, "blur")
    for t, logit in enumerate((0, 2)):
        table = {
            subset: float(function(np.where(np.array(subset)[labels], batch, hidden))[0, logit])
            for subset in product([False, True], repeat=found)
        }
        np.testing.assert_allclose(maps.values[0, t], brute_force(table, found)[labels], atol=2e-5)
    assert maps.settings[0]["stopped_by"] == "all subsets"
    assert maps.settings[0]["samples"] == 2**found
    assert not any(maps.settings[0]["targets"]["ant"]["standard_errors"])


def test_ten_superpixels_are_exact_by_default_and_eleven_are_sampled() -> None:
    box, batch = BlackBox(linear(SIZE), preprocessing_of(*SIZE)), scene(*SIZE)
    exact: dict[int, bool] = {}
    for count in range(6, 16):
        settings = kernel_shap(box, batch, "bee", None, ShapSettings(superpixels=count)).settings[0]
        exact[settings["superpixels"]] = settings["stopped_by"] == "all subsets"
    assert any(exact.values())
    assert not all(exact.values())
    assert all(was == (count <= 10) for count, was in exact.items())


@pytest.mark.parametrize("superpixels_", [8, 30])
def test_values_add_up_to_the_difference_that_the_image_makes(superpixels_: int) -> None:
    function, batch = bent(SIZE), scene(*SIZE)
    box = BlackBox(function, preprocessing_of(*SIZE))
    maps = kernel_shap(box, batch, "bee", None, ShapSettings(superpixels=superpixels_, samples=300))
    difference = function(batch) - function(replaced(batch, box.preprocessing, "blur"))
    assert shapley(maps).sum() == pytest.approx(difference[0, 0], abs=2e-3)
    labels = superpixels(box.preprocessing.to_pixels(batch[0]), superpixels_)
    area = np.bincount(labels.ravel())[labels]
    assert (maps.values[0, 0] / area).sum() == pytest.approx(difference[0, 0], abs=1e-4)


def test_sampled_values_of_an_additive_score_are_its_weights() -> None:
    function, batch = linear(SIZE), scene(*SIZE)
    box = BlackBox(function, preprocessing_of(*SIZE))
    maps = kernel_shap(box, batch, "bee", None, ShapSettings(samples=200, superpixels=30))
    assert maps.settings[0]["stopped_by"] == "stable"
    labels = superpixels(box.preprocessing.to_pixels(batch[0]), 30)
    changes = function.coefficients[0] * (batch - replaced(batch, box.preprocessing, "blur"))[0]
    expected = np.bincount(labels.ravel(), changes.sum(axis=0).ravel())
    np.testing.assert_allclose(maps.values[0, 0], expected[labels], atol=2e-5)


def sampled_fit(count: int, table: np.ndarray, seed: int, pairs: int) -> tuple[np.ndarray, np.ndarray]:
    settings = ShapSettings(samples=2 + 2 * pairs, superpixels=count, seed=seed)
    samples = shap_samples(count, settings)
    rows = samples.coalitions @ (1 << np.arange(count)[::-1])
    fit = samples.fit(samples.coalitions, table[rows][:, None])
    return fit.weights[:, 0], fit.standard_errors[:, 0]


def test_standard_errors_cover_the_exact_values() -> None:
    subsets, table = game(7)
    truth = brute_force({tuple(map(bool, s)): float(v) for s, v in zip(subsets, table, strict=True)}, 7)
    fits = [sampled_fit(7, table, seed, 80) for seed in range(500)]
    inside = [np.abs(weights - truth) < 1.96 * errors for weights, errors in fits]
    assert 0.92 <= np.mean(inside) <= 0.98
    typical = np.sqrt(np.mean([errors**2 for _, errors in fits], axis=0))
    np.testing.assert_allclose(typical, np.std([weights for weights, _ in fits], axis=0), rtol=0.15)


def test_what_pairs_of_superpixels_do_together_adds_no_scatter() -> None:
    """A score of single superpixels and of pairs of them is found without error, since complements cancel the pairs."""
    subsets, _ = game(6)
    table = subsets @ np.arange(6.0) + 3 * (subsets[:, 0] & subsets[:, 4]) - 2 * (subsets[:, 1] & subsets[:, 2])
    weights, errors = sampled_fit(6, table, 0, 40)
    np.testing.assert_allclose(weights, [1.5, 0, 1, 3, 5.5, 5], atol=1e-9)
    assert errors.max() < 1e-7, "the root of a variance that is rounding"


def test_axioms_of_symmetry_and_of_the_dummy() -> None:
    subsets, _ = game(5)
    first, second, third = (subsets[:, i].astype(float) for i in range(3))
    scores = (first * second + third * first * second + 0.3 * third)[:, None]
    order = np.concatenate([[31, 0], np.arange(1, 31)])
    size = subsets[order][2:].sum(axis=1)
    kernel = 4 / (np.array([1, 5, 10, 10, 5, 1])[size] * size * (5 - size))
    fit = fit_shap(subsets[order], scores[order], kernel, paired=False)
    weights = fit.weights[:, 0]
    left = scores[order][2:, 0] - subsets[order][2:] @ weights
    around = scores[order][2:, 0] - np.average(scores[order][2:, 0], weights=kernel)
    np.testing.assert_allclose(fit.r2, 1 - kernel @ left**2 / (kernel @ around**2))
    assert weights[0] == pytest.approx(weights[1])
    np.testing.assert_allclose(weights[3:], 0, atol=1e-9)
    assert weights.sum() == pytest.approx(scores[-1, 0])
    np.testing.assert_allclose(weights, [0.5 + 1 / 3, 0.5 + 1 / 3, 0.3 + 1 / 3, 0, 0], atol=1e-9)


def test_sizes_are_drawn_by_the_kernel_and_pairs_are_complements() -> None:
    samples = shap_samples(9, ShapSettings(samples=40_002, superpixels=9))
    assert samples.coalitions[0].all()
    assert not samples.coalitions[1].any()
    drawn = samples.coalitions[2:]
    assert (drawn[0::2] != drawn[1::2]).all()
    sizes = np.arange(1, 9)
    expected = 1 / (sizes * (9 - sizes))
    counts = np.bincount(drawn[0::2].sum(axis=1), minlength=9)[1:] / 20_000
    np.testing.assert_allclose(counts, expected / expected.sum(), atol=0.015)
    np.testing.assert_allclose(drawn[0::2].mean(axis=0), 0.5, atol=0.015)
    assert samples.units.tolist()[:6] == [-1, -1, 0, 0, 1, 1]


@pytest.mark.parametrize("kind", [BlackBox, ProbabilitiesOnly])
def test_repeats_are_equal_to_the_bit_alone_and_in_a_batch(kind: type[ProbabilitiesOnly]) -> None:
    box, batch = kind(bent(SIZE, 3), preprocessing_of(*SIZE), 3), scene(*SIZE, images=2)
    settings = ShapSettings(samples=160, superpixels=20, stable=2.0)
    together = kernel_shap(box, batch, ("ant", "cat"), None, settings)
    assert (together.values == kernel_shap(box, batch, ("ant", "cat"), None, settings).values).all()
    for i in range(2):
        alone = kernel_shap(box, batch[i : i + 1], ("ant", "cat"), None, settings)
        assert (alone.values[0] == together.values[i]).all()
        assert alone.settings[0] == together.settings[i]


def test_one_superpixel_has_the_whole_difference() -> None:
    function, batch = bent(SIZE), scene(*SIZE)
    box = BlackBox(function, preprocessing_of(*SIZE))
    maps = kernel_shap(box, batch, "bee", None, ShapSettings(superpixels=1))
    difference = function(batch) - function(replaced(batch, box.preprocessing, "blur"))
    np.testing.assert_allclose(maps.values, difference[0, 0], rtol=1e-5)
    assert maps.settings[0]["samples"] == 2


def test_a_uniform_image_has_no_evidence() -> None:
    uniform = preprocessing_of(*SIZE).normalise(np.full((1, *SIZE, 3), 120, np.uint8))
    maps = kernel_shap(BlackBox(bent(SIZE), preprocessing_of(*SIZE)), uniform, "bee", None, ShapSettings(samples=300))
    assert not maps.values.any()


def test_captum_finds_the_same_values() -> None:
    captum = pytest.importorskip("captum.attr")
    import torch

    function, batch = bent(SIZE), scene(*SIZE)
    box = BlackBox(function, preprocessing_of(*SIZE))
    labels = superpixels(box.preprocessing.to_pixels(batch[0]), 6)
    peer = captum.ShapleyValues(lambda x: torch.from_numpy(function(x.numpy()))[:, 0])
    hidden = torch.from_numpy(replaced(batch, box.preprocessing, "blur"))
    expected = peer.attribute(torch.from_numpy(batch), hidden, feature_mask=torch.from_numpy(labels)[None, None])
    maps = kernel_shap(box, batch, "bee", None, ShapSettings(superpixels=6))
    np.testing.assert_allclose(maps.values[0, 0], expected[0, 0].numpy(), atol=2e-5)


def test_too_few_samples_are_refused() -> None:
    with pytest.raises(InputError, match=r"4 per superpixel.* at least 240, not 100"):
        ShapSettings(samples=100)
