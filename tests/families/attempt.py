"""Export families and print what came of each as a line of JSON: `python -m tests.families.attempt NAME...`."""

from __future__ import annotations

import json
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from .catalogue import FAMILIES, Family, build


def attempt(family: Family, *, every_method: bool = True) -> dict[str, Any]:
    """What becomes of a family: layer, grid, parity, size in MiB and seconds, or the error."""
    import pellucid
    from pellucid.errors import PellucidError

    found: dict[str, Any] = {"family": family.name, "model": family.model, "kind": family.kind, "size": family.size}
    with tempfile.TemporaryDirectory() as folder:
        model = build(family)
        preprocessing = pellucid.Preprocessing(height=family.size, width=family.size)
        out = Path(folder) / "bundle"
        names = [str(i) for i in range(5)]
        began = time.perf_counter()
        try:
            bundle = pellucid.from_torch(
                model, names, preprocessing, gives="logits", out=out, every_method=every_method
            )
        except PellucidError as error:
            return {**found, "seconds": round(time.perf_counter() - began, 1), "error": str(error)}
        seconds = time.perf_counter() - began
        layer, parity = bundle.manifest.layer, bundle.manifest.parity
        assert parity is not None
        return {
            **found,
            "parameters": sum(p.numel() for p in model.parameters()),
            "layer": None if layer is None else layer.name.removeprefix("model."),
            "grid": None if layer is None else [layer.height, layer.width],
            "expected_grid": list(family.grid),
            "probability": parity.probability,
            "heat_map": parity.heat_map,
            "input_gradient": parity.input_gradient,
            "missing": bundle.manifest.missing,
            "mebibytes": round(sum(f.stat().st_size for f in out.iterdir()) / 2**20, 1),
            "seconds": round(seconds, 1),
        }


if __name__ == "__main__":
    for wanted in sys.argv[1:]:
        chosen = next(f for f in FAMILIES if f.name == wanted)
        try:
            row = attempt(chosen)
        except Exception as error:  # one family that breaks must not take the others with it
            row = {"family": wanted, "model": chosen.model, "seconds": 0.0, "error": f"{type(error).__name__}: {error}"}
        sys.stdout.write(json.dumps(row) + "\n")
        sys.stdout.flush()
