"""Each gate finds what is planted, and lets pass what it should."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest

TOOLS = Path(__file__).parents[2] / "tools"


@pytest.fixture(scope="module")
def gates() -> ModuleType:
    spec = importlib.util.spec_from_file_location("pellucid_gates", TOOLS / "gates.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


def planted(root: Path, **files: str) -> Path:
    """A tree with these files below src/pellucid; `a__b` is the file a/b.py."""
    for name, text in files.items():
        path = root / "src" / "pellucid" / (name.replace("__", "/") + ".py")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    return root


@pytest.mark.parametrize(
    "code",
    [
        'text.startswith("cannot be opened")',
        '"is named" in text',
        '"no such file" not in str(error)',
        'text.removeprefix("Value error, of ours")',
        'text.startswith(("no tail", "ends early"))',
        'reason.startswith("Ignored")',
        'entry.reason.endswith("skipped")',
        '[n for n in notes if n.startswith("Ignored")]',
        'WORDS = ("not read", "not found")\ntext.startswith(WORDS)',
        'text.startswith(f"{name} was left")',
    ],
)
def test_asking_a_sentence_is_found(gates: ModuleType, tmp_path: Path, code: str) -> None:
    assert len(list(gates.prose(planted(tmp_path, data__folder=code)))) == 1
    assert not list(gates.prose(planted(tmp_path / "cli", cli__folder=code)))


@pytest.mark.parametrize(
    "code",
    [
        'name.startswith("train_")',
        'mode in ("I;16", "two words")',
        '"key" in remark',
        'path.suffix.endswith(".png")',
        'text.replace("a b", "c")',
        'line.partition(" #")',
        '"targets" in {"a b": 1}',
    ],
)
def test_other_questions_pass(gates: ModuleType, tmp_path: Path, code: str) -> None:
    assert not list(gates.prose(planted(tmp_path, data__folder=code)))


@pytest.mark.parametrize(
    ("code", "named"),
    [
        ('raise ValueError("choose another --out.")', ["--out"]),
        ('message = f"{name}: use --group-by or --set data.size"', ["--group-by", "--set"]),
        ('f"--out {folder}"', ["--out"]),
        ('def f():\n    """What --trust does."""', []),
        ('colour = "var(--accent)"', []),
        ('NAMES = {"--accent": 1}', []),
        ('text = "run `pellucid train --resume`"', []),
        ('text = "a -- b, a--b, 1--2"', []),
    ],
)
def test_options_in_messages_are_found(gates: ModuleType, tmp_path: Path, code: str, named: list[str]) -> None:
    found = [hit.what for hit in gates.options(planted(tmp_path, data__folder=code))]
    assert found == [f"names {option}" for option in named]
    assert not list(gates.options(planted(tmp_path / "cli", cli__folder=code)))


def test_options_in_pages_are_found(gates: ModuleType, tmp_path: Path) -> None:
    page = planted(tmp_path, data="") / "src" / "pellucid" / "reporting" / "templates" / "a.html"
    page.parent.mkdir(parents=True)
    page.write_text('<i style="--value: 1"></i>\n<p>Use <code>--group-by</code></p>\n{{ x | replace("--a", "") }}')
    assert [(hit.line, hit.what) for hit in gates.options(tmp_path)] == [(2, "names --group-by")]


def test_classes_of_one_name_are_found(gates: ModuleType, tmp_path: Path) -> None:
    root = planted(tmp_path, a="class Job: ...\nclass Task: ...", b__c="def f():\n    class Job: ...")
    assert [(hit.path, hit.line) for hit in gates.classes(root)] == [("b/c.py", 2)]


@pytest.mark.parametrize(
    "back",
    [
        "from . import a",
        "from .a import f",
        "import pellucid.a",
        "from pellucid import a",
        "def g():\n    from .a import f",
        "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from .a import f",
    ],
)
def test_import_circles_are_found(gates: ModuleType, tmp_path: Path, back: str) -> None:
    root = planted(tmp_path, a="from .b__c import h".replace("__", "."), b__c="from ..d import g", d=back)
    found = list(gates.circles(root))
    assert [hit.what for hit in found] == ["import circle: pellucid.a, pellucid.b.c, pellucid.d"]
    (root / "src" / "pellucid" / "d.py").write_text("import json")
    assert not list(gates.circles(root))


def test_phrases_are_found_everywhere(gates: ModuleType, tmp_path: Path) -> None:
    root = planted(
        tmp_path,
        a='"""The whole\nroad."""\n# go\n# on\nx = ("Take "\n     "away")\n',
        serving__page="pass",
    )
    (root / "README.md").write_text("Chosen anew.\n\nThe whole thing.\n")
    (root / "src" / "pellucid" / "serving" / "i18n").mkdir()
    (root / "src" / "pellucid" / "serving" / "i18n" / "en.json").write_text('{"a": "Let go to ask"}')
    (root / "src" / "pellucid" / "serving" / "i18n" / "de.json").write_text('{"a": "Let go to ask"}')
    places = sorted((Path(hit.path).name, hit.line) for hit in gates.phrases(root))
    assert places == [("README.md", 1), ("a.py", 1), ("a.py", 3), ("a.py", 5), ("en.json", 1)]


def test_it_runs_as_a_program() -> None:
    unknown = subprocess.run(
        [sys.executable, TOOLS / "gates.py", "nothing"], capture_output=True, text=True, check=False
    )
    assert unknown.returncode == 2
    assert "Choose from prose, options, classes, circles, phrases" in unknown.stderr


@pytest.mark.parametrize("name", ["circles"])
def test_this_code_passes(gates: ModuleType, name: str) -> None:
    assert list(gates.GATES[name](gates.ROOT)) == []
