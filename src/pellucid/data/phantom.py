"""Phantoms: a folder of synthetic chest X-rays with known ground truth, to try, test and audit classifiers on.

Half of the images contain one to three faint opacities in the lungs. The pixels of each opacity, the lungs and the
patient are known. On request, a shortcut agrees with the class in a chosen share of the images.
"""

from __future__ import annotations

import json
import shutil
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, get_args

import numpy as np
import PIL.Image
import PIL.PngImagePlugin

from ..errors import InputError, ResourceError, UnknownNameError
from ..preprocessing import Uint8Array
from .dataset import SPLITS
from .phantom_anatomy import draw_patient
from .phantom_film import MASK_SHARE, BoolArray, Film, Picture, draw_film, draw_opacities, expose, render
from .phantom_signs import Sheet, ShortcutKind, changed_box, draw_signs

CLASSES = ("normal", "opacity")
VERSION = 1
NOTICE = "Synthetic picture made by a formula. It shows no patient. Not for diagnosis, and not for training for it."


@dataclass(frozen=True, slots=True)
class Shortcut:
    """A sign that has nothing to do with the lungs and agrees with the label in a share of the films.

    At a fixed place lie `corner-tag` (a small bright letter in the upper left corner) and `border` (a thin bright
    frame); over the whole film `blur` and `grid` (faint lines of one period); at random places `clip` (a small bright
    object in the lungs), `tube` (a line from edge to edge), `stamp` (two letters), `tint` (local contrast raised in a
    band) and `patch` (a square of other noise). `agreement` lies in 0.5..1: at 1 the sign is on every film with an
    opacity and on no other; at 0.5 it is on half the films, whatever they show, and tells nothing.
    """

    kind: ShortcutKind
    agreement: float

    def __post_init__(self) -> None:
        if self.kind not in get_args(ShortcutKind):
            raise UnknownNameError("shortcut", self.kind, get_args(ShortcutKind), _known_shortcuts())
        if not 0.5 <= self.agreement <= 1:
            raise InputError(
                f"The agreement of the shortcut {self.kind} must lie between 0.5 (tells nothing) and 1 (tells all); "
                f"it is {self.agreement:g}."
            )

    @staticmethod
    def parse(text: str) -> Shortcut:
        """Read `kind=agreement`, as in `corner-tag=0.95`. Raises InputError, for an unknown kind UnknownNameError."""
        kind, _, share = (part.strip() for part in text.partition("="))
        known = {name: name for name in get_args(ShortcutKind)}
        if kind not in known:
            raise UnknownNameError("shortcut", kind, known, _known_shortcuts())
        try:
            agreement = float(share)
        except ValueError:
            raise InputError(
                f"A shortcut is written as kind=agreement, such as {kind}=0.95; {text!r} has no number after '='."
            ) from None
        return Shortcut(known[kind], agreement)


def _known_shortcuts() -> str:
    return f"Known are {', '.join(get_args(ShortcutKind))}; write for example corner-tag=0.95."


@dataclass(frozen=True, slots=True)
class PhantomSummary:
    """What was written: the folder, {split: {class: images}}, {split: patients}, opacities in all."""

    out: Path
    counts: dict[str, dict[str, int]]
    patients: dict[str, int]
    opacities: int

    @property
    def images(self) -> int:
        """Number of films, masks not counted."""
        return sum(sum(of.values()) for of in self.counts.values())


@dataclass(frozen=True, slots=True)
class _Entry:
    """One film of the plan: where it goes and which shortcuts it carries."""

    split: str
    patient: int
    number: int
    film: Film
    signs: tuple[ShortcutKind, ...] = ()

    @property
    def label(self) -> str:
        return CLASSES[bool(self.film.opacities)]

    @property
    def place(self) -> str:
        """The path below the root, and below `masks/` and `masks/lungs/`."""
        return f"{self.split}/{self.label}/patient{self.patient:04d}_{self.number:02d}.png"


def generate_phantoms(
    out: Path,
    *,
    images: int = 600,
    size: int = 224,
    seed: int = 0,
    shortcuts: Sequence[Shortcut] = (),
    progress: Callable[[int, int], None] | None = None,
) -> PhantomSummary:
    """Write a dataset of synthetic chest X-rays, two to four per patient, half with opacities.

    `out/{train,val,test}/{normal,opacity}/patient0001_01.png` are 8-bit grey films of `size` x `size` pixels (about
    60 % train, 15 % val, 25 % test; no patient in two splits). `out/masks/...` and `out/masks/lungs/...` hold, under
    the same path, white where the opacities and the lung fields lie (`masks` only for films with opacities);
    `out/phantom.json` tells the truth of every film and `out/README.md` says what this is. The same arguments give the
    same bytes, and a shortcut changes nothing but the films that carry it. `progress` is called with (films written,
    films in all). All is written beside `out` and then renamed.

    Raises InputError for fewer than 20 images, a size outside 32..2048, a negative seed, a kind of shortcut given
    twice, or an `out` that is not empty; ResourceError when the disk gives out.
    """
    out = Path(out)
    _check(out, images, size, seed, shortcuts)
    target = out.resolve()
    plan = _plan(images, size, seed, shortcuts)
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        work = Path(tempfile.mkdtemp(prefix=f".{target.name}-", suffix=".part", dir=target.parent))
    except OSError as error:
        raise InputError(f"The folder {out} cannot be made ({error.strerror or error}); choose another.") from error
    try:
        truth = []
        for done, entry in enumerate(plan, start=1):
            truth.append(_truth(entry, _write(work, entry)))
            if progress is not None:
                progress(done, images)
        settings = {"images": images, "size": size, "seed": seed, "shortcuts": [asdict(s) for s in shortcuts]}
        _describe(work, settings, truth)
        work.chmod(0o755)
        if target.is_dir():
            target.rmdir()
        work.rename(target)
    except OSError as error:
        raise ResourceError(
            f"Writing to {target.parent} failed: {error.strerror or error}. Is the disk full?"
        ) from error
    finally:
        shutil.rmtree(work, ignore_errors=True)
    return _summary(out, plan)


def _check(out: Path, images: int, size: int, seed: int, shortcuts: Sequence[Shortcut]) -> None:
    if images < 20:
        raise InputError(f"At least 20 images are needed for three splits with both classes; {images} were asked for.")
    if not 32 <= size <= 2048:
        raise InputError(f"The size must lie between 32 and 2048 pixels; it is {size}.")
    if seed < 0:
        raise InputError(f"The seed must be 0 or more; it is {seed}.")
    kinds = [shortcut.kind for shortcut in shortcuts]
    for kind in kinds:
        if kinds.count(kind) > 1:
            raise InputError(f"The shortcut {kind} is given twice; give each kind once.")
    if out.is_symlink() or (out.exists() and not out.is_dir()):
        raise InputError(f"{out} exists and is not a folder; choose another name.")
    if out.is_dir() and any(out.iterdir()):
        raise InputError(f"The folder {out} is not empty; choose a new one, or remove it first.")


def _plan(images: int, size: int, seed: int, shortcuts: Sequence[Shortcut]) -> list[_Entry]:
    """Every film of the dataset: patients to splits, then labels to films, then signs to labels."""
    val, test = 2 * round(images * 0.15 / 2), 2 * round(images * 0.25 / 2)
    plan: list[_Entry] = []
    patient = 0
    for part, (split, count) in enumerate(zip(SPLITS, (images - val - test, val, test), strict=True)):
        rng = np.random.default_rng((seed, 0, part))
        healthy: list[_Entry] = []
        for films in _films_per_patient(rng, count):
            patient += 1
            anatomy = draw_patient(np.random.default_rng((seed, 1, patient)))
            for number in range(1, films + 1):
                film = draw_film(np.random.default_rng((seed, 2, patient, number)), anatomy, size)
                healthy.append(_Entry(split, patient, number, film))
        positive = _labels(rng, [entry.film for entry in healthy])
        signs = {s.kind: _signs(_own_stream(s, seed, part), positive, s.agreement) for s in shortcuts}
        for at, entry in enumerate(healthy):
            film = entry.film
            if positive[at]:
                own = np.random.default_rng((seed, 3, entry.patient, entry.number))
                film = replace(film, opacities=draw_opacities(own, film))
            shown = tuple(kind for kind, on in signs.items() if on[at])
            plan.append(replace(entry, film=film, signs=shown))
    return plan


def _labels(rng: np.random.Generator, films: Sequence[Film]) -> BoolArray:
    """Which films get opacities: one of each two that are about equally bright, so that exposure tells nothing."""
    brightness = [float(render(replace(film, size=32), noise=False).mean()) for film in films]
    order = np.argsort(brightness, kind="stable")
    positive = np.zeros(len(films), np.bool_)
    for first in range(0, len(films) - 1, 2):
        positive[order[first + rng.integers(2)]] = True
    return positive


def _films_per_patient(rng: np.random.Generator, count: int) -> Iterator[int]:
    """Two to four at a time until `count` is reached."""
    while count > 4:
        films = int(rng.integers(2, 5))
        films -= count - films == 1
        yield films
        count -= films
    yield count


def _signs(rng: np.random.Generator, positive: BoolArray, agreement: float) -> BoolArray:
    """Which films carry a sign: it equals the label in exactly round(agreement * films), evenly over the classes."""
    wrong = len(positive) - round(agreement * len(positive))
    order = rng.permutation(len(positive))
    # Taking turns between the classes: the k-th of each class comes before the k + 1st of either.
    rank = np.empty(len(positive))
    for label in (False, True):
        members = order[positive[order] == label]
        rank[members] = np.arange(len(members)) + rng.random() / 2
    signs: BoolArray = positive.copy()
    flipped = np.argsort(rank, kind="stable")[:wrong]
    signs[flipped] = ~signs[flipped]
    return signs


def _own_stream(shortcut: Shortcut, seed: int, part: int) -> np.random.Generator:
    """So that the films of a seed are the same with and without any shortcut."""
    return np.random.default_rng((seed, 4, part, get_args(ShortcutKind).index(shortcut.kind)))


def _write(root: Path, entry: _Entry) -> dict[str, tuple[int, int, int, int] | None]:
    """Write a film and its masks; where its signs lie."""
    picture = expose(entry.film)
    _save(root / entry.place, _with_signs(entry, picture, entry.signs))
    _save(root / "masks" / "lungs" / entry.place, picture.lungs * np.uint8(255))
    if entry.film.opacities:
        _save(root / "masks" / entry.place, picture.mask * np.uint8(255))
    return _sign_boxes(entry, picture)


def _with_signs(entry: _Entry, picture: Picture, kinds: tuple[ShortcutKind, ...]) -> Uint8Array:
    return draw_signs(Sheet(picture.pixels, picture.lungs, entry.film.noise_seed), kinds)


def _save(path: Path, pixels: Uint8Array) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    words = PIL.PngImagePlugin.PngInfo()
    words.add_text("Comment", NOTICE)
    PIL.Image.fromarray(pixels).save(path, format="PNG", pnginfo=words, compress_level=4)


def _sign_boxes(entry: _Entry, picture: Picture) -> dict[str, tuple[int, int, int, int] | None]:
    """Where each sign alone changes the film: (left, top, right, bottom) in pixels."""
    return {kind: changed_box(picture.pixels, _with_signs(entry, picture, (kind,))) for kind in entry.signs}


def _truth(entry: _Entry, boxes: Mapping[str, tuple[int, int, int, int] | None]) -> dict[str, Any]:
    """What phantom.json says of one film: lengths in pixels, contrast in attenuation."""
    return {
        "path": entry.place,
        "split": entry.split,
        "label": entry.label,
        "patient": f"patient{entry.patient:04d}",
        "mask": f"masks/{entry.place}" if entry.film.opacities else None,
        "lungs": f"masks/lungs/{entry.place}",
        "opacities": [
            {
                "x": round(o.x * entry.film.size, 2),
                "y": round(o.y * entry.film.size, 2),
                "radius": round(o.radius * entry.film.size, 2),
                "contrast": round(o.contrast, 4),
            }
            for o in entry.film.opacities
        ],
        "shortcuts": list(entry.signs),
        "signs": dict(boxes),
    }


def _describe(root: Path, settings: dict[str, Any], films: list[dict[str, Any]]) -> None:
    about = {
        "what": "pellucid phantom",
        "version": VERSION,
        "notice": NOTICE,
        "settings": settings,
        "mask_rule": f"pixels that an opacity alone brightens by at least {MASK_SHARE:g} of its largest brightening",
        "films": films,
    }
    (root / "phantom.json").write_text(json.dumps(about, indent=1) + "\n", encoding="utf-8")
    words = ["pellucid data phantom OUT"]
    for option, name in (("--images", "images"), ("--size", "size"), ("--seed", "seed")):
        words += [option, str(settings[name])]
    signs = ""
    for shortcut in settings["shortcuts"]:
        words += ["--shortcut", f"{shortcut['kind']}={shortcut['agreement']:g}"]
        signs += f"- Planted shortcut: `{shortcut['kind']}` agrees with the label in {shortcut['agreement']:.1%}.\n"
    (root / "README.md").write_text(
        README.format(notice=NOTICE, command=" ".join(words), signs=signs, share=MASK_SHARE), encoding="utf-8"
    )


README = """# Synthetic chest films

**{notice}**

Every picture in this folder, masks included, was computed by pellucid's phantom generator:

    {command}

- `train/`, `val/`, `test/`, each with `normal/` and `opacity/`: the films. The file name carries the patient.
- `masks/`: white where an opacity brightens the film by at least {share:.0%} of its largest brightening; same path.
- `masks/lungs/`: white on the lung fields; same path.
- `phantom.json`: settings, and of every film its opacities (in pixels), patient and shortcuts.
{signs}"""


def _summary(out: Path, plan: Sequence[_Entry]) -> PhantomSummary:
    counts: dict[str, dict[str, int]] = {
        split: {label: sum((e.split, e.label) == (split, label) for e in plan) for label in CLASSES} for split in SPLITS
    }
    patients: dict[str, int] = {split: len({e.patient for e in plan if e.split == split}) for split in SPLITS}
    return PhantomSummary(out, counts, patients, sum(len(e.film.opacities) for e in plan))
