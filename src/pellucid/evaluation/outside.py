"""Outside what the model was trained on: how far an image lies from the training images, as the model sees them.

An image is seen as its features: the mean over space of each channel of the explained layer, which the pass that
answers gives as well.
"""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, Field


class Reference(BaseModel):
    """What is known of the training images' features; the arrays are in `file` of the bundle.

    `threshold` is the distance beyond which an image is flagged: that below which a share `quantile` of the validation
    images (of which there were `images`, in `groups` where there are any) lies. `trained` images are described.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    method: str
    layer: str
    channels: int
    trained: int
    images: int
    groups: int | None = None
    threshold: float = Field(gt=0)
    quantile: float = Field(gt=0.5, lt=1)
    file: str = "reference.npz"
