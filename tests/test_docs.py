"""Commands in the documents exist with their options, links lead somewhere, and the tutorial's pictures are there."""

from __future__ import annotations

import re
import shlex
from functools import cache
from pathlib import Path

import pytest
from typer.testing import CliRunner

from pellucid.cli.main import app

ROOT = Path(__file__).parents[1]
PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")])
GROUPS = {"data", "pacs", "recipes"}


@cache
def options_of(*path: str) -> set[str]:
    shown = CliRunner().invoke(app, [*path, "--help"], env={"COLUMNS": "200", "TERMINAL_WIDTH": "200"})
    assert shown.exit_code == 0, path
    return set(re.findall(r"(?<![\w-])--?[a-z][\w-]*", shown.output))


def commands(text: str) -> list[list[str]]:
    """The words behind `pellucid` of every command in a shell block, or in backticks in a line of prose."""
    blocks = re.findall(r"```(?:sh|console)\n(.*?)```", text, re.DOTALL)
    lines = [line.removeprefix("$ ") for block in blocks for line in block.replace("\\\n", " ").splitlines()]
    inline = re.findall(r"`(pellucid [^`]+)`", re.sub(r"```.*?```", "", text, flags=re.DOTALL))
    found = []
    for line in [*lines, *inline]:
        match = re.search(r"(?:^|-m )pellucid +(.*)", line)
        if match:
            words = shlex.split(match[1].replace("...", ""), comments=True)
            found.append([w for w in words if w])
    return found


@pytest.mark.parametrize("page", PAGES, ids=lambda p: p.relative_to(ROOT).as_posix())
def test_commands_exist_with_their_options(page: Path) -> None:
    for words in commands(page.read_text(encoding="utf-8")):
        depth = 2 if words[0] in GROUPS and len(words) > 1 and re.fullmatch(r"[a-z]+", words[1]) else 1
        if not re.fullmatch(r"[a-z]+", words[0]):
            continue
        known = options_of(*words[:depth])
        for word in words[depth:]:
            if re.fullmatch(r"--[a-z][\w-]*", word):
                assert word in known, " ".join(words)


@pytest.mark.parametrize("page", PAGES, ids=lambda p: p.relative_to(ROOT).as_posix())
def test_links_lead_somewhere(page: Path) -> None:
    text = re.sub(r"```.*?```", "", page.read_text(encoding="utf-8"), flags=re.DOTALL)
    for target in re.findall(r"\]\(([^)#\s]+)(?:#[^)]*)?\)", text):
        if not target.startswith(("http://", "https://")):
            assert (page.parent / target).exists(), target
