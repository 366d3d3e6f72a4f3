"""Write docs/reference/commands.md, methods.md and recipe-keys.md from the program itself; `make docs` runs this."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import typer
from typer.testing import CliRunner

from pellucid.cli.main import app
from pellucid.explanation.catalogue import METHODS
from pellucid.recipe import Recipe

HERE = Path(__file__).parent
WIDTH = "100"


def commands() -> str:
    """What `--help` says of every command."""
    parts = ["# Commands\n\nMade by `make docs` from the program itself.\n"]
    for path in command_paths():
        said = CliRunner().invoke(app, [*path, "--help"], env={"COLUMNS": WIDTH, "TERMINAL_WIDTH": WIDTH}).output
        text = "\n".join(line.rstrip() for line in said.strip().splitlines())
        parts.append(f"\n## pellucid {' '.join(path)}\n\n```text\n{text}\n```\n")
    return "".join(parts)


def command_paths() -> list[tuple[str, ...]]:
    """The words of every command that does something: ("train",), ("data", "split"), ..."""
    return list(_walk(typer.main.get_command(app), ()))


def _walk(command: Any, path: tuple[str, ...]) -> Iterator[tuple[str, ...]]:
    below = getattr(command, "commands", None)
    if not below:
        yield path
        return
    for name, child in below.items():
        yield from _walk(child, (*path, name))


def methods() -> str:
    """The catalogue of explanation methods."""
    made = "Made by `make docs` from the catalogue; `pellucid methods` prints it. F is one forward pass."
    head = f"# Explanation methods\n\n{made}\n\n"
    table = "| method | family | needs | cost | reference | avoid when |\n|---|---|---|---|---|---|\n"
    rows = (
        f"| `{m.name}` | {m.family} | {m.needs} | {_cell(m.passes)} | {_cell(m.reference)} | {_cell(m.avoid_when)} |\n"
        for m in METHODS
    )
    return head + table + "".join(rows)


def recipe_keys() -> str:
    """Every key of a recipe with its default."""
    parts = [
        "# Recipe keys\n\nMade by `make docs`. `pellucid recipes show NAME` prints a whole recipe to copy and edit.\n"
    ]
    for section, field in Recipe.model_fields.items():
        kind = field.annotation
        keys = getattr(kind, "model_fields", None)
        if not keys:
            parts.append(f"\n`{section}`: {field.description}\n")
            continue
        parts.append(f"\n## [{section}]\n\n{field.description}.\n\n| key | default | what it is |\n|---|---|---|\n")
        parts += [f"| `{key}` | `{_default(of)}` | {_cell(of.description)} |\n" for key, of in keys.items()]
    return "".join(parts)


def _default(field: Any) -> str:
    value = field.get_default(call_default_factory=True)
    return "none" if value is None else _cell(value if not isinstance(value, tuple) else list(value))


def _cell(text: object) -> str:
    return str(text).replace("|", "\\|")


PAGES = {"commands.md": commands, "methods.md": methods, "recipe-keys.md": recipe_keys}

if __name__ == "__main__":
    for name, make in PAGES.items():
        (HERE / name).write_text(make(), encoding="utf-8")
