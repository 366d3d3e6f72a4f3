"""The options on which answers are given, as overrides of a recipe."""

from pathlib import Path

import pytest

from pellucid.cli.options import answering_overrides
from pellucid.recipe import load_recipe


@pytest.mark.parametrize(
    ("by", "coverage_by", "subgroup"),
    [("all", "all", ""), ("class", "class", ""), ("scanner", "subgroup", "scanner"), ("(A|B)_", "subgroup", "(A|B)_")],
)
def test_coverage_is_promised_for_a_column_or_pattern(by: str, coverage_by: str, subgroup: str) -> None:
    found = load_recipe("small", answering_overrides(None, 0.9, by, None, None)).decision
    assert (found.coverage, found.coverage_by, found.subgroup) == (0.9, coverage_by, subgroup)


def test_what_is_not_given_stays_as_the_recipe_has_it(tmp_path: Path) -> None:
    assert answering_overrides(None, None, None, None, None) == []
    found = load_recipe("small", answering_overrides("errors<=0.02", None, None, "unlike", tmp_path)).decision
    assert (found.answer_only, found.reject, found.other) == ("errors<=0.02", "unlike", str(tmp_path.resolve()))
