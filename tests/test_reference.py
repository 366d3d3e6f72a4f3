"""The reference pages name every command, option, method and recipe key that there is, and no other."""

from __future__ import annotations

import importlib.util
import re
from pathlib import Path
from types import ModuleType

import pytest
from typer.testing import CliRunner

from pellucid.cli.main import app
from pellucid.explanation.catalogue import METHODS

FOLDER = Path(__file__).parents[1] / "docs" / "reference"


@pytest.fixture(scope="module")
def made() -> ModuleType:
    spec = importlib.util.spec_from_file_location("generate", FOLDER / "generate.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def page(name: str) -> str:
    return (FOLDER / name).read_text(encoding="utf-8")


def test_every_command_stands_there_with_its_options(made: ModuleType) -> None:
    sections = dict(
        re.findall(r"^## pellucid ([^\n]+)\n\n```text\n(.*?)```", page("commands.md"), re.DOTALL | re.MULTILINE)
    )
    assert set(sections) == {" ".join(path) for path in made.command_paths()}
    for path in made.command_paths():
        said = CliRunner().invoke(app, [*path, "--help"]).output
        options = set(re.findall(r"(?<![\w-])--[a-z][\w-]*", said))
        assert options == set(re.findall(r"(?<![\w-])--[a-z][\w-]*", sections[" ".join(path)])), "run make docs"


def test_methods_and_recipe_keys_are_up_to_date(made: ModuleType) -> None:
    assert page("methods.md") == made.methods(), "run make docs"
    assert page("recipe-keys.md") == made.recipe_keys(), "run make docs"
    assert page("methods.md").count("\n| `") == len(METHODS)
