"""Patches and statistics of a backbone's inner layers, as one graph of forward operations."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import torch
from torch import nn
from torch.nn import functional

from ..anomaly.detector import ImageFeatures
from ..anomaly.memory import patches_of
from ..anomaly.moments import LEAST
from ..bundle.io import model_session
from ..bundle.manifest import Layer
from ..errors import InputError, PellucidError
from ..preprocessing import FloatArray
from .evidence_graph import trace_forward
from .further_graphs import root_sentence
from .geometry import grid_geometry
from .layers import SpatialLayer, find_layer, spatial_layers
from .layout import Grids
from .onnx_file import onnx_program, quiet
from .traced_layer import frozen_copy

MAP_NAME = "anomaly map"

KNOWN: dict[str, tuple[str, ...]] = {
    "tf_efficientnet_lite": ("blocks.4", "blocks.5"),
    "mobilenet_v2": ("features.13", "features.16"),
    "resnet": ("layer2", "layer3"),
    "wide_resnet": ("layer2", "layer3"),
}
"""Layers that were measured, or published, to serve, by the beginning of the backbone's name."""
STRIDES = (8, 16)


class PatchFeatures(nn.Module):
    """Images (N, 3, H, W) to statistics (N, S), and patches (N, C, h, w) of several layers on the finest grid.

    Each layer's map is averaged over `smoothing` x `smoothing` cells ("locally aware", Roth et al. 2022, section 3.1)
    and brought to the grid of the finest layer, bilinearly. With `padded` what is outside the image counts as 0, as
    published, and else not at all. Statistics are those of `anomaly.moments`, of each layer before smoothing, and each
    layer's map comes last, as it is.
    """

    def __init__(self, backbone: nn.Module, layers: Sequence[str], smoothing: int = 3, *, padded: bool = False) -> None:
        super().__init__()
        self.backbone, self.smoothing, self.padded = backbone, smoothing, padded
        self.layers = tuple(find_layer(backbone, name) for name in layers)

    def maps(self, image: torch.Tensor) -> list[torch.Tensor]:
        """The chosen layers' maps (N, C_i, h_i, w_i), in the order of `layers`."""
        seen: dict[str, torch.Tensor] = {}

        def keep(name: str) -> Any:
            def hook(module: nn.Module, inputs: Any, output: Any) -> None:
                seen[name] = output

            return hook

        handles = [self.backbone.get_submodule(name).register_forward_hook(keep(name)) for name in self.layers]
        grids = Grids(self.backbone, image.shape[2:])
        try:
            with grids.watching(self.backbone):
                self.backbone(image)
        finally:
            for handle in handles:
                handle.remove()
        return [self._as_map(name, seen.get(name), grids) for name in self.layers]

    def _as_map(self, name: str, output: Any, grids: Grids) -> torch.Tensor:
        layout = grids.layout(output)
        if layout is None:
            raise InputError(f"The layer {name} gives no feature map: choose others by anomaly.layers.")
        return layout.maps(layout.of(output))

    def forward(self, image: torch.Tensor) -> tuple[torch.Tensor, ...]:
        maps = self.maps(image)
        grid = max((m.shape[2:] for m in maps), key=lambda size: size[0] * size[1])
        statistics = torch.cat([part for m in maps for part in _moments(m)], 1)
        return statistics, torch.cat([self._on_grid(m, grid) for m in maps], 1), *maps

    def _on_grid(self, values: torch.Tensor, grid: Any) -> torch.Tensor:
        if self.smoothing > 1:
            around = self.smoothing // 2
            values = functional.avg_pool2d(values, self.smoothing, 1, around, count_include_pad=self.padded)
        if values.shape[2:] == grid:
            return values
        return functional.interpolate(values, size=(int(grid[0]), int(grid[1])), mode="bilinear", align_corners=False)


def _moments(values: torch.Tensor) -> list[torch.Tensor]:
    """`anomaly.moments.moments` in torch: the mean, and logs of root mean squares, (N, C) each."""
    mean = values.mean((2, 3), keepdim=True)
    down = torch.cat([values[:, :, 1:], values[:, :, -1:]], 2) - values
    right = torch.cat([values[..., 1:], values[..., -1:]], 3) - values
    squares = [(part * part).mean((2, 3)) + LEAST for part in (values - mean, down, right)]
    return [mean.flatten(1), *(square.log() / 2 for square in squares)]


def choose_layers(backbone: nn.Module, name: str, wanted: Sequence[str], size: tuple[int, int]) -> tuple[str, ...]:
    """The layers whose features are used: those `wanted`, else those known for the family, else by their stride.

    By stride means the last layer of each resolution of an eighth and a sixteenth of the image, or the last one that
    there is. `size` is that of the input. The backbone is in evaluation mode.
    """
    if wanted:
        return tuple(find_layer(backbone, layer) for layer in wanted)
    bare = name.removeprefix("timm/")
    for family, layers in KNOWN.items():
        if bare.startswith(family):
            return tuple(find_layer(backbone, layer) for layer in layers)
    found = spatial_layers(backbone, size)
    if not found:
        raise InputError(f"The backbone {name} has no layer with a feature map: choose another.")
    last: dict[int, SpatialLayer] = {}
    for layer in found:
        last[round(size[0] / layer.height)] = layer
    chosen = [last[stride].name for stride in STRIDES if stride in last]
    return tuple(chosen or [found[-1].name])


@dataclass(frozen=True)
class FeatureGraph:
    """Features as an ONNX model: `image` (N, 3, H, W) to `statistics` (N, S), `patches` (N, C, h, w), and the maps.

    `shapes` are the (C, h, w) of the layers' maps, whose names are `map_0` and so on. `layer` says where the cells lie
    on the input; it has one channel, the distance that a detector makes of it.
    """

    model: onnx.ModelProto
    layer: Layer
    layers: tuple[str, ...]
    shapes: tuple[tuple[int, int, int], ...]

    @property
    def grid(self) -> tuple[int, int]:
        """Height and width in cells."""
        return self.layer.height, self.layer.width

    def session(self) -> FeatureSession:
        """A session that computes the features."""
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "features.onnx"
            path.write_bytes(self.model.SerializeToString())
            return FeatureSession(model_session(path))


@dataclass(frozen=True)
class FeatureSession:
    """Features of images by ONNX Runtime."""

    session: onnxruntime.InferenceSession

    def __call__(self, batch: FloatArray) -> ImageFeatures:
        """Features of tensors (N, 3, H, W)."""
        statistics, patches, *maps = self.session.run(None, {"image": np.ascontiguousarray(batch)})
        return ImageFeatures(patches_of([patches]), statistics, tuple(maps))


def feature_graph(features: PatchFeatures, size: tuple[int, int]) -> FeatureGraph:
    """Trace a `PatchFeatures` and write it as ONNX. Raises InputError, in one sentence, for what cannot be exported."""
    frozen = frozen_copy(features)
    try:
        with quiet():
            graph, example = trace_forward(frozen, (3, *size))
            names = [f"map_{i}" for i in range(len(features.layers))]
            program = onnx_program(graph, example, ("image",), ("statistics", "patches", *names))
            _, patches, *maps = graph(*example)
    except (PellucidError, MemoryError):
        raise
    except Exception as error:  # torch's tracer, its exporter and onnxscript share no base
        listed = " and ".join(features.layers)
        raise InputError(
            f"The features of {listed} cannot be exported: {root_sentence(error)}. Choose other anomaly.layers, or "
            "another backbone."
        ) from error
    cells = (int(patches.shape[2]), int(patches.shape[3]))
    geometry = grid_geometry(graph, cells, size)
    layer = Layer(
        name=MAP_NAME, channels=1, height=cells[0], width=cells[1], stride=geometry.stride, offset=geometry.offset
    )
    shapes = tuple((int(m.shape[1]), int(m.shape[2]), int(m.shape[3])) for m in maps)
    return FeatureGraph(program, layer, features.layers, shapes)
