"""`evaluate` with a purpose, a place of use and a rival; and the warning for what lies outside."""

import json
import shutil
from pathlib import Path

import numpy as np
import PIL.Image
import pytest
from tests.cli.conftest import Cli


@pytest.fixture
def own_run(run: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(run, tmp_path / "own"))


def test_the_operating_point_is_chosen_and_used(cli: Cli, own_run: Path, films: list[Path]) -> None:
    ended = cli("evaluate", own_run, "--operating-point", "specificity>=0.5", "--prevalence", "0.05", "--json")
    assert ended.code == 0, ended.err
    document = json.loads(ended.out)
    manifest = json.loads((own_run / "model" / "manifest.json").read_text())
    assert document["threshold"] == manifest["threshold"] == manifest["operating_point"]["threshold"]
    assert document["operating_point"]["asked"] == "specificity>=0.5"
    assert document["prevalence"]["prevalence"] == 0.05
    said = json.loads(cli("predict", own_run, *films, "--json").out)
    positive = document["positive"]
    for one in said:
        assert (one["label"] == positive) == (one["probabilities"][positive] >= np.float32(manifest["threshold"]))


def test_a_rival_on_the_same_images(cli: Cli, own_run: Path, run: Path) -> None:
    ended = cli("evaluate", own_run, "--against", run)
    assert ended.code == 0, ended.err
    assert "equally often" in " ".join(ended.out.split()) or "Too few images to tell" in ended.out
    document = json.loads(cli("evaluate", own_run, "--against", run, "--json").out)
    assert document["against"]["metrics"]["accuracy"]["difference"] == 0
    assert document["against"]["p_value"] == 1


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--operating-point", "best"], "is not one: write 0.5"),
        (["--operating-point", "sensitivity>=95"], "between 0 and 1"),
        (["--prevalence", "5"], "between 0 and 1"),
        (["--against", "nowhere"], "There is no folder"),
    ],
)
def test_options_that_cannot_be_used(cli: Cli, own_run: Path, options: list[str], words: str) -> None:
    before = (own_run / "model" / "manifest.json").read_bytes()
    ended = cli("evaluate", own_run, *options)
    assert ended.code == 2
    assert words in " ".join(ended.err.split())
    assert (own_run / "model" / "manifest.json").read_bytes() == before


def test_pictures_of_another_kind_are_named(cli: Cli, run: Path, films: list[Path], tmp_path: Path) -> None:
    """Noise and a colourful picture given to a model of films, as weak as it is."""
    rng = np.random.default_rng(0)
    y, x = np.mgrid[0:64, 0:64] / 64
    odd = {
        "noise": rng.integers(0, 256, (64, 64, 3)),
        "colours": np.stack([255 * x, 255 * y, 255 * (1 - x)], axis=-1),
    }
    for name, pixels in odd.items():
        PIL.Image.fromarray(pixels.astype(np.uint8)).save(tmp_path / f"{name}.png")
    files = [tmp_path / f"{name}.png" for name in odd]
    ended = cli("predict", run, *files, "--json")
    warned = {Path(one["path"]).stem for one in json.loads(ended.out) if "does not look like" in str(one["warnings"])}
    assert warned == set(odd)
    assert "means little" in cli("predict", run, *files).err
    usual = json.loads(cli("predict", run, *films, "--json").out)
    assert sum(bool(one["warnings"]) for one in usual) <= 1
