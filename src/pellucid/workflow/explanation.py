"""Explain image files into a folder: pictures, and a manifest that says what they show and how to make them again."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from .._version import __version__
from ..bundle.bundle import Bundle
from ..classifier import Prediction, Score, class_index, versus
from ..data.dataset import OmittedFile
from ..errors import ImageError, InputError
from ..explanation.catalogue import METHODS, Method, find_method, settings_of
from ..explanation.explain import Explained
from ..explanation.record import ExplanationManifest, ExplanationRecord
from ..files import write_whole
from ..images import Image, read_file, read_image
from ..progress import Progress, Silent
from ..reporting.gallery import write_gallery
from ..reporting.overlay import check_opacity, colour_table
from ..reporting.words import lack_words
from .explanation_pictures import DEFAULT_DRAWING, Drawing, DrawnImage, ExplainedImage, draw_maps
from .scales import model_limit, usual_scale
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
class Opened:
    """An image file that was read once: `whole` to draw on, and `seen` no larger than the model needs."""

    item: ToExplain
    stem: str
    whole: Image
    seen: Image
    sha256: str


@dataclass(frozen=True, slots=True)
class MapRequest:
    """Which maps are made of each image: methods, classes (empty: the class answered), score and layer."""

    methods: tuple[Method, ...]
    settings: Mapping[str, Any]
    targets: tuple[str, ...]
    score: Score | None
    layer: str | None
    left_out: dict[str, str] = field(default_factory=dict)

    @property
    def images_at_a_time(self) -> int:
        """At most as many as keep about eight maps, at the size of their originals, in memory."""
        return max(1, BATCH // (len(self.methods) * max(1, len(self.targets))))


def explain_files(
    bundle: Bundle,
    items: Sequence[ToExplain],
    out: Path,
    *,
    method: str | Sequence[str] | None = None,
    target: str | Sequence[str] | None = None,
    against: str | None = None,
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

    `method` and `target` are one name, several, or `all`; without a method it is the bundle's `usual_method`. With
    `against` each target is explained against that class: what speaks for the one and not for the other. `settings` is
    for a single method of its own type, or maps methods to theirs. `trust` checks each map (deletion and insertion,
    noise, seed), for some hundred passes per map.
    `top` and `considered` only say in the manifest how the items were chosen. Files that cannot be read are listed in
    the manifest and left out. Raises UnknownNameError for a method, class or colour map that does not exist, and
    InputError for a scale that the model does not keep, before anything is written.
    """
    methods = method or bundle.usual_method
    request = ask(bundle, methods, target, against=against, score=score, layer=layer, settings=settings)
    colour_table(drawing.named_colormap)
    check_opacity(drawing.alpha)
    scale = drawing.scale or usual_scale(bundle, [m.name for m in request.methods], score=score, layer=layer)
    drawing = replace(drawing, scale=scale)
    limits = {
        m.name: model_limit(bundle, m.name, score=score, layer=layer) if scale == "model" else None
        for m in request.methods
    }
    records: list[ExplanationRecord] = []
    sheets: dict[str, str] = {}
    skipped: list[OmittedFile] = []
    names = _stems([item.shown for item in items])
    with (progress or Silent()).bar("Explaining") as advance:
        step = request.images_at_a_time
        for start in range(0, len(items), step):
            chunk = list(_opened(bundle, items[start : start + step], names[start : start + step], skipped))
            for opened, answers in zip(chunk, _answers(bundle, chunk, request), strict=True):
                explained = ExplainedImage(opened.item.shown, opened.whole, opened.seen, answers, request.settings)
                drawn = draw_maps(bundle, explained, limits, drawing, out, opened.stem)
                records += _records(bundle, explained, drawn, opened, request, trust)
                if drawn.sheet:
                    sheets[opened.item.shown] = drawn.sheet
            advance(min(start + step, len(items)), len(items))
    manifest = ExplanationManifest(
        pellucid_version=__version__,
        model=bundle.manifest.files,
        colormap=drawing.named_colormap,
        alpha=drawing.alpha,
        scale=scale,
        signed=drawing.signed,
        command=tuple(command),
        considered=len(items) if considered is None else considered,
        top=top,
        sheets=sheets,
        left_out=request.left_out,
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
    against: str | None = None,
    score: Score | None = None,
    layer: str | None = None,
    settings: Any = None,
) -> MapRequest:
    """The request that names of methods and classes make, with `all` written out and names checked."""
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
    for name in (*targets, *([] if against is None else [against])):
        class_index(bundle.classes, name)
    if against is not None:
        others = [name for name in targets if name != against] or list(targets)
        targets = tuple(versus(name, against) for name in others or (None,))
    chosen = {m.name: settings_of(m, given.get(m.name)) for m in methods}
    return MapRequest(methods, chosen, tuple(targets), score, layer, left_out)


def _answers(bundle: Bundle, chunk: Sequence[Opened], request: MapRequest) -> list[tuple[Explained, ...]]:
    """For each image, what each method says of it."""
    if not chunk:
        return []
    if len(request.methods) == 1:
        request.methods[0].check_layer(request.layer)
    by_method = bundle.explain_by_methods(
        [opened.seen for opened in chunk],
        {method.name: request.settings[method.name] for method in request.methods},
        target=request.targets or None,
        score=request.score,
        layer=request.layer,
    )
    return list(zip(*by_method, strict=True))


def _opened(
    bundle: Bundle, items: Sequence[ToExplain], stems: Sequence[str], skipped: list[OmittedFile]
) -> Iterator[Opened]:
    """The images that can be read; the others are added to `skipped`."""
    for item, stem in zip(items, stems, strict=True):
        try:
            data = read_file(item.file)
            seen = bundle.read(data)
            whole = seen if seen.reduction == 1 else read_image(data)
        except ImageError as error:
            skipped.append(OmittedFile(item.shown, error.reason))
            continue
        yield Opened(item, stem, whole, seen, hashlib.sha256(data).hexdigest())


def _records(
    bundle: Bundle, explained: ExplainedImage, drawn: DrawnImage, opened: Opened, request: MapRequest, trust: bool
) -> list[ExplanationRecord]:
    """What was drawn of each map of one image."""
    checker = None
    if trust:
        tensor = bundle.preprocessing.tensors([opened.seen])[0]
        checker = ImageChecker(bundle, tensor, opened.seen.size, score=request.score, layer=request.layer)
    prediction = explained.prediction(bundle)
    return [
        ExplanationRecord(
            path=opened.item.shown,
            label=prediction.label,
            predicted=prediction.predicted,
            outcome="answer" if prediction.decision is None else prediction.decision.outcome,
            true_label=opened.item.true_label,
            confidence=prediction.confidence,
            output=prediction.output,
            probabilities=prediction.probabilities,
            target=a.target,
            method=a.method,
            score=a.score,
            unit=a.unit,
            layer=a.layer,
            settings=a.settings,
            smallest=float(a.values.min()),
            largest=float(a.values.max()),
            limit=d.limit,
            verdict=d.verdict,
            warnings=prediction.warnings,
            files=d.files,
            sha256=opened.sha256,
            trust=checker.check(a, request.settings[a.method]) if checker else None,
        )
        for d in drawn.maps
        for a in (d.attribution,)
    ]


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
    """Raise InputError when `out` holds anything but explanations: files of the same name would be overwritten."""
    if out.exists() and (not out.is_dir() or (any(out.iterdir()) and not (out / MANIFEST).is_file())):
        raise InputError(f"{out} exists and was not written by `pellucid explain`. Choose another `out=`.")
