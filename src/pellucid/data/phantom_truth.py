"""What is known of synthetic films: the planted signs that each carries."""

from __future__ import annotations

import json
from pathlib import Path

TRUTH = "phantom.json"


def planted_signs(root: Path) -> dict[str, frozenset[str]] | None:
    """The kinds of signs on each film of a phantom dataset, by its path; None for other data."""
    try:
        films = json.loads((root / TRUTH).read_text(encoding="utf-8"))["films"]
        return {film["path"]: frozenset(film["signs"]) for film in films}
    except (OSError, ValueError, KeyError, TypeError):
        return None
