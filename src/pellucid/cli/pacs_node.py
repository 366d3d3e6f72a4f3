"""`pellucid pacs serve|status|retry|forget|echo`: the node and the care for it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Optional

import typer
from rich.text import Text

from .console import OK, PARTLY, err, out, print_json, print_table

Config = Annotated[Path, typer.Option("--config", metavar="FILE", help="pacs.toml: the node's configuration.")]
Uids = Annotated[Optional[list[str]], typer.Argument(metavar="UID...", help="UIDs of films, results or studies.")]


def serve(
    run: Annotated[Path, typer.Argument(metavar="RUN", help="Run or bundle folder.")],
    config: Config,
    once: Annotated[bool, typer.Option("--once", help="Look for films once, answer and send, then end.")] = False,
    threads: Annotated[Optional[int], typer.Option(min=1, help="Cores for one film; all by default.")] = None,
    research: Annotated[
        bool, typer.Option("--research", help="Accept a bundle that is not marked medical or has no measured figures.")
    ] = False,
) -> None:
    """Answer films that an archive or a modality sends, and return the results. Logs go to stderr, as JSON lines."""
    from ..pacs.config import read_config
    from ..pacs.kinds import check_kinds
    from ..pacs.node import Node
    from ..pacs.write import open_origin

    settings = read_config(config)
    origin = open_origin(run, settings.codes, research=research, sr=settings.sr, threads=threads)
    check_kinds(settings.kinds.split(","), origin.bundle.manifest)
    Node(origin, settings).run(once=once)


def status(
    config: Config,
    dead: Annotated[bool, typer.Option("--dead", help="List dead letters by UID.")] = False,
    json: Annotated[bool, typer.Option("--json", help="Print one JSON document.")] = False,
) -> None:
    """Show what became of the films and results. Exit code 1 when there are dead letters."""
    from ..pacs.care import overview
    from ..pacs.config import read_config
    from ..pacs.rules import REASONS

    found = overview(read_config(config).state)
    if json:
        codes = [{"what": w, "state": s, "code": c, "count": n} for w, s, c, n in found.codes]
        letters = [{"what": w, "uid": u, "code": c, "reason": r} for w, u, c, r in found.dead]
        print_json({**found.counts, "codes": codes, "dead": letters})
    else:
        rows = [(what, state, str(n)) for what, by in found.counts.items() for state, n in sorted(by.items())]
        print_table([("what", False), ("state", False), ("count", True)], rows)
        if found.codes:
            said: dict[str, str] = {str(code): text for code, text in REASONS.items()}
            listed = [(w, s, c, str(n), said.get(c, "")) for w, s, c, n in found.codes]
            columns = [("what", False), ("state", False), ("code", False), ("count", True), ("meaning", False)]
            print_table(columns, listed)
        if dead:
            print_table([("what", False), ("UID", False), ("code", False), ("reason", False)], found.dead)
    raise typer.Exit(PARTLY if found.dead else OK)


def retry(config: Config, uids: Uids = None) -> None:
    """Try dead letters again: all, or those named."""
    from ..pacs.care import retry as put_back
    from ..pacs.config import read_config

    done = put_back(read_config(config).state, uids or ())
    out.print(f"{done.films} films and {done.results} results wait again.")
    _report_unknown(done.unknown, "no dead letter; `pellucid pacs status --dead` lists them")


def forget(config: Config, uids: Uids = None) -> None:
    """Remove films or studies from the ledger and the spool; the archive keeps what it has."""
    from ..pacs.care import forget as remove
    from ..pacs.config import read_config

    done = remove(read_config(config).state, uids or ())
    out.print(f"{done.films} films and {done.results} results were forgotten.")
    _report_unknown(done.unknown, "not known here: give the UID of a film, a result or a study")


def _report_unknown(unknown: Sequence[str], what: str) -> None:
    """Exit code 1 where UIDs were named that nothing could be done with."""
    for uid in unknown:
        err.print(Text(f"{uid}: {what}."))
    raise typer.Exit(PARTLY if unknown else OK)


def echo(
    config: Config, json: Annotated[bool, typer.Option("--json", help="Print one JSON document.")] = False
) -> None:
    """Ask the archive whether it answers (C-ECHO), and which SOP classes and transfer syntaxes it takes."""
    from ..pacs.care import ask_archive, result_classes
    from ..pacs.config import read_config

    settings = read_config(config)
    offers = ask_archive(settings)
    names = {uid: name for name, uid in result_classes(settings).items()}
    syntaxes = {"1.2.840.10008.1.2.1": "explicit", "1.2.840.10008.1.2": "implicit", "1.2.840.10008.1.2.4.80": "JPEG-LS"}
    if json:
        listed = [{"sop_class": o.sop_class, "syntax": o.syntax, "accepted": o.accepted} for o in offers]
        print_json({"answers": True, "offers": listed})
    else:
        out.print(Text("The archive answers."))
        columns = [("object", False), *((name, False) for name in syntaxes.values())]
        taken = {(o.sop_class, o.syntax): "yes" if o.accepted else "no" for o in offers}
        if offers:
            print_table(columns, [(name, *(taken[uid, s] for s in syntaxes)) for uid, name in names.items()])
    refused = [
        name for uid, name in names.items() if offers and not any(o.accepted and o.sop_class == uid for o in offers)
    ]
    if refused:
        err.print(Text(f"Not taken by the archive: {', '.join(refused)}."))
    raise typer.Exit(PARTLY if refused else OK)
