"""`pellucid --help`: commands under headings, by what people do."""

from __future__ import annotations

from itertools import groupby
from typing import Any

from typer.core import TyperGroup

DATA = "Data"
TRAIN = "Train and import"
EVALUATE = "Evaluate and audit"
EXPLAIN = "Explain"
USE = "Predict and serve"
START = "Get started"
HEADINGS = (START, DATA, TRAIN, EVALUATE, EXPLAIN, USE)


class GroupedCommands(TyperGroup):
    """A command group whose help lists commands by their `rich_help_panel`, in the order of `HEADINGS`."""

    def list_commands(self, ctx: Any) -> list[str]:
        """Names of the commands, those under one heading side by side."""
        return sorted(self.commands, key=lambda name: HEADINGS.index(_heading(self.commands[name])))

    def format_commands(self, ctx: Any, formatter: Any) -> None:
        """Write a section per heading; names are padded to one width, so that descriptions line up."""
        shown = [(name, self.commands[name]) for name in self.list_commands(ctx) if not self.commands[name].hidden]
        width = max(len(name) for name, _ in shown)
        limit = formatter.width - 6 - width
        for heading, commands in groupby(shown, key=lambda item: _heading(item[1])):
            with formatter.section(heading):
                formatter.write_dl([(f"{name:<{width}}", c.get_short_help_str(limit)) for name, c in commands])


def _heading(command: Any) -> str:
    return str(command.rich_help_panel)
