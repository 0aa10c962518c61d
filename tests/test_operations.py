"""A business operation is one span, one measurement and one line, whatever kind of function it is."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import inspect
import json
import logging
import threading
from collections.abc import AsyncIterator, Callable, Generator, Iterator
from typing import Any

import pytest
from opentelemetry import trace
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

import otel_search
from otel_search import logs, operation, semconv
from otel_search.context import EXCLUDED
from otel_search.operations import run
from otel_search.settings import Settings

from .service import eventually, serve


class Seen:
    def __init__(self, capsys: pytest.CaptureFixture[str]) -> None:
        self._capsys = capsys
        self.exporter = InMemorySpanExporter()
        self.reader = InMemoryMetricReader()
        self.tracer_provider = TracerProvider(shutdown_on_exit=False)
        self.tracer_provider.add_span_processor(SimpleSpanProcessor(self.exporter))
        self.meter_provider = MeterProvider([self.reader], shutdown_on_exit=False)

    def spans(self) -> list[ReadableSpan]:
        return list(self.exporter.get_finished_spans())

    def span(self) -> ReadableSpan:
        (span,) = self.spans()
        return span

    def lines(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self._capsys.readouterr().out.splitlines()]

    def line(self) -> dict[str, Any]:
        (line,) = self.lines()
        return line

    def counts(self) -> dict[tuple[str, str | None], int]:
        """Measurements by name and error type."""
        data = json.loads(self.reader.get_metrics_data().to_json())
        (metric,) = data["resource_metrics"][0]["scope_metrics"][0]["metrics"]
        assert (metric["name"], metric["unit"]) == ("search.operation.duration", "s")
        return {
            (point["attributes"]["search.operation.name"], point["attributes"].get("error.type")): point["count"]
            for point in metric["data"]["data_points"]
        }


@pytest.fixture
def seen(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Iterator[Seen]:
    seen = Seen(capsys)
    tracer = seen.tracer_provider.get_tracer(semconv.SCOPE)
    duration = semconv.OPERATION_DURATION.on(seen.meter_provider.get_meter(semconv.SCOPE))
    monkeypatch.setattr(run, "_tracer", lambda: tracer)
    monkeypatch.setattr(run, "_duration", lambda: duration)
    logs.install(Settings(log_format="json"), "catalogue")
    yield seen
    logs.uninstall()
    seen.tracer_provider.shutdown()
    seen.meter_provider.shutdown()


def work(fail: bool) -> str:
    operation.set(hits=3)
    if fail:
        raise LookupError("no index")
    return "done"


def plain(**options: Any) -> Callable[[bool], Any]:
    @operation("product_search", **options)
    def search(fail: bool) -> str:
        return work(fail)

    return search


def coroutine(**options: Any) -> Callable[[bool], Any]:
    @operation("product_search", **options)
    async def search(fail: bool) -> str:
        await asyncio.sleep(0)
        return work(fail)

    return lambda fail: asyncio.run(search(fail))


def generator(**options: Any) -> Callable[[bool], Any]:
    @operation("product_search", **options)
    def search(fail: bool) -> Iterator[str]:
        yield work(fail)

    return lambda fail: [*search(fail)].pop()


def async_generator(**options: Any) -> Callable[[bool], Any]:
    @operation("product_search", **options)
    async def search(fail: bool) -> AsyncIterator[str]:
        await asyncio.sleep(0)
        yield work(fail)

    async def consume(fail: bool) -> str:
        return [item async for item in search(fail)].pop()

    return lambda fail: asyncio.run(consume(fail))


def hidden_coroutine(**options: Any) -> Callable[[bool], Any]:
    async def search(fail: bool) -> str:
        await asyncio.sleep(0)
        return work(fail)

    @operation("product_search", **options)
    def begin(fail: bool) -> Any:
        return search(fail)

    async def run_it(fail: bool) -> str:
        result: str = await begin(fail)
        return result

    return lambda fail: asyncio.run(run_it(fail))


def method(**options: Any) -> Callable[[bool], Any]:
    class Shop:
        @operation("product_search", **options)
        @classmethod
        def search(cls, fail: bool) -> str:
            return work(fail)

    return Shop.search


def with_statement(**_: Any) -> Callable[[bool], Any]:
    def search(fail: bool) -> str:
        with operation("product_search"):
            return work(fail)

    return search


def async_with_statement(**_: Any) -> Callable[[bool], Any]:
    async def search(fail: bool) -> str:
        async with operation("product_search") as current:
            await asyncio.sleep(0)
            assert current.name == "product_search"
            return work(fail)

    return lambda fail: asyncio.run(search(fail))


KINDS = [
    plain, coroutine, generator, async_generator, hidden_coroutine, method, with_statement, async_with_statement,
]  # fmt: skip


@pytest.mark.parametrize("kind", KINDS)
def test_a_run_is_one_span_one_measurement_and_one_line(seen: Seen, kind: Any) -> None:
    assert kind()(False) == "done"
    span, line = seen.span(), seen.line()
    assert span.name == "product_search"
    assert dict(span.attributes or {}) == {
        "search.operation.name": "product_search",
        "search.operation.outcome": "ok",
        "hits": 3,
    }
    assert span.status.status_code is trace.StatusCode.UNSET
    assert {name: line[name] for name in ("event", "level", "logger", "hits", "search.operation.outcome")} == {
        "event": "operation completed",
        "level": "info",
        "logger": "otel_search.operation",
        "hits": 3,
        "search.operation.outcome": "ok",
    }
    assert line["trace_id"] == trace.format_trace_id(span.context.trace_id)
    assert line["span_id"] == trace.format_span_id(span.context.span_id)
    assert line["duration"] >= 0
    assert seen.counts() == {("product_search", None): 1}


@pytest.mark.parametrize("kind", KINDS)
def test_an_exception_passes_unchanged_and_is_the_outcome(seen: Seen, kind: Any) -> None:
    with pytest.raises(LookupError) as caught:
        kind()(True)
    assert caught.value.args == ("no index",)
    assert caught.value.__cause__ is None
    assert caught.value.__context__ is None
    span, line = seen.span(), seen.line()
    assert (span.status.status_code, span.status.description) == (trace.StatusCode.ERROR, "no index")
    assert (span.attributes or {})["error.type"] == "LookupError"
    assert (line["level"], line["search.operation.outcome"]) == ("error", "error")
    assert (line["error.type"], line["exception.message"], line["hits"]) == ("LookupError", "no index", 3)
    assert seen.counts() == {("product_search", "LookupError"): 1}


@pytest.mark.parametrize("kind", KINDS)
def test_the_context_is_as_before_when_a_run_is_over(seen: Seen, kind: Any) -> None:
    for fail in (False, True):
        with contextlib.suppress(LookupError):
            kind()(fail)
        assert trace.get_current_span() is trace.INVALID_SPAN
        assert run.current() is None


@pytest.mark.parametrize("kind", [plain, coroutine, generator, async_generator])
def test_only_named_arguments_are_recorded(seen: Seen, kind: Any) -> None:
    kind(arguments={"fail": "shop.fails"})(False)
    assert seen.line()["shop.fails"] is False
    assert (seen.span().attributes or {})["shop.fails"] is False


def test_arguments_are_found_wherever_they_come_from(seen: Seen) -> None:
    @operation("product_search", arguments=("query", "size", "page", "brand"))
    def search(query: str, size: int = 10, *words: str, page: int = 1, password: str = "x", **filters: Any) -> None:
        pass

    search("lamp")
    search("lamp", 5, "w", page=2, brand="acme", color="red")
    search(query="lamp", password="hunter2")
    names = ("query", "size", "page", "brand")
    assert [tuple(line.get(name) for name in names) for line in seen.lines()] == [
        ("lamp", 10, 1, None),
        ("lamp", 5, 2, "acme"),
        ("lamp", 10, 1, None),
    ]
    for span in seen.spans():
        assert not {"words", "color", "password"} & set(span.attributes or {})


def test_an_argument_that_there_is_not_is_said_once_and_costs_nothing(seen: Seen) -> None:
    @operation("product_search", arguments=("qery",))
    def search(query: str) -> str:
        return query

    assert search("lamp") == "lamp"
    warning, completed = seen.lines()
    assert warning["event"] == "operation 'product_search': no argument 'qery' to record; accepted: query"
    assert completed["event"] == "operation completed"


def test_values_are_made_safe_and_secrets_hidden(seen: Seen) -> None:
    class Broken:
        def __str__(self) -> str:
            raise RuntimeError

    with operation("product_search") as current:
        current.set({"shop.filters": {"brand": ["acme"]}}, mixed=[1, "a"], brands=["a", "b"], password="hunter2")
        current.set(broken=Broken(), nothing=None, level="gold")
    attributes, line = dict(seen.span().attributes or {}), seen.line()
    assert attributes["shop.filters"] == '{"brand": ["acme"]}'
    assert (attributes["mixed"], attributes["brands"]) == ('[1, "a"]', ("a", "b"))
    assert attributes["password"] == line["password"] == "[redacted: password]"
    assert "Broken" in line["broken"]
    assert line["shop.filters"] == {"brand": ["acme"]}
    assert (line["level"], line["extra.level"]) == ("info", "gold")


def test_runs_nest_and_set_reaches_the_innermost(seen: Seen) -> None:
    with operation("outer"):
        with operation("inner"):
            operation.set(depth=2)
        operation.set(depth=1)
    operation.set(depth=0)
    inner, outer = seen.spans()
    assert inner.parent == outer.context
    assert [(span.name, (span.attributes or {})["depth"]) for span in (inner, outer)] == [("inner", 2), ("outer", 1)]


def test_one_operation_may_run_many_times_at_once(seen: Seen) -> None:
    shared = operation("product_search")

    async def one(number: int) -> None:
        with shared as current:
            await asyncio.sleep(0)
            current.set(number=number)
            operation.set(same=number)
            await asyncio.sleep(0)

    async def many() -> None:
        await asyncio.gather(*(one(number) for number in range(50)))

    asyncio.run(many())
    lines = seen.lines()
    assert sorted(line["number"] for line in lines) == list(range(50))
    assert all(line["number"] == line["same"] for line in lines)
    assert len({span.context.trace_id for span in seen.spans()}) == 50


def test_entered_and_left_in_different_contexts_it_still_ends(seen: Seen) -> None:
    shared = operation("borrowed")
    for step in (shared.__enter__, functools.partial(shared.__exit__, None, None, None)):
        thread = threading.Thread(target=step)
        thread.start()
        thread.join()
    assert seen.span().name == "borrowed"
    assert seen.line()["search.operation.outcome"] == "ok"


def test_a_generators_context_does_not_reach_its_consumer(seen: Seen) -> None:
    inside = []

    @operation("export")
    def rows() -> Iterator[int]:
        with operation("page"):
            inside.append(run.current())
            yield 1
            inside.append(run.current())
            yield 2

    for _ in rows():
        assert run.current() is None
        assert trace.get_current_span() is trace.INVALID_SPAN
    assert [found.name for found in inside if found] == ["page", "page"]
    page, export = seen.spans()
    assert page.parent == export.context


def test_a_generator_can_be_sent_to_thrown_into_and_closed(seen: Seen) -> None:
    @operation("conversation")
    def talk() -> Generator[str, str, str]:
        try:
            heard = yield "hello"
        except KeyError:
            heard = "an error"
        yield f"heard {heard}"
        return "bye"

    talking = talk()
    assert next(talking) == "hello"
    assert talking.send("you") == "heard you"
    with pytest.raises(StopIteration) as stop:
        next(talking)
    assert stop.value.value == "bye"
    talking = talk()
    next(talking)
    assert talking.throw(KeyError()) == "heard an error"
    talking.close()
    assert [line["search.operation.outcome"] for line in seen.lines()] == ["ok", "closed"]


def test_an_async_generator_can_be_sent_to_thrown_into_and_closed(seen: Seen) -> None:
    closed = []

    @operation("conversation")
    async def talk() -> Any:
        try:
            try:
                heard = yield "hello"
            except KeyError:
                heard = "an error"
            yield f"heard {heard}"
        finally:
            closed.append(run.current().name)  # type: ignore[union-attr]

    async def converse() -> None:
        talking = talk()
        assert await anext(talking) == "hello"
        assert await talking.asend("you") == "heard you"
        assert [item async for item in talking] == []
        talking = talk()
        await anext(talking)
        assert await talking.athrow(KeyError()) == "heard an error"
        await talking.aclose()

    asyncio.run(converse())
    assert closed == ["conversation", "conversation"]
    assert [line["search.operation.outcome"] for line in seen.lines()] == ["ok", "closed"]


def test_a_cancelled_run_is_no_failure(seen: Seen) -> None:
    @operation("product_search")
    async def search() -> None:
        await asyncio.sleep(60)

    async def cancel() -> None:
        task = asyncio.create_task(search())
        await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(cancel())
    line = seen.line()
    assert (line["level"], line["search.operation.outcome"]) == ("info", "cancelled")
    assert seen.span().status.status_code is trace.StatusCode.UNSET


def test_an_expected_exception_is_an_answer_and_an_error_type_a_failure(seen: Seen) -> None:
    with pytest.raises(KeyError), operation("product_search", expected=(KeyError,)):
        raise KeyError("not found")
    with operation("product_search"):
        operation.set({"error.type": "out_of_stock"})
    lines = seen.lines()
    assert [(line["level"], line["search.operation.outcome"], line["error.type"]) for line in lines] == [
        ("info", "rejected", "KeyError"),
        ("error", "error", "out_of_stock"),
    ]
    assert seen.counts() == {("product_search", "KeyError"): 1, ("product_search", "out_of_stock"): 1}


def test_a_line_at_the_start_is_optional_and_the_logger_has_a_level(seen: Seen) -> None:
    with operation("product_search", attributes={"shop": "berlin"}, log_start=True):
        pass
    started, completed = seen.lines()
    assert (started["event"], started["shop"], completed["event"]) == (
        "operation started",
        "berlin",
        "operation completed",
    )
    with operation("product_search", log=False):
        pass
    logging.getLogger("otel_search.operation").setLevel(logging.WARNING)
    try:
        with operation("product_search"):
            pass
    finally:
        logging.getLogger("otel_search.operation").setLevel(logging.NOTSET)
    assert seen.lines() == []


def test_without_parentheses_the_function_gives_the_name(seen: Seen) -> None:
    @operation
    def product_search(query: str) -> str:
        """Searches."""
        return query

    assert product_search("lamp") == "lamp"
    assert seen.span().name == "product_search"
    assert (product_search.__name__, product_search.__doc__) == ("product_search", "Searches.")
    assert list(inspect.signature(product_search).parameters) == ["query"]


def test_names_beyond_a_bound_share_a_metric_point(seen: Seen, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(run, "_names", set())
    for number in range(300):
        with operation(f"search {number}", log=False):
            pass
    counts = seen.counts()
    assert len(counts) == 257
    assert counts["_other", None] == 44


def test_an_excluded_request_has_no_operations(seen: Seen) -> None:
    from opentelemetry import context as otel_context
    from opentelemetry.context import _SUPPRESS_INSTRUMENTATION_KEY

    token = otel_context.attach(otel_context.set_value(_SUPPRESS_INSTRUMENTATION_KEY, EXCLUDED))
    with operation("product_search") as current:
        current.set(hits=1)
    otel_context.detach(token)
    assert (seen.spans(), seen.lines()) == ([], [])


def test_telemetry_that_fails_costs_the_operation_nothing(seen: Seen, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken() -> Any:
        raise RuntimeError("broken tracer")

    monkeypatch.setattr(run, "_tracer", broken)
    assert plain()(False) == "done"
    assert seen.line()["event"] == "the telemetry of an operation failed: RuntimeError('broken tracer')"


def test_the_front_door_opens_it() -> None:
    assert otel_search.operation is operation
    assert "operation" in otel_search.__all__


def test_in_a_service_operations_belong_to_their_requests() -> None:
    with serve("operations:app") as service:
        response = service.get("/search?q=lamp&token=hunter2")
        assert response.json() == {"hits": 4}
        trace_id = response.headers["x-trace-id"]
        assert service.get("/fails").status_code == 500
        assert service.get("/refuses").status_code == 409
        assert service.get("/dependency").json() == "connection"
        assert service.get("/export").text == "0\n1\n2\n"
        spans = service.recording.wait_for(
            lambda recording: len(recording.trace(trace_id)) == 3 and recording.trace(trace_id)
        )
        search = service.event(event="operation completed", **{"search.operation.name": "product_search"})
        assert (search["shop.query"], search["category"], search["hits"]) == ("lamp", "any", 4)
        assert (search["trace_id"], search["request_id"]) == (trace_id, response.headers["x-request-id"])
        by_name = {span.name: span for span in spans}
        assert by_name["load_prices"].parent_span_id == by_name["product_search"].span_id
        assert by_name["product_search"].parent_span_id == by_name["GET /search"].span_id
        lines = eventually(lambda: len(found := service.events(event="operation completed")) >= 7 and found)
        done = {(line["search.operation.name"], line["search.operation.outcome"]) for line in lines}
        assert done == {
            ("product_search", "ok"),
            ("load_prices", "ok"),
            ("checkout", "error"),
            ("checkout", "rejected"),
            ("borrow_connection", "ok"),
            ("use_connection", "ok"),
            ("export_products", "ok"),
        }
        assert service.event(**{"search.operation.name": "export_products"})["rows"] == 3
        assert service.stop() != 0
        assert "hunter2" not in service.output()
        points = service.recording.latest("search.operation.duration")
        assert {
            point.attributes.get("error.type")
            for point in points
            if point.attributes["search.operation.name"] == "checkout"
        } == {"LookupError", "fastapi.exceptions.HTTPException"}
