"""Which images belong to one patient or object: read off their names, and suggested where names give it away."""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence

from ..errors import DataError
from .dataset import Dataset

# A word and a number that stand alone between separators ("person12", "IM-0115"), or a number that starts the name.
TOKEN = re.compile(r"(?<![^\W_])([^\W\d_]+)([-_ .]?)(\d+)(?![^\W_])|^(\d+)(?=[-_ ])")
# What `data augment` calls a changed copy of x.
COPY = re.compile(r"(?P<stem>.+)_aug[1-9]\d*")


def assign_groups(paths: Sequence[str], pattern: str, notes: list[str]) -> list[str]:
    """The group of each path: the first non-empty capture group of `pattern`, "" where it does not match.

    The file name is searched first, then the whole relative path; a pattern without capture groups gives its whole
    match. Raises `DataError` for a malformed pattern, and for one that matches nothing.
    """
    try:
        compiled = re.compile(pattern)
    except re.error as error:
        raise DataError(
            f"`group_by='{pattern}'` is neither a regular expression ({error}) nor a column: write for example "
            "'patient(\\d+)'."
        ) from None
    groups = [_group(compiled, path) for path in paths]
    unmatched = sum(not g for g in groups)
    if paths and unmatched == len(paths):
        raise DataError(
            f"`group_by='{pattern}'` matches none of {len(paths):,} paths, for example {paths[0]}: "
            "check the expression, or leave it out."
        )
    if unmatched:
        example = paths[next(i for i, g in enumerate(groups) if not g)]
        notes.append(
            f"`group_by=` matches no part of {unmatched:,} of {len(paths):,} paths, for example {example}: "
            "each of these is a group of its own."
        )
    return groups


def _group(pattern: re.Pattern[str], path: str) -> str:
    match = pattern.search(path.rpartition("/")[2]) or pattern.search(path)
    if match is None:
        return ""
    return next((g for g in match.groups() if g), "") if pattern.groups else match.group()


def copies_by_name(paths: Iterable[str]) -> dict[str, str]:
    """{copy: original} of those images whose name says that they are changed copies: `x_aug1.png` beside `x.jpg`."""
    stems = {path: path.rpartition(".")[0] if "." in path.rpartition("/")[2] else path for path in paths}
    beside = {stem: path for path, stem in reversed(stems.items())}
    found = {}
    for path, stem in stems.items():
        folder, _, name = stem.rpartition("/")
        named = COPY.fullmatch(name)
        original = beside.get(f"{folder}/{named['stem']}" if folder else named["stem"]) if named else None
        if original is not None:
            found[path] = original
    # Copies may have been copied in turn.
    return {path: _root(original, found) for path, original in found.items()}


def _root(path: str, above: Mapping[str, str]) -> str:
    while path in above:
        path = above[path]
    return path


def with_families(origins: Sequence[str], groups: Sequence[str]) -> list[str]:
    """Groups of images, where those without one that share their origin (copies of one image) get it as their group."""
    sizes = Counter(origins)
    return [g or (o if sizes[o] > 1 else "") for o, g in zip(origins, groups, strict=True)]


def suggest_group_pattern(dataset: Dataset) -> str | None:
    """A pattern for `group_by` that the file names suggest, or None.

    Looked for are a word with a number ("person12", "IM-0115") or a leading number that several files of one folder
    share, in at least 4 groups none of which holds more than a tenth of all images (or 10, if that is more).
    None when the dataset has groups already.
    """
    if not dataset.samples or any(s.group for s in dataset.samples):
        return None
    tokens: dict[tuple[str, str], dict[int, str]] = defaultdict(dict)
    at_start: Counter[tuple[str, str]] = Counter()
    folders: list[str] = []
    for i, sample in enumerate(dataset.samples):
        folder, _, name = sample.path.rpartition("/")
        folders.append(folder)
        for match in TOKEN.finditer(name.rpartition(".")[0]):
            kind = (match[1], match[2]) if match[3] else ("", "")
            if i not in tokens[kind]:
                tokens[kind][i] = match[3] or match[4]
                at_start[kind] += match.start() == 0
    parts: list[str] = []
    left = set(range(len(folders)))
    while len(parts) < 3:
        gains = {t: _shared({i: n for i, n in found.items() if i in left}, folders) for t, found in tokens.items()}
        best = max(gains, key=lambda t: (gains[t], t), default=None)
        if best is None or gains[best] < 0.05 * len(folders):
            break
        found = tokens.pop(best)
        parts.append(_pattern(*best, always_first=at_start[best] == len(found)))
        left -= found.keys()
    return "|".join(parts) or None


def _shared(numbers: dict[int, str], folders: Sequence[str]) -> int:
    """How many files share their number with another file of their folder; 0 where the number is no group."""
    sizes = Counter(numbers.values())
    if len(sizes) < 4 or max(sizes.values()) > max(10, 0.1 * len(folders)):
        return 0
    # Cameras start at IMG_0001 in every class folder: only repetition within one folder speaks for a group.
    together = Counter((folders[i], n) for i, n in numbers.items())
    return sum(count for count in together.values() if count > 1)


def _pattern(word: str, separator: str, *, always_first: bool) -> str:
    if not word:
        return r"^(\d+)[-_ ]"
    return f"{'^' if always_first else ''}({re.escape(word) + separator.replace('.', '[.]')}\\d+)"
