from __future__ import annotations

import json
from pathlib import Path

import pytest
from tests.cli.conftest import Cli
from tests.old_keras import coloured, red_model


@pytest.fixture(scope="module")
def colours(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return coloured(tmp_path_factory.mktemp("colours"))


def test_without_a_rescaling_it_stops_with_a_table_and_the_command(cli: Cli, tmp_path: Path, colours: Path) -> None:
    model, out = red_model(tmp_path / "best.model.h5"), tmp_path / "run"
    ended = cli("import", model, "--out", out, "--data", colours)
    assert ended.code == 2
    assert "worse than the best by" in ended.out
    assert ended.out.index("1/255") < ended.out.index("caffe")
    assert f"pellucid import {model} --out {out} --data {colours} --rescale 1/255 --channels rgb" in ended.out
    assert "Nothing is chosen silently" in ended.err
    assert not out.exists()

    ended = cli("import", model, "--out", out, "--rescale", "-1..1", "--classes", "blue, red", "--json")
    assert ended.code == 0
    document = json.loads(ended.out)
    assert (document["classes"], document["layer"], document["task"]) == (["blue", "red"], "model.conv", "binary")
    assert document["parity"]["probability"] < 1e-5
    ended = cli("predict", out, next((colours / "red").iterdir()), "--json")
    assert set(json.loads(ended.out)[0]["probabilities"]) == {"blue", "red"}


def test_with_data_the_run_is_evaluated(cli: Cli, tmp_path: Path, colours: Path) -> None:
    out = tmp_path / "run"
    ended = cli("import", red_model(tmp_path / "m.h5"), "--out", out, "--data", colours, "--rescale", "1/255")
    assert ended.code == 0
    assert "ROC-AUC" in ended.out
    assert "report.html" in ended.out
    assert cli("report", out).code == 0


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--input-size", "big"], "write one number of pixels, or height x width"),
        (["--rescale", "0..1"], "There is no rescaling named '0..1'"),
        (["--fit", "squash"], "no way to fit images named 'squash'"),
        (["--task", "ranking"], "no task named 'ranking'"),
        (["--rescale", "none", "--channels", "gbr"], "must be rgb or bgr"),
        (["--classes", "a"], "2 classes are the fewest"),
    ],
)
def test_wrong_options_are_told_in_a_sentence(cli: Cli, tmp_path: Path, options: list[str], said: str) -> None:
    ended = cli("import", red_model(tmp_path / "m.h5"), "--out", tmp_path / "run", *options)
    assert ended.code == 2
    assert said in ended.err
    assert ended.err.count("\n") <= 2


def test_classes_from_a_file_and_names_with_commas(cli: Cli, tmp_path: Path) -> None:
    labels, model = tmp_path / "labels.txt", red_model(tmp_path / "m.h5")
    labels.write_text("0 blue, mostly\n1 red\n", encoding="utf-8")
    for place, text in enumerate((str(labels), '"blue, mostly",red')):
        ended = cli(
            "import", model, "--out", tmp_path / f"run{place}", "--rescale", "1/255", "--classes", text, "--json"
        )
        assert ended.code == 0
        assert json.loads(ended.out)["classes"] == ["blue, mostly", "red"]
    ended = cli("import", model, "--out", tmp_path / "none", "--rescale", "1/255", "--classes", tmp_path / "no.txt")
    assert ended.code == 2
    assert "cannot be read" in ended.err


def test_the_old_option_answers_with_a_hint(cli: Cli, tmp_path: Path) -> None:
    ended = cli("import", tmp_path / "nowhere.pt", "--out", tmp_path / "run", "--trust")
    assert ended.code == 2
    assert "--trust is called --allow-code now" in ended.err


def test_files_that_are_no_models(cli: Cli, tmp_path: Path) -> None:
    (tmp_path / "saved").mkdir()
    (tmp_path / "saved" / "saved_model.pb").touch()
    assert "TensorFlow SavedModel" in cli("import", tmp_path / "saved", "--out", tmp_path / "run").err
    assert "cannot be read" in cli("import", tmp_path / "nowhere.h5", "--out", tmp_path / "run").err
