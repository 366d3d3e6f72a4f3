"""Any classifier of timm and torchvision becomes a bundle with evidence, explained at the layer that decides.

`make test-slow` runs them all, a dozen in a process, so that one that takes too much memory or crashes ends no more
than its own process. `make test` runs a small model of eight families.
"""

from __future__ import annotations

import json
import subprocess
import sys
from functools import cache
from typing import Any

import numpy as np
import pytest
import torch

from pellucid.bundle.bundle import load
from pellucid.preprocessing import Preprocessing
from pellucid.workflow.from_torch import from_torch

from .attempt import attempt
from .catalogue import FAMILIES, TINY, build

LIMIT = 1e-3
ALLOWED_FAILURES = 0.02
TOGETHER = 12


@cache
def outcomes(start: int) -> dict[str, dict[str, Any]]:
    """What `tests.families.attempt` says of a dozen families, by name."""
    names = [f.name for f in FAMILIES[start : start + TOGETHER]]
    command = [sys.executable, "-W", "ignore", "-m", "tests.families.attempt", *names]
    run = subprocess.run(command, capture_output=True, text=True, timeout=3600, check=False)
    found = {row["family"]: row for row in map(json.loads, run.stdout.splitlines())}
    lost = {"error": f"its process ended with exit code {run.returncode}"}
    return {name: found.get(name, lost) for name in names}


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


@pytest.mark.parametrize("family", TINY, ids=lambda f: f.name)
def test_a_small_model_gives_evidence_at_its_last_deciding_layer(family):
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        assert complaints(attempt(family, every_method=False)) == []
    finally:
        torch.set_num_threads(threads)


@pytest.mark.parametrize("name", ["ConvNeXt", "ViT", "CaiT"])
def test_openvino_gives_the_same_evidence_of_a_small_model(name, tmp_path):
    """Layers with as many outputs as inputs lie behind the explained one of the transformers."""
    pytest.importorskip("openvino")
    family = next(f for f in TINY if f.name == name)
    model, side = build(family), family.size
    classes = [str(i) for i in range(5)]
    preprocessing = Preprocessing(height=side, width=side)
    ours = from_torch(model, classes, preprocessing, gives="logits", out=tmp_path / "bundle", every_method=False)
    theirs = load(tmp_path / "bundle", threads=1, engine="openvino")
    images = np.random.default_rng(1).normal(size=(2, 3, side, side)).astype(np.float32)
    one, two = (bundle.evidence(images, "1") for bundle in (ours, theirs))
    for part in ("logits", "activations", "gradients"):
        wanted, found = getattr(one, part), getattr(two, part)
        np.testing.assert_allclose(found, wanted, atol=1e-4 * np.abs(wanted).max(), rtol=0)


@pytest.mark.slow
def test_of_a_hundred_families_at_most_two_fail():
    found = {name: row for start in range(0, len(FAMILIES), TOGETHER) for name, row in outcomes(start).items()}
    failed = {name: said for name, row in found.items() if (said := complaints(row))}
    assert len(failed) <= ALLOWED_FAILURES * len(FAMILIES), failed


OFF_THE_SPOT = {"TinyNet"}
"""31 % of its maps lie on the spot, 22 % by chance; whether the layer or the network is the reason is not known."""


@pytest.mark.slow
@pytest.mark.parametrize("name", [f.name for f in FAMILIES])
def test_the_map_of_the_chosen_layer_lies_on_the_spot_that_decides(name):
    from .spots import share_on_spot

    found = share_on_spot(next(f for f in FAMILIES if f.name == name))
    if found.accuracy < 0.9:
        pytest.skip("the spot was not learnt in so few steps, which says nothing of the layer")
    said = f"{found.hits:.0%} of maps are strongest on their spot, {found.chance:.0%} by chance"
    if name in OFF_THE_SPOT:
        pytest.xfail(said)
    assert found.hits >= 2 * found.chance, said
