"""KPIs of a real service: worked out by hand, the same from its workers and from Prometheus."""

from __future__ import annotations

import time
from bisect import bisect_left
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import pytest

from otel_search.kpis import Kpis
from otel_search.kpis.window import Window
from otel_search.metrics import Merged
from otel_search.semconv import DURATION_BUCKETS
from tests.backends.fixtures import require
from tests.changing_engine import ChangingEngine
from tests.integration.test_metrics_of_workers import ScrapingPrometheus
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
        assert any("OTEL_SEARCH_ADMIN_TOKEN" in line for line in service.lines)


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
                Merged, lambda: None, source=prometheus.url, selector='job="service"',
                window=Window(seconds=time.time() - began + 1),
            )  # fmt: skip
            theirs, ours = fleet.report(), report(service)
    assert (theirs["source"], ours["source"]) == ("prometheus", "process")
    for name in ("error_rate", "availability", "aborted_rate", "apdex", "zero_result_rate"):
        one, other = values(theirs)[name], values(ours)[name]
        assert one == pytest.approx(other, rel=0.1), (name, "Prometheus extrapolates at the ends of its window")
    for name in ("latency_p50", "latency_p95"):
        one, other = (bisect_left(DURATION_BUCKETS, values(found)[name]) for found in (theirs, ours))
        assert abs(one - other) <= 1, (name, "their windows differ, so that they may lie on two sides of one boundary")
