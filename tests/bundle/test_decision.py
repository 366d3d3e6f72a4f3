"""What is fitted after the export decides every answer: calibration, threshold, and what lies outside."""

from pathlib import Path

import numpy as np
import PIL.Image
import pytest
from tests.small_networks import noise

import pellucid
from pellucid.bundle.bundle import Bundle
from pellucid.bundle.io import amend_bundle
from pellucid.classifier import probabilities_from_logits
from pellucid.errors import BundleError
from pellucid.evaluation.calibration import Calibration
from pellucid.evaluation.outside import REFERENCE, Reference, describe_surroundings, with_threshold

METHODS = ["grad-cam", "grad-cam++", "hirescam", "layercam", "score-cam", "lime", "occlusion", "rise"]


def pictures(count: int, seed: int = 0) -> list[np.ndarray]:
    rng = np.random.default_rng(seed)
    return [rng.integers(60, 200, (24, 32, 3), np.uint8) for _ in range(count)]


def logit_of(bundle: Bundle, picture: np.ndarray) -> float:
    return float(bundle.logits(bundle.preprocessing.tensors([bundle.read(picture)]))[0, 0])


@pytest.fixture
def calibrated(bundle_folder: Path) -> Bundle:
    amend_bundle(bundle_folder, {"calibration": Calibration(method="platt", scale=0.5, shift=0.7, images=90)})
    return pellucid.load(bundle_folder, threads=1)


def test_every_probability_is_calibrated(calibrated):
    picture, batch = pictures(1)[0], noise(3, (24, 32))
    z = logit_of(calibrated, picture)
    expected = 1 / (1 + np.exp(-(0.5 * z + 0.7)))
    assert calibrated.predict(picture).probabilities["bee"] == pytest.approx(expected, abs=1e-6)
    logits = calibrated.logits(batch)
    by_hand = probabilities_from_logits(0.5 * logits + np.float32(0.7))
    assert np.allclose(calibrated.probabilities(batch), by_hand, atol=1e-6)
    assert np.array_equal(calibrated.probabilities_of(logits), calibrated.probabilities(batch))
    (explained,) = calibrated.explain_images([calibrated.read(picture)])
    assert explained.probabilities[1] == pytest.approx(expected, abs=1e-6)
    assert calibrated.answer(explained).confidence == calibrated.predict(picture).confidence


@pytest.mark.parametrize("method", METHODS)
def test_the_class_explained_is_the_class_answered(bundle_folder, method):
    """Also where the threshold lies so that the sign of the logit says the other one."""
    plain = pellucid.load(bundle_folder, threads=1)
    picture = pictures(1, seed=4)[0]
    p = plain.predict(picture).probabilities["bee"]
    for threshold, label in ((p / 2, "bee"), ((1 + p) / 2, "ant")):
        amend_bundle(bundle_folder, {"threshold": threshold})
        moved = pellucid.load(bundle_folder, threads=1)
        assert moved.predict(picture).label == label
        predicted = moved.explain(picture, method=method)
        assert predicted.target == label
        assert np.allclose(predicted.grid, plain.explain(picture, method=method, target=label).grid, atol=1e-5)


def test_an_image_of_another_kind_is_flagged_in_every_way(bundle_folder, tmp_path):
    bundle = pellucid.load(bundle_folder, threads=1)
    _, features = bundle.logits_and_features(bundle.preprocessing.tensors([bundle.read(p) for p in pictures(80)]))
    known = with_threshold(describe_surroundings(features[:50]), features[50:])
    reference = Reference(layer="x", channels=8, trained=50, images=30, threshold=known.threshold)
    amend_bundle(bundle_folder, {"reference": reference}, {REFERENCE: known.to_bytes()})
    knowing = pellucid.load(bundle_folder, threads=1)
    flat, usual = np.full((24, 32, 3), 255, np.uint8), pictures(1, seed=9)[0]
    odd, even = knowing.predict([flat, usual])
    assert odd.outside_score > 1 > even.outside_score
    assert "does not look like the images that the model was trained on (ant, bee)" in odd.warnings[0]
    assert even.warnings == ()
    for method in ("grad-cam", "lime"):
        (explained,) = knowing.explain_images([knowing.read(flat)], method=method)
        answer = knowing.answer(explained)
        assert answer.outside_score == pytest.approx(odd.outside_score, rel=1e-4)
        assert answer.warnings == odd.warnings[:1]
    path = tmp_path / "flat.png"
    PIL.Image.fromarray(flat).save(path)
    assert knowing.predict(path).outside_score == pytest.approx(odd.outside_score, rel=1e-4)
    assert bundle.predict(flat).outside_score is None


def test_features_are_means_of_the_activations(bundle_folder):
    bundle, batch = pellucid.load(bundle_folder, threads=1), noise(4, (24, 32))
    logits, features = bundle.logits_and_features(batch)
    assert np.array_equal(logits, bundle.logits(batch))
    evidence = bundle.evidence(batch)
    assert np.allclose(features, evidence.activations.mean(axis=(2, 3)), atol=1e-6)
    assert np.array_equal(features, evidence.features)


def test_a_changed_reference_is_refused(bundle_folder):
    bundle = pellucid.load(bundle_folder, threads=1)
    _, features = bundle.logits_and_features(noise(20, (24, 32)))
    known = with_threshold(describe_surroundings(features), features)
    reference = Reference(layer="x", channels=8, trained=20, images=20, threshold=known.threshold)
    amend_bundle(bundle_folder, {"reference": reference}, {REFERENCE: known.to_bytes()})
    (bundle_folder / REFERENCE).write_bytes(b"something else")
    with pytest.raises(BundleError, match="sha256 differs"):
        pellucid.load(bundle_folder)
