"""Changed copies of training images, made once and kept as files: more of all, or more of the rarer classes.

Validation and test images are copied as they are: figures on changed images would be figures on other images.
"""

from __future__ import annotations

import io
import json
import os
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path, PurePath, PurePosixPath

import PIL.Image

from ..errors import ImageError, InputError
from ..images import Image, read_file, read_image
from ..images.formats import IMAGE_SUFFIXES
from ..preprocessing import Uint8Array
from ..recipe_sections import AugmentSection
from .change import CHANGES, change_boxes, change_mask, change_pixels, digest, draw_change
from .dataset import SPLITS, Box, Dataset, OmittedFile, Sample
from .groups import COPY
from .labelling import counted
from .layout import CONTAINERS
from .origins import FILE, Origin, read_origins, write_origins
from .tree import BESIDE_CLASSES, MASK_FOLDER, is_beside
from .walk import has_image_suffix, walk

MOST_COPIES = 1000
MANY_COPIES = 20
LONGEST_STEM = 200

Progress = Callable[[int, int], None]
Boxes = tuple[Box, ...]


@dataclass(frozen=True, slots=True)
class Augmented:
    """What was written: images as {split: {class: number}}, copies among them as {class: number}, and what was not.

    `skipped` are files of the dataset that could not be used, with the reason; `notes` are sentences for people.
    """

    counts: dict[str, dict[str, int]]
    copies: dict[str, int]
    skipped: tuple[OmittedFile, ...]
    notes: tuple[str, ...]


def augment_dataset(
    dataset: Dataset,
    out: Path,
    section: AugmentSection,
    *,
    copies: int,
    balance: bool = False,
    seed: int = 0,
    workers: int | None = None,
    progress: Progress | None = None,
) -> Augmented:
    """Write `out/{train,val,test}/<class>/`: every image as it is, and beside those of train their changed copies.

    Every sample of `dataset` has its split. `x.jpg` gets `x_aug1.png`, `x_aug2.png` ...; masks go to `out/masks/...`
    under the same names, and so do pictures in other folders that run parallel to the images (`lungs`, say); boxes go
    to `out/boxes.json`, and `out/origins.csv` says what each file comes from and how it was changed.

    With `balance` the largest class gets `copies` of each image and every other as many as make it equal. The outcome
    depends on the seed and the paths, not on the order of files nor on `workers` (threads; by default one a core).
    `progress` is called with (images done, images in all).

    An image that cannot be read is left out, copies and all, and told in `skipped`; so is a mask. Raises InputError
    when there is nothing to do, copies are there already, or a class cannot be a folder; OSError when the disk gives
    out.
    """
    _check(dataset, section, copies, balance)
    allotted = copies_of_each(dataset, copies, balance=balance, seed=seed)
    jobs = [
        _Job(dataset, s, out, section, stem, number, seed, layers)
        for s, stem, number, layers in zip(dataset.samples, _stems(dataset), allotted, _layers(dataset), strict=True)
    ]
    for above in {".", *(folder for job in jobs for folder, _ in job.layers)}:
        for split in {s.split for s in dataset.samples}:
            for name in dataset.classes:
                (out / above / split / name).mkdir(parents=True, exist_ok=True)
    written: list[_Written] = []
    for one in _in_threads(jobs, workers):
        written.append(one)
        if progress is not None:
            progress(len(written), len(jobs))
    write_origins(out, [o for one in written for o in one.origins], CHANGES)
    boxes = {path: b for one in written for path, b in one.boxes}
    if boxes:
        (out / "boxes.json").write_text(json.dumps(dict(sorted(boxes.items())), indent=0), encoding="utf-8")
    return _summary(dataset, jobs, written)


def copies_of_each(dataset: Dataset, copies: int, *, balance: bool, seed: int) -> list[int]:
    """How many copies each sample gets: none outside train; with `balance` enough to make all classes equal.

    A class's copies are spread evenly; which of its images get one more is decided by the seed and their paths.
    """
    train = [i for i, s in enumerate(dataset.samples) if s.split == "train"]
    result = [0] * len(dataset)
    sizes = Counter(dataset.samples[i].label for i in train)
    for label, size in sizes.items():
        wanted = (copies + 1) * (max(sizes.values()) if balance else size) - size
        mine = [i for i in train if dataset.samples[i].label == label]
        mine.sort(key=lambda i: digest(f"{seed}:{dataset.samples[i].path}"))
        for rank, i in enumerate(mine):
            result[i] = wanted // size + (rank < wanted % size)
    return result


@dataclass(frozen=True, slots=True)
class _Written:
    """What became of one sample: the files written, first the original, and those that could not be used."""

    origins: tuple[Origin, ...] = ()
    boxes: tuple[tuple[str, Boxes], ...] = ()
    skipped: tuple[OmittedFile, ...] = ()


@dataclass(frozen=True, slots=True)
class _Job:
    """One sample, to be written as `out/<split>/<class>/<stem>.*` with `copies` changed copies.

    `layers` are its masks: the folder of `out` that each belongs in, and its path in the dataset.
    """

    dataset: Dataset
    sample: Sample
    out: Path
    section: AugmentSection
    stem: str
    copies: int
    seed: int
    layers: tuple[tuple[str, str], ...]

    @property
    def name(self) -> str:
        return self.dataset.classes[self.sample.label]

    def place(self, stem: str, suffix: str) -> str:
        return f"{self.sample.split}/{self.name}/{stem}{suffix}"

    def run(self) -> _Written:
        sample = self.sample
        suffix = PurePosixPath(sample.path).suffix
        if suffix.lower() not in IMAGE_SUFFIXES:
            return _Written(skipped=(OmittedFile(sample.path, "is not an image by its name: rename it"),))
        try:
            data = read_file(self.dataset.file(sample))
            image = read_image(data) if self.copies else None
        except ImageError as error:
            return _Written(skipped=(OmittedFile(sample.path, error.reason),))
        kept = self.place(self.stem, suffix)
        (self.out / kept).write_bytes(data)
        masks, skipped = self._masks(image)
        written = [(Origin(kept, "", sample.path, sample.group), sample.boxes)]
        if image is not None:
            written += self._changed(kept, image, masks)
        boxes = tuple((origin.path, b) for origin, b in written if b)
        return _Written(tuple(origin for origin, _ in written), boxes, skipped)

    def _changed(self, original: str, image: Image, masks: dict[str, Uint8Array]) -> Iterator[tuple[Origin, Boxes]]:
        sample, pixels = self.sample, _one_channel(image.pixels)
        for number in range(1, self.copies + 1):
            change = draw_change(self.section, self.seed, sample.path, number)
            path = self.place(f"{self.stem}_aug{number}", ".png")
            _write_png(self.out / path, change_pixels(pixels, change))
            for folder, mask in masks.items():
                _write_png(self.out / folder / path, change_mask(mask, change))
            boxes = change_boxes(sample.boxes, change, image.size)
            yield Origin(path, original, sample.path, sample.group, change.record()), boxes

    def _masks(self, image: Image | None) -> tuple[dict[str, Uint8Array], tuple[OmittedFile, ...]]:
        """Copy the masks; their pixels by folder, if they are to be changed with those of `image`."""
        masks: dict[str, Uint8Array] = {}
        skipped = []
        for folder, path in self.layers:
            try:
                data = read_file(self.dataset.root / path)
                mask = read_image(data) if image else None
            except ImageError as error:
                skipped.append(OmittedFile(path, f"{error.reason} Its image is kept without it."))
                continue
            if mask and image and mask.size != image.size:
                skipped.append(OmittedFile(path, "mask that differs in size from its image, which is kept without it"))
                continue
            (self.out / folder / self.place(self.stem, PurePosixPath(path).suffix)).write_bytes(data)
            if mask:
                masks[folder] = _one_channel(mask.pixels)
        return masks, tuple(skipped)


def _in_threads(jobs: Sequence[_Job], workers: int | None) -> Iterator[_Written]:
    """What becomes of each job, in order. Decoding, resampling and compressing release the interpreter's lock."""
    pool = ThreadPoolExecutor(workers or min(16, os.cpu_count() or 1), "augment")
    try:
        yield from pool.map(_Job.run, jobs)
    finally:
        pool.shutdown(cancel_futures=True)


def _one_channel(pixels: Uint8Array) -> Uint8Array:
    """(H, W) where the three channels of (H, W, 3) are the same: a third of the work and of the file."""
    first = pixels[..., 0]
    return first if (pixels == first[..., None]).all() else pixels


def _write_png(path: Path, pixels: Uint8Array) -> None:
    file = io.BytesIO()
    PIL.Image.fromarray(pixels).save(file, "PNG", compress_level=3)
    path.write_bytes(file.getbuffer())


def _stems(dataset: Dataset) -> list[str]:
    """A file name without suffix for each sample, its own where it is free in its split and class.

    Classes that were merged, and folders within a class, may hold two files of one name.
    """
    taken: set[tuple[str, int, str]] = set()
    stems: dict[str, str] = {}
    for s in sorted(dataset.samples, key=lambda s: s.path):
        own = PurePosixPath(s.path).stem.encode()[:LONGEST_STEM].decode(errors="ignore")
        stem, number = own, 1
        # The name of a copy is kept free, and some disks do not tell capitals from small letters.
        while (s.split, s.label, stem.casefold()) in taken or COPY.fullmatch(stem):
            number += 1
            stem = f"{own}-{number}"
        taken.add((s.split, s.label, stem.casefold()))
        stems[s.path] = stem
    return [stems[s.path] for s in dataset.samples]


def _layers(dataset: Dataset) -> list[tuple[tuple[str, str], ...]]:
    """The mask of each sample, and its twins in other folders at the root that hold pictures beside the classes."""
    found: list[tuple[str, dict[tuple[str, ...], str]]] = []
    # Beside the classes, or one level down among the masks.
    for folder in sorted((*dataset.root.glob("*"), *dataset.root.glob(f"{MASK_FOLDER}/*"))):
        name = folder.name.casefold().replace("_", " ")
        if folder.is_dir() and is_beside(name) and name != MASK_FOLDER:
            files = (met.path for met in walk(folder) if met.what == "file" and has_image_suffix(met.path))
            pictures = sorted((folder / path for path in files), reverse=True)
            paths = {_twin_key(p.relative_to(folder)): p.relative_to(dataset.root).as_posix() for p in pictures}
            found.append((folder.relative_to(dataset.root).as_posix(), paths))
    return [
        (
            *([(MASK_FOLDER, s.mask)] if s.mask is not None else []),
            *((name, paths[key]) for name, paths in found if (key := _twin_key(PurePosixPath(s.path))) in paths),
        )
        for s in dataset.samples
    ]


def _twin_key(path: PurePath) -> tuple[str, ...]:
    """What an image and its twin in a parallel folder have in common."""
    return (*(f for f in path.parts[:-1] if f.casefold() not in CONTAINERS), path.stem)


def _check(dataset: Dataset, section: AugmentSection, copies: int, balance: bool) -> None:
    if not section.active:
        raise InputError(
            "The recipe changes nothing: every range in its section `augment` is 0. Set some, for example "
            "`augment.rotation` to 10 and `augment.flip` to true."
        )
    least = 0 if balance else 1
    if not least <= copies <= MOST_COPIES:
        raise InputError(f"`copies=` must lie between {least} and {MOST_COPIES}; it is {copies}.")
    if read_origins(dataset.root):
        raise InputError(
            f"{dataset.root} holds augmented copies already ({FILE}): augment the folder of originals instead, with a "
            "larger `copies=` if you want more."
        )
    if any(not s.split for s in dataset.samples):
        raise InputError("The images have no splits yet; split them first, so that no copy leaves its original's side.")
    for name in dataset.classes:
        hidden = name.startswith(".") or name.casefold() in BESIDE_CLASSES | CONTAINERS
        if hidden or any(c in name for c in "/\\\0"):
            raise InputError(f"The class {name!r} cannot be the name of a folder of images: rename or merge it.")


def _summary(dataset: Dataset, jobs: Sequence[_Job], written: Sequence[_Written]) -> Augmented:
    splits = [s for s in SPLITS if any(job.sample.split == s for job in jobs)]
    counts: dict[str, dict[str, int]] = {split: dict.fromkeys(dataset.classes, 0) for split in splits}
    copies = dict.fromkeys(dataset.classes, 0)
    most: Counter[str] = Counter()
    for job, one in zip(jobs, written, strict=True):
        if one.origins:
            counts[job.sample.split][job.name] += len(one.origins)
            copies[job.name] += len(one.origins) - 1
            most[job.name] = max(most[job.name], len(one.origins) - 1)
    notes = []
    for name, number in most.items():
        if number > MANY_COPIES:
            originals = counted(counts["train"][name] - copies[name], "training image")
            notes.append(
                f"Class {name} has only {originals}, and up to {number:,} copies of each were made: a model may learn "
                "these few by heart. More originals help more than more copies."
            )
    return Augmented(counts, copies, tuple(s for one in written for s in one.skipped), tuple(notes))
