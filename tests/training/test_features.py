"""Features of a frozen backbone against running the backbone on each image."""

import numpy as np
import pytest
import torch
from torch import nn

from pellucid.errors import ResourceError
from pellucid.models.network import Network
from pellucid.preprocessing import Preprocessing
from pellucid.recipe import AugmentSection
from pellucid.training.batches import ImageBatches
from pellucid.training.features import frozen_features

CPU = torch.device("cpu")
PIXELS = np.random.default_rng(0).integers(0, 256, (11, 8, 8, 3), dtype=np.uint8)
PREPROCESSING = Preprocessing(height=8, width=8)


def network():
    """A backbone whose training mode would show: batch normalisation and dropout."""
    torch.manual_seed(0)
    backbone = nn.Sequential(nn.Conv2d(3, 6, 3, padding=1), nn.BatchNorm2d(6), nn.ReLU(), nn.Dropout(0.5))
    backbone[1].running_mean.normal_()
    return Network(backbone, nn.Flatten(), nn.Linear(384, 1), "backbone")


def batches(**augmentation):
    return ImageBatches(
        PIXELS, np.arange(11), np.zeros(11, np.int64), PREPROCESSING, AugmentSection(**augmentation), 4, 5
    )


def features(net, stream, views, precision="float32", seen=None):
    seen = [] if seen is None else seen
    return frozen_features(
        net, stream, views=views, precision=precision, device=CPU, advance=lambda *at: seen.append(at)
    )


@torch.no_grad()
def one_by_one(net, pixels):
    net.eval()
    return np.concatenate([net.features(torch.from_numpy(PREPROCESSING.normalise(p[None]))).numpy() for p in pixels])


def test_the_first_view_is_each_image_as_it_is_in_its_place():
    net = network()
    assert features(net, batches(rotation=30), 2)[0] == pytest.approx(one_by_one(net, PIXELS), abs=1e-5)


def test_the_other_views_are_changed_and_in_their_place_too():
    net = network()
    found = features(net, batches(flip=True), 5)
    plain, mirrored = one_by_one(net, PIXELS), one_by_one(net, PIXELS[:, :, ::-1])
    assert np.abs(plain - mirrored).max(axis=1).min() > 0.1
    is_plain, is_mirrored = (np.abs(found - truth).max(axis=2) < 1e-4 for truth in (plain, mirrored))
    assert (is_plain != is_mirrored).all()
    assert is_plain[0].all()
    assert 10 <= is_mirrored[1:].sum() <= 34
    assert len({tuple(view) for view in is_mirrored[1:]}) == 4


def test_the_backbone_is_left_as_it_was():
    net = network()
    before = {k: v.clone() for k, v in net.state_dict().items()}
    features(net, batches(flip=True), 2)
    assert all((before[k] == v).all() for k, v in net.state_dict().items())


def test_only_augmented_views_may_run_in_half_precision():
    net = network()
    exact, half = (features(net, batches(flip=True), 2, precision) for precision in ("float32", "bf16"))
    assert (half[0] == exact[0]).all()
    assert half[1] == pytest.approx(exact[1], abs=0.05)
    assert (half[1] != exact[1]).any()


def test_progress_counts_images_of_all_views():
    seen = []
    features(network(), batches(flip=True), 3, seen=seen)
    assert [done for done, _ in seen] == [4, 8, 11, 15, 19, 22, 26, 30, 33]
    assert {total for _, total in seen} == {33}


def test_out_of_memory_names_the_setting():
    class Hungry(nn.Module):
        def forward(self, x):
            raise torch.OutOfMemoryError("CUDA out of memory")

    with pytest.raises(ResourceError, match=r"batch of 4 images.*--set train\.batch_size=2"):
        features(Network(Hungry(), nn.Flatten(), nn.Identity(), "backbone"), batches(), 1)
