"""What happened in each epoch, as plain rows, and `history.csv`."""

from __future__ import annotations

import csv
from dataclasses import dataclass, field
from pathlib import Path

LARGER_IS_BETTER = {"val_accuracy", "val_roc_auc"}


@dataclass
class History:
    """Rows of one epoch each, with the same keys: epoch, seconds, learning_rate, train_loss, val_loss, val_<metric>."""

    monitor: str
    rows: list[dict[str, float]] = field(default_factory=list)

    def add(self, row: dict[str, float]) -> bool:
        """Append an epoch; True when it is the best so far by the monitored value."""
        self.rows.append(row)
        return self.best_row is row

    @property
    def best_row(self) -> dict[str, float]:
        """The best epoch by the monitored value; the earliest of equals, by lower validation loss for a share."""
        sign = -1 if self.monitor in LARGER_IS_BETTER else 1
        return min(self.rows, key=lambda r: (sign * r[self.monitor], r["val_loss"], r["epoch"]))

    @property
    def epochs_since_best(self) -> int:
        """How many epochs have gone by since the best one."""
        return int(self.rows[-1]["epoch"] - self.best_row["epoch"])

    def write(self, path: Path) -> None:
        """Write as CSV."""
        with path.open("w", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, fieldnames=list(self.rows[0]))
            writer.writeheader()
            writer.writerows({k: f"{v:.8g}" for k, v in row.items()} for row in self.rows)
