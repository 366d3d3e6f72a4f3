"""Bundles are written whole or not at all, and read only unchanged."""

import hashlib
import json
import os
import pickle
from pathlib import Path

import numpy as np
import pytest

from pellucid.bundle.bundle import load
from pellucid.bundle.io import amend_bundle, checksum, model_session, read_bundle, write_bundle
from pellucid.errors import BundleError


def refused(folder: Path) -> str:
    """The sentence with which a folder is refused."""
    with pytest.raises(BundleError) as caught:
        load(folder)
    said = str(caught.value)
    assert str(folder) in said
    assert "\n" not in said
    assert said.endswith(".")
    assert len(said) < len(str(folder)) * 2 + 250
    return said


def test_a_whole_bundle_is_read(exported_bundle):
    manifest = read_bundle(exported_bundle)
    assert set(manifest.files) == {"model.onnx", "weights.safetensors", "answers.npz"}
    for name, found in manifest.files.items():
        assert found == hashlib.sha256((exported_bundle / name).read_bytes()).hexdigest()


@pytest.mark.parametrize("name", ["model.onnx", "weights.safetensors"])
@pytest.mark.parametrize("change", ["one bit", "longer", "empty"])
def test_a_changed_file_is_refused(bundle_folder, name, change):
    path = bundle_folder / name
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes({"one bit": bytes(data), "longer": path.read_bytes() + b"\0", "empty": b""}[change])
    said = refused(bundle_folder)
    assert said.startswith(f"{name} in {bundle_folder} is not the file that the manifest names (sha256 differs).")
    assert "Copy the bundle again" in said


@pytest.mark.parametrize("name", ["model.onnx", "weights.safetensors"])
@pytest.mark.parametrize("instead", ["nothing", "a folder"])
def test_a_missing_file_is_named(bundle_folder, name, instead):
    (bundle_folder / name).unlink()
    if instead == "a folder":
        (bundle_folder / name).mkdir()
    assert refused(bundle_folder).startswith(f"The bundle {bundle_folder} lacks {name}.")


@pytest.mark.parametrize("name", ["model.onnx", "weights.safetensors"])
def test_a_file_that_the_manifest_leaves_out_is_not_trusted(bundle_folder, rewrite, name):
    def without(text: str) -> str:
        document = json.loads(text)
        del document["files"][name]
        return json.dumps(document)

    rewrite(without)
    assert f"lacks {name}" in refused(bundle_folder)


@pytest.mark.parametrize("name", ["model.pkl", "weights.pth", "model.pt", "Optimizer.PKL", "last.ckpt", "a.joblib"])
def test_a_pickle_is_refused_and_not_run(bundle_folder, name, monkeypatch):
    class Payload:
        def __reduce__(self):
            return os.mkdir, (str(bundle_folder / "ran"),)

    (bundle_folder / name).write_bytes(pickle.dumps(Payload()))
    said = refused(bundle_folder)
    assert f"holds {name}: a pickle can run code and is never accepted. Remove it." in said
    assert not (bundle_folder / "ran").exists()


def test_harmless_files_beside_are_left_alone(bundle_folder):
    (bundle_folder / "notes.txt").write_text("fine")
    (bundle_folder / ".DS_Store").touch()
    assert load(bundle_folder).classes == ("ant", "bee")


@pytest.mark.parametrize("more", ["", ', "shape": "of things to come"'])
def test_a_newer_schema_asks_for_an_upgrade(bundle_folder, rewrite, more):
    rewrite(lambda text: text.replace('"schema_version": 1', f'"schema_version": 2{more}'))
    said = refused(bundle_folder)
    assert said.endswith("has schema version 2, this pellucid reads up to 1: upgrade pellucid.")


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{",
        "[]",
        "null",
        '"manifest"',
        "\0\0\0",
        '{"schema_version": 1}',
        '{"schema_version": "new"}',
        "[" * 100_000,
        '{"a":' * 100_000,
        "\ufeff{}",
    ],
    ids=lambda text: repr(text[:20]),
)
def test_a_manifest_that_is_none_is_refused_in_one_sentence(bundle_folder, text):
    (bundle_folder / "manifest.json").write_text(text, encoding="utf-8")
    assert "is not a valid manifest: " in refused(bundle_folder)


def test_a_manifest_of_random_bytes_is_refused(bundle_folder):
    (bundle_folder / "manifest.json").write_bytes(np.random.default_rng(0).bytes(2000))
    assert "is not a valid manifest: " in refused(bundle_folder)


def test_the_wrong_key_of_a_manifest_is_named(bundle_folder, rewrite):
    rewrite(lambda text: text.replace('"task": "binary"', '"task": "guessing"'))
    assert "is not a valid manifest: task: Input should be" in refused(bundle_folder)
    rewrite(lambda text: text.replace('"guessing"', '"binary", "extra": 1'))
    assert "is not a valid manifest: extra: Extra inputs are not permitted" in refused(bundle_folder)


@pytest.mark.parametrize("name", ["../outside.bin", "sub/inside.bin", "/etc/hostname", "..", "gone.bin"])
def test_a_manifest_cannot_name_files_elsewhere(bundle_folder, rewrite, name):
    (bundle_folder.parent / "outside.bin").write_bytes(b"x")
    (bundle_folder / "sub").mkdir()
    (bundle_folder / "sub" / "inside.bin").write_bytes(b"x")
    found = hashlib.sha256(b"x").hexdigest()
    rewrite(lambda text: text.replace('"files": {', f'"files": {{"{name}": "{found}", '))
    assert f"{name} in {bundle_folder} is not the file that the manifest names" in refused(bundle_folder)


def test_a_graph_that_no_runtime_can_load_is_refused(bundle_folder, rewrite):
    before = checksum(bundle_folder / "model.onnx")
    (bundle_folder / "model.onnx").write_bytes(b"not a graph")
    rewrite(lambda text: text.replace(before, checksum(bundle_folder / "model.onnx")))
    with pytest.raises(BundleError, match=r"model.onnx cannot be loaded by ONNX Runtime \d"):
        load(bundle_folder)
    with pytest.raises(BundleError, match="cannot be loaded"):
        model_session(bundle_folder / "nowhere.onnx")


def test_checksum_is_sha256_of_files_larger_than_a_block(tmp_path):
    data = np.random.default_rng(1).bytes((2 << 20) + 17)
    (tmp_path / "large").write_bytes(data)
    assert checksum(tmp_path / "large") == hashlib.sha256(data).hexdigest()


def fill(folder: Path) -> None:
    (folder / "model.onnx").write_bytes(b"graph")
    (folder / "weights.safetensors").write_bytes(b"weights")


def test_a_bundle_gets_its_name_when_it_is_whole(exported_bundle, tmp_path):
    manifest = read_bundle(exported_bundle)
    target = tmp_path / "runs" / "new"
    with write_bundle(target, manifest) as draft:
        fill(draft.folder)
        assert not target.exists()
        draft.manifest = manifest.model_copy(update={"name": "renamed"})
    assert [p.name for p in target.parent.iterdir()] == ["new"]
    written = read_bundle(target)
    assert written.name == "renamed"
    assert written.files["model.onnx"] == hashlib.sha256(b"graph").hexdigest()


@pytest.mark.parametrize("failure", [RuntimeError, KeyboardInterrupt])
def test_when_writing_fails_nothing_remains(exported_bundle, tmp_path, failure):
    def write() -> None:
        with write_bundle(tmp_path / "new", read_bundle(exported_bundle)) as draft:
            fill(draft.folder)
            raise failure

    with pytest.raises(failure):
        write()
    assert not list(tmp_path.iterdir())


def test_nothing_is_written_over(exported_bundle, tmp_path):
    (tmp_path / "there").mkdir()
    (tmp_path / "there" / "precious").touch()
    with (
        pytest.raises(BundleError, match=r"already exists, and a bundle is never overwritten\. Choose another `out=`"),
        write_bundle(tmp_path / "there", read_bundle(exported_bundle)),
    ):
        pass
    assert [p.name for p in tmp_path.rglob("*")] == ["there", "precious"]


def test_amending_keeps_all_but_what_is_changed(bundle_folder):
    before = read_bundle(bundle_folder)
    graph = (bundle_folder / "model.onnx").read_bytes()
    amended = amend_bundle(bundle_folder, {"threshold": 0.25}, {"notes.txt": b"hello"})
    again = read_bundle(bundle_folder)
    assert again == amended
    assert again == before.model_copy(update={"threshold": 0.25, "files": again.files})
    assert again.files == {**before.files, "notes.txt": checksum(bundle_folder / "notes.txt")}
    assert (bundle_folder / "model.onnx").read_bytes() == graph
    assert not list(bundle_folder.glob(".*"))


def test_amending_checks_what_it_is_given(bundle_folder):
    text = (bundle_folder / "manifest.json").read_text()
    for name in ("model.onnx", "manifest.json", "../elsewhere"):
        with pytest.raises(BundleError, match="never overwritten"):
            amend_bundle(bundle_folder, {}, {name: b"x"})
    with pytest.raises(ValueError, match="threshold"):
        amend_bundle(bundle_folder, {"threshold": "high"})
    assert (bundle_folder / "manifest.json").read_text() == text
    (bundle_folder / "model.onnx").write_bytes(b"changed")
    with pytest.raises(BundleError, match="sha256 differs"):
        amend_bundle(bundle_folder, {"threshold": 0.2})
