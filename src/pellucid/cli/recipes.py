"""`pellucid recipes`: the training recipes."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from .console import out, print_json, print_table

app = typer.Typer(help="List and show recipes.", invoke_without_command=True, rich_markup_mode=None)


@app.callback()
def recipes(
    context: typer.Context,
    json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """List recipes, or show one."""
    if context.invoked_subcommand is not None:
        return
    from ..recipe import load_recipe, recipe_names

    found = [load_recipe(name) for name in recipe_names()]
    if json:
        print_json(
            [
                {"name": r.name, "task": r.task, "backbone": r.model.backbone, "description": r.description}
                for r in found
            ]
        )
        return
    print_table(
        [("recipe", False), ("backbone", False), ("description", False)],
        [(r.name, r.model.backbone, r.description) for r in found],
    )
    out.print("\nCopy one and edit it: pellucid recipes show NAME > my.toml; pellucid train DATA --recipe my.toml")


@app.command("show")
def show(
    name: Annotated[str, typer.Argument(metavar="NAME", help="Name of a recipe, or a .toml file.")],
) -> None:
    """Print a recipe as TOML. A .toml file is checked and printed with its defaults filled in."""
    from ..recipe import load_recipe, recipe_text

    own = Path(name).suffix == ".toml"
    sys.stdout.write(load_recipe(name).to_toml() if own else recipe_text(name))
