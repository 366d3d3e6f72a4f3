"""Saliency and gradient x input against Captum, and in the units of pixels."""

import numpy as np
import pytest
import torch
from tests.explanation.live_networks import live
from tests.explanation.test_integrated_gradients import log_odds
from tests.small_networks import noise, recipe_of

from pellucid.explanation.gradients import GradientSettings
from pellucid.explanation.saliency import explainer, gradient_x_input, saliency
from pellucid.recipe_sections import DataSection

# ImageNet's deviations differ between colours, so that a gradient left in the tensor's units would be found out.
RECIPE = recipe_of(pool="max", head=[{"dense": 16}]).model_copy(
    update={"data": DataSection(size=24, values="imagenet")}
)
SALIENCY, PRODUCT = explainer(saliency, "saliency"), explainer(gradient_x_input, "gradient-x-input")


@pytest.mark.parametrize("classes", [2, 3])
def test_saliency_is_captum_s_per_grey_level(classes):
    from captum.attr import Saliency

    network, classifier = live(RECIPE, classes)
    batch = noise(3, 24)
    factor, _ = classifier.preprocessing.factor_and_shift()
    maps = SALIENCY(classifier, batch, classifier.classes, None, GradientSettings())
    for c in range(classes):
        theirs = Saliency(log_odds(network, c)).attribute(torch.from_numpy(batch).requires_grad_(), abs=False).numpy()
        expected = np.abs(theirs * factor[:, None, None]).max(1)
        assert expected.max() > 0
        assert np.abs(maps.values[:, c] - expected).max() < 1e-5 * expected.max()


def test_saliency_is_what_a_grey_level_more_does_to_the_score():
    network, classifier = live(RECIPE, 2)
    pixels = np.random.default_rng(0).integers(60, 190, (1, 24, 24, 3)).astype(np.float64)
    factor, shift = classifier.preprocessing.factor_and_shift()

    def score(image: np.ndarray) -> float:
        tensor = np.moveaxis(image, -1, 1) * factor[:, None, None] + shift[:, None, None]
        with torch.no_grad():
            return float(network.double()(torch.from_numpy(tensor)).sum())

    y, x, step = 9, 14, 1e-4
    moved = []
    for colour in range(3):
        high, low = pixels.copy(), pixels.copy()
        high[0, y, x, colour] += step
        low[0, y, x, colour] -= step
        moved.append((score(high) - score(low)) / (2 * step))
    network.float()
    batch = classifier.preprocessing.normalise(pixels.astype(np.uint8))
    values = SALIENCY(classifier, batch, "bee", None, GradientSettings()).values
    assert values[0, 0, y, x] == pytest.approx(np.abs(moved).max(), rel=1e-3)


def test_gradient_x_input_is_captum_s():
    from captum.attr import InputXGradient

    network, classifier = live(RECIPE, 3)
    batch = noise(2, 24)
    maps = PRODUCT(classifier, batch, ("bee", "cat"), None, GradientSettings())
    for t, c in enumerate((1, 2)):
        expected = (
            InputXGradient(log_odds(network, c))
            .attribute(torch.from_numpy(batch).requires_grad_())
            .sum(1)
            .detach()
            .numpy()
        )
        assert np.abs(expected).max() > 0
        assert np.abs(maps.values[:, t] - expected).max() < 1e-5 * np.abs(expected).max()


def test_chunks_change_nothing_and_are_no_larger_than_asked(monkeypatch):
    _, classifier = live(RECIPE, 3)
    batch, seen, ask = noise(5, 24), [], classifier.input_gradients
    whole = SALIENCY(classifier, batch, None, None, GradientSettings())

    def counting(chunk, target=None, score=None):
        seen.append(len(chunk))
        return ask(chunk, target, score)

    monkeypatch.setattr(classifier, "input_gradients", counting)
    small = SALIENCY(classifier, batch, None, None, GradientSettings(batch_size=2))
    assert seen == [2, 2, 1]
    assert np.allclose(small.values, whole.values, rtol=1e-5)
    assert np.allclose(small.probabilities, whole.probabilities, atol=1e-6)
    seen.clear()
    SALIENCY(classifier, batch, classifier.classes, None, GradientSettings(batch_size=6))
    assert seen == [2, 2, 1], "three targets share six places"
