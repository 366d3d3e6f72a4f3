"""Every language says everything, and the page's own English is that of its dictionary."""

from __future__ import annotations

import json
import re
from html.parser import HTMLParser
from pathlib import Path

import pytest

import pellucid.private_page
import pellucid.serving
from pellucid.explanation.catalogue import METHODS
from pellucid.private_page.markup import CHECK, NOTES, PRIVACY

ROOT = Path(pellucid.serving.__file__).parent
WORDS = ROOT / "static" / "i18n"
LANGUAGES = json.loads((WORDS / "languages.json").read_text(encoding="utf-8"))
ENGLISH = json.loads((WORDS / "en.json").read_text(encoding="utf-8"))
PAGES = sorted((ROOT / "templates").glob("*.html"))
SCRIPTS = sorted((ROOT / "static" / "js").glob("*.js"))
# The page without a server says some things in other words, and others besides.
ALONE = Path(pellucid.private_page.__file__).parent
OWN_WORDS = json.loads((ALONE / "i18n" / "en.json").read_text(encoding="utf-8"))
OWN_SCRIPTS = sorted((ALONE / "js").glob("*.js"))
# Keys that are put together from a part that is fixed and one that is data.
MADE = ("adjust.scale-", "batch.", "dash.", "error.", "family.", "feedback.", "map.", "method.", "metric.", "place.")
MADE += ("goes-by.", "queue.", "reading.", "reason.", "save.", "score.", "theme.", "trust.", "unit.", "verdict.")
MADE += ("view.", "withheld.")


class Marked(HTMLParser):
    """Collects [key, text or attribute] of everything that names its words."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[tuple[str, str]] = []
        self.key: str | None = None

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = {name: value or "" for name, value in attrs}
        assert "style" not in given
        assert not any(name.startswith("on") for name in given)
        self.key = given.get("data-t")
        for source, attribute in (("data-t-label", "aria-label"), ("data-t-hint", "placeholder")):
            if source in given:
                self.found.append((given[source], given[attribute]))

    def handle_data(self, data: str) -> None:
        if self.key is not None and data.strip():
            self.found.append((self.key, data))
            self.key = None


def test_units_are_those_of_the_methods() -> None:
    units = {key: text for key, text in ENGLISH.items() if key.startswith("unit.")}
    assert units == {f"unit.{row.name}": row.unit for row in METHODS}


def test_all_dictionaries_are_listed() -> None:
    assert {path.stem for path in WORDS.glob("*.json")} - {"languages"} == set(LANGUAGES)
    assert {"en", "de", "es", "zh"} <= set(LANGUAGES)


@pytest.mark.parametrize("folder", [WORDS, ALONE / "i18n"], ids=["product", "private"])
@pytest.mark.parametrize("code", [code for code in LANGUAGES if code != "en"])
def test_every_language_says_everything(code: str, folder: Path) -> None:
    english = json.loads((folder / "en.json").read_text(encoding="utf-8"))
    words = json.loads((folder / f"{code}.json").read_text(encoding="utf-8"))
    singular = {key for key in english if key.endswith(".one")}
    assert set(english) - singular <= set(words) <= set(english)
    for key, text in words.items():
        assert set(re.findall(r"\{\w+\}", text)) == set(re.findall(r"\{\w+\}", english[key])), key
        assert "!" not in text.replace("<!", "")


@pytest.mark.parametrize("page", PAGES, ids=lambda path: path.stem)
def test_the_page_reads_as_its_dictionary(page: Path) -> None:
    reader = Marked()
    reader.feed(page.read_text(encoding="utf-8"))
    assert len(reader.found) > 10
    for key, text in reader.found:
        assert ENGLISH[key] == text, key


def test_every_key_is_known_and_used() -> None:
    scripts = "\n".join(path.read_text(encoding="utf-8") for path in SCRIPTS)
    pages = "\n".join(path.read_text(encoding="utf-8") for path in PAGES)
    plurals = {key.rsplit(".", 1)[0] for key in ENGLISH if key.endswith(".other")}
    asked = set(re.findall(r"\bt\(\s*\"([\w.-]+)\"", scripts)) | set(
        re.findall(r"data-t(?:-\w+)?=\"([\w.-]+)\"", pages)
    )
    assert asked <= set(ENGLISH) | plurals
    assert set(re.findall(r"\btn\(\s*\"([\w.-]+)\"", scripts)) <= plurals
    for key in ENGLISH:
        base = key.rsplit(".", 1)[0] if key.rsplit(".", 1)[0] in plurals else key
        assert base in asked or f'"{base}"' in scripts or base.startswith(MADE), key


def test_every_word_of_the_private_page_is_used() -> None:
    scripts = "\n".join(path.read_text(encoding="utf-8") for path in OWN_SCRIPTS)
    markup = PRIVACY + NOTES + CHECK
    reader = Marked()
    reader.feed(markup)
    for key, text in reader.found:
        assert {**ENGLISH, **OWN_WORDS}[key] == text, key
    plurals = {key.rsplit(".", 1)[0] for key in OWN_WORDS if key.endswith(".other")}
    asked = set(re.findall(r"\bt\(\s*\"([\w.-]+)\"", scripts)) | set(re.findall(r"\btn\(\s*\"([\w.-]+)\"", scripts))
    assert asked <= set(OWN_WORDS) | plurals
    made = ("error.", "intake.formats", "alone.state-", "alone.check-state-")
    for key in OWN_WORDS:
        base = key.rsplit(".", 1)[0] if key.rsplit(".", 1)[0] in plurals else key
        assert f'"{base}"' in scripts + markup or base.startswith(made), key


def test_nothing_names_an_outside_host() -> None:
    for path in [*PAGES, *SCRIPTS, *OWN_SCRIPTS, *(ROOT / "static" / "css").glob("*.css")]:
        hosts = set(re.findall(r"https?://([\w.]+)", path.read_text(encoding="utf-8")))
        assert hosts <= {"www.w3.org"}, path.name
