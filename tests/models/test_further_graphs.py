"""Further graphs of a bundle against the live network: other layers, tails, and gradients of pixels."""

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from tests.models.conftest import Pair
from tests.small_networks import manifest_of, network_of, noise, recipe_of
from torch import nn

import pellucid.models.further_graphs as further_graphs
from pellucid.bundle.bundle import load
from pellucid.bundle.manifest import Manifest
from pellucid.errors import BundleError, InputError, ParityError, UnknownNameError
from pellucid.explanation.explain import explain_tensors
from pellucid.explanation.integrated_gradients import IntegratedGradientsSettings
from pellucid.explanation.smooth_grad import SmoothGradSettings
from pellucid.models.export import export_bundle
from pellucid.models.network import Network
from pellucid.models.torch_classifier import TorchClassifier

SIZE = (24, 32)
RECIPE = recipe_of(size=SIZE, filters=(12, 16), pool="flatten", head=[{"dense": 16}])


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Pair:
    """A network and its bundle with two explained layers and every method."""
    network = network_of(RECIPE, 3)
    folder = tmp_path_factory.mktemp("whole") / "bundle"
    manifest = manifest_of(network, RECIPE.preprocessing(), 3, network.explained_layer)
    layers = ("backbone.pool1", "pool1", network.explained_layer)
    export_bundle(network, manifest, folder, images=noise(3, SIZE, 9), source="noise", layers=layers, every_method=True)
    return Pair(network, load(folder, threads=1))


def live(pair: Pair) -> TorchClassifier:
    return TorchClassifier(pair.network, pair.bundle.manifest)


def assert_close(found: np.ndarray, expected: np.ndarray, share: float = 1e-4) -> None:
    largest = np.abs(expected).max()
    assert largest > 0
    assert np.abs(found - expected).max() <= share * largest


def test_layers_are_listed_once_and_nothing_is_missing(whole):
    assert whole.bundle.layers == ("backbone.relu2", "backbone.pool1")
    assert whole.bundle.manifest.missing == {}
    files = {p.name for p in Path(whole.bundle.folder).glob("*.onnx")}
    assert files == {
        "model.onnx", "tail.onnx", "layer-2.onnx", "layer-2-tail.onnx", "layered.onnx", "gradients.onnx",
    }  # fmt: skip


@pytest.mark.parametrize("layer", ["backbone.relu2", "backbone.pool1", "pool1"])
def test_evidence_at_each_layer_is_that_of_the_network(whole, layer):
    batch = noise(3, SIZE)
    ours, theirs = (c.at(layer).evidence(batch, ("cat", "ant")) for c in (whole.bundle, live(whole)))
    for name in ("logits", "activations", "gradients"):
        assert_close(getattr(ours, name), getattr(theirs, name))
    assert ours.geometry == theirs.geometry
    assert ours.layer == theirs.layer == ("backbone.relu2" if layer == "backbone.relu2" else "backbone.pool1")


@pytest.mark.parametrize("layer", ["backbone.relu2", "backbone.pool1"])
def test_the_tail_goes_on_from_any_number_of_activations(whole, layer):
    classifier, network = whole.bundle.at(layer), live(whole).at(layer)
    evidence = classifier.evidence(noise(5, SIZE))
    for rows in (slice(0, 5), slice(2, 3)):
        activations = evidence.activations[rows] * np.float32(0.7)
        assert_close(classifier.tail(activations), network.tail(activations))
    assert_close(classifier.tail(evidence.activations), evidence.logits)


@pytest.mark.parametrize("score", [None, "logit"])
def test_gradients_of_pixels_are_those_of_autograd(whole, score):
    batch, names = noise(2, SIZE), ("bee", "ant", "cat")
    found = whole.bundle.input_gradients(batch, names, score)
    for i, image in enumerate(batch):
        for t, name in enumerate(names):
            tensor = torch.from_numpy(image[None]).requires_grad_(True)
            logits = whole.network(tensor)[0]
            c = whole.bundle.classes.index(name)
            others = torch.cat([logits[:c], logits[c + 1 :]])
            wanted = logits[c] - (0 if score else torch.logsumexp(others, 0))
            (expected,) = torch.autograd.grad(wanted, tensor)
            assert_close(found.gradients[i, t], expected[0].numpy())
    assert_close(found.logits, whole.bundle.logits(batch), 1e-5)


def test_no_target_means_the_predicted_class_of_each_image(whole):
    batch = noise(6, SIZE, seed=3)
    unset = whole.bundle.input_gradients(batch).gradients[:, 0]
    every = whole.bundle.input_gradients(batch, whole.bundle.classes).gradients
    assert_close(unset, every[np.arange(6), whole.bundle.probabilities(batch).argmax(1)], 1e-5)


@pytest.mark.parametrize(
    ("method", "settings"),
    [
        ("integrated-gradients", IntegratedGradientsSettings(steps=16, error=0.0)),
        ("smooth-grad", SmoothGradSettings(samples=4)),
        ("saliency", None),
        ("gradient-x-input", None),
        ("ablation-cam", None),
    ],
)
def test_methods_give_the_same_maps_from_the_bundle_as_from_the_network(whole, method, settings):
    batch, asked = noise(2, SIZE, seed=1), {"method": method, "target": ("ant", "cat"), "settings": settings}
    ours, theirs = (explain_tensors(c, batch, [SIZE, (40, 30)], **asked) for c in (whole.bundle, live(whole)))
    for one, other in zip(ours, theirs, strict=True):
        for found, expected in zip(one.attributions, other.attributions, strict=True):
            assert_close(found.values, expected.values, 1e-3)


def test_explain_takes_a_layer_and_says_which(whole):
    image = np.random.default_rng(0).integers(0, 255, (30, 50, 3), dtype=np.uint8)
    default, other = (whole.bundle.explain(image, target="bee", layer=layer) for layer in (None, "pool1"))
    assert (default.layer, other.layer) == ("backbone.relu2", "backbone.pool1")
    assert default.grid.shape == other.grid.shape == (12, 16)
    assert np.abs(default.values - other.values).max() > 0.1 * np.abs(default.values).max()
    with pytest.raises(UnknownNameError, match=r"has backbone.relu2, backbone.pool1"):
        whole.bundle.explain(image, layer="pool3")
    with pytest.raises(InputError, match="lime looks at no layer"):
        whole.bundle.explain(image, method="lime", layer="pool1")


def test_weights_that_lie_in_the_weights_file_are_not_stored_again(whole):
    folder = Path(whole.bundle.folder)
    weights = (folder / "weights.safetensors").read_bytes()
    shared = 0
    for path in folder.glob("*.onnx"):
        model = onnx.load(path, load_external_data=False)
        for tensor in model.graph.initializer:
            if tensor.data_location == onnx.TensorProto.EXTERNAL:
                fields = {entry.key: entry.value for entry in tensor.external_data}
                assert fields["location"] == "weights.safetensors"
                shared += int(fields["length"])
            elif len(tensor.raw_data) >= 256:
                assert weights.find(tensor.raw_data) < 0
    assert shared > 2 * whole.network.head.dense1.weight.numel() * 4
    assert sum((folder / n).stat().st_size for n in ("gradients.onnx", "tail.onnx")) < 100_000


def test_a_changed_weights_file_is_found_out_before_a_graph_reads_it(whole, tmp_path):
    import shutil

    copy = Path(shutil.copytree(whole.bundle.folder, tmp_path / "copy"))
    path = copy / "weights.safetensors"
    path.write_bytes(path.read_bytes()[:-4] + b"\0\0\0\1")
    with pytest.raises(BundleError, match="sha256 differs"):
        load(copy)


def test_a_bundle_without_these_graphs_says_what_works_instead(exported):
    bundle = exported("flattened map and a hidden layer").bundle
    image = np.random.default_rng(0).integers(0, 256, (24, 32, 3), np.uint8)
    with pytest.raises(InputError, match=r"no graph for the input gradients: it was exported without.*occlusion or ri"):
        bundle.explain(image, method="saliency")
    with pytest.raises(InputError, match=r"no graph for the tail of .*score-cam or hirescam"):
        bundle.explain(image, method="ablation-cam")
    assert bundle.layers == ("backbone.relu2",)
    assert bundle.explain(image, layer="relu2").layer == "backbone.relu2"


def test_a_manifest_from_before_these_graphs_is_read_as_it_was(whole):
    old: dict[str, Any] = whole.bundle.manifest.model_dump(mode="json")
    for key in ("layers", "input_gradients", "missing"):
        del old[key]
    for key in ("also", "graph", "tail"):
        del old["layer"][key]
    del old["parity"]["input_gradient"]
    manifest = Manifest.model_validate(old)
    assert manifest.find_layer("backbone.relu2").graph == "model.onnx"
    assert (manifest.layers, manifest.input_gradients) == ((), None)


class UnknownFirst(nn.Sequential):
    """Its first layer has a backward pass that is not known, but lies in front of the explained layer."""

    def __init__(self) -> None:
        super().__init__(nn.ConvTranspose2d(3, 3, 2), nn.Conv2d(3, 6, 3), nn.ReLU())


def small(backbone: nn.Module) -> tuple[Network, Manifest]:
    torch.manual_seed(0)
    network = Network(backbone, nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten()), nn.Linear(6, 1), "backbone.2")
    return network.eval(), manifest_of(network, recipe_of().preprocessing(), 2, "backbone.2")


def test_what_cannot_be_written_is_left_out_and_the_reason_kept(tmp_path):
    network, manifest = small(UnknownFirst())
    folder = tmp_path / "bundle"
    finished = export_bundle(network, manifest, folder, images=noise(2, 24), source="noise", every_method=True)
    assert "transposed convolution" in finished.missing["input gradients"]
    assert finished.input_gradients is None
    assert finished.layer is not None
    assert finished.layer.tail == "tail.onnx"
    assert not (folder / "gradients.onnx").exists()
    with pytest.raises(InputError, match="no graph for the input gradients: The model has a transposed convolution"):
        load(folder).explain(np.zeros((24, 24, 3), np.uint8), method="saliency")


def test_gradients_that_differ_from_the_network_s_are_left_out(tmp_path, monkeypatch):
    trace = further_graphs.trace_input_gradients

    def of_another_network(model: nn.Module, *rest: Any) -> Any:
        other = small(nn.Sequential(nn.Conv2d(3, 6, 3), nn.ReLU(), nn.Identity()))[0]
        nn.init.normal_(other.head.weight)
        return trace(other.requires_grad_(False), *rest)

    monkeypatch.setattr(further_graphs, "trace_input_gradients", of_another_network)
    network, manifest = small(nn.Sequential(nn.Conv2d(3, 6, 3), nn.ReLU(), nn.Identity()))
    finished = export_bundle(
        network, manifest, tmp_path / "bundle", images=noise(2, 24), source="noise", every_method=True
    )
    assert "differ from the network's" in finished.missing["input gradients"]
    assert finished.parity is not None
    assert finished.parity.input_gradient is None


def test_a_layer_that_was_asked_for_and_cannot_be_explained_ends_the_export(tmp_path):
    network, manifest = small(nn.Sequential(nn.Conv2d(3, 6, 3), nn.ReLU(), nn.Identity()))
    for layer, error in (("head", InputError), ("backbone.9", UnknownNameError)):
        with pytest.raises(error):
            export_bundle(network, manifest, tmp_path / "b", images=noise(2, 24), source="noise", layers=(layer,))
        assert not list(tmp_path.iterdir())


class Kinked(nn.Sequential):
    """Half of its ReLU's channels see 0, within rounding, wherever an image is even: their weights sum to nothing."""

    def __init__(self) -> None:
        super().__init__(nn.Conv2d(3, 6, 3), nn.ReLU(), nn.Identity())
        with torch.no_grad():
            self[0].weight[:3] -= self[0].weight[:3].mean((1, 2, 3), keepdim=True)
            self[0].bias[:3] = 0


def test_a_kink_at_an_image_is_no_fault_of_the_graph(tmp_path):
    network, manifest = small(Kinked())
    even = np.full((2, 3, 24, 24), 0.7, np.float32)
    finished = export_bundle(network, manifest, tmp_path / "b", images=even, source="even grey", every_method=True)
    assert finished.missing.get("input gradients") is None
    assert finished.parity is not None
    assert finished.parity.input_gradient <= further_graphs.GRADIENT_TOLERANCE
    moved = even + np.random.default_rng(3).normal(scale=0.1, size=even.shape).astype(np.float32)
    ours = load(tmp_path / "b").input_gradients(moved).gradients
    theirs = TorchClassifier(network, finished).input_gradients(moved).gradients
    assert further_graphs.gradient_differences(ours, theirs).max() <= further_graphs.GRADIENT_TOLERANCE


@pytest.mark.parametrize(
    ("at_images", "on_even", "accepted"),
    [(2e-3, 1e-7, True), (2e-3, 2e-3, False), (0.1, 1e-7, False), (float("nan"), 1e-7, False), (5e-4, 1.0, True)],
)
def test_where_kinks_lie_beside_every_image_even_pictures_decide(at_images, on_even, accepted):
    asked = []

    def differences(batch):
        assert batch.dtype == np.float32
        is_even = np.ptp(batch, axis=(2, 3)).max(axis=1) == 0
        asked.extend(is_even)
        return np.where(is_even, on_even, at_images)

    if accepted:
        assert further_graphs.agreement(differences, noise(3, 16)) == (at_images if at_images < 1e-3 else on_even)
    else:
        with pytest.raises(ParityError, match=r"of their norm, up to 0\.001 is accepted"):
            further_graphs.agreement(differences, noise(3, 16))
    assert any(asked) is (at_images == 2e-3)


def test_each_image_is_compared_until_one_of_its_copies_agrees():
    """Kinks at random beside every image, each second time: no image is given up for what another one shows."""
    rng = np.random.default_rng(0)
    for _ in range(50):
        found = further_graphs.agreement(lambda batch: rng.choice([1e-6, 5e-3], len(batch)), noise(4, 8))
        assert found == 1e-6
