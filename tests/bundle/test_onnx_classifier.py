"""The graph behind the protocols: what it is asked, and what it refuses."""

import threading

import numpy as np
import pytest
from tests.small_networks import noise

from pellucid.bundle.io import model_session
from pellucid.bundle.onnx_classifier import OnnxClassifier
from pellucid.classifier import Classifier, EvidenceClassifier
from pellucid.errors import InputError, ResourceError, UnknownNameError


@pytest.fixture
def classifier(exported_bundle):
    from pellucid.bundle.io import read_bundle

    return OnnxClassifier(read_bundle(exported_bundle), model_session(exported_bundle / "model.onnx", 1))


def test_it_keeps_the_protocols(classifier):
    assert isinstance(classifier, Classifier)
    assert isinstance(classifier, EvidenceClassifier)
    assert (classifier.classes, classifier.task) == (("ant", "bee"), "binary")
    assert (classifier.preprocessing.height, classifier.preprocessing.width) == (24, 32)


def test_probabilities_are_the_sigmoid_of_its_logits(classifier):
    batch = noise(5, (24, 32))
    logits = classifier.logits(batch).astype(np.float64)
    positive = 1 / (1 + np.exp(-logits[:, 0]))
    assert np.allclose(classifier.probabilities(batch), np.stack([1 - positive, positive], 1), atol=1e-6)
    assert np.array_equal(classifier.evidence(batch).logits, classifier.logits(batch))


def test_the_gradient_predicts_how_the_logit_moves_with_the_activations(classifier):
    # Global average pooling and a linear head: the logit is sum(G A) plus the bias, for every image the same bias.
    evidence = classifier.evidence(noise(6, (24, 32)), "bee")
    moved = (evidence.gradients[:, 0] * evidence.activations).sum((1, 2, 3))
    biases = evidence.logits[:, 0] - moved
    assert np.ptp(moved) > 1e-3
    assert np.allclose(biases, biases[0], atol=1e-5)


@pytest.mark.parametrize(
    "batch",
    [
        noise(1, (32, 24)),
        noise(1, (24, 32))[0],
        noise(1, (24, 32))[:, :1],
        noise(1, (24, 32)).astype(np.float64),
        np.zeros((1, 24, 32, 3), np.float32),
    ],
)
def test_a_batch_of_another_kind_is_refused(classifier, batch):
    with pytest.raises(InputError, match=r"A batch must be float32 of shape \(N, 3, 24, 32\), not"):
        classifier.probabilities(batch)


def test_a_batch_may_lie_in_memory_in_any_way(classifier):
    batch = noise(4, (24, 32))
    shuffled = np.asfortranarray(batch)
    shuffled.setflags(write=False)
    assert np.array_equal(classifier.logits(shuffled[::-1]), classifier.logits(batch)[::-1])


def test_an_unknown_class_is_refused(classifier):
    with pytest.raises(UnknownNameError, match=r"no class named 'bea'\. Did you mean bee"):
        classifier.evidence(noise(1, (24, 32)), "bea")


def test_no_images_have_no_answers(classifier):
    assert classifier.probabilities(noise(0, (24, 32))).shape == (0, 2)
    evidence = classifier.evidence(noise(0, (24, 32)), ("ant", "bee"))
    assert evidence.gradients.shape[:2] == (0, 2)


def test_threads_do_not_disturb_each_other(classifier):
    batches = [noise(3, (24, 32), seed=s) for s in range(8)]
    alone = [classifier.evidence(b, ("ant", "bee")).gradients for b in batches]
    together: list[np.ndarray | None] = [None] * 8

    def ask(i: int) -> None:
        together[i] = classifier.evidence(batches[i], ("ant", "bee")).gradients

    threads = [threading.Thread(target=ask, args=(i,)) for i in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert all(np.array_equal(a, b) for a, b in zip(alone, together, strict=True))


class Failing:
    def __init__(self, message: str) -> None:
        self.message = message

    def run(self, *args: object) -> None:
        raise RuntimeError(self.message)


def test_when_memory_runs_out_the_setting_to_lower_is_named(classifier):
    starved = OnnxClassifier(classifier.manifest, Failing("Failed to allocate memory for requested buffer"))
    with pytest.raises(ResourceError, match=r"Memory ran out on a batch of 7 images: lower `batch=`\."):
        starved.logits(noise(7, (24, 32)))
    broken = OnnxClassifier(classifier.manifest, Failing("something else"))
    with pytest.raises(RuntimeError, match="something else"):
        broken.logits(noise(1, (24, 32)))


def test_several_targets_of_one_logit_are_those_of_each_alone(classifier):
    batch = noise(4, (24, 32))
    together = classifier.evidence(batch, ("ant", "(predicted)", "bee"))
    for column, name in enumerate(together.targets):
        alone = classifier.evidence(batch, name)
        assert np.array_equal(together.gradients[:, column], alone.gradients[:, 0]), name
    assert np.array_equal(together.gradients[:, 0], -together.gradients[:, 2])
