"""Score-CAM against a loop over images and channels, and against pytorch-grad-cam."""

import dataclasses
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import pytest
import torch
from tests.explanation.live_networks import Colours, live, log_odds
from tests.small_networks import noise, recipe_of

from pellucid.errors import InputError
from pellucid.explanation.score_cam import ScoreCamSettings, input_masks, most_varied, score_cam
from pellucid.models.torch_classifier import TorchClassifier
from pellucid.preprocessing import GridGeometry

GEOMETRY = GridGeometry((2.0, 2.0), (1.5, 0.5))
EVERY = ScoreCamSettings(channels=1000)


def small(classes: int = 3) -> TorchClassifier:
    return live(recipe_of(), classes, geometry=GEOMETRY)[1]


def laid_on_the_input(channel: np.ndarray, size: int) -> np.ndarray:
    """Linear between the cells' places, first down, then across; the outermost cell's value beyond."""
    seen = np.arange(size) + 0.5
    places = [o + s * np.arange(n) for o, s, n in zip(GEOMETRY.offset, GEOMETRY.stride, channel.shape, strict=True)]
    down = np.stack([np.interp(seen, places[0], column) for column in channel.T], axis=1)
    return np.stack([np.interp(seen, places[1], row) for row in down])


def slowly(classifier: TorchClassifier, image: np.ndarray, index: int) -> np.ndarray:
    activations = classifier.evidence(image[None]).activations[0]
    baseline = log_odds(classifier.logits(np.zeros_like(image)[None])[0], index)
    increases, channels = [], []
    for channel in activations:
        if channel.min() == channel.max():
            continue
        mask = laid_on_the_input(channel, image.shape[1])
        mask = (mask - mask.min()) / (mask.max() - mask.min())
        masked = (image * mask).astype(np.float32)
        increases.append(log_odds(classifier.logits(masked[None])[0], index) - baseline)
        channels.append(channel)
    weights = np.exp(increases) / np.exp(increases).sum()
    return np.maximum(sum(w * c for w, c in zip(weights, channels, strict=True)), 0)


@pytest.mark.parametrize("classes", [2, 3])
def test_map_is_that_of_a_loop_over_images_classes_and_channels(classes):
    classifier, batch = small(classes), noise(2, 24)
    maps = score_cam(classifier, batch, classifier.classes, None, EVERY)
    assert maps.targets == classifier.classes
    for n in range(2):
        for t in range(classes):
            expected = slowly(classifier, batch[n], t)
            assert expected.max() > 0.01
            assert np.allclose(maps.values[n, t], expected, rtol=1e-3, atol=1e-5)
    assert np.abs(maps.values[:, 0] - maps.values[:, 1]).max() > 1e-3


def test_map_is_that_of_pytorch_grad_cam_where_masks_lie_where_it_lays_them():
    """It stretches corner to corner, and gives a dead channel, whose mask is 0, a share of the softmax."""
    from pytorch_grad_cam import ScoreCAM
    from pytorch_grad_cam.utils.model_targets import ClassifierOutputTarget

    corners = GridGeometry((23 / 11, 23 / 11), (0.5, 0.5))
    network, classifier = live(recipe_of(), 3, geometry=corners)
    batch, layer = noise(2, 24), network.get_submodule(network.explained_layer)
    targets = [ClassifierOutputTarget(1)] * 2
    ours = score_cam(classifier, batch, "bee", "logit", EVERY).values[:, 0]
    with ScoreCAM(network, [layer]) as theirs, torch.no_grad():
        activations = classifier.evidence(batch).activations
        expected = theirs.get_cam_image(torch.from_numpy(batch), layer, targets, activations, None)
    shares = [m / m.sum((1, 2), keepdims=True) for m in (ours, expected)]
    assert np.allclose(shares[0], shares[1], rtol=1e-3, atol=1e-7)


def test_masks_run_from_nought_to_one_and_have_their_top_where_the_cell_looks():
    classifier = small()
    cells = np.zeros((1, 12, 12), np.float32)
    cells[0, 3, 8] = 0.01
    mask = input_masks(classifier, cells, GEOMETRY)[0]
    assert mask.shape == (24, 24)
    assert (mask.min(), mask.max()) == (0, 1)
    # Offset and stride put cell (3, 8) at (7.5, 16.5), the centre of pixel (7, 16).
    assert np.unravel_index(mask.argmax(), mask.shape) == (7, 16)


def test_only_channels_that_vary_most_are_asked_and_the_others_have_no_part():
    classifier, batch = small(), noise(3, 24)
    activations = classifier.evidence(batch).activations
    chosen = most_varied(activations, 3)
    for n in range(3):
        assert set(chosen[n]) == set(np.argsort(activations[n].std((1, 2)))[-3:])
    with counted_images(classifier) as seen:
        maps = score_cam(classifier, batch, None, None, ScoreCamSettings(channels=3, batch_size=4))
    assert seen == [4, 4, 1]
    assert [s["channels_used"] for s in maps.settings] == [3, 3, 3]
    for n in range(3):
        # An average of the chosen channels: inside the smallest and largest of them, cell by cell.
        own = activations[n, chosen[n]]
        assert (maps.values[n, 0] <= own.max(0) + 1e-6).all()
        assert (maps.values[n, 0] >= own.min(0) - 1e-6).all()


def test_dead_channels_cost_nothing_and_an_image_of_dead_channels_has_an_empty_map():
    classifier = live(recipe_of(), 3, network=Colours(), geometry=GridGeometry((1, 1), (0.5, 0.5)))[1]
    batch = np.abs(noise(2, 24))
    batch[0], batch[1, 2] = -1, -1
    with counted_images(classifier) as seen:
        maps = score_cam(classifier, batch, classifier.classes, None, EVERY)
    assert seen == [2]
    assert [s["channels_used"] for s in maps.settings] == [0, 2]
    assert np.array_equal(maps.values[0], np.zeros((3, 24, 24)))
    assert maps.values[1].max() > 0


def test_the_predicted_class_is_the_whole_image_s_under_every_mask():
    classifier = live(recipe_of(), 3, network=Colours(), geometry=GridGeometry((1, 1), (0.5, 0.5)))[1]
    batch = np.abs(noise(3, 24)) * np.array([[2.0, 1, 1], [1, 2, 1], [1, 1, 2]], np.float32)[:, :, None, None]
    unset = score_cam(classifier, batch, None, None, EVERY).values[:, 0]
    named = score_cam(classifier, batch, classifier.classes, None, EVERY).values
    for n in range(3):
        assert classifier.logits(batch)[n].argmax() == n
        # Within rounding: one target and three are products of different shapes.
        np.testing.assert_allclose(unset[n], named[n, n], rtol=1e-5, atol=1e-6)


def test_batch_size_changes_nothing_and_a_bad_one_is_refused():
    classifier, batch = small(), noise(2, 24)
    one = score_cam(classifier, batch, None, None, dataclasses.replace(EVERY, batch_size=1))
    many = score_cam(classifier, batch, None, None, EVERY)
    assert np.allclose(one.values, many.values, rtol=1e-4, atol=1e-6)
    with pytest.raises(InputError, match="at least one"):
        ScoreCamSettings(batch_size=0)
    with pytest.raises(InputError, match="at least one"):
        ScoreCamSettings(channels=0)


@contextmanager
def counted_images(classifier: TorchClassifier) -> Iterator[list[int]]:
    """How many images each pass of `logits` took."""
    seen: list[int] = []
    ask = classifier.logits

    def counting(batch: np.ndarray) -> np.ndarray:
        seen.append(len(batch))
        return ask(batch)

    classifier.logits = counting  # type: ignore[method-assign]
    try:
        yield seen
    finally:
        del classifier.logits
