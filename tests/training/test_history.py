"""Which epoch is best, and the file."""

import csv

import pytest

from pellucid.training.history import History


def filled(monitor, *values):
    """A history of (monitored value, validation loss) pairs; the answers of `add`."""
    history = History(monitor)
    added = [
        history.add({"epoch": i, "seconds": 0.5, "val_loss": loss} | {monitor: value})
        for i, (value, loss) in enumerate(values, 1)
    ]
    return history, added


@pytest.mark.parametrize(
    ("monitor", "values", "best"),
    [
        ("val_loss", [(3, 3), (1, 1), (2, 2)], 2),
        ("val_mae", [(3, 3), (1, 1), (2, 2)], 2),
        ("val_accuracy", [(0.5, 3), (0.9, 9), (0.8, 1)], 2),
        ("val_roc_auc", [(0.9, 3), (0.5, 1), (0.8, 1)], 1),
        ("val_loss", [(1, 1), (1, 1)], 1),
        ("val_accuracy", [(0.9, 2), (0.9, 1), (0.9, 1)], 2),
        ("val_accuracy", [(0.9, 1), (0.9, 2)], 1),
    ],
)
def test_the_best_epoch(monitor, values, best):
    history, added = filled(monitor, *values)
    assert history.best_row["epoch"] == best
    assert history.epochs_since_best == len(values) - best
    # An epoch was added as the best so far when the history up to it says so.
    upto = [filled(monitor, *values[:n])[0].best_row["epoch"] == n for n in range(1, len(values) + 1)]
    assert added == upto


def test_the_file_holds_every_row(tmp_path):
    history = History("val_loss")
    rows = [
        {"epoch": 1, "seconds": 1.25, "learning_rate": 1e-4, "val_loss": 0.123456789, "val_roc_auc": 1.0},
        {"epoch": 2, "seconds": 1e-7, "learning_rate": 5e-5, "val_loss": 123456.789, "val_roc_auc": 0.5},
    ]
    for row in rows:
        history.add(row)
    history.write(tmp_path / "history.csv")
    with (tmp_path / "history.csv").open(newline="", encoding="utf-8") as file:
        read = list(csv.DictReader(file))
    assert list(read[0]) == list(rows[0])
    assert read[0]["epoch"] == "1"
    for found, row in zip(read, rows, strict=True):
        assert {k: float(v) for k, v in found.items()} == pytest.approx(row, rel=1e-7)
