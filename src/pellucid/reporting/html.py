"""`report.html`: one file that shows what a run is worth, made from the run folder alone.

The page needs no outside host, and no script to be read: its content policy forbids every request, and every script
but the one inside it, which is named by its hash. All text from the data is escaped (Jinja2's autoescaping).
"""

from __future__ import annotations

import base64
import hashlib
import re
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import PIL.Image

from ..bundle.run import scaling_name
from ..errors import ResourceError
from ..files import write_whole
from . import views
from .abroad import elsewhere
from .cases import mistakes_sheet, read_cases
from .checklists import claim, tripod
from .concepts import shown_concepts
from .contents import RunContents, read_run
from .decision_figures import regions_figure, run_figures
from .decisions import answering_rows, sizes_words
from .figures import chart_start, charted_metrics, evaluation_figures, learning_figure
from .findings import findings
from .hidden import hidden_sentence, row_words
from .model_card import write_model_card
from .overlay import SEQUENTIAL, colour_table
from .style import TEMPLATES, InlineFigure, inline_svg, save_png
from .words import bounds, count, duration, listed, metric_name, number, percent

if TYPE_CHECKING:
    from jinja2 import Environment
    from markupsafe import Markup
    from matplotlib.figure import Figure

# The metrics chart repeats the table that stands in the page.
_NOT_IN_PAGE = "metrics"


def build_report(run: str | Path) -> Path:
    """Write `report.html`, `model_card.md` and their figures into a run folder from what lies in it; the page's path.

    What has not been made yet (evaluation, explanations) is said to be missing. The file appears whole or not at all.
    Raises BundleError when the folder is not a run or is damaged, RecipeError for a broken recipe, ResourceError when
    the report cannot be written.
    """
    contents = read_run(Path(run))
    decisions = run_figures(contents)
    page = render(contents, decisions)
    target = contents.folder.report
    try:
        # File names may hold bytes that are not valid Unicode; on the page they become question marks.
        write_whole(target, page.encode("utf-8", "replace"))
    except OSError as error:
        message = f"{target} cannot be written ({error.strerror}). Free space there, or see who may write to it."
        raise ResourceError(message) from error
    write_model_card(contents)
    for name, figure in decisions.items():
        save_png(figure, contents.folder.figures / f"{name}.png")
    sheet = mistakes_sheet(contents.explanations, contents.folder.explanations) if contents.explanations else None
    if sheet is not None:
        contents.folder.figures.mkdir(parents=True, exist_ok=True)
        PIL.Image.fromarray(sheet).save(contents.folder.figures / "mistakes.png")
    elif contents.explanations is not None:
        # Those of an earlier operating point are mistakes no more.
        (contents.folder.figures / "mistakes.png").unlink(missing_ok=True)
    return target


def render(run: RunContents, decisions: Mapping[str, Figure] | None = None) -> str:
    """The report of a run as one HTML page; `decisions` are its `run_figures`, where these were drawn before."""
    result, shown = run.evaluation, run.explanations
    cases = read_cases(shown, run.folder.explanations) if shown else None
    return (
        page_environment()
        .get_template("report.html")
        .render(
            run=run,
            record=run.record,
            result=result,
            created=views.day(run.record.created),
            notices=views.notices(run),
            lead=views.lead(run),
            totals=views.totals(run),
            findings=findings(run),
            headlines=views.headlines(result) if result else [],
            elsewhere=elsewhere(run.record.abroad),
            headline=views.abroad_headline(run),
            answer=views.answer(result) if result else "",
            metrics=views.metric_rows(result) if result else [],
            axis_start=chart_start(charted_metrics(result)) if result else 0,
            mistakes=views.mistakes(result) if result else [],
            published=views.published_table(run),
            figures=_figures(run, run_figures(run) if decisions is None else decisions),
            cases=cases,
            summary_cases=views.summary_cases(cases) if cases else [],
            commands=views.commands(run),
            limits=views.limits(run),
            audit=run.audit,
            concepts=shown_concepts(run),
            hidden=run.hidden,
            decisions=views.decisions(run),
            answering_rows=answering_rows(result.answered.entry) if result and result.answered else [],
            sizes_words=sizes_words(result.answered.entry) if result and result.answered else "",
            checklists=[("CLAIM 2024", claim(run)), ("TRIPOD+AI", tripod(run))] if run.medical else [],
            **page_frame(colormap=shown.colormap if shown else SEQUENTIAL),
        )
    )


def coded(text: str) -> Markup:
    """A sentence in which `words between backticks` are code."""
    from markupsafe import Markup, escape

    return Markup(re.sub(r"`([^`]+)`", r"<code>\1</code>", str(escape(text))))


def page_environment() -> Environment:
    """The templates, with everything escaped and a missing value an error; shared by all pages."""
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    environment = Environment(
        loader=FileSystemLoader(TEMPLATES),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    words = (number, percent, duration, listed, metric_name, bounds, scaling_name, row_words, hidden_sentence, coded)
    environment.filters |= {function.__name__: function for function in words}
    environment.globals["count"] = count
    return environment


def page_frame(*styles: str, colormap: str | None = None) -> dict[str, str]:
    """What `_page.html` needs: the styles `report.css` and `styles`, the script and its hash, the colours of maps."""
    script = (TEMPLATES / "report.js").read_text(encoding="utf-8")
    return {
        "css": "".join((TEMPLATES / name).read_text(encoding="utf-8") for name in ("report.css", *styles)),
        "script": script,
        "script_hash": base64.b64encode(hashlib.sha256(script.encode()).digest()).decode(),
        "heat_colours": _gradient(colormap) if colormap else "",
    }


def _figures(run: RunContents, decisions: Mapping[str, Figure]) -> dict[str, InlineFigure]:
    """Every figure of the run, ready to stand in the page."""
    figures = {**evaluation_figures(run.evaluation), **decisions} if run.evaluation else {}
    if run.audit and run.audit.area is not None:
        figures["regions"] = regions_figure(run.audit)
    training = run.record.training
    if run.history and training is not None:
        figures["learning"] = learning_figure(run.history, best_epoch=training.best_epoch, monitor=training.monitor)
    return {name: inline_svg(figure, name) for name, figure in figures.items() if name != _NOT_IN_PAGE}


def _gradient(colormap: str) -> str:
    """A colour map as a CSS gradient of 17 stops, low end first."""
    stops = ", ".join(f"#{red:02x}{green:02x}{blue:02x}" for red, green, blue in colour_table(colormap)[::16])
    return f"linear-gradient(90deg, {stops})"
