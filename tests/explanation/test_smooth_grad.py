"""SmoothGrad against the mean of Captum's gradients over the same noisy copies."""

import numpy as np
import pytest
import torch
from tests.explanation.live_networks import live
from tests.explanation.test_integrated_gradients import log_odds
from tests.small_networks import noise, recipe_of

from pellucid.errors import InputError
from pellucid.explanation.smooth_grad import SmoothGradSettings, smooth_grad
from pellucid.recipe_sections import DataSection

RECIPE = recipe_of(pool="max", head=[{"dense": 16}]).model_copy(
    update={"data": DataSection(size=24, values="imagenet")}
)


def test_map_is_the_mean_of_captum_s_gradients_over_noisy_copies():
    from captum.attr import Saliency

    network, classifier = live(RECIPE, 3)
    batch = noise(2, 24)
    settings = SmoothGradSettings(samples=10, noise=0.2, seed=3, batch_size=4)
    maps = smooth_grad(classifier, batch, classifier.classes, None, settings)
    factor, _ = classifier.preprocessing.factor_and_shift()
    for i, image in enumerate(batch):
        draws = np.random.default_rng(3).standard_normal((10, 3, 24, 24), np.float32)
        copies = torch.from_numpy(image + 0.2 * np.ptp(image) * draws)
        for c, name in enumerate(classifier.classes):
            each = (
                Saliency(log_odds(network, c)).attribute(copies.requires_grad_(), abs=False).numpy().astype(np.float64)
            )
            expected = np.abs(each.mean(0) * factor[:, None, None]).max(0)
            assert np.abs(maps.values[i, c] - expected).max() < 1e-5 * expected.max()
            error = np.sqrt((each.var(0, ddof=1) / 10).sum() / np.square(each.mean(0)).sum())
            told = maps.settings[i]["targets"][name]["relative_standard_error"]
            assert told == pytest.approx(error, rel=0.01)


def test_the_size_of_a_batch_changes_nothing():
    _, classifier = live(RECIPE, 2)
    batch = noise(1, 24)
    one, other = (
        smooth_grad(classifier, batch, None, None, SmoothGradSettings(samples=9, batch_size=b)).values for b in (2, 9)
    )
    assert np.allclose(one, other, rtol=1e-4, atol=1e-6 * other.max())


def test_more_copies_make_the_error_smaller_and_a_linear_score_has_none():
    network, classifier = live(RECIPE, 2)
    errors = [
        smooth_grad(classifier, noise(1, 24), "bee", None, SmoothGradSettings(samples=n)).settings[0]["targets"]["bee"]
        for n in (8, 128)
    ]
    assert errors[1]["relative_standard_error"] < errors[0]["relative_standard_error"] / 2
    network.backbone = torch.nn.Sequential(network.backbone.conv1)
    network.pool = torch.nn.Sequential(torch.nn.AdaptiveAvgPool2d(1), torch.nn.Flatten())
    network.head = torch.nn.Linear(6, 1)
    told = smooth_grad(classifier, noise(1, 24), "bee", None, SmoothGradSettings(samples=8)).settings[0]
    assert told["targets"]["bee"]["relative_standard_error"] < 1e-3


def test_unsuitable_settings_are_refused():
    for settings in ({"samples": 1}, {"noise": 0.0}, {"seed": -1}):
        with pytest.raises(InputError, match=next(iter(settings))):
            SmoothGradSettings(**settings)
