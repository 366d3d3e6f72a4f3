"""What measurements come to, in words: rules of the trust card."""

import re

import pytest

from pellucid.explanation.trust import (
    CurveEntry,
    Level,
    Located,
    MeanEstimate,
    MethodEntry,
    judged,
    judged_image,
    ranked,
    summary,
)

GOOD = {"random": MeanEstimate(value=2, low=1, high=3), "centre": MeanEstimate(value=1, low=0.5, high=2)}
GOOD["edges"] = GOOD["centre"]
STEADY = MeanEstimate(value=0.95, low=0.9, high=0.99)


def lost(*names: str) -> dict[str, MeanEstimate]:
    return {n: MeanEstimate(value=0.1, low=-0.2, high=0.4) if n in names else f for n, f in GOOD.items()}


def energy_inside(over: MeanEstimate) -> dict[str, Located]:
    """As wide as it may be by itself: what counts is the difference from chance, image by image."""
    return {"energy_inside": Located(found=MeanEstimate(value=0.21, low=0.15, high=0.3), chance=0.2, over=over)}


def verdict(**changes) -> tuple[Level, str]:
    given = {
        "images": 40,
        "against": GOOD,
        "randomisation": {1: 0.4, 5: 0.05},
        "noise": STEADY,
        "seed": None,
        "located": {},
    }
    return judged(**{**given, **changes})


def test_a_method_that_passes_everything_is_good():
    level, words = verdict()
    assert level == "good"
    assert words.startswith("Beats random maps, a blob in the centre and an edge filter")


@pytest.mark.parametrize(
    ("changes", "level", "words"),
    [
        ({"against": lost("random", "edges")}, "problem", "No better than random maps or an edge filter"),
        ({"against": lost("centre")}, "caution", "Beats random maps but not a blob in the centre"),
        ({"randomisation": {1: 0.9, 5: 0.61}}, "problem", r"all weights are shuffled \(correlation 0.61\)"),
        ({"randomisation": {1: 0.9, 5: 0.35}}, "caution", "only in part"),
        ({"randomisation": {1: 1.0, 5: 0.0}}, "caution", "cannot tell one class from another"),
        ({"noise": MeanEstimate(value=0.4)}, "caution", "barely visible noise"),
        ({"seed": MeanEstimate(value=0.5)}, "caution", "use more samples"),
        ({"images": 4}, "unknown", "4, where at least 5 are needed"),
        (
            {"located": energy_inside(over=MeanEstimate(value=0.01, low=-0.05, high=0.1))},
            "caution",
            "no more evidence on the marked",
        ),
        ({"located": energy_inside(over=MeanEstimate(value=0.01, low=0.005, high=0.02))}, "good", "Beats random maps"),
        ({"located": energy_inside(over=MeanEstimate(value=0.01))}, "good", "Beats random maps"),
    ],
)
def test_each_failure_has_its_words(changes, level, words):
    found, text = verdict(**changes)
    assert found == level
    assert re.search(words, text), text


def test_no_interval_means_not_beaten():
    assert verdict(against={n: MeanEstimate(value=9) for n in GOOD})[0] == "problem"


def entry(name: str, level: Level, gap: float) -> MethodEntry:
    figure = MeanEstimate(value=gap, low=gap - 1, high=gap + 1)
    curves = CurveEntry(deletion=figure, insertion=figure, gap=figure, deletion_curve=(1, 0), insertion_curve=(0, 1))
    return MethodEntry(
        name=name,
        level=level,
        verdict="Too few images to judge: 2, where at least 5 are needed." if level == "unknown" else "...",
        images=9,
        silent=0,
        seconds=0.1,
        passes=1,
        curves=curves,
        against={},
        beaten=(),
        randomisation={},
        noise=STEADY,
        localisation={},
        localised=0,
    )


def test_ranking_is_by_level_and_then_by_gap():
    order = ranked([entry("a", "problem", 9), entry("b", "good", 1), entry("c", "caution", 5), entry("d", "good", 2)])
    assert [m.name for m in order] == ["d", "b", "c", "a"]
    assert summary(order) == "d can be relied on here, as can b. Not reliable here: a."


def test_summaries():
    assert summary([]) == "No method was measured."
    assert "None of these methods is reliable here" in summary([entry("a", "problem", 1)])
    assert summary([entry("a", "caution", 1)]) == "a is the best here; read its maps with care."
    assert summary([entry("a", "unknown", 1)]).startswith("Too few images")


def test_one_image():
    given = {
        "target": "bee",
        "gap": 2.0,
        "baselines": {"random": 0.5, "centre": 1, "edges": 1},
        "noise": 0.9,
        "seed": None,
    }
    assert judged_image(**given, silent=False)[0] == "good"
    assert judged_image(**given, silent=True) == ("unknown", "Nothing to check: no positive evidence for bee.")
    assert judged_image(**{**given, "gap": 0.9}, silent=False)[0] == "caution"
    level, words = judged_image(**{**given, "gap": 0.4}, silent=False)
    assert level == "problem"
    assert "lowers the score no more than random maps" in words
    assert judged_image(**{**given, "gap": -1}, silent=False)[0] == "problem"
    assert "changes with the seed" in judged_image(**{**given, "seed": 0.2}, silent=False)[1]
