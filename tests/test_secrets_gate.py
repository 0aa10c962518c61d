"""Nothing goes round the gate: whoever makes a span or a log record, and whatever processor gets it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from opentelemetry._logs import LogRecord
from opentelemetry.sdk._logs import LoggerProvider
from opentelemetry.sdk._logs.export import InMemoryLogRecordExporter, SimpleLogRecordProcessor
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import Link, NonRecordingSpan, SpanContext, Status, StatusCode, TraceFlags, TraceState
from opentelemetry.trace import set_span_in_context as within

from otel_search import delivery, lean
from otel_search.delivery.secrets import Gate
from otel_search.redaction import Redactor, counts, marker

from .redaction.examples import EXAMPLES

SECRET = "M4rk3r-s3cr3t"
URL = f"https://shop.example/?q=lamp&token={SECRET}"
HIDDEN = f"https://shop.example/?q=lamp&token={marker('token')}"
FOREIGN = SpanContext(1, 2, is_remote=True, trace_flags=TraceFlags(1), trace_state=TraceState([("vendor", "4711")]))


@pytest.fixture(params=["lean", "upstream"], autouse=True)
def hot_path(request: pytest.FixtureRequest) -> Iterator[None]:
    if request.param == "lean":
        lean.install()
    yield
    lean.uninstall()


class Spans:
    """A tracer provider behind the gate, and what its exporter got."""

    def __init__(self, *, added_later: bool, resource: dict[str, Any] | None = None) -> None:
        self.exporter = InMemorySpanExporter()
        self.provider = TracerProvider(resource=Resource(resource or {}), shutdown_on_exit=False)
        gate = Gate(Redactor(["customer-pin"]))
        if added_later:
            gate.watch(self.provider)
        self.provider.add_span_processor(SimpleSpanProcessor(self.exporter))
        if not added_later:
            gate.watch(self.provider)
        self.tracer = self.provider.get_tracer("foreign")

    def one(self) -> Any:
        (span,) = self.exporter.get_finished_spans()
        return span


@pytest.fixture(params=[False, True], ids=["before", "added later"])
def spans(request: pytest.FixtureRequest) -> Spans:
    return Spans(added_later=request.param)


def test_all_of_a_span_is_looked_at(spans: Spans) -> None:
    link = Link(FOREIGN, {"url": URL})
    attributes = {
        "url.full": URL,
        "note": f"Bearer {SECRET}",
        "db.query.text": f"SELECT * FROM users WHERE password = '{SECRET}'",
        "http.request.header.authorization": [f"Basic {SECRET}"],
        "http.request.header.referer": [URL, "about:blank"],
        "customer.pin": 1234,
        "hits": 3,
        "process.command_args": ["serve", "--password", SECRET, "--fast"],
        "empty": "",
    }

    def call() -> None:
        with spans.tracer.start_as_current_span(f"GET {URL}", attributes=attributes, links=[link]) as span:
            span.add_event(f"called {URL}", {"url": URL, "count": 1})
            raise ValueError(f"cannot call {URL}")

    with pytest.raises(ValueError, match="cannot call"):
        call()
    ended = spans.one()
    assert SECRET not in ended.to_json()
    assert ended.name == f"GET {HIDDEN}"
    assert dict(ended.attributes) == {
        "url.full": HIDDEN,
        "note": f"Bearer {marker('token')}",
        "db.query.text": f"SELECT * FROM users WHERE password = '{marker('password')}'",
        "http.request.header.authorization": (marker("authorization"),),
        "http.request.header.referer": (HIDDEN, "about:blank"),
        "customer.pin": marker("secret"),
        "hits": 3,
        "process.command_args": ("serve", "--password", marker("password"), "--fast"),
        "empty": "",
    }
    called, exception = ended.events
    assert (called.name, dict(called.attributes)) == (f"called {HIDDEN}", {"url": HIDDEN, "count": 1})
    assert exception.attributes["exception.message"] == f"cannot call {HIDDEN}"
    assert ended.status.description == f"ValueError: cannot call {HIDDEN}"
    assert dict(ended.links[0].attributes) == {"url": HIDDEN}
    assert ended.links[0].context == FOREIGN


def test_a_span_without_secrets_is_the_same(spans: Spans) -> None:
    before = counts()
    with spans.tracer.start_as_current_span(
        "work", attributes={"a": 1, "b": "x", "c": ("x", "y")}, links=[Link(FOREIGN)]
    ):
        pass
    ended = spans.one()
    assert (ended.name, dict(ended.attributes)) == ("work", {"a": 1, "b": "x", "c": ("x", "y")})
    assert counts() == before


def test_a_secret_in_the_trace_state_is_left_out(spans: Spans) -> None:
    state = TraceState([("vendor", "4711"), ("token", SECRET)])
    parent = NonRecordingSpan(SpanContext(1, 2, is_remote=True, trace_flags=TraceFlags(1), trace_state=state))
    with spans.tracer.start_as_current_span("work", context=within(parent)):
        pass
    assert dict(spans.one().context.trace_state) == {"vendor": "4711"}


def test_a_resource_with_secrets() -> None:
    resource = {"service.name": "shop", "process.command_line": f"serve --password {SECRET}", "api.key": SECRET}
    spans = Spans(added_later=False, resource=resource)
    with spans.tracer.start_as_current_span("work"):
        pass
    assert dict(spans.one().resource.attributes) == {
        "service.name": "shop",
        "process.command_line": f"serve --password {marker('password')}",
        "api.key": marker("api key"),
    }


def test_the_resource_of_metrics_and_of_log_records() -> None:
    gate = Gate(Redactor())
    reader = InMemoryMetricReader()
    metrics = MeterProvider(resource=Resource({"note": URL}), metric_readers=[reader], shutdown_on_exit=False)
    logs = LoggerProvider(resource=Resource({"note": URL}), shutdown_on_exit=False)
    gate.watch(metrics)
    gate.watch(logs)
    metrics.get_meter("foreign").create_counter("calls").add(1)
    assert reader.get_metrics_data().resource_metrics[0].resource.attributes["note"] == HIDDEN
    assert logs.resource.attributes["note"] == HIDDEN


def test_each_value_is_counted_once_whatever_number_of_processors_there_is() -> None:
    spans = Spans(added_later=True)
    spans.provider.add_span_processor(SimpleSpanProcessor(InMemorySpanExporter()))
    before = counts().get("token", 0)
    with spans.tracer.start_as_current_span("work", attributes={"url": URL}):
        pass
    assert counts()["token"] == before + 1


def test_spans_of_our_batches_are_looked_at_where_they_are_exported() -> None:
    gate = Gate(Redactor())
    exporter = InMemorySpanExporter()
    provider = TracerProvider(shutdown_on_exit=False)
    provider.add_span_processor(delivery.span_batches(gate.exported(exporter), hide=gate.span))
    gate.watch(provider)
    with provider.get_tracer("foreign").start_as_current_span("work") as span:
        span.set_status(Status(StatusCode.ERROR, URL))
    provider.force_flush()
    (ended,) = exporter.get_finished_spans()
    assert ended.status.description == HIDDEN
    provider.shutdown()


@pytest.mark.parametrize("added_later", [False, True])
def test_all_of_a_log_record_is_looked_at(added_later: bool) -> None:
    exporter = InMemoryLogRecordExporter()
    provider = LoggerProvider(shutdown_on_exit=False)
    gate = Gate(Redactor())
    if added_later:
        gate.watch(provider)
    provider.add_log_record_processor(SimpleLogRecordProcessor(exporter))
    if not added_later:
        gate.watch(provider)
    bodies: list[Any] = [
        URL,
        {"nested": [{"password": SECRET, "hits": 3}, URL], "raw": URL.encode()},
        ["login", "--token", SECRET, "--fast", "x"],
        {"headers": [["cookie", SECRET], ["host", "shop"]], "cookies": {"sid": SECRET}},
        None,
    ]
    for body in bodies:
        attributes = {"exception.message": f"cannot call {URL}", "form": {"user": "jane", "password": SECRET}, "n": 1}
        provider.get_logger("foreign").emit(LogRecord(body=body, attributes=attributes, event_name=f"token={SECRET}"))
    records = [data.log_record for data in exporter.get_finished_logs()]
    assert [record.body for record in records] == [
        HIDDEN,
        {"nested": [{"password": marker("password"), "hits": 3}, HIDDEN], "raw": HIDDEN.encode()},
        ["login", "--token", marker("token"), "--fast", "x"],
        {"headers": [["cookie", marker("cookie")], ["host", "shop"]], "cookies": marker("cookie")},
        None,
    ]
    for record in records:
        assert record.attributes["exception.message"] == f"cannot call {HIDDEN}"
        assert record.attributes["form"] == {"user": "jane", "password": marker("password")}
        assert record.attributes["n"] == 1
        assert record.event_name == f"token={marker('token')}"


@pytest.mark.parametrize(("kind", "text", "secret"), EXAMPLES, ids=[text for _, text, _ in EXAMPLES])
def test_every_example_of_the_table_is_hidden_in_spans(kind: str, text: str, secret: str) -> None:
    exporter = InMemorySpanExporter()
    provider = TracerProvider(shutdown_on_exit=False)
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    Gate(Redactor(mode="pii")).watch(provider)
    with provider.get_tracer("foreign").start_as_current_span("work", attributes={"note": f"it is {text} then"}):
        pass
    (span,) = exporter.get_finished_spans()
    assert span.attributes["note"] == f"it is {text.replace(secret, marker(kind))} then"
