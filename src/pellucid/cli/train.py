"""`pellucid train`: labelled images to a run folder."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, NoReturn, TypedDict, get_args

import typer
from rich.text import Text

from .console import PARTLY, TerminalProgress, out, print_table, report_skipped
from .options import (
    AnswerOnly,
    Coverage,
    CoverageBy,
    GroupBy,
    ImagesFolder,
    LabelColumn,
    LeaveOut,
    Merge,
    OldMerge,
    OneAgainstRest,
    Other,
    PathColumn,
    Positive,
    Reject,
    answering_overrides,
    parse_merge,
    reading_overrides,
)

if TYPE_CHECKING:
    from ..evaluation.kept_out import AbroadRecord
    from ..workflow.folds import FoldsRecord
    from ..workflow.training import AbroadMode


class _Choices(TypedDict):
    """What replaces values of the recipe, as `choose_recipe` and `train` take it."""

    overrides: list[str]
    backbone: str | None
    weights: str | None
    group_by: str | None
    positive: str | None
    merge: dict[str, list[str]] | None
    hide: list[str]


def train(
    data: Annotated[
        Path,
        typer.Argument(
            metavar="DATA",
            help="Folder with one subfolder per class (with or without splits), or a CSV file.",
        ),
    ],
    recipe: Annotated[
        str | None,
        typer.Option(
            help="Name of a recipe (`pellucid recipes` lists them), or a .toml file.",
            show_default="default; small without weights",
        ),
    ] = None,
    backbone: Annotated[
        str | None, typer.Option(help="Replaces the recipe's backbone: cnn, or a torchvision or timm model name.")
    ] = None,
    weights: Annotated[str | None, typer.Option(help="Initial weights: a file, imagenet or none.")] = None,
    folder: Annotated[
        Path | None, typer.Option("--out", help="Output folder of the run; runs/<data>-<recipe> by default.")
    ] = None,
    seed: Annotated[
        int, typer.Option(help="Random seed for the split, initial weights, sample order and augmentation.")
    ] = 0,
    group_by: GroupBy = None,
    positive: Positive = None,
    merge: Merge = None,
    group: OldMerge = None,
    leave_out: LeaveOut = None,
    one_against_rest: OneAgainstRest = None,
    path_column: PathColumn = None,
    label_column: LabelColumn = None,
    images: ImagesFolder = None,
    operating_point: Annotated[
        str | None,
        typer.Option(
            metavar="POINT",
            help="How to choose the threshold on validation data: 0.5, youden, sensitivity>=0.95, cost:fn=5,fp=1, ...",
        ),
    ] = None,
    answer_only: AnswerOnly = None,
    coverage: Coverage = None,
    coverage_by: CoverageBy = None,
    reject: Reject = None,
    other: Other = None,
    false_alarms: Annotated[
        float | None,
        typer.Option(
            metavar="SHARE",
            help="With one-class: share of new normal images flagged at most, sure to 95 %, for example 0.01.",
        ),
    ] = None,
    use_bad: Annotated[
        bool, typer.Option("--use-bad", help="With one-class: let a third of the bad images choose the threshold.")
    ] = False,
    settings: Annotated[
        list[str] | None,
        typer.Option(
            "--set", metavar="KEY=VALUE", help="Override a recipe value, for example train.epochs=3. Repeatable."
        ),
    ] = None,
    layers: Annotated[
        list[str] | None,
        typer.Option(
            "--layer",
            metavar="NAME",
            help="Also make this layer explainable (`pellucid backbones NAME --layers` lists them). Repeatable.",
        ),
    ] = None,
    hide: Annotated[
        list[str] | None,
        typer.Option(
            "--hide",
            metavar="WHAT",
            help="What an audit accused, covered or exchanged in training images: RUN:concept-1, or a region such as "
            "top-left-corner or border. Repeatable.",
        ),
    ] = None,
    resume: Annotated[
        bool, typer.Option("--resume", help="Continue the unfinished run of the same command, if there is one.")
    ] = False,
    folds: Annotated[
        int, typer.Option(metavar="K", help="Cross-validate over K folds, split by patient, instead of making a run.")
    ] = 0,
    seeds: Annotated[
        int, typer.Option(metavar="N", help="Repeat the training with N seeds instead of making a run.")
    ] = 1,
    learning_curve: Annotated[
        bool,
        typer.Option(
            "--learning-curve", help="Measure accuracy against the number of training images instead of making a run."
        ),
    ] = False,
    track: Annotated[
        str | None, typer.Option(metavar="TOOL", help="Also log each epoch to tensorboard or mlflow.")
    ] = None,
    sealed_test: Annotated[
        bool,
        typer.Option(
            "--sealed-test", help="Open the test images once, after every decision, and count each later use."
        ),
    ] = False,
    abroad: Annotated[
        str,
        typer.Option(
            metavar="HOW",
            help="Figures for images from elsewhere: quick leaves each source out of a linear head, full out of the "
            "whole recipe too (up to 8 more trainings), none does neither.",
        ),
    ] = "quick",
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Hide progress.")] = False,
) -> None:
    """Train a classifier or fit an anomaly detector, export and evaluate it, explain examples, write a report."""
    from ..workflow.folds import train_folds
    from ..workflow.preparing import choose_recipe
    from ..workflow.training import follows
    from ..workflow.training import train as train_run

    choices: _Choices = {
        "overrides": [
            *(settings or []),
            *reading_overrides(leave_out, one_against_rest, path_column, label_column, images),
            *([f"model.layers={layers!r}"] if layers else []),
            *([f"decision.operating_point={operating_point!r}"] if operating_point is not None else []),
            *answering_overrides(answer_only, coverage, coverage_by, reject, other),
            *([f"anomaly.false_alarms={false_alarms}"] if false_alarms is not None else []),
            *(["anomaly.use_bad=true"] if use_bad else []),
        ],
        "backbone": backbone,
        "weights": weights,
        "group_by": group_by,
        "positive": positive,
        "merge": parse_merge(merge or []),
        "hide": hide or [],
    }
    how = _abroad_mode(abroad)
    target = folder or free_folder(
        Path("runs") / f"{data.resolve().name}-{Path(recipe or 'default').stem}", resume=resume
    )
    progress = TerminalProgress(quiet=quiet)
    if folds or seeds != 1 or learning_curve:
        of_a_run: dict[str, object] = {"--track": track, "--layer": layers, "--operating-point": operating_point}
        of_a_run |= {"--answer-only": answer_only, "--coverage": coverage, "--reject": reject, "--other": other}
        of_a_run["--coverage-by"] = coverage_by
        _refuse({**of_a_run, "--sealed-test": sealed_test, "--abroad": abroad != "quick"})
        several = train_folds(
            data,
            choose_recipe(recipe, **choices, progress=progress),
            out=target,
            folds=folds,
            seeds=seeds,
            seed=seed,
            learning_curve=learning_curve,
            resume=resume,
            progress=progress,
        )
        show_folds(several, target)
        return
    run = train_run(
        data,
        recipe=recipe,
        out=target,
        seed=seed,
        resume=resume,
        track=track,
        sealed_test=sealed_test,
        abroad=how,
        command=["pellucid", *sys.argv[1:]],
        progress=progress,
        **choices,
    )
    if follows():
        return
    if hide:
        _compare_hidden(run, progress)
    _finish(run)


def _compare_hidden(run: Path, progress: TerminalProgress) -> None:
    """Audit a run that hid something, show it beside the one that was accused, and write its report again."""
    from ..reporting.html import build_report
    from ..workflow.hiding_run import compare_hidden
    from .hidden import show_hidden

    found = compare_hidden(run, progress=progress)
    build_report(run)
    show_hidden(found)


def _finish(run: Path) -> NoReturn:
    """Show a new run, and end with code 1 where files were skipped or nothing was learned."""
    from ..bundle.io import read_manifest
    from ..bundle.run import RunFolder
    from ..reporting.findings import unmet_limit
    from ..reporting.verdict_on_training import first_words, seal_in_words

    record = RunFolder(run).read_record()
    for said in first_words(record.training):
        out.print(Text(said, style="bold red"))
    show_run(run)
    if (unmet := unmet_limit(read_manifest(RunFolder(run).bundle))) is not None:
        out.print(Text(f"{unmet.level}: {unmet.topic}. {unmet.text}", style="bold red"))
    if record.sealed is not None:
        out.print(Text(seal_in_words(record.sealed)))
    code = report_skipped([(s.path, s.reason) for s in record.data.skipped])
    if record.training is not None and not record.training.learned:
        code = PARTLY
    quoted = shlex.quote(str(run))
    out.print(f"Next: open {run / 'report.html'}, or: pellucid explain {quoted} IMAGE... --out maps")
    raise typer.Exit(code)


def _abroad_mode(word: str) -> AbroadMode:
    from ..errors import UnknownNameError
    from ..workflow.training import AbroadMode

    known: tuple[AbroadMode, ...] = get_args(AbroadMode)
    for mode in known:
        if mode == word:
            return mode
    raise UnknownNameError("way", word, list(known), "`abroad=` takes quick, full or none.")


def _refuse(of_a_run: Mapping[str, object]) -> None:
    """Raise InputError for options that apply only to a run."""
    from ..errors import InputError

    given = [option for option, value in of_a_run.items() if value]
    if given:
        raise InputError(
            f"{' and '.join(given)} {'applies' if len(given) == 1 else 'apply'} to a run, and --folds, --seeds and "
            "--learning-curve make no run: drop one or the other."
        )


def show_folds(record: FoldsRecord, folder: Path) -> None:
    """Print mean and spread of each metric."""
    for share, figures in record.spread.items():
        own = sum(f"{t.share:g}" == share for t in record.trials)
        title = f"{own} trainings" + (f" on {float(share):.0%} of the training images" if share != "1" else "")
        columns = [("", False), ("mean", True), ("deviation", True), ("lowest", True), ("highest", True)]
        rows = [
            [name, *(f"{v:.4f}" for v in (s.mean, s.deviation, s.lowest, s.highest))] for name, s in figures.items()
        ]
        print_table(columns, rows, title=title)
    out.print(f"Written {folder / 'folds.json'} and {folder / 'predictions.csv'}")


def free_folder(wanted: Path, *, resume: bool = False) -> Path:
    """The wanted folder, or the first free folder with its name and a number.

    A name with an unfinished run counts as taken, except with `resume`.
    """
    from ..storage import draft_of

    folder, number = wanted, 2
    while folder.exists() or (draft_of(folder).exists() and not resume):
        folder, number = wanted.with_name(f"{wanted.name}-{number}"), number + 1
    return folder


def show_run(run: Path) -> None:
    """Print the main metrics of a run and the location of its parts."""
    from ..bundle.run import RunFolder
    from ..evaluation.schema import read_evaluation
    from ..reporting.abroad import headline
    from .evaluate import show_result

    folder = RunFolder(run)
    result, abroad = read_evaluation(folder.evaluation), folder.read_record().abroad
    if said := headline(abroad, result.metrics.get("roc_auc")):
        out.print(Text(f"\n{said}", style="bold"))
    show_result(result)
    show_abroad(abroad)
    out.print()
    out.print(f"Run     {run}", f"Bundle  {folder.bundle}", f"Report  {folder.report}", sep="\n")


def show_abroad(record: AbroadRecord | None) -> None:
    """Print what is known of images from elsewhere, with what to do."""
    from ..reporting.abroad import TOPICS, on_other_sources

    if record is not None:
        level, said = on_other_sources(record)
        style = {"problem": "bold red", "caution": "yellow"}.get(level, "")
        out.print(Text(f"{level}: {TOPICS[level]}. {said}", style=style))
