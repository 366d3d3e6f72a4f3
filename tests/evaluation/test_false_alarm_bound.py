"""The threshold from normal images alone: what it promises holds, by simulation."""

import numpy as np
import pytest

from pellucid.errors import DataError, InputError
from pellucid.evaluation.operating_point import choose_operating_point, needed_for, parse_demand


def chosen(scores: np.ndarray, asked: str = "false-alarms<=0.05", groups: tuple[str, ...] = ()):
    return choose_operating_point(asked, labels=np.zeros(len(scores), int), scores=scores, groups=groups)


@pytest.mark.parametrize(("n", "most"), [(59, 0.05), (150, 0.05), (299, 0.01)])
def test_at_most_so_many_new_normal_images_are_flagged_in_95_of_100_draws(n: int, most: float) -> None:
    rng = np.random.default_rng(0)
    kept = 0
    for _ in range(150):
        threshold = chosen(rng.exponential(size=n).astype(np.float32), f"false-alarms<={most}").threshold
        kept += np.exp(-threshold) <= most  # the true share above the threshold
    assert kept / 150 >= 0.91  # 0.95 less the chance of 150 draws


def test_with_groups_the_promise_is_of_a_random_image_of_a_new_group() -> None:
    rng = np.random.default_rng(1)
    kept = 0
    for _ in range(60):
        level = np.repeat(rng.normal(0, 2, 120), 4)
        scores = (level + rng.normal(0, 0.5, 480)).astype(np.float32)
        point = chosen(scores, "false-alarms<=0.1", tuple(str(i // 4) for i in range(480)))
        assert point.groups == 120
        new = rng.normal(0, np.hypot(2, 0.5), 4000)
        kept += (new >= point.threshold).mean() <= 0.1
    assert kept >= 54


def test_it_says_how_many_images_it_would_take() -> None:
    point = chosen(np.arange(20, dtype=np.float32), "false-alarms<=0.01")
    assert not point.met
    assert "takes 299 or more" in point.statement
    assert point.specificity == 1
    assert needed_for(0.95) == 59
    assert needed_for(0.99) == 299


def test_bad_images_are_not_needed_and_normal_ones_are() -> None:
    assert chosen(np.arange(100, dtype=np.float32)).sensitivity is None
    with pytest.raises(DataError, match="of the negative class"):
        choose_operating_point("false-alarms<=0.05", labels=np.ones(9, int), scores=np.arange(9.0))


def test_what_is_asked_is_a_share() -> None:
    assert parse_demand("false alarms ≤ 0.02").text == "false-alarms<=0.02"
    for text in ("false-alarms<=0", "false-alarms<=2"):
        with pytest.raises(InputError, match="share between 0 and 1"):
            parse_demand(text)
