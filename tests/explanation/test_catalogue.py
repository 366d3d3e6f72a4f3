"""Methods by name, and their settings from text."""

from dataclasses import asdict

import pytest

from pellucid.errors import InputError, UnknownNameError
from pellucid.explanation.catalogue import METHODS, find_method, method_names, parse_settings, settings_of

# A method that has settings, whichever it is.
TUNABLE = next(m for m in METHODS if any(type(v) is int for v in asdict(m.settings()).values()))
SETTING, DEFAULT = next((k, v) for k, v in asdict(TUNABLE.settings()).items() if type(v) is int)


def test_names_are_found_and_stand_once():
    assert method_names()[0] == "grad-cam"
    assert len(set(method_names())) == len(METHODS)
    assert [find_method(name) for name in method_names()] == list(METHODS)


@pytest.mark.parametrize("name", ["gradcam", "grad-cma", "Grad-CAM"])
def test_an_unknown_method_is_refused_with_the_nearest(name):
    with pytest.raises(UnknownNameError, match=r"Did you mean .*grad-cam.*`pellucid methods` lists them\."):
        find_method(name)


def test_settings_are_read_from_text_on_top_of_the_defaults():
    assert parse_settings(TUNABLE.name, []) == TUNABLE.settings() == settings_of(TUNABLE)
    changed = parse_settings(TUNABLE.name, [f" {SETTING} = {DEFAULT + 1}"])
    assert asdict(changed) == {**asdict(TUNABLE.settings()), SETTING: DEFAULT + 1}
    assert parse_settings(TUNABLE.name, [f"{SETTING}={DEFAULT + 1}", f"{SETTING}={DEFAULT + 2}"]) == settings_of(
        TUNABLE, overrides={SETTING: DEFAULT + 2}
    )
    assert settings_of(TUNABLE, changed) == changed


@pytest.mark.parametrize("text", ["", "=3", "nothing", " = "])
def test_a_setting_is_a_key_and_a_value(text):
    with pytest.raises(InputError, match="write key=value, for example samples=500"):
        parse_settings(TUNABLE.name, [text])


def test_settings_that_do_not_fit_are_refused():
    with pytest.raises(InputError, match=rf"^{TUNABLE.name} has no setting '{SETTING}x'\. It takes {SETTING}"):
        parse_settings(TUNABLE.name, [f"{SETTING}x=3"])
    with pytest.raises(InputError, match=f"{SETTING} must be of type int, not 'many'"):
        parse_settings(TUNABLE.name, [f"{SETTING}=many"])
    with pytest.raises(InputError, match=r"^grad-cam has no setting 'samples'\. It takes none\."):
        parse_settings("grad-cam", ["samples=3"])
    with pytest.raises(UnknownNameError):
        parse_settings("gradcam", ["samples=3"])
