"""`pellucid audit RUN --explanations`: how reliable the heat maps are, as tables."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich.text import Text

from .console import OK, PARTLY, out, print_table

if TYPE_CHECKING:
    from ..explanation.trust import Figure, MethodEntry, TrustCard

_STYLES = {"good": "green", "caution": "yellow", "problem": "bold red", "unknown": "dim"}


def show_trust(card: TrustCard) -> None:
    """Print the ranked methods, their measurements and the verdict."""
    from ..reporting.trust import LEVEL_WORDS

    out.print(f"{card.name}: explanations of {card.images:,} images ({card.data}), gaps in {card.score}\n")
    last = str(card.layers)
    columns = [("method", False), ("", False), ("gap", True), ("over random", True), ("over centre", True)]
    columns += [("over edges", True), ("weights shuffled", True), ("noise", True), ("seed", True), ("passes", True)]
    rows = [
        (
            m.name,
            LEVEL_WORDS[m.level],
            figure(m.curves.gap),
            *(_over(m, name) for name in m.against),
            f"{m.randomisation[int(last)]:.2f}" if int(last) in m.randomisation else "-",
            f"{m.noise.value:.2f}",
            "-" if m.seed is None else f"{m.seed.value:.2f}",
            f"{m.passes:,.0f}",
        )
        for m in card.methods
    ]
    print_table(columns, rows)
    if any(m.localised for m in card.methods):
        _show_objects(card)
    out.print()
    for m in card.methods:
        out.print(Text.assemble((f"{m.name}, {LEVEL_WORDS[m.level]}: ", _STYLES[m.level]), m.verdict))
    for name, reason in card.left_out.items():
        out.print(Text(f"{name}: not measured. {reason}"))
    for note in card.notes:
        out.print(Text(note, style="yellow"))
    out.print(f"\n{card.verdict}")
    if card.budget.reached:
        out.print(Text(card.budget.sentence, style="yellow"))


def _show_objects(card: TrustCard) -> None:
    from ..reporting.trust import MEASURES

    columns = [("on the objects (chance)", False), *((title, True) for title in MEASURES.values())]
    rows = [
        (m.name, *(f"{m.localisation[k].found.value:.2f} ({m.localisation[k].chance:.2f})" for k in MEASURES))
        for m in card.methods
        if m.localised
    ]
    out.print()
    print_table(columns, rows)


def _over(method: MethodEntry, baseline: str) -> str:
    by = method.against[baseline]
    return f"{by.value:+.2f}{'' if baseline in method.beaten or by.low is None else ' (no)'}"


def figure(found: Figure) -> str:
    """`0.12 [0.10, 0.15]`."""
    bounds = "" if found.low is None or found.high is None else f" [{found.low:.2f}, {found.high:.2f}]"
    return f"{found.value:.2f}{bounds}"


def code_of(card: TrustCard) -> int:
    """The exit code: 1 when no method can be relied on."""
    return OK if any(m.level in {"good", "caution"} for m in card.methods) else PARTLY
