"""What requests and replies look like, for the OpenAPI document and its readers."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, ConfigDict, Field, field_validator


class ProblemDocument(BaseModel):
    """A refusal (RFC 9457). `code` is stable, `detail` is a sentence for people."""

    type: str
    title: str
    status: int | str
    code: str
    detail: str
    error: str | None = None


class Outside(BaseModel):
    """Whether an image is unusual: it does not resemble the training images."""

    score: float | None
    flagged: bool
    sentence: str


class AnswerReason(BaseModel):
    """Why no class is answered: `code` is unlike, unsure or unpromised, `text` a sentence for people."""

    code: str
    value: float | None
    limit: float | None
    text: str


class AnswerDocument(BaseModel):
    """What becomes of an image. `outcome` is answer, none or refer; `set` is the prediction set at `coverage`."""

    outcome: str
    label: str
    predicted: str
    set: list[str] | None
    interval: list[float] | None
    coverage: float | None
    probabilities: dict[str, float]
    threshold: float | None
    reasons: list[AnswerReason]


class ImageFacts(BaseModel):
    """The picture as it was sent."""

    width: int
    height: int
    format: str


class PredictionReply(BaseModel):
    """One classified image. `id` is what feedback refers to; it can be given where `stored` is true."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "id": "4f6f8a0f1c0e4a0c9d1d0b4f5c7b2a11",
                    "stored": True,
                    "model": "phantom",
                    "label": "opacity",
                    "confidence": 0.973,
                    "probabilities": {"normal": 0.027, "opacity": 0.973},
                    "output": None,
                    "decision": "opacity, with a probability of 97.3 %; opacity is answered from 50 % on.",
                    "answer": {
                        "outcome": "answer",
                        "label": "opacity",
                        "predicted": "opacity",
                        "set": ["opacity"],
                        "interval": None,
                        "coverage": 0.95,
                        "probabilities": {"normal": 0.027, "opacity": 0.973},
                        "threshold": 0.5,
                        "reasons": [],
                    },
                    "outside": None,
                    "warnings": [],
                    "image": {"width": 1400, "height": 1000, "format": "JPEG"},
                    "seconds": 0.021,
                }
            ]
        }
    )

    id: str
    stored: bool
    model: str
    label: str
    confidence: float | None
    probabilities: dict[str, float]
    output: float | None
    decision: str
    answer: AnswerDocument | None
    outside: Outside | None
    warnings: list[str]
    image: ImageFacts
    seconds: float


class Grid(BaseModel):
    """A map over the whole image: little-endian float32, row by row, in base64."""

    width: int
    height: int
    values: str


class Explanation(BaseModel):
    """One map for one class, in its unit."""

    method: str
    target: str
    against: str | None = None
    layer: str | None
    unit: str
    signed: bool
    verdict: str
    grid: Grid
    quantiles: dict[str, list[float] | None]
    settings: dict[str, Any]
    png: str | None
    png_map: str | None


class ConceptShare(BaseModel):
    """The share (0 to 1) of the evidence for the predicted class that lies in a concept of the model's audit.

    `status` is accepted or rejected where a person answered for the concept (`words` are theirs), else shortcut,
    question or unproven.
    """

    concept: str
    label: str
    share: float
    status: str
    words: str


class ExplanationReply(PredictionReply):
    """One classified and explained image; `goes_by` is null for a model without an audit that found concepts."""

    explanations: list[Explanation]
    goes_by: list[ConceptShare] | None = None
    seen: str | None
    preview: str | None


class ClassicReply(BaseModel):
    """The older `/predict`: `confidence` in per cent for the class named, `raw_score` of the positive class."""

    diagnosis: str
    confidence: float | None
    raw_score: float
    status: str
    gradcam_available: bool
    gradcam: str | None


class FeedbackRequest(BaseModel):
    """What someone says of one answer."""

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={
            "examples": [{"id": "4f6f8a0f1c0e4a0c9d1d0b4f5c7b2a11", "correct": False, "label": "normal", "comment": ""}]
        },
    )

    id: str = Field(pattern="^[0-9a-f]{32}$")
    correct: bool
    label: str | None = Field(default=None, max_length=255)
    comment: str | None = Field(default=None, max_length=500)

    @field_validator("comment")
    @classmethod
    def _without_nul(cls, comment: str | None) -> str | None:
        """PostgreSQL has no NUL in texts."""
        return None if comment is None else comment.replace("\0", "\N{REPLACEMENT CHARACTER}")


IMAGE_BODY: dict[str, Any] = {
    "requestBody": {
        "required": True,
        "content": {
            "multipart/form-data": {
                "schema": {
                    "type": "object",
                    "required": ["file"],
                    "properties": {"file": {"type": "string", "format": "binary", "description": "The image."}},
                }
            },
            "application/json": {
                "schema": {
                    "oneOf": [
                        {
                            "type": "object",
                            "required": ["image"],
                            "properties": {"image": {"type": "string", "description": "The file in base64."}},
                        },
                        {
                            "type": "object",
                            "required": ["url"],
                            "properties": {"url": {"type": "string", "examples": ["https://example.org/film.png"]}},
                        },
                    ]
                }
            },
            "application/octet-stream": {"schema": {"type": "string", "format": "binary"}},
            "image/png": {"schema": {"type": "string", "format": "binary"}},
            "image/jpeg": {"schema": {"type": "string", "format": "binary"}},
        },
    }
}

REFUSALS: dict[int | str, dict[str, Any]] = {
    status: {
        "description": description,
        "content": {"application/problem+json": {"schema": {"$ref": "#/components/schemas/ProblemDocument"}}},
    }
    for status, description in {
        400: "Malformed, or no file.",
        401: "The API key is missing or wrong.",
        403: "Sent from another site.",
        404: "No such thing.",
        408: "The body came too slowly.",
        413: "Too many bytes.",
        415: "Not of a type that is read, or not of the type declared.",
        422: "Of the right type, and unusable.",
        429: "Too many requests from one client.",
        503: "Busy or stopping; Retry-After says when to try again.",
    }.items()
}
