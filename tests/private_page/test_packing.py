"""Bytes in a page come back whole."""

from __future__ import annotations

import base64
from pathlib import Path

import numpy as np
import pytest
from tests.private_page.harness import CODEC, in_node, needs_node

from pellucid.private_page.packing import written

CODE = (
    'import { unwritten } from "./parts.js";\n'
    + CODEC
    + """
globalThis.harness = async (texts) => texts.map((text) => textOf(unwritten(text)));
"""
)


@needs_node
def test_bytes_come_back_whole(tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    given = [random.integers(0, 256, n, np.uint8).tobytes() for n in (0, 1, 2, 3, 4, 5, 1000, 4099)]
    given += [b"\0" * 9, b"\xff" * 11]
    found = in_node(tmp_path, CODE, [written(data) for data in given])
    assert [base64.b64decode(text) for text in found] == given


@pytest.mark.parametrize("letter", "<\0\r")
def test_no_letter_means_anything_to_html(letter: str) -> None:
    assert letter not in written(np.random.default_rng(1).integers(0, 256, 100_000, np.uint8).tobytes())
