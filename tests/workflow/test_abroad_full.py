"""The whole recipe without each source: a planted shift is found, an interruption loses nothing, nothing leaks."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import PIL.Image
import pytest
import torch

from pellucid.bundle.bundle import load
from pellucid.bundle.run import RunFolder
from pellucid.errors import InputError
from pellucid.evaluation.home import read_home
from pellucid.evaluation.second_head import AnsweredSide
from pellucid.progress import Silent
from pellucid.recipe import load_recipe
from pellucid.workflow import abroad_full
from pellucid.workflow.abroad import search_sources
from pellucid.workflow.abroad_full import FullSearch, estimate_fully
from pellucid.workflow.preparing import Prepared, build, prepare, read_labelled
from pellucid.workflow.training import train

SETTINGS = ("train.epochs=6", "data.size=32", "model.filters=[6,8]", "model.head=[]")
RECIPE = load_recipe("scratch-cnn", SETTINGS)


@pytest.fixture(scope="module")
def marked(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two sites, told by file names: a white corner marks the class at one, and the other class at the other."""
    folder, rng = tmp_path_factory.mktemp("marked"), np.random.default_rng(0)
    for n in range(240):
        label, away = n % 2, rng.random() < 0.35
        coarse = PIL.Image.fromarray(rng.integers(60, 196, (6, 6), dtype=np.uint8)).resize((32, 32), 3)
        pixels = np.asarray(coarse, float) + rng.normal(0, 6, (32, 32))
        pixels[12:20, 12:20] += 25 * label
        if label != away:
            pixels[:5, :5] = 255
        path = folder / "ab"[label] / f"site{'AB'[away]}_{n:04d}.png"
        path.parent.mkdir(exist_ok=True)
        PIL.Image.fromarray(np.clip(pixels, 0, 255).astype(np.uint8)).save(path)
    return folder


@pytest.fixture(scope="module")
def prepared(marked: Path) -> Prepared:
    return prepare(read_labelled(marked, RECIPE), RECIPE, 0, Silent())


def test_a_planted_shift_is_found_by_the_whole_recipe(marked: Path, tmp_path: Path) -> None:
    run = train(marked, recipe=RECIPE, out=tmp_path / "run", abroad="full")
    record = RunFolder(run).read_record().abroad
    assert record is not None
    assert record.full is not None
    assert record.full.auc is not None
    assert record.unknown == "no-weights"
    assert record.best is record.full
    site = next(s for s in record.full.sources if s.kind == "name")
    assert site.value == "siteB_#"
    assert site.sure
    assert site.auc[0] < 0.5 < record.full.auc[0]
    assert not list((run / "checkpoints").glob("abroad-*"))
    page = (run / "report.html").read_text(encoding="utf-8")
    assert "Loss elsewhere" in page
    assert "the whole recipe" in page
    calibration = load(run).manifest.calibration
    assert calibration is not None
    assert calibration.fitted_on == "kept-out sources"  # reversed there: the best temperature is the highest
    assert calibration.temperature > 10
    assert "images of sources that were kept out" in page
    home = read_home(run / "model")
    assert home is not None
    assert len(home.labels) == RunFolder(run).read_record().data.counts["val"]["a"] * 2


def search_in(folder: Path, prepared: Prepared) -> FullSearch:
    folder.mkdir(parents=True, exist_ok=True)
    return FullSearch(prepared, RECIPE, 0, folder, Silent())


def test_after_an_interruption_finished_trainings_are_not_repeated(
    prepared: Prepared, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    network = build(RECIPE, 2, 0)[0]
    whole, answers = estimate_fully(search_in(tmp_path / "whole", prepared), network, 1.0)
    asked, true = [], abroad_full._ask

    def broken(*given: object) -> AnsweredSide:
        asked.append(given)
        if len(asked) == 3:  # of the trained network, then of home; the source is not reached
            raise KeyboardInterrupt
        return true(*given)  # type: ignore[arg-type]

    monkeypatch.setattr(abroad_full, "_ask", broken)
    with pytest.raises(KeyboardInterrupt):
        estimate_fully(search_in(tmp_path / "broken", prepared), network, 1.0)
    assert list((tmp_path / "broken").rglob("stage-*.safetensors"))
    monkeypatch.setattr(abroad_full, "_ask", true)
    assert estimate_fully(search_in(tmp_path / "broken", prepared), network, 1.0)[0] == whole
    assert answers is not None
    assert answers.logits.shape == (len(answers.labels), 1)
    monkeypatch.setattr(abroad_full, "_trained", lambda *given: pytest.fail("trained again"))
    assert estimate_fully(search_in(tmp_path / "broken", prepared), network, 1.0)[0] == whole


def weights_of(search: FullSearch, monkeypatch: pytest.MonkeyPatch, spoil: Callable[[], None]) -> list[str]:
    """Checksums of the networks that are trained without each source, once `spoil` has run."""
    sums, true = [], abroad_full._trained

    def watched(*given: object) -> torch.nn.Module:
        network = true(*given)  # type: ignore[arg-type]
        parts = [t.numpy().tobytes() for t in network.state_dict().values()]
        sums.append(hashlib.sha256(b"".join(parts)).hexdigest())
        return network

    with monkeypatch.context() as patched:
        patched.setattr(abroad_full, "_trained", watched)
        spoil()
        estimate_fully(search, build(RECIPE, 2, 0)[0], 1.0)
    return sums


def test_no_image_that_is_kept_out_touches_training_choosing_or_calibration(
    prepared: Prepared, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Poison: what is kept out becomes noise; weights and the temperature of home stay the same."""
    found = search_sources(prepared, most=None)
    site = next(s for s in found.sources if s.kind == "name")
    found = replace(found, sources=(site,))
    monkeypatch.setattr(abroad_full, "search_sources", lambda *given, **named: found)
    poisoned = prepared.pixels.copy()
    test = prepared.rows[prepared.positions("test")]
    away = prepared.rows[found.chosen[site.rows]]
    noise = np.random.default_rng(9)
    poisoned[np.concatenate([away, test])] = noise.integers(0, 256, (len(away) + len(test), *poisoned.shape[1:]))
    spoilt = replace(prepared, pixels=poisoned)
    clean = weights_of(search_in(tmp_path / "clean", prepared), monkeypatch, lambda: None)
    dirty = weights_of(search_in(tmp_path / "dirty", spoilt), monkeypatch, lambda: None)
    assert len(clean) == 1
    assert clean == dirty
    one, two = (np.load(tmp_path / name / "abroad-1.npz") for name in ("clean", "dirty"))
    np.testing.assert_array_equal(one["logits_0"], two["logits_0"])
    assert not np.array_equal(one["logits_1"], two["logits_1"])


def test_ways_that_do_not_exist_and_what_does_not_fit_are_refused(marked: Path, tmp_path: Path) -> None:
    import typer.testing

    from pellucid.cli.main import app

    result = typer.testing.CliRunner().invoke(
        app, ["train", str(marked), "--abroad", "far", "--out", str(tmp_path / "x")]
    )
    assert result.exit_code != 0
    assert isinstance(result.exception, InputError) or "quick, full or none" in result.output


@pytest.mark.slow
def test_none_keeps_no_record(marked: Path, tmp_path: Path) -> None:
    recipe = load_recipe("scratch-cnn", (*SETTINGS, "train.epochs=1"))
    run = train(marked, recipe=recipe, out=tmp_path / "run", abroad="none")
    assert RunFolder(run).read_record().abroad is None
