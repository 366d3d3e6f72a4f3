"""`trust.html`: the trust card of a model's explanations as one page, the methods that can be relied on first.

Like the report of a run it asks for nothing from outside and reads without its script, with which it shares its look.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from ..errors import ResourceError
from ..explanation.catalogue import METHODS
from ..explanation.trust import BASELINE_NAMES, CurveEntry, MeanEstimate, MethodEntry, TrustCard
from ..files import write_whole
from . import style
from .html import page_environment, page_frame
from .words import bounds, number

if TYPE_CHECKING:
    from matplotlib.figure import Figure

PAGE = "trust.html"
LEVEL_WORDS = {
    "good": "reliable",
    "caution": "use with care",
    "problem": "not reliable here",
    "unknown": "too few images",
}
LEVEL_MARKS = {"good": "good", "caution": "caution", "problem": "problem", "unknown": "information"}
MEASURES = {
    "pointing": "strongest point on the object",
    "energy_inside": "evidence inside",
    "average_precision": "average precision",
    "iou_best": "IoU, best threshold",
    "iou_half": "IoU, half of the top",
}
_DASHES: dict[str, tuple[float, ...]] = {"random": (1.5, 2.5), "centre": (5, 2.5), "edges": (7, 2, 1.5, 2)}


@dataclass(frozen=True, slots=True)
class GapRow:
    """A gap as a dot with its interval on an axis; `drawn` are (value, low, high) in per cent of it."""

    name: str
    value: str
    interval: str
    drawn: tuple[float, float, float]
    baseline: bool


def write_trust_page(card: TrustCard, folder: Path) -> Path:
    """Write `trust.html` into a folder, whole or not at all; returns it. ResourceError when it cannot be written."""
    target = folder / PAGE
    try:
        write_whole(target, render_trust(card).encode("utf-8", "replace"))
    except OSError as error:
        message = f"{target} cannot be written ({error.strerror}). Choose another `out=`, or free space."
        raise ResourceError(message) from error
    return target


def render_trust(card: TrustCard) -> str:
    """A trust card as one HTML page."""
    gaps, zero = gap_rows(card)
    return (
        page_environment()
        .get_template("trust.html")
        .render(
            card=card,
            headlines=headlines(card),
            words=LEVEL_WORDS,
            marks=LEVEL_MARKS,
            gaps=gaps,
            zero=zero,
            figures=list(_figures(card)),
            baseline_names=BASELINE_NAMES,
            measures=measures_of(card),
            stages=stages_of(card),
            references={m.name: m.reference for m in METHODS},
            **page_frame("trust.css"),
        )
    )


def headlines(card: TrustCard) -> list[tuple[str, str, str]]:
    """The three numbers of the summary: (name, value, note)."""
    levels = [m.level for m in card.methods]
    best = card.methods[0] if card.methods else None
    over = best.against.get("random") if best else None
    classes = ", ".join(f"{n:,} {c}" for c, n in card.classes.items() if n)
    return [
        ("Reliable methods", f"{levels.count('good')} of {len(levels)}", ""),
        (
            f"{best.name if best else 'Best'} minus random maps, {card.score}",
            number(over.value) if over else "n/a",
            interval(over) if over else "",
        ),
        ("Images", f"{card.images:,}", classes),
    ]


def interval(figure: MeanEstimate) -> str:
    """`[0.1, 0.3]`, or "" for too few images."""
    return "" if figure.low is None or figure.high is None else bounds(figure.low, figure.high)


def gap_rows(card: TrustCard) -> tuple[list[GapRow], float]:
    """Each method's and baseline's gap on one axis that holds 0, and where 0 lies on it, in per cent."""
    entries: list[tuple[str, CurveEntry, bool]] = [(m.name, m.curves, False) for m in card.methods]
    entries += [(BASELINE_NAMES[b], c, True) for b, c in card.baselines.items()]
    ends = [v for _, c, _ in entries for v in (c.gap.value, c.gap.low, c.gap.high) if v is not None]
    low, high = min(0.0, *ends), max(0.0, *ends)
    width = (high - low) or 1.0

    def place(value: float | None, otherwise: float) -> float:
        return round(100 * ((otherwise if value is None else value) - low) / width, 2)

    rows = [
        GapRow(
            name,
            number(c.gap.value),
            interval(c.gap),
            (place(c.gap.value, 0), place(c.gap.low, c.gap.value), place(c.gap.high, c.gap.value)),
            baseline,
        )
        for name, c, baseline in entries
    ]
    return rows, place(0.0, 0.0)


def measures_of(card: TrustCard) -> dict[str, str]:
    """The names in print of the localisation measures that the card has."""
    return MEASURES if any(m.localised for m in card.methods) else {}


def stages_of(card: TrustCard) -> list[int]:
    """The numbers of randomised layers that any method was tried at."""
    return sorted({count for m in card.methods for count in m.randomisation})


def _figures(card: TrustCard) -> Iterator[style.InlineFigure]:
    for place, method in enumerate(card.methods):
        yield style.inline_svg(curve_figure(card, method), f"curves-{place}")


def curve_figure(card: TrustCard, method: MethodEntry) -> Figure:
    """A method's mean deletion and insertion curves, and in grey those of the baselines."""
    every = [*card.baselines.values(), *(m.curves for m in card.methods)]
    heights = [v for c in every for curve in (c.deletion_curve, c.insertion_curve) for v in curve]
    room = 0.05 * (max(heights) - min(heights) or 1.0)
    with style.drawing():
        figure = style.new_figure(style.WIDTH + 0.6, 2.6)
        panels = figure.subplots(1, 2, sharey=True)
        for axes, kind, label in zip(
            panels,
            ("deletion", "insertion"),
            ("share hidden, strongest first", "share shown, strongest first"),
            strict=True,
        ):
            for name, entry in card.baselines.items():
                curve = getattr(entry, f"{kind}_curve")
                axes.plot(card.shares, curve, color=style.SOFT, linewidth=0.9, linestyle=(0, _DASHES[name]))
            axes.plot(card.shares, getattr(method.curves, f"{kind}_curve"), color=style.ACCENT, linewidth=2)
            axes.set(xlim=(0, 1), ylim=(min(heights) - room, max(heights) + room), xlabel=label)
            axes.set_xticks([0, 0.5, 1], ["0", "0.5", "1"])
            axes.set_title(f"{kind}, area {number(getattr(method.curves, kind).value)}", loc="left", fontsize=10, pad=4)
            style.hairlines(axes, "y")
        panels[0].set_ylabel(card.score)
        style.state_finding(figure, _finding(method))
    return figure


def _finding(method: MethodEntry) -> str:
    lost: Sequence[str] = [BASELINE_NAMES[b] for b in method.against if b not in method.beaten]
    against = "better than all baselines" if not lost else f"not better than {' or '.join(lost)}"
    return f"{method.name}: {against}"
