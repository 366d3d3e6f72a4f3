"""The page decides as Python does: sets, withheld answers, none of these, and every detector of unusual images."""

from __future__ import annotations

import base64
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from tests.private_page.harness import in_node, needs_node

from pellucid.evaluation.abstention import Abstention
from pellucid.evaluation.answering import AnsweringRules, decide
from pellucid.evaluation.conformal import ClassSets, ScoreInterval
from pellucid.evaluation.detectors import describe_classes, describe_energy, describe_neighbours
from pellucid.evaluation.difficulty import Difficulty
from pellucid.evaluation.flags import Flag
from pellucid.evaluation.joint import Joint, describe_looks, joined
from pellucid.evaluation.looks import LOOKS, looks_of
from pellucid.evaluation.outside import describe_surroundings
from pellucid.preprocessing import Preprocessing
from pellucid.private_page import facts
from pellucid.reporting.decisions import decision_document

pytestmark = needs_node
CLASSES = ("ant", "bee", "crab")


def rules(score: str, wrong: str, least: float | None) -> AnsweringRules:
    limits = {"lac": (0.6, None, 0.3), "aps": (0.4, 0.4, 0.4), "raps": (0.5, 0.5, 0.5)}[score]
    return AnsweringRules(
        sets=ClassSets(score=score, coverage=0.9, thresholds=limits, images=(30, 30, 30)),
        abstention=Abstention(
            asked=f"{wrong}<=0.1", wrong=wrong, most=0.1, least=least, answered=0.5, bound=None, images=90, needed=29
        ),
        reject="unlike",
    )


CODE = """import { decisionOf } from "./deciding.js";
globalThis.harness = async ({ manifest, rows }) =>
  rows.map(({ p, place, output, outside }) => decisionOf(manifest, p, place, output, outside));
"""


@pytest.mark.parametrize(
    ("score", "wrong", "least"), [("lac", "errors", 0.6), ("aps", "fn", 0.7), ("raps", "fp", None)]
)
def test_decisions_are_pythons(score: str, wrong: str, least: float | None, tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    shares = random.dirichlet([0.6] * 3, 60).astype(np.float32)
    outside = random.uniform(0, 1.4, 60)
    given = rules(score, wrong, least)
    manifest = {"task": "multiclass", "classes": CLASSES, "threshold": 0.5, "answering": given.model_dump(mode="json")}
    asked = [
        {"p": p.tolist(), "place": int(p.argmax()), "output": None, "outside": float(o)}
        for p, o in zip(shares, outside, strict=True)
    ]
    for found, p, o in zip(
        in_node(tmp_path, CODE, {"manifest": manifest, "rows": asked}), shares, outside, strict=True
    ):
        decided = decide(
            given, task="multiclass", classes=CLASSES, scores=p, predicted=int(p.argmax()), threshold=0.5,
            outside=float(o),
        )  # fmt: skip
        wanted = decision_document(decided)
        for name in ("outcome", "label", "predicted", "set", "interval", "coverage", "threshold"):
            assert found[name] == wanted[name], name
        assert [r["code"] for r in found["reasons"]] == [r["code"] for r in wanted["reasons"]]
        assert [r["text"] for r in found["reasons"]] == [r["text"] for r in wanted["reasons"]]


def test_a_regression_and_a_model_without_rules(tmp_path: Path) -> None:
    given = AnsweringRules(interval=ScoreInterval(coverage=0.9, half_width=0.25, images=40))
    manifest = {"task": "regression", "classes": ("ok", "bad"), "threshold": 0.5}
    row = {"p": [], "place": 1, "output": 0.75, "outside": None}
    ruled = {"manifest": {**manifest, "answering": given.model_dump(mode="json")}, "rows": [row]}
    (found,) = in_node(tmp_path, CODE, ruled)
    assert (found["label"], found["interval"], found["set"]) == ("bad", [0.5, 1.0], None)
    (found,) = in_node(tmp_path, CODE, {"manifest": {**manifest, "answering": None}, "rows": [row]})
    assert (found["outcome"], found["interval"], found["coverage"]) == ("answer", None, None)


def test_an_interval_follows_the_expected_error_as_in_python(tmp_path: Path) -> None:
    line = Difficulty(weights=(-2.0, 1.5, -0.7, 0.8), least=0.05, most=0.6, images=50)
    interval = ScoreInterval(coverage=0.9, half_width=1.7, normalised=True, difficulty=line, images=40)
    given = AnsweringRules(interval=interval)
    manifest = {"task": "regression", "classes": ("ok", "bad"), "threshold": 0.5, "answering": given.model_dump()}
    cases = [(0.2, 0.4), (0.9, 5.0), (0.6, None), (-3.0, float("1e9")), (0.4, 0.0)]
    rows = [{"p": [], "place": 1, "output": output, "outside": outside} for output, outside in cases]
    for found, (output, outside) in zip(
        in_node(tmp_path, CODE, {"manifest": manifest, "rows": rows}), cases, strict=True
    ):
        wanted = decide(
            given, task="regression", classes=("ok", "bad"), scores=np.array([output]), predicted=1, threshold=0.5,
            outside=outside,
        ).interval  # fmt: skip
        assert found["interval"] == pytest.approx(wanted, rel=1e-9)


def test_looks_are_pythons(tmp_path: Path) -> None:
    random = np.random.default_rng(3)
    imagenet = {"mean": (0.485, 0.456, 0.406), "deviation": (0.229, 0.224, 0.225)}
    code = """import { looksOf } from "./looks.js";
globalThis.harness = async (given) => given.map(({ tensor, p }) => looksOf(Float32Array.from(tensor), p));
"""
    shapes = [Preprocessing(height=h, width=w, **imagenet) for h, w in ((40, 33), (113, 120))]
    batches = [s.normalise(random.integers(0, 256, (1, s.height, s.width, 3), np.uint8)) for s in shapes]
    given = [
        {"tensor": b.ravel().tolist(), "p": s.model_dump(mode="json")} for b, s in zip(batches, shapes, strict=True)
    ]
    for found, batch, shape in zip(in_node(tmp_path, code, given), batches, shapes, strict=True):
        np.testing.assert_allclose(found, looks_of(batch, shape)[0], atol=2e-4)


def several(features: np.ndarray, looks: np.ndarray, logits: np.ndarray) -> Joint:
    own = {"class": describe_classes(features, np.arange(80) % 3), "energy": describe_energy(logits)}
    parts = {**own, "neighbours": describe_neighbours(features), "looks": describe_looks(looks)}
    return joined(parts, {"class": 0.5, "energy": 1, "neighbours": 2, "looks": 1}).fitted(
        np.concatenate([features, looks], axis=1), logits
    )


@pytest.mark.parametrize("method", ["mahalanobis", "neighbours", "taught", "class", "energy", "joint"])
def test_distances_are_pythons(method: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    random = np.random.default_rng(1)
    known, new = (random.normal(size=(n, 12)).astype(np.float32) for n in (80, 6))
    looks = random.normal(size=(86, LOOKS)).astype(np.float32) if method == "joint" else np.zeros((86, 0), np.float32)
    logits = random.normal(0, 3, (6, 3)).astype(np.float32)
    detector = {
        "neighbours": lambda: describe_neighbours(known),
        "taught": lambda: describe_neighbours(known, random.normal(2, 1, (20, 12))),
        "class": lambda: describe_classes(known, np.arange(80) % 3),
        "energy": lambda: describe_energy(random.normal(0, 3, (50, 3))),
        "mahalanobis": lambda: describe_surroundings(known),
        "joint": lambda: several(known, looks[:80], random.normal(0, 3, (80, 3))),
    }[method]()
    monkeypatch.setattr(facts, "_detector", lambda bundle: detector)
    reference = SimpleNamespace(method="neighbours" if method == "taught" else method, threshold=1.5)
    bundle = SimpleNamespace(manifest=SimpleNamespace(reference=reference))
    shape, content = facts._reference_shape(bundle), facts.reference_bytes(bundle)
    code = """import { outsideScore, readReference } from "./outside.js";
globalThis.harness = async ({ shape, content, features, logits, looks }) => {
  const bytes = content && Uint8Array.from(atob(content), (letter) => letter.charCodeAt(0));
  const reference = await readReference(bytes, shape);
  return features.map((one, i) => outsideScore(Float32Array.from(one), reference, logits[i], looks[i]));
};
"""
    packed = None if content is None else base64.b64encode(content).decode()
    given = {"shape": shape, "content": packed, "features": new.tolist(), "logits": logits.tolist()}
    found = in_node(tmp_path, code, {**given, "looks": looks[80:].tolist()})
    whole = np.concatenate([new, looks[80:]], axis=1)
    np.testing.assert_allclose(found, Flag(detector, 1.5).scores(whole, logits), rtol=2e-4)
