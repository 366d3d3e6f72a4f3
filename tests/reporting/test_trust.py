"""The page of a trust card: it says what the card says, escapes what it must, and asks for nothing."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from pellucid.explanation.trust import Agreement, Budget, CurveEntry, Located, MeanEstimate, MethodEntry, TrustCard
from pellucid.reporting.trust import curve_figure, gap_rows, render_trust, stages_of, write_trust_page


def spread(value: float, width: float = 0.5) -> MeanEstimate:
    return MeanEstimate(value=value, low=value - width, high=value + width)


def curves(gap: float) -> CurveEntry:
    return CurveEntry(
        deletion=spread(1 - gap / 2),
        insertion=spread(1 + gap / 2),
        gap=spread(gap),
        deletion_curve=(3, 1.5 - gap / 4, 0),
        insertion_curve=(0, 1.5 + gap / 4, 3),
    )


def method(name: str, level: str, gap: float, **changes: object) -> MethodEntry:
    against = {"random": spread(gap), "centre": spread(gap - 1), "edges": spread(gap - 1.5)}
    given = {
        "name": name,
        "level": level,
        "verdict": f"What is said of {name}.",
        "images": 24,
        "silent": 1,
        "seconds": 0.0123,
        "passes": 1,
        "curves": curves(gap),
        "against": against,
        "beaten": tuple(n for n, f in against.items() if f.low is not None and f.low > 0),
        "randomisation": {1: 0.4, 5: 0.1},
        "noise": spread(0.9, 0.05),
        "seed": None,
        "localisation": {},
        "localised": 0,
    }
    return MethodEntry.model_validate({**given, **changes})


LOCATED = {
    name: Located(found=spread(0.6, 0.1), chance=0.0321, over=spread(0.5679, 0.1))
    for name in ("pointing", "energy_inside", "average_precision", "iou_best", "iou_half")
}


def card(**changes: object) -> TrustCard:
    on_objects = {"localisation": LOCATED, "localised": 12}
    methods = (
        method("hirescam", "good", 3.0, **on_objects),
        method("lime", "problem", 0.2, randomisation={5: 0.7}, seed=spread(0.55, 0.1), seconds=4.67, **on_objects),
    )
    given = {
        "pellucid_version": "0.0.0",
        "name": "films <b>",
        "model": {},
        "data": "test split of the run",
        "images": 24,
        "of": 100,
        "classes": {"clear": 12, "opacity": 12},
        "score": "log-odds",
        "layer": "block4",
        "replacement": "blur",
        "seed": 0,
        "intervals": "95 % bootstrap over 24 images, 2,000 resamples",
        "layers": 5,
        "shares": (0, 0.25, 1),
        "baselines": {n: curves(g) for n, g in (("random", 0.0), ("centre", 1.0), ("edges", 1.5))},
        "methods": methods,
        "agreement": Agreement(methods=("hirescam", "lime"), correlation=((1, 0.333), (0.333, 1))),
        "left_out": {"ablation-cam": "The bundle has no tail."},
        "budget": Budget(wanted="90 s", reached=True, passes=12345, seconds=92.0, sentence="The budget was reached."),
        "verdict": "hirescam can be relied on here. Not reliable here: lime.",
        "notes": ("A note.",),
    }
    return TrustCard.model_validate({**given, **changes})


def test_the_page_says_what_the_card_says(tmp_path: Path) -> None:
    page = write_trust_page(card(), tmp_path).read_text(encoding="utf-8")
    for words in (
        "films &lt;b&gt;",
        "hirescam can be relied on here",
        "What is said of lime.",
        "not reliable here",
        "The budget was reached.",
        "A note.",
        "The bundle has no tail.",
        "chance 0.032",
        "12,345 forward passes",
        "0.333",
        "not tried",
        "does not sample",
        "12.3 ms",
        "4.7 s",
    ):
        assert words in page, words
    assert page.count('class="mark problem">not beaten') == 3
    assert page.count("<svg") >= 2


def test_it_asks_for_nothing_from_outside() -> None:
    page = render_trust(card())
    assert not re.findall(r"""(?:src|href)=["'](?:https?:)?//""", page)
    assert "default-src 'none'" in page


def test_what_was_not_measured_has_no_section() -> None:
    page = render_trust(card(methods=(method("lime", "good", 2),), left_out={}, notes=()))
    assert "Do the maps lie on the objects?" not in page
    assert "Do the methods say the same?" not in page


def test_gaps_are_drawn_to_scale_around_zero() -> None:
    rows, zero = gap_rows(card())
    assert [r.name for r in rows] == [
        "hirescam",
        "lime",
        "random maps",
        "a blob in the centre",
        "an edge filter",
    ]
    # The axis runs from -0.5, the low end of random maps, to 3.5, the high end of hirescam.
    assert zero == pytest.approx(100 * 0.5 / 4)
    assert rows[0].drawn == pytest.approx((100 * 3.5 / 4, 75, 100))
    assert [r.baseline for r in rows] == [False, False, True, True, True]


def test_figures_state_their_finding() -> None:
    shown = card()
    good, bad = (curve_figure(shown, m) for m in shown.methods)
    assert good.get_suptitle() == "hirescam: better than all baselines"
    assert "lime: not better than random maps or a blob in the centre or an edge filter" in " ".join(
        bad.get_suptitle().split()
    )
    axes = good.axes[0]
    assert [tuple(map(float, line.get_ydata())) for line in axes.lines][-1] == shown.methods[0].curves.deletion_curve
    assert len(axes.lines) == 4
    assert stages_of(shown) == [1, 5]


def test_too_few_images_show_no_intervals() -> None:
    alone = MeanEstimate(value=1.0)
    few = method(
        "lime", "unknown", 1, images=4, noise=alone, against=dict.fromkeys(("random", "centre", "edges"), alone)
    )
    page = render_trust(card(methods=(few,), agreement=Agreement(methods=("lime",), correlation=((1,),))))
    assert "too few images" in page
    assert "None" not in page
