"""`certificate.json` of a bundle: what was exported, compared and refused, for whoever has to rely on it."""

from __future__ import annotations

from pathlib import Path

from pydantic import Field

from ..documents import Document
from .manifest import MANIFEST, Manifest, Parity
from .opsets import opset_of
from .stored_answers import ANSWERS

CERTIFICATE, CERTIFICATE_PAGE = "certificate.json", "certificate.html"


class CertifiedLayer(Document):
    """An explained layer: its grid of cells, and the distance of cells and place of the first one in input pixels."""

    name: str
    channels: int
    height: int
    width: int
    stride: tuple[float, float]
    offset: tuple[float, float]
    graph: str


class ExportCertificate(Document):
    """How a bundle was proven.

    `parity` has the largest differences between the bundle and the original model, `refused` the graphs that were tried
    and left out with the reason of each, `opsets` the operator version of each graph, `files` the sha256 of each file
    that was exported, and `stored_answers` the file that `pellucid verify` compares with.
    """

    schema_version: int = 1
    pellucid_version: str
    name: str
    created: str
    kind: str
    classes: tuple[str, ...]
    task: str
    input_size: tuple[int, int]
    parity: Parity | None
    layers: tuple[CertifiedLayer, ...]
    graphs: tuple[str, ...]
    refused: dict[str, str] = Field(default_factory=dict)
    notes: tuple[str, ...] = ()
    opsets: dict[str, int | None]
    files: dict[str, str]
    stored_answers: str | None


def certificate_of(folder: Path, manifest: Manifest) -> ExportCertificate:
    """The certificate of a bundle that has just been exported into `folder`."""
    layers = (*((manifest.layer,) if manifest.layer else ()), *manifest.layers)
    provenance = manifest.provenance
    return ExportCertificate(
        pellucid_version=manifest.pellucid_version,
        name=manifest.name,
        created=str(provenance.get("created", "")),
        kind=str(manifest.architecture.get("imported", manifest.architecture.get("backbone", ""))),
        classes=manifest.classes,
        task=manifest.task,
        input_size=(manifest.preprocessing.height, manifest.preprocessing.width),
        parity=manifest.parity,
        layers=tuple(CertifiedLayer(**layer.model_dump(include=set(CertifiedLayer.model_fields))) for layer in layers),
        graphs=manifest.graphs,
        refused=manifest.missing,
        notes=tuple(map(str, provenance.get("notes", ()))),
        opsets={name: opset_of(folder / name) for name in manifest.graphs},
        files={k: v for k, v in manifest.files.items() if k not in (MANIFEST, CERTIFICATE, CERTIFICATE_PAGE)},
        stored_answers=ANSWERS if ANSWERS in manifest.files else None,
    )
