"""A live torch network behind the protocols of classifier.py: the second truth for every exported bundle."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import nn

from ..bundle.manifest import Manifest
from ..bundle.onnx_classifier import about_answers
from ..classifier import Evidence, Score, Target, Task, selected_targets
from ..errors import InputError
from ..preprocessing import FloatArray, Preprocessing
from .evidence_graph import evidence_function
from .network import explained_module


class TorchClassifier:
    """Answers and explains with torch's own autograd, on the device of the network, in float32.

    The network may be in training, frozen or not: each call runs it in evaluation mode and without autocast, and leaves
    its modes, gradients and hooks as they were, also when it fails. Safe to call from several threads, which take
    turns; nothing else may run the same network meanwhile.
    """

    def __init__(self, network: nn.Module, manifest: Manifest) -> None:
        self._network = network
        self.manifest = manifest
        self._layer = explained_module(network, manifest.explained_layer.name)
        self._turn = threading.Lock()

    @property
    def classes(self) -> tuple[str, ...]:
        return self.manifest.classes

    @property
    def task(self) -> Task:
        return self.manifest.task

    @property
    def preprocessing(self) -> Preprocessing:
        return self.manifest.preprocessing

    def logits(self, batch: FloatArray) -> FloatArray:
        """Logits (N, L) of a batch of tensors (N, 3, height, width)."""
        self._check(batch)
        with self._evaluating(), torch.inference_mode():
            return _array(self._network(self._tensor(batch)))

    def probabilities(self, batch: FloatArray) -> FloatArray:
        """Calibrated class probabilities (N, K)."""
        return self.manifest.probabilities(self.logits(batch))

    def probabilities_of(self, logits: FloatArray) -> FloatArray:
        """Calibrated class probabilities (N, K) of logits (N, L)."""
        return self.manifest.probabilities(logits)

    def predicted(self, logits: FloatArray) -> npt.NDArray[np.int64]:
        """The class index (N,) that logits (N, L) are answered with, at the operating point."""
        return self.manifest.predicted(logits)

    def evidence(self, batch: FloatArray, target: Target = None, score: Score | None = None) -> Evidence:
        """Evidence of a batch, as OnnxClassifier gives it, from autograd."""
        self._check(batch)
        selector, contrast, names = selected_targets(self.classes, self.task, len(batch), target, score)
        run = evidence_function(self._network, self._layer)
        with self._evaluating(), torch.inference_mode(mode=False), torch.enable_grad():
            inputs = (self._tensor(batch), self._tensor(selector), self._tensor(np.float32(contrast)))
            logits, activations, gradients = (_array(t) for t in run(*inputs))
        if self.task == "binary":
            gradients = about_answers(self.manifest, logits, gradients, names)
        layer = self.manifest.explained_layer
        return Evidence(logits, activations, gradients, layer.geometry, layer.name, names)

    def tail(self, activations: FloatArray) -> FloatArray:
        """Activations (M, C, h, w) of the explained layer to logits (M, L). The trunk runs once, on a blank image."""
        blank = np.zeros((1, 3, self.preprocessing.height, self.preprocessing.width), np.float32)
        with self._evaluating(), torch.inference_mode(), _output_replaced(self._layer, self._tensor(activations)):
            return _array(self._network(self._tensor(blank)))

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

    def _check(self, batch: FloatArray) -> None:
        wanted = (3, self.preprocessing.height, self.preprocessing.width)
        if batch.ndim != 4 or batch.shape[1:] != wanted or batch.dtype != np.float32:
            raise InputError(
                f"A batch must be float32 of shape (N, {', '.join(map(str, wanted))}), not {batch.dtype} {batch.shape}."
            )


@contextmanager
def _output_replaced(layer: nn.Module, output: torch.Tensor) -> Iterator[None]:
    """While open, the layer gives `output` whatever it is given."""
    handle = layer.register_forward_hook(lambda module, inputs, own: output)
    try:
        yield
    finally:
        handle.remove()


def _array(tensor: torch.Tensor) -> FloatArray:
    values: FloatArray = tensor.detach().cpu().numpy()
    return values
