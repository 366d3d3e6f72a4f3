"""What is written for other tools, read back by those tools."""

import mlflow
import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from pellucid.errors import UnknownNameError
from pellucid.training.tracking import check_tracker, tracker

ROWS = [
    {"epoch": 1.0, "learning_rate": 0.1, "train_loss": 0.75, "val_loss": 0.5},
    {"epoch": 2.0, "learning_rate": 0.05, "train_loss": 0.5, "val_loss": 0.25},
]


def write(name, folder):
    with tracker(name, folder, "a run", {"recipe": "small", "seed": "3"}) as track:
        for row in ROWS:
            track(row)


def test_tensorboard(tmp_path):
    write("tensorboard", tmp_path)
    events = EventAccumulator(str(tmp_path / "tensorboard"))
    events.Reload()
    assert sorted(events.Tags()["scalars"]) == ["learning_rate", "train_loss", "val_loss"]
    for key in ("learning_rate", "train_loss", "val_loss"):
        found = [(e.step, e.value) for e in events.Scalars(key)]
        assert found == [(int(row["epoch"]), pytest.approx(row[key])) for row in ROWS]


@pytest.mark.filterwarnings("ignore")
def test_mlflow(tmp_path, monkeypatch):
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    (tmp_path / "run").mkdir()
    write("mlflow", tmp_path / "run")
    client = mlflow.MlflowClient((tmp_path / "mlruns").as_uri())
    experiment = client.get_experiment_by_name("pellucid")
    (run,) = client.search_runs([experiment.experiment_id])
    assert run.info.run_name == "a run"
    assert run.info.status == "FINISHED"
    assert run.data.params == {"recipe": "small", "seed": "3"}
    found = [(m.step, m.value) for m in client.get_metric_history(run.info.run_id, "val_loss")]
    assert sorted(found) == [(1, 0.5), (2, 0.25)]


def test_none_and_unknown(tmp_path):
    with tracker(None, tmp_path, "a run", {}) as track:
        track(ROWS[0])
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(UnknownNameError, match=r"'tensorbord'\. Did you mean tensorboard"):
        check_tracker("tensorbord")
    check_tracker("tensorboard")
