"""Any classifier of timm and torchvision becomes a bundle with evidence, explained at the layer that decides.

`make test-slow` runs them; a quick sample of eight comes first. Each family has a process of its own, so that one that
takes too much memory or crashes fails alone.
"""

from __future__ import annotations

import json
import subprocess
import sys
from functools import cache
from typing import Any

import pytest

from .catalogue import FAMILIES

LIMIT = 1e-3
QUICK = ("ECA-ResNet", "ConvNeXt", "ViT", "CaiT", "CrossViT", "Swin", "NFNet", "gMLP")
ALLOWED_FAILURES = 0.02


@cache
def outcome(name: str) -> dict[str, Any]:
    """What `catalogue.attempt` says of a family, from a process of its own."""
    command = [sys.executable, "-W", "ignore", "-m", "tests.families.attempt", name]
    run = subprocess.run(command, capture_output=True, text=True, timeout=900, check=False)
    lines = run.stdout.strip().splitlines()
    if run.returncode != 0 or not lines:
        return {
            "family": name,
            "error": run.stderr.strip().splitlines()[-1] if run.stderr else f"exit {run.returncode}",
        }
    found: dict[str, Any] = json.loads(lines[-1])
    return found


def complaints(found: dict[str, Any]) -> list[str]:
    """What is wrong with the bundle of a family."""
    if "error" in found:
        return [found["error"]]
    said = []
    if found["layer"] is None:
        return ["it is a black box"]
    if not found["probability"] <= LIMIT or not found["heat_map"] <= LIMIT:
        said.append(f"it differs by {found['probability']} and {found['heat_map']}")
    if found["input_gradient"] is not None and not found["input_gradient"] <= LIMIT:
        said.append(f"its gradients differ by {found['input_gradient']}")
    if found["grid"] != found["expected_grid"]:
        said.append(f"its grid is {found['grid']}, not that of the last block {found['expected_grid']}")
    return said


def test_there_are_a_hundred_families_of_all_kinds():
    assert len(FAMILIES) >= 100
    assert len({f.name for f in FAMILIES}) == len(FAMILIES)
    assert {f.kind for f in FAMILIES} == {"convolutional", "hybrid", "transformer", "mlp"}
    assert {f.library for f in FAMILIES} == {"timm", "torchvision"}
    assert set(QUICK) <= {f.name for f in FAMILIES}


@pytest.mark.slow
@pytest.mark.parametrize("name", QUICK)
def test_a_family_gives_evidence_at_its_last_deciding_layer(name):
    assert complaints(outcome(name)) == []


@pytest.mark.slow
def test_of_a_hundred_families_at_most_two_fail():
    failed = {f.name: said for f in FAMILIES if (said := complaints(outcome(f.name)))}
    assert len(failed) <= ALLOWED_FAILURES * len(FAMILIES), failed


@pytest.mark.slow
@pytest.mark.parametrize("name", [f.name for f in FAMILIES])
def test_the_map_of_the_chosen_layer_lies_on_the_spot_that_decides(name):
    from .spots import share_on_spot

    found = share_on_spot(next(f for f in FAMILIES if f.name == name))
    assert found.accuracy >= 0.9, "the spot was not learnt"
    assert found.hits >= 0.75, f"{found.hits:.0%} of maps are strongest on their spot"
