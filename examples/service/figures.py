"""What the service tells Prometheus."""

from __future__ import annotations

from collections.abc import Callable

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    ProcessCollector,
    generate_latest,
)

SECONDS = (0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10)
BATCHES = (1, 2, 4, 8, 16, 32)


class Figures:
    """Counters of one service, in a registry of their own."""

    def __init__(self, taken: Callable[[], int]) -> None:
        """Make them all zero.

        Args:
            taken: Tells how many places are taken.
        """
        self._registry = CollectorRegistry()
        ProcessCollector(registry=self._registry)
        self.answers = Counter(
            "hrvit_answers", "Answers to POST /predict.", ["status"], registry=self._registry
        )
        self.seconds = Histogram(
            "hrvit_seconds",
            "What answering takes, by part.",
            ["part"],
            buckets=SECONDS,
            registry=self._registry,
        )
        self.images = Histogram(
            "hrvit_run_images", "Images in a run.", buckets=BATCHES, registry=self._registry
        )
        self.run_seconds = Histogram(
            "hrvit_run_seconds", "What a run takes.", buckets=SECONDS, registry=self._registry
        )
        Gauge(
            "hrvit_places_taken", "Requests being answered.", registry=self._registry
        ).set_function(taken)

    def told(self, images: int, seconds: float) -> None:
        """Count a run."""
        self.images.observe(images)
        self.run_seconds.observe(seconds)

    def text(self) -> bytes:
        """In Prometheus' own format."""
        return generate_latest(self._registry)
