"""`pellucid audit RUN --explanations`: a table with words, a document, a page."""

from __future__ import annotations

import json
from pathlib import Path

from tests.cli.conftest import Cli


def test_the_trust_card_of_a_run(cli: Cli, run: Path, tmp_path: Path) -> None:
    out = tmp_path / "card"
    options = ("--explanations", "--methods", "grad-cam,eigen-cam", "--images", 20, "--budget", 2500, "--out", out)
    ended = cli("audit", run, *options)
    document = json.loads((out / "trust.json").read_text(encoding="utf-8"))
    assert ended.code == int(all(m["level"] not in {"good", "caution"} for m in document["methods"]))
    assert document["budget"]["reached"]
    assert document["budget"]["passes"] <= 2500
    assert document["budget"]["sentence"] in ended.out
    assert document["verdict"] in ended.out
    assert {m["name"] for m in document["methods"]} == {"grad-cam", "eigen-cam"}
    for method in document["methods"]:
        assert method["verdict"] in ended.out
        assert method["localised"] > 0
    page = (out / "trust.html").read_text(encoding="utf-8")
    assert "Does the score follow the maps?" in page
    assert "Do the maps lie on the objects?" in page


def test_bad_options_are_refused_before_anything_is_measured(cli: Cli, run: Path, tmp_path: Path) -> None:
    for options, words in (
        (("--budget", "soon"), "for example 20000, 90s or 5min"),
        (("--methods", "gradcam"), "Did you mean grad-cam"),
        (("--replacement", "fog"), "replacement"),
    ):
        ended = cli("audit", run, "--explanations", *options, "--out", tmp_path / "card")
        assert ended.code == 2
        assert words in ended.err
    assert not (tmp_path / "card").exists()
