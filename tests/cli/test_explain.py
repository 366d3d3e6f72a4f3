"""`pellucid explain` with several methods and classes, scales, a choice of images, checks, and its gallery."""

from __future__ import annotations

import json
import re
from pathlib import Path
from urllib.parse import unquote

import numpy as np
import PIL.Image
import pytest
from tests.cli.conftest import Cli

import pellucid
from pellucid.images import read_image
from pellucid.reporting.overlay import overlay

LIME = ("--set", "lime.samples=64", "--set", "lime.superpixels=12")


def test_methods_and_classes_side_by_side(cli: Cli, run: Path, films: list[Path], tmp_path: Path) -> None:
    out = tmp_path / "maps"
    ended = cli("explain", run, films[0], "--out", out, "--method", "grad-cam,lime", "--target", "all", *LIME, "--json")
    manifest = json.loads(ended.out)
    assert ended.code == 0
    assert [(r["method"], r["target"]) for r in manifest["images"]] == [
        (m, t) for m in ("grad-cam", "lime") for t in ("normal", "opacity")
    ]
    for record in manifest["images"]:
        assert record["settings"].get("samples", 64) <= 64
        for name in ("image", "attention", "heatmap", "overlay", "sheet"):
            assert (out / record["files"][name]).is_file()
        assert ("superpixels" in record["files"]) == (record["method"] == "lime")
        assert record["confidence"] == manifest["images"][0]["confidence"]
    assert len({r["files"]["image"] for r in manifest["images"]}) == 1
    assert (out / manifest["sheets"][str(films[0])]).is_file()
    assert manifest["command"][:2] == ["pellucid", "explain"]
    page = (out / "index.html").read_text(encoding="utf-8")
    for address in re.findall(r'(?:src|href)="([^"#]+)"', page):
        assert (out / unquote(address)).is_file(), address


def test_what_is_drawn_can_be_made_again_from_the_manifest(
    cli: Cli, run: Path, films: list[Path], tmp_path: Path
) -> None:
    options = ("--method", "hirescam", "--target", "opacity", "--alpha", 0.7, "--colormap", "viridis")
    cli("explain", run, films[0], "--out", tmp_path / "maps", *options)
    manifest = json.loads((tmp_path / "maps" / "manifest.json").read_text(encoding="utf-8"))
    (record,) = manifest["images"]
    attribution = pellucid.load(run).explain(films[0], method=record["method"], target=record["target"])
    image = read_image(films[0]).pixels
    expected = overlay(
        image, attribution, limit=record["limit"], alpha=manifest["alpha"], colormap=manifest["colormap"]
    )
    drawn = np.asarray(PIL.Image.open(tmp_path / "maps" / record["files"]["overlay"]))
    if record["largest"] > 0:
        assert np.abs(drawn.astype(int) - expected).max() <= 1


def test_the_model_s_scale_is_one_for_all_images(cli: Cli, run: Path, films: list[Path], tmp_path: Path) -> None:
    # Grad-CAM++ is positive everywhere; Grad-CAM maps of this hardly trained model may hold nothing positive.
    wanted = ("--method", "grad-cam++", "--scale", "model", "--json")
    ended = cli("explain", run, *films, "--out", tmp_path / "maps", *wanted)
    manifest = json.loads(ended.out)
    kept = pellucid.load(run).manifest.scales["grad-cam++"]["q95"]
    assert kept > 0
    assert {r["limit"] for r in manifest["images"]} == {kept}
    refused = cli("explain", run, films[0], "--out", tmp_path / "other", "--scale", "model", "--method", "lime")
    assert refused.code == 2
    assert "no scale for lime" in refused.err
    assert not (tmp_path / "other").exists()


def test_top_takes_the_most_positive_or_those_surest_of_a_class(
    cli: Cli, run: Path, phantoms: Path, tmp_path: Path
) -> None:
    folder = phantoms / "test"
    rows = json.loads(cli("predict", run, folder, "--json").out)
    for target, options in (("opacity", ()), ("normal", ("--target", "normal"))):
        ended = cli("explain", run, folder, "--out", tmp_path / target, "--top", 3, *options, "--json")
        manifest = json.loads(ended.out)
        expected = sorted(rows, key=lambda r: -r["probabilities"][target])[:3]
        assert [r["path"] for r in manifest["images"]] == [r["path"] for r in expected]
        assert (manifest["top"], manifest["considered"]) == (3, len(rows))


def test_each_map_can_be_checked(cli: Cli, run: Path, films: list[Path], tmp_path: Path) -> None:
    ended = cli("explain", run, films[0], "--out", tmp_path / "maps", "--trust", "--method", "grad-cam,eigen-cam")
    assert ended.code == 0
    manifest = json.loads((tmp_path / "maps" / "manifest.json").read_text(encoding="utf-8"))
    for record in manifest["images"]:
        trust = record["trust"]
        assert trust["level"] in {"good", "caution", "problem", "unknown"}
        assert trust["gap"] == pytest.approx(trust["insertion"] - trust["deletion"], abs=1e-3)
        assert trust["verdict"] in ended.out
        assert trust["verdict"] in (tmp_path / "maps" / "index.html").read_text(encoding="utf-8").replace("&#39;", "'")


def test_all_methods_that_the_model_can_serve(cli: Cli, run: Path, films: list[Path], tmp_path: Path) -> None:
    ended = cli("explain", run, films[0], "--out", tmp_path / "maps", "--method", "all", "--set", "samples=9")
    assert ended.code == 2
    assert "name the method" in ended.err


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (("--method", "gradcam"), "grad-cam"),
        (("--target", "opacty"), "Did you mean opacity"),
        (("--colormap", "virids"), "viridis"),
        (("--scale", "modl"), "model"),
        (("--score", "logits"), "logit"),
        (("--layer", "nowhere"), "nowhere"),
        (("--alpha", 1.5), "between 0"),
        (("--signed", "--colormap", "inferno"), "diverging"),
    ],
)
def test_wrong_words_are_refused_in_one_sentence(
    cli: Cli, run: Path, films: list[Path], tmp_path: Path, options: tuple[object, ...], words: str
) -> None:
    ended = cli("explain", run, films[0], "--out", tmp_path / "maps", *options)
    assert ended.code == 2
    assert words in ended.err
    assert "Traceback" not in ended.err
