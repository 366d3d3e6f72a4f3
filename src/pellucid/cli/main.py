"""The program `pellucid`: its commands, and the one place where errors become a sentence and an exit code.

Command modules import what they need when they run, so that `--help` answers at once.
"""

from __future__ import annotations

import os
import sys

import typer

from .._version import __version__
from ..errors import PellucidError
from . import (
    audit,
    backbones,
    compare,
    data,
    demo,
    doctor,
    evaluate,
    explain,
    import_,
    methods,
    predict,
    recipes,
    report,
    serve,
    train,
)
from .console import WRONG, err

NOTHING_LEFT = "pellucid: Interrupted; nothing half-made was left behind."

app = typer.Typer(
    name="pellucid",
    help="From a folder of labelled images to an image classifier that can be questioned.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _version(wanted: bool) -> None:
    if wanted:
        sys.stdout.write(f"pellucid {__version__}\n")
        raise typer.Exit


@app.callback()
def _options(
    version: bool = typer.Option(False, "--version", callback=_version, is_eager=True, help="Show the version."),
) -> None:
    """From a folder of labelled images to an image classifier that can be questioned."""


app.command("demo")(demo.demo)
app.add_typer(data.app, name="data")
app.command("train")(train.train)
app.command("evaluate")(evaluate.evaluate)
app.command("predict")(predict.predict)
app.command("compare")(compare.compare)
app.command("explain")(explain.explain)
app.command("audit")(audit.audit)
app.command("import")(import_.import_)
app.command("report")(report.report)
app.command("serve")(serve.serve)
app.add_typer(recipes.app, name="recipes")
app.command("methods")(methods.methods)
app.command("backbones")(backbones.backbones)
app.command("doctor")(doctor.doctor)


def main() -> None:
    """Run the command line. Errors raised on purpose become one message on stderr and exit code 2."""
    from rich.text import Text

    # Threads that wait asleep: on 2 cores of which another program used one, training took a fifth of the time that it
    # takes with threads that wait busily; alone on the machine it takes about a quarter more.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    try:
        app()
    except PellucidError as error:
        err.print(Text(f"pellucid: {error}"))
        sys.exit(WRONG)
    except MemoryError:
        settings = "--set train.batch_size=..., --batch-size, or --set data.size=..."
        err.print(f"pellucid: Memory ran out. Lower one of {settings}")
        sys.exit(WRONG)
    except KeyboardInterrupt as error:
        err.print(Text(f"pellucid: Interrupted. {error}" if str(error) else NOTHING_LEFT))
        sys.exit(130)
    except BrokenPipeError:
        # The reader went away (`| head`): nothing more to say, and no complaint from the interpreter's last flush.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(0)
