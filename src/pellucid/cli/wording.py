r"""Messages of the library name its parameters; here they become the options of the command that prints them.

A message writes a parameter in backticks with an equals sign, `` `out=` `` or `` `group_by='^(p\d+)'` ``, which
becomes `--out` or `--group-by '^(p\d+)'`. A key of a recipe with a value, `` `train.epochs=3` ``, becomes
`--set train.epochs=3`.
"""

from __future__ import annotations

import ast
import re
import shlex
import sys
from collections.abc import Mapping
from typing import Any

OTHER_NAMES: Mapping[str, Mapping[str, str]] = {
    "": {
        "batch": "batch-size",
        "overrides": "set",
        "settings": "set",
        "layers": "layer",
        "precision": "engine-precision",
    },
    "predict": {"method": "explain"},
    "import": {"size": "input-size"},
    "data split": {"path": "out"},
}
"""Options that are not called as the parameter is, by command; those under "" hold for every command."""

ARGUMENTS: Mapping[str, str] = {
    "run": "RUN",
    "runs": "RUN",
    "data": "DATA",
    "sources": "SOURCE",
    "model": "MODEL",
}
"""Parameters that a command line takes without an option, unless the command is in `WITH_OPTION`."""

WITH_OPTION = {
    ("import", "data"),
    *((command, "images") for command in ("audit", "data phantom", "demo", "train", "evaluate", "predict")),
    *((command, "images") for command in ("data split", "data inspect")),
}
GROUPS = {"data", "pacs", "recipes"}

_PARAMETER = re.compile(r"`(?P<name>[a-z][a-z0-9_]*(?:\.[a-z][a-z0-9_]*)?)=(?P<value>[^`]*)`")


def as_options(text: str) -> str:
    """The text with each parameter as the option, or argument, of the command that runs."""
    return _PARAMETER.sub(as_option, text)


def pieces(text: str) -> list[tuple[int, int, str]]:
    """Where the parameters stand in a text, (start, end), and what takes their place."""
    return [(*found.span(), as_option(found)) for found in _PARAMETER.finditer(text)]


def as_option(found: re.Match[str]) -> str:
    """One parameter as it is written on the command line."""
    name, value = found["name"], found["value"]
    if "." in name:
        return f"--set {shlex.quote(f'{name}={value}')}"
    command = _command()
    if name in ARGUMENTS and (command, name) not in WITH_OPTION and not value:
        return ARGUMENTS[name]
    names = {**OTHER_NAMES[""], **OTHER_NAMES.get(command, {})}
    option = "--" + names.get(name, name).replace("_", "-")
    return f"{option} {_written(value)}".rstrip()


def _written(value: str) -> str:
    """A Python value as words of a command line; nothing for True."""
    try:
        literal: Any = ast.literal_eval(value)
    except (ValueError, SyntaxError):
        return value
    if literal is True or literal is ...:
        return "" if literal is True else "..."
    if isinstance(literal, dict):
        return " ".join(shlex.quote(f"{key}={_joined(members)}") for key, members in literal.items())
    return shlex.quote(_joined(literal))


def _joined(value: Any) -> str:
    return ",".join(map(str, value)) if isinstance(value, list | tuple) else str(value)


def _command() -> str:
    """The command that runs, as `predict` or `data split`."""
    words = [word for word in sys.argv[1:] if not word.startswith("-")]
    return " ".join(words[: 2 if words[:1] and words[0] in GROUPS else 1])
