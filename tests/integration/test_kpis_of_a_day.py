"""A scripted day in real backends: Prometheus and Elasticsearch (here OpenSearch) say what happened, each within its error."""

from __future__ import annotations

import bisect
import subprocess
import time
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx
import pytest
from opentelemetry._logs import LogRecord, SeverityNumber
from opentelemetry.sdk._logs import ReadableLogRecord
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.util.instrumentation import InstrumentationScope

from otel_search.kpis import Kpis, Sources
from otel_search.kpis.elasticsearch import Log
from otel_search.log_exporter import ElasticsearchLogExporter
from otel_search.metrics import Metrics
from otel_search.semconv import DURATION_BUCKETS
from otel_search.settings import Settings
from tests import day
from tests.backends.components import find
from tests.backends.fixtures import require
from tests.backends.opensearch import OpenSearch
from tests.backends.prometheus import Prometheus

pytestmark = pytest.mark.backends

HOUR = day.HOUR
HOURS = (10, 13, 17)
SERVICE = "shop"


@pytest.fixture(scope="module")
def start() -> float:
    return (time.time() // (24 * HOUR) - 2) * 24 * HOUR


@pytest.fixture(scope="module")
def seen(start: float) -> list[day.Visit]:
    return day.visits(start)


def record(visit: day.Visit, service: str = SERVICE) -> ReadableLogRecord:
    attributes: dict[str, Any] = {
        "http.request.method": "GET",
        "duration": visit.duration,
        "enduser.pseudo.id": visit.user,
        "session.id": visit.session,
        "http.response.status_code": visit.status or 200,
    }
    if visit.kind in ("aborted", "failed"):
        attributes["error.type"] = "client_disconnected" if visit.status is None else str(visit.status)
    return ReadableLogRecord(
        LogRecord(
            timestamp=int(visit.time * 1e9),
            severity_number=SeverityNumber.INFO,
            severity_text="INFO",
            body="request completed",
            attributes=attributes,
        ),
        Resource({"service.name": service}),
        InstrumentationScope("otel_search.access"),
    )


@pytest.fixture(scope="module")
def log(opensearch: OpenSearch, seen: list[day.Visit]) -> Log:
    exporter = ElasticsearchLogExporter(
        replace(Settings(), logs_elasticsearch_url=(opensearch.url,), logs_dataset="day")
    )
    other = [record(visit, "another service") for visit in seen[::3]]
    started = [replace_body(record(visit), "request started") for visit in seen[::3]]
    records = [*map(record, seen), *other, *started]
    for first in range(0, len(records), 500):
        assert exporter.export(records[first : first + 500]).value == 0
    exporter.shutdown()
    httpx.post(f"{opensearch.url}/logs-day.otel-default/_refresh").raise_for_status()
    return Log(opensearch.url, "logs-*", SERVICE)


def replace_body(data: ReadableLogRecord, body: str) -> ReadableLogRecord:
    data.log_record.body = body
    return data


class Backfilled(Prometheus):
    """A Prometheus that was there on that day."""

    def __init__(self, directory: Path, samples: str) -> None:
        super().__init__(directory)
        self.directory.mkdir(parents=True, exist_ok=True)
        text = self.directory / "day.om"
        text.write_text(samples)
        promtool, data = find("promtool"), self.directory / "data"
        subprocess.run(
            [str(promtool), "tsdb", "create-blocks-from", "openmetrics", str(text), str(data)],
            check=True,
            capture_output=True,
        )


def samples(seen: list[day.Visit], start: float) -> str:
    """What a scrape each minute would have seen around the hours that are asked for."""
    requests: dict[str, list[float]] = defaultdict(lambda: [0.0] * (len(DURATION_BUCKETS) + 1))
    searches: dict[str, float] = defaultdict(float)
    for status in (None, *day.STATUSES):  # every series is there from the beginning, as an increase needs it
        requests[labels(status)]
    searches.update(dict.fromkeys((*day.OUTCOMES, "error"), 0.0))
    told: dict[str, list[str]] = defaultdict(list)
    waiting = iter(seen)
    visit = next(waiting, None)
    for minute in range(24 * 60):
        moment = start + minute * 60
        while visit is not None and visit.time <= moment:
            for place in range(bisect.bisect_left(DURATION_BUCKETS, visit.duration), len(DURATION_BUCKETS) + 1):
                requests[labels(visit.status)][place] += 1
            if visit.outcome is not None:
                searches[visit.outcome] += 1
            visit = next(waiting, None)
        if not any(-62 <= minute - hour * 60 <= 0 for hour in HOURS):
            continue
        for key, counts in requests.items():
            for bound, count in zip([*DURATION_BUCKETS, "+Inf"], counts, strict=True):
                name = f'http_server_request_duration_seconds_bucket{{job="day",le="{bound}",{key}}}'
                told[name].append(f"{name} {count} {moment}")
        for outcome, count in searches.items():
            name = f'search_client_searches_total{{job="day",search_outcome="{outcome}"}}'
            told[name].append(f"{name} {count} {moment}")
    families: dict[str, list[str]] = {"http_server_request_duration_seconds": [], "search_client_searches": []}
    for name, lines in told.items():
        families[name.partition("{")[0].removesuffix("_bucket").removesuffix("_total")] += lines
    # Untyped: only what the queries need is there of the histogram.
    return "\n".join([*(line for lines in families.values() for line in lines), "# EOF\n"])


def labels(status: int | None) -> str:
    if status is None:
        return 'http_response_status_code="200",search_client_left="true"'
    return f'http_response_status_code="{status}"' + (f',error_type="{status}"' if status >= 500 else "")


@pytest.fixture(scope="module")
def backfilled(tmp_path_factory: pytest.TempPathFactory, seen: list[day.Visit], start: float) -> Iterator[Prometheus]:
    require("prometheus")
    require("promtool")
    with Backfilled(tmp_path_factory.mktemp("day") / "prometheus", samples(seen, start)) as prometheus:
        yield prometheus


def told(sources: Sources, end: float) -> dict[str, Any]:
    report = Kpis(Metrics(), sources=sources, clock=lambda: end).report()
    assert report["window_seconds"] == HOUR
    return report["kpis"]


def assert_as_it_was(
    found: dict[str, Any], right: dict[str, Any], names: set[str], exact: float, counted: float
) -> None:
    for name in names:
        value = found[name]["value"]
        assert value is not None, (name, found[name])
        if name.startswith("latency"):
            assert abs(bisect.bisect_left(DURATION_BUCKETS, value) - right[name]) <= 1, name
        else:
            tolerance = counted if name.endswith("volume") else exact
            assert value == pytest.approx(right[name], rel=tolerance, abs=1e-3), name


REQUESTS = {
    "request_volume", "error_rate", "availability", "aborted_rate", "apdex", "latency_p50", "latency_p95"
}  # fmt: skip
SEARCHES = {"search_volume", "zero_result_rate", "partial_rate", "search_error_rate"}
VISITORS = {"unique_users", "session_length"}


@pytest.mark.parametrize("hour", HOURS)
def test_the_access_log_says_it(log: Log, seen: list[day.Visit], start: float, hour: int) -> None:
    end = start + hour * HOUR
    found, right = told(Sources(log=log), end), day.answers(seen, end - HOUR, end)
    assert_as_it_was(found, right, REQUESTS | VISITORS, exact=0.005, counted=0.001)
    for name in (*SEARCHES, "top_query_shapes", "cpu_utilization"):
        assert (found[name]["value"], bool(found[name]["reason"])) == (None, True), name


@pytest.mark.parametrize("hour", HOURS)
def test_prometheus_says_it_and_the_log_completes_it(
    backfilled: Prometheus, log: Log, seen: list[day.Visit], start: float, hour: int
) -> None:
    end = start + hour * HOUR
    right = day.answers(seen, end - HOUR, end)
    alone = told(Sources(backfilled.url, 'job="day"'), end)
    # It extrapolates what it has scraped to the ends of the hour, each series by itself.
    assert_as_it_was(alone, right, REQUESTS | SEARCHES, exact=0.15, counted=0.1)
    assert alone["unique_users"]["value"] is None
    assert "each would be a series" in alone["unique_users"]["reason"]
    both = told(Sources(backfilled.url, 'job="day"', log), end)
    assert_as_it_was(both, right, REQUESTS | SEARCHES, exact=0.15, counted=0.1)
    assert_as_it_was(both, right, VISITORS, exact=0.005, counted=0.0)


def test_a_source_that_is_not_there_is_null_and_no_zero(opensearch: OpenSearch) -> None:
    for sources, what in (
        (Sources(log=Log(opensearch.url, "nowhere-*", SERVICE)), "has no nowhere-*"),
        (Sources(log=Log("http://127.0.0.1:9", "logs-*", SERVICE)), "the access log cannot be asked: URLError"),
        (Sources(prometheus="http://127.0.0.1:9"), "Prometheus cannot be asked: URLError"),
    ):
        found = told(sources, time.time())
        assert {name for name, entry in found.items() if entry["value"] is not None} == set()
        assert what in found["availability"]["reason"]
    empty = told(Sources(log=Log(opensearch.url, "logs-*", "nobody")), time.time())
    assert empty["unique_users"]["value"] is None
    assert empty["error_rate"]["value"] is None


def test_one_source_stands_without_the_other(
    backfilled: Prometheus, log: Log, seen: list[day.Visit], start: float
) -> None:
    end = start + 13 * HOUR
    right = day.answers(seen, end - HOUR, end)
    without_log = told(Sources(backfilled.url, 'job="day"', Log("http://127.0.0.1:9", "logs-*", SERVICE)), end)
    assert_as_it_was(without_log, right, REQUESTS | SEARCHES, exact=0.15, counted=0.1)
    assert "the access log cannot be asked" in without_log["unique_users"]["reason"]
    without_prometheus = told(Sources("http://127.0.0.1:9", "", log), end)
    assert_as_it_was(without_prometheus, right, REQUESTS | VISITORS, exact=0.005, counted=0.001)
    assert "Prometheus cannot be asked" in without_prometheus["search_volume"]["reason"]
