"""The search for what a model goes by, as a part of an audit: when to search, masks, galleries, a person's answers."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path

import numpy as np
import numpy.typing as npt

from ..bundle.bundle import Bundle
from ..data.acquisition import measure_acquisition
from ..data.cache import CachedPixels
from ..data.dataset import Split
from ..data.sources import find_sources
from ..errors import InputError, UnknownNameError
from ..evaluation.audit import AUDIT_FILE, AuditDocument
from ..evaluation.audit_verdicts import judge
from ..evaluation.discovered import AnswerEntry, DiscoveredDocument
from ..evaluation.patches import Box
from ..files import write_whole
from ..progress import Progress
from .discovered_files import keep_factors, with_answers, write_galleries
from .discovering import discover, expected_seconds
from .discovering_slices import Subjects
from .localisation import true_mask

MOST = 600
LONG = 120.0


@dataclass(frozen=True, slots=True)
class AuditSettings:
    """What to audit on: at most `images` of a split, subgroups by a regular expression or CSV column, masks.

    `discover` says whether to search for what the model goes by; None: where that takes less than two minutes.
    """

    split: Split = "test"
    images: int = MOST
    subgroup: str | None = None
    masks: Path | None = None
    seed: int = 0
    discover: bool | None = None


USUAL = AuditSettings()


def search(
    bundle: Bundle,
    cached: CachedPixels,
    units: npt.NDArray[np.int64],
    *,
    folder: Path | None,
    settings: AuditSettings,
    progress: Progress,
) -> DiscoveredDocument | None:
    """What the model goes by on the images of an audit; None where it is not wanted, or not asked for and slow."""
    count = len(cached.dataset)
    if settings.discover is False or not count:
        return None
    if settings.discover is None and (seconds := expected_seconds(bundle, count)) > LONG:
        progress.say(
            f"What the model goes by was not searched: it takes about {seconds / 60:.0f} minutes. Ask for it with "
            "`discover=`."
        )
        return None
    paths = tuple(sample.path for sample in cached.dataset.samples)
    acquisition = measure_acquisition(cached.dataset, cached.pixels, np.arange(count))
    sources = tuple(find_sources(paths, cached.dataset.labels, acquisition))
    subjects = Subjects(cached.pixels, cached.dataset.labels, units, paths, sources)
    touches = _Touches(bundle, cached) if any(s.mask or s.boxes for s in cached.dataset.samples) else None
    discovery = discover(bundle, subjects, seed=settings.seed, touches=touches, progress=progress)
    if folder is None:
        return discovery.document
    found = with_answers(discovery.document, _earlier(folder, bundle))
    return write_galleries(keep_factors(found, discovery.factors, folder), subjects, folder)


class _Touches:
    """Whether a square of the model's input touches the mask or boxes of an image; None for one without."""

    def __init__(self, bundle: Bundle, cached: CachedPixels) -> None:
        self._bundle, self._dataset = bundle, cached.dataset
        self._masks: dict[int, npt.NDArray[np.bool_] | None] = {}

    def __call__(self, image: int, box: Box) -> bool | None:
        if image not in self._masks:
            sample = self._dataset.samples[image]
            known = sample.mask is not None or bool(sample.boxes)
            size = self._bundle.read(self._dataset.file(sample)).size if known else (0, 0)
            self._masks[image] = true_mask(self._dataset, sample, size) if known else None
        mask = self._masks[image]
        if mask is None:
            return None
        place = self._bundle.preprocessing.placement((mask.shape[0], mask.shape[1]))
        top, bottom = ((v - place.shift[0]) / place.scale[0] for v in (box.top, box.bottom))
        left, right = ((v - place.shift[1]) / place.scale[1] for v in (box.left, box.right))
        return bool(mask[max(0, int(top)) : max(0, int(bottom) + 1), max(0, int(left)) : max(0, int(right) + 1)].any())


def _earlier(folder: Path, bundle: Bundle) -> DiscoveredDocument | None:
    """What an earlier audit of the same model in the folder found."""
    if not (folder / AUDIT_FILE).is_file():
        return None
    earlier = AuditDocument.model_validate_json((folder / AUDIT_FILE).read_bytes())
    return earlier.discovered if earlier.bundle == bundle.manifest.files.get("model.onnx", "") else None


def answer_concept(
    run: Path, concept: str, words: str, *, belongs: bool, out: Path | None = None
) -> tuple[AuditDocument, Path]:
    """Keep a person's answer on a concept of the last audit of a run, and judge again.

    `belongs` says whether the concept belongs to its class, `words` what it is. Raises InputError where the run was not
    audited or nothing was found, UnknownNameError for another concept.
    """
    folder = out or run / "audit"
    file = folder / AUDIT_FILE
    if not file.is_file():
        raise InputError(f"{run} has no audit in {folder}: run the audit first, then answer what it asks.")
    document = AuditDocument.model_validate_json(file.read_bytes())
    names = [c.name for c in document.discovered.concepts] if document.discovered else []
    if document.discovered is None or not names:
        raise InputError(f"The audit in {folder} found no concepts to answer for: audit again with `discover=`.")
    if concept not in names:
        raise UnknownNameError("concept", concept, names, f"The audit found {', '.join(names)}.")
    if not words.strip():
        raise InputError(f"Say in a few words what {concept} is.")
    given = datetime.now(timezone.utc).isoformat(timespec="seconds")
    answer = AnswerEntry(belongs=belongs, words=words.strip(), given=given)
    concepts = tuple(
        c.model_copy(update={"answer": answer}) if c.name == concept else c for c in document.discovered.concepts
    )
    discovered = document.discovered.model_copy(update={"concepts": concepts})
    judged = judge(document.model_copy(update={"discovered": discovered}))
    write_whole(file, judged.model_dump_json(indent=2).encode())
    return judged, folder
