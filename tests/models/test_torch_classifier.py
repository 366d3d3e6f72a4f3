"""A live network as a classifier: the bundle's answers, under any mode, and nothing left behind."""

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch
from tests.small_networks import manifest_of, network_of, noise, recipe_of
from torch import nn

from pellucid.classifier import EvidenceClassifier, TailClassifier
from pellucid.errors import InputError
from pellucid.explanation.catalogue import METHODS
from pellucid.explanation.explain import explain_tensors
from pellucid.explanation.score_cam import ScoreCamSettings
from pellucid.models.torch_classifier import TorchClassifier

RECIPE = recipe_of(batch_norm=True, head=[{"dense": 8, "dropout": 0.5}])
CAM = [m.name for m in METHODS if m.family == "cam" and m.needs == "evidence"]


def live(network: nn.Module) -> TorchClassifier:
    return TorchClassifier(network, manifest_of(network, RECIPE.preprocessing(), 3, network.explained_layer))


@pytest.fixture
def network() -> nn.Module:
    return network_of(RECIPE, 3)


@pytest.mark.parametrize("method", CAM)
def test_live_network_and_its_bundle_give_the_same_maps(method, exported):
    pair = exported("global max pooling")
    torch_classifier = TorchClassifier(pair.network, pair.bundle.manifest)
    settings = ScoreCamSettings(channels=4) if method == "score-cam" else None
    batch, sizes = noise(2, 24), [(30, 40), (24, 24)]
    asked = {"method": method, "target": pair.bundle.classes, "settings": settings}
    for ours, theirs in zip(
        explain_tensors(torch_classifier, batch, sizes, **asked),
        explain_tensors(pair.bundle, batch, sizes, **asked),
        strict=True,
    ):
        assert np.allclose(ours.probabilities, theirs.probabilities, atol=1e-5)
        for one, other in zip(ours.attributions, theirs.attributions, strict=True):
            largest = np.abs(other.values).max()
            assert largest > 0 or method in ("grad-cam++", "layercam")
            assert np.abs(one.values - other.values).max() <= 1e-4 * largest


def test_it_is_an_evidence_classifier_with_a_tail(network):
    assert isinstance(live(network), EvidenceClassifier)
    assert isinstance(live(network), TailClassifier)


def test_a_network_in_training_answers_as_in_evaluation_and_goes_on_training(network):
    batch = noise(3, 24)
    expected, evidence = live(network).logits(batch), live(network).evidence(batch)
    network.train()
    network.backbone.norm1.eval()
    modes = [module.training for module in network.modules()]
    statistics = {k: v.clone() for k, v in network.state_dict().items()}
    classifier = live(network)
    assert np.array_equal(classifier.logits(batch), expected)
    assert np.array_equal(classifier.evidence(batch).gradients, evidence.gradients)
    assert np.allclose(classifier.tail(evidence.activations), expected, atol=1e-6)
    assert [module.training for module in network.modules()] == modes
    assert all(torch.equal(v, statistics[k]) for k, v in network.state_dict().items())


@pytest.mark.parametrize(
    "around",
    [torch.no_grad, torch.inference_mode, lambda: torch.autocast("cpu", torch.bfloat16)],
    ids=["no_grad", "inference_mode", "autocast"],
)
@pytest.mark.parametrize("frozen", [False, True])
def test_what_is_switched_on_around_a_call_changes_nothing(network, around, frozen):
    batch = noise(2, 24)
    before = live(network).evidence(batch, ("ant", "cat"))
    network.requires_grad_(not frozen)
    with around():
        within = live(network).evidence(batch, ("ant", "cat"))
        logits = live(network).logits(batch)
    assert np.array_equal(within.activations, before.activations)
    assert np.array_equal(within.gradients, before.gradients)
    assert np.array_equal(logits, before.logits)
    assert all(p.requires_grad != frozen and p.grad is None for p in network.parameters())


def test_threads_take_turns(network):
    classifier, batches = live(network), [noise(1, 24, seed=s) for s in range(8)]
    expected = [classifier.evidence(batch).gradients for batch in batches]
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(lambda batch: classifier.evidence(batch).gradients, batches * 4))
    for i, gradients in enumerate(found):
        assert np.array_equal(gradients, expected[i % 8])


class WorksOnItsInput(nn.Module):
    explained_layer = "layer"

    def __init__(self) -> None:
        super().__init__()
        self.first, self.layer = nn.ReLU(inplace=True), nn.Conv2d(3, 3, 3)

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        return self.layer(self.first(image)).amax((2, 3))


def test_a_network_that_works_in_place_leaves_the_batch_alone():
    batch = noise(2, 24)
    before = batch.copy()
    classifier = live(WorksOnItsInput().eval())
    classifier.logits(batch)
    classifier.evidence(batch)
    assert np.array_equal(batch, before)


def test_tail_gives_the_logits_of_any_number_of_activations(network):
    classifier = live(network)
    evidence = classifier.evidence(noise(5, 24))
    assert np.abs(evidence.logits).max() > 0
    for rows in (slice(0, 5), slice(2, 3)):
        assert np.allclose(classifier.tail(evidence.activations[rows]), evidence.logits[rows], atol=1e-6)


@pytest.mark.parametrize("call", ["logits", "evidence", "tail"])
def test_a_failure_within_leaves_modes_and_hooks_as_they_were(network, call, monkeypatch):
    classifier, batch = live(network.train()), noise(2, 24)
    given = classifier.evidence(batch).activations if call == "tail" else batch

    def breaks(features: torch.Tensor) -> torch.Tensor:
        raise RuntimeError("broken on purpose")

    with monkeypatch.context() as patch:
        patch.setattr(network.head, "forward", breaks)
        with pytest.raises(RuntimeError, match="broken on purpose"):
            getattr(classifier, call)(given)
    assert all(module.training for module in network.modules())
    assert not any(module._forward_hooks for module in network.modules())
    assert np.isfinite(classifier.logits(batch)).all(), "the lock is free again"


@pytest.mark.parametrize("batch", [noise(1, 24).astype(np.float64), noise(1, 25), noise(1, 24)[0]])
def test_a_batch_of_another_kind_is_refused(network, batch):
    for ask in (live(network).logits, live(network).evidence):
        with pytest.raises(InputError, match=r"float32 of shape \(N, 3, 24, 24\)"):
            ask(batch)
