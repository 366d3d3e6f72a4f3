"""What the README says is so: its commands exist, its snippet runs, its links lead somewhere."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner

from pellucid.cli.main import app

ROOT = Path(__file__).parents[1]
TEXT = (ROOT / "README.md").read_text(encoding="utf-8")


def shell_lines() -> list[str]:
    blocks = re.findall(r"```sh\n(.*?)```", TEXT, re.DOTALL)
    return [line.split("#")[0].strip() for block in blocks for line in block.splitlines() if line.strip()]


def test_every_command_named_exists_with_its_options() -> None:
    named = [line for line in shell_lines() if line.startswith("pellucid ")]
    named += [c.strip() for c in re.findall(r"^\| `(pellucid [^`]+)`", TEXT, re.MULTILINE)]
    assert len(named) >= 10
    for line in named:
        words = [word for word in line.split()[1:] if re.fullmatch(r"[a-z]+|--[a-z-]+", word)]
        path = [words[0], words[1]] if words[0] in {"data", "pacs", "recipes"} and len(words) > 1 else [words[0]]
        shown = CliRunner().invoke(app, [*path, "--help"])
        assert shown.exit_code == 0, line
        for option in (word for word in words if word.startswith("--")):
            assert option in shown.output, f"{option} of {line}"


def test_every_command_is_named() -> None:
    group = typer.main.get_command(app)
    for name in group.list_commands(None):  # type: ignore[attr-defined, arg-type]
        assert f"`pellucid {name}" in TEXT, name


def test_every_make_target_named_exists() -> None:
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    for target in re.findall(r"^make (\w[\w-]*)", "\n".join(shell_lines()), re.MULTILINE):
        assert re.search(rf"^{target}:", makefile, re.MULTILINE), target


def test_links_and_pictures_are_there() -> None:
    for target in re.findall(r"\]\(([^)#]+)\)", TEXT):
        if not target.startswith("http"):
            assert (ROOT / target).exists(), target


def test_python_snippet_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import numpy as np
    import PIL.Image

    from pellucid.data.phantom import generate_phantoms
    from pellucid.workflow.training import train

    generate_phantoms(tmp_path / "films", images=160, size=48)
    small = ["data.size=32", "train.epochs=1", "model.filters=[4, 8]", "model.head=[]"]
    train(tmp_path / "films", recipe="scratch-cnn", out=tmp_path / "runs" / "photos", overrides=small)
    PIL.Image.fromarray(np.full((40, 60, 3), 128, np.uint8)).save(tmp_path / "new.jpg")
    (snippet,) = re.findall(r"```python\n(.*?)```", TEXT, re.DOTALL)
    monkeypatch.chdir(tmp_path)
    values: dict[str, object] = {}
    exec(snippet, values)
    assert values["prediction"].label in {"normal", "opacity"}  # type: ignore[attr-defined]
    assert values["attribution"].values.shape == (40, 60)  # type: ignore[attr-defined]
