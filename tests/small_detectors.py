"""A small anomaly detector that has learnt noise."""

from __future__ import annotations

from pathlib import Path

from tests.small_networks import manifest_of, network_of, noise

from pellucid.anomaly.crossfit import scored
from pellucid.anomaly.fitting import fit_detector, with_units
from pellucid.models.anomaly_export import export_detector
from pellucid.models.patch_features import PatchFeatures, choose_guide, choose_layers, feature_graph
from pellucid.recipe import Recipe
from pellucid.recipe_anomaly import AnomalySection


def detector_at(folder: Path, recipe: Recipe) -> Path:
    """A detector of the recipe's backbone and size as a bundle in a new folder."""
    network, shape = network_of(recipe).eval(), recipe.preprocessing()
    size = (shape.height, shape.width)
    layers = choose_layers(network.backbone, "cnn", (), size)
    guide = choose_guide(network.backbone, layers, size)
    graph = feature_graph(PatchFeatures(network.backbone, layers, guide=guide), size)
    features = graph.session()(noise(20, size))
    patches = features.patches.reshape(20, -1, features.patches.shape[-1])
    section = AnomalySection(memory=30, candidates=200)
    fitted = fit_detector(patches, features.statistics, graph.grid, section)
    fitted, seen = scored(fitted, features).placed(fitted)
    fitted = with_units(fitted, seen.local, seen.image)
    fitted = seen.shown_above(fitted, 0.05, gathers=True)
    manifest = manifest_of(network, shape, 2, network.explained_layer)
    manifest = manifest.model_copy(update={"task": "anomaly", "layer": graph.layer})
    export_detector(graph, fitted, manifest, folder, images=noise(2, size))
    return folder
