"""`pellucid --help` lists each command once, under a heading, with a whole sentence."""

from __future__ import annotations

import re

import typer
from typer.testing import CliRunner

from pellucid.cli.command_groups import HEADINGS
from pellucid.cli.main import app


def test_commands_stand_under_headings() -> None:
    shown = CliRunner().invoke(app, ["--help"], env={"COLUMNS": "80", "TERMINAL_WIDTH": "80"}).output
    below = shown[shown.index(f"{HEADINGS[0]}:") :]
    assert tuple(re.findall(r"^(\w[\w ]+):$", below, re.MULTILINE)) == HEADINGS
    listed = re.findall(r"^  (\w+) +(.*)$", below, re.MULTILINE)
    known = typer.main.get_command(app).commands  # type: ignore[attr-defined]
    assert sorted(name for name, _ in listed) == sorted(known)
    for name, sentence in listed:
        assert re.fullmatch(r"[A-Z][^.]*\.(\d[^.]*\.)?", sentence), name


def test_every_option_has_a_help_sentence() -> None:
    def walk(command: object, path: str) -> None:
        for parameter in getattr(command, "params", ()):
            if getattr(parameter, "hidden", False):
                continue
            words = getattr(parameter, "help", None)
            assert words, f"{path} {parameter.name}"
            assert words.rstrip().endswith((".", "...")), f"{path} {parameter.name}: {words}"
        for name, below in getattr(command, "commands", {}).items():
            assert below.help, f"{path} {name}"
            walk(below, f"{path} {name}")

    walk(typer.main.get_command(app), "pellucid")
