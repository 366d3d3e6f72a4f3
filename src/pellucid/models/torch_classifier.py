"""A live torch network behind the protocols of classifier.py: the second truth for every exported bundle."""

from __future__ import annotations

import numpy as np
import torch
from torch import nn

from ..bundle.manifest import Manifest
from ..classifier import Evidence, Score, Target, Task, probabilities_from_logits, selected_targets
from ..preprocessing import FloatArray, Preprocessing
from .evidence_graph import evidence_function
from .network import explained_module


class TorchClassifier:
    """Answers and explains with torch's own autograd. The network must be in evaluation mode and frozen."""

    def __init__(self, network: nn.Module, manifest: Manifest) -> None:
        self._network = network
        self.manifest = manifest
        self._layer = explained_module(network, manifest.layer.name)

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
        """Logits (N, L) of a batch of tensors."""
        with torch.inference_mode():
            values: FloatArray = self._network(torch.from_numpy(batch)).numpy()
        return values

    def probabilities(self, batch: FloatArray) -> FloatArray:
        """Class probabilities (N, K)."""
        return probabilities_from_logits(self.logits(batch))

    def evidence(self, batch: FloatArray, target: Target = None, score: Score | None = None) -> Evidence:
        """Evidence of a batch, as OnnxClassifier gives it, from autograd."""
        selector, contrast, names = selected_targets(self.classes, self.task, len(batch), target, score)
        run = evidence_function(self._network, self._layer)
        inputs = (torch.from_numpy(batch), torch.from_numpy(selector), torch.tensor(np.float32(contrast)))
        logits, activations, gradients = (t.detach().numpy() for t in run(*inputs))
        return Evidence(logits, activations, gradients, self.manifest.layer.geometry, self.manifest.layer.name, names)
