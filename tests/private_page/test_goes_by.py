"""In which concepts an answer's evidence lies, by the page's own arithmetic and by Python's."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from tests.private_page.harness import CODEC, in_node, needs_node, packed

from pellucid.bundle.goes_by import KnownConcepts
from pellucid.classifier import Evidence
from pellucid.evaluation.discovered import AnswerEntry, ConceptEntry
from pellucid.explanation.known_concepts import ClassFactors
from pellucid.explanation.layered_cams import layer_weights
from pellucid.preprocessing import GridGeometry
from pellucid.private_page.facts import concept_bytes, concepts_document

CODE = (
    """import { conceptShares, readConcepts } from "./goes-by.js";
"""
    + CODEC
    + """
globalThis.harness = async ({ bytes, described, evidence }) => {
  const concepts = await readConcepts(bytesOf(bytes), described);
  const given = (one) => ({ ...one, activations: floatsOf(one.a), gradients: floatsOf(one.g) });
  return evidence.map((one) => conceptShares(given(one), concepts));
};
"""
)


class Given:
    """A classifier that gives the evidence it is told."""

    classes = ("cat", "dog")

    def __init__(self, activations: np.ndarray, gradients: np.ndarray) -> None:
        self.given = activations, gradients

    def evidence(self, batch: Any, target: Any, score: Any = None) -> Evidence:
        activations, gradients = self.given
        logits = np.zeros((1, 1), np.float32)
        return Evidence(logits, activations, gradients, GridGeometry((8, 8), (4, 4)), "layer", tuple(target))


def entry(name: str, label: str, factor: int | None, words: str = "") -> ConceptEntry:
    answer = AnswerEntry(belongs=True, words=words) if words else None
    return ConceptEntry(
        name=name, label=label, share=0.5, presence=None, groups=3, side=8, position="anywhere", factor=factor,
        answer=answer,
    )  # fmt: skip


@needs_node
@pytest.mark.parametrize(("height", "width"), [(7, 6), (13, 12)])
def test_shares_are_pythons(height: int, width: int, tmp_path: Path) -> None:
    random, channels = np.random.default_rng(height), 9
    factors = {
        k: ClassFactors(
            random.dirichlet(np.ones(channels), parts).astype(np.float32).astype(np.float64),
            random.uniform(0, 2, channels).astype(np.float32),
        )
        for k, parts in ((0, 3), (1, 5))
    }
    numbered = [("cat", k) for k in range(3)] + [("dog", k) for k in range(5)]
    concepts = tuple(entry(f"{label} {k}", label, k, "ears" if k == 1 else "") for label, k in numbered)
    known = KnownConcepts((*concepts, entry("period", "dog", None)), factors)
    exported: Any = SimpleNamespace(concepts=known, bundle=SimpleNamespace(classes=("cat", "dog")))
    shape = (1, channels, height, width)
    cases = [(np.maximum(random.normal(0.2, 1, shape), 0), random.normal(0.1, 1, shape), k) for k in (0, 1, 0, 1)]
    cases += [(np.zeros(shape), np.ones(shape), 1)]
    pairs = [(a.astype(np.float32), g.astype(np.float32), k) for a, g, k in cases]
    raw = concept_bytes(exported)
    assert raw is not None
    evidence = [{"a": packed(a), "g": packed(g), "dims": [1, channels, height, width], "place": k} for a, g, k in pairs]
    given = {"bytes": packed(np.frombuffer(raw, np.uint8)), "described": concepts_document(exported)}
    found = in_node(tmp_path, CODE, {**given, "evidence": evidence})
    assert [len(shares) for shares in found][-1] == 0
    for mine, (a, g, k) in zip(found, pairs, strict=True):
        classifier: Any = Given(a, g[:, None])
        wanted = known.shares(classifier, np.zeros((1, 3, 8, 8), np.float32), Given.classes[k])
        assert [(s["concept"], s["label"], s["status"], s["words"]) for s in mine] == [
            (s.concept, s.label, s.status, s.words) for s in wanted
        ]
        assert [s["share"] for s in mine] == pytest.approx([s.share for s in wanted], abs=1e-6)


@needs_node
def test_weights_of_layers_are_pythons(tmp_path: Path) -> None:
    code = """import { layerWeights } from "./layered-cams.js";
globalThis.harness = async (rows) => rows.map(layerWeights);
"""
    rows = np.random.default_rng(0).normal(0.3, 1, (20, 5))
    rows[0], rows[1], rows[2] = -1, 2, [1, -1, -1, -1, -1]
    found = in_node(tmp_path, code, rows.tolist())
    np.testing.assert_allclose(found, layer_weights(rows, 90), atol=1e-6)
