"""How long an explained prediction takes in several runtimes, which take turns."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Mapping, Sequence

import numpy as np

from ...bundle.bundle import Bundle
from ...bundle.certificate import Speed
from ...explanation.cam import grad_cam
from ...preprocessing import FloatArray
from ...progress import Advance

BATCH, WARM = 16, 2
LEAST_TURNS, MOST_TURNS = 3, 40


def speeds(
    bundles: Sequence[tuple[Bundle, Bundle]], *, seconds: float = 2.0, advance: Advance | None = None
) -> list[Speed]:
    """The speed of each pair of bundles, the first of which runs on one thread and the second on all cores.

    `seconds` is about the time for each of the three measurements of a bundle. Medians of turns that alternate between
    the bundles, so that other load on the machine slows all alike.
    """
    shape = bundles[0][0].preprocessing
    noise = np.random.default_rng(0).standard_normal((BATCH, 3, shape.height, shape.width)).astype(np.float32)
    one = noise[:1]
    ways = [
        [(first, one) for first, _ in bundles],
        [(every, one) for _, every in bundles],
        [(every, noise) for _, every in bundles],
    ]
    found = []
    for number, way in enumerate(ways):
        runs = {i: _explained(bundle, batch) for i, (bundle, batch) in enumerate(way)}
        medians = in_turns(runs, seconds)
        found.append([medians[i] / len(batch) for i, (_, batch) in enumerate(way)])
        if advance is not None:
            advance(number + 1, len(ways))
    return [Speed(one_thread=a, all_cores=b, batch=c) for a, b, c in zip(*found, strict=True)]


def in_turns(runs: Mapping[int, Callable[[], object]], seconds: float) -> dict[int, float]:
    """The median seconds of each run, in turns; each run has about `seconds` of time in all."""
    longest = 0.0
    for run in runs.values():
        for _ in range(WARM):
            began = time.perf_counter()
            run()
        longest = max(longest, time.perf_counter() - began)
    turns = int(min(MOST_TURNS, max(LEAST_TURNS, seconds / max(longest, 1e-6))))
    times: dict[int, list[float]] = {key: [] for key in runs}
    for _ in range(turns):
        for key, run in runs.items():
            run()  # what another runtime left in the caches does not count
            began = time.perf_counter()
            run()
            times[key].append(time.perf_counter() - began)
    return {key: statistics.median(values) for key, values in times.items()}


def _explained(bundle: Bundle, batch: FloatArray) -> Callable[[], object]:
    def run() -> object:
        if bundle.manifest.layer is None:
            return bundle.logits(batch)
        evidence = bundle.evidence(batch)
        return grad_cam(evidence.activations, evidence.gradients)

    return run
