"""The epochs of a training in tools that draw and compare them: TensorBoard and MLflow, by option."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from .._optional import require
from ..errors import UnknownNameError

TRACKERS = ("tensorboard", "mlflow")
Track = Callable[[Mapping[str, float]], None]


def check_tracker(name: str) -> None:
    """Raise UnknownNameError for a tool that is not known, MissingDependencyError for one that is not installed."""
    if name not in TRACKERS:
        raise UnknownNameError("tracker", name, TRACKERS, f"`track=` takes {' or '.join(TRACKERS)}.")
    require("tensorboard" if name == "tensorboard" else "mlflow", extra="track")


@contextmanager
def tracker(name: str | None, folder: Path, run: str, settings: Mapping[str, str]) -> Iterator[Track]:
    """A function that takes the row of each epoch.

    `tensorboard` writes events to `folder/tensorboard`. `mlflow` makes a run named `run` with the `settings` as its
    parameters on the server that MLFLOW_TRACKING_URI names, without one in a folder mlruns beside `folder`.
    """
    if name is None:
        yield lambda row: None
    elif name == "tensorboard":
        with _tensorboard(folder / "tensorboard") as track:
            yield track
    else:
        with _mlflow(folder.parent, run, settings) as track:
            yield track


@contextmanager
def _tensorboard(folder: Path) -> Iterator[Track]:
    require("tensorboard", extra="track")
    from torch.utils.tensorboard import SummaryWriter

    with SummaryWriter(str(folder)) as writer:

        def track(row: Mapping[str, float]) -> None:
            for key, value in row.items():
                if key != "epoch":
                    writer.add_scalar(key, value, int(row["epoch"]))
            writer.flush()

        yield track


@contextmanager
def _mlflow(beside: Path, run: str, settings: Mapping[str, str]) -> Iterator[Track]:
    mlflow = require("mlflow", extra="track")
    if not os.environ.get("MLFLOW_TRACKING_URI"):
        # MLflow's databases need more than its client; its folders need this word that they are wanted.
        os.environ.setdefault("MLFLOW_ALLOW_FILE_STORE", "true")
        mlflow.set_tracking_uri((beside.resolve() / "mlruns").as_uri())
    mlflow.set_experiment("pellucid")
    with mlflow.start_run(run_name=run):
        mlflow.log_params(dict(settings))
        yield lambda row: mlflow.log_metrics({k: v for k, v in row.items() if k != "epoch"}, step=int(row["epoch"]))
