"""The Collector is down, slow, or answers nonsense: the host does not notice, and what is lost is counted."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass

import pytest

from tests.faulty_collector import FaultyCollector
from tests.service import APPS, BIN, Service, eventually, free_port, serve

REQUESTS = 50
BOUND = 1.0
"""Seconds that the end may wait for telemetry."""
GENEROUS = 6.0
"""Seconds within which a process has ended whose end waits no longer than `BOUND`; an export gives up after 10."""

FAULTS = {
    "a closed port": "",
    "a blackhole": "blackhole",
    "a name that does not resolve": "",
    "503, try again in a minute": "503 60",
    "429": "429",
    "404": "404",
    "garbage": "garbage",
    "a closed port, by gRPC": "",
}


@dataclass
class End:
    """How a service ended that could not get rid of its telemetry."""

    service: Service
    status: int
    seconds: float
    slowest_request: float

    def lost(self) -> list[dict[str, object]]:
        return self.service.events(event="telemetry was lost")


def endpoint(fault: str, stack: ExitStack) -> dict[str, str]:
    if FAULTS[fault]:
        return {"OTEL_EXPORTER_OTLP_ENDPOINT": stack.enter_context(FaultyCollector(FAULTS[fault])).endpoint}
    host = "collector.invalid" if "name" in fault else "127.0.0.1"
    protocol = "grpc" if "gRPC" in fault else "http/protobuf"
    return {
        "OTEL_EXPORTER_OTLP_ENDPOINT": f"http://{host}:{free_port()}",
        "OTEL_EXPORTER_OTLP_PROTOCOL": protocol,
    }


def end_with(fault: str) -> End:
    with ExitStack() as stack:
        env = {**endpoint(fault, stack), "OTEL_SEARCH_SHUTDOWN_TIMEOUT": str(BOUND)}
        service = stack.enter_context(serve("noisy:app", env=env))
        slowest = 0.0
        for number in range(REQUESTS):
            started = time.monotonic()
            assert service.get(f"/items/{number}").status_code == 200
            slowest = max(slowest, time.monotonic() - started)
        started = time.monotonic()
        status = service.stop()
        return End(service, status, time.monotonic() - started, slowest)


@pytest.fixture(scope="module")
def ends() -> dict[str, End]:
    """All of them at once: they do little but wait."""
    with ThreadPoolExecutor(3) as pool:
        return dict(zip(FAULTS, pool.map(end_with, FAULTS), strict=True))


@pytest.fixture(params=FAULTS)
def end(request: pytest.FixtureRequest, ends: dict[str, End]) -> End:
    return ends[request.param]


def test_no_request_waits_for_it(end: End) -> None:
    assert end.slowest_request < GENEROUS


def test_the_process_ends_within_the_bound_and_as_ever(end: End) -> None:
    assert end.status == -signal.SIGTERM
    assert end.seconds < GENEROUS


def test_there_is_no_traceback_and_nothing_on_stderr(end: End) -> None:
    assert end.service.error_lines == []
    assert not [line for line in end.service.lines if "Traceback" in line]


def test_what_is_lost_is_said_once_with_its_amount(end: End) -> None:
    lost = end.lost()
    assert len(lost) == 1
    spans = sum(count for what, count in lost[0].items() if what.startswith("traces "))
    assert spans == REQUESTS
    own = [
        event for event in end.service.events() if not str(event["logger"]).startswith(("otel_search.del", "urllib3"))
    ]
    # Between the last flush and the last breath a line may still come.
    records = sum(count for what, count in lost[0].items() if what.startswith("logs "))
    assert len(own) - 4 <= records <= len(own)
    assert lost[0]["dropped"] == sum(count for what, count in lost[0].items() if " " in what)


def test_the_applications_lines_are_written_once_each(end: End) -> None:
    expected = [f"{which} of {number}" for number in range(REQUESTS) for which in ("first", "second")]
    assert [event["event"] for event in end.service.events(logger="app")] == expected


def test_lines_about_telemetry_are_a_handful(end: End) -> None:
    about = [
        event
        for event in end.service.events()
        if str(event["logger"]).startswith(("opentelemetry", "otel_search.delivery", "urllib3", "requests", "grpc"))
    ]
    assert len(about) <= 6, about
    beginnings = [event for event in about if event["event"] == "telemetry is being lost"]
    assert len(beginnings) == len({event["signal"] for event in beginnings})


# -- one signal fails, another arrives --------------------------------------------------------


@pytest.fixture(scope="module")
def partly() -> Iterator[tuple[Service, FaultyCollector]]:
    """Spans and log records are refused, metrics arrive."""
    with (
        FaultyCollector({"traces": "503 60", "logs": "400"}) as collector,
        serve("noisy:app", env={"OTEL_EXPORTER_OTLP_ENDPOINT": collector.endpoint}) as service,
    ):
        for number in range(REQUESTS):
            service.get(f"/items/{number}")
        yield service, collector
        service.stop()


def dropped(collector: FaultyCollector) -> dict[tuple[str, str], float]:
    return {
        (point.attributes["search.telemetry.signal"], point.attributes["search.telemetry.reason"]): point.value
        for point in collector.recording.latest("search.telemetry.dropped")
    }


def test_what_is_dropped_is_counted_in_a_metric(partly: tuple[Service, FaultyCollector]) -> None:
    _, collector = partly
    eventually(lambda: dropped(collector).get(("traces", "export_failed")) == REQUESTS)
    # Each request logs two lines and an access line.
    eventually(lambda: dropped(collector).get(("logs", "export_failed"), 0) >= 3 * REQUESTS)


def test_the_beginning_of_a_loss_is_said_once_with_its_cause(partly: tuple[Service, FaultyCollector]) -> None:
    service, collector = partly
    eventually(lambda: collector.seen["traces"] and collector.seen["logs"])
    for which, cause in (("traces", "Service Unavailable"), ("logs", "Bad Request")):
        line = service.event(event="telemetry is being lost", signal=which)
        assert line["level"] == "warning"
        assert line["endpoint"] == f"{collector.endpoint}/v1/{which}"
        assert cause in line["cause"]


def test_a_failed_export_is_not_exported_itself(partly: tuple[Service, FaultyCollector]) -> None:
    _, collector = partly
    quiet_since, seen = time.monotonic(), collector.seen["logs"]

    def is_quiet() -> bool:
        nonlocal quiet_since, seen
        if collector.seen["logs"] != seen:
            quiet_since, seen = time.monotonic(), collector.seen["logs"]
        return time.monotonic() - quiet_since > 1.5  # seven times the delay of a batch

    eventually(is_quiet)


def test_when_it_answers_again_that_is_said_and_everything_arrives(partly: tuple[Service, FaultyCollector]) -> None:
    service, collector = partly
    collector.faults = {}
    service.get("/items/1000")
    collector.recording.wait_for(
        lambda seen: [span for span in seen.spans if span.attributes["url.path"] == "/items/1000"]
    )
    line = service.event(event="telemetry is delivered again", signal="traces")
    assert line["dropped"] == REQUESTS
    collector.recording.wait_for(lambda seen: [record for record in seen.logs if record.body == "first of 1000"])
    urllib3 = [record for record in collector.recording.logs if record.scope.startswith(("urllib3", "opentelemetry"))]
    assert urllib3 == []


# -- memory -----------------------------------------------------------------------------------


def test_a_full_queue_drops_and_counts_and_keeps_its_size() -> None:
    sizes = {"OTEL_BSP_MAX_QUEUE_SIZE": "16", "OTEL_BLRP_MAX_QUEUE_SIZE": "16"}
    with FaultyCollector({"traces": "blackhole", "logs": "blackhole"}) as collector:
        env = {**sizes, "OTEL_EXPORTER_OTLP_ENDPOINT": collector.endpoint, "OTEL_SEARCH_SHUTDOWN_TIMEOUT": str(BOUND)}
        with serve("noisy:app", env=env) as service:
            for number in range(2 * REQUESTS):
                service.get(f"/items/{number}")
            # At most one batch of 16 is being exported and 16 wait.
            eventually(lambda: dropped(collector).get(("traces", "queue_full"), 0) >= 2 * REQUESTS - 32)
            service.stop()
            lost = service.event(event="telemetry was lost")
            assert lost["traces queue_full"] + lost["traces shutdown_timeout"] == 2 * REQUESTS
            assert lost["traces shutdown_timeout"] <= 32
            assert lost["logs shutdown_timeout"] <= 32
            assert service.error_lines == []


# -- signals during the end -------------------------------------------------------------------


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_second_signal_during_the_last_flush_makes_no_noise(number: int) -> None:
    with FaultyCollector("blackhole") as collector:
        env = {"OTEL_EXPORTER_OTLP_ENDPOINT": collector.endpoint, "OTEL_SEARCH_SHUTDOWN_TIMEOUT": "3"}
        # Without lifespan there is one flush, after the server's last line.
        with serve("noisy:app", "--lifespan", "off", env=env) as service:
            service.get("/items/1")
            service.process.send_signal(number)
            eventually(lambda: service.events(logger="uvicorn.error") and "Finished" in service.output())
            service.process.send_signal(number)
            status = service.stop(0)
            assert status == (-signal.SIGTERM if number == signal.SIGTERM else 0)
            assert service.error_lines == []
            assert not [line for line in service.lines if "Traceback" in line]
            assert service.event(event="telemetry was lost")["traces shutdown_timeout"] == 1


def test_workers_end_within_the_bound_too() -> None:
    gunicorn = [str(BIN / "gunicorn"), "noisy:app", "--worker-class", "uvicorn.workers.UvicornWorker", "--workers", "2"]
    with FaultyCollector("blackhole") as collector:
        env = {"OTEL_EXPORTER_OTLP_ENDPOINT": collector.endpoint, "OTEL_SEARCH_SHUTDOWN_TIMEOUT": str(BOUND)}
        command = [*gunicorn, "--bind", "127.0.0.1:{port}", "--no-control-socket"]
        with serve("noisy:app", env=env, command=command) as service:
            for number in range(REQUESTS):
                service.get(f"/items/{number}")
            started = time.monotonic()
            assert service.stop() == 0
            assert time.monotonic() - started < GENEROUS + BOUND  # the workers, then their supervisor
            lost = service.events(event="telemetry was lost")
            assert sum(line.get("traces shutdown_timeout", 0) for line in lost) == REQUESTS
            assert len(lost) == 3
            assert service.error_lines == []


def test_a_child_that_is_forked_during_a_slow_export_sends_its_metrics() -> None:
    with FaultyCollector({"metrics": "hold"}) as collector:
        environment = {
            name: value for name, value in os.environ.items() if not name.startswith(("OTEL_", "PYTHONPATH"))
        }
        process = subprocess.Popen(
            [BIN / "opentelemetry-instrument", sys.executable, APPS / "forking_slowly.py"],
            env={
                **environment,
                "OTEL_PYTHON_DISTRO": "otel_search",
                "OTEL_EXPORTER_OTLP_ENDPOINT": collector.endpoint,
                "OTEL_METRIC_EXPORT_INTERVAL": "50",
            },
            stdin=subprocess.PIPE,
            text=True,
        )
        eventually(lambda: collector.seen["metrics"] == 1)  # the parent's, which is held
        collector.faults = {}
        assert process.stdin is not None
        process.stdin.write("go\n")
        process.stdin.close()
        collector.recording.wait_for(
            lambda seen: [point for point in seen.metrics if point.attributes.get("who") == "child"]
        )
        collector.release()
        assert process.wait(60) == 0


def test_a_wrong_bound_is_one_line() -> None:
    done = subprocess.run(
        [BIN / "opentelemetry-instrument", sys.executable, "-c", "print('runs')"],
        env={
            **{name: value for name, value in os.environ.items() if not name.startswith(("OTEL_", "PYTHONPATH"))},
            "OTEL_PYTHON_DISTRO": "otel_search",
            "OTEL_TRACES_EXPORTER": "none",
            "OTEL_METRICS_EXPORTER": "none",
            "OTEL_LOGS_EXPORTER": "none",
            "OTEL_SEARCH_SHUTDOWN_TIMEOUT": "5s",
        },
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    lines = [line for line in done.stdout.splitlines() if line != "runs"]
    assert [json.loads(line)["event"] for line in lines] == [
        "OTEL_SEARCH_SHUTDOWN_TIMEOUT='5s' is not accepted, using 5.0; accepted: seconds, 0 to 3600"
    ]
    assert done.stderr == ""
