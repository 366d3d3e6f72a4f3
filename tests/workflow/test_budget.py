"""Budgets: how they are written, and that they are kept by not beginning what would exceed them."""

import pytest

from pellucid.errors import InputError
from pellucid.workflow.trust.budget import Limit, Spending, parse_limit


@pytest.mark.parametrize(
    ("text", "passes", "seconds", "shown"),
    [
        ("20000", 20000, None, "20,000 passes"),
        ("20,000 passes", 20000, None, "20,000 passes"),
        ("90s", None, 90, "90 s"),
        ("1.5 min", None, 90, "1.5 min"),
        ("5m", None, 300, "5 min"),
        ("2h", None, 7200, "2 h"),
    ],
)
def test_written_forms(text, passes, seconds, shown):
    assert parse_limit(text) == Limit(shown, passes, seconds)


@pytest.mark.parametrize("text", ["", "much", "-5", "0", "5 days", "1.2.3 s", "min"])
def test_what_is_no_budget_is_refused(text):
    with pytest.raises(InputError, match="for example 20000, 90s or 5min"):
        parse_limit(text)


def test_without_a_limit_all_is_allowed():
    assert parse_limit(None) == Limit()
    assert Spending(Limit(), passes=10**12).allows(1, 10**6)


def test_the_next_part_is_not_begun_when_it_would_go_beyond():
    spending = Spending(Limit("100 passes", passes=100))
    assert spending.allows(0, 4)
    spending.passes = 40
    assert spending.allows(4, 4)
    spending.passes = 80
    assert not spending.allows(8, 4)
    assert spending.allows(8, 2)


def test_time(monkeypatch):
    now = [100.0]
    monkeypatch.setattr("pellucid.workflow.trust.budget.time.monotonic", lambda: now[0])
    spending = Spending(Limit("10 s", seconds=10), began=100.0)
    now[0] = 104.0
    assert spending.allows(4, 4)
    now[0] = 108.0
    assert not spending.allows(8, 4)
