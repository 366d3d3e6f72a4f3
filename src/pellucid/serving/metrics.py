"""Prometheus metrics of one server, in a registry of their own. Labels are names that the server knows."""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.exposition import CONTENT_TYPE_LATEST

__all__ = ["CONTENT_TYPE_LATEST", "Metrics"]

SECONDS = (0.005, 0.01, 0.02, 0.04, 0.08, 0.15, 0.3, 0.6, 1.2, 2.5, 5, 10, 30, 60)


class Metrics:
    """Counters and histograms; `text` is what `/metrics` answers."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry(auto_describe=True)
        self.requests = Counter(
            "pellucid_requests_total", "Requests answered.", ("route", "status"), registry=self.registry
        )
        self.seconds = Histogram(
            "pellucid_request_seconds", "Time to answer.", ("route",), registry=self.registry, buckets=SECONDS
        )
        self.predictions = Counter(
            "pellucid_predictions_total", "Images classified.", ("model", "label"), registry=self.registry
        )
        self.outside = Counter("pellucid_outside_total", "Unusual images.", ("model",), registry=self.registry)
        self.refusals = Counter("pellucid_refusals_total", "Refusals by code.", ("code",), registry=self.registry)
        self.running = Gauge(
            "pellucid_in_flight", "Requests that wait or run, by worker pool.", ("lane",), registry=self.registry
        )
        self.feedback = Counter(
            "pellucid_feedback_total", "Feedback received.", ("model", "correct"), registry=self.registry
        )
        self.lost = Gauge("pellucid_store_lost", "Answers that could be stored nowhere.", registry=self.registry)

    def text(self) -> bytes:
        """All metrics in Prometheus' text format."""
        return generate_latest(self.registry)
