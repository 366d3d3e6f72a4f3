"""A bundle whose flag also sees how an image looks gives one outside score, whichever way an image is asked about."""

from pathlib import Path

import numpy as np
import PIL.Image
import pytest

import pellucid
from pellucid.bundle.bundle import Bundle
from pellucid.bundle.io import amend_bundle
from pellucid.evaluation.flags import Flag
from pellucid.evaluation.joint import LOOKING, describe_looks, joined
from pellucid.evaluation.looks import LOOKS
from pellucid.evaluation.outside import REFERENCE, Reference, describe_surroundings
from pellucid.private_page.facts import _reference_shape, reference_bytes
from pellucid.serving.answers import explain, predict
from pellucid.serving.registry import Served
from pellucid.serving.settings import ServerSettings
from pellucid.serving.uploads import Upload
from pellucid.serving.workers import CancelToken
from pellucid.workflow.batch.reading import Reader
from pellucid.workflow.batch.sources import Item
from pellucid.workflow.batch.work import AnswerRow, BatchQuestion, Worker
from pellucid.workflow.prediction import answers_on_pixels
from pellucid.workflow.unusual import _looks


@pytest.fixture
def knowing(bundle_folder: Path) -> Bundle:
    """A bundle that knows pictures of noise between 60 and 200."""
    bundle = pellucid.load(bundle_folder, threads=1)
    pixels = np.random.default_rng(0).integers(60, 200, (90, 24, 32, 3), np.uint8)
    logits, features = answers_on_pixels(bundle, pixels, lambda done, total: None)
    looks = _looks(bundle, pixels, np.arange(90))
    known, home = slice(0, 50), np.concatenate([features, looks], axis=1)[50:]
    parts = {"mahalanobis": describe_surroundings(features[known]), LOOKING: describe_looks(looks[known])}
    flag = Flag(joined(parts).fitted(home, logits[50:])).fitted(home, logits[50:])
    reference = Reference(
        method="joint", layer="x", channels=features.shape[1], trained=50, images=40, threshold=flag.threshold
    )
    amend_bundle(bundle_folder, {"reference": reference}, {REFERENCE: flag.detector.to_bytes()})
    return pellucid.load(bundle_folder, threads=1)


@pytest.fixture
def soft(tmp_path: Path) -> Path:
    """Noise of the same levels, but soft."""
    small = np.random.default_rng(7).integers(60, 200, (6, 8, 3), np.uint8)
    PIL.Image.fromarray(small).resize((32, 24)).save(tmp_path / "soft.png")
    return tmp_path / "soft.png"


def test_predict_and_every_method_agree(knowing: Bundle, soft: Path) -> None:
    assert knowing.looks == LOOKS
    score = knowing.predict(soft).outside_score
    assert score is not None
    assert score > 1
    usual = np.random.default_rng(3).integers(60, 200, (24, 32, 3), np.uint8)
    assert knowing.predict(usual).outside_score < 1
    for method in ("grad-cam", "score-cam", "lime", "occlusion"):
        (explained,) = knowing.explain_images([knowing.read(soft)], method=method)
        assert knowing.answer(explained).outside_score == pytest.approx(score, rel=1e-4)


@pytest.mark.parametrize("method", [None, "grad-cam", "occlusion"])
def test_batches_agree(knowing: Bundle, soft: Path, method: str | None) -> None:
    with Reader() as reader:
        (row,) = Worker(knowing, BatchQuestion(method), reader).answer(0, [Item(str(soft))])
    assert isinstance(row, AnswerRow)
    assert row.prediction.outside_score == pytest.approx(knowing.predict(soft).outside_score, rel=1e-4)


def test_the_server_agrees(knowing: Bundle, soft: Path) -> None:
    served = Served("small", knowing.folder, knowing, knowing, None, None, ())
    upload, settings = Upload(soft.read_bytes()), ServerSettings()
    score = knowing.predict(soft).outside_score
    asked = predict(served, upload, settings, CancelToken(60))
    assert asked.prediction.outside_score == pytest.approx(score, rel=1e-4)
    for method in ("grad-cam", "occlusion"):
        found = explain(served, upload, settings, CancelToken(60), method=method)
        assert found.prediction.outside_score == pytest.approx(score, rel=1e-4)
        assert found.features is not None
        assert found.features.shape == asked.features.shape


def test_what_needs_the_layer_alone_gets_it(knowing: Bundle) -> None:
    batch = np.zeros((2, 3, 24, 32), np.float32)
    _, features = knowing.logits_and_features(batch)
    assert np.array_equal(knowing.of_layer(features), knowing.evidence(batch).features)
    assert features.shape[1] == knowing.manifest.reference.channels + LOOKS


def test_the_page_gets_every_array(knowing: Bundle) -> None:
    shape, content = _reference_shape(knowing), reference_bytes(knowing)
    counts = [2 * p["channels"] + p["components"] * (p["channels"] + 1) + 1 for p in shape["parts"]]
    assert [p["name"] for p in shape["parts"]] == ["mahalanobis", "looks"]
    assert len(content) == 4 * sum(counts)
