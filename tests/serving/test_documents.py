"""docs/reference/http.md and docs/deploy.md say what the server does."""

from __future__ import annotations

import re
from pathlib import Path

from tests.serving.running import Running
from typer.testing import CliRunner

from pellucid.cli.main import app
from pellucid.serving.attacks.run import ATTACKS

ROOT = Path(__file__).parents[2]
HTTP = (ROOT / "docs" / "reference" / "http.md").read_text(encoding="utf-8")
DEPLOY = (ROOT / "docs" / "deploy.md").read_text(encoding="utf-8")


def test_every_address_is_documented_and_there(server: Running) -> None:
    paths = server.target().request("GET", "/openapi.json").document["paths"]
    named = {address.split("?")[0] for address in re.findall(r"`(?:GET |POST |DELETE )?(/[^` ]*)`", HTTP)}
    assert set(paths) <= named
    assert {a for a in named if a.startswith(("/v1", "/v2"))} <= set(paths)


def test_every_code_is_documented() -> None:
    documented = set(re.findall(r"`([a-z-]+)`", HTTP.split("## Refusals")[1].split("##")[0]))
    source = "".join(f.read_text(encoding="utf-8") for f in (ROOT / "src" / "pellucid" / "serving").rglob("*.py"))
    raised = set(re.findall(r'Problem\(\s*[^,()]+,\s*"([a-z-]+)"', source)) | set(
        re.findall(r'code="([a-z-]+)"', source)
    )
    assert len(raised) > 30
    assert raised - {"refused"} <= documented


def test_every_row_is_documented() -> None:
    rows: set[int] = set()
    for cell in re.findall(r"^\| (\d[\d, to]*) \|", HTTP, re.MULTILINE):
        first, to, last = cell.partition(" to ")
        rows |= set(range(int(first), int(last) + 1)) if to else {int(n) for n in cell.split(",")}
    assert rows >= {a.row for a in ATTACKS}


def test_every_option_exists() -> None:
    shown = CliRunner().invoke(app, ["serve", "--help"], env={"COLUMNS": "200"}).output
    named = {
        o for line in DEPLOY.splitlines() if "docker" not in line for o in re.findall(r"(?<![-\w])--[a-z][a-z-]+", line)
    }
    dockers = {"--read-only", "--tmpfs", "--cap-drop", "--security-opt", "--rm", "--attack"}
    assert len(named) > 12
    for option in named - dockers:
        assert option in shown, option
