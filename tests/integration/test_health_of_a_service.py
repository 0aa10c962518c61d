"""A service that has no health routes of its own has ours, and its load balancer can rely on them."""

from __future__ import annotations

import contextlib
import re
import signal
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timedelta
from pathlib import Path

import httpx
import pytest

from otel_search.health import HealthResult
from otel_search.health.elasticsearch import clusters
from tests.backends.opensearch import OpenSearch
from tests.changing_engine import ChangingEngine
from tests.service import Service, eventually, free_port, serve

QUICK = {"OTEL_SEARCH_HEALTH_TIMEOUT": "0.4", "OTEL_SEARCH_HEALTH_CACHE": "0.1", "OTEL_SEARCH_ADMIN_TOKEN": "s3cret"}
TOKEN = {"authorization": "Bearer s3cret"}


@pytest.fixture
def engine() -> Iterator[ChangingEngine]:
    with ChangingEngine() as engine:
        yield engine


@pytest.fixture
def service(engine: ChangingEngine) -> Iterator[Service]:
    with serve("healthy:app", env={**QUICK, "ENGINE": engine.url}, ready="/items/healthy") as service:
        yield service


def becomes(service: Service, status: int, reason: str | None = None) -> httpx.Response:
    def look() -> httpx.Response | None:
        answer = service.get("/health/ready")
        return answer if answer.status_code == status and (reason or "") in answer.json().get("reason", "") else None

    return eventually(look, timeout=10)


def component(service: Service, name: str = "elasticsearch") -> dict:
    found = service.get("/health", headers=TOKEN).json()["components"]
    return next(each for each in found if each["name"] == name)


def test_the_whole_is_told_with_everything_it_is_made_of(service: Service) -> None:
    answer = service.get("/health", headers=TOKEN)
    body = answer.json()
    assert answer.status_code == 200, body
    assert body["status"] == "degraded", "the application's own queue is"
    assert datetime.fromisoformat(body["timestamp"]).utcoffset() == timedelta(0)
    assert (body["service"], body["version"]) == ("test-service", "2.3.4")
    assert 0 < body["uptime_seconds"] < 600
    seen = {each["name"]: each for each in body["components"]}
    assert set(seen) == {"elasticsearch", "memory", "disk", "queue", "ledger"}, "two clients of one cluster are one"
    assert seen["elasticsearch"]["details"]["pending_tasks"] == 4
    assert seen["queue"]["message"] == "long"
    assert seen["queue"]["details"] == {"depth": 3}
    assert seen["ledger"]["message"] == "12 accounts"
    assert all(each["response_time_ms"] >= 0 for each in body["components"])
    group = service.get("/health?group=background").json()["components"]
    assert [each["name"] for each in group] == ["queue"]
    mistyped = service.get("/health?group=backgruond")
    assert (mistyped.status_code, mistyped.json()["status"]) == (404, "unhealthy")
    assert mistyped.json()["reason"] == "group='backgruond' is not accepted; accepted: background | ready | resources"


def test_readiness_follows_elasticsearch(service: Service, engine: ChangingEngine) -> None:
    assert becomes(service, 200).json()["ready"] is True
    engine.colour("red")
    becomes(service, 503, "elasticsearch: red")
    engine.colour("yellow")
    becomes(service, 200)
    assert component(service)["status"] == "degraded"
    assert "one node" not in component(service)["message"]
    engine.colour("yellow", nodes=1)
    eventually(lambda: "On one node this is what a healthy cluster looks like" in component(service)["message"])
    becomes(service, 200)
    engine.colour()
    engine.delay = 0.15  # slow, but in its time
    for _ in range(10):
        becomes(service, 200)
    engine.delay = 30
    becomes(service, 503, "elasticsearch: timeout")
    engine.delay = 0
    engine.released.set()
    becomes(service, 200)
    engine.status = 401
    becomes(service, 503, "elasticsearch: unauthorized")
    engine.status = 403
    becomes(service, 200)
    assert component(service)["reason"] == "forbidden"
    engine.status = 200
    engine.stop()
    becomes(service, 503, "elasticsearch: unreachable")
    engine.start()
    becomes(service, 200)
    flips = service.events(at_least=4, logger="otel_search.health", level="error")
    assert [line["search.health.reason"] for line in flips] == ["red", "timeout", "unauthorized", "unreachable"], (
        "each once"
    )


def test_the_clients_own_credentials_are_sent(service: Service, engine: ChangingEngine) -> None:
    becomes(service, 200)
    assert {headers.get("authorization") for _, _, headers in engine.asked} == {"ApiKey c2VjcmV0"}


def test_many_probes_at_once_are_few_calls_and_no_telemetry(service: Service, engine: ChangingEngine) -> None:
    service.get("/items/healthy")
    before = engine.health_calls()
    began = time.monotonic()
    with ThreadPoolExecutor(10) as pool:
        paths = ["/health", "/health/", "/health/ready", "/health/live"] * 50
        assert {answer.status_code for answer in pool.map(service.get, paths)} == {200}
    assert engine.health_calls() - before <= (time.monotonic() - began) / 0.1 + 2
    service.get("/items/healthy")
    service.stop()
    assert {span.name for span in service.recording.spans} == {"GET /items/healthy"}
    routes = {point.attributes.get("http.route") for point in service.recording.latest("http.server.request.duration")}
    assert routes == {"/items/healthy"}
    assert not service.recording.latest("db.client.operation.duration")
    assert {line["url.path"] for line in service.events(event="request completed")} == {"/items/healthy"}


def test_the_gauge_follows_without_any_probe(service: Service, engine: ChangingEngine) -> None:
    def value(name: str) -> float | None:
        points = service.recording.latest("search.health.status")
        return next((p.value for p in points if p.attributes["search.health.component"] == name), None)

    eventually(lambda: value("elasticsearch") == 2 and value("queue") == 1)
    engine.colour("red")
    eventually(lambda: value("elasticsearch") == 0)


def test_liveness_is_no_business_of_any_dependency(service: Service, engine: ChangingEngine) -> None:
    engine.delay = 3600
    with ThreadPoolExecutor(60) as pool:
        for path in ["/hang"] * 45 + ["/search"] * 10:  # the thread pool is full, and so are the client's connections
            pool.submit(service.get, path).add_done_callback(lambda done: done.exception())
        eventually(lambda: sum(1 for _, path, _ in engine.asked if path.startswith("/things")) >= 10)
        for _ in range(50):
            live = service.get("/health/live")
            assert live.status_code == 200
            assert "components" not in live.json()
        engine.delay = 0  # those that search hang still
        assert component(service, "ledger")["status"] == "healthy", "it does not wait behind the application's work"
        becomes(service, 200)
        service.kill()


def test_a_stalled_event_loop_fails_liveness(engine: ChangingEngine) -> None:
    with serve(
        "healthy:app",
        env={**QUICK, "ENGINE": engine.url, "OTEL_SEARCH_HEALTH_LOOP_LAG": "1"},
        ready="/items/healthy",
    ) as service:
        assert service.get("/health/live").status_code == 200
        threading.Thread(target=service.get, args=("/block/3",)).start()
        answer = eventually(lambda: (answer := service.get("/health/live")).status_code == 503 and answer, timeout=10)
        assert answer.json()["reason"] == "event_loop_stalled"
        eventually(lambda: service.get("/health/live").status_code == 200)


def test_a_missing_index_is_not_ready(engine: ChangingEngine) -> None:
    env = {**QUICK, "ENGINE": engine.url, "OTEL_SEARCH_HEALTH_INDICES": "things,others"}
    with serve("healthy:app", env=env, ready="/items/healthy") as service:
        becomes(service, 200)
        engine.missing = {"others"}
        assert "missing_index" in becomes(service, 503).json()["reason"]
        assert component(service)["message"] == "required index is missing: others"


def test_details_are_for_those_who_may_see_them(engine: ChangingEngine) -> None:
    for policy, anonymous, authorized in (("always", True, True), ("authorized", False, True), ("never", False, False)):
        env = {**QUICK, "ENGINE": engine.url, "OTEL_SEARCH_HEALTH_DETAILS": policy}
        with serve("healthy:app", env=env, ready="/items/healthy") as service:
            for headers, shown in (({}, anonymous), ({"authorization": "Bearer no"}, anonymous), (TOKEN, authorized)):
                parts = service.get("/health", headers=headers).json()["components"]
                assert all(("details" in part) is shown for part in parts), (policy, headers)
                verbose = service.get("/health/ready?verbose", headers=headers).json()
                assert ("components" in verbose) is shown


def test_methods_paths_and_documentation(engine: ChangingEngine) -> None:
    env = {**QUICK, "ENGINE": engine.url, "OTEL_SEARCH_HEALTH_PATH": "/internal/state"}
    with serve("healthy:app", env=env, ready="/items/healthy") as service:
        head = httpx.head(f"{service.url}/internal/state/ready")
        assert (head.status_code, head.content) == (200, b"")
        assert head.headers["cache-control"] == "no-store"
        assert head.headers["x-request-id"]
        refused = httpx.post(f"{service.url}/internal/state")
        assert (refused.status_code, refused.headers["allow"]) == (405, "GET, HEAD")
        assert service.get("/health").status_code == 404
        assert not [path for path in service.get("/openapi.json").json()["paths"] if "state" in path]
        service.stop()
        assert not [span for span in service.recording.spans if "state" in str(span.attributes.get("url.path"))]
    with serve("healthy:app", env={**env, "OTEL_SEARCH_ROUTES": "none"}, ready="/items/healthy") as service:
        assert service.get("/internal/state").status_code == 404


def test_a_route_for_all_paths_wins_too_and_that_is_said_once() -> None:
    with serve("all_paths:app", ready="/items/1") as service:
        for _ in range(3):
            assert service.get("/health/ready").json() == "page health/ready"
            assert service.get("/metrics").json() == "page metrics"
        for path in ("/health/ready", "/metrics"):
            said = service.event(
                logger="otel_search.fastapi",
                event=f"{path} is answered by the application's own route "
                "for all such paths, and not by otel-search; OTEL_SEARCH_MANAGEMENT_PORT serves it on a port of its own",
            )
            assert said["level"] == "info"


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_readiness_ends_when_draining_begins(engine: ChangingEngine, number: int) -> None:
    with serve("healthy:app", env={**QUICK, "ENGINE": engine.url}, ready="/items/healthy") as service:
        becomes(service, 200)
        with httpx.Client(base_url=service.url, timeout=30) as client:
            assert client.get("/health/ready").status_code == 200
            # The loop is busy when the signal comes, and the server has not looked at it yet when it is asked.
            blocker = threading.Thread(target=service.get, args=("/block/1.5",))
            blocker.start()
            time.sleep(0.3)
            service.process.send_signal(number)
            answer = client.get("/health/ready")
            blocker.join()
        assert (answer.status_code, answer.json()["reason"]) == (503, "draining")
        assert service.process.wait(30) in (0, -number)


def test_readiness_of_workers_ends_when_draining_begins(engine: ChangingEngine) -> None:
    port = free_port()
    env = {**QUICK, "ENGINE": engine.url, "OTEL_SEARCH_MANAGEMENT_PORT": str(port)}
    with serve("healthy:app", "--workers", "2", env=env, ready="/items/healthy") as service:

        def told(path: str) -> httpx.Response | None:
            with contextlib.suppress(httpx.TransportError):
                return httpx.get(f"http://127.0.0.1:{port}{path}")
            return None

        def hang() -> None:
            with contextlib.suppress(httpx.TransportError):
                service.get("/hang")

        eventually(lambda: (answer := told("/health/ready")) is not None and answer.status_code == 200)
        threading.Thread(target=hang, daemon=True).start()
        one = re.compile(r"^http_server_active_requests\{.*\} 1\.0$", re.MULTILINE)
        eventually(lambda: (answer := told("/metrics")) is not None and one.search(answer.text))
        service.process.send_signal(signal.SIGTERM)
        # The one that is idle ends, the other waits for its request.
        eventually(lambda: (answer := told("/health/ready")) is not None and answer.status_code == 503)
        last = told("/health/ready")
        assert last is not None
        assert last.json()["reason"] == "draining"


@pytest.mark.parametrize("way", [[], ["--workers", "2"]])
def test_a_management_port_answers_while_the_loop_is_stalled(engine: ChangingEngine, way: list[str]) -> None:
    port = free_port()
    env = {**QUICK, "ENGINE": engine.url, "OTEL_SEARCH_MANAGEMENT_PORT": str(port), "OTEL_SEARCH_HEALTH_LOOP_LAG": "1"}
    with serve("healthy:app", *way, env=env, ready="/items/healthy") as service:
        url = f"http://127.0.0.1:{port}"
        eventually(lambda: httpx.get(f"{url}/health/ready").status_code == 200)
        assert {service.get(path).status_code for path in ("/health", "/health/live", "/metrics")} == {404}
        body = httpx.get(f"{url}/health", headers=TOKEN).json()
        assert {each["name"] for each in body["components"]} == {"elasticsearch", "memory", "disk", "queue", "ledger"}
        assert next(each for each in body["components"] if each["name"] == "queue")["message"] == "long"
        scraped = httpx.get(f"{url}/metrics")
        assert "http_server_request_duration_seconds_count" in scraped.text
        assert httpx.head(f"{url}/health/live").content == b""
        assert (httpx.post(f"{url}/health").status_code, httpx.get(f"{url}/nothing").status_code) == (405, 404)
        if not way:
            blocker = threading.Thread(target=service.get, args=("/block/4",))
            blocker.start()
            stalled = eventually(lambda: (a := httpx.get(f"{url}/health/live")).status_code == 503 and a)
            assert stalled.json()["reason"] == "event_loop_stalled"
            assert blocker.is_alive(), "it was said while it was so"
            assert httpx.get(f"{url}/metrics").status_code == 200
            blocker.join()
            eventually(lambda: httpx.get(f"{url}/health/live").status_code == 200)


def test_readiness_waits_for_the_start_and_liveness_does_not(engine: ChangingEngine, tmp_path: Path) -> None:
    port, started = free_port(), tmp_path / "started"
    env = {**QUICK, "ENGINE": engine.url, "OTEL_SEARCH_MANAGEMENT_PORT": str(port), "STARTED": str(started)}
    url, seen = f"http://127.0.0.1:{port}", []

    def let_it_start() -> None:
        def answer(path: str) -> httpx.Response | None:
            try:
                return httpx.get(f"{url}{path}")
            except httpx.TransportError:
                return None

        try:
            ready = eventually(lambda: answer("/health/ready"))
            seen.append((ready.status_code, ready.json()["reason"], ready.json()["ready"]))
            seen.append((httpx.get(f"{url}/health/live").status_code, httpx.get(f"{url}/metrics").status_code))
        finally:
            started.touch()

    looking = threading.Thread(target=let_it_start)
    looking.start()
    with serve("starting:app", env=env, ready="/docs"):
        looking.join()
        assert seen == [(503, "starting", False), (200, 200)]
        eventually(lambda: httpx.get(f"{url}/health/ready").status_code == 200)


@pytest.mark.backends
def test_disk_watermarks_of_a_real_engine(opensearch: OpenSearch) -> None:
    prefix = "cluster.routing.allocation.disk"

    def set_to(low: str | None) -> None:
        # Only the low one: beyond the others the engine would act.
        marks = None if low is None else {"low": low, "high": "99.98%", "flood_stage": "99.99%"}
        settings = {f"{prefix}.watermark.{name}": marks and marks[name] for name in ("low", "high", "flood_stage")}
        settings[f"{prefix}.threshold_enabled"] = None if low is None else True
        body = {"transient": settings}
        httpx.put(f"{opensearch.url}/_cluster/settings", json=body, timeout=30).raise_for_status()

    def look() -> HealthResult:
        (cluster,) = clusters(opensearch.url, (), 20.0, {}).values()
        return cluster()

    try:
        set_to("0.01%")
        found = look()
        assert "disk watermark low passed on" in found.message
        assert list(found.details["disk_watermarks"].values()) == ["low"]
        set_to("99.97%")
        assert "watermark" not in look().message
    finally:
        set_to(None)


def test_a_management_port_that_is_taken_is_said_and_stops_nothing(engine: ChangingEngine) -> None:
    port = engine.url.rpartition(":")[2]
    env = {**QUICK, "ENGINE": engine.url, "OTEL_SEARCH_MANAGEMENT_PORT": port}
    with serve("healthy:app", env=env, ready="/items/healthy") as service:
        line = service.event(logger="otel_search.endpoints", level="error")
        assert f"OTEL_SEARCH_MANAGEMENT_PORT={port} cannot be listened on at 127.0.0.1" in line["event"]
        assert service.get("/items/healthy").status_code == 200


@pytest.mark.parametrize("way", [[], ["--workers", "2"]])
def test_a_management_port_is_one_services_until_it_ends_and_then_the_next_ones(
    engine: ChangingEngine, way: list[str]
) -> None:
    port = free_port()
    env = {**QUICK, "ENGINE": engine.url, "OTEL_SEARCH_MANAGEMENT_PORT": str(port)}
    workers = 2 if way else 1

    def who() -> str | None:
        try:
            return httpx.get(f"http://127.0.0.1:{port}/health/live").json()["service"]
        except httpx.TransportError:
            return None

    def refused(service: Service) -> int:
        return sum("cannot be listened on" in line for line in service.lines)

    with serve("healthy:app", *way, env={**env, "OTEL_SERVICE_NAME": "first"}, ready="/items/healthy") as first:
        eventually(lambda: sum(f":{port} serves " in line for line in first.lines) == workers)
        with serve("healthy:app", *way, env={**env, "OTEL_SERVICE_NAME": "next"}, ready="/items/healthy") as following:
            eventually(lambda: refused(following) == workers)
            # Each on a connection of its own, which the kernel would give to either.
            assert {who() for _ in range(20)} == {"first"}
            first.stop()
            eventually(lambda: who() == "next")
            eventually(lambda: sum(f":{port} serves " in line for line in following.lines) == workers)
            assert (refused(first), refused(following)) == (0, workers)
