"""What pellucid writes to disk as JSON: values that never change, in which an unknown field is an error."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict


class Document(BaseModel):
    """A JSON document, or a part of one. Frozen; a field that it does not have raises ValidationError."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class FiniteDocument(Document):
    """A document whose numbers are finite: what is not defined is null."""

    model_config = ConfigDict(allow_inf_nan=False)
