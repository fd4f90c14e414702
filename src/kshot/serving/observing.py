"""What a service counts of itself while it works."""

from __future__ import annotations

from collections.abc import Sequence

from prometheus_client import CollectorRegistry, Counter, Histogram

_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0)


class Observed:
    """Counters and histograms of one service, in families of their own.

    >>> seen = Observed()
    >>> seen.batch_size.observe(3)
    >>> seen.families.get_sample_value("kshot_batch_size_sum")
    3.0
    """

    def __init__(self) -> None:
        self.families = CollectorRegistry()
        self.requests = self._counter("requests", "Requests answered", ["route", "code"])
        self.request_seconds = self._seconds("request_seconds", "From a request to its answer")
        self.adapt_seconds = self._seconds("adapt_seconds", "Adapting: encode, solve, store", ["learner"])
        self.predict_seconds = self._seconds(
            "predict_seconds", "Predicting: find the task, encode, answer", ["learner"]
        )
        self.queue_seconds = self._seconds("queue_seconds", "Inputs waiting to be encoded")
        self.batch_size = self._histogram("batch_size", "Requests encoded together", [], range(1, 9))
        self.cache_hits = self._counter("state_cache_hits", "Tasks found in memory")
        self.cache_misses = self._counter("state_cache_misses", "Tasks read from the store")
        self.store_errors = self._counter("store_errors", "Failures of the store")
        self.feedback = self._counter("feedback", "Answers that were judged", ["kind"])

    def _counter(self, name: str, about: str, labels: Sequence[str] = ()) -> Counter:
        return Counter(f"kshot_{name}", about, labels, "", "", "", self.families)

    def _seconds(self, name: str, about: str, labels: Sequence[str] = ()) -> Histogram:
        return self._histogram(name, about, labels, _SECONDS)

    def _histogram(self, name: str, about: str, labels: Sequence[str], buckets: Sequence[float]) -> Histogram:
        return Histogram(f"kshot_{name}", about, labels, "", "", "", self.families, buckets=buckets)
