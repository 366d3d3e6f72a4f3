"""Every error that pellucid raises on purpose.

    PellucidError                     exit code 2: what was asked cannot be done as it was given
    |-- InputError                    what the user gave cannot be used
    |   |-- ImageError                one image (carries a stable `code`)
    |   |-- DataError                 a dataset as a whole
    |   |-- RecipeError               a recipe: key, value or file
    |   |-- UnknownNameError          a name that is in no catalogue (offers the nearest)
    |   |-- WeightsError              weights that are missing or do not fit
    |   `-- BundleError               a run or bundle folder: missing, changed, too new
    |-- MissingDependencyError        an optional library is not installed (also an ImportError)
    |-- ResourceError                 memory, disk or network gave out
    `-- ParityError                   an exported model does not agree with the one it came from

A message says what happened, the rule, the value got, and what to do, in one or two sentences.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class PellucidError(Exception):
    """Base of all errors raised on purpose; the command line prints its text and exits with 2."""


class InputError(PellucidError):
    """What the user gave cannot be used."""


class ImageError(InputError):
    """One image cannot be used.

    `code` is stable and one of `missing`, `unreadable`, `empty`, `not-an-image`, `unsupported-format`,
    `damaged`, `too-large`, `too-small`, `no-pixels`.
    """

    def __init__(self, code: str, reason: str) -> None:
        super().__init__(reason)
        self.code = code
        self.reason = reason


class DataError(InputError):
    """A dataset as a whole cannot be used."""


class RecipeError(InputError):
    """A recipe has an unknown key, a value out of range or cannot be read."""


class UnknownNameError(InputError):
    """A name that is in no catalogue; the message offers the nearest known ones."""

    def __init__(self, kind: str, name: str, known: Iterable[str], remedy: str = "") -> None:
        near = nearest(name, known)
        hint = f" Did you mean {' or '.join(near)}?" if near else ""
        super().__init__(f"There is no {kind} named {name!r}.{hint}{' ' + remedy if remedy else ''}")
        self.kind, self.name, self.near = kind, name, near


class WeightsError(InputError):
    """Weights are missing or do not fit the model."""


class BundleError(InputError):
    """A run or bundle folder is missing, incomplete, changed or newer than this program."""


class MissingDependencyError(PellucidError, ImportError):
    """An optional library is needed and not installed."""


class ResourceError(PellucidError):
    """Memory, disk or network gave out; the message names the setting to change, and what is `kept` of the work."""

    def __init__(self, message: str, *, kept: str = "") -> None:
        super().__init__(f"{message} {kept}" if kept else message)
        self.kept = kept


class ParityError(PellucidError):
    """An exported model does not agree with the model it came from."""


def nearest(name: str, known: Iterable[str], count: int = 3) -> list[str]:
    """The known names closest to `name`, best first; empty when nothing is close."""
    names = {k.lower(): k for k in known}
    found = difflib.get_close_matches(name.lower(), list(names), n=count, cutoff=0.6)
    return [names[f] for f in found]
