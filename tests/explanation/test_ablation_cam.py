"""Ablation-CAM against a loop that silences one channel at a time, its closed form, and pytorch-grad-cam."""

from typing import Any

import numpy as np
import pytest
import torch
from tests.explanation.live_networks import Colours, live, log_odds
from tests.small_networks import noise, recipe_of

from pellucid.errors import InputError
from pellucid.explanation import ablation_cam as module
from pellucid.explanation.ablation_cam import AblationCamSettings, ablation_cam

DEFAULT = AblationCamSettings()


@pytest.mark.parametrize("classes", [2, 3])
@pytest.mark.parametrize("pool", ["max", "flatten"])
def test_map_is_that_of_a_loop_that_silences_one_channel_at_a_time(classes, pool):
    network, classifier = live(recipe_of(pool=pool, head=[{"dense": 16}]), classes)
    batch = noise(2, 24)
    evidence = classifier.evidence(batch)
    maps = ablation_cam(classifier, batch, classifier.classes, None, DEFAULT)
    largest = np.abs(maps.values).max()
    for n in range(2):
        whole = evidence.logits[n]
        expected = np.zeros((classes, *evidence.activations.shape[2:]))
        for k in range(evidence.activations.shape[1]):
            silenced = without_channel(network, batch[n], k)
            for t in range(classes):
                drop = log_odds(whole, t) - log_odds(silenced, t)
                expected[t] += drop * evidence.activations[n, k]
        assert np.abs(expected).max() > 1e-3
        assert np.allclose(maps.values[n], expected, rtol=1e-3, atol=1e-4 * largest)


def without_channel(network: torch.nn.Module, image: np.ndarray, channel: int) -> np.ndarray:
    def silence(layer: Any, inputs: Any, output: torch.Tensor) -> torch.Tensor:
        output = output.clone()
        output[:, channel] = 0
        return output

    handle = network.get_submodule(network.explained_layer).register_forward_hook(silence)
    with torch.no_grad():
        logits = network(torch.from_numpy(image[None]))[0].numpy()
    handle.remove()
    return logits


def test_with_average_pooling_and_a_linear_head_the_drop_is_the_sum_of_gradient_times_activation():
    _, classifier = live(recipe_of(pool="average", layer="backbone.pool2"), 3)
    evidence = classifier.evidence(noise(2, 24), classifier.classes, "logit")
    drops = (evidence.gradients * evidence.activations[:, None]).sum((3, 4))
    expected = np.einsum("ntc,nchw->nthw", drops, evidence.activations)
    maps = ablation_cam(classifier, noise(2, 24), classifier.classes, "logit", DEFAULT)
    assert np.abs(expected).max() > 1e-3
    assert np.abs(maps.values - expected).max() < 1e-4 * np.abs(expected).max()


def test_map_over_the_score_is_that_of_pytorch_grad_cam():
    from pytorch_grad_cam import AblationCAM
    from pytorch_grad_cam.utils.model_targets import ClassifierOutputTarget

    network, classifier = live(recipe_of(pool="max", head=[{"dense": 16}]), 3)
    batch, layer = noise(2, 24), network.get_submodule(network.explained_layer)
    score = classifier.logits(batch)[:, 1, None, None]
    ours = ablation_cam(classifier, batch, "bee", "logit", DEFAULT).values[:, 0] / score
    activations = classifier.evidence(batch).activations
    with AblationCAM(network, [layer]) as theirs:
        targets = [ClassifierOutputTarget(1)] * 2
        expected = theirs.get_cam_image(torch.from_numpy(batch), layer, targets, activations, None)
    assert np.abs(expected).max() > 1e-3
    assert np.abs(ours - expected).max() < 1e-3 * np.abs(expected).max()


def test_the_predicted_class_stays_the_whole_image_s_when_its_channel_goes():
    _, classifier = live(recipe_of(), 3, network=Colours())
    batch = np.abs(noise(3, 24)) * np.array([[2.0, 1, 1], [1, 2, 1], [1, 1, 2]], np.float32)[:, :, None, None]
    unset = ablation_cam(classifier, batch, None, None, DEFAULT).values[:, 0]
    named = ablation_cam(classifier, batch, classifier.classes, None, DEFAULT).values
    for n in range(3):
        # Within rounding: one target and three are products of different shapes.
        np.testing.assert_allclose(unset[n], named[n, n], rtol=1e-5, atol=1e-6)
        assert unset[n].max() > 0


def test_passes_are_as_large_as_asked_and_memory_allows_and_change_nothing(monkeypatch):
    _, classifier = live(recipe_of(head=[{"dense": 16}]), 3)
    batch, seen, ask = noise(2, 24), [], classifier.tail
    whole = ablation_cam(classifier, batch, None, None, DEFAULT).values

    def counting(activations: np.ndarray) -> np.ndarray:
        seen.append(len(activations))
        return ask(activations)

    monkeypatch.setattr(classifier, "tail", counting)
    live_channels = int(classifier.evidence(batch).activations.any((2, 3)).sum())
    assert np.allclose(ablation_cam(classifier, batch, None, None, AblationCamSettings(5)).values, whole, rtol=1e-4)
    assert sum(seen) == live_channels
    assert max(seen) == 5
    seen.clear()
    monkeypatch.setattr(module, "MOST_BYTES", 3 * classifier.evidence(batch[:1]).activations.nbytes)
    assert np.allclose(ablation_cam(classifier, batch, None, None, DEFAULT).values, whole, rtol=1e-4)
    assert max(seen) == 3
    with pytest.raises(InputError, match="at least one channel"):
        AblationCamSettings(0)


def test_a_classifier_without_a_tail_is_told_what_works_instead():
    _, classifier = live(recipe_of(), 3)

    class OnlyEvidence:
        classes, task, preprocessing = classifier.classes, classifier.task, classifier.preprocessing
        probabilities, evidence = classifier.probabilities, classifier.evidence

    with pytest.raises(InputError, match="score-cam or hirescam"):
        ablation_cam(OnlyEvidence(), noise(1, 24), None, None, DEFAULT)
