"""All numbers of a server in the text format of Prometheus, or as OpenMetrics."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence

from prometheus_client import CollectorRegistry, ProcessCollector
from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    Metric,
)
from prometheus_client.exposition import choose_encoder
from prometheus_client.registry import Collector

from flight_server.telemetry.instruments import Counts, Instrument, Kind, Reading, Times

BUILD = "lakeflight_build_info"
BUILD_MEANING = "Always 1; its labels are the versions of the server and its libraries."


class Exposition:
    """The numbers of one server, and of its process.

    ``versions`` are those of the build, by label. The registry is our own: what other libraries
    register globally stays out.
    """

    def __init__(self, instruments: Iterable[Instrument], *, versions: Mapping[str, str]) -> None:
        self._registry = CollectorRegistry(auto_describe=False)
        self._registry.register(_Collector(tuple(instruments), versions))
        ProcessCollector(registry=self._registry)

    def render(self, accept: str = "") -> tuple[bytes, str]:
        """Return the text and its content type, in the best format that ``accept`` allows."""
        encode, content_type = choose_encoder(accept)
        return encode(self._registry), content_type


class _Collector(Collector):
    """Turns our instruments into the library's families, at each scrape anew."""

    def __init__(self, instruments: Sequence[Instrument], versions: Mapping[str, str]) -> None:
        self._instruments = instruments
        self._versions = versions

    def collect(self) -> Iterator[Metric]:
        build = GaugeMetricFamily(BUILD, BUILD_MEANING, labels=list(self._versions))
        build.add_metric(list(self._versions.values()), 1.0)
        yield build
        yield from map(_family, self._instruments)


def _family(instrument: Instrument) -> Metric:
    if isinstance(instrument, Times):
        return _histogram(instrument)
    if isinstance(instrument, Counts):
        return _numbers(instrument, instrument.samples().items(), Kind.COUNTER)
    return _numbers(instrument, instrument.read(), instrument.kind)


def _numbers(
    instrument: Counts | Reading,
    samples: Iterable[tuple[tuple[str, ...], float]],
    kind: Kind,
) -> Metric:
    make = CounterMetricFamily if kind is Kind.COUNTER else GaugeMetricFamily
    family = make(instrument.name, instrument.meaning, labels=instrument.labels)
    for labels, value in samples:
        family.add_metric(labels, value)
    return family


def _histogram(times: Times) -> Metric:
    family = HistogramMetricFamily(times.name, times.meaning, labels=times.labels)
    for labels, observed in times.samples().items():
        buckets, so_far = [], 0
        for bound, count in zip((*times.bounds, float("inf")), observed.counts, strict=True):
            so_far += count
            buckets.append((_bound(bound), so_far))
        family.add_metric(labels, buckets, observed.total)
    return family


def _bound(seconds: float) -> str:
    return "+Inf" if seconds == float("inf") else repr(seconds)
