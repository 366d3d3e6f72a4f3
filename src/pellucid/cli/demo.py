"""`pellucid demo`: the full pipeline on synthetic X-rays."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from .console import TerminalProgress, out


def demo(
    folder: Annotated[Path, typer.Option("--out", help="Output folder, new or empty.")] = Path("demo"),
    images: Annotated[int, typer.Option(min=60, help="Number of synthetic X-rays.")] = 600,
    seed: Annotated[int, typer.Option(help="Random seed.")] = 0,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Hide progress.")] = False,
) -> None:
    """Run the full pipeline on synthetic X-rays: generate, train, evaluate, explain, score the heat maps, report."""
    from ..bundle.run import RunFolder
    from ..stopping import Interrupted
    from ..workflow.demo import run_demo
    from .train import show_run

    try:
        run = run_demo(folder, images=images, seed=seed, progress=TerminalProgress(quiet=quiet))
    except Interrupted as stop:
        if folder.exists():
            stop.kept = f"The films are kept in {folder}: remove it before you run the same command again."
        raise
    show_run(run)
    found = RunFolder(run).read_record().localisation
    if found is not None:
        times = found.energy_inside / found.energy_chance
        pointing, inside = (
            _against(found.pointing, found.pointing_chance),
            _against(found.energy_inside, found.energy_chance),
        )
        out.print(f"\nHeat maps ({found.method}) against the true masks of {found.images} test images:")
        out.print(f"  strongest point on an opacity   {pointing}")
        out.print(f"  evidence inside the opacities   {inside}, {times:.1f} times chance")
    data = folder / "phantoms"
    out.print(f"Images  {data} (synthetic; masks of the opacities in {data / 'masks'})")
    out.print("\nTry next:")
    out.print(f"  open {run / 'report.html'}")
    out.print(f"  pellucid predict {run} {data / 'test'}")
    out.print(f"  pellucid explain {run} {data / 'test' / 'opacity'} --out {folder / 'maps'}")
    out.print("  pellucid train YOUR_FOLDER")


def _against(share: float, chance: float) -> str:
    return f"{100 * share:.0f} % (chance {100 * chance:.1f} %)"
