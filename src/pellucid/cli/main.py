"""The program `pellucid`: its commands, and the one place that turns errors into a sentence and an exit code.

Command modules import what they need when they run, so that `--help` answers at once.
"""

from __future__ import annotations

import os
import sys

import typer

from .._version import __version__
from ..errors import PellucidError
from ..stopping import Interrupted, stoppable
from ..storage import exhausted
from . import (
    adapt,
    audit,
    backbones,
    compare,
    data,
    demo,
    doctor,
    evaluate,
    explain,
    export,
    import_,
    methods,
    optimise,
    pacs,
    predict,
    recipes,
    report,
    serve,
    train,
    verify,
)
from .command_groups import DATA, EVALUATE, EXPLAIN, START, TRAIN, USE, GroupedCommands
from .console import WRONG, err, make_printable

NOTHING_KEPT = "No partial output was left behind: run the same command again."

app = typer.Typer(
    name="pellucid",
    cls=GroupedCommands,
    help="Train, evaluate, explain, audit and serve image classifiers.",
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
    version: bool = typer.Option(
        False, "--version", callback=_version, is_eager=True, help="Show the version and exit."
    ),
) -> None:
    """Train, evaluate, explain, audit and serve image classifiers."""


app.command("demo", rich_help_panel=START, short_help="Run the full pipeline on synthetic X-rays.")(demo.demo)
app.add_typer(
    data.app, name="data", rich_help_panel=DATA, short_help="Check, split, augment, download or generate datasets."
)
app.command("train", rich_help_panel=TRAIN, short_help="Train on labelled images, export, evaluate and report.")(
    train.train
)
app.command("import", rich_help_panel=TRAIN, short_help="Turn an existing model file into a run.")(import_.import_)
app.add_typer(recipes.app, name="recipes", rich_help_panel=TRAIN)
app.command("backbones", rich_help_panel=TRAIN, short_help="List the backbones, or the layers of one.")(
    backbones.backbones
)
app.command("evaluate", rich_help_panel=EVALUATE, short_help="Measure a run: metrics with 95 % intervals, curves.")(
    evaluate.evaluate
)
app.command("adapt", rich_help_panel=EVALUATE, short_help="Refit threshold, calibration or class mix to a new place.")(
    adapt.adapt
)
app.command("audit", rich_help_panel=EVALUATE, short_help="Test a model for shortcuts, or its heat maps.")(audit.audit)
app.command("verify", rich_help_panel=EVALUATE, short_help="Check a model's files and stored answers.")(verify.verify)
app.command("report", rich_help_panel=EVALUATE, short_help="Rebuild the report and the model card of a run.")(
    report.report
)
app.command("explain", rich_help_panel=EXPLAIN, short_help="Draw heat maps that explain decisions.")(explain.explain)
app.command("methods", rich_help_panel=EXPLAIN)(methods.methods)
app.command("predict", rich_help_panel=USE, short_help="Classify images, from one file to whole archives.")(
    predict.predict
)
app.command("compare", rich_help_panel=USE, short_help="Compare two batches: agreement, changed answers, drift.")(
    compare.compare
)
app.command("export", rich_help_panel=USE, short_help="Write a run as a page, or a torch model as a bundle.")(
    export.export
)
app.command("serve", rich_help_panel=USE, short_help="Serve a web page and an HTTP API.")(serve.serve)
app.command(
    "optimise", rich_help_panel=USE, short_help="Find a faster engine for a model here, and prove what it changes."
)(optimise.optimise)
app.add_typer(pacs.app, name="pacs", rich_help_panel=USE, short_help="Results as DICOM objects, for a picture archive.")
app.command("doctor", rich_help_panel=USE, short_help="Attack a running server, or tune batches for this machine.")(
    doctor.doctor
)


def main() -> None:
    """Run the command line. Errors raised on purpose become one message on stderr and exit code 2."""
    from rich.text import Text

    # Idle threads sleep instead of spinning. With one of 2 cores taken by another program, training took a fifth of the
    # time that it takes with spinning threads; alone on the machine it takes about a quarter longer.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    make_printable()
    try:
        with stoppable():
            app()
    except PellucidError as error:
        err.print(Text(f"pellucid: {error}"))
        sys.exit(WRONG)
    except MemoryError:
        settings = "--set train.batch_size=..., --batch-size, or --set data.size=..."
        err.print(f"pellucid: Out of memory. Lower one of {settings}")
        sys.exit(WRONG)
    except Interrupted as stop:
        err.print(Text(f"pellucid: Interrupted. {stop.kept or NOTHING_KEPT}"))
        sys.exit(stop.code)
    except SystemExit as end:
        # The reader closed the pipe (`| head`), of which typer makes exit code 1: that is no failure.
        if not isinstance(end.__context__, BrokenPipeError):
            raise
        # Keep the interpreter's last flush from complaining.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.__stdout__.fileno() if sys.__stdout__ else 1)
        sys.exit(0)
    except OSError as error:
        if (reason := exhausted(error)) is None:
            raise
        err.print(Text(f"pellucid: {reason}"))
        sys.exit(WRONG)
