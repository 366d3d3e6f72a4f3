"""Weights of fewer bits: what is rounded, how far, and that no page gets them unmeasured."""

from __future__ import annotations

import gzip
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import numpy_helper
from tests.private_page.test_compact import graph_of
from tests.serving.conftest import served_bundle as served_bundle

from pellucid.errors import InputError, UnknownNameError
from pellucid.private_page import export
from pellucid.private_page.export import export_page
from pellucid.private_page.packing import Part
from pellucid.private_page.rounding import check_precision, rounded
from pellucid.private_page.runtime import Runtime


def weights() -> dict[str, np.ndarray]:
    random = np.random.default_rng(0)
    plain = random.normal(0, 1, (64, 9, 3, 3)).astype(np.float32)
    plain[5] = 0
    return {"plain": plain, "bias": random.normal(0, 1, 64).astype(np.float32)}


def values_of(graph: bytes) -> dict[str, np.ndarray]:
    return {t.name: numpy_helper.to_array(t) for t in onnx.load_from_string(graph).graph.initializer}


def test_each_weight_is_the_nearest_that_there_is() -> None:
    given = weights()
    graph = graph_of(**given)
    assert rounded(graph, "float32") is graph
    half = values_of(rounded(graph, "float16"))
    assert np.array_equal(half["plain"], given["plain"].astype(np.float16).astype(np.float32))
    steps = values_of(rounded(graph, "int8"))
    rows, near = (w.reshape(64, -1).astype(np.float64) for w in (given["plain"], steps["plain"]))
    step = np.abs(rows).max(axis=1, keepdims=True) / 127
    assert np.abs(rows - near).max() <= 0.5 * step.max() + 1e-6
    assert (np.abs(rows - near) <= 0.5 * step + 1e-6).all()
    assert max(len(np.unique(row)) for row in near) <= 255
    for found in (half, steps):
        assert np.array_equal(found["bias"], given["bias"])


def test_they_take_fewer_bytes() -> None:
    graph = graph_of(plain=np.random.default_rng(1).normal(0, 1, (128, 256)).astype(np.float32))
    whole, half, eighth = (
        len(Part.of_graph("model", rounded(graph, p)).packed) for p in ("float32", "float16", "int8")
    )
    assert half < 0.65 * whole
    assert eighth < 0.35 * whole
    assert whole <= len(gzip.compress(graph, 9, mtime=0))


def test_without_a_proof_they_are_refused(served_bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(export, "find_runtime", lambda given: Runtime("export{a as b};", b"program"))
    with pytest.raises(InputError, match="must be measured"):
        export_page(served_bundle, tmp_path / "page.html", weights="int8", proof=False)
    assert not (tmp_path / "page.html").exists()
    with pytest.raises(UnknownNameError, match="float32, float16 or int8"):
        check_precision("int4")
