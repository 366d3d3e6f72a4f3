"""Which textures count as a concept's own, in audits of this version and of older ones."""

from __future__ import annotations

from typing import Any

import pytest

from pellucid.evaluation.discovered import SamenessEntry
from pellucid.evaluation.discovered_verdicts import has_own_texture, texture_beyond


def entry(**changes: Any) -> SamenessEntry:
    plain: dict[str, Any] = {
        "patches": 16, "alike": 0.4, "usual": 0.4, "chance": 0.5, "texture": 0.0, "texture_chance": 0.5,
        "texture_spread": 1.0, "within": 0.0, "within_chance": 0.5, "within_spread": 1.0,
    }  # fmt: skip
    return SamenessEntry.model_validate({**plain, **changes})


@pytest.mark.parametrize(
    ("changes", "own"),
    [
        ({}, 0.0),
        ({"within": 1.0, "within_chance": 0.001}, 1.0),
        ({"within": 1.0, "within_chance": 0.2}, 0.0),
        # A texture that varies as much as a finding does has to lie far away.
        ({"within": 1.0, "within_chance": 0.001, "within_spread": 1.5}, 0.0),
        ({"within": 2.5, "within_chance": 0.001, "within_spread": 1.5}, 2.5),
        # Sharper images all over are no texture of a place, those of another machine are.
        ({"texture": 1.5, "texture_chance": 0.001}, 0.0),
        ({"texture": 2.5, "texture_chance": 0.001}, 2.5),
        # Older audits compared with other classes only.
        ({"texture": 1.5, "texture_chance": 0.001, "within": None, "within_chance": None, "within_spread": None}, 1.5),
        ({"texture": 1.0, "texture_chance": 0.001, "within": None, "within_chance": None, "within_spread": None}, 0.0),
    ],
)
def test_a_texture_is_its_own_beside_the_rest_of_its_image(changes: dict[str, Any], own: float) -> None:
    found = entry(**changes)
    assert texture_beyond(found) == own
    assert has_own_texture(found) == (own > 0)
