"""The page's modules run in Node, or in a page: given JSON, they give JSON."""

from __future__ import annotations

import base64
import json
import shutil
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pellucid.private_page.scripts import OWN, PRODUCT, bundled

NODE = shutil.which("node")
needs_node = pytest.mark.skipif(NODE is None, reason="no Node on this machine")


def script(folder: Path, code: str) -> str:
    """Code that imports the page's modules, as a script that sets `globalThis.harness`, a function of the data."""
    (folder / "harness.js").write_text(code, encoding="utf-8")
    return bundled("harness.js", (folder, OWN, PRODUCT))


def in_node(folder: Path, code: str, data: Any) -> Any:
    """What `harness(data)` of the code gives in Node."""
    end = "harness(JSON.parse(require('fs').readFileSync(0))).then((x) => process.stdout.write(JSON.stringify(x)));\n"
    (folder / "out.js").write_text(script(folder, code) + end, encoding="utf-8")
    done = subprocess.run(
        [NODE or "node", str(folder / "out.js")], input=json.dumps(data).encode(), capture_output=True, check=False
    )
    assert done.returncode == 0, done.stderr.decode()[-2000:]
    return json.loads(done.stdout)


def packed(values: np.ndarray) -> str:
    return base64.b64encode(np.ascontiguousarray(values).tobytes()).decode()


def unpacked(text: str, dtype: str, shape: tuple[int, ...]) -> np.ndarray:
    return np.frombuffer(base64.b64decode(text), dtype).reshape(shape)


CODEC = """
const bytesOf = (text) => Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0));
const floatsOf = (text) => new Float32Array(bytesOf(text).buffer);
const textOf = (values) => {
  const bytes = new Uint8Array(values.buffer, values.byteOffset, values.byteLength);
  let letters = "";
  for (const byte of bytes) letters += String.fromCharCode(byte);
  return btoa(letters);
};
"""
