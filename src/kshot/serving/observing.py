"""What a service counts of itself while it works."""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter, Histogram

_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0)


class Observed:
    """Counters and histograms of one service, in a registry of their own.

    >>> seen = Observed()
    >>> seen.batch_size.observe(3)
    >>> seen.registry.get_sample_value("kshot_batch_size_sum")
    3.0
    """

    def __init__(self) -> None:
        self.registry = own = CollectorRegistry()
        self.requests = Counter("kshot_requests", "Requests answered", ["route", "code"], registry=own)
        self.request_seconds = Histogram(
            "kshot_request_seconds", "From a request to its answer", buckets=_SECONDS, registry=own
        )
        self.adapt_seconds = Histogram(
            "kshot_adapt_seconds",
            "Adapting: encode, solve, store",
            ["learner"],
            buckets=_SECONDS,
            registry=own,
        )
        self.predict_seconds = Histogram(
            "kshot_predict_seconds", "Predicting: find the task, encode, answer", ["learner"], buckets=_SECONDS, registry=own
        )  # fmt: skip
        self.queue_seconds = Histogram(
            "kshot_queue_seconds", "Inputs waiting to be encoded", buckets=_SECONDS, registry=own
        )
        self.batch_size = Histogram(
            "kshot_batch_size", "Requests encoded together", buckets=(1, 2, 3, 4, 5, 6, 7, 8), registry=own
        )
        self.cache_hits = Counter("kshot_state_cache_hits", "Tasks found in memory", registry=own)
        self.cache_misses = Counter("kshot_state_cache_misses", "Tasks read from the store", registry=own)
        self.store_errors = Counter("kshot_store_errors", "Failures of the store", registry=own)
        self.feedback = Counter("kshot_feedback", "Answers that were judged", ["kind"], registry=own)
