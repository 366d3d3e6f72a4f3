"""What comes in a batch: every image once, in an order that seed and epoch decide, as preprocessing would give it."""

from itertools import chain

import numpy as np
import pytest
import torch
from scipy import stats

from pellucid.errors import InputError
from pellucid.preprocessing import Preprocessing
from pellucid.recipe_sections import AugmentSection
from pellucid.training.batches import FeatureBatches, ImageBatches, Order, ProcessShare
from pellucid.training.rows import Features

PREPROCESSING = Preprocessing(
    height=8, width=9, mean=(0.485, 0.456, 0.406), deviation=(0.229, 0.224, 0.225), scale=1 / 255
)
PIXELS = np.random.default_rng(1).integers(0, 256, (40, 8, 9, 3), dtype=np.uint8)
ROWS = np.random.default_rng(2).permutation(40)[:23]
SIZES = [(10, 4, [4, 4, 2]), (9, 4, [4, 5]), (8, 4, [4, 4]), (5, 4, [5]), (1, 4, [1]), (3, 1, [1, 2]), (4, 9, [4])]


def of_images(rows=ROWS, batch_size=5, seed=0, augmentation=None, pixels=PIXELS):
    """Image batches whose labels are the positions, so that every image can be told."""
    positions = np.arange(len(rows))
    return ImageBatches(pixels, rows, positions, PREPROCESSING, augmentation or AugmentSection(), batch_size, seed)


def of_features(count=23, views=3, batch_size=5, seed=0):
    """Feature batches whose feature says the view, and whose label says the image."""
    features = np.broadcast_to(np.arange(views, dtype=np.float32)[:, None, None], (views, count, 2)).copy()
    features[..., 1] = np.arange(count)
    return FeatureBatches(Features.of(features), np.arange(count), np.arange(count), batch_size, seed)


def whole(stream):
    inputs, labels = zip(*stream, strict=True)
    return torch.cat(inputs), torch.cat(labels).numpy()


@pytest.mark.parametrize("make", [of_images, of_features])
class TestOrder:
    def test_each_epoch_holds_every_image_once(self, make):
        batches = make()
        for epoch in range(4):
            assert sorted(whole(batches.shuffled(epoch))[1]) == list(range(23))

    def test_it_depends_on_seed_and_epoch_only(self, make):
        def order(epoch, **options):
            return whole(make(**options).shuffled(epoch))[1].tolist()

        assert order(3) == order(3, batch_size=7)
        different = [order(1), order(2), order(1, seed=1), order(2, seed=1), list(range(23))]
        assert len({tuple(o) for o in different}) == 5

    def test_the_same_epoch_twice_is_the_same(self, make):
        batches = make()
        first = whole(batches.shuffled(2))
        list(batches.shuffled(3))
        second = whole(batches.shuffled(2))
        assert (first[0] == second[0]).all()
        assert (first[1] == second[1]).all()

    def test_in_order_is_the_order_given(self, make):
        assert whole(make().in_order())[1].tolist() == list(range(23))

    @pytest.mark.parametrize(("count", "size", "wanted"), SIZES)
    def test_a_last_image_on_its_own_joins_its_neighbours(self, make, count, size, wanted):
        options = {"rows": np.arange(count)} if make is of_images else {"count": count}
        batches = make(batch_size=size, **options)
        assert [len(labels) for _, labels in batches.shuffled(1)] == wanted
        assert batches.steps == len(wanted)


def test_images_and_their_features_come_in_the_same_order():
    assert whole(of_images().shuffled(4))[1].tolist() == whole(of_features().shuffled(4))[1].tolist()
    assert of_images().order(4).tolist() == whole(of_images().shuffled(4))[1].tolist()


class TestImages:
    def test_in_order_they_are_as_preprocessing_gives_them(self):
        inputs, _ = whole(of_images().in_order())
        assert inputs.numpy() == pytest.approx(PREPROCESSING.normalise(PIXELS[ROWS]), abs=1e-5)

    def test_shuffled_too_when_nothing_is_changed(self):
        inputs, labels = whole(of_images().shuffled(1))
        assert inputs.numpy() == pytest.approx(PREPROCESSING.normalise(PIXELS[ROWS[labels]]), abs=1e-5)

    def test_rows_may_repeat(self):
        rows = np.array([7, 3, 7, 7, 0])
        inputs, labels = whole(of_images(rows, batch_size=5).shuffled(1))
        assert inputs.numpy() == pytest.approx(PREPROCESSING.normalise(PIXELS[rows[labels]]), abs=1e-5)

    def test_a_file_mapped_for_reading_serves(self, tmp_path):
        PIXELS.tofile(tmp_path / "pixels")
        mapped = np.memmap(tmp_path / "pixels", np.uint8, "r", shape=PIXELS.shape)
        assert (whole(of_images(pixels=mapped).shuffled(1))[0] == whole(of_images().shuffled(1))[0]).all()

    def test_they_are_changed_when_shuffled_and_never_in_order(self):
        batches = of_images(augmentation=AugmentSection(flip=True))
        plain, _ = whole(of_images().in_order())
        assert (whole(batches.in_order())[0] == plain).all()
        inputs, labels = whole(batches.shuffled(1))
        originals = plain[torch.from_numpy(labels)]
        mirrored = ((inputs - originals.flip(-1)).abs().amax(dim=(1, 2, 3)) < 1e-4).sum()
        same = ((inputs - originals).abs().amax(dim=(1, 2, 3)) < 1e-4).sum()
        assert same + mirrored == 23
        assert 4 <= mirrored <= 19

    def test_changes_follow_seed_and_epoch(self):
        def changed(epoch, seed=0):
            section = AugmentSection(brightness=0.3)
            inputs, labels = whole(of_images(seed=seed, augmentation=section).shuffled(epoch))
            return inputs[np.argsort(labels)]

        assert (changed(1) == changed(1)).all()
        assert not torch.allclose(changed(1), changed(2), atol=1e-3)
        assert not torch.allclose(changed(1), changed(1, seed=1), atol=1e-3)


class TestFeatures:
    def test_each_is_some_view_of_its_own_image(self):
        batches, seen = of_features(views=3), np.zeros((3, 23), int)
        for epoch in range(60):
            inputs, labels = whole(batches.shuffled(epoch))
            assert (inputs[:, 1].numpy() == labels).all()
            seen[inputs[:, 0].numpy().astype(int), labels] += 1
        assert (seen > 0).all()
        assert stats.chisquare(seen.sum(axis=1)).pvalue > 0.01

    def test_in_order_only_the_plain_view_is_used(self):
        inputs, _ = whole(of_features().in_order())
        assert (inputs[:, 0] == 0).all()
        assert inputs[:, 1].tolist() == list(range(23))


class TestShares:
    @pytest.mark.parametrize("make", [of_images, of_features])
    @pytest.mark.parametrize("processes", [2, 3])
    def test_processes_divide_each_batch_among_them(self, make, processes):
        alone = [labels.tolist() for _, labels in make(batch_size=6).shuffled(2)]
        parts = []
        for rank in range(processes):
            batches = make(batch_size=6)
            batches.share = ProcessShare(rank, processes)
            batches.__post_init__()
            parts.append([labels.tolist() for _, labels in batches.shuffled(2)])
            assert len(parts[-1]) == batches.steps
        joined = [sorted(chain(*own)) for own in zip(*parts, strict=True)]
        assert joined == [sorted(own) for own in alone]

    def test_a_share_of_images_is_changed_as_alone(self):
        section = AugmentSection(rotation=20, flip=True, brightness=0.2, blur=1.0)
        whole, labels = whole_of(of_images(augmentation=section))
        for rank in range(2):
            batches = of_images(augmentation=section)
            batches.share = ProcessShare(rank, 2)
            batches.__post_init__()
            part, own = whole_of(batches)
            assert part.numpy() == pytest.approx(whole[np.argsort(labels)][own].numpy(), abs=1e-5)

    def test_blocks_in_order_are_all_images_once(self):
        blocks = [Order(np.zeros(11, np.int64), 4, 0, ProcessShare(r, 3)).block().tolist() for r in range(3)]
        assert list(chain(*blocks)) == list(range(11))

    def test_every_process_needs_an_image(self):
        with pytest.raises(InputError, match="2 images cannot be shared by 3 processes"):
            Order(np.zeros(2, np.int64), 4, 0, ProcessShare(0, 3))


def whole_of(batches):
    return whole(batches.shuffled(1))


@pytest.mark.parametrize("counts", [(50, 5), (7, 30, 20), (1, 9)])
def test_balanced_sampling_draws_every_class_equally_often(counts):
    labels = np.repeat(np.arange(len(counts)), counts)
    order = Order(labels, 8, 0, sampling="balanced")
    seen = np.zeros(len(labels))
    for epoch in range(40):
        drawn = order.of(epoch)
        sizes = np.bincount(labels[drawn])
        assert len(drawn) == len(labels)
        assert sizes.max() - sizes.min() <= 1
        times = np.bincount(drawn, minlength=len(labels))
        for c in range(len(counts)):
            assert np.ptp(times[labels == c]) <= 1
        seen += times
    assert (seen > 0).all()
    assert (order.of(1) == order.of(1)).all()
    assert not (order.of(1) == order.of(2)).all()
