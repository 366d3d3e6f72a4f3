"""When frozen layers run once, how much room that takes, and what is said of it."""

import shutil
from collections import namedtuple

import numpy as np
import pytest
import torch
from tests.small_networks import recipe_of

from pellucid.models.network import build_network
from pellucid.preprocessing import Preprocessing
from pellucid.recipe_sections import AugmentSection, TrainSection
from pellucid.training.batches import ImageBatches
from pellucid.training.caching import Counts, plan_caching
from pellucid.training.cutting import cut_network
from pellucid.training.features import measure
from pellucid.training.session import freeze

SIZE = 32


def plan(frozen="layer4", images=100, folder=None, flip=False, backbone="resnet18", **train):
    network = build_network(recipe_of(backbone, SIZE), 2)
    freeze(network, frozen)
    cut = cut_network(network, torch.zeros(1, 3, SIZE, SIZE))
    labels = np.zeros(images, np.int64)
    pixels = np.zeros((1, SIZE, SIZE, 3), np.uint8)
    section = TrainSection(**{"epochs": 20, "batch_size": 8, "precision": "float32"} | train)
    batches = ImageBatches(
        pixels, labels, labels, Preprocessing(height=SIZE, width=SIZE), AugmentSection(flip=flip), 8, 0
    )
    return plan_caching(cut, batches, Counts(images, 30, images + 30), section, folder)


def test_it_pays_where_epochs_are_more_than_views(tmp_path):
    assert plan(folder=tmp_path).views == 1
    assert plan(folder=tmp_path, flip=True, cached_views=4).views == 4
    assert plan(folder=tmp_path, flip=True, cached_views=4, epochs=3).views == 0
    assert plan(folder=tmp_path, epochs=1).views == 0
    assert plan(folder=tmp_path, epochs=1, cache="always").views == 1
    assert plan(folder=tmp_path, cache="never").views == 0


def test_a_cheap_layer_with_a_large_output_is_not_kept(tmp_path):
    assert plan("conv2", backbone="cnn", folder=tmp_path).views == 0
    assert plan("conv2", backbone="cnn", folder=tmp_path, cache="always").views == 1


def test_its_room_is_that_of_its_numbers_and_it_is_said(tmp_path):
    found = plan(folder=tmp_path / "..", flip=True, cached_views=3)
    # 256 channels of 2 x 2 places at a sixteenth of the size.
    assert found.bytes == 4 * 256 * 2 * 2 * (3 * 100 + 30)
    assert "The layers up to backbone.layer3 are frozen: they run once for each of 3 views of 100" in found.words
    assert "1.35 MB" in found.words
    assert "over 20 epochs" in found.words


def test_nothing_frozen_is_nothing_to_say(tmp_path):
    assert plan("none", folder=tmp_path).words == ""


def test_a_disk_without_room_is_said(tmp_path, monkeypatch):
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(shutil, "disk_usage", lambda folder: usage(0, 0, 1_400_000))
    found = plan(folder=tmp_path, flip=True, cached_views=3)
    assert found.views == 0
    assert "they would need 1.35 MB" in found.words
    assert "where 1.4 MB are free" in found.words


@pytest.mark.parametrize(("precision", "kind"), [("float32", torch.float32), ("bf16", torch.bfloat16)])
def test_operations_and_bytes_of_an_image(precision, kind):
    layer = torch.nn.Conv2d(3, 5, 3, padding=1)
    found = measure(layer, torch.zeros(1, 3, 8, 10), precision)
    assert (found.shape, found.dtype) == ((5, 8, 10), kind)
    assert found.operations == 2 * 3 * 9 * 5 * 80
    assert found.bytes == 5 * 80 * kind.itemsize
