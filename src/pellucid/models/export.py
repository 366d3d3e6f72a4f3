"""A trained network to a bundle: graph, weights, manifest, and the proof that graph and network agree.

The graph and the network are compared on real images before the bundle gets its name: an export that is off by more
than the tolerance never exists.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import onnxruntime
import torch
from safetensors.torch import save
from torch import nn
from torch.fx.experimental.symbolic_shapes import GuardOnDataDependentSymNode

from ..bundle.io import read_bundle, write_bundle
from ..bundle.manifest import MODEL, WEIGHTS, Manifest, Parity
from ..bundle.onnx_classifier import OnnxClassifier
from ..bundle.stored_answers import ANSWERS, INPUT_GRADIENT, LOGITS, MAP_OF, exactly_stored, pack_answers
from ..errors import InputError, ParityError, PellucidError
from ..explanation.cam import grad_cam
from ..preprocessing import FloatArray
from .further_graphs import GRADIENT_TOLERANCE, QUESTION, FurtherGraphs, gradient_differences, root_of, root_sentence
from .onnx_file import StoredWeights, onnx_program, quiet, save_beside
from .torch_classifier import TorchClassifier
from .traced_layer import frozen_copy, trace_layer

__all__ = ["TOLERANCE", "export_bundle", "frozen_copy", "measure_parity"]

TOLERANCE = 1e-3
FURTHER_TOLERANCE = 1e-2
"""Of maps of further layers: of the many ReLUs behind, some have an input of 0 within rounding, on either side."""


def export_bundle(
    network: nn.Module,
    manifest: Manifest,
    folder: Path,
    *,
    images: FloatArray,
    source: str,
    layers: Sequence[str] = (),
    every_method: bool = False,
) -> Manifest:
    """Write `network` as a bundle into the new folder `folder`; returns the finished manifest.

    `manifest.explained_layer` names the explained layer; its sizes and geometry are filled in here. `layers` are
    further ones, each with a graph of its own. With `every_method` there are graphs for integrated gradients and its
    kind, for ablation-cam and for methods that combine several layers; one of these that cannot be written is left out,
    and `missing` in the manifest says why.
    `images` (N, 3, H, W) are real preprocessed images, from `source`, on which graphs and network are compared. Raises
    ParityError when a probability or a heat map differs by more than 1e-3, UnknownNameError for a layer that is not
    there, InputError when the network cannot be written as such a graph.
    """
    if not len(images):
        raise InputError("An export is proven on real images: give at least one.")
    frozen = frozen_copy(network)
    size = (manifest.preprocessing.height, manifest.preprocessing.width)
    with _one_sentence(manifest, manifest.explained_layer.name), quiet():
        traced = trace_layer(frozen, manifest.explained_layer.name, size, manifest.logits)
        program = onnx_program(traced.graph, traced.example, QUESTION, ("logits", "activations", "gradients"))
    weights = StoredWeights(save({k: v.clone().contiguous() for k, v in frozen.state_dict().items()}))
    with write_bundle(folder, manifest) as draft:
        (draft.folder / WEIGHTS).write_bytes(weights.content)
        save_beside(program, draft.folder / MODEL, weights)
        manifest = manifest.model_copy(update={"layer": traced.layer})
        graphs = FurtherGraphs(frozen, manifest, draft.folder, weights, images)
        with _one_sentence(manifest, " and ".join(layers)), quiet():
            graphs.write_layers(layers)
        further = [layer.name for layer in graphs.manifest.layers]
        reference = TorchClassifier(frozen, graphs.manifest)
        parity = measure_parity(reference, graphs.exported(), images, source, further)
        if every_method:
            graphs.write_tails()
            graphs.write_layered()
            parity = parity.model_copy(update={"input_gradient": graphs.write_input_gradients()})
        (draft.folder / ANSWERS).write_bytes(stored_answers(frozen, graphs.manifest, graphs.exported(), images))
        draft.manifest = graphs.manifest.model_copy(update={"parity": parity})
    return read_bundle(folder)


def stored_answers(frozen: nn.Module, manifest: Manifest, exported: OnnxClassifier, images: FloatArray) -> bytes:
    """What the network itself answers for a few of the images, as the bundle keeps it for `pellucid verify`."""
    asked = exactly_stored(images)
    network = TorchClassifier(frozen, manifest)
    answers = {LOGITS: network.logits(asked)}
    for layer in (manifest.explained_layer, *manifest.layers):
        evidence = network.at(layer.name).evidence(asked)
        answers[MAP_OF + layer.name] = grad_cam(evidence.activations, evidence.gradients)[:, 0]
    if manifest.input_gradients is not None:
        gradients = network.input_gradients(asked).gradients[:, 0]
        # Not kept where a kink of the network lies within rounding: another machine may take its other side.
        found = exported.input_gradients(asked).gradients[:, 0]
        if (gradient_differences(found, gradients) <= GRADIENT_TOLERANCE / 2).all():
            answers[INPUT_GRADIENT] = gradients
    return pack_answers(asked, answers)


def measure_parity(
    reference: TorchClassifier,
    exported: OnnxClassifier,
    images: FloatArray,
    source: str,
    layers: Sequence[str] = (),
) -> Parity:
    """Compare two classifiers on images: the largest difference of a probability and of a Grad-CAM map.

    A map's difference is a share of its own largest value. The maps of further `layers` are looked at too, and may
    differ by 1e-2. Raises ParityError over the tolerance.
    """
    probability = heat_map = further = 0.0
    pairs = [(exported, reference), *((exported.at(name), reference.at(name)) for name in layers)]
    for start in range(0, len(images), 16):
        batch = images[start : start + 16]
        difference = np.abs(reference.probabilities(batch) - exported.probabilities(batch))
        # NumPy's maximum keeps a value that is no number; Python's max may drop it.
        probability = float(np.maximum(probability, difference.max()))
        differences = [_map_difference(*pair, batch) for pair in pairs]
        heat_map = float(np.maximum(heat_map, differences[0]))
        further = float(np.maximum(further, np.max(differences[1:], initial=0.0)))
    if not (probability <= TOLERANCE and heat_map <= TOLERANCE and further <= FURTHER_TOLERANCE):
        raise ParityError(
            f"The exported graph differs from the network by {probability:.2g} in a probability and "
            f"{np.maximum(heat_map, further):.2g} of a heat map's largest value ({len(images)} images of {source}); "
            f"up to {TOLERANCE:g} is accepted, {FURTHER_TOLERANCE:g} for further layers. "
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


def _map_difference(exported: OnnxClassifier, reference: TorchClassifier, batch: FloatArray) -> float:
    ours, theirs = (grad_cam(e.activations, e.gradients) for e in (c.evidence(batch) for c in (exported, reference)))
    largest = np.maximum(np.abs(theirs).max(axis=(1, 2, 3)), np.finfo(np.float32).tiny)
    return float((np.abs(ours - theirs).max(axis=(1, 2, 3)) / largest).max())


@contextmanager
def _one_sentence(manifest: Manifest, layers: str) -> Iterator[None]:
    """Whatever a tracer or an exporter raises becomes one InputError; what they raised stays its cause."""
    try:
        yield
    except (PellucidError, MemoryError):
        raise
    except Exception as error:  # torch's tracer, its exporter and onnxscript share no base
        reason, advice = f"{root_sentence(error)}. Choose another of either", "explains any network as a black box"
        if isinstance(root_of(error), GuardOnDataDependentSymNode):
            reason = (
                "what it computes depends on the values of its images (an `if` on a tensor, `.item()`, a mask as an "
                "index), and a graph has no such choice. Write it with `torch.where`"
            )
        raise InputError(
            f"The backbone {manifest.architecture.get('backbone', manifest.name)!r} cannot be exported with "
            f"{layers!r} as its explained layer: {reason}; `pellucid.from_function` {advice}."
        ) from error
