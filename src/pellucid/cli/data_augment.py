"""`pellucid data augment`: a dataset with augmented copies of its training images."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Optional

import typer

from .console import PARTLY, TerminalProgress, out, print_json, print_table, report_skipped

if TYPE_CHECKING:
    from ..data.augment import Augmented
    from ..data.split import SplitPlan


def augment(
    data: Annotated[Path, typer.Argument(metavar="DATA", help="Folder with one subfolder per class, or a CSV file.")],
    folder: Annotated[Path, typer.Option("--out", help="Output folder, new or empty.")],
    copies: Annotated[int, typer.Option(help="Augmented copies per training image.")] = 1,
    recipe: Annotated[
        str, typer.Option(help="Recipe (`pellucid recipes` lists them) or .toml file that defines the augmentation.")
    ] = "scratch-cnn",
    settings: Annotated[
        Optional[list[str]],
        typer.Option(
            "--set", metavar="KEY=VALUE", help="Override a recipe value, for example augment.rotation=15. Repeatable."
        ),
    ] = None,
    balance: Annotated[
        bool, typer.Option("--balance", help="Make more copies of rare classes until all classes have the same size.")
    ] = False,
    seed: Annotated[
        int, typer.Option(help="Random seed for the augmentation, and for the split if DATA has none.")
    ] = 0,
    group_by: Annotated[
        Optional[str],
        typer.Option(help="Regular expression for file names, or CSV column, that identifies the patient or object."),
    ] = None,
    json: Annotated[bool, typer.Option("--json", help="Print the result as one JSON document.")] = False,
) -> None:
    """Write augmented copies of training images. Validation and test images are copied unchanged.

    Images are split first, as for training, so that a copy is always in the same split as its original.
    """
    from ..data.augment import augment_dataset
    from ..data.folder import read_by_recipe
    from ..data.split import split_dataset
    from ..errors import InputError
    from ..recipe import load_recipe
    from ..storage import new_folder
    from ..workflow.splitting import take_fingerprints

    chosen = load_recipe(recipe, settings or [])
    if data.is_dir() and folder.resolve().is_relative_to(data.resolve()):
        raise InputError(f"{folder} is inside {data}, where the copies would count as more data: choose another --out.")
    wanted, shown = chosen.data, TerminalProgress(quiet=json)
    dataset = read_by_recipe(data, wanted.model_copy(update={"group_by": group_by or wanted.group_by}))
    with new_folder(folder) as draft:
        prints = take_fingerprints(dataset, shown)
        plan = split_dataset(
            dataset,
            seed=seed,
            validation=wanted.validation,
            test=wanted.test,
            leave_out_twins=True,
            fingerprints=prints,
        )
        with shown.bar("Writing copies") as advance:
            made = augment_dataset(
                plan.dataset, draft, chosen.augment, copies=copies, balance=balance, seed=seed, progress=advance
            )
    unread = [s for s in plan.dataset.skipped if s.path in prints.problems or s in dataset.skipped]
    skipped = [(s.path, s.reason) for s in (*unread, *made.skipped)]
    if json:
        print_json(_document(plan, made, folder, seed) | {"skipped": [{"path": p, "reason": r} for p, r in skipped]})
    else:
        _show(plan, made, folder)
    code = report_skipped(skipped)
    raise typer.Exit(PARTLY if plan.proof.leaks else code)


def _show(plan: SplitPlan, made: Augmented, folder: Path) -> None:
    rows = [(split, *(f"{n:,}" for n in by.values())) for split, by in made.counts.items()]
    rows.append(("copies in train", *(f"{n:,}" for n in made.copies.values())))
    print_table([("", False), *((c, True) for c in plan.dataset.classes)], rows)
    out.print()
    for line in (*plan.dataset.notes, *plan.reasons, *plan.proof.sentences(), *made.notes):
        out.print(line, markup=False)
    out.print(f"Written to {folder}; origins.csv lists the original and the changes of each copy.", markup=False)
    out.print(f"Next: pellucid train {shlex.quote(str(folder))}", markup=False)


def _document(plan: SplitPlan, made: Augmented, folder: Path, seed: int) -> dict[str, Any]:
    return {
        "out": str(folder),
        "classes": list(plan.dataset.classes),
        "seed": seed,
        "counts": made.counts,
        "copies": made.copies,
        "notes": [*plan.dataset.notes, *plan.reasons, *made.notes],
        "disjoint": not plan.proof.leaks,
        "proof": list(plan.proof.sentences()),
    }
