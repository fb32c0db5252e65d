"""Metrics for Prometheus: everything that contexts count, as `resumption.Context.stats` has it.

    registry.register(SessionCollector(server, client))

The numbers are read when they are scraped; nothing is counted twice, and a handshake pays nothing for it. Needs the
extra ``metrics``.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.registry import Collector

from resumption.client_context import ClientContext
from resumption.server_context import ServerContext
from resumption.session.statistics import ContextStats, StoreReport
from resumption.session.stores.breaker import BreakerState

__all__ = ["SessionCollector"]

_LOOKUPS = ("answered", "failed", "timed_out", "refused_open", "refused_busy")
_WRITES = ("written", "write_failures", "dropped")


class SessionCollector(Collector):
    """Collects from ``contexts``, whose names tell them apart: give each its ``name``."""

    def __init__(self, *contexts: ServerContext | ClientContext) -> None:
        self._contexts = list(contexts)

    def add(self, context: ServerContext | ClientContext) -> None:
        """Collect from one more context."""
        self._contexts.append(context)

    def describe(self) -> Iterable[Metric]:
        """The families, empty: so that a registry finds out about names that clash before there is anything."""
        return list(_families([]))

    def collect(self) -> Iterable[Metric]:
        """The families, with the numbers of now."""
        return list(_families([context.stats() for context in self._contexts]))


def _families(all_stats: list[ContextStats]) -> Iterator[Metric]:
    names = ["context", "role"]
    resumed = CounterMetricFamily(
        "resumption_handshakes_resumed", "Handshakes that a session resumed.", labels=[*names, "mechanism"]
    )
    full = CounterMetricFamily("resumption_handshakes_full", "Handshakes without a session.", labels=names)
    reasons = CounterMetricFamily(
        "resumption_handshakes_declined", "Full handshakes, by the reason for which.", labels=[*names, "reason"]
    )
    counters = CounterMetricFamily(
        "resumption_session_events", "The counters that OpenSSL has, by their names there.", labels=[*names, "event"]
    )
    cached = GaugeMetricFamily("resumption_sessions_cached", "Sessions in the cache of the process.", labels=names)
    early = CounterMetricFamily(
        "resumption_early_data", "Early data: accepted, or the reason why not.", labels=[*names, "outcome"]
    )
    tickets = CounterMetricFamily(
        "resumption_ticket_events", "Tickets that were sealed and opened, or not.", labels=[*names, "event"]
    )
    for stats in all_stats:
        labels = [stats.name, stats.role]
        full.add_metric(labels, stats.full)
        cached.add_metric(labels, stats.counters["number"])
        for mechanism, number in stats.resumed.items():
            resumed.add_metric([*labels, mechanism], number)
        for reason, number in stats.reasons.items():
            reasons.add_metric([*labels, reason], number)
        for event, number in stats.counters.items():
            if event != "number":
                counters.add_metric([*labels, event], number)
        for outcome, number in stats.early.items():
            early.add_metric([*labels, outcome], number)
        for event, number in stats.tickets.items():
            tickets.add_metric([*labels, event], number)
    yield from (resumed, full, reasons, counters, early, cached, tickets)
    yield from _store_families([(stats.name, stats.store) for stats in all_stats if stats.store is not None])


def _store_families(stores: list[tuple[str, StoreReport]]) -> Iterator[Metric]:
    sessions = CounterMetricFamily(
        "resumption_store_sessions", "Sessions saved in the store and looked up there.", labels=["context", "event"]
    )
    lookups = CounterMetricFamily("resumption_store_lookups", "Lookups, by result.", labels=["context", "result"])
    writes = CounterMetricFamily("resumption_store_writes", "Writes, by result.", labels=["context", "result"])
    probes = CounterMetricFamily("resumption_store_probes", "Probes of the circuit breaker.", labels=["context"])
    opened = CounterMetricFamily("resumption_store_breaker_opened", "Times the breaker opened.", labels=["context"])
    state = GaugeMetricFamily(
        "resumption_store_breaker", "1 for the state that the breaker is in.", labels=["context", "state"]
    )
    queue = GaugeMetricFamily("resumption_store_queue_length", "Entries that wait to be written.", labels=["context"])
    in_flight = GaugeMetricFamily("resumption_store_in_flight", "Calls under way in threads.", labels=["context"])
    latency = HistogramMetricFamily(
        "resumption_store_lookup_seconds", "How long answered lookups took.", labels=["context"]
    )
    limits = GaugeMetricFamily("resumption_store_limit", "Limits in force, by name.", labels=["context", "limit"])
    for name, store in stores:
        for event, number in store.sessions.items():
            sessions.add_metric([name, event], number)
        for result in _LOOKUPS:
            lookups.add_metric([name, result], store.calls[result])
        for result in _WRITES:
            writes.add_metric([name, result], store.calls[result])
        probes.add_metric([name], store.calls["probes"])
        opened.add_metric([name], store.opened)
        for each in BreakerState:
            state.add_metric([name, each], float(store.breaker == each))
        queue.add_metric([name], store.queue_length)
        in_flight.add_metric([name], store.in_flight)
        buckets = [("+Inf" if bound == float("inf") else str(bound), float(count)) for bound, count in store.latency]
        latency.add_metric([name], buckets, store.latency_sum_s)
        for limit, value in store.limits.items():
            limits.add_metric([name, limit], value)
    yield from (sessions, lookups, writes, probes, opened, state, queue, in_flight, latency, limits)
