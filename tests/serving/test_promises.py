"""Promises in use: how much is answered, coverage from feedback, whether the images have changed; and older stores."""

import json
import sqlite3
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import sqlalchemy as sql

from pellucid.classifier import NONE_OF_THESE, REFER
from pellucid.evaluation.intervals import wilson
from pellucid.serving.promises import Promised, promises
from pellucid.serving.stats import by_day, days_csv, feedback_csv
from pellucid.serving.store import Store
from pellucid.serving.store_tables import FEEDBACK, LATER_COLUMNS, PREDICTIONS, connect
from pellucid.serving.store_writer import _row


def fill(store: Store, rows: list[dict[str, Any]]) -> None:
    """Answers a second apart, and feedback where a row has `correct`."""
    now = time.time() - len(rows)
    with store.engine.begin() as connection:
        for i, row in enumerate(rows):
            said = {k: row.pop(k) for k in ("correct", "said") if k in row}
            usual = {"id": f"{i:032x}", "time": now + i, "model": "m", "checksum": "c", "latency_ms": 1.0}
            connection.execute(PREDICTIONS.insert(), {**usual, **row})
            if said:
                feedback = {
                    "prediction": f"{i:032x}",
                    "time": now,
                    "correct": said["correct"],
                    "label": said.get("said"),
                }
                connection.execute(FEEDBACK.insert(), feedback)


@pytest.fixture
def store(tmp_path: Path) -> Store:
    made = Store(f"sqlite:///{tmp_path / 'store.sqlite'}")
    yield made
    made.close()


def answer(label: str, predicted: str, sets: list[str] | None, **more: Any) -> dict[str, Any]:
    return {"label": label, "predicted": predicted, "candidates": sets and json.dumps(sets), **more}


def test_what_is_answered_and_what_the_sets_hold(store: Store) -> None:
    rows = [answer("ant", "ant", ["ant"], correct=True) for _ in range(6)]
    rows += [answer("ant", "ant", ["ant", "bee"], correct=False, said="bee") for _ in range(3)]
    rows += [answer("ant", "ant", ["ant"], correct=False, said="bee") for _ in range(2)]
    rows += [answer(REFER, "bee", ["bee", "ant"], correct=False, said="ant"), answer(REFER, "bee", ["bee"])]
    rows += [
        answer(NONE_OF_THESE, "bee", ["bee"]),
        answer("ant", "ant", ["ant"], correct=False),
        answer("ant", "ant", None),
    ]
    fill(store, rows)
    found = promises(store, 7, "m", Promised(0.95, None))
    assert found["given"] == {"answered": 13, "none": 1, "referred": 2}
    low, high = wilson(10, 12)
    expected = {"promised": 0.95, "judged": 12, "value": 10 / 12, "low": low, "high": high, "broken": False}
    assert found["coverage"] == expected
    assert found["stream"] is None
    (today,) = [d for d in by_day(store, 2, None) if d["requests"]]
    assert (today["none"], today["referred"], today["sets"]) == (1, 2, {"holding": 10, "lacking": 2})
    assert days_csv([today]).splitlines()[0].split(",")[:15][-4:] == [
        "none",
        "referred",
        "sets_holding",
        "sets_lacking",
    ]
    assert "bee" in feedback_csv(store, None)


def test_coverage_certainly_below_the_promise_is_an_alarm(store: Store) -> None:
    rows = [answer("ant", "ant", ["ant"], correct=True) for _ in range(40)]
    rows += [answer("ant", "ant", ["ant"], correct=False, said="bee") for _ in range(12)]
    fill(store, rows)
    assert promises(store, 7, "m", Promised(0.95, None))["coverage"]["broken"]
    assert not promises(store, 7, "m", Promised(0.75, None))["coverage"]["broken"]
    assert promises(store, 7, "m", Promised(None, None))["coverage"] is None
    assert promises(store, 7, "other", Promised(0.9, None))["given"]["answered"] == 0


@pytest.mark.parametrize("shift", [0.0, 1.5])
def test_a_change_of_the_images_is_seen(store: Store, shift: float) -> None:
    rng = np.random.default_rng(0)
    known, stream = np.sort(rng.normal(size=100)), rng.normal(size=200)
    stream[80:] += shift
    fill(store, [answer("ant", "ant", None, outside_score=float(s)) for s in stream])
    found = promises(store, 7, "m", Promised(None, known.tolist()))["stream"]
    assert found["images"] == 200
    assert (found["changed"] is not None) == (shift > 0)


def test_an_older_store_gets_the_columns_that_it_lacks(tmp_path: Path) -> None:
    file = tmp_path / "old.sqlite"
    connect(f"sqlite:///{file}").dispose()
    with sqlite3.connect(file) as connection:
        for name in LATER_COLUMNS:
            connection.execute(f"ALTER TABLE predictions DROP COLUMN {name}")
        connection.execute(
            "INSERT INTO predictions (id, time, model, checksum, latency_ms, label) "
            "VALUES ('a', ?, 'm', 'c', 1, 'ant')",
            (time.time(),),
        )
    engine = connect(f"sqlite:///{file}")
    with engine.connect() as connection:
        row = connection.execute(sql.select(PREDICTIONS)).one()
    engine.dispose()
    assert (row.label, row.predicted, row.candidates) == ("ant", None, None)
    connect(f"sqlite:///{file}").dispose()


def test_a_row_that_an_older_version_spooled_is_read() -> None:
    row = _row(json.dumps({"id": "a", "features": None}))
    assert row == {"id": "a", "features": None, "predicted": None, "candidates": None}
