"""What figures lead to which verdict, one figure changed at a time."""

from __future__ import annotations

from typing import Any

import pytest

from pellucid.evaluation.audit import (
    AuditDocument,
    DisturbanceEntry,
    Estimate,
    MaskEntry,
    MetadataProbe,
    RegionEntry,
    SubgroupEntry,
)
from pellucid.evaluation.audit_verdicts import judge


def figure(value: float, half: float = 0.02) -> Estimate:
    return Estimate(value=value, low=value - half, high=value + half)


def region(name: str = "top left corner", alone: float = 0.5, lost: float = 0.0, **more: Any) -> RegionEntry:
    entry = {"share": 0.04, "changed": 0.0, "evidence": 0.03, **more}
    return RegionEntry(region=name, alone=figure(alone), lost=figure(lost, 0.005), **entry)


def document(**changes: Any) -> AuditDocument:
    clean: dict[str, Any] = {
        "name": "x", "created": "2026-01-01", "source": "d", "split": "test", "images": 200, "sampled_from": 200,
        "groups": 90, "classes": ("a", "b"), "seed": 0, "bundle": "", "area": figure(0.95), "accuracy": figure(0.9),
        "regions": (region(), region("border"), region("centre", alone=0.9, lost=0.4)),
        "masks": MaskEntry(source="the masks", method="grad-cam", images=80, empty=0, inside=figure(0.5), chance=0.1),
        "metadata": MetadataProbe(area=figure(0.52), strongest=()),
        "disturbances": (
            DisturbanceEntry(kind="shift", amount="2 % up", strength="mild", changed=figure(0.02), lost=figure(0)),
        ),
        "subgroup_by": None, "subgroups": (), "outside_share": 0.03,
    }  # fmt: skip
    return judge(AuditDocument(**{**clean, **changes}))


def levels(found: AuditDocument, topic: str) -> list[str]:
    return [f.level for f in found.findings if f.topic == topic]


def test_a_clean_model_is_called_clean() -> None:
    found = document()
    assert {f.level for f in found.findings} == {"good"}
    assert found.verdict.startswith("No shortcut was found, and nothing else")
    assert not found.serious


@pytest.mark.parametrize(
    ("entry", "level"),
    [
        (region(alone=0.9), "problem"),
        (region(alone=0.65), "caution"),
        (region(alone=0.61), "good"),
        (region(lost=0.2), "problem"),
        (region(lost=0.05), "caution"),
        (region(evidence=0.3), "caution"),
    ],
)
def test_a_corner_is_judged_by_what_it_tells_and_what_it_costs(entry: RegionEntry, level: str) -> None:
    found = document(regions=(entry, region("border"), region("centre", 0.9, 0.4)))
    assert levels(found, "Shortcut") == [level]
    if level != "good":
        assert "top left corner" in next(f.text + f.advice for f in found.findings if f.topic == "Shortcut")


def test_the_worst_comes_first_and_gives_the_verdict() -> None:
    regions = (region("bottom right corner", alone=0.9, lost=0.2, changed=0.3), region("border"))
    found = document(regions=regions, metadata=MetadataProbe(area=figure(0.66), strongest=("b images are larger",)))
    assert [f.level for f in found.findings][:2] == ["problem", "caution"]
    assert found.serious
    assert "bottom right corner" in found.verdict
    assert "30 % of the answers" in found.findings[0].text


def test_a_centre_that_is_not_missed_is_mentioned() -> None:
    assert levels(document(regions=(region(), region("centre", 0.6, 0.0))), "Centre") == ["information"]


@pytest.mark.parametrize(("inside", "level"), [(0.05, "problem"), (0.11, "caution"), (0.2, "good")])
def test_evidence_is_judged_against_chance(inside: float, level: str) -> None:
    masks = MaskEntry(source="the masks", method="grad-cam", images=80, empty=0, inside=figure(inside), chance=0.1)
    assert levels(document(masks=masks), "Masks") == [level]


@pytest.mark.parametrize(
    ("changed", "lost", "level"), [(0.3, 0, "problem"), (0.1, 0, "caution"), (0, 0.2, "problem"), (0.03, 0, "good")]
)
def test_mild_changes_should_change_little(changed: float, lost: float, level: str) -> None:
    entry = DisturbanceEntry(kind="blur", amount="x", strength="mild", changed=figure(changed), lost=figure(lost))
    assert levels(document(disturbances=(entry,)), "Robustness") == [level]


def test_a_strong_change_that_breaks_it_is_a_limit() -> None:
    entry = DisturbanceEntry(kind="blur", amount="x", strength="strong", changed=figure(0.5), lost=figure(0.3))
    found = document(disturbances=(entry,))
    assert levels(found, "Limits") == ["information"]
    assert not found.serious


def test_a_subgroup_behind_is_named_with_its_gap() -> None:
    worse = SubgroupEntry(
        name="old", images=90, accuracy=figure(0.7), accuracy_gap=figure(-0.2), area=None, area_gap=None
    )
    fine = SubgroupEntry(
        name="new", images=90, accuracy=figure(0.9), accuracy_gap=figure(0.01), area=None, area_gap=None
    )
    found = document(subgroup_by="x", subgroups=(worse, fine))
    assert levels(found, "Subgroups") == ["problem"]
    assert "old" in found.findings[0].text
    assert levels(document(subgroup_by="x", subgroups=(fine,)), "Subgroups") == ["good"]


def test_few_images_no_skill_and_strange_images_are_said() -> None:
    assert levels(document(images=30), "Images") == ["caution"]
    assert levels(document(area=figure(0.51)), "Skill") == ["caution"]
    assert levels(document(outside_share=0.4), "Outside") == ["caution"]
    assert levels(document(masks=None), "Masks") == ["information"]


CORNERS = ("top left corner", "top right corner", "bottom left corner", "bottom right corner")


def everywhere(**more: RegionEntry) -> tuple[RegionEntry, ...]:
    """Regions of a texture: each tells the class alone, and none is missed."""
    entries = {name: region(name, alone=0.8) for name in (*CORNERS, "border", "centre")}
    return tuple({**entries, **more}.values())


def test_evidence_everywhere_is_no_shortcut() -> None:
    found = document(regions=everywhere())
    assert levels(found, "Shortcut") == []
    assert levels(found, "Evidence everywhere") == ["information"]
    assert "centre" in {r.region for r in found.regions}
    assert not found.serious
    assert found.verdict.startswith("No shortcut was found")


@pytest.mark.parametrize(
    ("entry", "expected"),
    [
        (region("border", alone=0.99), ["problem"]),  # far above the weakest part
        (region("border", alone=0.86, lost=0.15), ["problem"]),  # missed, although all other parts are there
        (region("border", alone=0.5), ["problem"] * 4),  # one part does not suffice: the corners are shortcuts
    ],
)
def test_a_part_that_stands_out_is_named_where_every_part_suffices(entry: RegionEntry, expected: list[str]) -> None:
    found = document(regions=everywhere(border=entry))
    assert levels(found, "Shortcut") == expected
