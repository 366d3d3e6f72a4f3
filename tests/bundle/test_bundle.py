"""A loaded bundle: images in, answers and explanations out."""

import io

import numpy as np
import PIL.Image
import pytest
from tests.small_networks import noise

import pellucid
from pellucid.bundle.bundle import Bundle
from pellucid.classifier import EvidenceClassifier
from pellucid.errors import BundleError, ImageError, UnknownNameError
from pellucid.images import from_array


@pytest.fixture(scope="module")
def bundle(exported_bundle) -> Bundle:
    return pellucid.load(exported_bundle, threads=1)


def picture(seed: int = 0, size: tuple[int, int] = (50, 40)) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (*size, 3), np.uint8)


def png(pixels: np.ndarray) -> bytes:
    stream = io.BytesIO()
    PIL.Image.fromarray(pixels).save(stream, "PNG")
    return stream.getvalue()


def test_it_is_an_evidence_classifier_that_tells_what_it_is(bundle, exported_bundle):
    assert isinstance(bundle, EvidenceClassifier)
    assert repr(bundle) == f"Bundle({str(exported_bundle)!r}, classes=('ant', 'bee'))"
    assert bundle.folder == exported_bundle


def test_a_prediction_is_the_probability_of_each_class_by_hand(bundle):
    pixels = picture()
    resized = np.asarray(PIL.Image.fromarray(pixels).resize((32, 24), PIL.Image.Resampling.BILINEAR))
    tensor = (resized.astype(np.float32) / 255).transpose(2, 0, 1)[None]
    z = float(bundle.logits(np.ascontiguousarray(tensor))[0, 0])
    found = bundle.predict(pixels)
    assert found.probabilities["bee"] == pytest.approx(1 / (1 + np.exp(-z)), abs=1e-5)
    assert found.probabilities["ant"] == pytest.approx(1 - found.probabilities["bee"], abs=1e-6)
    assert found.label == ("bee" if z >= 0 else "ant")
    assert found.confidence == found.probabilities[found.label]
    assert (found.output, found.path, found.warnings) == (None, None, ())


def test_an_image_may_come_in_any_way(bundle, tmp_path):
    pixels = picture(1)
    path = tmp_path / "bild ä.png"
    path.write_bytes(png(pixels))
    given = [pixels, PIL.Image.fromarray(pixels), png(pixels), path, str(path), from_array(pixels)]
    found = bundle.predict(given)
    assert [f.path for f in found] == [None, None, None, str(path), str(path), None]
    assert all(f.probabilities == found[0].probabilities for f in found)


@pytest.mark.parametrize("batch_size", [1, 3, 16])
def test_a_list_gives_a_list_in_order_whatever_the_batches(bundle, batch_size):
    pictures = [picture(seed) for seed in range(7)]
    found = bundle.predict(pictures, batch_size=batch_size)
    for one, image in zip(found, pictures, strict=True):
        alone = bundle.predict(image)
        assert one.label == alone.label
        assert one.probabilities["bee"] == pytest.approx(alone.probabilities["bee"], abs=1e-6)
    assert bundle.predict([]) == []
    assert bundle.predict(tuple(pictures[:1]))[0].label == found[0].label


def test_an_image_that_cannot_be_used_is_an_image_error(bundle, tmp_path):
    (tmp_path / "page.png").write_text("<html>")
    for bad in (b"", b"nothing", tmp_path / "page.png", tmp_path / "gone.png"):
        with pytest.raises(ImageError):
            bundle.predict(bad)
        with pytest.raises(ImageError):
            bundle.explain(bad)


def test_warnings_of_an_image_come_with_its_prediction(bundle):
    found = bundle.predict(np.full((20, 20), 3.5e5, np.float64))
    assert found.warnings


def test_the_threshold_of_the_manifest_decides(bundle):
    logits = np.array([[-1.0]], np.float32)  # a probability of 0.27
    lenient = Bundle(bundle.folder, bundle.manifest.model_copy(update={"threshold": 0.2}), bundle._classifier)
    strict = Bundle(bundle.folder, bundle.manifest.model_copy(update={"threshold": 0.3}), bundle._classifier)
    assert lenient.prediction(logits[0]).label == "bee"
    assert lenient.prediction(logits[0]).confidence == pytest.approx(1 / (1 + np.e), abs=1e-6)
    assert strict.prediction(logits[0]).label == "ant"


def test_a_regression_answers_with_its_output(bundle):
    manifest = bundle.manifest.model_copy(update={"task": "regression", "threshold": 0.0})
    scoring = Bundle(bundle.folder, manifest, bundle._classifier)
    found = scoring.prediction(np.array([1.25], np.float32), path="x.png", warnings=("dim",))
    assert (found.label, found.confidence, found.probabilities, found.output) == ("bee", None, {}, 1.25)
    assert (found.path, found.warnings) == ("x.png", ("dim",))
    assert scoring.prediction(np.array([-0.01], np.float32)).label == "ant"


def test_a_map_is_grad_cam_laid_on_the_original(bundle):
    pixels = picture(2, (61, 47))
    batch = bundle.preprocessing.tensors([from_array(pixels)])
    evidence = bundle.evidence(batch, "bee")
    grid = np.zeros(evidence.activations.shape[2:])
    for channel in range(evidence.activations.shape[1]):
        grid += evidence.gradients[0, 0, channel].mean() * evidence.activations[0, channel]
    attribution = bundle.explain(pixels, target="bee")
    assert attribution.target == "bee"
    assert np.allclose(attribution.grid, grid, rtol=1e-4, atol=1e-6)
    expected = bundle.preprocessing.to_original(grid.astype(np.float32), evidence.geometry, (61, 47))
    assert attribution.values.shape == (61, 47)
    assert np.allclose(attribution.values, expected, rtol=1e-4, atol=1e-6)
    assert np.abs(expected).max() > 0


def test_one_target_gives_one_map_and_several_give_several(bundle):
    pixels = picture(3)
    ant, bee = bundle.explain(pixels, target=("ant", "bee"))
    assert np.array_equal(ant.values, -bee.values)
    predicted = bundle.explain(pixels)
    assert predicted.target == bundle.predict(pixels).label
    assert np.allclose(predicted.values, {"ant": ant, "bee": bee}[predicted.target].values, atol=1e-6)
    assert isinstance(bundle.explain(pixels, target=("bee",)), tuple)


def test_answers_that_come_with_explanations_are_predictions(bundle):
    images = [from_array(picture(seed)) for seed in range(3)]
    for image, explained in zip(images, bundle.explain_images(images), strict=True):
        answer, alone = bundle.answer(explained, path="p"), bundle.predict(image)
        assert answer.path == "p"
        assert answer.label == alone.label
        assert answer.probabilities["bee"] == pytest.approx(alone.probabilities["bee"], abs=1e-6)
    assert bundle.explain_images([]) == []


def test_unknown_methods_and_classes_are_refused(bundle):
    with pytest.raises(UnknownNameError, match=r"Did you mean grad-cam"):
        bundle.explain(picture(), method="gradcam")
    with pytest.raises(UnknownNameError, match=r"The model knows ant, bee\."):
        bundle.explain(picture(), target="wasp")


def test_a_run_loads_as_its_bundle_does(bundle_folder, tmp_path):
    run = tmp_path / "run"
    run.mkdir()
    bundle_folder.rename(run / "model")
    loaded = pellucid.load(run)
    assert loaded.folder == run / "model"
    assert loaded.probabilities(noise(1, (24, 32))).shape == (1, 2)
    with pytest.raises(BundleError, match="There is no folder"):
        pellucid.load(tmp_path / "elsewhere")
