"""`certificate.html`: how an exported bundle was proven, as one page."""

from __future__ import annotations

from ..bundle.export_certificate import ExportCertificate
from .html import page_environment, page_frame


def render_certificate(certificate: ExportCertificate) -> str:
    """The page of a certificate."""
    return (
        page_environment()
        .get_template("certificate.html")
        .render(certificate=certificate, day=certificate.created[:10], **page_frame())
    )
