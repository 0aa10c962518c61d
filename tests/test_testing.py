"""The pytest plugin, as the tests of a user's own service see it: in a pytest of its own."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest

from otel_search.viewer.receiver import Receiver
from otel_search.viewer.recording import Recording

DOCUMENT = Path(__file__).parent.parent / "docs" / "testing.md"

APP = """
import logging

import structlog
from fastapi import FastAPI
from opentelemetry import trace

import otel_search

app = FastAPI()
otel_search.instrument(app)


@app.get("/items/{number}")
async def item(number: int):
    logging.getLogger("app").warning("item %d", number, extra={"shelf": 7})
    structlog.get_logger("shop").info("item seen", number=number)
    with trace.get_tracer("app").start_as_current_span("look", attributes={"app.a.size": 1, "app.b.size": 2}):
        pass
    return number
"""


def run(directory: Path, tests: str, *arguments: str, app: str = APP, env: Mapping[str, str] | None = None) -> str:
    """The output of pytest for `tests`, whose status must be that of `arguments`."""
    (directory / "app.py").write_text(app)
    (directory / "test_app.py").write_text(tests)
    done = subprocess.run(
        # Starlette's warning on its own choice of client is not what these tests are about.
        [sys.executable, "-m", "pytest", "-rA", "-p", "no:cacheprovider", *arguments],
        cwd=directory,
        env={**{name: value for name, value in os.environ.items() if not name.startswith("OTEL_")}, **(env or {})},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    return done.stdout + done.stderr


def outcomes(output: str) -> dict[str, str]:
    return {name: word for word, name in re.findall(r"^(PASSED|FAILED|ERROR) \S*::(\w+)", output, re.MULTILINE)}


def test_the_documented_example_runs_as_it_stands(tmp_path: Path) -> None:
    pytest.importorskip("elasticsearch")
    app, tests = re.findall(r"```python\n(.*?)```", DOCUMENT.read_text(encoding="utf-8"), re.DOTALL)
    output = run(tmp_path, tests, app=app)
    assert outcomes(output) == dict.fromkeys(
        ["test_a_search_is_one_trace", "test_the_query_has_no_values"], "PASSED"
    ), output


SEES = """
import re
from datetime import UTC, datetime, timedelta

import pytest
from fastapi.testclient import TestClient
from opentelemetry import metrics, trace

from app import app

client = TestClient(app)
counter = metrics.get_meter("app").create_counter("app.sold")
start = datetime(2026, 1, 1, tzinfo=UTC)


@pytest.mark.parametrize("turn", [1, 2, 3])
def test_each_test_begins_anew(telemetry, turn):
    assert telemetry.spans == telemetry.logs == []
    assert [point for point in telemetry.metrics if point.kind == "histogram"] == []
    response = client.get(f"/items/{turn}")
    span = telemetry.assert_span("GET /items/{number}", status_code=200)
    assert (span.trace_id, span.span_id) == (f"{1:032x}", f"{1:016x}")
    assert response.headers["x-trace-id"] == span.trace_id
    telemetry.assert_metric("http.server.request.duration", count=1, route="/items/{number}")


def test_every_log_call_is_one_record_in_its_span(telemetry):
    client.get("/items/1")
    span = telemetry.assert_span(re.compile("^GET"))
    telemetry.assert_log("item 1", level="warning", span=span, shelf=7)
    telemetry.assert_log("item seen", level="info", span=span, number=1)
    telemetry.assert_log("request completed", status_code=200)
    telemetry.assert_no_log("item 2")


def test_the_clock_moves_by_itself_and_when_told(telemetry):
    assert telemetry.clock.now == start
    with trace.get_tracer("app").start_as_current_span("wait"):
        telemetry.clock.advance(2.5)
    assert telemetry.assert_span("wait").duration == pytest.approx(2.501)
    telemetry.clock.tick = 0
    with trace.get_tracer("app").start_as_current_span("no time"):
        pass
    assert telemetry.assert_span("no time").duration == 0
    assert telemetry.clock.now == start + timedelta(seconds=2.502)


def test_metrics_are_of_this_test_however_often_one_looks(telemetry):
    for count in (1, 2):
        counter.add(2, {"shelf": "a"})
        telemetry.assert_metric("app.sold", 2 * count, {"shelf": "a"})
    counter.add(5, {"shelf": "b"})
    telemetry.assert_metric("app.sold", lambda value: value > 4, {"shelf": "b"})
    telemetry.clear()
    counter.add(1, {"shelf": "a"})
    telemetry.assert_metric("app.sold", 1)


def test_what_is_expected_may_be_said_in_many_ways(telemetry):
    client.get("/items/1")
    telemetry.assert_span("look", {"app.a.size": 1}, a_size=1, b_size=lambda size: size > 1)
    telemetry.assert_span("look", {"app.a.size": ..., "app.c.size": None}, b_size=re.compile("2"))
    telemetry.assert_span("look", kind="INTERNAL", status="UNSET", parent=telemetry.assert_span(re.compile("^GET")))
    telemetry.assert_no_span("look", a_size=2)


def test_a_health_probe_leaves_nothing(telemetry):
    client.get("/health/live")
    assert telemetry.spans == []
"""


def test_each_test_sees_its_own_telemetry_and_nothing_leaves(tmp_path: Path) -> None:
    recording = Recording()
    with Receiver(recording.add) as receiver:
        output = run(tmp_path, SEES, env={"OTEL_EXPORTER_OTLP_ENDPOINT": receiver.endpoint})
    assert set(outcomes(output).values()) == {"PASSED"}, output
    assert len(outcomes(output)) == 6
    assert recording.summary().startswith("0 spans (), 0 log records, 0 points")
    assert "has set up telemetry itself" not in output


FAILS = """
from fastapi.testclient import TestClient
from opentelemetry import trace

from app import app


def seen(telemetry):
    TestClient(app).get("/items/1", headers={"X-Request-ID": "abc"})
    return telemetry


def test_other_value(telemetry):
    seen(telemetry).assert_span("GET /items/{number}", status_code=404)

def test_other_name(telemetry):
    seen(telemetry).assert_span("GET /item")

def test_nothing(telemetry):
    telemetry.assert_span("GET /item")

def test_two(telemetry):
    for _ in range(2):
        with trace.get_tracer("app").start_as_current_span("twice"):
            pass
    telemetry.assert_span("twice")

def test_unclear(telemetry):
    seen(telemetry).assert_span("look", size=1)

def test_missing(telemetry):
    seen(telemetry).assert_span("look", took=...)

def test_unwanted(telemetry):
    seen(telemetry).assert_no_span("look")

def test_level(telemetry):
    seen(telemetry).assert_log("item 1", level="error")

def test_count(telemetry):
    seen(telemetry).assert_metric("http.server.request.duration", count=2)
"""

MESSAGES = {
    "test_other_value": [
        "no span 'GET /items/{number}' as expected; of the nearest",
        "http.response.status_code is 200, expected 404",
        "there were 2 spans:",
        "look  INTERNAL  app.a.size=1, app.b.size=2",
    ],
    "test_other_name": ["no span 'GET /item'", "there were 2 spans:", "GET /items/{number}  SERVER"],
    "test_nothing": ["no span 'GET /item'", "there were no spans"],
    "test_two": ["2 spans 'twice' where 1 was expected", "there were 2 spans:"],
    "test_unclear": ["size may be app.a.size or app.b.size: give the full name, in a dictionary"],
    "test_missing": ["took is not there, expected any value"],
    "test_unwanted": ["1 spans 'look' where none was expected"],
    "test_level": ["level is 'WARN', expected 'ERROR'", "warn: item 1  (app)  shelf=7"],
    "test_count": ["count is 1, expected 2", "http.server.request.duration = 1 measurements, sum "],
}


def test_a_failed_assertion_says_what_there_was_instead(tmp_path: Path) -> None:
    output = run(tmp_path, FAILS, "--tb=short", "--show-capture=no")
    assert outcomes(output) == dict.fromkeys(MESSAGES, "FAILED"), output
    for name, lines in MESSAGES.items():
        section = re.search(rf"_ {name} _+\n(.*?)(\n_____|\n=====)", output, re.DOTALL)
        assert section, output
        for line in lines:
            assert line in section[1]
        assert "otel_search/testing" not in section[1], "the traceback ends at the user's line"


OWN_PROVIDERS = """
from fastapi import FastAPI
from opentelemetry import _logs, metrics, trace
from opentelemetry.sdk._logs import LoggerProvider
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider

mine = Resource.create({"service.name": "mine"})
trace.set_tracer_provider(TracerProvider(resource=mine))
metrics.set_meter_provider(MeterProvider(resource=mine))
_logs.set_logger_provider(LoggerProvider(resource=mine))
app = FastAPI()


@app.get("/items/{number}")
async def item(number: int):
    return number
"""

LISTENS = """
import pytest
from fastapi.testclient import TestClient

from app import app


@pytest.mark.parametrize("turn", [1, 2])
def test_listens(telemetry, turn):
    telemetry.instrument(app)
    response = TestClient(app).get("/items/1")
    assert response.headers["x-trace-id"] == telemetry.assert_span("GET /items/{number}").trace_id
    assert telemetry.assert_log("request completed").resource["service.name"] == "mine"
    telemetry.assert_metric("http.server.request.duration", count=1)


def test_the_next_test_finds_the_application_as_it_was(telemetry):
    assert "x-trace-id" not in TestClient(app).get("/items/1").headers
"""


def test_providers_of_the_application_are_listened_to(tmp_path: Path) -> None:
    output = run(tmp_path, LISTENS, app=OWN_PROVIDERS)
    assert outcomes(output) == dict.fromkeys(
        ["test_listens", "test_the_next_test_finds_the_application_as_it_was"], "PASSED"
    ), output


ONE_AFTER_ANOTHER = """
import logging

import structlog
from fastapi import FastAPI
from fastapi.testclient import TestClient
from opentelemetry import metrics, trace

app = FastAPI()

@app.get("/")
async def root():
    return 1

def test_with_an_application(telemetry):
    telemetry.instrument(app)
    with TestClient(app) as client:
        client.get("/")
    telemetry.assert_span("GET /", kind="SERVER")

def test_without_one(telemetry):
    with trace.get_tracer("own").start_as_current_span("work"):
        logging.getLogger("own").warning("worked")
        structlog.get_logger().info("worked well", times=2)
    metrics.get_meter("own").create_counter("own.counter").add(2)
    span = telemetry.assert_span("work")
    telemetry.assert_log("worked", level="warning", span=span)
    telemetry.assert_log("worked well", level="info", span=span, times=2)
    telemetry.assert_metric("own.counter", 2)

def test_with_the_application_again(telemetry):
    telemetry.instrument(app)
    with TestClient(app) as client:
        client.get("/")
    telemetry.assert_span("GET /", kind="SERVER")
    telemetry.assert_log("request completed")
"""


def test_a_test_records_all_whatever_the_one_before_has_instrumented(tmp_path: Path) -> None:
    output = run(tmp_path, ONE_AFTER_ANOTHER)
    assert set(outcomes(output).values()) == {"PASSED"}, output
    assert len(outcomes(output)) == 3


def test_a_run_that_does_not_use_the_plugin_does_not_load_what_is_behind_it(tmp_path: Path) -> None:
    source = """
import sys

def test_nothing_is_loaded():
    assert "otel_search.testing.plugin" in sys.modules
    loaded = [name for name in ("opentelemetry.sdk", "fastapi", "otel_search.settings") if name in sys.modules]
    assert loaded == []
"""
    assert outcomes(run(tmp_path, source)) == {"test_nothing_is_loaded": "PASSED"}
