"""Write the certificate of an exported bundle, as JSON and as a page."""

from __future__ import annotations

from pathlib import Path

from ..bundle.export_certificate import CERTIFICATE, CERTIFICATE_PAGE, ExportCertificate, certificate_of
from ..bundle.io import amend_bundle, read_bundle


def certify(folder: Path) -> ExportCertificate:
    """Add `certificate.json` and `certificate.html` to a bundle; returns what they say."""
    from ..reporting.export_certificate import render_certificate

    certificate = certificate_of(folder, read_bundle(folder))
    page = render_certificate(certificate).encode("utf-8", "replace")
    document = certificate.model_dump_json(indent=2).encode()
    amend_bundle(folder, {}, {CERTIFICATE: document, CERTIFICATE_PAGE: page})
    return certificate
