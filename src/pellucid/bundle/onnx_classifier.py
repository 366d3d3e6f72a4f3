"""A bundle's graph behind the protocols of classifier.py, on ONNX Runtime or OpenVINO."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from ..classifier import PREDICTED, Evidence, InputGradients, Score, Target, selected_targets, space_means
from ..errors import InputError, ResourceError
from ..preprocessing import FloatArray
from .manifest import Manifest
from .manifest_classifier import ManifestClassifier
from .runtimes import GraphSession

OpenGraph = Callable[[str], GraphSession]


class OnnxClassifier(ManifestClassifier):
    """Predicts and explains in one pass of one graph; image by image if the manifest is not `batchable`. Thread-safe.

    `open_graph` returns the session of another graph of the bundle by its file name, and the same one every time.
    """

    def __init__(self, manifest: Manifest, session: GraphSession, open_graph: OpenGraph | None = None) -> None:
        super().__init__(manifest)
        self._session, self._open_graph = session, open_graph

    def at(self, layer: str) -> OnnxClassifier:
        """The same classifier with its evidence taken at another layer; UnknownNameError for an unknown layer."""
        found = self.manifest.find_layer(layer)
        session = self._session if found == self.manifest.explained_layer else self._other(found.graph)
        return OnnxClassifier(self.manifest.model_copy(update={"layer": found}), session, self._open_graph)

    def logits(self, batch: FloatArray) -> FloatArray:
        """Logits (N, L) of a batch of tensors (N, 3, height, width)."""
        return self._ask(self._session, ["logits"], batch, self._unset(batch), 1.0)[0]

    def logits_and_features(self, batch: FloatArray) -> tuple[FloatArray, FloatArray | None]:
        """Logits (N, L) and the spatial mean of each channel (N, C) of the explained layer, if any, from one pass."""
        if self.manifest.layer is None:
            return self.logits(batch), None
        logits, activations = self._ask(self._session, ["logits", "activations"], batch, self._unset(batch), 1.0)
        return logits, space_means(activations)

    def evidence(self, batch: FloatArray, target: Target = None, score: Score | None = None) -> Evidence:
        """Logits, activations and gradients of a batch for each target; see EvidenceClassifier."""
        layer = self.manifest.explained_layer
        selector, contrast, names = selected_targets(self.classes, self.task, len(batch), target, score)
        logits, activations, gradients = self._ask_about(self._session, batch, selector, contrast)
        gradients = self._for_answers(logits, gradients, names)
        return Evidence(logits, activations, gradients, layer.geometry, layer.name, names)

    def layered_evidence(
        self, batch: FloatArray, target: Target = None, score: Score | None = None
    ) -> tuple[Evidence, ...]:
        """Evidence of several layers from one pass, front to back; InputError for a bundle without that graph."""
        default, several = self.manifest.explained_layer, self.manifest.layered
        if several is None:
            raise InputError(self._without("several layers", f"layercam at {default.name}"))
        selector, contrast, names = selected_targets(self.classes, self.task, len(batch), target, score)
        logits, *found = self._ask_about(self._other(several.graph), batch, selector, contrast)
        pairs = zip(several.layers, found[::2], found[1::2], strict=True)
        return tuple(
            Evidence(logits, a, self._for_answers(logits, g, names), layer.geometry, layer.name, names)
            for layer, a, g in pairs
        )

    def _for_answers(self, logits: FloatArray, gradients: FloatArray, names: tuple[str, ...]) -> FloatArray:
        return gradients if self.task != "binary" else about_answers(self.manifest, logits, gradients, names)

    def input_gradients(self, batch: FloatArray, target: Target = None, score: Score | None = None) -> InputGradients:
        """Logits and gradients with respect to the pixels; InputError for a bundle without that graph."""
        name = self.manifest.input_gradients
        if name is None:
            raise InputError(self._without("input gradients", "occlusion or rise"))
        selector, contrast, names = selected_targets(self.classes, self.task, len(batch), target, score)
        logits, gradients = self._ask_about(self._other(name), batch, selector, contrast)
        return InputGradients(logits, self._for_answers(logits, gradients, names), names)

    def tail(self, activations: FloatArray) -> FloatArray:
        """Activations (M, C, h, w) of the explained layer to logits (M, L); InputError for a bundle without a tail."""
        layer = self.manifest.explained_layer
        if layer.tail is None:
            raise InputError(self._without(f"tail of {layer.name}", "score-cam or hirescam"))
        feed = {"activations": np.ascontiguousarray(activations, np.float32)}
        return self._run(self._other(layer.tail), ["logits"], feed)[0]

    def _without(self, what: str, instead: str) -> str:
        reason = self.manifest.missing.get(what, "it was exported without one")
        return f"The bundle {self.manifest.name!r} has no graph for the {what}: {reason.rstrip('.')}. Use {instead}."

    def _other(self, name: str) -> GraphSession:
        if self._open_graph is None:
            raise InputError(f"The graph {name} cannot be opened: load the bundle from its folder.")
        return self._open_graph(name)

    def _unset(self, batch: FloatArray) -> FloatArray:
        return np.zeros((len(batch), 1, self.manifest.logits), np.float32)

    def _ask_about(
        self, session: GraphSession, batch: FloatArray, selector: FloatArray, contrast: float
    ) -> list[FloatArray]:
        """All outputs for target rows (N, T, L): logits, and those of 5 axes are gradients (N, T, ...).

        For a single logit each target's gradient is a multiple of the same one, so that the graph runs for one target.
        """
        if self.manifest.logits > 1 or selector.shape[1] == 1:
            return self._ask(session, None, batch, selector, contrast)
        logits, *others = self._ask(session, None, batch, np.ones_like(selector[:, :1]), contrast)
        predicted = np.where(logits >= 0, np.float32(1), np.float32(-1))
        factors = np.where(selector[:, :, 0] == 0, predicted, selector[:, :, 0])[:, :, None, None, None]
        return [logits, *(values * factors if values.ndim == factors.ndim else values for values in others)]

    def _ask(
        self,
        session: GraphSession,
        outputs: list[str] | None,
        batch: FloatArray,
        target: FloatArray,
        contrast: float,
    ) -> list[FloatArray]:
        self.check(batch)
        feed = {"image": np.ascontiguousarray(batch), "target": target, "contrast": np.asarray(contrast, np.float32)}
        return self._run(session, outputs, feed)

    def _run(self, session: GraphSession, outputs: list[str] | None, feed: dict[str, FloatArray]) -> list[FloatArray]:
        count = max((len(values) for values in feed.values() if values.ndim), default=1)
        if count > 1 and not self.manifest.batchable:
            rows = [{k: v[i : i + 1] if v.ndim else v for k, v in feed.items()} for i in range(count)]
            outcomes = [self._run(session, outputs, row) for row in rows]
            return [np.concatenate(parts) for parts in zip(*outcomes, strict=True)]
        try:
            values: list[FloatArray] = session.run(outputs, feed)
        except Exception as error:  # the exceptions of the engines share no public base
            if "alloc" in str(error).lower():
                count = len(next(iter(feed.values())))
                raise ResourceError(f"Memory ran out on a batch of {count} images: lower `batch=`.") from error
            raise
        return values


def about_answers(
    manifest: Manifest, logits: FloatArray, gradients: FloatArray, targets: tuple[str, ...]
) -> FloatArray:
    """Gradients (N, T, C, h, w) for the class predicted at the operating point of a binary model.

    A graph takes the sign of the logit as the predicted class, and the operating point may lie elsewhere. With one
    logit the evidence for a class is minus that for the other, so changing the sign is exact.
    """
    columns = [t for t, name in enumerate(targets) if name == PREDICTED]
    if not columns:
        return gradients
    turned = np.flatnonzero(manifest.predicted(logits) != (logits[:, 0] >= 0))
    if not len(turned):
        return gradients
    gradients = gradients.copy()
    for column in columns:
        gradients[turned, column] *= -1
    return gradients
