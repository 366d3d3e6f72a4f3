"""A verdict in words, as audits of data and of models give them."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict

Level = Literal["problem", "caution", "information", "good"]
LEVELS: tuple[Level, ...] = ("problem", "caution", "information", "good")


class Finding(BaseModel):
    """One verdict: how grave it is, what it is about in a word or two, what was seen, and what to do about it."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    level: Level
    topic: str
    text: str
    advice: str = ""
