"""The page's markup: the product's own, with what a page without a server says besides."""

from __future__ import annotations

import html
import json
import re
from pathlib import Path

from .. import serving
from .scripts import PRODUCT

TEMPLATE = Path(serving.__file__).parent / "templates" / "index.html"
STYLES = ("base.css", "page.css", "stage.css", "report.css")
HERE = Path(__file__).parent

PRIVACY = """<p class="privacy"><span class="mark good"><i aria-hidden="true"></i><span data-t="alone.private">\
Images stay in this browser.</span></span> <button type="button" class="link" id="alone-more" data-t="alone.more">\
How this is enforced</button></p>
"""
NOTES = """<dialog id="alone" aria-labelledby="alone-title">
  <form method="dialog"><h2 id="alone-title" data-t="alone.title">About this page</h2><button class="quiet square" \
data-t-label="close" aria-label="Close"><svg class="icon" aria-hidden="true" viewBox="0 0 20 20"><use href="#i-close"/>\
</svg></button></form>
  <div id="alone-notes"></div>
</dialog>
"""
FIRST_WORDS = ("alone.failed", "alone.from-disk", "alone.old-browser")
"""What is said where the dictionaries cannot be read."""

CHECK = '<p class="banner problem" id="alone-check" role="status" hidden></p>\n'


def styles() -> str:
    """The style sheet: the product's for this page, then its own."""
    folder = PRODUCT.parent / "css"
    texts = [(folder / name).read_text(encoding="utf-8") for name in STYLES]
    return "".join([*texts, (HERE / "alone.css").read_text(encoding="utf-8")])


def early_script() -> str:
    """What runs before the first paint."""
    return (PRODUCT / "theme-early.js").read_text(encoding="utf-8")


def page(*, title: str, policy: str, head: str, foot: str) -> str:
    """The whole page: `head` and `foot` bring styles, scripts and parts, `policy` what they may do."""
    text = TEMPLATE.read_text(encoding="utf-8")
    text = re.sub(r'<(?:link rel="(?:icon|stylesheet)"|script )[^\n]*\n', "", text)
    meta = f'<meta http-equiv="Content-Security-Policy" content="{html.escape(policy)}">\n'
    text = _after(text, '<meta charset="utf-8">\n', meta)
    text = text.replace("<title>pellucid</title>\n", f"<title>{html.escape(title)}</title>\n{head}")
    text = _after(text, '<p class="banner problem" id="server" role="status" hidden></p>\n', CHECK)
    text = text.replace(
        '    <p class="fine" id="formats"></p>\n', f'    {PRIVACY}    <p class="fine" id="formats"></p>\n'
    )
    return text.replace("</body>", f"{NOTES}{_first_words()}{foot}</body>")


def _first_words() -> str:
    folder = HERE / "i18n"
    known = {path.stem: json.loads(path.read_text(encoding="utf-8")) for path in sorted(folder.glob("*.json"))}
    kept = {language: {key: words[key] for key in FIRST_WORDS} for language, words in known.items()}
    return f'<script type="application/json" id="first-words">{json.dumps(kept)}</script>\n'


def _after(text: str, marker: str, added: str) -> str:
    if text.count(marker) != 1:
        raise ValueError(f"the page's template has changed: {marker!r}")
    return text.replace(marker, marker + added)
