"""`model_card.md`: what a model is, how good, what was checked, and what its authors still have to say.

After Mitchell et al., "Model cards for model reporting", arXiv:1810.03993.
"""

from __future__ import annotations

import re
from pathlib import Path

from ..errors import ResourceError
from ..files import write_whole
from . import views
from .checklists import answers, claim, tripod
from .concepts import shown_concepts
from .contents import RunContents
from .decisions import answering_rows
from .engines import engines_in_words
from .findings import findings
from .hidden import hidden_sentence, row_words
from .style import TEMPLATES
from .words import TWINS, bounds, listed, metric_name, number

CARD = "model_card.md"
BLANK = "____________"


def write_model_card(run: RunContents) -> Path:
    """Write `model_card.md` into the run folder, whole or not at all. ResourceError when it cannot be written."""
    target = run.folder.root / CARD
    try:
        write_whole(target, render_card(run).encode("utf-8", "replace"))
    except OSError as error:
        message = f"{target} cannot be written ({error.strerror}). Free space there, or see who may write to it."
        raise ResourceError(message) from error
    return target


def render_card(run: RunContents) -> str:
    """The model card of a run as Markdown; text from the data cannot form a table, a link or HTML in it."""
    from jinja2 import Environment, FileSystemLoader, StrictUndefined
    from markupsafe import Markup

    environment = Environment(
        loader=FileSystemLoader(TEMPLATES),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        finalize=_plain,
        autoescape=False,
    )
    environment.filters |= {
        function.__name__: function for function in (number, metric_name, bounds, row_words, hidden_sentence)
    }
    result = run.evaluation
    known: dict[str, str] = {key: "" for key in ("model", "initial", "threshold", "calibration", "outside")}
    classes = list(result.classes) if result else list(views.totals(run))
    card = environment.get_template(CARD).render(
        record=run.record,
        lead=views.lead(run),
        headline=views.abroad_headline(run),
        notices=views.notices(run),
        created=views.day(run.record.created),
        known={**known, **answers(run)},
        classes=listed(classes, 12),
        limits=views.limits(run),
        totals=views.totals(run),
        result=result,
        metrics=[(n, m) for n, m in result.metrics.items() if TWINS.get(n) not in result.metrics] if result else [],
        answer=views.answer(result) if result else "",
        answering=views.answering(run),
        answering_rows=answering_rows(result.answered.entry) if result and result.answered else [],
        published=views.published_table(run),
        findings=findings(run),
        audit=run.audit,
        concepts=shown_concepts(run),
        hidden=run.hidden,
        checklists=[("Items of CLAIM 2024", claim(run)), ("Items of TRIPOD+AI", tripod(run))] if run.medical else [],
        commands=[(what, Markup(command.replace("\n", " "))) for what, command in views.commands(run)],
        engines=engines_in_words(run.engines),
        blank=BLANK,
    )
    return re.sub(r"\n{3,}", "\n\n", card)


def _plain(value: object) -> object:
    """A value as it stands in Markdown: one line, and nothing that begins a cell, a tag or a link; Markup as it is."""
    from markupsafe import Markup

    if not isinstance(value, str) or isinstance(value, Markup):
        return value
    return re.sub(r"([|<>`*]|(?<=\])\()", r"\\\1", " ".join(value.split()))
