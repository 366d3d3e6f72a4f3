"""After a training with something hidden: audit again, and set both models side by side."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import numpy.typing as npt

from ..bundle.bundle import Bundle, load
from ..bundle.run import RunFolder
from ..data.areas import clustered_mean
from ..data.cache import CachedPixels, cached_pixels
from ..data.dataset import Dataset
from ..data.manifest import read_split
from ..data.phantom_truth import planted_signs
from ..errors import InputError
from ..evaluation.audit import AUDIT_FILE, AuditDocument
from ..evaluation.figures import Estimate
from ..evaluation.hidden import HIDDEN_FILE, AuditSide, HiddenDocument, HiddenKind, HiddenRow
from ..evaluation.hiding import Sign, SignHiding, scaled_boxes
from ..evaluation.intervals import wilson
from ..evaluation.regions import average_picture
from ..files import write_whole
from ..preprocessing import Uint8Array
from ..progress import Progress, Silent
from ..recipe import load_recipe
from ..storage import cache_folder
from .accused import AUDIT
from .audit import audit_run, image_units
from .discovering_run import AuditSettings
from .hiding import FoundSign, find_signs, region_masks

BATCH = 16

Truth = npt.NDArray[np.bool_]
Indices = npt.NDArray[np.int64]
Rights = dict[HiddenKind, Truth]


def compare_hidden(run: Path, *, progress: Progress | None = None) -> HiddenDocument:
    """Audit a run that was trained with `hide=`, and compare it with the run that was accused; writes `hidden.json`.

    Raises InputError for a run that hid nothing, DataError where its images have moved.
    """
    progress = progress or Silent()
    folder, wanted = RunFolder(run), load_recipe(run / "recipe.toml").data.hide
    if not wanted:
        raise InputError(f"{run} was trained with nothing hidden: give `hide=` to a training, then compare.")
    after, _ = audit_run(run, settings=AuditSettings(discover=True), progress=progress)
    bundle = load(run)
    source = Path(folder.read_record().data.source)
    whole = read_split(folder.split, source if source.is_dir() else source.parent, bundle.classes)
    dataset = whole.where(lambda sample: sample.split in ("train", "test"))
    signs = find_signs(wanted, dataset, bundle.preprocessing, progress)
    subject = _Subject(dataset, signs, wanted, folder.read_record().seed, progress)
    rights, test = subject.rights(bundle)
    earlier = signs[0].accused.run if signs else None
    fits = signs and signs[0].bundle.classes == bundle.classes and not _trained_on(signs[0].accused.run, test)
    before = subject.rights(signs[0].bundle)[0] if fits else None
    present, truth = _present(test, signs, dataset)
    agrees = _agreement(test, signs, present)
    document = HiddenDocument(
        hidden=wanted,
        earlier="" if earlier is None else str(earlier),
        truth=truth,
        training_images=sum(s.split == "train" for s in dataset.samples),
        showing=len({i for s in signs for i in s.boxes if dataset.samples[i].split == "train"}),
        rows=tuple(_rows(rights, before, agrees, image_units(test))),
        audit_before=None if earlier is None else _side(_audit_of(earlier)),
        audit_after=_side(after),
    )
    write_whole(run / HIDDEN_FILE, document.model_dump_json(indent=2).encode())
    return document


@dataclass(frozen=True, slots=True, eq=False)
class _Subject:
    """What both models are asked about: training and test images, and the signs in them."""

    dataset: Dataset
    signs: Sequence[FoundSign]
    wanted: Sequence[str]
    seed: int
    progress: Progress

    def rights(self, bundle: Bundle) -> tuple[Rights, Dataset]:
        """Which test images a model answers rightly, as they are, covered, and with signs put in; and these images."""
        with self.progress.bar("Reading images") as advance:
            cached = cached_pixels(self.dataset, bundle.preprocessing, cache_folder(), progress=advance)
        hiding = self._hiding(bundle, cached)
        samples = cached.dataset.samples
        test = np.flatnonzero([s.split == "test" for s in samples])
        labels = cached.dataset.labels[test]
        changes: dict[HiddenKind, Callable[[int], Uint8Array]] = {
            "as-they-are": lambda row: np.asarray(cached.pixels[row]),
            "covered": hiding.covered,
            "put-in": hiding.shown,
        }
        with self.progress.bar("Covered, and put in") as advance:
            found: Rights = {}
            for done, (what, change) in enumerate(changes.items(), 1):
                found[what] = _answers(bundle, test, change) == labels
                advance(done, len(changes))
        kept = {samples[i].path for i in test}
        return found, cached.dataset.where(lambda sample: sample.path in kept)

    def _hiding(self, bundle: Bundle, cached: CachedPixels) -> SignHiding:
        shape = bundle.preprocessing
        place = {int(i): row for row, i in enumerate(cached.index)}
        train = np.flatnonzero([s.split == "train" for s in cached.dataset.samples])
        signs = []
        for sign in self.signs:
            size = (shape.height, shape.width)
            boxes = {place[i]: scaled_boxes(b, sign.size, size) for i, b in sign.boxes.items() if i in place}
            signs.append(Sign(boxes, np.array(sorted(set(boxes) & set(train.tolist())), np.intp)))
        average = average_picture(np.asarray(cached.pixels[train]))
        return SignHiding(cached.pixels, average, tuple(signs), region_masks(self.wanted, shape), train, self.seed)


def _answers(bundle: Bundle, rows: npt.NDArray[np.intp], change: Callable[[int], Uint8Array]) -> Indices:
    """The answer (n,) to each picture as `change` gives it."""
    answers = []
    for start in range(0, len(rows), BATCH):
        pictures = np.stack([change(int(row)) for row in rows[start : start + BATCH]])
        answers.append(bundle.manifest.predicted(bundle.logits(bundle.preprocessing.normalise(pictures))))
    return np.concatenate(answers)


def _trained_on(earlier: Path, test: Dataset) -> bool:
    """Whether an earlier run learned from any of these images."""
    file = RunFolder(earlier).split
    if not file.is_file():
        return True
    own = read_split(file, test.root, test.classes)
    return bool({s.path for s in own.samples if s.split != "test"} & {s.path for s in test.samples})


def _present(
    test: Dataset, signs: Sequence[FoundSign], dataset: Dataset
) -> tuple[Truth | None, Literal["planted", "found", ""]]:
    """Which test images (n,) show the sign, and by what that is known."""
    if not signs:
        return None, ""
    planted = planted_signs(dataset.root)
    kinds: frozenset[str] = frozenset().union(*planted.values()) if planted else frozenset()
    if planted and len(kinds) == 1:
        return np.array([bool(planted.get(s.path)) for s in test.samples]), "planted"
    shown = {dataset.samples[i].path for i in signs[0].boxes}
    return np.array([s.path in shown for s in test.samples]), "found"


def _agreement(test: Dataset, signs: Sequence[FoundSign], present: Truth | None) -> Truth | None:
    """On which test images (n,) the sign agrees with the class that it speaks for."""
    if present is None or signs[0].entry.label not in test.classes:
        return None
    label = test.classes.index(signs[0].entry.label)
    agrees: Truth = (test.labels == label) == present
    return agrees


def _rows(rights: Rights, before: Rights | None, agrees: Truth | None, units: Indices) -> list[HiddenRow]:
    everywhere = np.ones(len(units), bool)
    parts: list[tuple[HiddenKind, HiddenKind, Truth]] = [("as-they-are", "as-they-are", everywhere)]
    if agrees is not None:
        parts += [("agrees", "as-they-are", agrees), ("against", "as-they-are", ~agrees)]
    parts += [("covered", "covered", everywhere), ("put-in", "put-in", everywhere)]
    return [
        HiddenRow(
            what=what,
            images=int(part.sum()),
            before=None if before is None else _share(before[asked][part], units[part]),
            after=_share(rights[asked][part], units[part]),
        )
        for what, asked, part in parts
        if part.any()
    ]


def _share(right: Truth, units: Indices) -> Estimate:
    if right.all() or not right.any():
        low, high = wilson(int(right.sum()), len(right))
        return Estimate(value=float(right.mean()), low=low, high=high)
    found = clustered_mean(right.astype(np.float64), units)
    return Estimate(value=found.value, low=max(found.low, 0.0), high=min(found.high, 1.0))


def _audit_of(run: Path) -> AuditDocument:
    return AuditDocument.model_validate_json((run / AUDIT / AUDIT_FILE).read_bytes())


def _side(found: AuditDocument) -> AuditSide:
    problems, cautions = ([f.text for f in found.findings if f.level == level] for level in ("problem", "caution"))
    return AuditSide(verdict=found.verdict, problems=tuple(problems), cautions=tuple(cautions))
