"""Whether a bundle's answers are found to be those that it was exported with, and other ones are found out."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import PIL.Image
import pytest
from tests.small_networks import manifest_of, network_of, noise, recipe_of
from typer.testing import CliRunner

from pellucid.bundle.io import amend_bundle
from pellucid.bundle.stored_answers import ANSWERS, exactly_stored, pack_answers, read_answers
from pellucid.cli.main import app
from pellucid.errors import BundleError
from pellucid.models.export import export_bundle
from pellucid.workflow.certifying import certify
from pellucid.workflow.verify import verify

SIZE = (24, 32)


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    recipe = recipe_of(size=SIZE)
    network = network_of(recipe, 3)
    manifest = manifest_of(network, recipe.preprocessing(), 3, network.explained_layer)
    folder = tmp_path_factory.mktemp("verified") / "bundle"
    images = noise(3, SIZE)
    export_bundle(network, manifest, folder, images=images, source="noise", layers=("pool1",), every_method=True)
    certify(folder)
    return folder


@pytest.fixture
def bundle(whole, tmp_path) -> Path:
    return Path(shutil.copytree(whole, tmp_path / "bundle"))


def changed(folder: Path, name: str, factor: float) -> None:
    """Let the original have answered otherwise, as another machine's arithmetic would make it look."""
    stored = read_answers(folder)
    assert stored is not None
    stored[name] = stored[name] * np.float32(factor)
    amend_bundle(folder, {}, {ANSWERS: pack_answers(stored.pop("images"), stored)})


def test_a_fresh_bundle_holds_with_all_that_is_stored(bundle):
    found = verify(bundle)
    assert found.holds
    assert found.left_out == ()
    subjects = [f.subject for f in found.findings if f.kind == "stored answer"]
    assert subjects == ["probabilities", "map of backbone.relu2", "map of backbone.pool1", "input gradient"]
    assert all(f.difference is not None and f.difference < 1e-4 for f in found.findings if f.kind == "stored answer")
    assert {f.subject for f in found.findings if f.kind == "graph"} >= {"model.onnx", "gradients.onnx", "tail.onnx"}


def test_stored_answers_are_those_of_torch(whole):
    import torch

    recipe = recipe_of(size=SIZE)
    network = network_of(recipe, 3)
    stored = read_answers(whole)
    assert stored is not None
    assert np.array_equal(stored["images"], noise(3, SIZE)[:2].astype(np.float16).astype(np.float32))
    with torch.no_grad():
        assert np.allclose(stored["logits"], network(torch.from_numpy(stored["images"])).numpy(), atol=1e-6)


@pytest.mark.parametrize("threshold", [0.0, 0.999999])
def test_another_operating_point_changes_no_stored_answer(tmp_path, threshold):
    # `evaluate` and `adapt` move the threshold, and with it the class that is predicted and explained.
    recipe = recipe_of(size=SIZE)
    network = network_of(recipe, 2)
    manifest = manifest_of(network, recipe.preprocessing(), 2, network.explained_layer)
    folder = tmp_path / "bundle"
    export_bundle(network, manifest, folder, images=noise(2, SIZE), source="noise", every_method=True)
    amend_bundle(folder, {"threshold": threshold})
    found = verify(folder)
    subjects = [f.subject for f in found.findings if f.kind == "stored answer"]
    assert subjects == ["probabilities", "map of backbone.relu2", "input gradient"]
    assert found.holds
    for factor in (1.05, -1):  # a map of the other class is as wrong as any
        changed(folder, "map of backbone.relu2", factor)
        assert [f.subject for f in verify(folder).findings if not f.holds] == ["map of backbone.relu2"]
        changed(folder, "map of backbone.relu2", 1 / factor)


@pytest.mark.parametrize("name", ["logits", "map of backbone.relu2", "map of backbone.pool1", "input gradient"])
def test_another_answer_is_found_out(bundle, name):
    changed(bundle, name, 1.05)
    found = verify(bundle)
    wrong = [f.subject for f in found.findings if not f.holds]
    assert wrong == ["probabilities" if name == "logits" else name]
    result = CliRunner().invoke(app, ["verify", str(bundle)])
    assert result.exit_code == 1
    assert "DIFFERS" in result.stdout


def test_a_changed_file_is_named_and_nothing_is_run(bundle):
    (bundle / "tail.onnx").write_bytes(b"other")
    (bundle / "gradients.onnx").unlink()
    found = verify(bundle)
    assert {f.subject: f.reason for f in found.findings if not f.holds} == {
        "tail.onnx": "sha256 differs",
        "gradients.onnx": "the file is missing",
    }
    assert not found.holds
    assert len(found.left_out) == 1


def test_images_are_answered_in_several_ways(bundle, tmp_path):
    files = []
    for i in range(3):
        files.append(tmp_path / f"{i}.png")
        pixels = np.random.default_rng(i).integers(0, 255, (30, 40, 3), dtype=np.uint8)
        PIL.Image.fromarray(pixels).save(files[-1])
    repeated = [f for f in verify(bundle, files).findings if f.kind == "repeated answer"]
    assert len(repeated) == 3
    assert all(f.holds and f.difference is not None and f.difference < 1e-4 for f in repeated)


def test_a_bundle_from_before_says_what_is_not_checked(bundle):
    manifest = json.loads((bundle / "manifest.json").read_text())
    del manifest["files"][ANSWERS]
    (bundle / "manifest.json").write_text(json.dumps(manifest))
    (bundle / ANSWERS).unlink()
    found = verify(bundle)
    assert found.holds
    assert "answers.npz" in found.left_out[0]


def test_a_folder_that_is_no_bundle_is_refused(tmp_path):
    with pytest.raises(BundleError):
        verify(tmp_path)
    assert CliRunner().invoke(app, ["verify", str(tmp_path)]).exit_code != 0


def test_no_torch_is_needed(bundle):
    program = (
        "import sys; from pellucid.workflow.verify import verify; assert verify(sys.argv[1]).holds; "
        "assert not {'torch', 'onnx', 'timm', 'torchvision'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", program, str(bundle)], check=True)


def test_the_certificate_says_what_was_proven(bundle):
    document = json.loads((bundle / "certificate.json").read_text())
    manifest = json.loads((bundle / "manifest.json").read_text())
    assert document["parity"] == manifest["parity"]
    assert [layer["name"] for layer in document["layers"]] == ["backbone.relu2", "backbone.pool1"]
    assert document["opsets"] == dict.fromkeys(document["graphs"], 20)
    assert all(manifest["files"][name] == value for name, value in document["files"].items())
    assert document["stored_answers"] == ANSWERS
    page = (bundle / "certificate.html").read_text()
    assert "backbone.pool1" in page
    assert document["files"]["model.onnx"] in page


def test_values_too_large_for_the_file_are_asked_as_they_are_stored():
    images = np.full((1, 3, 2, 2), 1e9, np.float32)
    assert exactly_stored(images).max() == np.finfo(np.float16).max


def test_json_says_the_same(bundle):
    document = json.loads(CliRunner().invoke(app, ["verify", str(bundle), "--json"]).stdout)
    assert document["holds"] is True
    assert {f["kind"] for f in document["findings"]} == {"checksum", "graph", "stored answer"}
