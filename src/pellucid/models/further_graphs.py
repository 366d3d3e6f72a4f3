"""Graphs beside a bundle's main one: further explained layers, and what methods other than the CAM family ask for.

They are measured against the network as the main graph is. A further layer was asked for by name, so a failure
ends the export; graphs written by default are left out then, and the manifest says why.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnxruntime
from torch import nn

from ..bundle.io import model_session
from ..bundle.manifest import MODEL, Layer, Layered, Manifest
from ..bundle.onnx_classifier import OnnxClassifier
from ..errors import InputError, ParityError
from ..explanation.cam import grad_cam
from ..preprocessing import FloatArray
from .evidence_graph import trace_input_gradients, trace_tail
from .layer_choice import LEAST_LAYERED, NO_LAYERS_BEFORE, layered_names
from .onnx_file import StoredWeights, onnx_program, quiet, save_beside
from .torch_classifier import TorchClassifier
from .traced_layer import trace_layer, trace_layers

Doubles = npt.NDArray[np.float64]
GRADIENTS, LAYERED = "gradients.onnx", "layered.onnx"
QUESTION = ("image", "target", "contrast")
TAIL_TOLERANCE = 1e-3
GRADIENT_TOLERANCE = 1e-3
"""Of norms, as for everything else."""

NUDGES, NUDGE, SHADES = 4, 1e-3, 0.1
"""How often an image is moved, by how much of its pixels' root mean square, to get away from kinks; of even pictures
the shade is changed by up to so much of it."""

MOST_BY_KINKS = 0.02
"""As a share of the norm: what kinks alone were seen to move a gradient by, for most images (`benchmarks/kinks.py`)."""

LAYERED_TOLERANCE = 1e-2
"""Of maps, as of those of further layers."""

MOST_COMPARED = 4
"""Images whose gradients are compared: each costs several passes on both sides."""


@dataclass
class FurtherGraphs:
    """A bundle's folder in the making: `manifest` grows with each graph, `weights` are what its WEIGHTS holds."""

    frozen: nn.Module
    manifest: Manifest
    folder: Path
    weights: StoredWeights
    images: FloatArray

    def write_layers(self, names: Sequence[str]) -> None:
        """Write the evidence graph of each layer; the default one and repetitions are passed over."""
        for name in names:
            traced = trace_layer(self.frozen, name, self._size, self.manifest.logits)
            if traced.layer.name in {layer.name for layer in self._layers}:
                continue
            file = f"layer-{len(self._layers) + 1}.onnx"
            program = onnx_program(traced.graph, traced.example, QUESTION, ("logits", "activations", "gradients"))
            save_beside(program, self.folder / file, self.weights)
            layers = (*self.manifest.layers, traced.layer.model_copy(update={"graph": file}))
            self._note(layers=layers)

    def write_tails(self) -> None:
        """Write what lies behind each explained layer, from activations to logits."""
        tailed: list[Layer] = []
        for number, layer in enumerate(self._layers, 1):
            file = "tail.onnx" if number == 1 else f"layer-{number}-tail.onnx"
            added = layer.model_copy(update={"tail": file})
            with self._or_missing(f"tail of {layer.name}", file) as failed:
                cells = (layer.channels, layer.height, layer.width)
                traced = trace_tail(self.frozen, self.frozen.get_submodule(layer.name), self._size, cells)
                save_beside(onnx_program(*traced, ("activations",), ("logits",)), self.folder / file, self.weights)
                self._check_tail(added)
            tailed.append(layer if failed else added)
        self._note(layer=tailed[0], layers=tuple(tailed[1:]))

    def write_input_gradients(self) -> float | None:
        """Write the gradient by the pixels; how far it lies from the network's, None when it could not be written."""
        difference = None
        with self._or_missing("input gradients", GRADIENTS) as failed:
            traced = trace_input_gradients(self.frozen, self._size, self.manifest.logits)
            save_beside(onnx_program(*traced, QUESTION, ("logits", "gradients")), self.folder / GRADIENTS, self.weights)
            self._note(input_gradients=GRADIENTS)
            difference = self._gradient_difference()
        if failed:
            self._note(input_gradients=None)
            return None
        return difference

    def write_layered(self) -> None:
        """Write the graph that gives several layers together: the explained one, and those before it."""
        what = "several layers"
        with self._or_missing(what, LAYERED) as failed:
            last = self.manifest.explained_layer.name
            names = layered_names(self.frozen, self._size, last)
            if len(names) < LEAST_LAYERED:
                raise InputError(NO_LAYERS_BEFORE)
            traced = trace_layers(self.frozen, names, self._size, self.manifest.logits)
            pairs = [(f"activations_{i}", f"gradients_{i}") for i in range(1, len(traced.layers) + 1)]
            outputs = ("logits", *(name for pair in pairs for name in pair))
            save_beside(
                onnx_program(traced.graph, traced.example, QUESTION, outputs), self.folder / LAYERED, self.weights
            )
            self._note(layered=Layered(graph=LAYERED, layers=traced.layers))
            self._check_layered()
        if failed:
            self._note(layered=None)

    def sessions(self, name: str) -> onnxruntime.InferenceSession:
        """A session of one of the folder's graphs."""
        return model_session(self.folder / name)

    def exported(self) -> OnnxClassifier:
        """The classifier of all that has been written."""
        return OnnxClassifier(self.manifest, self.sessions(MODEL), cache(self.sessions))

    def _check_tail(self, layer: Layer) -> None:
        """Raise ParityError when the tail of the network's activations is not the network's answer."""
        manifest = self.manifest.model_copy(update={"layer": layer})
        network = TorchClassifier(self.frozen, manifest)
        tail = OnnxClassifier(manifest, self.sessions(str(layer.tail)), self.sessions)
        evidence = network.evidence(self.images[:MOST_COMPARED])
        largest = max(float(np.abs(evidence.logits).max()), 1.0)
        difference = float(np.abs(tail.tail(evidence.activations) - evidence.logits).max()) / largest
        if not difference <= TAIL_TOLERANCE:
            limit = f"up to {TAIL_TOLERANCE:g} is accepted"
            raise ParityError(f"it differs from the network's by {difference:.2g}, {limit}")

    def _check_layered(self) -> None:
        """Raise ParityError when a layer's Grad-CAM of the graph is not the network's."""
        images = self.images[:MOST_COMPARED]
        network = TorchClassifier(self.frozen, self.manifest)
        for ours, theirs in zip(
            self.exported().layered_evidence(images), network.layered_evidence(images), strict=True
        ):
            found, expected = (grad_cam(e.activations, e.gradients) for e in (ours, theirs))
            largest = np.maximum(np.abs(expected).max(axis=(1, 2, 3)), np.finfo(np.float32).tiny)
            difference = float((np.abs(found - expected).max(axis=(1, 2, 3)) / largest).max())
            if not difference <= LAYERED_TOLERANCE:
                limit = f"up to {LAYERED_TOLERANCE:g} is accepted"
                raise ParityError(f"the map of {ours.layer} differs from the network's by {difference:.2g}, {limit}")

    def _gradient_difference(self) -> float:
        """How far graph and network differ, by `agreement`; ParityError when they do."""
        images = self.images[:MOST_COMPARED].copy()
        exported, network = self.exported(), TorchClassifier(self.frozen, self.manifest)

        def differences(batch: FloatArray) -> Doubles:
            return gradient_differences(*(c.input_gradients(batch).gradients for c in (exported, network)))

        return agreement(differences, images)

    @property
    def _size(self) -> tuple[int, int]:
        return self.manifest.preprocessing.height, self.manifest.preprocessing.width

    @property
    def _layers(self) -> tuple[Layer, ...]:
        return (self.manifest.explained_layer, *self.manifest.layers)

    def _note(self, **fields: Any) -> None:
        self.manifest = self.manifest.model_copy(update=fields)

    @contextmanager
    def _or_missing(self, what: str, file: str) -> Iterator[list[str]]:
        """While open, an error means that the graph `what` is left out; the reason is noted, and in the list given."""
        failed: list[str] = []
        try:
            with quiet():
                yield failed
        except MemoryError:
            raise
        except Exception as error:  # torch's tracer, its exporter and onnxscript share no base
            (self.folder / file).unlink(missing_ok=True)
            failed.append(root_sentence(error))
            self._note(missing={**self.manifest.missing, what: failed[0]})


def agreement(differences: Callable[[FloatArray], Doubles], images: FloatArray) -> float:
    """The largest difference (N,) of images (N, 3, h, w) that `differences` gives; ParityError when it is too large.

    Where the input of a ReLU is 0 within rounding, two runtimes may take different sides of its kink, and both are
    right. An image where the two differ is therefore moved a little: a kink stays where it was, a fault does not.
    Networks with millions of units have some kink beside any image. Even pictures have few, as one value stands at
    nearly all places: there the two must agree, and at the image not differ by more than kinks do.
    """
    found = differences(images)

    def again(over: npt.NDArray[np.bool_], beside: Callable[[int], FloatArray]) -> Doubles:
        least = np.full(int(over.sum()), np.inf)
        for seed in range(NUDGES):
            least = np.fmin(least, differences(beside(seed)[over]))
            if (least <= GRADIENT_TOLERANCE).all():
                break
        return least

    def moved(seed: int) -> FloatArray:
        noise = np.random.default_rng(seed).normal(size=images.shape)
        return np.asarray(images + NUDGE * size * noise, np.float32)

    def even(seed: int) -> FloatArray:
        shades = SHADES * size * np.random.default_rng(seed).uniform(-1, 1, (len(images), images.shape[1], 1, 1))
        plain = np.asarray(images.mean(axis=(2, 3), keepdims=True) + shades, np.float32)
        return np.broadcast_to(plain, images.shape)

    size = float(np.sqrt((images**2).mean()))
    if (over := ~(found <= GRADIENT_TOLERANCE)).any():
        found[over] = np.fmin(found[over], again(over, moved))
    over = (found > GRADIENT_TOLERANCE) & (found <= MOST_BY_KINKS)
    if over.any():
        found[over] = again(over, even)
    difference = float(found.max())
    if not difference <= GRADIENT_TOLERANCE:
        limit = f"up to {GRADIENT_TOLERANCE:g} is accepted"
        raise ParityError(f"they differ from the network's by {difference:.2g} of their norm, {limit}")
    return difference


def gradient_differences(found: FloatArray, expected: FloatArray) -> Doubles:
    """The norm (N,) of each difference between gradients (N, ...) of images, as a share of the norm expected."""
    axes = tuple(range(1, found.ndim))
    off, norm = (np.sqrt(np.square(g, dtype=np.float64).sum(axis=axes)) for g in (found - expected, expected))
    return np.asarray(off / np.maximum(norm, np.finfo(np.float32).tiny))


def root_of(error: BaseException) -> BaseException:
    """The error that began a chain."""
    while error.__cause__ is not None:
        error = error.__cause__
    return error


def root_sentence(error: BaseException) -> str:
    """The first line of the error that began a chain, without the full stop."""
    error = root_of(error)
    line = next(iter(str(error).strip().splitlines()), "") or type(error).__name__
    return line[:300].rstrip(".")
