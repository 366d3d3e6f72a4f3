"""One look for every figure: sizes, type, colours, and how a figure leaves as PNG or as SVG inside a page.

Figures are `matplotlib.figure.Figure` objects made under `drawing()`, without pyplot and its global state. A title
states the finding; it stands at the top left, as the figure's `suptitle`.
"""

from __future__ import annotations

import io
import re
import textwrap
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

TEMPLATES = Path(__file__).parent / "templates"

INK, SOFT, LINE, ACCENT = "#1b2326", "#546166", "#d3dadc", "#0b6b6b"
PAPER, ON_ACCENT = "#ffffff", "#fffffe"
# Okabe and Ito, "Color universal design" (2008), in their order but for black and yellow, which show least on a page
# of one's own ink or paper and come last.
CLASS_COLOURS = ("#e69f00", "#56b4e9", "#009e73", "#0072b2", "#d55e00", "#cc79a7", INK, "#f0e442")
# What a page's style sheet calls the colours, so that a figure inside it follows light and dark.
_PAGE_COLOURS = {
    INK: "--ink",
    SOFT: "--soft",
    LINE: "--line",
    ACCENT: "--accent",
    PAPER: "--paper",
    ON_ACCENT: "--on-accent",
}

WIDTH, HEIGHT = 4.4, 3.2
PNG_DPI = 200
_TITLE_SIZE, _TEXT_SIZE = 11, 10
# Characters of the title's size in one inch of width.
_CHARACTERS_PER_INCH = 11.5

_SETTINGS = {
    "font.family": "sans-serif",
    "font.sans-serif": ["Helvetica Neue", "Arial", "Liberation Sans", "DejaVu Sans"],
    "font.size": _TEXT_SIZE,
    "text.color": INK,
    "text.parse_math": False,
    "axes.edgecolor": SOFT,
    "axes.labelcolor": SOFT,
    "axes.linewidth": 0.6,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.axisbelow": True,
    "axes.unicode_minus": True,
    "axes.facecolor": "none",
    "grid.color": LINE,
    "grid.linewidth": 0.6,
    "xtick.color": SOFT,
    "ytick.color": SOFT,
    "xtick.labelcolor": SOFT,
    "ytick.labelcolor": SOFT,
    "xtick.major.width": 0.6,
    "ytick.major.width": 0.6,
    "xtick.major.size": 3,
    "ytick.major.size": 3,
    "lines.linewidth": 1.5,
    "lines.solid_capstyle": "round",
    "figure.facecolor": PAPER,
    "svg.fonttype": "none",
    "svg.hashsalt": "pellucid",
}


@contextmanager
def drawing() -> Iterator[None]:
    """The settings under which figures are made and saved; those from before are put back."""
    from matplotlib import rc_context

    with rc_context(_SETTINGS), warnings.catch_warnings():  # type: ignore[arg-type]
        # A class name in a script that the font lacks: in the page it shows all the same, the text being text.
        warnings.filterwarnings("ignore", r"Glyph .* missing from")
        yield


def new_figure(width: float = WIDTH, height: float = HEIGHT) -> Figure:
    """An empty figure of `width` by `height` inches, laid out so that nothing overlaps."""
    from matplotlib.figure import Figure

    return Figure(figsize=(width, height), layout="constrained")


def state_finding(figure: Figure, finding: str) -> None:
    """Write the figure's title: one sentence that says what is to be seen."""
    characters = int(_CHARACTERS_PER_INCH * figure.get_figwidth())
    lines = "\n".join(textwrap.wrap(finding, characters))
    figure.suptitle(lines, x=0.012, ha="left", fontsize=_TITLE_SIZE, fontweight="bold", linespacing=1.25)


def hairlines(axes: Axes, axis: str = "both") -> None:
    """A hairline grid along one axis or both."""
    axes.grid(True, axis=axis)  # type: ignore[arg-type]


def save_png(figure: Figure, path: Path) -> Path:
    """Write a figure as PNG at 200 dots per inch."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with drawing():
        figure.savefig(path, dpi=PNG_DPI, facecolor=PAPER, metadata={"Software": "pellucid"})
    return path


@dataclass(frozen=True, slots=True)
class InlineFigure:
    """A figure as part of a page: its finding, for the page to set, and the drawing without it as SVG."""

    finding: str
    svg: str


def inline_svg(figure: Figure, name: str) -> InlineFigure:
    """A figure for inclusion in an HTML page: text stays text, colours follow the page, `name` keeps ids apart."""
    finding = " ".join(figure.get_suptitle().split())
    title = figure.get_suptitle()
    figure.suptitle("").set_in_layout(False)
    buffer = io.StringIO()
    with drawing():
        figure.savefig(buffer, format="svg", transparent=True, metadata={"Date": None})
    figure.suptitle(title).set_in_layout(True)
    return InlineFigure(finding, _for_page(buffer.getvalue(), name))


def _for_page(svg: str, name: str) -> str:
    """Only the <svg> element, without the parts that name outside hosts, in the page's own colours and type."""
    svg = svg[svg.index("<svg") :]
    svg = re.sub(r"<metadata>.*?</metadata>\s*", "", svg, flags=re.DOTALL)
    svg = re.sub(r"<style.*?</style>", "", svg, flags=re.DOTALL)
    svg = re.sub(r' xmlns(:xlink)?="[^"]*"', "", svg)
    svg = re.sub(r"font(?:-family)?: ?([^;\"]*?)(\d[\d.]*px)[^;\"]*", r"font-size: \2", svg)
    svg = svg.replace(' id="', f' id="{name}-').replace("url(#", f"url(#{name}-").replace('href="#', f'href="#{name}-')
    for colour, variable in _PAGE_COLOURS.items():
        svg = svg.replace(colour, f"var({variable})")
    width, height = (float(re.search(rf'{side}="([\d.]+)pt"', svg)[1]) for side in ("width", "height"))  # type: ignore[index]
    opening = f'<svg viewBox="0 0 {width:g} {height:g}" style="max-width: {width * 4 / 3:.0f}px" aria-hidden="true">'
    return opening + svg[svg.index(">") + 1 :].strip()
