"""Integrated gradients against Captum, its axiom of completeness, and closed forms."""

from typing import Any

import numpy as np
import pytest
import torch
from tests.explanation.live_networks import live
from tests.small_networks import noise, recipe_of

from pellucid.classifier import InputGradients
from pellucid.errors import InputError, UnknownNameError
from pellucid.explanation.integrated_gradients import IntegratedGradientsSettings, integrated_gradients, ladder
from pellucid.explanation.replacement import REPLACEMENTS, replaced
from pellucid.models.torch_classifier import TorchClassifier

RECIPE = recipe_of(pool="max", head=[{"dense": 16}])
NEVER = 0.0


class Counted:
    """A classifier that notes how many pictures it was asked the gradients of, by their targets."""

    def __init__(self, classifier: TorchClassifier) -> None:
        self.classifier = classifier
        self.asked: list[tuple[int, tuple[str, ...]]] = []

    def __getattr__(self, name: str) -> Any:
        return getattr(self.classifier, name)

    def input_gradients(self, batch: np.ndarray, target: Any = None, score: Any = None) -> InputGradients:
        self.asked.append((len(batch), target))
        return self.classifier.input_gradients(batch, target, score)


def log_odds(network: torch.nn.Module, index: int) -> Any:
    def score(image: torch.Tensor) -> torch.Tensor:
        logits = network(image)
        if logits.shape[1] == 1:
            return logits[:, 0] if index == 1 else -logits[:, 0]
        others = [j for j in range(logits.shape[1]) if j != index]
        return logits[:, index] - torch.logsumexp(logits[:, others], 1)

    return score


@pytest.mark.parametrize("classes", [2, 3])
@pytest.mark.parametrize("baseline", REPLACEMENTS)
def test_map_is_captum_s(classes, baseline):
    from captum.attr import IntegratedGradients

    network, classifier = live(RECIPE, classes)
    batch = noise(2, 24)
    settings = IntegratedGradientsSettings(steps=32, error=NEVER, baseline=baseline, batch_size=7)
    maps = integrated_gradients(classifier, batch, classifier.classes, None, settings)
    start = torch.from_numpy(replaced(batch, classifier.preprocessing, baseline))
    for c in range(classes):
        theirs = IntegratedGradients(log_odds(network, c)).attribute(
            torch.from_numpy(batch), start, n_steps=33, method="riemann_trapezoid"
        )
        # Captum's weights of n points add up to (n - 1) / n, so that its map never sums to the difference in score.
        expected = theirs.sum(1).detach().numpy() * 33 / 32
        assert np.abs(expected).max() > 1e-4
        assert np.abs(maps.values[:, c] - expected).max() < 1e-4 * np.abs(expected).max()


def test_the_map_sums_to_the_difference_in_score_within_the_error_that_is_told():
    network, classifier = live(RECIPE, 3)
    batch = noise(3, 24, seed=4)
    settings = IntegratedGradientsSettings(error=0.01, steps=512)
    maps = integrated_gradients(classifier, batch, classifier.classes, None, settings)
    start = replaced(batch, classifier.preprocessing, "blur")
    for i in range(3):
        for c, name in enumerate(classifier.classes):
            score = log_odds(network, c)
            with torch.no_grad():
                ends = [float(score(torch.from_numpy(x[i : i + 1]))) for x in (start, batch)]
            told = maps.settings[i]["targets"][name]
            share = abs(maps.values[i, c].sum() - (ends[1] - ends[0])) / abs(ends[1] - ends[0])
            assert told["score_difference"] == pytest.approx(ends[1] - ends[0], rel=1e-3)
            assert share == pytest.approx(told["completeness_error"], abs=2e-4)
            assert (share <= 0.01) == (told["stopped_by"] == "complete")
    assert any(told["targets"][c]["stopped_by"] == "complete" for told in maps.settings for c in classifier.classes)


def test_of_a_linear_score_the_map_is_exact_at_once():
    recipe = recipe_of(pool="average")
    network, classifier = live(recipe, 2)
    network.backbone = torch.nn.Sequential(network.backbone.conv1)
    network.head = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(6, 1))
    batch = noise(1, 24)
    image = torch.from_numpy(batch).requires_grad_(True)
    (slope,) = torch.autograd.grad(network(image).sum(), image)
    way = batch - replaced(batch, classifier.preprocessing, "mean")
    maps = integrated_gradients(classifier, batch, "bee", "logit", IntegratedGradientsSettings(baseline="mean"))
    expected = (slope.numpy() * way).sum(1)
    assert np.abs(expected).max() > 1e-5
    assert np.allclose(maps.values[:, 0], expected, atol=1e-4 * np.abs(expected).max())
    assert maps.settings[0]["targets"]["bee"]["steps_used"] == 16
    assert maps.settings[0]["targets"]["bee"]["stopped_by"] == "complete"


def test_halving_the_steps_asks_for_the_new_points_only():
    _, classifier = live(RECIPE, 2)
    counted = Counted(classifier)
    settings = IntegratedGradientsSettings(steps=100, error=NEVER, batch_size=16)
    maps = integrated_gradients(counted, noise(1, 24), "bee", None, settings)
    assert sum(count for count, _ in counted.asked) == 97
    assert max(count for count, _ in counted.asked) == 16
    assert maps.settings[0]["targets"]["bee"]["steps_used"] == 96
    assert maps.settings[0]["targets"]["bee"]["stopped_by"] == "budget"


def test_a_target_that_is_complete_is_not_asked_again():
    _, classifier = live(RECIPE, 3)
    batch, settings = noise(1, 24, seed=6), IntegratedGradientsSettings(error=2e-3, steps=128)
    counted = Counted(classifier)
    together = integrated_gradients(counted, batch, classifier.classes, None, settings)
    told = together.settings[0]["targets"]
    assert len({told[c]["steps_used"] for c in classifier.classes}) > 1, "choose a seed where steps differ"
    for c, name in enumerate(classifier.classes):
        alone = integrated_gradients(classifier, batch, name, None, settings)
        assert np.allclose(alone.values[0, 0], together.values[0, c], atol=1e-4 * np.abs(alone.values).max())
        assert alone.settings[0]["targets"][name]["steps_used"] == told[name]["steps_used"]
    assert len(counted.asked[-1][1]) < 3


def test_an_image_that_is_its_own_baseline_has_no_evidence():
    _, classifier = live(RECIPE, 2)
    batch = np.full((1, 3, 24, 24), 0.5, np.float32)
    maps = integrated_gradients(classifier, batch, "bee", None, IntegratedGradientsSettings(baseline="mean"))
    assert not maps.values.any()
    assert maps.settings[0]["targets"]["bee"]["stopped_by"] == "complete"


@pytest.mark.parametrize(
    ("steps", "rungs"), [(1, [1]), (16, [16]), (17, [8, 16]), (256, [16, 32, 64, 128, 256]), (50, [12, 24, 48])]
)
def test_steps_are_doubled_up_to_the_budget(steps, rungs):
    assert ladder(steps) == rungs


def test_unsuitable_settings_are_refused():
    with pytest.raises(UnknownNameError, match="black"):
        IntegratedGradientsSettings(baseline="white")
    for settings in ({"steps": 0}, {"error": -1.0}, {"batch_size": 0}):
        with pytest.raises(InputError, match=f"{next(iter(settings))} must be at least"):
            IntegratedGradientsSettings(**settings)
