from __future__ import annotations

from prometheus_client.parser import text_string_to_metric_families

from flight_server.telemetry.exposition import Exposition
from flight_server.telemetry.instruments import Counts, Kind, Reading, Times, one
from flight_server.telemetry.meters import Meters

VERSIONS = {"version": "1.2.3"}


def families(exposition: Exposition) -> dict[str, dict[tuple[str, ...], float]]:
    """Return the samples by name, read back by the library's own parser."""
    text = exposition.render()[0].decode()
    found: dict[str, dict[tuple[str, ...], float]] = {}
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            labels = tuple(sample.labels[name] for name in sorted(sample.labels))
            found.setdefault(sample.name, {})[labels] = sample.value
    return found


def test_everything_is_read_back_as_it_was_counted() -> None:
    counts, times = Counts("c_total", "counts", ("b", "a")), Times("t_seconds", "times")
    counts.add(("x", 'quo"te\n'), 3)
    times.observe(0.02)
    times.observe(1e9)
    kept = 7
    reading = Reading("kept", "a reading", one(lambda: kept))
    hits = Reading("hits_total", "a counter", one(lambda: 5), kind=Kind.COUNTER)
    found = families(Exposition([counts, times, reading, hits], versions=VERSIONS))
    assert found["c_total"] == {('quo"te\n', "x"): 3}
    assert found["t_seconds_bucket"][("0.01",)] == 0
    assert found["t_seconds_bucket"][("0.025",)] == 1
    assert found["t_seconds_bucket"][("+Inf",)] == found["t_seconds_count"][()] == 2
    assert found["kept"] == {(): 7}
    assert found["hits_total"] == {(): 5}
    assert found["lakeflight_build_info"] == {("1.2.3",): 1}


def test_the_process_is_there_and_nothing_of_other_libraries() -> None:
    found = families(Exposition(Meters(), versions=VERSIONS))
    assert found["process_resident_memory_bytes"][()] > 1e6
    assert not [name for name in found if name.startswith("python_")]


def test_openmetrics_is_spoken_to_who_asks() -> None:
    body, content_type = Exposition(Meters(), versions=VERSIONS).render(
        "application/openmetrics-text; version=1.0.0"
    )
    assert content_type.startswith("application/openmetrics-text")
    assert body.endswith(b"# EOF\n")


def test_names_follow_the_rules_of_prometheus() -> None:
    for meter in Meters():
        assert meter.name.startswith("lakeflight_")
        assert meter.name.endswith("_total" if isinstance(meter, Counts) else "_seconds")
        assert meter.meaning.endswith(".")
