"""Maps that are gathered from cells that look alike, and pointed: against a loop over all pairs of cells."""

import numpy as np
import pytest
import timm
import torch

from pellucid.anomaly.crossfit import OutOfFold
from pellucid.anomaly.detector import Detector, PatchMemory
from pellucid.anomaly.gathering import LIKENESS, NEARNESS, gathered, pointed
from pellucid.models.patch_features import Guide, choose_guide


def gathered_slowly(values: np.ndarray, guide: np.ndarray) -> np.ndarray:
    """One map (h, w), its guide (C, 2 h, 2 w) averaged over the four cells in each of the map's."""
    (h, w), fine = values.shape, guide.shape[1:]
    keys = {(i, j): guide[:, 2 * i : 2 * i + 2, 2 * j : 2 * j + 2].mean((1, 2)) for i in range(h) for j in range(w)}
    below = [((keys[i + 1, j] - keys[i, j]) ** 2).sum() for i in range(h - 1) for j in range(w)]
    beside = [((keys[i, j + 1] - keys[i, j]) ** 2).sum() for i in range(h) for j in range(w - 1)]
    unit = LIKENESS * (np.mean(below) + np.mean(beside)) / 2
    found = np.zeros(fine)
    for y in range(fine[0]):
        for x in range(fine[1]):
            weights = []
            for (i, j), key in keys.items():
                unlike = ((guide[:, y, x] - key) ** 2).sum() / unit
                far = ((y + 0.5) / fine[0] - (i + 0.5) / h) ** 2 + ((x + 0.5) / fine[1] - (j + 0.5) / w) ** 2
                weights.append(np.exp(-unlike - NEARNESS * far))
            found[y, x] = np.dot(weights, values.ravel()) / np.sum(weights)
    return found


def test_each_cell_is_the_mean_of_those_that_look_like_it() -> None:
    rng = np.random.default_rng(0)
    maps = rng.normal(size=(2, 3, 4)).astype(np.float32)
    guide = (5 + rng.normal(size=(2, 6, 6, 8))).astype(np.float32)
    slowly = np.stack([gathered_slowly(m, g) for m, g in zip(maps.astype(float), guide.astype(float), strict=True)])
    np.testing.assert_allclose(gathered(maps, guide), slowly, rtol=2e-3, atol=2e-4)


def test_a_part_that_looks_the_same_gets_one_value_and_its_edge_is_that_of_the_guide() -> None:
    guide = np.zeros((1, 4, 20, 20), np.float32)
    guide[:, :, :7] = 3
    maps = np.zeros((1, 10, 10), np.float32)
    maps[:, :4, 3:6] = 1  # a coarse map goes beyond the edge, which lies within its fourth row
    found = gathered(maps, guide)[0]
    assert found[:7].min() > 3 * found[8:].max()


def test_an_image_that_is_the_same_everywhere_is_gathered_by_place_alone() -> None:
    found = gathered(np.ones((1, 4, 4), np.float32), np.full((1, 3, 8, 8), 7, np.float32))
    np.testing.assert_allclose(found, 1, rtol=1e-6)


def test_a_pointed_map_keeps_its_greatest_value_its_order_and_what_is_below_0() -> None:
    maps = np.array([[[-1, 0.5], [2, 4]], [[-3, -2], [-1, -4]], [[0, 0], [0, 0]]], np.float32)
    expected = [[[-1, 0.0625], [1, 4]], [[-3, -2], [-1, -4]], [[0, 0], [0, 0]]]
    np.testing.assert_allclose(pointed(maps), expected)


def test_the_guide_is_the_last_layer_of_twice_the_map() -> None:
    network = timm.create_model("resnet18", pretrained=False).eval()
    with torch.inference_mode():
        assert choose_guide(network, ("layer2", "layer3"), (64, 64)) == Guide("layer1")
        assert choose_guide(network, ("layer3",), (64, 64)) == Guide("layer2")
        assert choose_guide(network, ("conv1",), (64, 64)) is None  # nothing is finer
        assert choose_guide(network, ("layer1",), (128, 128)) == Guide("act1", 2)  # 1,024 cells, 4,096 finer ones
        assert choose_guide(network, ("layer1",), (256, 256)) is None  # too many pairs


def test_a_map_shows_what_is_above_the_usual_as_far_as_scores_go_above_theirs() -> None:
    rng = np.random.default_rng(1)
    cells = (10 + rng.gamma(2, 1, (200, 5, 5))).astype(np.float32)
    memory = PatchMemory(np.zeros((1, 2), np.float32), np.ones(2, np.float32))
    detector = Detector(memory, None, (5, 5), local_unit=2.0, top=3)
    parts = OutOfFold(np.sort(cells.reshape(200, -1))[:, -3:].mean(1), None, cells)
    found = parts.shown_above(detector, 0.1, gathers=False)
    maps = found.added(cells, None) - found.usual
    assert np.quantile(maps, 0.25) == pytest.approx(0, abs=1e-5)
    scores = parts.scores(found)
    assert np.quantile(maps.max((1, 2)), 0.9) == pytest.approx(np.quantile(scores, 0.9) - np.median(scores), rel=1e-4)
    np.testing.assert_array_equal(scores, parts.scores(detector))  # scores stay as they are
