"""KPIs of a real service: worked out by hand, the same from its workers and from Prometheus."""

from __future__ import annotations

import os
import signal
import time
from bisect import bisect_left
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import pytest

from otel_search.kpis import Kpi, Kpis, Sources
from otel_search.kpis.window import Window
from otel_search.metrics import Metrics
from otel_search.semconv import DURATION_BUCKETS
from tests.backends.fixtures import require
from tests.backends.opensearch import OpenSearch
from tests.changing_engine import ChangingEngine
from tests.integration.test_metrics_of_workers import ScrapingPrometheus, workers
from tests.service import Service, eventually, serve

TOKEN = {"authorization": "Bearer s3cret"}
MIX = {
    "/status/200": 90,
    "/status/404": 8,
    "/status/422": 4,
    "/status/429": 3,
    "/status/503": 5,
    "/raise": 5,
    "/slow": 10,
}
ABORTED = 6


@pytest.fixture(scope="module")
def engine() -> Iterator[ChangingEngine]:
    with ChangingEngine() as engine:
        engine.status = 200
        yield engine


def env(engine: ChangingEngine, tmp_path: Path, **more: str) -> dict[str, str]:
    return {"ENGINE": engine.url, "TMPDIR": str(tmp_path), "OTEL_SEARCH_ADMIN_TOKEN": "s3cret", **more}


def send_the_mix(service: Service) -> None:
    def leave(_: int) -> None:
        with pytest.raises(httpx.ReadTimeout):
            httpx.get(f"{service.url}/wait", timeout=0.3)

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(service.get, [path for path, count in MIX.items() for _ in range(count)]))
        list(pool.map(leave, range(ABORTED)))
        list(pool.map(service.get, ["/search/things"] * 7 + ["/health/live"] * 50))


def report(service: Service) -> dict[str, Any]:
    answer = service.get("/admin/metrics", headers=TOKEN)
    assert answer.status_code == 200, answer.text
    return answer.json()


def values(found: dict[str, Any]) -> dict[str, Any]:
    return {name: entry["value"] for name, entry in found["kpis"].items()}


def assert_the_mix(seen: dict[str, Any], tolerance: float) -> None:
    served = sum(MIX.values()) + 7
    assert seen["error_rate"] == pytest.approx(10 / served, rel=tolerance)
    assert seen["availability"] == pytest.approx(1 - 10 / served, rel=tolerance)
    assert seen["aborted_rate"] == pytest.approx(ABORTED / (served + ABORTED), rel=tolerance)
    # 90 and 7 within 0.25 s, 10 within 1 s, 10 that failed.
    assert seen["apdex"] == pytest.approx((97 + 10 / 2) / 117, rel=tolerance)
    assert 0.25 <= seen["latency_p95"] <= 0.5
    assert seen["zero_result_rate"] == 1, "the engine found nothing"


@pytest.mark.parametrize("way", [[], ["--workers", "3"]])
def test_a_mix_of_requests_is_what_it_is(engine: ChangingEngine, tmp_path: Path, way: list[str]) -> None:
    with serve("counted:app", *way, env=env(engine, tmp_path), ready="/docs") as service:
        if way:
            eventually(lambda: len(list(tmp_path.glob("otel-search-*/*/*.sock"))) == 3)
        before = values(report(service))
        assert before["error_rate"] in (None, 0)
        send_the_mix(service)
        # What the server of the documentation answered at the start came before the window, or is one of very many.
        seen = eventually(
            lambda: (found := values(report(service)))["aborted_rate"] and found["orders"] == 90 and found, timeout=10
        )
        assert_the_mix(seen, tolerance=0.03)
        assert seen["elasticsearch_health"] in (None, 2)
        assert seen["memory_utilization"] > 0
        assert seen["unique_users"] is None


CALLERS = {"OTEL_SEARCH_CALLERS": "user=header:x-user-id,session=cookie:sid"}


def visit(service: Service, users: int, requests: int) -> None:
    def one(number: int) -> None:
        headers = {"x-user-id": f"user {number % users}", "cookie": f"sid={number % users}"}
        assert service.get("/search/things", headers=headers).status_code == 200

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(one, range(requests)))


@pytest.mark.parametrize("way", [[], ["--workers", "3"]])
def test_users_sessions_and_shapes_are_those_of_all_workers(
    engine: ChangingEngine, tmp_path: Path, way: list[str]
) -> None:
    with serve("counted:app", *way, env=env(engine, tmp_path, **CALLERS), ready="/docs") as service:
        if way:
            eventually(lambda: len(list(tmp_path.glob("otel-search-*/*/*.sock"))) == 3)
        nobody = report(service)["kpis"]["unique_users"]
        assert (nobody["value"], nobody["reason"][:32]) == (None, "no request said who its user is ")
        visit(service, users=12, requests=60)
        seen = eventually(lambda: (found := values(report(service)))["unique_users"] and found)
        assert seen["unique_users"] == 12
        assert 0 < seen["session_length"] < 60, "five requests each, one soon after the other"
        (shape,) = seen["top_query_shapes"]
        assert (shape["searches"], shape["share"]) == (60, 1)
        assert shape["summary"] == "search things match_all"
        assert 0 < seen["slowest_query_shapes"][0]["mean_seconds"] < 5
        span = next(span for span in service.recording.spans if span.name == "search things")
        assert span.attributes["search.query.hash"] == shape["shape"]
        if way:
            os.kill(next(each for each in workers(service) if "spawn" in " ".join(each.cmdline())).pid, signal.SIGTERM)
            eventually(lambda: len(list(tmp_path.glob("otel-search-*/*/*.sock"))) == 3 and len(workers(service)) == 3)
            assert values(report(service))["unique_users"] == 12, "those of the worker that has ended, too"
        assert "nanobind" not in service.output()


@pytest.mark.backends
def test_the_access_log_of_two_services_is_one_fleet(
    opensearch: OpenSearch, engine: ChangingEngine, tmp_path: Path
) -> None:
    variables = env(
        engine,
        tmp_path,
        **CALLERS,
        OTEL_SERVICE_NAME="fleet",
        OTEL_LOGS_EXPORTER="elasticsearch",
        OTEL_SEARCH_LOGS_ELASTICSEARCH_URL=opensearch.url,
        OTEL_SEARCH_LOGS_DATASET="fleet",
        OTEL_SEARCH_KPI_SOURCE="elasticsearch",
        OTEL_SEARCH_PSEUDONYM_KEY="one key for both",
    )
    with (
        serve("counted:app", env=variables, ready="/docs") as first,
        serve("counted:app", env=variables, ready="/docs") as second,
    ):
        for service, users in ((first, 8), (second, 12)):
            visit(service, users, requests=24)
            for path in ["/status/503"] * 3 + ["/status/404"] * 2:
                service.get(path)

        def told() -> dict[str, Any] | None:
            httpx.post(f"{opensearch.url}/logs-fleet.otel-default/_refresh")
            found = report(second) if second.get("/admin/metrics", headers=TOKEN).status_code == 200 else None
            return found if found and found["kpis"]["request_volume"]["value"] >= 58 else None

        found = eventually(told)
        seen = values(found)
        assert found["source"] == "elasticsearch"
        assert seen["unique_users"] == 12, "the same users have the same names in both"
        documents = seen["request_volume"] - 58  # the server of the documentation answered at the start
        assert 0 <= documents <= 20
        assert seen["error_rate"] == pytest.approx(6 / seen["request_volume"], rel=0.001)
        assert seen["session_length"] >= 0
        assert seen["search_volume"] is None


def test_who_may_see_it(engine: ChangingEngine, tmp_path: Path) -> None:
    with serve("counted:app", env=env(engine, tmp_path), ready="/docs") as service:
        for headers in ({}, {"authorization": "Bearer s3cre"}, {"authorization": "Basic s3cret"}):
            refused = service.get("/admin/metrics", headers=headers)
            assert (refused.status_code, refused.headers["www-authenticate"]) == (401, "Bearer")
        report(service)
        service.stop()
        assert not [span for span in service.recording.spans if "admin" in span.name]
    with serve("counted:app", env=env(engine, tmp_path, OTEL_SEARCH_ADMIN_TOKEN=""), ready="/docs") as service:
        assert service.get("/admin/metrics").status_code == 404
        eventually(lambda: any("OTEL_SEARCH_ADMIN_TOKEN" in line for line in service.lines))


@pytest.mark.backends
def test_prometheus_says_the_same(engine: ChangingEngine, tmp_path: Path) -> None:
    require("prometheus")
    prometheus = ScrapingPrometheus(tmp_path / "prometheus")
    with serve("counted:app", "--workers", "2", env=env(engine, tmp_path), ready="/docs") as service:
        eventually(lambda: len(list(tmp_path.glob("otel-search-*/*/*.sock"))) == 2)
        prometheus.target = f"127.0.0.1:{service.port}"
        with prometheus:
            send_the_mix(service)  # each series has to be there before it can increase
            eventually(lambda: prometheus.query("search_client_searches_total"))
            began = time.time()
            report(service)
            send_the_mix(service)
            scraped = eventually(lambda: prometheus.query("sum(http_server_request_duration_seconds_count) > 0"))
            assert scraped
            eventually(lambda: [each.value for each in prometheus.query("sum(search_client_searches_total)")] == [14.0])
            fleet = Kpis(
                Metrics(),
                sources=Sources(prometheus.url, 'job="service"'),
                window=Window(seconds=time.time() - began + 1),
            )
            orders = Kpi("orders", "count", "{order}", "shop.orders")
            try:
                theirs, ours = fleet.report(), report(service)
            finally:
                orders.remove()
    assert (theirs["source"], ours["source"]) == ("prometheus", "process")
    for name in ("error_rate", "availability", "aborted_rate", "apdex", "zero_result_rate"):
        one, other = values(theirs)[name], values(ours)[name]
        assert one == pytest.approx(other, rel=0.1), (name, "Prometheus extrapolates at the ends of its window")
    # Half a scrape's interval is added at each end, which is a quarter of a window of four.
    assert 80 <= values(theirs)["orders"] <= 90 * 1.35, "of the window, and not since the start, which would be 180"
    for name in ("latency_p50", "latency_p95"):
        one, other = (bisect_left(DURATION_BUCKETS, values(found)[name]) for found in (theirs, ours))
        assert abs(one - other) <= 1, (name, "their windows differ, so that they may lie on two sides of one boundary")
