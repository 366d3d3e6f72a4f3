"""A detector's graph is held against its arrays on every image."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from tests.small_detectors import detector_at
from tests.small_networks import recipe_of

from pellucid.bundle.onnx_classifier import OnnxClassifier
from pellucid.classifier import Evidence
from pellucid.errors import ParityError
from pellucid.preprocessing import FloatArray


@pytest.mark.parametrize("spoilt", ["logits", "activations"])
def test_a_graph_that_gives_no_number_is_refused(spoilt: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    original, counted = OnnxClassifier.evidence, iter(range(9))

    def evidence(classifier: OnnxClassifier, batch: FloatArray) -> Evidence:
        found = original(classifier, batch)
        return found if next(counted) == 0 else replace(found, **{spoilt: getattr(found, spoilt) * np.float32(np.nan)})

    monkeypatch.setattr("pellucid.models.anomaly_export.AT_A_TIME", 1)
    monkeypatch.setattr(OnnxClassifier, "evidence", evidence)
    with pytest.raises(ParityError, match="nan"):
        detector_at(tmp_path / "bundle", recipe_of("cnn", 32))
    assert not (tmp_path / "bundle").exists()
