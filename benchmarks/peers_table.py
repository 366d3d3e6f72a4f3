"""What peers.py measured, kept in a file as it goes, and the tables made of it."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

MEASURES = ("gap", "pointing", "evidence inside", "AP")
SAME = {"GradCAM": "grad-cam", "LayerGradCam": "grad-cam", "ReciproCAM": "grad-cam"}
SAME |= {"LayerCAM": "layercam", "RefineCAM": "refine-cam"}
"""How the names of peers' methods end, and pellucid's of the same kind."""


class Results:
    """By library and method: `off` a spot, `quality`, `seconds`, `mebibytes`; written to a file, if one is given."""

    def __init__(self, path: Path | None) -> None:
        self._path = path
        self._rows: dict[str, dict[str, Any]] = (
            json.loads(path.read_text(encoding="utf-8")) if path is not None and path.is_file() else {}
        )

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(self._rows)

    def of(self, name: str) -> dict[str, Any]:
        return self._rows.get(name, {})

    def keep(self, name: str, what: str, measure: Callable[[], Any]) -> None:
        """Measure something of a method, unless it is known."""
        row = self._rows.setdefault(name, {})
        if what in row:
            return
        row[what] = measure()
        print(f"{name}: {what}", flush=True)
        if self._path is not None:
            self._path.write_text(json.dumps(self._rows, indent=1), encoding="utf-8")


def interval(values: Any) -> Any:
    """The mean over images with its 95 % interval."""
    from pellucid.evaluation.intervals import Resampling
    from pellucid.workflow.trust.card import figure

    array = np.asarray(values, float)
    return figure(array, Resampling.of(len(array), [""] * len(array), 2000, 0))


def table(results: Results) -> str:
    """A row for each method, as Markdown."""
    lines = [
        "| library and method | off a spot, px (y, x) | gap | evidence inside (chance) | pointing | AP | s | MiB |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for name in results.names:
        row = results.of(name)
        each, (distance, y, x) = row["quality"]["each"], row["off"]
        gap, means = interval(each["gap"]), {m: float(np.mean(each[m])) for m in MEASURES if each[m]}
        inside = f"{means['evidence inside']:.2f} ({row['quality']['chance']:.2f})" if "AP" in means else ""
        cells = [f"{means[m]:.2f}" if m in means else "" for m in ("pointing", "AP")]
        lines.append(
            f"| {name} | {distance:.1f} ({y:+.1f}, {x:+.1f}) | {gap.value:.2f} [{gap.low:.2f}, {gap.high:.2f}] | "
            f"{inside} | {' | '.join(cells)} | {row['seconds']:.3f} | {row['mebibytes']:.0f} |"
        )
    return "\n".join(lines) + "\n"


def differences(results: Results, images: int) -> str:
    """Each peer less pellucid's method of the same kind, on the same images, as Markdown."""
    lines = [f"| peer, less pellucid's ({images} images) | {' | '.join(MEASURES)} |", "|---|---|---|---|---|"]
    for name in results.names:
        kind = next((ours for theirs, ours in SAME.items() if name.endswith(theirs)), None)
        if kind is None:
            continue
        theirs, ours = (results.of(n)["quality"]["each"] for n in (name, f"pellucid {kind}"))
        apart = [interval(np.subtract(theirs[m], ours[m])) for m in MEASURES if ours[m]]
        cells = [f"{a.value:+.2f} [{a.low:+.2f}, {a.high:+.2f}]" for a in apart]
        lines.append(f"| {name}, {kind} | {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"
