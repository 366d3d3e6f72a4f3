"""Models by what they are called, as bundles."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch import nn
from typer.testing import CliRunner

from pellucid.bundle.bundle import load
from pellucid.cli.main import app
from pellucid.errors import InputError, UnknownNameError, WeightsError
from pellucid.workflow.export_model import export_model

CODE = """
import torch
from torch import nn

def build():
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(3, 4, 3, 2, 1), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 3))

def broken():
    return 3
"""


@pytest.fixture
def code(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    name = f"code_{tmp_path.name.replace('-', '_')}"
    (tmp_path / f"{name}.py").write_text(CODE)
    monkeypatch.chdir(tmp_path)
    return name


def test_a_function_of_your_code_becomes_a_bundle(code, tmp_path):
    made = export_model(
        f"{code}:build", tmp_path / "b", size=(24, 32), rescale="1/255", allow_code=True, classes=("a", "b", "c")
    )
    bundle = load(made.bundle)
    torch.manual_seed(0)
    module = nn.Sequential(nn.Conv2d(3, 4, 3, 2, 1), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 3))
    image = np.random.default_rng(0).random((2, 3, 24, 32)).astype(np.float32)
    with torch.no_grad():
        assert np.allclose(bundle.logits(image), module(torch.from_numpy(image)).numpy(), atol=1e-5)
    assert (made.certificate.layers[0].height, made.certificate.layers[0].width) == (12, 16)


def test_code_is_run_only_with_permission(code, tmp_path):
    with pytest.raises(InputError, match="`allow_code=`"):
        export_model(f"{code}:build", tmp_path / "b", size=(24, 24), rescale="none")


@pytest.mark.parametrize(
    ("model", "words"),
    [("{}:absent", "cannot be found"), ("absent_module:build", "cannot be found"), ("{}:broken", "gives a int")],
)
def test_what_gives_no_module_is_said(code, tmp_path, model, words):
    with pytest.raises(InputError, match=words):
        export_model(model.format(code), tmp_path / "b", size=(24, 24), rescale="none", allow_code=True)


def test_a_function_needs_the_size_of_its_images(code, tmp_path):
    with pytest.raises(InputError, match="`size=`"):
        export_model(f"{code}:build", tmp_path / "b", rescale="none", allow_code=True)


def test_a_name_needs_weights_that_fit(tmp_path):
    with pytest.raises(InputError, match="`weights=`"):
        export_model("resnet18", tmp_path / "b")
    save_file({"other.weight": torch.zeros(3, 3)}, tmp_path / "w.safetensors")
    with pytest.raises(WeightsError):
        export_model("timm/test_resnet", tmp_path / "b", weights=tmp_path / "w.safetensors", classes=("a", "b"))
    with pytest.raises(UnknownNameError):
        export_model("resnet19", tmp_path / "b", weights=tmp_path / "w.safetensors")
    assert not (tmp_path / "b").exists()


def test_a_folder_is_never_overwritten(tmp_path):
    (tmp_path / "b").mkdir()
    with pytest.raises(InputError, match="already exists"):
        export_model("resnet18", tmp_path / "b")


def test_a_timm_name_with_its_weights_on_the_command_line(tmp_path):
    import timm

    torch.manual_seed(0)
    model = timm.create_model("test_vit", num_classes=4, img_size=64).eval()
    save_file(model.state_dict(), tmp_path / "w.safetensors")
    arguments = ["export", "timm/test_vit", "--weights", str(tmp_path / "w.safetensors"), "--input-size", "64"]
    result = CliRunner().invoke(app, [*arguments, "--out", str(tmp_path / "b"), "--json"])
    assert result.exit_code == 0, result.output
    document = json.loads(result.stdout)
    assert document["classes"] == ["0", "1", "2", "3"]
    assert document["input_size"] == [64, 64]
    assert (document["layers"][0]["height"], document["layers"][0]["width"]) == (4, 4)
    assert "blocks" in document["layers"][0]["name"]
    assert document["parity"]["heat_map"] <= 1e-3
    bundle = load(tmp_path / "b")
    image = np.random.default_rng(0).normal(size=(2, 3, 64, 64)).astype(np.float32)
    with torch.no_grad():
        assert np.allclose(bundle.logits(image), model(torch.from_numpy(image)).numpy(), atol=1e-4)
    assert bundle.preprocessing.mean == pytest.approx(model.pretrained_cfg["mean"])


def test_a_command_says_what_to_write():
    result = CliRunner().invoke(app, ["export", "resnet18"])
    assert result.exit_code != 0
