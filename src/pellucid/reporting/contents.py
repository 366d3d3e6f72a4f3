"""Everything that a run folder says, read once and checked: what the report is made from."""

from __future__ import annotations

import csv
import math
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from pydantic import BaseModel

from ..bundle.certificate import CERTIFICATE, Certificate, decision_digest, read_certificate
from ..bundle.manifest import MANIFEST, Manifest
from ..bundle.run import RunFolder, RunRecord
from ..classifier import NONE_OF_THESE, REFER, gives_score
from ..errors import BundleError
from ..evaluation.answering import OUTCOMES
from ..evaluation.audit import AUDIT_FILE, AuditDocument
from ..evaluation.hidden import HIDDEN_FILE, HiddenDocument
from ..evaluation.result import EvaluationResult
from ..evaluation.schema import METRICS_FILE, MetricsDocument, read_evaluation
from ..explanation.record import ExplanationManifest, ExplanationRecord
from ..recipe import Recipe, load_recipe

_Document = TypeVar("_Document", bound=BaseModel)
EXPLANATIONS_FILE = "manifest.json"


OTHER = "evaluation-"
"""Folders of a run with evaluations on other images than its own test split."""
TRAINED_ON = f"{OTHER}train"
AUDIT = "audit"


@dataclass(frozen=True, slots=True)
class SplitProof:
    """What `split.csv` shows of leaks: how much was checked, and what is in more than one split.

    `contents` counts images compared byte by byte (by their sha256); `shared_contents` names one file of each set of
    equal ones.
    """

    contents: int
    groups: int
    without_group: int
    shared_files: tuple[str, ...]
    shared_groups: tuple[str, ...]
    shared_contents: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class RunContents:
    """A run as values. What has not been made yet is None or empty; only `run.json` and the recipe are a must.

    `trained_on` is the evaluation on the training images, which says nothing of new ones, `others` those on other data.
    """

    folder: RunFolder
    record: RunRecord
    recipe: Recipe
    recipe_text: str
    history: tuple[dict[str, float], ...]
    manifest: Manifest | None
    split: SplitProof | None
    evaluation: EvaluationResult | None
    explanations: ExplanationManifest | None
    others: tuple[tuple[str, MetricsDocument], ...] = ()
    trained_on: EvaluationResult | None = None
    audit: AuditDocument | None = None
    hidden: HiddenDocument | None = None
    engines: Certificate | None = None

    @property
    def medical(self) -> bool:
        """Whether pages must carry the notice that this is not for diagnosis."""
        return self.recipe.medical or (self.manifest is not None and self.manifest.medical)

    @property
    def values(self) -> str:
        """How pixel values are scaled for the model."""
        imported = self.record.imported
        return self.recipe.data.values if imported is None else imported.scaling


def read_run(root: Path) -> RunContents:
    """Read a run folder, and nothing outside of it.

    Raises BundleError when it is not a run or when one of its files is damaged, RecipeError for a broken recipe.
    """
    folder = RunFolder(root)
    record = folder.read_record()
    if not folder.recipe.is_file() and record.imported is None:
        raise BundleError(f"{root} has no recipe.toml, so it is not whole. Copy the folder again or train again.")
    bundle, shown = folder.bundle / MANIFEST, folder.explanations / EXPLANATIONS_FILE
    evaluation = read_evaluation(folder.evaluation) if (folder.evaluation / METRICS_FILE).is_file() else None
    explanations = _document(ExplanationManifest, shown) if shown.is_file() else None
    return RunContents(
        folder=folder,
        record=record,
        recipe=load_recipe(folder.recipe) if folder.recipe.is_file() else Recipe(name="imported"),
        recipe_text=folder.recipe.read_text(encoding="utf-8").strip() if folder.recipe.is_file() else "",
        history=read_history(folder.history) if folder.history.is_file() else (),
        manifest=_document(Manifest, bundle) if bundle.is_file() else None,
        split=prove_split(folder.split) if folder.split.is_file() else None,
        evaluation=evaluation,
        explanations=as_evaluated(explanations, evaluation) if explanations and evaluation else explanations,
        others=tuple(
            (file.parent.name.removeprefix(OTHER), _document(MetricsDocument, file))
            for file in sorted(root.glob(f"{OTHER}*/{METRICS_FILE}"))
            if file.parent.name != TRAINED_ON
        ),
        trained_on=read_evaluation(root / TRAINED_ON) if (root / TRAINED_ON / METRICS_FILE).is_file() else None,
        audit=_document(AuditDocument, root / AUDIT / AUDIT_FILE) if (root / AUDIT / AUDIT_FILE).is_file() else None,
        hidden=_document(HiddenDocument, root / HIDDEN_FILE) if (root / HIDDEN_FILE).is_file() else None,
        engines=_engines(folder.bundle, bundle),
    )


def as_evaluated(shown: ExplanationManifest, result: EvaluationResult) -> ExplanationManifest:
    """The explained images with the answers that the evaluation gives them.

    A later operating point or rule of answering changes what is answered, and no map: the target of each stays.
    """
    places = {path: i for i, path in enumerate(result.paths)}
    predicted = result.predicted
    outcomes = [0] * len(predicted) if result.answered is None else result.answered.outcomes.tolist()

    def restated(record: ExplanationRecord) -> ExplanationRecord:
        place = places.get(record.path)
        if place is None or record.true_label != result.classes[int(result.labels[place])]:
            return record
        index = int(predicted[place])
        named, outcome = result.classes[index], OUTCOMES[outcomes[place]]
        changes: dict[str, object] = {
            "label": {"answer": named, "none": NONE_OF_THESE, "refer": REFER}[outcome],
            "predicted": named,
            "outcome": outcome,
        }
        if not gives_score(result.task):
            changes["confidence"] = float(result.probabilities[place, index])
        return record.model_copy(update=changes)

    return shown.model_copy(update={"images": tuple(map(restated, shown.images))})


def _engines(folder: Path, manifest: Path) -> Certificate | None:
    """The certificate of engines, where it is of this model as it is now."""
    if not (folder / CERTIFICATE).is_file() or not manifest.is_file():
        return None
    own = _document(Manifest, manifest)
    found = read_certificate(folder, own)
    return found if found is not None and found.decision == decision_digest(own) else None


def read_history(path: Path) -> tuple[dict[str, float], ...]:
    """`history.csv`: one mapping of column to number for each epoch; an empty cell is NaN."""
    rows = _rows(path, ("epoch",))
    try:
        return tuple({key: float(value) if value else math.nan for key, value in row.items()} for row in rows)
    except (TypeError, ValueError) as error:
        raise BundleError(f"{path} is damaged: {error}. Each cell must be a number.") from error


def prove_split(path: Path) -> SplitProof:
    """Look in `split.csv` for files, groups and equal images that are in more than one split."""
    rows = [row for row in _rows(path, ("path", "split")) if row["split"]]
    first_of = {row["sha256"]: row["path"] for row in reversed(rows) if row.get("sha256")}
    return SplitProof(
        contents=len(first_of),
        groups=len({row["group"] for row in rows if row.get("group")}),
        without_group=sum(not row.get("group") for row in rows),
        shared_files=_shared(rows, "path"),
        shared_groups=_shared(rows, "group"),
        shared_contents=tuple(first_of[digest] for digest in _shared(rows, "sha256")),
    )


def _shared(rows: list[dict[str, str]], column: str) -> tuple[str, ...]:
    """The values of a column that occur in more than one split, sorted."""
    splits: defaultdict[str, set[str]] = defaultdict(set)
    for row in rows:
        if value := row.get(column):
            splits[value].add(row["split"])
    return tuple(sorted(value for value, where in splits.items() if len(where) > 1))


def _rows(path: Path, needed: tuple[str, ...]) -> list[dict[str, str]]:
    with path.open(encoding="utf-8", errors="surrogateescape", newline="") as file:
        reader = csv.DictReader(file)
        rows = list(reader)
    missing = [name for name in needed if name not in (reader.fieldnames or ())]
    if missing:
        raise BundleError(f"{path} is damaged: it has no column {' or '.join(missing)}.")
    return rows


def _document(kind: type[_Document], path: Path) -> _Document:
    try:
        return kind.model_validate_json(path.read_bytes())
    except ValueError as error:
        raise BundleError(f"{path} cannot be read: {error}") from error
