from __future__ import annotations

import csv
import io
import json
import sqlite3
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime, timezone
from pathlib import Path

import numpy as np
import pytest
import sqlalchemy as sql
from tests.serving.running import Running, running

import pellucid
from pellucid.errors import InputError, ResourceError
from pellucid.serving import stats, store_writer
from pellucid.serving.attacks.client import Reply
from pellucid.serving.attacks.files import plain_jpeg, plain_png
from pellucid.serving.problems import Problem
from pellucid.serving.store import Feedback, Store
from pellucid.serving.store_tables import FEEDBACK, PREDICTIONS, REFUSALS


def say(server: Running, **given: object) -> Reply:
    return server.target().request(
        "POST", "/v1/feedback", json.dumps(given).encode(), {"Content-Type": "application/json"}
    )


def test_results_and_features_are_kept_and_no_image(served_bundle: Path, tmp_path: Path) -> None:
    file = tmp_path / "store.sqlite"
    with running({"small": served_bundle}, store=str(file)) as server:
        document = server.target().upload(plain_jpeg(), "image/jpeg").document
        server.target().upload(b"nothing")
    bundle = pellucid.load(served_bundle)
    rows = sqlite3.connect(file)
    rows.row_factory = sqlite3.Row
    (row,) = rows.execute("select * from predictions").fetchall()
    assert (row["id"], row["label"], row["image"]) == (document["id"], document["label"], None)
    assert row["confidence"] == document["confidence"]
    assert row["outside_score"] == document["outside"]["score"]
    assert row["checksum"] == bundle.manifest.files["model.onnx"]
    assert abs(row["time"] - time.time()) < 60
    _, features = bundle.logits_and_features(bundle.preprocessing.tensors([bundle.read(plain_jpeg())]))
    assert features is not None
    np.testing.assert_allclose(np.frombuffer(row["features"], np.float16), features[0], rtol=2e-3)
    assert [tuple(r) for r in rows.execute("select code, count from refusals")] == [("not-an-image", 1)]
    assert plain_jpeg()[200:300] not in file.read_bytes()
    rows.close()


def test_feedback_reaches_the_store_and_the_export(served_bundle: Path, tmp_path: Path) -> None:
    kept = tmp_path / "kept"
    with running({"small": served_bundle}, store=str(tmp_path / "s"), keep_images=kept) as server:
        target = server.target()
        right, wrong, unknown = (target.upload(data, "").document for data in (plain_png(), plain_jpeg(), plain_png()))
        other = "ant" if wrong["label"] == "bee" else "bee"
        assert say(server, id=right["id"], correct=True).status == 204
        assert say(server, id=wrong["id"], correct=True).status == 204
        assert say(server, id=wrong["id"], correct=False, label=other, comment="=1+1").status == 204
        assert say(server, id=unknown["id"], correct=False).status == 204
        assert say(server, id="0" * 32, correct=True).status == 404
        assert say(server, id=right["id"], correct=True, label="wasp").code == "unknown-class"
        for malformed in (
            {"id": "x", "correct": True},
            {"id": right["id"]},
            {"id": right["id"], "correct": True, "x": 1},
        ):
            assert say(server, **malformed).code == "parameter"
        assert say(server, id=right["id"], correct=True, comment="x" * 501).status == 422
        table = list(csv.DictReader(io.StringIO(target.request("GET", "/v1/feedback.csv").body.decode())))
        (today,) = target.request("GET", "/v1/stats?days=1").document["days"]
    assert [(r["label"], r["correct"]) for r in table] == [(right["label"], "true"), (other, "false"), ("", "false")]
    assert table[1]["comment"] == "'=1+1"
    assert [Path(r["path"]).read_bytes() for r in table] == [plain_png(), plain_jpeg(), plain_png()]
    assert today["feedback"] == {"correct": 1, "incorrect": 2}


def test_another_look_at_the_same_image_is_not_counted_again(served_bundle: Path, tmp_path: Path) -> None:
    with running({"small": served_bundle}, store=str(tmp_path / "s")) as server:
        target = server.target()
        first = target.upload(plain_png()).document["id"]
        path = f"/v1/explain?method=layercam&again={first}"
        assert target.upload(plain_png(), path=path).document["id"] == first
        assert target.upload(plain_png(), path="/v1/explain?again=x").status == 422
        assert target.request("GET", "/v1/stats?days=1").document["days"][0]["requests"] == 1


def _filled(store: Store, model: str, when: list[float], **values: list[object]) -> None:
    rows = [
        {
            "id": f"{model}{i:030d}"[-32:],
            "time": t,
            "model": model,
            "checksum": "c",
            **{k: v[i] for k, v in values.items()},
        }
        for i, t in enumerate(when)
    ]
    with store.engine.begin() as connection:
        connection.execute(PREDICTIONS.insert(), rows)


def test_days_are_what_a_plain_count_finds(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    now = time.time()
    n = 200
    when = [now - 86400 * float(a) for a in rng.uniform(0, 3.9, n)]
    labels = [str(x) for x in rng.choice(["ant", "bee"], n)]
    confidence, latency, scores = rng.uniform(0.5, 1, n), rng.uniform(5, 50, n), rng.gamma(2, 0.2, n)
    store = Store(f"sqlite:///{tmp_path / 's'}")
    values = {"label": labels, "confidence": confidence.tolist(), "latency_ms": latency.tolist()}
    outside = {"outside_score": scores.tolist(), "outside": (scores > 1).tolist()}
    _filled(store, "one", when, **values, **outside)
    _filled(store, "two", when[:10], **{k: v[:10] for k, v in {**values, **outside}.items()})
    store.refused("damaged")
    store.refused("damaged")
    days = stats.by_day(store, 4, "one", np.quantile(scores, np.linspace(0, 1, 101)).tolist())
    everything = stats.by_day(store, 4, None)
    store.close()
    names = [datetime.fromtimestamp(t, timezone.utc).strftime("%Y-%m-%d") for t in when]
    assert sum(d["requests"] for d in everything) == sum(d["requests"] for d in days) + sum(
        n in {d["day"] for d in days} for n in names[:10]
    )
    assert [d["errors"] for d in days] == [0, 0, 0, 2]
    for day in days:
        own = [i for i, name in enumerate(names) if name == day["day"]]
        assert day["requests"] == len(own)
        assert day["classes"] == {c: sum(labels[i] == c for i in own) for c in sorted({labels[i] for i in own})}
        if own:
            assert day["latency_ms"]["p95"] == pytest.approx(np.quantile(latency[own], 0.95))
            assert day["confidence"]["mean"] == pytest.approx(confidence[own].mean())
            assert sum(day["confidence"]["bins"][:5]) == 0
            assert day["outside_share"] == pytest.approx((scores[own] > 1).mean())
            assert day["distance"]["median"] == pytest.approx(np.median(scores[own]))
    table = list(csv.DictReader(io.StringIO(stats.days_csv(days))))
    assert [int(r["class_ant"]) for r in table] == [d["classes"].get("ant", 0) for d in days]


def test_stability_index_is_its_closed_form() -> None:
    reference = np.linspace(0, 1, 1001)
    assert stats.stability(reference, reference.tolist()) == pytest.approx(0, abs=1e-9)
    moved = np.linspace(0, 0.5, 1000)
    # Five bins hold a fifth each instead of a tenth, five hold next to nothing.
    a = np.array([200.5] * 5 + [0.5] * 5) / 1005
    expected = float(((a - 0.1) * np.log(a / 0.1)).sum())
    assert stats.stability(moved, reference.tolist()) == pytest.approx(expected, rel=0.02)
    assert stats.stability(moved[:19], reference.tolist()) is None
    assert stats.stability(moved, None) is None


def test_what_is_old_goes_images_too(tmp_path: Path) -> None:
    url, kept = f"sqlite:///{tmp_path / 's'}", tmp_path / "kept"
    store = Store(url, keep_images=kept)
    (kept / "old.png").write_bytes(b"x")
    (kept / "new.png").write_bytes(b"x")
    now = time.time()
    common = {"label": ["a", "a"], "latency_ms": [1, 1], "image": ["old.png", "new.png"]}
    _filled(store, "m", [now - 11 * 86400, now - 9 * 86400], **common)  # type: ignore[arg-type]
    with store.engine.begin() as connection:
        (old, new) = connection.execute(sql.select(PREDICTIONS.c.id).order_by(PREDICTIONS.c.time)).scalars()
        connection.execute(FEEDBACK.insert(), [{"prediction": i, "time": now, "correct": True} for i in (old, new)])
        connection.execute(REFUSALS.insert(), {"day": int(now // 86400) - 11, "code": "x", "count": 1})
    store.close()
    Store(url, keep_images=kept, days=10).close()
    store = Store(url)
    with store.reading() as connection:
        assert connection.execute(sql.select(PREDICTIONS.c.id)).scalars().all() == [new]
        assert connection.execute(sql.select(FEEDBACK.c.prediction)).scalars().all() == [new]
        assert connection.execute(sql.select(REFUSALS)).all() == []
    store.close()
    assert [f.name for f in kept.iterdir()] == ["new.png"]


def test_a_lost_database_does_not_take_the_server_with_it(served_bundle: Path, tmp_path: Path) -> None:
    with running({"small": served_bundle}, store=str(tmp_path / "s")) as server:
        assert server.service.store is not None
        identity = server.target().upload(plain_png()).document["id"]
        server.service.store.flush()
        with server.service.store.engine.begin() as connection:
            connection.execute(sql.text("drop table predictions"))
        assert server.target().upload(plain_png()).status == 200
        refused = say(server, id=identity, correct=True)
        assert (refused.status, refused.code) == (503, "store")
        assert server.target().request("GET", "/v1/stats").status == 503
        assert server.target().request("GET", "/health").status == 200
    assert "store failed" in server.log.getvalue()


def test_stores_that_cannot_be_opened(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="`store=`"):
        Store("nonsense://x")
    with pytest.raises(ResourceError, match="`store=none`"):
        Store(f"sqlite:///{tmp_path}/missing/s")
    with pytest.raises((InputError, ResourceError)) as caught:
        Store("postgresql+psycopg://user:secret@127.0.0.1:1/x")
    assert "secret" not in str(caught.value)


def test_a_server_without_a_store_says_so(served_bundle: Path) -> None:
    with running({"small": served_bundle}) as server:
        identity = server.target().upload(plain_png()).document["id"]
        assert say(server, id=identity, correct=True).code == "no-store"
        assert server.target().request("GET", "/v1/stats").status == 404


def row(identity: str) -> dict[str, object]:
    return {
        "id": identity,
        "time": time.time(),
        "model": "m",
        "checksum": "c",
        "latency_ms": 1.0,
        "label": "a",
        "confidence": 0.5,
        "output": None,
        "outside_score": None,
        "outside": None,
        "features": b"\x00\x01",
        "image": None,
    }


def ids(file: Path) -> list[str]:
    with sqlite3.connect(file) as connection:
        return [r[0] for r in connection.execute("select id from predictions order by id")]


@contextmanager
def locked(file: Path) -> Iterator[None]:
    """Hold the database's write lock, as another program that writes to it would."""
    connection = sqlite3.connect(file, isolation_level=None)
    connection.execute("begin immediate")
    try:
        yield
    finally:
        connection.execute("rollback")
        connection.close()


def impatient(store: Store) -> None:
    """Let SQLite give up on a lock after 50 ms instead of 5 s."""
    sql.event.listen(store.engine, "checkout", lambda c, *_: c.execute("PRAGMA busy_timeout=50"))


@pytest.mark.parametrize("spooled", [False, True])
def test_answers_outlive_a_locked_database(tmp_path: Path, spooled: bool) -> None:
    file, spool = tmp_path / "s", tmp_path / "spool"
    store = Store(f"sqlite:///{file}", spool=spool if spooled else None)
    impatient(store)
    with locked(file):
        for n in range(12):
            assert store._writer.keep(row(f"{n:032d}"))
            time.sleep(0.05)
        time.sleep(0.5)
        assert spool.exists() is spooled
        assert ids(file) == []
        with pytest.raises(Problem) as caught:
            store.feedback(Feedback(f"{0:032d}", True, None, None)).result(5)
        assert caught.value.code == "store"
    store.flush()
    assert ids(file) == [f"{n:032d}" for n in range(12)]
    assert store.feedback(Feedback(f"{3:032d}", True, None, None)).result(5)
    assert not spool.exists()
    store.close()


def test_what_a_stopped_server_could_not_write_is_there_after_the_next_start(tmp_path: Path) -> None:
    file, spool = tmp_path / "s", tmp_path / "spool"
    store = Store(f"sqlite:///{file}", spool=spool)
    impatient(store)
    with locked(file):
        assert store._writer.keep(row("a" * 32))
        store.close(0.5)
        with spool.open("a", encoding="utf-8") as broken:
            broken.write('{"id": "half')  # a line that a full disk broke off
    again = Store(f"sqlite:///{file}", spool=spool)
    assert again._writer.keep(row("b" * 32))
    again.flush()
    again.close()
    assert ids(file) == ["a" * 32, "b" * 32]
    with sqlite3.connect(file) as connection:
        assert {r[0] for r in connection.execute("select features from predictions")} == {b"\x00\x01"}


def test_a_row_that_no_database_takes_keeps_no_other_back(tmp_path: Path) -> None:
    store = Store(f"sqlite:///{tmp_path / 's'}")
    for identity in ("a" * 32, "b" * 32, "a" * 32, "c" * 32):
        assert store._writer.keep(row(identity))
    store.flush()
    store.close()
    assert ids(tmp_path / "s") == ["a" * 32, "b" * 32, "c" * 32]


def test_answers_that_come_one_after_another_share_transactions(tmp_path: Path) -> None:
    store = Store(f"sqlite:///{tmp_path / 's'}")
    store.flush()
    commits: list[float] = []
    sql.event.listen(store.engine, "commit", lambda _: commits.append(time.monotonic()))
    for n in range(40):
        assert store._writer.keep(row(f"{n:032d}"))
        time.sleep(0.02)
    store.flush()
    store.close()
    assert len(ids(tmp_path / "s")) == 40
    # A machine that stands still for a moment may cut the answers into more parts, but not into 40.
    assert len(commits) < 15


def test_the_writer_survives_a_cancelled_call_and_any_error(tmp_path: Path) -> None:
    store = Store(f"sqlite:///{tmp_path / 's'}")
    gate = threading.Event()
    first = store._writer.call(lambda _: gate.wait(5))
    cancelled = store._writer.call(lambda _: 1)
    assert cancelled.cancel()
    gate.set()
    assert first.result(5)

    def broken(_: sql.Connection) -> None:
        raise KeyError("x")

    assert isinstance(store._writer.call(broken).exception(5), Problem)
    assert store._writer.call(lambda _: 7).result(5) == 7
    store.close()


def test_a_client_is_told_when_its_answer_is_not_stored(
    served_bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with running({"small": served_bundle}, store=str(tmp_path / "s"), spool=tmp_path / "none" / "spool") as server:
        assert server.target().upload(plain_png()).document["stored"] is True
        monkeypatch.setattr(store_writer, "MOST_WAITING", 0)
        for path in ("/v1/predict", "/v1/explain", "/predict"):
            reply = server.target().upload(plain_png(), path=path)
            assert (reply.status, reply.document["stored"]) == (200, False)
        assert b"pellucid_store_lost 3.0" in server.target().request("GET", "/metrics").body
    with running({"small": served_bundle}) as server:
        assert server.target().upload(plain_png()).document["stored"] is False


def test_a_clock_that_goes_back_stops_nothing(
    served_bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = time.time
    with running({"small": served_bundle}, store=str(tmp_path / "s"), rate_limit=6000) as server:
        first = server.target().upload(plain_png()).document["id"]
        monkeypatch.setattr(time, "time", lambda: now() - 3 * 86_400)
        second = server.target().upload(plain_png()).document["id"]
        assert say(server, id=first, correct=True).status == say(server, id=second, correct=True).status == 204
        days = server.target().request("GET", "/v1/stats?days=2").document["days"]
        assert [d["requests"] for d in days] == [0, 1]
        monkeypatch.setattr(time, "time", now)
        days = server.target().request("GET", "/v1/stats?days=5").document["days"]
    assert sum(d["requests"] for d in days) == 2


def test_the_default_store_lies_in_the_cache_folder(
    served_bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("PELLUCID_CACHE", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    with running({"small": served_bundle}, store=None) as server:
        server.target().upload(plain_png())
    assert len(list((tmp_path / "xdg" / "pellucid" / "serving").glob("small-*.sqlite"))) == 1
    monkeypatch.setenv("PELLUCID_CACHE", "")
    with running({"small": served_bundle}, store=None) as server:
        assert server.service.store is None
