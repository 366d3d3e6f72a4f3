"""Export one family and print what came of it as a line of JSON: `python -m tests.families.attempt NAME`."""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path
from typing import Any

from .catalogue import FAMILIES, build


def attempt(name: str) -> dict[str, Any]:
    """What becomes of a family: layer, grid, parity, size in MiB and seconds, or the error."""
    import pellucid
    from pellucid.errors import PellucidError

    family = next(f for f in FAMILIES if f.name == name)
    model = build(family)
    preprocessing = pellucid.Preprocessing(height=family.size, width=family.size)
    began = time.perf_counter()
    found: dict[str, Any] = {"family": name, "model": family.model, "kind": family.kind, "size": family.size}
    try:
        bundle = pellucid.from_torch(model, [str(i) for i in range(5)], preprocessing, gives="logits")
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
        "mebibytes": round(sum(f.stat().st_size for f in Path(bundle.folder).iterdir()) / 2**20, 1),
        "seconds": round(seconds, 1),
    }


if __name__ == "__main__":
    sys.stdout.write(json.dumps(attempt(sys.argv[1])) + "\n")
