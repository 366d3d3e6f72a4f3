"""Messages of the library name parameters; the command line prints options. Every name must be one that exists."""

from __future__ import annotations

import ast
import inspect
import re
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import typer
from rich.text import Text

import pellucid
from pellucid.cli import console
from pellucid.cli.main import app
from pellucid.cli.wording import ARGUMENTS, GROUPS, OTHER_NAMES, WITH_OPTION, as_options
from pellucid.errors import InputError
from pellucid.evaluation.evaluate import evaluate_predictions
from pellucid.recipe import Recipe

ROOT = Path(pellucid.__file__).parent
PYTHON_ONLY = {
    name
    for f in (pellucid.from_function, pellucid.from_torch, evaluate_predictions)
    for name in inspect.signature(f).parameters
}
PARAMETER = re.compile(r"`([a-z][a-z0-9_]*(?:\.[a-z][a-z0-9_]*)?)=")


def options_of(command: object = None, name: str = "") -> dict[str, set[str]]:
    """The options and arguments of each command."""
    command = command or typer.main.get_command(app)
    if hasattr(command, "commands"):
        found: dict[str, set[str]] = {}
        for word, inner in command.commands.items():
            found |= options_of(inner, f"{name} {word}".strip())
        return found
    return {name: {option for parameter in command.params for option in parameter.opts}}


@pytest.mark.parametrize(
    ("command", "text", "printed"),
    [
        ("train", "Choose another `out=`.", "Choose another --out."),
        ("train", "Add `resume=True` to resume it.", "Add --resume to resume it."),
        ("train", "add `group_by='^(p\\d+)'`.", "add --group-by '^(p\\d+)'."),
        ("train", "Set `train.batch_size=16`.", "Set --set train.batch_size=16."),
        ("train", "Use `positive='normal'`", "Use --positive normal"),
        ("train", "Use `merge={'ill': ['a', 'b c']}`", "Use --merge 'ill=a,b c'"),
        ("train", "Use `seeds=5`", "Use --seeds 5"),
        ("train", "Use `seeds=...`", "Use --seeds ..."),
        ("train", "The key `train.epochs` and `code`", "The key `train.epochs` and `code`"),
        ("train", "Give `data=`.", "Give DATA."),
        ("import", "Give `data=`, `size=`.", "Give --data, --input-size."),
        ("predict", "lower `batch=`", "lower --batch-size"),
        ("predict", "`method='rise'` was `method=`", "--explain rise was --explain"),
        ("explain", "`method='rise'`", "--method rise"),
        ("data split", "Choose another `path=`", "Choose another --out"),
        ("data phantom", "`images=20`", "--images 20"),
    ],
)
def test_a_parameter_becomes_the_option_of_the_command(monkeypatch, command, text, printed):
    monkeypatch.setattr(sys, "argv", ["pellucid", *command.split(), "--json", "x"])
    assert as_options(text) == printed


def test_what_is_printed_is_translated_and_keeps_its_style(monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["pellucid", "train"])
    progress = console.TerminalProgress()
    progress.say("Choose `out=` or `seed=3`.")
    console.report_skipped([("a.png", "give `weights='none'`")])
    assert capsys.readouterr().err == "Choose --out or --seed 3.\nskipped a.png: give --weights none\n"
    styled = Text.assemble(("problem: ", "bold"), "choose `out=`, ", ("now", "red"))
    changed = console._with_options(styled)
    assert changed.plain == "problem: choose --out, now"
    assert [(span.start, span.end, str(span.style)) for span in changed.spans] == [(0, 9, "bold"), (23, 26, "red")]


def test_an_error_is_translated(cli, monkeypatch, tmp_path):
    import pellucid.workflow.batch.compare as module

    def broken(*_: object) -> None:
        raise InputError("Choose another `out=`.")

    monkeypatch.setattr(module, "compare_batches", broken)
    ended = cli("compare", tmp_path, tmp_path)
    assert (ended.code, ended.err.strip()) == (2, "pellucid: Choose another --out.")


def texts() -> Iterator[tuple[Path, str]]:
    """Every string of the library, but for docstrings and the command line."""
    for path in sorted(ROOT.rglob("*.py")):
        if path.is_relative_to(ROOT / "cli"):
            continue
        tree = ast.parse(path.read_text(encoding="utf-8"))
        alone = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}
        for node in ast.walk(tree):
            if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in alone:
                yield path, node.value


def test_every_parameter_that_a_message_names_is_an_option_of_a_command():
    known = options_of()
    keys = {
        f"{s}.{k}" for s, field in Recipe.model_fields.items() for k in getattr(field.annotation, "model_fields", {})
    }
    unknown = []
    for path, text in texts():
        for name in PARAMETER.findall(text):
            others = {table[name] for table in OTHER_NAMES.values() if name in table}
            options = {"--" + other.replace("_", "-") for other in {name, *others}}
            if (
                name not in keys
                and name not in ARGUMENTS
                and name not in PYTHON_ONLY
                and not any(options & all_ for all_ in known.values())
            ):
                unknown.append(f"{path.relative_to(ROOT)}: `{name}=`")
    assert unknown == []


def test_the_exceptions_are_options_and_arguments_that_exist():
    known = options_of()
    assert {name.split()[0] for name in known if " " in name} == GROUPS
    for command, names in OTHER_NAMES.items():
        for option in names.values():
            assert any(f"--{option}" in known[c] for c in ([command] if command else known)), (command, option)
    for command, name in WITH_OPTION:
        assert f"--{name}" in known[command]
    for name in ARGUMENTS:
        takes = [c for c, options in known.items() if name in options or f"--{name}" in options]
        assert takes or name == "sources", name
        assert {(c, name) for c in takes if f"--{name}" in known[c]} <= WITH_OPTION
