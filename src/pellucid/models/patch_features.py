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
from ..anomaly.gathering import MOST_PAIRS
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


@dataclass(frozen=True, slots=True)
class Guide:
    """The early `layer` that says which cells look alike (`anomaly.gathering`), averaged over `step` cells each way."""

    layer: str
    step: int = 1


class PatchFeatures(nn.Module):
    """Images (N, 3, H, W) to statistics (N, S), and patches (N, C, h, w) of several layers on the finest grid.

    Each layer's map is averaged over `smoothing` x `smoothing` cells ("locally aware", Roth et al. 2022, section 3.1)
    and brought to the grid of the finest layer, bilinearly. With `padded` what is outside the image counts as 0, as
    published, and else not at all. Statistics are those of `anomaly.moments`, of each layer before smoothing, and each
    layer's map comes after them, as it is. A `guide`, if any, comes last (N, C, H, W), averaged as the others.
    """

    def __init__(
        self,
        backbone: nn.Module,
        layers: Sequence[str],
        smoothing: int = 3,
        *,
        padded: bool = False,
        guide: Guide | None = None,
    ) -> None:
        super().__init__()
        self.backbone, self.smoothing, self.padded, self.guide = backbone, smoothing, padded, guide
        self.layers = tuple(find_layer(backbone, name) for name in layers)

    def maps(self, image: torch.Tensor, layers: Sequence[str]) -> list[torch.Tensor]:
        """The maps (N, C_i, h_i, w_i) of `layers`, in their order."""
        seen: dict[str, torch.Tensor] = {}

        def keep(name: str) -> Any:
            def hook(module: nn.Module, inputs: Any, output: Any) -> None:
                seen[name] = output

            return hook

        handles = [
            self.backbone.get_submodule(name).register_forward_hook(keep(name)) for name in dict.fromkeys(layers)
        ]
        grids = Grids(self.backbone, image.shape[2:])
        try:
            with grids.watching(self.backbone):
                self.backbone(image)
        finally:
            for handle in handles:
                handle.remove()
        return [self._as_map(name, seen.get(name), grids) for name in layers]

    def _as_map(self, name: str, output: Any, grids: Grids) -> torch.Tensor:
        layout = grids.layout(output)
        if layout is None:
            raise InputError(f"The layer {name} gives no feature map: choose others by anomaly.layers.")
        return layout.maps(layout.of(output))

    def forward(self, image: torch.Tensor) -> tuple[torch.Tensor, ...]:
        guided = () if self.guide is None else (self.guide.layer,)
        maps = self.maps(image, (*self.layers, *guided))
        guides = [self._averaged(m) for m in maps[len(self.layers) :]]
        maps = maps[: len(self.layers)]
        grid = max((m.shape[2:] for m in maps), key=lambda size: size[0] * size[1])
        statistics = torch.cat([part for m in maps for part in _moments(m)], 1)
        if self.guide is not None and self.guide.step > 1:
            guides = [functional.avg_pool2d(m, self.guide.step) for m in guides]
        return statistics, torch.cat([self._on_grid(m, grid) for m in maps], 1), *maps, *guides

    def _averaged(self, values: torch.Tensor) -> torch.Tensor:
        if self.smoothing < 2:
            return values
        return functional.avg_pool2d(values, self.smoothing, 1, self.smoothing // 2, count_include_pad=self.padded)

    def _on_grid(self, values: torch.Tensor, grid: Any) -> torch.Tensor:
        values = self._averaged(values)
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


def choose_guide(backbone: nn.Module, layers: Sequence[str], size: tuple[int, int]) -> Guide | None:
    """The guide of a map on the finest grid of `layers`: the last layer of twice its height and width, if there is one.

    Of several, one of those that have fewest parents. Where that many pairs of cells would take too much memory, its
    cells are averaged to that grid, and where these do, too, there is no guide.
    """
    found = spatial_layers(backbone, size)
    height, width = max(((s.height, s.width) for s in found if s.name in layers), default=(0, 0))
    finer = [s.name for s in found if (s.height, s.width) == (2 * height, 2 * width)]
    pairs = (height * width) ** 2
    if not finer or pairs > MOST_PAIRS:
        return None
    fewest = min(name.count(".") for name in finer)
    return Guide([name for name in finer if name.count(".") == fewest][-1], 1 if 4 * pairs <= MOST_PAIRS else 2)


@dataclass(frozen=True)
class FeatureGraph:
    """Features as an ONNX model: `image` (N, 3, H, W) to `statistics` (N, S), `patches` (N, C, h, w), and the maps.

    `shapes` are the (C, h, w) of the layers' maps, whose names are `map_0` and so on, and `guide` is that of the guide
    (C, H, W), whose name is `guide`, if there is one. `layer` says where the cells of a detector's map lie on the
    input: those of the guide, or else of the `grid` of the patches. It has one channel, the distance.
    """

    model: onnx.ModelProto
    layer: Layer
    layers: tuple[str, ...]
    shapes: tuple[tuple[int, int, int], ...]
    grid: tuple[int, int]
    guide: tuple[int, int, int] | None = None

    def session(self) -> FeatureSession:
        """A session that computes the features."""
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "features.onnx"
            path.write_bytes(self.model.SerializeToString())
            return FeatureSession(model_session(path), self.guide is not None)


@dataclass(frozen=True)
class FeatureSession:
    """Features of images by ONNX Runtime."""

    session: onnxruntime.InferenceSession
    guided: bool = False

    def __call__(self, batch: FloatArray) -> ImageFeatures:
        """Features of tensors (N, 3, H, W)."""
        statistics, patches, *maps = self.session.run(None, {"image": np.ascontiguousarray(batch)})
        guide = maps.pop() if self.guided else None
        return ImageFeatures(patches_of([patches]), statistics, tuple(maps), guide)


def feature_graph(features: PatchFeatures, size: tuple[int, int]) -> FeatureGraph:
    """Trace a `PatchFeatures` and write it as ONNX. Raises InputError, in one sentence, for what cannot be exported."""
    frozen = frozen_copy(features)
    try:
        with quiet():
            graph, example = trace_forward(frozen, (3, *size))
            names = [f"map_{i}" for i in range(len(features.layers))]
            names += [] if features.guide is None else ["guide"]
            program = onnx_program(graph, example, ("image",), ("statistics", "patches", *names))
            _, *maps = graph(*example)
    except (PellucidError, MemoryError):
        raise
    except Exception as error:  # torch's tracer, its exporter and onnxscript share no base
        listed = " and ".join(features.layers)
        raise InputError(
            f"The features of {listed} cannot be exported: {root_sentence(error)}. Choose other anomaly.layers, or "
            "another backbone."
        ) from error
    patches, *shapes = [(int(m.shape[1]), int(m.shape[2]), int(m.shape[3])) for m in maps]
    guide = None if features.guide is None else shapes.pop()
    height, width = (guide or patches)[1:]
    geometry = grid_geometry(graph, (height, width), size, output=1 if guide is None else len(names) + 1)
    layer = Layer(name=MAP_NAME, channels=1, height=height, width=width, stride=geometry.stride, offset=geometry.offset)
    return FeatureGraph(program, layer, features.layers, tuple(shapes), patches[1:], guide)
