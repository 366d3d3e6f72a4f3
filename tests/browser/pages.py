"""What the tests of the page do with it: give it files, wait for it, read its pixels."""

from __future__ import annotations

import base64
import io
from pathlib import Path
from typing import Any

import numpy as np
import PIL.Image

from pellucid.preprocessing import Uint8Array
from pellucid.serving.attacks.files import film

READ_PIXELS = """(pane) => {
  const shown = document.querySelectorAll(".pane > canvas")[pane];
  const canvas = Object.assign(document.createElement("canvas"), { width: shown.width, height: shown.height });
  const context = canvas.getContext("2d", { willReadFrequently: true });
  context.drawImage(shown, 0, 0);
  const { data } = context.getImageData(0, 0, canvas.width, canvas.height);
  let text = "";
  for (let i = 0; i < data.length; i += 0x8000) text += String.fromCharCode(...data.subarray(i, i + 0x8000));
  return [canvas.height, canvas.width, btoa(text)];
}"""
TWO_FRAMES = "() => new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)))"


class Films:
    """Pictures as files: such as the small model knows, and such as it does not."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def film(self, name: str = "film.png", roll: int = 0) -> Path:
        return self.save(name, np.roll(film(), roll, axis=1))

    def photograph(self, name: str = "photograph.png") -> Path:
        """Coloured noise: nothing like a film."""
        return self.save(name, np.random.default_rng(0).integers(0, 256, (96, 128, 3), np.uint8))

    def save(self, name: str, pixels: Uint8Array) -> Path:
        path = self.folder / name
        PIL.Image.fromarray(pixels).save(path)
        return path


def give(page: Any, *paths: Path) -> None:
    """Choose files and wait until each is answered or refused."""
    page.set_input_files("#file", [str(path) for path in paths])
    page.wait_for_selector(".queue-row", state="attached")
    settled(page)


def settled(page: Any) -> None:
    """Wait until nothing is in work, and for the frame that draws it."""
    drawn(page)
    page.wait_for_selector(".queue-row.waiting, .queue-row.working", state="detached")
    page.wait_for_selector("#working", state="hidden")
    drawn(page)


def drawn(page: Any) -> None:
    """Wait until what was asked for has been drawn."""
    page.evaluate(TWO_FRAMES)


def pixels(page: Any, pane: int = 0) -> Uint8Array:
    """What a pane's canvas shows, (height, width, 4) uint8."""
    height, width, text = page.evaluate(READ_PIXELS, pane)
    return np.frombuffer(base64.b64decode(text), np.uint8).reshape(height, width, 4)


def slide(page: Any, name: str, value: int) -> None:
    """Move a slider as a hand does, and wait for the picture."""
    page.locator(f"#{name}").fill(str(value))
    drawn(page)


def downloaded(page: Any, button: str) -> bytes:
    """The file that a button of the page saves."""
    with page.expect_download() as waiting:
        page.get_by_role("button", name=button, exact=True).click()
    return Path(waiting.value.path()).read_bytes()


def picture(data: bytes) -> Uint8Array:
    """An image file as (height, width, 3) uint8."""
    return np.asarray(PIL.Image.open(io.BytesIO(data)).convert("RGB"))
