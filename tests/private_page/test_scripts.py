"""Modules become one script that means the same."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path

import pytest

from pellucid.private_page.scripts import bundled

NODE = shutil.which("node")


def written(folder: Path, **modules: str) -> Path:
    for name, text in modules.items():
        (folder / f"{name}.js").write_text(text, encoding="utf-8")
    return folder


@pytest.mark.skipif(NODE is None, reason="no Node on this machine")
@pytest.mark.parametrize("entry", ["alone.js", "worker.js"])
def test_the_scripts_are_valid(entry: str, tmp_path: Path) -> None:
    (tmp_path / "script.js").write_text(bundled(entry), encoding="utf-8")
    checked = subprocess.run([NODE or "", "--check", tmp_path / "script.js"], capture_output=True, check=False)
    assert checked.returncode == 0, checked.stderr


def test_the_page_is_that_of_the_product() -> None:
    script = bundled("alone.js")
    for name in ("page", "session", "stage", "heat", "controls", "queue", "report", "viewing", "downloads"):
        assert f"const ${name} = " in script
    assert "fetch(" in script
    assert "FormData" not in script.split("const $batch")[0]


@pytest.mark.skipif(NODE is None, reason="no Node on this machine")
def test_names_of_modules_do_not_meet(tmp_path: Path) -> None:
    written(
        tmp_path,
        one='// first\nimport { two } from "./two.js";\nconst hidden = 1;\nexport const sum = () => hidden + two();\n',
        two="/** second */\nconst hidden = 41;\nexport function two() {\n  return hidden;\n}\n",
        entry='import { sum } from "./one.js";\nimport "./two.js";\nprocess.stdout.write(JSON.stringify(sum()));\n',
    )
    (tmp_path / "out.js").write_text(bundled("entry.js", (tmp_path,)), encoding="utf-8")
    done = subprocess.run([NODE or "", tmp_path / "out.js"], capture_output=True, check=True)
    assert json.loads(done.stdout) == 42


def test_the_first_folder_wins(tmp_path: Path) -> None:
    own, product = tmp_path / "own", tmp_path / "product"
    own.mkdir()
    product.mkdir()
    written(own, api="export const from = 1;\n")
    written(product, api="export const from = 2;\n", page='import { from } from "./api.js";\nfrom;\n')
    assert "from = 1" in bundled("page.js", (own, product))


CIRCLE = {
    "a": 'import { b } from "./b.js";\nexport const a = b;\n',
    "b": 'import { a } from "./a.js";\nexport const b = a;\n',
}


@pytest.mark.parametrize(
    ("modules", "words"),
    [
        (CIRCLE, "circle"),
        ({"a": "export let moving = 1;\n"}, "not understood"),
        ({"a": 'import * as all from "./b.js";\n', "b": ""}, "not understood"),
        ({"a": "export default 1;\n"}, "not understood"),
    ],
)
def test_what_is_not_understood_is_refused(modules: dict[str, str], words: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=words):
        bundled("a.js", (written(tmp_path, **modules),))
