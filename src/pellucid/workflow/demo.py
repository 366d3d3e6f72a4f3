"""The full pipeline once, on synthetic X-rays with known truth."""

from __future__ import annotations

from pathlib import Path

from ..data.phantom import generate_phantoms
from ..progress import Progress
from ..storage import new_folder
from .training import train

GROUP_BY = r"^(patient\d+)"


def run_demo(folder: Path, *, images: int, seed: int, progress: Progress) -> Path:
    """Write films to `folder/phantoms` and a run trained on them to `folder/run`; returns the run."""
    with new_folder(folder) as draft, progress.bar("Drawing films") as advance:
        generate_phantoms(draft / "phantoms", images=images, seed=seed, progress=advance)
    return train(
        folder / "phantoms",
        recipe="phantom",
        out=folder / "run",
        name="Phantom demo",
        seed=seed,
        group_by=GROUP_BY,
        progress=progress,
    )
