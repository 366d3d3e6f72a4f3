"""What export promises: the graph agrees with the network, or there is no bundle."""

import json
import subprocess
import sys
import warnings
from collections import OrderedDict
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from safetensors.torch import load_file
from tests.small_networks import manifest_of, network_of, noise, recipe_of
from torch import nn

import pellucid
import pellucid.models.further_graphs as further_graphs
from pellucid.bundle.embedding import embedded, whole_graph
from pellucid.bundle.io import read_bundle
from pellucid.bundle.manifest import Manifest
from pellucid.bundle.onnx_classifier import OnnxClassifier
from pellucid.classifier import Evidence
from pellucid.errors import InputError, ParityError, PellucidError
from pellucid.models.export import TOLERANCE, export_bundle, frozen_copy, measure_parity
from pellucid.models.network import Network
from pellucid.models.torch_classifier import TorchClassifier
from pellucid.preprocessing import FloatArray, GridGeometry


@pytest.fixture(scope="module")
def small() -> tuple[Network, Manifest]:
    recipe = recipe_of(batch_norm=True)
    network = network_of(recipe)
    return network, manifest_of(network, recipe.preprocessing(), 2, network.explained_layer)


def test_manifest_tells_what_the_graph_gives(pair):
    manifest = pair.bundle.manifest
    size = (manifest.preprocessing.height, manifest.preprocessing.width)
    activations: list[torch.Tensor] = []
    layer = pair.network.get_submodule(manifest.layer.name)
    handle = layer.register_forward_hook(lambda m, i, output: activations.append(output))
    pair.network(torch.zeros(1, 3, *size))
    handle.remove()
    assert (manifest.layer.channels, manifest.layer.height, manifest.layer.width) == activations[0].shape[1:]
    assert manifest.parity is not None
    assert manifest.parity.images == 4
    assert manifest.parity.source == "noise"
    assert manifest.parity.versions["torch"] == torch.__version__
    assert manifest == read_bundle(pair.bundle.folder)


def test_stored_parity_is_what_is_measured_again(pair):
    manifest = pair.bundle.manifest
    images = noise(4, (manifest.preprocessing.height, manifest.preprocessing.width), seed=9)
    with torch.no_grad():
        logits = pair.network(torch.from_numpy(images)).numpy().astype(np.float64)
    if logits.shape[1] == 1:
        logits = np.concatenate([np.zeros_like(logits), logits], 1)
    expected = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    difference = np.abs(pair.bundle.probabilities(images) - expected).max()
    assert manifest.parity.tolerance == TOLERANCE == 1e-3
    assert abs(manifest.parity.probability - difference) < 1e-6
    assert 0 <= manifest.parity.heat_map < 1e-4


def test_layers_found_by_themselves(exported):
    assert exported("max pooling behind the layer and a hidden layer in the head").bundle.manifest.layer.name == (
        "backbone.features.19"
    )
    layer = exported("average pooling and a linear head").bundle.manifest.layer
    assert layer.name == "backbone.layer4"
    assert layer.geometry == GridGeometry((32.0, 32.0), (0.5, 0.5))


def test_weights_are_those_of_the_network(pair):
    state = load_file(pair.bundle.folder / "weights.safetensors")
    own = pair.network.state_dict()
    assert set(state) == set(own)
    assert all(torch.equal(state[k], own[k]) for k in own)


def test_weights_lie_in_the_bundle_once(pair):
    """The graph refers to them, and holds nothing larger than one number per channel of its own."""
    path = pair.bundle.folder / "model.onnx"
    whole, bare = onnx.load(path), onnx.load(path, load_external_data=False)
    own = {t.name: len(t.raw_data) for t in bare.graph.initializer if t.data_location != onnx.TensorProto.EXTERNAL}
    assert max(own.values(), default=0) <= 4 * 512
    trained = {v.tobytes() for v in (p.detach().numpy() for p in pair.network.state_dict().values())}
    read = [t for t in whole.graph.initializer if t.name not in own]
    assert read
    assert all(t.raw_data in trained for t in read)
    assert path.stat().st_size < 100_000


def test_a_graph_can_be_had_as_one_file(pair, tmp_path):
    """The onnx package finds the same values in it, and no reference to another file."""
    path = pair.bundle.folder / "model.onnx"
    whole = onnx.load_from_string(whole_graph(pair.bundle.folder))
    expected = {t.name: onnx.numpy_helper.to_array(t) for t in onnx.load(path).graph.initializer}
    assert not any(t.external_data or t.data_location for t in whole.graph.initializer)
    found = {t.name: onnx.numpy_helper.to_array(t) for t in whole.graph.initializer}
    assert found.keys() == expected.keys()
    assert all(np.array_equal(found[name], values) for name, values in expected.items())
    bare = onnx.load(path, load_external_data=False)
    assert whole.graph.node == bare.graph.node
    assert embedded(whole.SerializeToString(), b"") == whole.SerializeToString()


def test_the_checksum_of_a_graph_tells_its_weights_apart(small, tmp_path):
    """One weight of a large layer differs, which only `weights.safetensors` holds."""
    network, manifest = small
    checksums = set()
    for number in range(2):
        other = frozen_copy(network)
        with torch.no_grad():
            next(p for p in other.parameters() if p.ndim == 4).add_(number * 1e-6)
        folder = tmp_path / str(number)
        checksums.add(export_bundle(other, manifest, folder, images=noise(1, 24), source="noise").files["model.onnx"])
    assert len(checksums) == 2


def test_graph_is_whole_and_open_in_images_and_targets(pair):
    onnx.checker.check_model(str(pair.bundle.folder / "model.onnx"))
    model = onnx.load(pair.bundle.folder / "model.onnx", load_external_data=False)
    outside = {e.value for t in model.graph.initializer for e in t.external_data if e.key == "location"}
    assert outside == {"weights.safetensors"}
    shapes = {
        v.name: [d.dim_param or d.dim_value for d in v.type.tensor_type.shape.dim]
        for v in (*model.graph.input, *model.graph.output)
    }
    assert set(shapes) == {"image", "target", "contrast", "logits", "activations", "gradients"}
    assert shapes["contrast"] == []
    for name, open_axes in {"image": 1, "target": 2, "logits": 1, "activations": 1, "gradients": 2}.items():
        assert all(isinstance(axis, str) for axis in shapes[name][:open_axes]), name
        assert all(isinstance(axis, int) for axis in shapes[name][open_axes:]), name


def test_a_bundle_answers_as_torch_does_where_torch_is_not(exported, tmp_path):
    pair = exported("flattened map and a hidden layer")
    images = noise(3, (24, 32), seed=6)
    np.save(tmp_path / "images.npy", images)
    program = """
import json, sys
import numpy as np
import pellucid
bundle = pellucid.load(sys.argv[1])
images = np.load(sys.argv[2])
evidence = bundle.evidence(images, bundle.classes)
attribution = bundle.explain(np.full((30, 40, 3), 90, np.uint8))
print(json.dumps({
    "probabilities": bundle.probabilities(images).tolist(),
    "gradients": float(np.abs(evidence.gradients).sum()),
    "map": attribution.values.shape,
    "heavy": sorted({"torch", "torchvision", "timm", "onnx", "matplotlib"} & set(sys.modules)),
}))
"""
    run = subprocess.run(
        [sys.executable, "-W", "error", "-c", program, str(pair.bundle.folder), str(tmp_path / "images.npy")],
        capture_output=True,
        text=True,
        check=True,
    )
    said = json.loads(run.stdout)
    with torch.no_grad():
        expected = torch.softmax(pair.network(torch.from_numpy(images)), 1).numpy()
    assert np.abs(np.array(said["probabilities"]) - expected).max() < 1e-6
    assert said["gradients"] > 0
    assert said["map"] == [30, 40]
    assert said["heavy"] == []


def test_export_says_nothing_and_leaves_the_network_as_it_was(small, tmp_path, capfd):
    network, manifest = small
    network.train()
    before = {k: v.clone() for k, v in network.state_dict().items()}
    filters = list(warnings.filters)
    export_bundle(network, manifest, tmp_path / "bundle", images=noise(2, 24), source="noise")
    assert network.training
    assert all(torch.equal(v, before[k]) for k, v in network.state_dict().items())
    assert all(p.requires_grad and p.grad is None for p in network.parameters())
    assert not any(m._forward_hooks for m in network.modules())
    assert warnings.filters == filters
    captured = capfd.readouterr()
    assert (captured.out, captured.err) == ("", "")


class Shifted(OnnxClassifier):
    """A graph whose logits are off by a little more than rounding."""

    def logits(self, batch: FloatArray) -> FloatArray:
        return super().logits(batch) + np.float32(0.01)


class Tilted(OnnxClassifier):
    """A graph that predicts rightly and explains wrongly."""

    def evidence(self, *args: Any) -> Evidence:
        found = super().evidence(*args)
        factor = np.linspace(1, 1.01, found.gradients.shape[2], dtype=np.float32)[:, None, None]
        return Evidence(
            found.logits, found.activations, found.gradients * factor, found.geometry, found.layer, found.targets
        )


@pytest.mark.parametrize("tampered", [Shifted, Tilted])
def test_a_graph_that_differs_never_becomes_a_bundle(small, tmp_path, monkeypatch, tampered):
    monkeypatch.setattr(further_graphs, "OnnxClassifier", tampered)
    folder = tmp_path / "runs" / "bundle"
    with pytest.raises(ParityError, match=r"differs from the network by .* \(3 images of the validation set\)"):
        export_bundle(*small, folder, images=noise(3, 24), source="the validation set")
    assert not list(folder.parent.iterdir())


class Fixed:
    """A classifier that gives set logits and a set map, whatever it sees: parity by hand."""

    def __init__(self, logits: list[float], maps: list[list[float]]) -> None:
        self.values = np.array(logits, np.float32)[:, None]
        self.maps = np.array(maps, np.float32)[:, None, None]

    def probabilities(self, batch: FloatArray) -> FloatArray:
        positive = 1 / (1 + np.exp(-self.values))
        return np.concatenate([1 - positive, positive], 1)

    def evidence(self, batch: FloatArray) -> Evidence:
        geometry = GridGeometry((1.0, 1.0), (0.5, 0.5))
        gradients = np.ones((len(batch), 1, 1, 1, self.maps.shape[-1]), np.float32)
        return Evidence(self.values, self.maps, gradients, geometry, "layer", ("one",))


def test_parity_is_the_largest_difference_and_a_map_counts_by_its_own_largest_value():
    first = Fixed([0.0, 2.0], [[0.0, -4.0], [100.0, 3.0]])
    second = Fixed([0.0, 2.004], [[0.002, -4.0], [100.0, 3.04]])
    found = measure_parity(first, second, np.zeros((2, 3, 8, 8), np.float32), "nowhere")  # type: ignore[arg-type]
    expected = 1 / (1 + np.exp(-2.004)) - 1 / (1 + np.exp(-2.0))
    assert found.probability == pytest.approx(expected, rel=1e-3)
    assert found.heat_map == pytest.approx(max(0.002 / 4, 0.04 / 100), rel=1e-3)


@pytest.mark.parametrize(
    ("values", "maps"), [([np.nan, 2.0], [1.0, 1.0]), ([0.0, 2.02], [1.0, 1.0]), ([0.0, 2.0], [1.0, np.nan])]
)
def test_parity_over_the_limit_or_not_a_number_is_refused(values, maps):
    first = Fixed([0.0, 2.0], [[1.0, 1.0], [1.0, 1.0]])
    second = Fixed(values, [maps, [1.0, 1.0]])
    with pytest.raises(ParityError, match=r"up to 0\.001 is accepted"):
        measure_parity(first, second, np.zeros((2, 3, 8, 8), np.float32), "nowhere")  # type: ignore[arg-type]


def test_without_an_image_nothing_is_proven(small, tmp_path):
    with pytest.raises(InputError, match="give at least one"):
        export_bundle(*small, tmp_path / "bundle", images=noise(0, 24), source="nothing")
    assert not list(tmp_path.iterdir())


class OneBatch(nn.Module):
    """Code that holds the number of images as a number."""

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        return image + torch.zeros(int(image.shape[0]), 1, 1, 1)


class NoSuchOperation(nn.Module):
    """An operation that no ONNX runtime has."""

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        return image * torch.special.bessel_j0(image)


class LooksAtValues(nn.Module):
    """Another way for another image: no graph can hold it."""

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        return image * 2 if float(image.sum()) > 0 else image


def network_with(module: nn.Module) -> Network:
    pool = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten())
    return Network(nn.Sequential(nn.Conv2d(3, 4, 3), module), pool, nn.Linear(4, 1), "backbone.0").eval()


@pytest.fixture(params=[NoSuchOperation, LooksAtValues])
def unexportable(request: pytest.FixtureRequest) -> Network:
    return network_with(request.param())


def test_code_that_holds_the_number_of_images_takes_any_number(tmp_path: Path) -> None:
    network = network_with(OneBatch())
    manifest = manifest_of(network, recipe_of().preprocessing(), 2, "backbone.0")
    export_bundle(network, manifest, tmp_path / "bundle", images=noise(2, 24), source="noise")
    bundle = pellucid.load(tmp_path / "bundle")
    for count in (1, 3, 7):
        images = noise(count, 24)
        with torch.no_grad():
            assert bundle.logits(images) == pytest.approx(network(torch.from_numpy(images)).numpy(), abs=1e-6)


def test_whatever_cannot_be_exported_is_one_sentence(unexportable, tmp_path, capfd):
    manifest = manifest_of(unexportable, recipe_of().preprocessing(), 2, "backbone.0")
    manifest = manifest.model_copy(update={"architecture": {"backbone": "strange_net"}})
    with pytest.raises(PellucidError) as caught:
        export_bundle(unexportable, manifest, tmp_path / "bundle", images=noise(2, 24), source="noise")
    said = str(caught.value)
    assert said.startswith("The backbone 'strange_net' cannot be exported with 'backbone.0' as its explained layer: ")
    assert said.endswith(" black box.")
    assert "\n" not in said
    assert len(said) < 450
    assert caught.value.__cause__ is not None
    assert not list(tmp_path.iterdir())
    assert capfd.readouterr().err == ""


@pytest.mark.slow
@pytest.mark.parametrize(
    "backbone",
    [
        "convnext_tiny", "densenet121", "efficientnet_b0", "googlenet", "mobilenet_v3_small", "regnet_y_400mf",
        "shufflenet_v2_x0_5", "swin_t", "swin_v2_t", "vit_b_16", "timm/mobilevit_xxs", "timm/poolformer_s12",
        "timm/swin_tiny_patch4_window7_224", "timm/vit_tiny_patch16_224",
    ],
)  # fmt: skip
def test_every_family_can_be_exported(backbone, tmp_path):
    recipe = recipe_of(backbone, 64)
    network = network_of(recipe, 3)
    manifest = manifest_of(network, recipe.preprocessing(), 3, network.explained_layer)
    # Five images: the number that is traced with is another.
    finished = export_bundle(network, manifest, tmp_path / "bundle", images=noise(5, 64), source="noise")
    assert finished.parity is not None
    assert finished.parity.probability < 1e-5
    assert finished.parity.heat_map < 1e-4


def test_frozen_copy_is_apart_and_at_rest():
    backbone = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(inplace=True))
    network = Network(backbone, nn.Flatten(), nn.Sequential(OrderedDict(output=nn.Linear(4, 1))), "backbone.0").train()
    frozen = frozen_copy(network)
    assert not any(m.training for m in frozen.modules())
    assert not any(p.requires_grad for p in frozen.parameters())
    assert not any(getattr(m, "inplace", False) for m in frozen.modules())
    assert any(getattr(m, "inplace", False) for m in network.modules())
    assert network.training
    nn.init.zeros_(frozen.get_parameter("head.output.weight"))
    assert float(network.head.output.weight.detach().abs().sum()) > 0


def test_torch_classifier_is_the_second_truth_of_a_bundle(pair):
    reference = TorchClassifier(frozen_copy(pair.network), pair.bundle.manifest)
    batch = noise(3, (pair.bundle.preprocessing.height, pair.bundle.preprocessing.width), seed=8)
    names = pair.bundle.classes[::-1]
    ours, theirs = pair.bundle.evidence(batch, names), reference.evidence(batch, names)
    for name in ("logits", "activations", "gradients"):
        expected = getattr(theirs, name)
        assert np.abs(getattr(ours, name) - expected).max() <= 1e-4 * np.abs(expected).max(), name
    assert ours.targets == theirs.targets == names
    assert ours.geometry == theirs.geometry
    assert (reference.classes, reference.task, reference.preprocessing) == (
        pair.bundle.classes, pair.bundle.task, pair.bundle.preprocessing,
    )  # fmt: skip


def test_bundle_folder_holds_what_the_manifest_names(pair):
    assert {p.name for p in Path(pair.bundle.folder).iterdir()} == {
        "manifest.json",
        "model.onnx",
        "weights.safetensors",
        "answers.npz",
    }
