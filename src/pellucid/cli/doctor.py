"""`pellucid doctor`: is this server, or this machine, as it should be. Each option hands over to a module of its own."""

from __future__ import annotations

from typing import Annotated, Optional

import typer

from .console import OK, PARTLY, WRONG, err, print_json, print_table


def doctor(
    attack: Annotated[
        Optional[str], typer.Option(metavar="URL", help="Send a running server everything that it must survive.")
    ] = None,
    api_key: Annotated[
        Optional[str],
        typer.Option(envvar="PELLUCID_API_KEY", show_envvar=True, help="The server's key, if it has one."),
    ] = None,
    json: Annotated[bool, typer.Option("--json", help="Print one JSON document.")] = False,
) -> None:
    """Check a running server against hostile input."""
    if attack is None:
        err.print("pellucid: Say what to check: doctor --attack URL.")
        raise typer.Exit(WRONG)
    raise typer.Exit(_attack(attack, api_key, json))


def _attack(url: str, api_key: str | None, json: bool) -> int:
    """Run the hostile list against a server; 1 when a row fails."""
    from ..serving.attacks import run_attacks

    results = run_attacks(url, api_key)
    if json:
        print_json([r.as_document() for r in results])
    else:
        columns = [("row", True), ("what is sent", False), ("must", False), ("was", False), ("", False)]
        rows = [
            (r.row, r.title, r.expected, r.seen, {True: "ok", False: "FAIL", None: "skipped"}[r.held]) for r in results
        ]
        print_table(columns, rows)
        failed = sum(r.held is False for r in results)
        err.print(
            f"{sum(r.held is True for r in results)} held, {failed} failed, {sum(r.held is None for r in results)} skipped"
        )
    return PARTLY if any(r.held is False for r in results) else OK
