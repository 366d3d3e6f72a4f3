"""The short trust check of one map of one image: `pellucid explain --trust`."""

from __future__ import annotations

from typing import Any

import numpy as np

from ...bundle.bundle import Bundle
from ...classifier import Score
from ...explanation.agreement import coarse, rank_correlation
from ...explanation.attribution import Attribution
from ...explanation.catalogue import find_method
from ...explanation.explain import explain_tensors
from ...explanation.faithfulness import CurveSettings, centre_maps, deletion_insertion, edge_maps, random_maps
from ...explanation.stability import noisy, reseeded, samples
from ...explanation.trust import ImageTrust, judged_image
from ...preprocessing import FloatArray, Preprocessing

RANDOM_MAPS = 8


class ImageChecker:
    """The check for several maps of one image: the baselines of a class are measured once."""

    def __init__(
        self, bundle: Bundle, tensor: FloatArray, size: tuple[int, int], *, score: Score | None, layer: str | None
    ) -> None:
        self._bundle, self._tensor, self._size, self._score, self._layer = bundle, tensor[None], size, score, layer
        self._baselines: dict[str, dict[str, float]] = {}

    def check(self, attribution: Attribution, settings: Any) -> ImageTrust:
        """Curves against baselines, and the map made again under noise and, where it samples, another seed."""
        values = onto_input(attribution.values, self._bundle.preprocessing)
        curves = self._curves(values[None], attribution.target)
        gap, silent = float(curves.gap[0]), attribution.says_nothing
        baselines = self._gaps_of_baselines(attribution.target)
        noise = self._again(attribution, noisy(self._tensor, self._bundle.preprocessing), settings)
        seed = self._again(attribution, self._tensor, reseeded(settings)) if samples(settings) else None
        level, verdict = judged_image(
            target=attribution.target, gap=gap, baselines=baselines, noise=noise, seed=seed, silent=silent
        )
        return ImageTrust(
            level=level,
            verdict=verdict,
            deletion=_short(float(curves.deletion_area[0])),
            insertion=_short(float(curves.insertion_area[0])),
            gap=_short(gap),
            baselines={name: _short(value) for name, value in baselines.items()},
            noise=noise,
            seed=seed,
        )

    def _curves(self, maps: FloatArray, target: str) -> Any:
        batch = np.repeat(self._tensor, len(maps), axis=0)
        return deletion_insertion(
            self._bundle, batch, maps, [target] * len(maps), score=self._score, settings=CurveSettings()
        )

    def _gaps_of_baselines(self, target: str) -> dict[str, float]:
        if target not in self._baselines:
            preprocessing = self._bundle.preprocessing
            random = random_maps(np.repeat(self._tensor, RANDOM_MAPS, axis=0), preprocessing)
            others = [make(self._tensor, preprocessing) for make in (centre_maps, edge_maps)]
            gaps = self._curves(np.concatenate([random, *others]), target).gap
            self._baselines[target] = {
                "random": float(gaps[:RANDOM_MAPS].max()),
                "centre": float(gaps[RANDOM_MAPS]),
                "edges": float(gaps[RANDOM_MAPS + 1]),
            }
        return self._baselines[target]

    def _again(self, attribution: Attribution, tensor: FloatArray, settings: Any) -> float | None:
        """Rank correlation with the same map made of another tensor or under other settings."""
        looks = find_method(attribution.method).looks_at_layer
        classifier = self._bundle if self._layer is None or not looks else self._bundle.at(self._layer)
        (found,) = explain_tensors(
            classifier,
            tensor,
            [self._size],
            method=attribution.method,
            target=(attribution.target,),
            score=self._score,
            settings=settings,
        )
        both = (coarse(a.values[None]) for a in (attribution, found.attributions[0]))
        correlation = float(rank_correlation(*both)[0])
        return None if correlation != correlation else round(correlation, 4)


def onto_input(values: FloatArray, preprocessing: Preprocessing) -> FloatArray:
    """A map (H, W) on the original as the model's input sees it, (height, width); padding gets the least value."""
    place = preprocessing.placement((values.shape[0], values.shape[1]))
    inputs = preprocessing.height, preprocessing.width
    axes = [(np.arange(inputs[d]) + 0.5 - place.shift[d]) / place.scale[d] for d in (0, 1)]
    inside = [(a >= 0) & (a < values.shape[d]) for d, a in enumerate(axes)]
    rows, columns = (np.clip(a.astype(np.intp), 0, values.shape[d] - 1) for d, a in enumerate(axes))
    return np.where(inside[0][:, None] & inside[1], values[rows[:, None], columns], values.min()).astype(np.float32)


def _short(value: float) -> float:
    return float(f"{value:.5g}")
