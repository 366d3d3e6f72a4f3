"""Features of a frozen backbone against running the backbone on each image."""

import numpy as np
import pytest
import torch
from torch import nn

from pellucid.errors import ResourceError
from pellucid.models.network import Network
from pellucid.preprocessing import Preprocessing
from pellucid.recipe_sections import AugmentSection
from pellucid.training.batches import ImageBatches
from pellucid.training.features import frozen_features, store_features

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


def kept(net, stream, path, views, precision="float32", seen=None):
    """Features (views, 11, 384) as they come out of the store."""
    seen = [] if seen is None else seen
    frozen = nn.Sequential(net.backbone, net.pool)
    found = store_features(frozen, stream, path, views=views, precision=precision, advance=lambda *at: seen.append(at))
    return np.stack([found.read(np.full(11, v), np.arange(11)).float().numpy() for v in range(views)])


@torch.no_grad()
def one_by_one(net, pixels):
    net.eval()
    return np.concatenate([net.features(torch.from_numpy(PREPROCESSING.normalise(p[None]))).numpy() for p in pixels])


def test_the_first_view_is_each_image_as_it_is_in_its_place(tmp_path):
    net = network()
    assert kept(net, batches(rotation=30), tmp_path / "f", 2)[0] == pytest.approx(one_by_one(net, PIXELS), abs=1e-5)


def test_pooled_features_of_a_whole_backbone():
    net, seen = network(), []
    found = frozen_features(net, batches(), advance=lambda *at: seen.append(at))
    assert found == pytest.approx(one_by_one(net, PIXELS), abs=1e-5)
    assert seen == [(4, 11), (8, 11), (11, 11)]


def test_the_other_views_are_changed_and_in_their_place_too(tmp_path):
    net = network()
    found = kept(net, batches(flip=True), tmp_path / "f", 5)
    plain, mirrored = one_by_one(net, PIXELS), one_by_one(net, PIXELS[:, :, ::-1])
    assert np.abs(plain - mirrored).max(axis=1).min() > 0.1
    is_plain, is_mirrored = (np.abs(found - truth).max(axis=2) < 1e-4 for truth in (plain, mirrored))
    assert (is_plain != is_mirrored).all()
    assert is_plain[0].all()
    assert 10 <= is_mirrored[1:].sum() <= 34
    assert len({tuple(view) for view in is_mirrored[1:]}) == 4


def test_the_backbone_is_left_as_it_was(tmp_path):
    net = network()
    before = {k: v.clone() for k, v in net.state_dict().items()}
    kept(net, batches(flip=True), tmp_path / "f", 2)
    assert all((before[k] == v).all() for k, v in net.state_dict().items())


def test_half_precision_is_kept_as_it_is(tmp_path):
    net = network()
    exact = kept(net, batches(), tmp_path / "a", 1)
    half = kept(net, batches(), tmp_path / "b", 1, "bf16")
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
        truth = net.eval().features(torch.from_numpy(PREPROCESSING.normalise(PIXELS)))
    assert (half[0] == truth.float().numpy()).all()
    assert half == pytest.approx(exact, abs=0.05)
    # The last layer of this backbone, a normalisation, hands bfloat16 on.
    assert (tmp_path / "b").stat().st_size == 11 * 384 * truth.dtype.itemsize


def test_a_file_that_is_whole_is_taken_and_one_that_is_not_is_made_anew(tmp_path):
    net = network()
    first = kept(net, batches(flip=True), tmp_path / "f", 2)
    seen = []
    assert (kept(net, batches(flip=True), tmp_path / "f", 2, seen=seen) == first).all()
    assert seen == []
    (tmp_path / "f").rename(tmp_path / "f.part")
    assert (kept(net, batches(flip=True), tmp_path / "f", 2, seen=seen) == first).all()
    assert seen
    assert [f.name for f in tmp_path.iterdir()] == ["f"]


def test_progress_counts_images_of_all_views(tmp_path):
    seen = []
    kept(network(), batches(flip=True), tmp_path / "f", 3, seen=seen)
    assert [done for done, _ in seen] == [4, 8, 11, 15, 19, 22, 26, 30, 33]
    assert {total for _, total in seen} == {33}


def test_out_of_memory_names_the_setting():
    class Hungry(nn.Module):
        def forward(self, x):
            raise torch.OutOfMemoryError("CUDA out of memory")

    with pytest.raises(ResourceError, match=r"batch of 4 images.*`train.batch_size` to 2"):
        frozen_features(Network(Hungry(), nn.Flatten(), nn.Identity(), "backbone"), batches(), advance=print)
