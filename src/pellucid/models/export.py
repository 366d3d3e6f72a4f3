"""A trained network to a bundle: graph, weights, manifest, and the proof that graph and network agree.

The graph and the network are compared on real images before the bundle gets its name: an export that is off by more
than the tolerance never exists.
"""

from __future__ import annotations

import copy
import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import torch
from safetensors.torch import save
from torch import nn

from ..bundle.io import model_session, read_bundle, write_bundle
from ..bundle.manifest import MODEL, WEIGHTS, Layer, Manifest, Parity
from ..bundle.onnx_classifier import OnnxClassifier
from ..errors import InputError, ParityError, PellucidError
from ..explanation.cam import grad_cam
from ..preprocessing import FloatArray
from .evidence_graph import trace_evidence
from .geometry import grid_geometry
from .network import explained_module
from .torch_classifier import TorchClassifier

TOLERANCE = 1e-3


def export_bundle(network: nn.Module, manifest: Manifest, folder: Path, *, images: FloatArray, source: str) -> Manifest:
    """Write `network` as a bundle into the new folder `folder`; returns the finished manifest.

    `manifest.explained_layer.name` names the explained layer; its sizes and geometry are filled in here. `images` (N, 3, H, W)
    are real preprocessed images, from `source`, on which graph and network are compared. Raises ParityError when a
    probability or a heat map differs by more than 1e-3, InputError when the network cannot be written as such a graph.
    """
    if not len(images):
        raise InputError("An export is proven on real images: give at least one.")
    frozen = frozen_copy(network)
    layer = explained_module(frozen, manifest.explained_layer.name)
    size = (manifest.preprocessing.height, manifest.preprocessing.width)
    with _one_sentence(manifest), _quiet():
        graph, example = trace_evidence(frozen, layer, size, manifest.logits)
        _, activations, _ = graph(*example)
        program: Any = torch.onnx.export(
            graph,
            example,
            dynamo=True,
            verbose=False,
            dynamic_shapes=_dynamic_shapes(),
            input_names=["image", "target", "contrast"],
            output_names=["logits", "activations", "gradients"],
        )
    cells = (int(activations.shape[2]), int(activations.shape[3]))
    geometry = grid_geometry(graph, cells, size)
    described = Layer(
        name=manifest.explained_layer.name,
        channels=int(activations.shape[1]),
        height=cells[0],
        width=cells[1],
        stride=geometry.stride,
        offset=geometry.offset,
    )
    manifest = manifest.model_copy(update={"layer": described})
    with write_bundle(folder, manifest) as draft:
        program.save(str(draft.folder / MODEL), external_data=False)
        (draft.folder / WEIGHTS).write_bytes(save({k: v.contiguous() for k, v in frozen.state_dict().items()}))
        exported = OnnxClassifier(manifest, model_session(draft.folder / MODEL))
        parity = measure_parity(TorchClassifier(frozen, manifest), exported, images, source)
        draft.manifest = manifest.model_copy(update={"parity": parity})
    return read_bundle(folder)


def measure_parity(reference: TorchClassifier, exported: OnnxClassifier, images: FloatArray, source: str) -> Parity:
    """Compare two classifiers on images: the largest difference of a probability and of a Grad-CAM map.

    A map's difference is a share of its own largest value.
    Raises ParityError over the tolerance.
    """
    probability = heat_map = 0.0
    for start in range(0, len(images), 16):
        batch = images[start : start + 16]
        difference = np.abs(reference.probabilities(batch) - exported.probabilities(batch))
        # NumPy's maximum keeps a value that is no number; Python's max may drop it.
        probability = float(np.maximum(probability, difference.max()))
        ours, theirs = (
            grad_cam(e.activations, e.gradients) for e in (exported.evidence(batch), reference.evidence(batch))
        )
        largest = np.maximum(np.abs(theirs).max(axis=(1, 2, 3)), np.finfo(np.float32).tiny)
        heat_map = float(np.maximum(heat_map, (np.abs(ours - theirs).max(axis=(1, 2, 3)) / largest).max()))
    if not (probability <= TOLERANCE and heat_map <= TOLERANCE):
        raise ParityError(
            f"The exported graph differs from the network by {probability:.2g} in a probability and {heat_map:.2g} "
            f"of a heat map's largest value ({len(images)} images of {source}); up to {TOLERANCE:g} is accepted. "
            "No bundle was written; please report this with the recipe."
        )
    versions = {"torch": torch.__version__, "onnxruntime": onnxruntime.__version__}
    return Parity(
        images=len(images),
        source=source,
        probability=probability,
        heat_map=heat_map,
        tolerance=TOLERANCE,
        versions=versions,
    )


def frozen_copy(network: nn.Module) -> nn.Module:
    """A copy on the CPU in float32 and evaluation mode, without gradients and without in-place activations."""
    frozen: nn.Module = copy.deepcopy(network).to("cpu", torch.float32)
    frozen.to(memory_format=torch.contiguous_format).eval()
    for parameter in frozen.parameters():
        parameter.requires_grad_(False)
    for module in frozen.modules():
        if getattr(module, "inplace", False):
            module.inplace = False  # type: ignore[assignment]
    return frozen


def _dynamic_shapes() -> tuple[dict[int, torch.export.Dim], dict[int, torch.export.Dim], None]:
    images = torch.export.Dim("images", min=1, max=65536)
    targets = torch.export.Dim("targets", min=1, max=65536)
    return {0: images}, {0: images, 1: targets}, None


@contextmanager
def _one_sentence(manifest: Manifest) -> Iterator[None]:
    """Whatever a tracer or an exporter raises becomes one InputError; what they raised stays its cause."""
    try:
        yield
    except (PellucidError, MemoryError):
        raise
    except Exception as error:  # torch's tracer, its exporter and onnxscript share no base
        root: BaseException = error
        while root.__cause__ is not None:
            root = root.__cause__
        said = next(iter(str(root).strip().splitlines()), "") or type(root).__name__
        raise InputError(
            f"The backbone {manifest.architecture.get('backbone', manifest.name)!r} cannot be exported with "
            f"{manifest.explained_layer.name!r} as its explained layer: {said[:300].rstrip('.')}. Choose another of either."
        ) from error


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep the exporter's remarks about itself from the user."""
    logger = logging.getLogger("torch.onnx")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.setLevel(level)
