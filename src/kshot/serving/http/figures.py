"""What /metrics tells. Never by tenant or model: there may be a hundred thousand of them."""

from __future__ import annotations

from collections.abc import Iterator

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import GaugeMetricFamily, Metric

from kshot.serving.observing import Observed
from kshot.serving.service import Service


class Figures:
    """All series of one application, in the registry of its service."""

    def __init__(self, service: Service) -> None:
        self._service = service
        self._observed: Observed = service.observed
        self._told = CollectorRegistry()
        self._told.register(self)

    def answered(self, route: str, code: int, seconds: float) -> None:
        """One more request was answered."""
        self._observed.requests.labels(route, str(code)).inc()
        self._observed.request_seconds.observe(seconds)

    def collect(self) -> Iterator[Metric]:
        """The families, as the client library asks for them."""
        yield from self._observed.families.collect()
        yield GaugeMetricFamily("kshot_models", "Models of all tenants", value=self._service.store.count())

    def text(self) -> bytes:
        """All of it in the text format of Prometheus."""
        return generate_latest(self._told)
