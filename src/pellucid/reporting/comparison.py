"""`compare.html`: two batches side by side on one page that asks for nothing from outside."""

from __future__ import annotations

import base64
import io
from collections.abc import Mapping
from dataclasses import dataclass

from .._version import __version__
from ..errors import ImageError
from ..evaluation.comparison import Comparison, Flip, Share
from ..images import read_image
from .html import page_environment, page_frame
from .inspection import breakable
from .overlay import DIVERGING
from .pictures import smaller
from .words import bounds, number

SIDE, QUALITY = 288, 80
MOST_ROWS = 30


@dataclass(frozen=True, slots=True)
class ShownFlip:
    """A flip with its picture, "" where the image can no longer be read."""

    flip: Flip
    picture: str


def render_comparison(comparison: Comparison, pictures: Mapping[str, bytes]) -> str:
    """A comparison as one HTML page; `pictures` are image files by checksum."""
    environment = page_environment()
    environment.filters |= {"breakable": breakable, "share": share}
    shown = [ShownFlip(f, thumbnail(pictures[f.sha256])) for f in comparison.flips if f.sha256 in pictures]
    return environment.get_template("comparison.html").render(
        found=comparison,
        version=__version__,
        headlines=headlines(comparison),
        shown=[s for s in shown if s.picture],
        most_rows=MOST_ROWS,
        **page_frame("inspection.css", colormap=DIVERGING),
    )


def headlines(comparison: Comparison) -> list[tuple[str, str, str]]:
    """The three numbers of the summary: (name, value, note)."""
    agreement = comparison.agreement
    mix = comparison.drifts[0]
    rows = [
        (
            "Agreement",
            "n/a" if agreement is None else f"{100 * agreement.same.value:.1f} %",
            "no image is in both" if agreement is None else f"of {agreement.images:,} images in both",
        ),
        ("Difference in class mix", number(mix.distance), "0: the same, 1: no overlap"),
    ]
    a, b = comparison.outside_a, comparison.outside_b
    if a is not None and b is not None:
        rows.append(("Unusual images", f"{100 * b.value:.1f} %", f"{100 * a.value:.1f} % in the first"))
    elif agreement is None and len(comparison.drifts) > 1:
        rows.append(("Difference in scores", number(comparison.drifts[1].distance), "0: the same, 1: no overlap"))
    else:
        rows.append(("Answered differently", f"{comparison.flipped:,}", "images"))
    return rows


def share(value: Share) -> tuple[str, str]:
    """A share in per cent, and its interval."""
    return f"{100 * value.value:.1f} %", bounds(100 * value.low, 100 * value.high)


def thumbnail(data: bytes) -> str:
    """An image file as a JPEG data address of at most 288 pixels a side; "" when it cannot be read."""
    try:
        picture = smaller(read_image(data, at_least=(SIDE, SIDE)).upright, SIDE)
    except ImageError:
        return ""
    buffer = io.BytesIO()
    picture.save(buffer, "JPEG", quality=QUALITY)
    return f"data:image/jpeg;base64,{base64.b64encode(buffer.getvalue()).decode()}"
