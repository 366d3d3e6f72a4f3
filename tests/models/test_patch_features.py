"""Patches of several layers are those of PatchCore's publication: each channel's mean around a cell, 0 outside."""

from __future__ import annotations

import numpy as np
import torch
from tests.small_networks import network_of, noise, recipe_of
from torch.nn import functional

from pellucid.models.layers import spatial_layers
from pellucid.models.patch_features import PatchFeatures, feature_graph


def test_patches_are_means_around_a_cell_with_zeros_outside() -> None:
    network = network_of(recipe_of("cnn", 24))
    layers = [layer.name for layer in spatial_layers(network.backbone, (24, 24)) if layer.height in (12, 24)][-2:]
    images = noise(2, 24)
    found = feature_graph(PatchFeatures(network.backbone, layers, padded=True), (24, 24)).session()(images)
    expected = []
    for values in found.maps:
        maps = torch.from_numpy(values)
        # As its authors write it: neighbourhoods cut out of the padded map, then averaged.
        around = functional.unfold(maps, 3, padding=1).reshape(*maps.shape[:2], 9, *maps.shape[2:]).mean(2)
        expected.append(functional.interpolate(around, found.patches.shape[1:3], mode="bilinear").numpy())
    want = np.concatenate(expected, axis=1).transpose(0, 2, 3, 1)
    np.testing.assert_allclose(found.patches, want, atol=1e-5)
