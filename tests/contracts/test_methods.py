"""What every row of the catalogue of explanation methods keeps, whoever adds it.

Each trap of the explanation specification, and the test that falls into it no more (paths under tests/):

a single output's softmax is constant           models/test_evidence_graph: the_first_of_two_classes_is_exactly...
a saturated probability has no gradient         models/test_evidence_graph: huge_logits_stay_finite
log-odds cancel for a class that is certain     explanation/test_maps: a_class_that_is_all_but_certain_keeps_its_odds
maps normalised per image                       explanation/test_cam: closed forms in the score's own unit
noise inflated where nothing speaks             reporting/test_overlay
cells half a cell off (ResNet, MobileNet)       explanation/test_explain: maps_lie_on_spots_all_over_the_image...
crop and padding not undone                     explanation/test_explain: maps_lie_on_spots_of_originals_of_any_shape
Grad-CAM++ with a wrong alpha (eq. 19)          explanation/test_cam
in-place ReLU behind the layer                  models/test_evidence_graph: what_changes_in_place_behind_the_layer...
frozen parameters, no_grad, autocast, threads   models/test_torch_classifier
modes, gradients, hooks changed, or kept
  after a failure                               here: success_leaves_no_trace, failure_leaves_no_trace
alone and in a batch differ                     here: an_image_in_a_batch_has_the_map_it_has_alone
seeds that do not cover everything              here: the_same_question_has_the_same_answer_bit_for_bit
the last superpixel can never be hidden         explanation/test_superpixels, test_lime
black taken as neutral                          explanation/test_replacement, test_integrated_gradients: each baseline
weights without errors, sampling without end    explanation/test_lime, test_additive
integrated gradients that do not add up         explanation/test_integrated_gradients: the_map_sums_to_the_difference...
gradients in the tensor's units                 explanation/test_saliency: what_a_grey_level_more_does_to_the_score
convolutions behind the layer                   models/test_evidence_graph: with_convolutions_behind_the_layer...
a class changed by the perturbation             explanation/test_ablation_cam, test_masking
"""

import dataclasses
import random
from collections.abc import Callable, Iterator
from functools import lru_cache
from typing import Any

import numpy as np
import pytest
import torch
from tests.small_detectors import detector_at
from tests.small_networks import manifest_of, network_of, noise, recipe_of
from torch import nn

from pellucid.bundle.bundle import load
from pellucid.bundle.manifest import MODEL, Layer, Layered
from pellucid.bundle.onnx_classifier import OnnxClassifier
from pellucid.classifier import Classifier, EvidenceClassifier, gives_score
from pellucid.errors import InputError, UnknownNameError
from pellucid.explanation.attribution import Attribution
from pellucid.explanation.catalogue import METHODS, Method, find_method, settings_of
from pellucid.explanation.explain import explain_tensors
from pellucid.explanation.metered import Metered
from pellucid.models.export import export_bundle
from pellucid.models.network import Network
from pellucid.models.torch_classifier import TorchClassifier
from pellucid.preprocessing import Preprocessing
from pellucid.reporting.words import lack_words

# Small stand-ins by the name of a setting. A row that stops sampling when its result is stable must not do so here:
# one class alone may be stable earlier than all together.
SMALL: dict[str, Any] = {
    "samples": 64,
    "superpixels": 8,
    "cells": 3,
    "steps": 8,
    "channels": 6,
    "window": 0.34,
    "stride": 0.34,
    "stable": 2.0,
}
LIVE = ("live residual network", "live regression")
BUNDLES = ("bundle of two classes", "bundle of a residual network")
SERVED = {
    "evidence": (*BUNDLES, *LIVE),
    "tail": (*BUNDLES, *LIVE),
    "several layers": (*BUNDLES, *LIVE),
    "input gradients": (*BUNDLES, *LIVE),
    "probabilities": (*BUNDLES, *LIVE, "function"),
    "anomaly map": ("anomaly detector",),
}
PAIRS = [(method.name, kind) for method in METHODS for kind in SERVED[method.needs]]
each_pair = pytest.mark.parametrize(("name", "kind"), PAIRS, ids=[f"{m}, {k}" for m, k in PAIRS])
each_method = pytest.mark.parametrize("method", METHODS, ids=[m.name for m in METHODS])


class Residual(nn.Module):
    """One block of a residual network, with activations in place."""

    def __init__(self, before: int, after: int) -> None:
        super().__init__()
        self.conv1, self.norm1 = nn.Conv2d(before, after, 3, 2, 1, bias=False), nn.BatchNorm2d(after)
        self.conv2, self.norm2 = nn.Conv2d(after, after, 3, 1, 1, bias=False), nn.BatchNorm2d(after)
        self.shortcut = nn.Conv2d(before, after, 1, 2)
        self.relu = nn.ReLU(inplace=True)

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        inner = self.norm2(self.conv2(self.relu(self.norm1(self.conv1(image)))))
        return self.relu(inner + self.shortcut(image))


def residual_network() -> Network:
    torch.manual_seed(1)
    backbone = nn.Sequential(Residual(3, 8), Residual(8, 12))
    pool = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten())
    head = nn.Sequential(nn.Linear(12, 16), nn.ReLU(inplace=True), nn.Linear(16, 3))
    network = Network(backbone, pool, head, "backbone.1")
    with torch.no_grad():
        network(torch.randn(8, 3, 32, 32))
    return network


class Function:
    """A plain function of the image: the upper half speaks for the first class, redness for the second."""

    classes, task = ("ant", "bee", "cat"), "multiclass"
    preprocessing = Preprocessing(height=24, width=24)

    def probabilities(self, batch: np.ndarray) -> np.ndarray:
        logits = np.stack([batch[:, :, :12].mean((1, 2, 3)), batch[:, 0].mean((1, 2)), np.zeros(len(batch))], 1)
        powers = np.exp(20 * logits)
        return (powers / powers.sum(1, keepdims=True)).astype(np.float32)


@pytest.fixture(scope="module")
def classifiers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[[str], Classifier]]:
    """A classifier by one of the names in SERVED, made once."""
    crop = Preprocessing(height=32, width=32, fit="crop", crop_share=0.8)
    place = Layer(name="backbone.1", channels=12, height=8, width=8, stride=(4, 4), offset=(0.5, 0.5))
    before = Layer(name="backbone.0", channels=8, height=16, width=16, stride=(2, 2), offset=(0.5, 0.5))
    several = Layered(graph=MODEL, layers=(before, place))

    def bundle(network: Network, preprocessing: Preprocessing, classes: int) -> Classifier:
        manifest = manifest_of(network, preprocessing, classes, network.explained_layer)
        folder = tmp_path_factory.mktemp("contract") / "bundle"
        images = noise(2, (preprocessing.height, preprocessing.width))
        export_bundle(network.eval(), manifest, folder, images=images, source="noise", every_method=True)
        return load(folder, threads=1)

    @lru_cache
    def make(kind: str) -> Classifier:
        small = recipe_of(head=[{"dense": 8}])
        if kind == "bundle of two classes":
            return bundle(network_of(small), small.preprocessing(), 2)
        if kind == "bundle of a residual network":
            return bundle(residual_network(), crop, 3)
        if kind == "anomaly detector":
            return load(detector_at(tmp_path_factory.mktemp("contract") / "bundle", small), threads=1)
        if kind == "live residual network":  # as it comes from training
            network = residual_network()
            manifest = manifest_of(network, crop, 3, "backbone.1").model_copy(
                update={"layer": place, "layered": several}
            )
            return TorchClassifier(network.train(), manifest)
        if kind == "live regression":
            network = network_of(small)
            manifest = manifest_of(network, small.preprocessing(), 2, network.explained_layer)
            return TorchClassifier(network, manifest.model_copy(update={"task": "regression"}))
        return Function()

    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # networks so small are slower on more
    yield make
    torch.set_num_threads(threads)


def small_settings(method: Method) -> Any:
    known = {field.name for field in dataclasses.fields(method.settings)}
    return settings_of(method, overrides={k: v for k, v in SMALL.items() if k in known})


def images_for(classifier: Classifier, count: int = 3, seed: int = 5) -> np.ndarray:
    """Noise under a smooth pattern, read-only: a method that writes into its input fails."""
    batch = noise(count, (classifier.preprocessing.height, classifier.preprocessing.width), seed)
    batch[:, :, 4:12, 6:18] += np.linspace(-1, 1, count)[:, None, None, None].astype(np.float32)
    batch.flags.writeable = False
    return batch


def explain(name: str, classifier: Classifier, batch: np.ndarray, target: Any = None) -> list[tuple[Attribution, ...]]:
    sizes = [(30 + i, 41) for i in range(len(batch))]
    settings = small_settings(find_method(name))
    answers = explain_tensors(classifier, batch, sizes, method=name, target=target, settings=settings)
    return [answer.attributions for answer in answers]


def assert_same(one: Attribution, other: Attribution, share: float = 1e-3) -> None:
    assert (one.target, one.unit, one.score, one.layer) == (other.target, other.unit, other.score, other.layer)
    assert np.abs(one.values - other.values).max() <= share * np.abs(other.values).max()


@each_pair
def test_maps_lie_on_each_image_are_finite_and_keep_their_sign(name, kind, classifiers):
    classifier, method = classifiers(kind), find_method(name)
    for i, attributions in enumerate(explain(name, classifier, images_for(classifier), classifier.classes)):
        assert tuple(a.target for a in attributions) == classifier.classes
        for attribution in attributions:
            assert attribution.values.shape == (30 + i, 41)
            assert attribution.values.dtype == np.float32
            assert np.isfinite(attribution.values).all()
            assert attribution.signed == method.signed
            assert method.signed or attribution.values.min() >= 0
            assert attribution.grid is not None
            assert attribution.grid.dtype == np.float32
            assert not set("{}") & set(attribution.unit)
            assert set(dataclasses.asdict(small_settings(method))) <= set(attribution.settings)


@each_method
def test_maps_say_something_and_signed_ones_speak_against_as_well(method, classifiers):
    lowest = highest = 0.0
    for kind in SERVED[method.needs]:
        classifier = classifiers(kind)
        found = explain(method.name, classifier, images_for(classifier), classifier.classes)
        lowest = min(lowest, *(float(a.values.min()) for every in found for a in every))
        highest = max(highest, *(float(a.values.max()) for every in found for a in every))
    assert highest > 0
    assert (lowest < 0) == method.signed


@each_pair
def test_an_image_in_a_batch_has_the_map_it_has_alone(name, kind, classifiers):
    classifier = classifiers(kind)
    batch = images_for(classifier)
    for i, (together,) in enumerate(explain(name, classifier, batch)):
        settings = small_settings(find_method(name))
        alone = explain_tensors(classifier, batch[i : i + 1], [(30 + i, 41)], method=name, settings=settings)
        assert_same(alone[0].attributions[0], together)


@each_pair
def test_the_same_question_has_the_same_answer_bit_for_bit(name, kind, classifiers):
    classifier = classifiers(kind)
    batch = images_for(classifier, 2)
    first = explain(name, classifier, batch)
    np.random.default_rng().random()
    np.random.random(3)
    torch.rand(3)
    for (one,), (other,) in zip(first, explain(name, classifier, batch), strict=True):
        assert np.array_equal(one.values, other.values)


@each_pair
def test_every_class_at_once_is_each_by_itself_and_the_predicted_one_is_one_of_them(name, kind, classifiers):
    classifier = classifiers(kind)
    batch = images_for(classifier)
    every = explain(name, classifier, batch, classifier.classes)
    for t, target in enumerate(classifier.classes):
        for i, (alone,) in enumerate(explain(name, classifier, batch, target)):
            assert_same(alone, every[i][t])
    for i, (unset,) in enumerate(explain(name, classifier, batch)):
        assert_same(unset, every[i][classifier.classes.index(unset.target)])


@each_pair
def test_the_answer_beside_the_maps_is_the_classifier_s_own(name, kind, classifiers):
    classifier = classifiers(kind)
    batch = images_for(classifier, 2)
    settings = small_settings(find_method(name))
    answers = explain_tensors(classifier, batch, [(30, 30)] * 2, method=name, settings=settings)
    for i, answer in enumerate(answers):
        if gives_score(classifier.task):
            assert answer.probabilities.shape == (0,)
            assert answer.attributions[0].target == classifier.classes[1]
            continue
        own = classifier.probabilities(batch[i : i + 1])[0]
        assert np.allclose(answer.probabilities, own, atol=1e-5)
        assert answer.attributions[0].target == classifier.classes[int(own.argmax())]


def state_of(network: nn.Module) -> dict[str, Any]:
    hooks = ("_forward_hooks", "_forward_pre_hooks", "_backward_hooks", "_backward_pre_hooks")
    return {
        "modes": [module.training for module in network.modules()],
        "hooks": [len(getattr(module, name)) for module in network.modules() for name in hooks],
        "frozen": [parameter.requires_grad for parameter in network.parameters()],
        "gradients": [parameter.grad for parameter in network.parameters()],
        "values": {key: value.clone() for key, value in network.state_dict().items()},
        "grad mode": (torch.is_grad_enabled(), torch.is_inference_mode_enabled()),
        "random": (torch.get_rng_state(), np.random.get_state()[1].copy(), random.getstate()),
    }


def assert_same_state(network: nn.Module, before: dict[str, Any]) -> None:
    after = state_of(network)
    for key in ("modes", "hooks", "frozen", "gradients", "grad mode"):
        assert after[key] == before[key], key
    assert all(torch.equal(after["values"][key], value) for key, value in before["values"].items())
    assert torch.equal(after["random"][0], before["random"][0])
    assert np.array_equal(after["random"][1], before["random"][1])
    assert after["random"][2] == before["random"][2]


@each_pair
def test_success_leaves_no_trace(name, kind, classifiers):
    classifier = classifiers(kind)
    network = classifier._network if isinstance(classifier, TorchClassifier) else nn.Identity()
    batch = images_for(classifier, 2)
    before, pixels = state_of(network), batch.copy()
    explain(name, classifier, batch, classifier.classes)
    assert_same_state(network, before)
    assert np.array_equal(batch, pixels)


@each_method
@pytest.mark.parametrize("fails_at", [1, 2])
def test_failure_leaves_no_trace(method, fails_at, classifiers, monkeypatch):
    if method.needs == "anomaly map":
        pytest.skip("no live network is an anomaly detector")
    classifier = classifiers("live residual network")
    network, calls = classifier._network, 0
    forward = network.head.forward

    def breaks(features: torch.Tensor) -> torch.Tensor:
        nonlocal calls
        calls += 1
        if calls == fails_at:
            raise RuntimeError("broken on purpose")
        return forward(features)

    monkeypatch.setattr(network.head, "forward", breaks)
    before = state_of(network)
    failed = False
    try:
        explain(method.name, classifier, images_for(classifier, 2))
    except RuntimeError as error:
        failed = "broken on purpose" in str(error)
    assert failed == (calls >= fails_at)
    assert calls >= 1
    assert_same_state(network, before)


@each_method
def test_what_the_method_does_not_know_is_refused(method, classifiers):
    with pytest.raises(InputError, match="no setting 'nonsense'"):
        settings_of(method, overrides={"nonsense": 1})
    with pytest.raises(InputError, match="takes"):
        settings_of(method, object())
    for field in dataclasses.fields(method.settings):
        with pytest.raises(InputError, match=field.name):
            settings_of(method, overrides={field.name: object()})
    for kind in SERVED[method.needs]:
        classifier = classifiers(kind)
        with pytest.raises(UnknownNameError, match=r"no class named 'ante'. Did you mean ant\?"):
            explain(method.name, classifier, images_for(classifier, 1), "ante")
        unfit = "logit" if gives_score(classifier.task) else "output"
        with pytest.raises(InputError, match="does not fit"):
            explain_tensors(classifier, images_for(classifier, 1), [(9, 9)], method=method.name, score=unfit)


@each_method
def test_a_classifier_that_lacks_what_is_needed_is_told_so_in_a_sentence(method, classifiers):
    for kind in set(SERVED["probabilities"]) - set(SERVED[method.needs]):
        with pytest.raises(InputError, match=rf"{method.name}.*take "):
            explain(method.name, classifiers(kind), images_for(classifiers(kind), 1))


@each_pair
def test_the_cost_is_what_a_counter_of_passes_counts(name, kind, classifiers):
    classifier, method = classifiers(kind), find_method(name)
    if not isinstance(classifier, EvidenceClassifier):
        pytest.skip("a black box has no counter")
    settings, metered = small_settings(method), Metered(classifier)
    explain_tensors(metered, images_for(classifier, 1), [(30, 41)], method=name, settings=settings)
    cost = method.cost(settings, (classifier.preprocessing.height, classifier.preprocessing.width))
    assert metered.passes <= cost.passes
    if not cost.at_most:
        assert metered.passes == cost.passes
    # With `stable` out of reach only KernelSHAP stops early, when it has asked about all subsets.
    elif name in ("lime", "rise"):
        assert metered.passes >= 0.9 * cost.passes


@each_method
def test_one_rule_says_what_is_slow(method):
    quick = {"grad-cam", "grad-cam++", "hirescam", "xgrad-cam", "layercam", "eigen-cam", "saliency", "gradient-x-input"}
    quick |= {"anomaly-map", "refine-cam", "winsor-cam"}
    assert method.cost().slow == (method.name not in quick)


@each_method
def test_what_a_manifest_lacks_is_what_cannot_be_run(method, classifiers):
    whole = classifiers("anomaly detector" if method.needs == "anomaly map" else "bundle of two classes")
    for missing in (
        {"layer": None},
        {"input_gradients": None},
        {"layered": None},
        {"layer": _without_tail(whole.manifest.layer)},
    ):
        poor = whole.manifest.model_copy(update=missing)
        classifier = OnnxClassifier(poor, whole._classifier._session, whole._classifier._open_graph)
        lack = method.lacking(poor)
        if lack is None:
            explain(method.name, classifier, images_for(whole, 1))
            continue
        assert lack.method == method.name
        assert lack_words(lack).endswith(".")
        with pytest.raises(InputError):
            explain(method.name, classifier, images_for(whole, 1))
    assert method.lacking(whole.manifest) is None


def _without_tail(layer: Layer) -> Layer:
    return layer.model_copy(update={"tail": None})


@each_method
def test_a_row_says_what_there_is_to_know(method):
    for text in (method.unit, method.reference, method.avoid_when):
        assert len(text.strip()) > 2
    assert any(sign in method.reference for sign in ("arXiv:", "doi:", "http"))
    assert method.unit.format(score="log-odds")
    assert method.settings.__dataclass_params__.frozen


def test_names_are_unique():
    assert len({m.name for m in METHODS}) == len(METHODS)
