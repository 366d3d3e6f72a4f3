"""A live torch network behind the protocols of classifier.py: the second truth for every exported bundle."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from torch import nn

from ..bundle.manifest import MODEL, Layer, Layered, Manifest
from ..bundle.manifest_classifier import ManifestClassifier
from ..bundle.onnx_classifier import about_answers
from ..classifier import Evidence, InputGradients, Score, Target, selected_targets
from ..errors import InputError
from ..preprocessing import FloatArray
from .evidence_graph import evidence_function, input_gradient_function, tail_function
from .layer_choice import LEAST_LAYERED, NO_LAYERS_BEFORE, layered_names
from .layered_graph import layered_function, shares_the_front
from .layers import find_layer
from .traced_layer import frozen_copy, trace_layer, trace_layers


class TorchClassifier(ManifestClassifier):
    """Answers and explains with torch's own autograd, on the device of the network, in float32.

    The network may be in training, frozen or not: each call runs it in evaluation mode and without autocast, and leaves
    its modes, gradients and hooks as they were, also when it fails. Safe to call from several threads, which take
    turns; nothing else may run the same network meanwhile.
    """

    def __init__(self, network: nn.Module, manifest: Manifest) -> None:
        super().__init__(manifest)
        self._network = network
        self._layer = network.get_submodule(find_layer(network, manifest.explained_layer.name))
        self._turn = threading.Lock()

    def at(self, layer: str) -> TorchClassifier:
        """The same classifier with its evidence taken at any layer; UnknownNameError for one that is not there.

        Where its cells lie is in the manifest, or is derived here (seconds). InputError for a layer that evidence
        cannot be taken at.
        """
        name = find_layer(self._network, layer)
        known = {known.name: known for known in (self.manifest.explained_layer, *self.manifest.layers)}
        size = (self.preprocessing.height, self.preprocessing.width)
        found = known.get(name) or trace_layer(frozen_copy(self._network), name, size, self.manifest.logits).layer
        other = TorchClassifier(self._network, self.manifest.model_copy(update={"layer": found}))
        other._turn = self._turn
        return other

    def logits(self, batch: FloatArray) -> FloatArray:
        """Logits (N, L) of a batch of tensors (N, 3, height, width)."""
        self.check(batch)
        with self._evaluating(), torch.inference_mode():
            return _array(self._network(self._tensor(batch)))

    def evidence(self, batch: FloatArray, target: Target = None, score: Score | None = None) -> Evidence:
        """Evidence of a batch, as OnnxClassifier gives it, from autograd."""
        self.check(batch)
        selector, contrast, names = selected_targets(self.classes, self.task, len(batch), target, score)
        run = evidence_function(self._network, self._layer)
        with self._evaluating(), torch.inference_mode(mode=False), torch.enable_grad():
            inputs = (self._tensor(batch), self._tensor(selector), self._tensor(np.float32(contrast)))
            logits, activations, gradients = (_array(t) for t in run(*inputs))
        if self.task == "binary":
            gradients = about_answers(self.manifest, logits, gradients, names)
        layer = self.manifest.explained_layer
        return Evidence(logits, activations, gradients, layer.geometry, layer.name, names)

    def layered_evidence(
        self, batch: FloatArray, target: Target = None, score: Score | None = None
    ) -> tuple[Evidence, ...]:
        """Evidence of several layers, front to back, as OnnxClassifier gives it; see `layered_names` for which."""
        self.check(batch)
        selector, contrast, names = selected_targets(self.classes, self.task, len(batch), target, score)
        layers = self._several()
        modules = [self._network.get_submodule(layer.name) for layer in layers]
        size = (self.preprocessing.height, self.preprocessing.width)
        with self._evaluating(), torch.inference_mode(mode=False), torch.enable_grad():
            inputs = (self._tensor(batch), self._tensor(selector), self._tensor(np.float32(contrast)))
            shared = selector.shape[1] == 1 or shares_the_front(self._network, modules, size, selector.shape[2])
            run = layered_function(self._network, modules, from_image=not shared)
            logits, *found = (_array(t) for t in run(*inputs))
        answers = []
        for layer, activations, gradients in zip(layers, found[::2], found[1::2], strict=True):
            if self.task == "binary":
                gradients = about_answers(self.manifest, logits, gradients, names)
            answers.append(Evidence(logits, activations, gradients, layer.geometry, layer.name, names))
        return tuple(answers)

    def _several(self) -> tuple[Layer, ...]:
        """The layers that are given together: the manifest's, or those chosen here (seconds) and then kept."""
        if self.manifest.layered is None:
            frozen, last = frozen_copy(self._network), find_layer(self._network, self.manifest.explained_layer.name)
            size = (self.preprocessing.height, self.preprocessing.width)
            names = layered_names(frozen, size, last)
            if len(names) < LEAST_LAYERED:
                raise InputError(NO_LAYERS_BEFORE)
            layers = trace_layers(frozen, names, size, self.manifest.logits).layers
            self.manifest = self.manifest.model_copy(update={"layered": Layered(graph=MODEL, layers=layers)})
        assert self.manifest.layered is not None
        return self.manifest.layered.layers

    def input_gradients(self, batch: FloatArray, target: Target = None, score: Score | None = None) -> InputGradients:
        """Logits and gradients with respect to the pixels, from autograd."""
        self.check(batch)
        selector, contrast, names = selected_targets(self.classes, self.task, len(batch), target, score)
        run = input_gradient_function(self._network)
        with self._evaluating(), torch.inference_mode(mode=False), torch.enable_grad():
            inputs = (self._tensor(batch), self._tensor(selector), self._tensor(np.float32(contrast)))
            logits, gradients = (_array(t) for t in run(*inputs))
        if self.task == "binary":
            gradients = about_answers(self.manifest, logits, gradients, names)
        return InputGradients(logits, gradients, names)

    def tail(self, activations: FloatArray) -> FloatArray:
        """Activations (M, C, h, w) of the explained layer to logits (M, L). The trunk runs once, on a blank image."""
        size = (self.preprocessing.height, self.preprocessing.width)
        with self._evaluating(), torch.inference_mode():
            return _array(tail_function(self._network, self._layer, size)(self._tensor(activations))[0])

    @contextmanager
    def _evaluating(self) -> Iterator[None]:
        with self._turn, torch.autocast(self._device.type, enabled=False):
            training = [module for module in self._network.modules() if module.training]
            self._network.eval()
            try:
                yield
            finally:
                for module in training:
                    module.training = True

    @property
    def _device(self) -> torch.device:
        return next((p.device for p in self._network.parameters()), torch.device("cpu"))

    def _tensor(self, array: Any) -> torch.Tensor:
        # Copied: the first layer may work in place, and the array is the caller's.
        return torch.tensor(array, dtype=torch.float32, device=self._device)


def _array(tensor: torch.Tensor) -> FloatArray:
    values: FloatArray = tensor.detach().cpu().numpy()
    return values
