"""Week by week without labels: the stored answers are held against the images that a bundle keeps of its home."""

from __future__ import annotations

import shutil
import time
from pathlib import Path

import numpy as np
import pytest
from tests.serving.running import running

from pellucid.bundle.bundle import load
from pellucid.bundle.io import amend_bundle
from pellucid.classifier import NONE_OF_THESE, REFER
from pellucid.evaluation.home import HOME, keep_home
from pellucid.evaluation.second_head import KeptOut
from pellucid.serving.registry import Registry
from pellucid.serving.settings import ServerSettings
from pellucid.serving.store import Store
from pellucid.serving.store_tables import PREDICTIONS
from pellucid.serving.weeks import by_week

CHANNELS = 12


def images(n: int, share: float, seed: int, moved: float = 0.0) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Features, logits that are true log-odds at equal shares, and labels."""
    rng = np.random.default_rng(seed)
    labels = (rng.random(n) < share).astype(np.int64)
    x = rng.normal(np.where(labels == 1, 2.0, -2.0), 2.0)
    features = rng.normal(size=(n, CHANNELS))
    features[:, 0] = x
    features[:, 1] += moved
    return features.astype(np.float32), x[:, None].astype(np.float32), labels


@pytest.fixture
def homely(served_bundle: Path, tmp_path: Path) -> Path:
    """The served bundle with images of its home."""
    folder = tmp_path / "homely"
    shutil.copytree(served_bundle, folder)
    features, logits, labels = images(400, 0.5, 0)
    amend_bundle(folder, {}, {HOME: keep_home(features, logits, labels, [""] * 400).to_bytes()})
    return folder


def fill(
    store: Store, checksum: str, when: float, features: np.ndarray, logits: np.ndarray, withheld: str = ""
) -> None:
    positive = 1 / (1 + np.exp(-logits[:, 0].astype(float)))
    rows = [
        {
            "id": f"{int(when)}{i:016d}"[-32:],
            "time": when,
            "model": "homely",
            "checksum": checksum,
            "latency_ms": 1.0,
            "label": withheld or ("bee" if p >= 0.5 else "ant"),
            "predicted": ("bee" if p >= 0.5 else "ant") if withheld else None,
            "confidence": max(p, 1 - p),
            "outside": False,
            "features": f.astype(np.float16).tobytes(),
        }
        for i, (p, f) in enumerate(zip(positive, features, strict=True))
    ]
    with store.engine.begin() as connection:
        connection.execute(PREDICTIONS.insert(), rows)


def test_weeks_are_judged_by_what_the_bundle_keeps(homely: Path, tmp_path: Path) -> None:
    served = Registry({"homely": homely}, ServerSettings()).find()
    store = Store(f"sqlite:///{tmp_path / 'weeks.sqlite'}")
    week, now = 7 * 86400, time.time()
    truths = []
    for back, (share, moved) in enumerate([(0.5, 0.0), (0.1, 0.0), (0.5, 3.0)], 1):
        features, logits, labels = images(300, share, 10 + back, moved)
        truths.append((float(((logits[:, 0] >= 0) == labels).mean()), float(labels.mean())))
        fill(store, served.checksum, now - back * week, features, logits)
    fill(store, served.checksum, now - 4 * week, *images(20, 0.5, 9)[:2])
    fill(store, "another model", now, *images(300, 0.5, 8)[:2])
    weeks = by_week(store, 6, served)
    store.close()
    assert [w["images"] for w in weeks] == [0, 20, 300, 300, 300, 0]
    assert [w["verdict"] for w in weeks] == [None, None, "do not use", "new threshold", "use", None]
    moved, mixed, same = weeks[2:5]
    assert (moved["moved"], mixed["moved"], same["moved"]) == (True, False, False)
    assert moved["estimate"] is None
    for found, (accuracy, share) in zip((same, mixed), truths[:2], strict=True):
        assert found["estimate"]["value"] == pytest.approx(accuracy, abs=0.06)
        assert found["estimate"]["low"] <= accuracy <= found["estimate"]["high"]
        assert {m["name"]: m["value"] for m in found["mix"]}["bee"] == pytest.approx(share, abs=0.06)


def test_weeks_whose_answers_were_all_withheld_are_judged_by_what_the_model_held(homely: Path, tmp_path: Path) -> None:
    served = Registry({"homely": homely}, ServerSettings()).find()
    found = []
    for number, withheld in enumerate(("", REFER, NONE_OF_THESE)):
        store = Store(f"sqlite:///{tmp_path / f'{number}.sqlite'}")
        fill(store, served.checksum, time.time(), *images(120, 0.5, 11)[:2], withheld)
        found.append(by_week(store, 1, served)[0])
        store.close()
    assert found[0]["images"] == 120
    assert found[0]["verdict"] is not None
    assert found[0] == found[1] == found[2]


def test_a_bundle_without_images_of_its_home_judges_no_week(served_bundle: Path, tmp_path: Path) -> None:
    served = Registry({"small": served_bundle}, ServerSettings()).find()
    store = Store(f"sqlite:///{tmp_path / 'weeks.sqlite'}")
    assert [w["verdict"] for w in by_week(store, 2, served)] == [None, None]
    store.close()


def test_the_address_answers_and_refuses(homely: Path, tmp_path: Path) -> None:
    with running({"homely": homely}, store=str(tmp_path / "s")) as server:
        found = server.target().request("GET", "/v1/stats/weeks?last=3").document["weeks"]
        assert len(found) == 3
        assert server.target().request("GET", "/v1/stats/weeks?last=0").status == 422


def test_kept_images_come_back_and_fit_the_bundle(homely: Path) -> None:
    assert load(homely).folder == homely
    kept = KeptOut(loss=0.1, disagreement=0.1, apart=0.7, error=(0.02, 0.1), temperature=(1.0, 2.0), images=90)
    assert KeptOut.model_validate_json(kept.model_dump_json()) == kept
