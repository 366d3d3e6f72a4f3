"""A head trained on standardised features: it keeps its logits on the way in and out, and learns what hardly varies."""

from collections import OrderedDict
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn

from pellucid.models.network import Network
from pellucid.progress import Silent
from pellucid.recipe import validate_recipe
from pellucid.recipe_sections import AugmentSection
from pellucid.training import session
from pellucid.training.batches import FeatureBatches, ImageBatches
from pellucid.training.features import frozen_features
from pellucid.training.rows import Features
from pellucid.training.session import Training, train_network
from pellucid.training.standardizing import put_before_head, settle, take_out


def network(head=None, seed=0):
    """Six features: means of the input's channels in turn, each with a scale and an offset of its own."""
    torch.manual_seed(seed)
    backbone = nn.Sequential(OrderedDict(conv=nn.Conv2d(3, 6, 1)))
    backbone.conv.weight.data *= torch.tensor([1e-3, 1e-2, 0.1, 1, 10, 100])[:, None, None, None]
    backbone.requires_grad_(False)
    layers = head or OrderedDict(dropout=nn.Dropout(0.2), output=nn.Linear(6, 2))
    return Network(backbone, nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten()), nn.Sequential(layers), "conv").eval()


def images(count=40):
    rng = np.random.default_rng(0)
    pixels = (rng.uniform(0, 255, (count, 1, 1, 3)) + rng.uniform(0, 60, (count, 8, 8, 3))).clip(0, 255)
    preprocessing = validate_recipe({"data": {"size": 8}}, "test").preprocessing()
    labels = np.arange(count) % 2
    return ImageBatches(pixels.astype(np.uint8), np.arange(count), labels, preprocessing, AugmentSection(), 8, 0)


def kept(whole, batches):
    values = frozen_features(whole, batches, advance=lambda done, of: None)
    return FeatureBatches(Features.of(np.stack([values, values * 1.1])), np.arange(len(values)), batches.labels, 8, 0)


class TestMoments:
    def test_the_head_sees_mean_0_and_deviation_1_and_answers_as_before(self):
        whole, batches = network(), images()
        features = torch.from_numpy(frozen_features(whole, batches, advance=lambda done, of: None))
        with torch.no_grad():
            before = whole.head(features)
        assert put_before_head(whole)
        settle(whole, batches)
        seen = whole.head.standardized(features).numpy()
        deviations = features.numpy().std(axis=0)
        least = 0.1 * deviations.mean()
        assert seen.mean(axis=0) == pytest.approx(np.zeros(6), abs=1e-3)
        assert seen.std(axis=0) == pytest.approx(deviations / np.maximum(deviations, least), rel=1e-3)
        with torch.no_grad():
            assert whole.head(features).numpy() == pytest.approx(before.numpy(), abs=1e-4)
        take_out(whole)
        assert [n for n, _ in whole.head.named_children()] == ["dropout", "output"]
        with torch.no_grad():
            assert whole.head(features).numpy() == pytest.approx(before.numpy(), abs=1e-4)

    def test_of_cached_features_all_views_of_the_own_images_count(self):
        """Rows that belong to another part of the data change nothing."""
        whole, batches = network(), images()
        features = kept(whole, batches)
        own = replace(features, rows=features.rows[:25], labels=features.labels[:25])
        assert put_before_head(whole)
        settle(whole, own)
        values = frozen_features(whole, batches, advance=lambda done, of: None)[:25]
        both = np.concatenate([values, values * 1.1])
        deviation = both.std(axis=0)
        assert whole.head.standardized.mean.numpy() == pytest.approx(both.mean(axis=0), rel=1e-4)
        assert whole.head.standardized.deviation.numpy() == pytest.approx(
            np.maximum(deviation, 0.1 * deviation.mean()), rel=1e-3
        )

    def test_a_feature_that_never_varies_gets_a_deviation_of_its_own(self):
        whole, batches = network(), images()
        whole.backbone.conv.weight.data[0] = 0
        put_before_head(whole)
        settle(whole, batches)
        assert whole.head.standardized.deviation.min() > 0


class TestWhere:
    @pytest.mark.parametrize(
        "head",
        [
            OrderedDict(norm=nn.BatchNorm1d(6), output=nn.Linear(6, 2)),
            OrderedDict(output=nn.Linear(6, 2, bias=False)),
            OrderedDict(nothing=nn.Identity()),
        ],
    )
    def test_not_before_other_heads(self, head):
        whole = network(head)
        layers = [n for n, _ in whole.head.named_children()]
        assert not put_before_head(whole)
        assert [n for n, _ in whole.head.named_children()] == layers

    def test_not_while_the_backbone_trains(self):
        whole = network()
        whole.backbone.conv.bias.requires_grad_(True)
        assert not put_before_head(whole)


class TestTraining:
    def trained(self, folder, standardize, sign):
        """The class lies in a channel that varies by 2 of 255, beside two that vary by 120."""
        rng = np.random.default_rng(1)
        labels = rng.permutation(np.arange(120) % 2)
        pixels = np.full((120, 8, 8, 3), 100, np.uint8)
        pixels[..., :2] = rng.integers(0, 120, (120, 1, 1, 2))
        pixels[..., 2] += (sign * labels).astype(np.uint8)[:, None, None]
        values = {"epochs": 12, "batch_size": 8, "precision": "float32", "learning_rate": 0.01, "patience": 0}
        recipe = validate_recipe(
            {
                "data": {"size": 8, "values": "unit"},
                "model": {"backbone": "cnn", "weights": "none", "filters": [6], "freeze": "all", "pool": "average"},
                "train": values | {"standardize": standardize},
            },
            "test",
        )
        torch.manual_seed(0)
        whole = network(OrderedDict(output=nn.Linear(6, 1)))
        whole.backbone.conv.weight.data[:] = torch.eye(3).repeat(2, 1)[:, :, None, None]
        parts = [(pixels, rows, labels[rows]) for rows in (np.arange(80), np.arange(80, 120))]
        fitted = train_network(whole, Training(recipe, *parts, 2, seed=0, checkpoints=folder, progress=Silent()))
        return fitted.history.best_row["val_roc_auc"], [n for n, _ in whole.head.named_children()]

    def test_it_learns_what_hardly_varies(self, tmp_path, monkeypatch):
        monkeypatch.setattr(session, "pick_device", lambda: torch.device("cpu"))
        plain, _ = self.trained(tmp_path / "a", False, 6)
        scaled, layers = self.trained(tmp_path / "b", True, 6)
        assert scaled > 0.99 > 0.9 > plain
        assert layers == ["output"]
