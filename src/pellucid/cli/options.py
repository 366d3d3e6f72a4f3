"""Options shared by several commands."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Optional

import typer

from ..errors import InputError, UnknownNameError

if TYPE_CHECKING:
    from ..classifier import Score
    from ..data.dataset import Split
    from ..data.table import TableOptions
    from ..reporting.overlay import Scale

AnswerOnly = Annotated[
    Optional[str],
    typer.Option(
        metavar="LIMIT",
        help="Answer only as many images as keep errors<=0.02, fn<=0.01 or fp<=0.05; refer the others to a person.",
    ),
]
Coverage = Annotated[
    Optional[float],
    typer.Option(
        min=0, max=0.999, metavar="SHARE", help="Share of images whose prediction set holds the true class; 0: no sets."
    ),
]
CoverageBy = Annotated[
    Optional[str],
    typer.Option(
        metavar="WHAT",
        help="Promise the coverage for all images together, for each class, or for each subgroup: a CSV column, or a "
        "regular expression for paths.",
    ),
]
Reject = Annotated[
    Optional[str],
    typer.Option(
        metavar="WHAT",
        help="unlike: answer `none of these` to unusual images, which do not resemble the training images; or none.",
    ),
]
Other = Annotated[
    Optional[Path],
    typer.Option(metavar="DIR", help="Folder of images outside all classes, to recognise such images by."),
]


def _renamed(old: Optional[list[str]]) -> None:
    if old:
        raise InputError(f"--group is now called --merge: write --merge {old[0]}. Patients are named by --group-by.")


GroupBy = Annotated[
    Optional[str],
    typer.Option(help="Regular expression for file names, or CSV column, that identifies the patient or object."),
]
Positive = Annotated[Optional[str], typer.Option(help="Positive class (binary tasks only).")]
Merge = Annotated[
    Optional[list[str]],
    typer.Option("--merge", metavar="NAME=A,B", help="Merge classes A and B into NAME."),
]
OldMerge = Annotated[Optional[list[str]], typer.Option("--group", hidden=True, callback=_renamed)]
LeaveOut = Annotated[
    Optional[list[str]], typer.Option("--leave-out", metavar="CLASS", help="Leave this class out; may be repeated.")
]
OneAgainstRest = Annotated[
    Optional[str],
    typer.Option(metavar="CLASS", help="Tell this class from all others; takes images that show several classes."),
]
PathColumn = Annotated[Optional[str], typer.Option(metavar="NAME", help="Of a CSV: the column of the files.")]
LabelColumn = Annotated[
    Optional[str],
    typer.Option(metavar="NAME", help="Of a CSV: the column of the classes, or A,B,... for columns of 0 and 1."),
]
ImagesFolder = Annotated[
    Optional[Path], typer.Option("--images", metavar="DIR", help="Of a CSV: the folder of the files that it lists.")
]


Engine = Annotated[
    str,
    typer.Option(help="What runs the model: onnxruntime, openvino, or auto for what `pellucid optimise` advises here."),
]
EnginePrecision = Annotated[
    str,
    typer.Option(
        help="With --engine openvino: float32, or bfloat16 or int8 where `pellucid optimise` has accepted it."
    ),
]


def table_options(path_column: str | None, label_column: str | None, images: Path | None) -> TableOptions:
    """What the options say of a table."""
    from ..data.table import TableOptions

    return TableOptions(path_column, label_column, images)


def reading_overrides(
    leave_out: Sequence[str] | None,
    one_against_rest: str | None,
    path_column: str | None,
    label_column: str | None,
    images: Path | None,
) -> list[str]:
    """The options on what is read, as overrides of a recipe's data section."""
    given = {
        "leave_out": list(leave_out or ()),
        "one_against_rest": one_against_rest,
        "path_column": path_column,
        "label_column": label_column,
        "images": str(images) if images else None,
    }
    return [f"data.{key}={json.dumps(value, ensure_ascii=False)}" for key, value in given.items() if value]


def answering_overrides(
    answer_only: str | None, coverage: float | None, coverage_by: str | None, reject: str | None, other: Path | None
) -> list[str]:
    """The options on which answers are given as overrides of a recipe."""
    from ..workflow.answering import coverage_for

    given = {
        **({} if coverage_by is None else coverage_for(coverage_by)),
        "answer_only": answer_only,
        "coverage": coverage,
        "reject": reject,
        "other": None if other is None else str(other.resolve()),
    }
    return [
        f"decision.{key}={json.dumps(value, ensure_ascii=False)}" for key, value in given.items() if value is not None
    ]


def parse_merge(texts: Sequence[str]) -> dict[str, list[str]]:
    """`["ill=covid,pneumonia"]` as {"ill": ["covid", "pneumonia"]}. Raises InputError for another form."""
    merged: dict[str, list[str]] = {}
    for text in texts:
        name, _, listed = text.partition("=")
        members = [m.strip() for m in listed.split(",") if m.strip()]
        if not name.strip() or not members:
            raise InputError(f"--merge {text!r}: write NAME=CLASS,CLASS, for example ill=covid,pneumonia.")
        merged.setdefault(name.strip(), []).extend(members)
    return merged


def parse_split(text: str) -> Split:
    """The split named by `--split`; UnknownNameError for another word."""
    from ..data.dataset import SPLITS
    from ..data.layout import split_named

    name = split_named(text)
    if name is None:
        raise UnknownNameError("split", text, SPLITS)
    return name


def parse_scale(text: str) -> Scale:
    """The colour scale named by `--scale`; UnknownNameError for another word."""
    found: dict[str, Scale] = {"image": "image", "model": "model"}
    if text in found:
        return found[text]
    raise UnknownNameError("scale", text, ("image", "model"), "Use image or model.")


def parse_score(text: str | None) -> Score | None:
    """The score named by `--score`; UnknownNameError for another word."""
    found: dict[str, Score] = {"log-odds": "log-odds", "logit": "logit", "output": "output"}
    if text is None or text in found:
        return None if text is None else found[text]
    raise UnknownNameError("score", text, found, "Use log-odds, logit or output.")
