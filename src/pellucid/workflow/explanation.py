"""Explain image files into a folder: pictures, and a manifest that says what they show and how to make them again."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from .._version import __version__
from ..bundle.bundle import Bundle
from ..classifier import Prediction, Score
from ..data.dataset import LeftOut
from ..errors import ImageError, InputError, UnknownNameError
from ..explanation.catalogue import METHODS, Method, find_method, settings_of
from ..explanation.explain import Explained
from ..explanation.record import ExplanationManifest, ExplanationRecord
from ..files import write_whole
from ..images import Image, read_image
from ..progress import Progress, Silent
from ..reporting.gallery import write_gallery
from ..reporting.overlay import colour_table
from ..reporting.words import lack_words
from .explanation_pictures import DEFAULT_DRAWING, Drawing, Drawn, Maps, draw_maps
from .scales import model_limit
from .trust.image import ImageChecker

MANIFEST = "manifest.json"
BATCH = 8
ALL = "all"


@dataclass(frozen=True, slots=True)
class ToExplain:
    """One file to explain; `shown` is the path that the manifest and titles carry."""

    file: Path
    shown: str
    true_label: str | None = None


@dataclass(frozen=True, slots=True)
class Question:
    """What is asked of each image: which methods, for which classes (none: the one answered), about which score."""

    methods: tuple[Method, ...]
    settings: Mapping[str, Any]
    targets: tuple[str, ...]
    score: Score | None
    layer: str | None
    left_out: dict[str, str] = field(default_factory=dict)

    @property
    def images_at_a_time(self) -> int:
        """As many as keep the number of maps at the size of the originals, which are all in memory, at eight or so."""
        return max(1, BATCH // (len(self.methods) * max(1, len(self.targets))))

    def layer_of(self, method: Method) -> str | None:
        """The layer that a method is asked at; with several methods, those that look at none are asked without."""
        return self.layer if method.looks_at_layer or len(self.methods) == 1 else None


def explain_files(
    bundle: Bundle,
    items: Sequence[ToExplain],
    out: Path,
    *,
    method: str | Sequence[str] = "grad-cam",
    target: str | Sequence[str] | None = None,
    score: Score | None = None,
    layer: str | None = None,
    settings: Any = None,
    drawing: Drawing = DEFAULT_DRAWING,
    trust: bool = False,
    top: int | None = None,
    considered: int | None = None,
    command: Sequence[str] = (),
    progress: Progress | None = None,
) -> ExplanationManifest:
    """Write the pictures of each file's maps into `out`, with `manifest.json` and a gallery, `index.html`.

    `method` and `target` are one name, several, or `all`. `settings` is for a single method of its own type, or maps
    methods to theirs. `trust` checks each map (deletion and insertion, noise, seed), for some hundred passes per map.
    `top` and `considered` only say in the manifest how the items were chosen. Files that cannot be read are listed in
    the manifest and left out. Raises UnknownNameError for a method, class or colour map that does not exist, and
    InputError for a scale that the model does not keep, before anything is written.
    """
    question = ask(bundle, method, target, score=score, layer=layer, settings=settings)
    colour_table(drawing.named_colormap)
    limits = {
        m.name: model_limit(bundle, m.name, score=score, layer=layer) if drawing.scale == "model" else None
        for m in question.methods
    }
    records: list[ExplanationRecord] = []
    sheets: dict[str, str] = {}
    skipped: list[LeftOut] = []
    names = _stems([item.shown for item in items])
    with (progress or Silent()).bar("Explaining") as advance:
        step = question.images_at_a_time
        for start in range(0, len(items), step):
            chunk = list(_readable(items[start : start + step], names[start : start + step], skipped))
            for (item, stem, image), answers in zip(chunk, _answers(bundle, chunk, question), strict=True):
                found = Maps(item.shown, item.true_label, image, answers, question.settings)
                checker = _checker(bundle, item, question) if trust else None
                drawn = draw_maps(bundle, found, limits, drawing, out, stem)
                records += [_record(bundle, found, d, item, checker, question) for d in drawn.maps]
                if drawn.sheet:
                    sheets[item.shown] = drawn.sheet
            advance(min(start + step, len(items)), len(items))
    manifest = ExplanationManifest(
        pellucid_version=__version__,
        model=bundle.manifest.files,
        colormap=drawing.named_colormap,
        alpha=drawing.alpha,
        scale=drawing.scale,
        signed=drawing.signed,
        command=tuple(command),
        considered=len(items) if considered is None else considered,
        top=top,
        sheets=sheets,
        left_out=question.left_out,
        images=tuple(records),
        skipped=tuple((s.path, s.reason) for s in skipped),
    )
    out.mkdir(parents=True, exist_ok=True)
    write_whole(out / MANIFEST, manifest.model_dump_json(indent=2))
    write_gallery(manifest, out, name=bundle.manifest.name, medical=bundle.manifest.medical)
    return manifest


def ask(
    bundle: Bundle,
    method: str | Sequence[str],
    target: str | Sequence[str] | None,
    *,
    score: Score | None = None,
    layer: str | None = None,
    settings: Any = None,
) -> Question:
    """The question that names of methods and classes make, with `all` written out and names checked."""
    names = [method] if isinstance(method, str) else list(dict.fromkeys(method))
    left_out: dict[str, str] = {}
    if ALL in names:
        left_out = {m.name: lack_words(lack) for m in METHODS if (lack := m.lacking(bundle.manifest))}
        names = [m.name for m in METHODS if m.name not in left_out]
    methods = tuple(find_method(name) for name in names)
    given = settings if isinstance(settings, Mapping) else {methods[0].name: settings}
    if not isinstance(settings, Mapping) and settings is not None and len(methods) > 1:
        raise InputError("Settings of one method were given for several: map each method to its own.")
    wanted = () if target is None else (target,) if isinstance(target, str) else tuple(dict.fromkeys(target))
    targets = bundle.classes if ALL in wanted and ALL not in bundle.classes else wanted
    for name in targets:
        if name not in bundle.classes:
            raise UnknownNameError("class", name, bundle.classes, f"The model knows {', '.join(bundle.classes)}.")
    chosen = {m.name: settings_of(m, given.get(m.name)) for m in methods}
    return Question(methods, chosen, tuple(targets), score, layer, left_out)


def _answers(
    bundle: Bundle, chunk: Sequence[tuple[ToExplain, str, Image]], question: Question
) -> list[tuple[Explained, ...]]:
    """For each image, what each method said of it."""
    if not chunk:
        return []
    images = [bundle.read(item.file) for item, _, _ in chunk]
    found = [
        bundle.explain_images(
            images,
            method=method.name,
            target=question.targets or None,
            score=question.score,
            layer=question.layer_of(method),
            settings=question.settings[method.name],
        )
        for method in question.methods
    ]
    return list(zip(*found, strict=True))


def _checker(bundle: Bundle, item: ToExplain, question: Question) -> ImageChecker:
    image = bundle.read(item.file)
    tensor = bundle.preprocessing.tensors([image])[0]
    return ImageChecker(bundle, tensor, image.size, score=question.score, layer=question.layer)


def _readable(
    items: Sequence[ToExplain], stems: Sequence[str], skipped: list[LeftOut]
) -> Iterator[tuple[ToExplain, str, Image]]:
    for item, stem in zip(items, stems, strict=True):
        try:
            yield item, stem, read_image(item.file)
        except ImageError as error:
            skipped.append(LeftOut(item.shown, error.reason))


def _record(
    bundle: Bundle, found: Maps, drawn: Drawn, item: ToExplain, checker: ImageChecker | None, question: Question
) -> ExplanationRecord:
    """What was drawn of one map."""
    attribution, prediction = drawn.attribution, found.prediction(bundle)
    return ExplanationRecord(
        path=item.shown,
        label=prediction.label,
        true_label=item.true_label,
        confidence=prediction.confidence,
        probabilities=prediction.probabilities,
        target=attribution.target,
        method=attribution.method,
        score=attribution.score,
        unit=attribution.unit,
        layer=attribution.layer,
        settings=attribution.settings,
        smallest=float(attribution.values.min()),
        largest=float(attribution.values.max()),
        limit=drawn.limit,
        verdict=drawn.verdict,
        warnings=prediction.warnings,
        files=drawn.files,
        sha256=hashlib.sha256(item.file.read_bytes()).hexdigest(),
        trust=checker.check(attribution, question.settings[attribution.method]) if checker else None,
    )


def choose_top(predictions: Sequence[Prediction], top: int, target: str | None, positive: str | None) -> list[int]:
    """The places of the `top` predictions to look at first, the first one first.

    They are those with the highest probability of `target`, else of the `positive` class, else of the class answered;
    of a regression those with the highest output.
    """
    wanted = target or positive

    def height(prediction: Prediction) -> float:
        if prediction.output is not None:
            return prediction.output
        return prediction.probabilities[wanted] if wanted else prediction.confidence or 0.0

    order = sorted(range(len(predictions)), key=lambda i: -height(predictions[i]))
    return order[:top]


def _stems(paths: Sequence[str]) -> list[str]:
    """File-name stems for pictures: readable, safe on every system, and different for different paths."""
    stems: list[str] = []
    used: set[str] = set()
    for path in paths:
        base = re.sub(r"[^\w.-]+", "_", Path(path).stem)[:80].strip("._") or "image"
        stem, number = base, 2
        while stem.lower() in used:
            stem, number = f"{base}-{number}", number + 1
        used.add(stem.lower())
        stems.append(stem)
    return stems


def check_folder(out: Path) -> None:
    """Raise InputError when `out` holds something else than explanations: pictures are written over their namesakes."""
    if out.exists() and (not out.is_dir() or (any(out.iterdir()) and not (out / MANIFEST).is_file())):
        raise InputError(f"{out} is there already and holds no explanations of ours. Choose another --out.")
