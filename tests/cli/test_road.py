"""The whole road by the command line: what a run holds, and that its parts agree with a second computation."""

from __future__ import annotations

import csv
import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import PIL.Image
import pytest
import torch
from safetensors.torch import load_file
from sklearn.metrics import accuracy_score, confusion_matrix, roc_auc_score
from tests.cli.conftest import Cli

import pellucid
from pellucid.bundle.run import RunFolder
from pellucid.data.manifest import read_split
from pellucid.images import read_image
from pellucid.models.network import build_network
from pellucid.recipe import load_recipe


def rows_of(path: Path) -> list[dict[str, str]]:
    return list(csv.DictReader(path.read_text(encoding="utf-8").splitlines()))


HEAVY = ("torch", "torchvision", "timm")


def test_a_run_holds_what_it_should(run: Path) -> None:
    for name in ("recipe.toml", "split.csv", "history.csv", "run.json", "report.html", "checkpoints/best.safetensors"):
        assert (run / name).is_file(), name
    held = {f.name for f in (run / "model").iterdir()}
    assert held >= {"manifest.json", "model.onnx", "weights.safetensors", "reference.npz"}
    assert not [f for f in run.rglob("*") if f.suffix in {".pkl", ".pt", ".pth", ".ckpt"}]
    assert not list(run.parent.glob(".*.part"))
    record = RunFolder(run).read_record()
    assert record.data.synthetic
    assert record.data.groups > 50
    assert record.data.overlaps == ()
    assert record.localisation is not None
    assert 0 < record.localisation.energy_chance < 0.1


def test_no_patient_is_in_two_splits(run: Path, phantoms: Path) -> None:
    splits: dict[str, set[str]] = {}
    for sample in read_split(run / "split.csv", phantoms).samples:
        patient = re.match(r"(patient\d+)", Path(sample.path).name)
        assert patient is not None
        splits.setdefault(patient[1], set()).add(sample.split)
    assert splits
    assert all(len(found) == 1 for found in splits.values())


def test_predictions_equal_those_of_the_torch_network(cli: Cli, run: Path, films: list[Path]) -> None:
    ended = cli("predict", run, *films, "--json")
    rows = json.loads(ended.out)
    recipe = pellucid.load_recipe(run / "recipe.toml")
    network = build_network(recipe, 2).eval()
    network.load_state_dict(load_file(run / "model" / "weights.safetensors"))
    batch = recipe.preprocessing().tensors([read_image(film) for film in films])
    with torch.no_grad():
        logits = network(torch.from_numpy(batch)).numpy()
    calibration = pellucid.load(run).manifest.calibration
    assert calibration is not None
    expected = 1 / (1 + np.exp(-(logits[:, 0] * calibration.scale + calibration.shift)))
    assert ended.code == 0
    assert [row["path"] for row in rows] == [str(film) for film in films]
    np.testing.assert_allclose([row["probabilities"]["opacity"] for row in rows], expected, atol=1e-5)
    for row in rows:
        assert row["confidence"] == max(row["probabilities"].values())
        assert row["probabilities"][row["label"]] == row["confidence"]
        assert sum(row["probabilities"].values()) == pytest.approx(1, abs=1e-6)


def test_the_three_outputs_of_predict_agree(cli: Cli, run: Path, films: list[Path]) -> None:
    rows = json.loads(cli("predict", run, *films, "--json").out)
    table = list(csv.DictReader(cli("predict", run, *films, "--csv").out.splitlines()))
    text = cli("predict", run, *films).out
    for row, line in zip(rows, table, strict=True):
        assert (line["path"], line["label"]) == (row["path"], row["label"])
        assert float(line["p_opacity"]) == pytest.approx(row["probabilities"]["opacity"], abs=1e-6)
        assert f"{100 * row['confidence']:.1f} %" in text
    loaded = pellucid.load(run)
    assert loaded.predict(films[0]).probabilities == pytest.approx(rows[0]["probabilities"], abs=1e-6)


def test_evaluate_agrees_with_scikit_learn_on_its_own_predictions(cli: Cli, run: Path, tmp_path: Path) -> None:
    ended = cli("evaluate", run, "--json", "--out", tmp_path / "again")
    document = json.loads(ended.out)
    rows = rows_of(tmp_path / "again" / "predictions.csv")
    truth = [row["label"] == "opacity" for row in rows]
    scores = [float(row["p_opacity"]) for row in rows]
    found = [row["predicted"] == "opacity" for row in rows]
    metrics = document["metrics"]
    assert ended.code == 0
    assert metrics["accuracy"]["value"] == pytest.approx(accuracy_score(truth, found))
    assert metrics["roc_auc"]["value"] == pytest.approx(roc_auc_score(truth, scores))
    assert document["confusion"]["counts"] == confusion_matrix(truth, found).tolist()
    for name in ("accuracy", "roc_auc", "sensitivity", "specificity"):
        assert metrics[name]["low"] <= metrics[name]["value"] <= metrics[name]["high"]
    for figure in ("confusion", "roc", "precision_recall", "scores", "metrics"):
        assert (tmp_path / "again" / "figures" / f"{figure}.png").is_file()


def test_evaluating_the_training_images_as_other_data_is_refused(
    cli: Cli, run: Path, phantoms: Path, tmp_path: Path
) -> None:
    refused = cli("evaluate", run, phantoms, "--split", "train", "--json")
    assert refused.code == 2
    assert re.search("allow.leak", refused.err)
    copy = tmp_path / "run"
    shutil.copytree(run, copy)
    allowed = cli("evaluate", copy, phantoms, "--split", "train", "--json", "--allow-leak")
    assert allowed.code == 0
    assert "trained on" in json.loads(allowed.out)["leaks"][0]
    assert "trained on" in cli("evaluate", copy, phantoms, "--split", "train", "--allow-leak").out
    page = (copy / "report.html").read_text(encoding="utf-8")
    assert "Its results mean nothing" in page
    assert "Its results mean nothing" not in (run / "report.html").read_text(encoding="utf-8")


def test_explain_draws_the_attribution_at_the_size_of_the_original(
    cli: Cli, run: Path, films: list[Path], tmp_path: Path
) -> None:
    wide = tmp_path / "wide.png"
    PIL.Image.fromarray(read_image(films[0]).pixels).resize((150, 90)).save(wide)
    ended = cli(
        "explain", run, wide, films[1], "--out", tmp_path / "maps", "--target", "opacity", "--alpha", 1, "--json"
    )
    manifest = json.loads(ended.out)
    assert ended.code == 0
    assert manifest == json.loads((tmp_path / "maps" / "manifest.json").read_text(encoding="utf-8"))
    record = manifest["images"][0]
    attribution = pellucid.load(run).explain(wide, target="opacity")
    assert attribution.values.shape == (90, 150)
    assert record["largest"] == pytest.approx(float(attribution.values.max()), rel=1e-4, abs=1e-7)
    drawn = read_image(tmp_path / "maps" / record["files"]["attention"]).pixels[..., 0]
    expected = np.clip(attribution.values / max(record["limit"], 1e-30), 0, 1) * 255
    if record["largest"] > 0:
        assert np.abs(drawn.astype(float) - expected).max() < 1.5
    for name in ("attention", "heatmap", "overlay"):
        assert read_image(tmp_path / "maps" / record["files"][name]).size == (90, 150)


def test_the_two_classes_of_a_binary_model_are_each_others_opposite(run: Path, films: list[Path]) -> None:
    normal, opacity = pellucid.load(run).explain(films[0], target=("normal", "opacity"))
    np.testing.assert_allclose(normal.values, -opacity.values, atol=1e-7)


def test_report_loads_nothing_from_outside_and_can_be_rebuilt(cli: Cli, run: Path) -> None:
    page = (run / "report.html").read_text(encoding="utf-8")
    assert not re.findall(r"""(?:src|href)=["'](?:https?:)?//""", page)
    assert "@import" not in page
    assert "synthetic" in page.lower()
    assert "pellucid train" in page
    assert cli("report", run).code == 0
    assert (run / "report.html").is_file()


def test_light_half_imports_no_torch(run: Path, films: list[Path], tmp_path: Path) -> None:
    code = (
        "import sys, pellucid\n"
        "classifier = pellucid.load(sys.argv[1])\n"
        "classifier.predict(sys.argv[2]); classifier.explain(sys.argv[2], method='grad-cam')\n"
        "sys.argv = ['pellucid', 'predict', *sys.argv[1:3]]\n"
        "from pellucid.cli.main import main\n"
        "try: main()\n"
        "except SystemExit: pass\n"
        f"sys.exit(', '.join(m for m in {HEAVY} if m in sys.modules) or 0)"
    )
    ended = subprocess.run(
        [sys.executable, "-c", code, str(run), str(films[0])], capture_output=True, text=True, check=False
    )
    assert ended.returncode == 0, ended.stderr
    assert "opacity" in ended.stdout


def test_help_imports_nothing_heavy() -> None:
    heavy = ("torch", "numpy", "onnxruntime", "matplotlib", "PIL", "pydantic", "sklearn")
    code = (
        "import sys\nsys.argv = ['pellucid', '--help']\nfrom pellucid.cli.main import main\n"
        "try: main()\nexcept SystemExit: pass\n"
        f"sys.exit(', '.join(m for m in {heavy} if m in sys.modules) or 0)"
    )
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert ended.returncode == 0, ended.stderr
    for command in ("demo", "data", "train", "evaluate", "predict", "explain", "report", "recipes"):
        assert re.search(rf"^  {command}\b", ended.stdout, re.MULTILINE)


@pytest.mark.parametrize("options", [[], ["--folds", "3"]])
def test_training_without_torch_says_what_to_install(phantoms: Path, tmp_path: Path, options: list[str]) -> None:
    code = (
        "import sys\nsys.modules['torch'] = sys.modules['torchvision'] = None\n"
        f"sys.argv = ['pellucid', 'train', {str(phantoms)!r}, '--out', {str(tmp_path / 'run')!r}, *{options!r}]\n"
        "from pellucid.cli.main import main\nmain()"
    )
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert ended.returncode == 2
    assert "pip install 'pellucid[train]'" in ended.stderr
    assert "Traceback" not in ended.stderr


def test_a_recipe_of_ones_own_is_shown_with_every_value(cli: Cli, tmp_path: Path) -> None:
    own = tmp_path / "own.toml"
    own.write_text('name = "own"\n[train]\nepochs = 3\n', encoding="utf-8")
    shown = tmp_path / "shown.toml"
    shown.write_text(cli("recipes", "show", own).out, encoding="utf-8")
    assert load_recipe(shown) == load_recipe(own)
    assert "batch_size" in shown.read_text(encoding="utf-8")
    own.write_text('name = "own"\n[train]\nepoch = 3\n', encoding="utf-8")
    refused = cli("recipes", "show", own)
    assert refused.code == 2
    assert "train.epochs" in refused.err


def test_same_seed_same_run(run: Path, phantoms: Path, tmp_path: Path, cli: Cli) -> None:
    command = ["train", phantoms, "--recipe", run / "recipe.toml", "--out", tmp_path / "again", "--quiet"]
    assert cli(*command).code in (0, 1)  # 1: two epochs teach too little to be told from guessing
    for name in ("split.csv", "recipe.toml"):
        assert (tmp_path / "again" / name).read_bytes() == (run / name).read_bytes()
    old, new = (rows_of(r / "history.csv") for r in (run, tmp_path / "again"))
    for before, after in zip(old, new, strict=True):
        assert {k: v for k, v in before.items() if k != "seconds"} == {k: v for k, v in after.items() if k != "seconds"}


@pytest.mark.slow
def test_demo_reaches_what_it_promises(cli: Cli, tmp_path: Path) -> None:
    ended = cli("demo", "--out", tmp_path / "demo", "--quiet")
    assert ended.code == 0
    run = tmp_path / "demo" / "run"
    metrics = json.loads((run / "evaluation" / "metrics.json").read_text(encoding="utf-8"))["metrics"]
    found = RunFolder(run).read_record().localisation
    assert metrics["roc_auc"]["value"] >= 0.95
    assert found is not None
    assert found.energy_inside >= 3 * found.energy_chance
    assert found.pointing > 3 * found.pointing_chance


@pytest.mark.slow
def test_cats_and_dogs_with_real_weights(cli: Cli, shared_data: Path, tmp_path: Path) -> None:
    weights = shared_data.parent / "weights" / "mobilenet_v2-imagenet.safetensors"
    options = ["--recipe", "cats-dogs", "--weights", weights, "--out", tmp_path / "run", "--quiet"]
    ended = cli("train", shared_data / "cats-dogs", *options)
    assert ended.code == 1  # one training image is a copy of a test image and is left out
    assert "dog.180.jpg" in ended.err
    metrics = json.loads((tmp_path / "run" / "evaluation" / "metrics.json").read_text(encoding="utf-8"))["metrics"]
    assert metrics["accuracy"]["value"] >= 0.97


def test_evaluation_on_near_copies_of_training_images_is_refused(
    cli: Cli, run: Path, phantoms: Path, tmp_path: Path
) -> None:
    for folder in ("normal", "opacity"):
        (tmp_path / "other" / folder).mkdir(parents=True)
        for film in sorted((phantoms / "train" / folder).glob("*.png"))[:3]:
            picture = PIL.Image.fromarray(read_image(film).pixels).resize((80, 80))
            picture.save(tmp_path / "other" / folder / f"{film.stem}.jpg", quality=90)
    refused = cli("evaluate", run, tmp_path / "other")
    assert refused.code == 2
    assert "6 of 6 images show the same" in refused.err
