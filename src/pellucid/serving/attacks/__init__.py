"""Hostile requests against a running server: `pellucid doctor --attack URL`."""
