"""`train --abroad full`: the whole recipe trained again without each source, to see what the network itself loses."""

from __future__ import annotations

import io
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from ..data.sources import ImageSource
from ..evaluation.abroad import FEWEST_TESTED, Abroad, combined, images_of, judge_home, judge_source
from ..evaluation.heads import folds_of
from ..evaluation.kept_out import AbroadRecord
from ..evaluation.second_head import AnsweredSide
from ..files import write_whole
from ..progress import Progress
from ..recipe import Recipe
from .abroad import Searched, answered, record_of, search_sources
from .decision import KeptOutAnswers
from .preparing import Prepared, build

if TYPE_CHECKING:
    from ..models.network import Network

Mask = npt.NDArray[np.bool_]


@dataclass(frozen=True)
class FullSearch:
    """What the trainings without a source share: data, recipe, seed, and `folder`, where finished ones are kept."""

    prepared: Prepared
    recipe: Recipe
    seed: int
    folder: Path
    progress: Progress


def estimate_fully(search: FullSearch, network: Network, seconds: float) -> tuple[AbroadRecord, KeptOutAnswers | None]:
    """Train the recipe once more without each source, and ask about the source; test images take no part.

    Also returns the answers to the sources, to calibrate with. `network` is the trained one, which says what it has at
    home, and `seconds` is how long it took. Finished trainings are kept in the search's folder, an unfinished one with
    its last epoch: the same call continues after them.
    """
    prepared, progress = search.prepared, search.progress
    if search.recipe.task == "regression":
        return AbroadRecord(unknown="regression"), None
    found = search_sources(prepared, most=None)
    sources = combined(found.sources, found.labels)
    plans = [(source, plan) for source in sources if (plan := _plan(source, found, prepared)) is not None]
    if not plans:
        return AbroadRecord(unknown="no-sources" if not sources else "few-images", images=len(found.chosen)), None
    progress.say(
        f"The recipe is trained {len(plans)} times more, each time without one source: about {len(plans)} times the "
        f"{seconds:.0f} s of the first training, or less."
    )
    validation = np.isin(found.chosen, prepared.positions("val"))
    home = _ask(network, search, found, validation)
    judged, away = [], []
    for number, (source, (train, val, tested)) in enumerate(plans, 1):
        progress.say(f"Source {number} of {len(plans)}: without {source.images:,} images, {source.kind} {source.value}")
        sides = _without(search, found, number, (train, val, tested))
        judged.append(judge_source(source, *sides))
        away.append(sides[1])
    area, accuracy = judge_home(home)
    left_out = tuple(j for j in judged if j is not None)
    return record_of(Abroad(area, accuracy, left_out), len(found.chosen)), _answers(away)


def _answers(sides: Sequence[AnsweredSide]) -> KeptOutAnswers:
    """All that was answered to sources, as a network of the recipe gives it: one logit for two classes."""
    logits = np.concatenate([side.logits for side in sides])
    logits = logits[:, 1:] - logits[:, :1] if logits.shape[1] == 2 else logits
    units = np.concatenate([side.units for side in sides])
    labels = np.concatenate([side.labels for side in sides])
    return KeptOutAnswers(logits.astype(np.float32), labels, tuple(map(str, units)))


def _plan(source: ImageSource, found: Searched, prepared: Prepared) -> tuple[Mask, Mask, Mask] | None:
    """Which of the images train, validate, and are tested without a source; None where too few remain.

    No unit stands on two sides.
    """
    tested = images_of(source, found.labels, folds_of(found.labels, found.units, 0))
    free = ~np.isin(found.units, np.unique(found.units[tested]))
    validation = np.isin(found.chosen, prepared.positions("val"))
    train, val = free & ~validation, free & validation
    classes = np.unique(found.labels)
    parts = (train, val, tested)
    least = min(int((part & (found.labels == c)).sum()) for part in parts for c in classes)
    return parts if least >= FEWEST_TESTED else None


def _without(
    search: FullSearch, found: Searched, number: int, parts: tuple[Mask, Mask, Mask]
) -> tuple[AnsweredSide, AnsweredSide]:
    """The answers of a network trained without a source: to validation images of home, and to the source."""
    train, val, tested = parts
    kept = search.folder / f"abroad-{number}.npz"
    before = _read(kept, found, (val, tested)) if kept.is_file() else None
    if before is not None:
        return before
    network = _trained(search, found, number, train, val)
    home, away = (_ask(network, search, found, rows) for rows in (val, tested))
    _write(kept, (home, away), [found.chosen[rows] for rows in (val, tested)])
    shutil.rmtree(search.folder / f"abroad-{number}")
    return home, away


def _trained(search: FullSearch, found: Searched, number: int, train: Mask, val: Mask) -> Network:
    from ..training.hardware import denormals_as_zero
    from ..training.session import Training, train_network

    prepared, classes = search.prepared, len(search.prepared.dataset.classes)
    network, _ = build(search.recipe, classes, search.seed)
    parts = [(prepared.pixels, prepared.rows[found.chosen[rows]], found.labels[rows]) for rows in (train, val)]
    with denormals_as_zero():
        train_network(
            network,
            Training(
                search.recipe,
                train=parts[0],
                validation=parts[1],
                classes=classes,
                seed=search.seed,
                checkpoints=search.folder / f"abroad-{number}",
                progress=search.progress,
                announce_epochs=False,
            ),
        )
    return network


def _ask(network: Network, search: FullSearch, found: Searched, rows: Mask) -> AnsweredSide:
    pixels = search.prepared.rows[found.chosen[rows]]
    logits, features = answered(network, search.prepared.pixels, search.recipe, pixels, search.progress)
    return AnsweredSide(logits, features, found.labels[rows], found.units[rows])


def _write(path: Path, sides: Sequence[AnsweredSide], positions: Sequence[npt.NDArray[np.intp]]) -> None:
    stream = io.BytesIO()
    arrays: dict[str, Any] = {}
    for i, (side, own) in enumerate(zip(sides, positions, strict=True)):
        arrays |= {f"logits_{i}": side.logits, f"features_{i}": side.features, f"positions_{i}": own}
    np.savez(stream, **arrays)
    write_whole(path, stream.getvalue())


def _read(path: Path, found: Searched, parts: tuple[Mask, Mask]) -> tuple[AnsweredSide, AnsweredSide] | None:
    """What was kept of a finished training; None where it is of other images."""
    with np.load(path, allow_pickle=False) as arrays:
        if any(not np.array_equal(arrays[f"positions_{i}"], found.chosen[rows]) for i, rows in enumerate(parts)):
            return None
        home, away = (
            AnsweredSide(arrays[f"logits_{i}"], arrays[f"features_{i}"], found.labels[rows], found.units[rows])
            for i, rows in enumerate(parts)
        )
    return home, away


def forget_fully(folder: Path) -> None:
    """Remove what only a resumed search needs."""
    for path in folder.glob("abroad-*"):
        shutil.rmtree(path) if path.is_dir() else path.unlink()
