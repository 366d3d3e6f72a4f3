"""One batch explained by several methods: what they have in common runs once."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from ..classifier import Evidence, InputGradients, Score, Target
from ..preprocessing import FloatArray
from .engine import Engine
from .manifest import Manifest
from .manifest_classifier import ManifestClassifier

Found = TypeVar(
    "Found", FloatArray, Evidence, tuple[Evidence, ...], InputGradients, tuple[FloatArray, FloatArray | None]
)


class SharedPasses(ManifestClassifier):
    """A classifier that runs each kind of pass over `batch` once and keeps the result; other batches pass through.

    The batch is known by identity, so it must not be changed while this is in use. The results are the very arrays of
    the first pass: methods must not write into them.
    """

    def __init__(self, engine: Engine, manifest: Manifest, batch: FloatArray) -> None:
        super().__init__(manifest)
        self._engine, self._batch = engine, batch
        self._kept: dict[object, object] = {}

    def _once(self, kind: tuple[object, ...], batch: FloatArray, run: Callable[[], Found]) -> Found:
        if batch is not self._batch:
            return run()
        if kind not in self._kept:
            self._kept[kind] = run()
        kept: Found = self._kept[kind]  # type: ignore[assignment]
        return kept

    def logits(self, batch: FloatArray) -> FloatArray:
        return self._once(("logits",), batch, lambda: self._engine.logits(batch))

    def logits_and_features(self, batch: FloatArray) -> tuple[FloatArray, FloatArray | None]:
        """Logits (N, L), and the mean of each channel of the explained layer (N, C) if there is one."""
        return self._once(("features",), batch, lambda: self._engine.logits_and_features(batch))

    def evidence(self, batch: FloatArray, target: Target = None, score: Score | None = None) -> Evidence:
        kind = ("evidence", target, score)
        return self._once(kind, batch, lambda: self._engine.evidence(batch, target, score))

    def layered_evidence(
        self, batch: FloatArray, target: Target = None, score: Score | None = None
    ) -> tuple[Evidence, ...]:
        kind = ("several layers", target, score)
        return self._once(kind, batch, lambda: self._engine.layered_evidence(batch, target, score))

    def input_gradients(self, batch: FloatArray, target: Target = None, score: Score | None = None) -> InputGradients:
        kind = ("input gradients", target, score)
        return self._once(kind, batch, lambda: self._engine.input_gradients(batch, target, score))

    def tail(self, activations: FloatArray) -> FloatArray:
        return self._engine.tail(activations)
