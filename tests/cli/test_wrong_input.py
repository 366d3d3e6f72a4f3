"""Wrong input: one clear sentence, exit code 2, nothing half-written; unreadable files are skipped, listed, exit 1."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from tests.cli.conftest import Cli, Ended

from pellucid.recipe import load_recipe


def refused(ended: Ended, *words: str) -> None:
    assert ended.code == 2, ended
    assert "Traceback" not in ended.err
    assert 0 < len(ended.err.strip()) < 1000
    for word in words:
        assert word in ended.err, ended.err


@pytest.fixture
def one_class(tmp_path: Path, films: list[Path]) -> Path:
    (tmp_path / "one" / "a").mkdir(parents=True)
    for i, film in enumerate(films):
        shutil.copy(film, tmp_path / "one" / "a" / f"{i}.png")
    return tmp_path / "one"


def test_data_that_cannot_be_trained_on(cli: Cli, tmp_path: Path, one_class: Path) -> None:
    empty = tmp_path / "empty"
    empty.mkdir()
    out = tmp_path / "runs" / "x"
    refused(cli("train", tmp_path / "nowhere", "--out", out), "nowhere")
    refused(cli("train", empty, "--out", out), "image")
    refused(cli("train", one_class, "--out", out), "class")
    assert not (tmp_path / "runs").exists() or not list((tmp_path / "runs").iterdir())


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--recipe", "scratch-cnm"], ["scratch-cnn"]),
        (["--recipe", "missing.toml"], ["missing.toml"]),
        (["--set", "train.epoch=2"], ["train.epochs"]),
        (["--set", "train.epochs=none"], ["train.epochs", "integer"]),
        (["--set", "train.epochs"], ["section.key=value"]),
        (["--backbone", "mobilenet_v22"], ["mobilenet_v2"]),
        (["--weights", "gone.safetensors"], ["gone.safetensors"]),
        (["--weights", "imagenet"], ["cnn", "none"]),
        (["--positive", "opacty"], ["opacity"]),
        (["--merge", "sick"], ["NAME="]),
        (["--set", "model.layer='backbone.conv9'"], ["backbone.conv4"]),
        (["--set", "data.size=8"], ["data.size", "32"]),
        (["--folds", "3", "--track", "mlflow"], ["--track applies to a run", "--folds"]),
        (
            ["--seeds", "2", "--operating-point", "youden", "--layer", "backbone.conv1"],
            ["--layer and --operating-point"],
        ),
    ],
)
def test_options_that_do_not_fit(
    cli: Cli, phantoms: Path, tmp_path: Path, options: list[str], words: list[str]
) -> None:
    recipe = [] if "--recipe" in options else ["--recipe", "scratch-cnn"]
    refused(cli("train", phantoms, "--out", tmp_path / "x", *recipe, *options), *words)
    assert list(tmp_path.iterdir()) == []


def test_weights_that_do_not_fit_name_the_keys(cli: Cli, phantoms: Path, tmp_path: Path) -> None:
    save_file({"features.0.0.weight": torch.zeros(8, 3, 3, 3), "other": torch.zeros(2)}, tmp_path / "w.safetensors")
    options = ["--recipe", "cats-dogs", "--set", "data.size=64", "--weights", tmp_path / "w.safetensors"]
    refused(
        cli("train", phantoms, "--out", tmp_path / "x", *options),
        "features.0.1.weight",
        "(8, 3, 3, 3)",
        "(32, 3, 3, 3)",
    )
    assert [f.name for f in tmp_path.iterdir()] == ["w.safetensors"]


def test_imagenet_weights_without_a_network(
    cli: Cli, phantoms: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "hub"))
    for name in ("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    ended = cli("train", phantoms, "--out", tmp_path / "x", "--recipe", "cats-dogs", "--set", "data.size=64", "--quiet")
    refused(ended, "mobilenet_v2", ".pth", str(tmp_path / "hub"), "--weights")
    assert not (tmp_path / "x").exists()


def test_an_existing_run_is_not_overwritten(cli: Cli, phantoms: Path, run: Path) -> None:
    before = (run / "run.json").read_bytes()
    refused(cli("train", phantoms, "--out", run), "--out")
    assert (run / "run.json").read_bytes() == before


def test_folders_and_files_that_are_not_what_they_should_be(
    cli: Cli, run: Path, films: list[Path], tmp_path: Path
) -> None:
    empty = tmp_path / "empty"
    empty.mkdir()
    refused(cli("predict", empty, films[0]), "manifest.json")
    refused(cli("predict", tmp_path / "gone", films[0]), "gone")
    refused(cli("predict", run, tmp_path / "none.png"), "none.png")
    refused(cli("predict", run, empty), "empty")
    refused(cli("explain", run, films[0], "--method", "grad-camm", "--out", tmp_path / "m"), "grad-cam")
    refused(cli("explain", run, films[0], "--target", "opacty", "--out", tmp_path / "m"), "opacity")
    refused(cli("explain", run, films[0], "--colormap", "viridsi", "--out", tmp_path / "m"), "viridis")
    refused(cli("explain", run, films[0], "--alpha", "2", "--out", tmp_path / "m"), "alpha")
    refused(cli("evaluate", run, "--split", "tset"), "test")
    refused(cli("report", empty), "run")
    refused(cli("recipes", "show", "cats-dog"), "cats-dogs")
    assert not (tmp_path / "m").exists()


def test_a_folder_of_something_else_is_not_written_into(cli: Cli, run: Path, films: list[Path], tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").write_text("years of work", encoding="utf-8")
    refused(cli("explain", run, films[0], "--out", tmp_path), "--out")
    assert [f.name for f in tmp_path.iterdir()] == ["thesis.txt"]


def test_a_run_without_its_bundle(cli: Cli, run: Path, films: list[Path], tmp_path: Path) -> None:
    shutil.copytree(run, tmp_path / "run")
    shutil.rmtree(tmp_path / "run" / "model")
    refused(cli("predict", tmp_path / "run", films[0]), "model")
    refused(cli("evaluate", tmp_path / "run"), "model")


def test_a_changed_bundle(cli: Cli, run: Path, films: list[Path], tmp_path: Path) -> None:
    shutil.copytree(run / "model", tmp_path / "model")
    with (tmp_path / "model" / "weights.safetensors").open("ab") as file:
        file.write(b"x")
    refused(cli("predict", tmp_path / "model", films[0]), "weights.safetensors", "sha256")


def test_a_corrupt_image_is_skipped_and_listed(cli: Cli, run: Path, films: list[Path], tmp_path: Path) -> None:
    bad = tmp_path / "bad.png"
    bad.write_bytes(b"\x89PNG\r\n\x1a\nnonsense")
    ended = cli("predict", run, bad, films[0], "--json")
    assert ended.code == 1
    assert "bad.png" in ended.err
    assert [row["path"] for row in json.loads(ended.out)] == [str(films[0])]
    ended = cli("explain", run, bad, films[0], "--out", tmp_path / "maps")
    assert ended.code == 1
    assert "bad.png" in ended.err
    manifest = json.loads((tmp_path / "maps" / "manifest.json").read_text(encoding="utf-8"))
    assert [record["path"] for record in manifest["images"]] == [str(films[0])]
    assert manifest["skipped"][0][0] == str(bad)


def test_training_goes_on_without_a_corrupt_image(cli: Cli, phantoms: Path, tmp_path: Path) -> None:
    shutil.copytree(phantoms, tmp_path / "data")
    (tmp_path / "data" / "train" / "normal" / "broken.jpg").write_bytes(b"\xff\xd8\xff\xe0 not a jpeg")
    small = ["train.epochs=1", "data.size=32", "model.filters=[4, 4]", "model.head=[]"]
    options = ["--recipe", "scratch-cnn", *(word for setting in small for word in ("--set", setting))]
    ended = cli("train", tmp_path / "data", "--out", tmp_path / "run", "--quiet", *options)
    assert ended.code == 1
    assert "broken.jpg" in ended.err
    assert "broken.jpg" in (tmp_path / "run" / "run.json").read_text(encoding="utf-8")
    assert "broken.jpg" not in (tmp_path / "run" / "split.csv").read_text(encoding="utf-8")


def test_a_training_reads_its_recipe_once(cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    read = []

    def counting(*arguments: object) -> object:
        read.append(arguments)
        return load_recipe(*arguments)  # type: ignore[arg-type]

    monkeypatch.setattr("pellucid.workflow.preparing.load_recipe", counting)
    ended = cli("train", tmp_path / "nowhere", "--recipe", "scratch-cnn", "--set", "train.epochs=3")
    assert ended.code == 2
    assert len(read) == 1
    assert read[0][1] == ["train.epochs=3"]
