"""Numbers and small phrases as a reader meets them in figures, pictures and the report."""

from __future__ import annotations

import math

from ..evaluation.metrics import METRICS
from ..explanation.cost import Cost
from ..explanation.lack import Lack

_LACKS = {
    "layer": "The model has no explained layer: it gives no activations and gradients",
    "several layers": "The bundle has no graph that gives several layers together",
    "tail": "The bundle has no graph of the tail, the layers behind the explained one",
    "input gradients": "The bundle has no graph of the gradients with respect to the pixels",
    "class": "The model has no evidence for classes: it measures distances from normal images",
    "anomaly map": "The model is no anomaly detector: it measures no distances from normal images",
}
_RAISED = str.maketrans("-0123456789", "\N{SUPERSCRIPT MINUS}⁰¹²³⁴⁵⁶⁷⁸⁹")
# The second of two names for one figure: left out of tables that show the first.
TWINS = {name: row.twin_of for name, row in METRICS.items() if row.twin_of}


def metric_name(name: str) -> str:
    """A metric's name in print: `roc_auc` is "ROC-AUC"."""
    row = METRICS.get(name)
    return (row.label or row.title) if row else name[:1].upper() + name[1:].replace("_", " ")


def series_name(column: str) -> str:
    """A column of the training history in print: `val_roc_auc` is "Validation ROC-AUC"."""
    where, _, metric = column.partition("_")
    what = {"loss": "loss", "accuracy": "accuracy", "mae": "mean absolute error"}.get(metric, metric_name(metric))
    return f"{'Training' if where == 'train' else 'Validation'} {what}"


def number(value: float | None) -> str:
    """At most three significant digits, three decimals unless that would show nothing: 0.914, 1.00, 12.3, 5,220."""
    if value is None or not math.isfinite(value):
        return "n/a"
    if value == 0:
        return "0"
    if value < 0:
        return f"\N{MINUS SIGN}{number(-value)}"
    size = math.floor(math.log10(float(f"{value:.3g}")))
    if size >= 3:
        return f"{float(f'{value:.3g}'):,.0f}"
    if size >= -2:
        return f"{value:.{min(3, 2 - size)}f}"
    if size >= -4:
        return f"{value:.2g}"
    leading, power = f"{value:.1e}".split("e")
    return f"{leading}\N{NO-BREAK SPACE}\N{MULTIPLICATION SIGN}\N{NO-BREAK SPACE}10{str(int(power)).translate(_RAISED)}"


def with_interval(value: float, low: float, high: float) -> str:
    """A figure and its interval: `0.914 [0.886, 0.937]`; the figure alone when the bounds are not finite."""
    return f"{number(value)} {interval}" if (interval := bounds(low, high)) else number(value)


def bounds(low: float, high: float) -> str:
    """`[0.886, 0.937]`, or "" when there is no interval."""
    return f"[{number(low)}, {number(high)}]" if math.isfinite(low) and math.isfinite(high) else ""


def percent(share: float) -> str:
    """A share as whole per cent: "6 %", "less than 1 %", "0 %"."""
    if 0 < share < 0.005:
        return "less than 1 %"
    if 0.995 <= share < 1:
        return "more than 99 %"
    return f"{100 * share:.0f} %"


def count(n: int, noun: str, plural: str | None = None) -> str:
    """`1 image`, `5,216 images`."""
    return f"{n:,} {noun if n == 1 else plural or noun + 's'}"


def duration(seconds: float) -> str:
    """`0.4 s`, `48 s`, `3 min 5 s`, `2 h 10 min`."""
    if seconds < 9.95:
        return f"{seconds:.1f} s"
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s"
    minutes = round(whole / 60)
    return f"{minutes // 60} h {minutes % 60} min"


def listed(items: list[str], most: int = 3) -> str:
    """`a, b and c`, or `a, b, c and 4 more`."""
    if len(items) > most:
        return f"{', '.join(items[:most])} and {len(items) - most:,} more"
    return " and ".join([", ".join(items[:-1]), items[-1]] if len(items) > 1 else items)


def printable(text: str) -> str:
    """Text from a file name or folder, safe to print: what is not valid Unicode becomes a question mark."""
    return text.encode("utf-8", "replace").decode("utf-8")


def cost_words(cost: Cost) -> str:
    """A cost in forward passes F: `1 F`, `at most 1,001 F`, `1 F, then the layers behind once per channel`."""
    whole = f"{'at most ' if cost.at_most else ''}{cost.passes:,} F"
    return f"{whole}, then the layers behind once per channel" if cost.tail_per_channel else whole


def lack_words(lack: Lack) -> str:
    """What a model lacks for a method, as a sentence."""
    return f"{_LACKS[lack.what]}{': ' + lack.reason.rstrip('.') if lack.reason else ''}."
