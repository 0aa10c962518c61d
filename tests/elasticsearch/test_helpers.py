"""The client's helper functions: one parent span for a run, its calls beneath it, and no context that leaks."""

from __future__ import annotations

import asyncio
import gc
import logging
from collections.abc import AsyncIterator, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any
from unittest.mock import AsyncMock, MagicMock

import pytest
from elasticsearch import ApiError, helpers
from opentelemetry import trace
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.trace import INVALID_SPAN, SpanKind, StatusCode

from otel_search.settings import Settings
from tests.elasticsearch.clients import NATIVE, Caller
from tests.elasticsearch.recorded import Recorded, recording

sync_only = pytest.mark.parametrize("kind", ["sync"], indirect=True)


def documents(count: int, bad: int = 0) -> Iterator[dict[str, Any]]:
    """Documents of which the last `bad` do not fit the mapping."""
    for number in range(count):
        price: Any = "secret-price" if number >= count - bad else number
        yield {"_index": "products", "_id": str(number), "name": f"product {number}", "price": price}


def consume(caller: Caller, name: str, *args: Any, **kwargs: Any) -> Any:
    """Run a helper to its end: the sync one, or its async brother."""
    if caller.kind == "sync":
        found = getattr(helpers, name)(caller.client, *args, **kwargs)
        return list(found) if isinstance(found, Iterator) else found

    async def run(client: Any) -> Any:
        found = getattr(helpers, f"async_{name}")(client, *args, **kwargs)
        return [item async for item in found] if hasattr(found, "__aiter__") else await found

    return caller(run)


def family(recorded: Recorded, name: str) -> tuple[ReadableSpan, list[ReadableSpan]]:
    """The one span of a helper, and what is directly beneath it."""
    (parent,) = recorded.named(name)
    return parent, [span for span in recorded.spans if span.parent and span.parent.span_id == parent.context.span_id]


def prefix(caller: Caller) -> str:
    return "helpers." if caller.kind == "sync" else "helpers.async_"


def test_bulk_is_one_span_with_its_requests_beneath_it(recorded: Recorded, engine: Caller) -> None:
    recorded.exporter.clear()
    with recorded.tracer.start_as_current_span("request") as request:
        consume(engine, "bulk", documents(25), chunk_size=10)
    parent, children = family(recorded, prefix(engine) + "bulk")
    assert parent.parent == request.get_span_context()
    assert parent.kind is SpanKind.INTERNAL
    assert [child.name for child in children] == ["bulk"] * 3
    assert [child.attributes["db.operation.batch.size"] for child in children] == [10, 10, 5]
    assert parent.attributes["search.bulk.ok"] == 25
    assert parent.attributes["search.bulk.failed"] == 0
    assert parent.status.status_code is StatusCode.UNSET
    assert len(recorded.spans) == 5


def test_streaming_bulk_counts_what_failed_and_goes_on(recorded: Recorded, engine: Caller) -> None:
    recorded.exporter.clear()
    results = consume(engine, "streaming_bulk", documents(100, bad=7), chunk_size=50, raise_on_error=False)
    assert [ok for ok, _ in results].count(False) == 7
    parent, children = family(recorded, prefix(engine) + "streaming_bulk")
    assert len(children) == 2
    assert parent.attributes["search.bulk.ok"] == 93
    assert parent.attributes["search.bulk.failed"] == 7
    assert parent.attributes["search.bulk.errors"] == children[1].attributes["search.bulk.errors"]
    assert parent.attributes["search.outcome"] == "partial"
    assert parent.status.status_code is StatusCode.UNSET
    assert "secret-price" not in recorded.everything()


def test_a_bulk_that_raises_has_failed_with_all_its_items_counted(recorded: Recorded, engine: Caller) -> None:
    recorded.exporter.clear()
    with pytest.raises(helpers.BulkIndexError):
        consume(engine, "bulk", documents(20, bad=4), chunk_size=20)
    parent, _ = family(recorded, prefix(engine) + "bulk")
    assert parent.status.status_code is StatusCode.ERROR
    assert parent.attributes["error.type"] == "BulkIndexError"
    assert parent.attributes["search.bulk.ok"] == 16
    assert parent.attributes["search.bulk.failed"] == 4
    assert not parent.events
    assert "secret-price" not in recorded.everything()


@pytest.mark.parametrize("stats_only", [False, True], ids=["items", "numbers"])
def test_a_bulk_says_which_of_its_items_failed(recorded: Recorded, engine: Caller, stats_only: bool) -> None:
    recorded.exporter.clear()
    ok, failed = consume(
        engine, "bulk", documents(100, bad=7), chunk_size=50, raise_on_error=False, stats_only=stats_only
    )
    assert (ok, failed if stats_only else len(failed)) == (93, 7)
    parent, children = family(recorded, prefix(engine) + "bulk")
    assert len(children) == 2
    assert (parent.attributes["search.bulk.ok"], parent.attributes["search.bulk.failed"]) == (93, 7)
    assert parent.attributes["search.bulk.errors"] == children[1].attributes["search.bulk.errors"]
    assert parent.attributes["search.outcome"] == "partial"
    assert "secret-price" not in recorded.everything()


def test_a_bulk_that_breaks_off_keeps_what_its_replies_have_said(recorded: Recorded, server, scripted: Caller) -> None:
    error = {"type": "mapper_parsing_exception", "reason": "secret-price"}
    items = [
        {"index": {"_index": "products", "status": 201}},
        {"index": {"_index": "products", "status": 400, "error": error}},
    ]
    server.reply({"took": 3, "errors": True, "items": items})
    server.reply({"error": {"type": "security_exception", "reason": "no"}, "status": 403}, status=403)
    with pytest.raises(ApiError):
        consume(scripted, "bulk", documents(4), chunk_size=2, raise_on_error=False)
    parent, children = family(recorded, prefix(scripted) + "bulk")
    assert len(children) == 2
    assert (parent.attributes["search.bulk.ok"], parent.attributes["search.bulk.failed"]) == (1, 1)
    assert parent.attributes["search.bulk.errors"] == "mapper_parsing_exception: 1"
    assert parent.attributes["error.type"] == "security_exception"


def test_partial_helpers_are_errors_if_asked(engine: Caller) -> None:
    with recording(Settings(partial_is_error=True)) as recorded:
        consume(engine, "streaming_bulk", documents(10, bad=1), raise_on_error=False)
        parent, _ = family(recorded, prefix(engine) + "streaming_bulk")
        assert parent.status.status_code is StatusCode.ERROR
        assert "exception" in parent.attributes["error.type"]


@pytest.mark.parametrize(("name", "options"), [("bulk", {}), ("bulk", {"stats_only": True}), ("streaming_bulk", {})])
def test_retried_items_count_once(
    recorded: Recorded, server, scripted: Caller, name: str, options: dict[str, Any]
) -> None:
    def reply(*statuses: int) -> dict[str, Any]:
        rejected = {"type": "es_rejected_execution_exception", "reason": "queue is full of secret-price"}
        items = [
            {"index": {"_index": "products", "status": status} | ({"error": rejected} if status == 429 else {})}
            for status in statuses
        ]
        return {"took": 3, "errors": 429 in statuses, "items": items}

    server.reply(reply(201, 429, 429))
    server.reply(reply(201, 429))
    server.reply(reply(429))
    retries = {"max_retries": 2, "initial_backoff": 0.01}
    results = consume(scripted, name, documents(3), raise_on_error=False, **retries, **options)
    assert results[0] == 2 if name == "bulk" else [ok for ok, _ in results] == [True, True, False]
    parent, children = family(recorded, prefix(scripted) + name)
    assert len(children) == 3
    assert (parent.attributes["search.bulk.ok"], parent.attributes["search.bulk.failed"]) == (2, 1)
    assert parent.attributes["search.bulk.errors"] == "es_rejected_execution_exception: 1"
    points = {
        attributes["search.outcome"]: point.value for attributes, point in recorded.points("search.client.bulk.items")
    }
    assert points == {"ok": 2, "es_rejected_execution_exception": 4}


@pytest.mark.parametrize("options", [{"raise_on_exception": False}, {"ignore_status": 413}])
def test_items_of_a_request_that_was_refused_count_where_only_numbers_are_wanted(
    recorded: Recorded, server, scripted: Caller, options: dict[str, Any]
) -> None:
    server.reply({"error": {"type": "too_large", "reason": "no"}, "status": 413}, status=413)
    result = consume(scripted, "bulk", documents(3), stats_only=True, raise_on_error=False, **options)
    assert result == (0, 3)
    parent, _ = family(recorded, prefix(scripted) + "bulk")
    assert (parent.attributes["search.bulk.ok"], parent.attributes["search.bulk.failed"]) == (0, 3)
    assert parent.attributes["search.bulk.errors"] == "too_large: 3"


def test_scan_is_one_span_over_its_pages(recorded: Recorded, engine: Caller) -> None:
    consume(engine, "bulk", documents(45), refresh=True)
    recorded.exporter.clear()
    hits = consume(engine, "scan", index="products", size=20)
    assert len(hits) == 45
    parent, children = family(recorded, prefix(engine) + "scan products")
    assert parent.attributes["db.response.returned_rows"] == 45
    assert children[0].name == "search products"
    assert children[0].attributes["search.query.paging"] == "scroll"
    assert {child.name for child in children[1:-1]} == {"scroll"}
    assert children[-1].name == "clear_scroll"
    assert not [child for child in children if child.status.status_code is StatusCode.ERROR]


def test_reindex_is_one_span_over_reading_and_writing(recorded: Recorded, engine: Caller) -> None:
    consume(engine, "bulk", documents(30), refresh=True)
    recorded.exporter.clear()
    consume(engine, "reindex", "products", "copies", chunk_size=10)
    parent, children = family(recorded, prefix(engine) + "reindex copies")
    assert {"search products", "bulk", "clear_scroll"} <= {child.name for child in children}
    assert parent.attributes["search.bulk.ok"] == 30
    assert [span.name for span in recorded.spans if span.name.startswith("helpers.")] == [parent.name]
    # The helper asks whether the target is a data stream, and expects that it is none.
    assert not [child for child in children if child.status.status_code is StatusCode.ERROR]


@sync_only
def test_the_loop_of_the_consumer_keeps_its_own_context(recorded: Recorded, engine: Caller) -> None:
    helpers.bulk(engine.client, documents(20), refresh=True)
    with recorded.tracer.start_as_current_span("request") as request:
        for _ in helpers.streaming_bulk(engine.client, documents(6), chunk_size=2):
            assert trace.get_current_span() is request
        for _ in helpers.parallel_bulk(engine.client, documents(6), chunk_size=2):
            assert trace.get_current_span() is request
        for _ in helpers.scan(engine.client, index="products", size=5):
            assert trace.get_current_span() is request


@pytest.mark.parametrize("kind", ["async"], indirect=True)
def test_the_loop_of_an_async_consumer_keeps_its_own_context(recorded: Recorded, engine: Caller) -> None:
    async def run(client: Any) -> None:
        await helpers.async_bulk(client, documents(20), refresh=True)
        with recorded.tracer.start_as_current_span("request") as request:
            async for _ in helpers.async_streaming_bulk(client, documents(6), chunk_size=2):
                assert trace.get_current_span() is request
            async for _ in helpers.async_scan(client, index="products", size=5):
                assert trace.get_current_span() is request

    engine(run)


@sync_only
def test_an_abandoned_generator_closes_its_span_and_its_scroll(recorded: Recorded, engine: Caller) -> None:
    helpers.bulk(engine.client, documents(20), refresh=True)
    recorded.exporter.clear()
    pages = helpers.scan(engine.client, index="products", size=5)
    next(pages)
    assert recorded.named("helpers.scan products") == []
    del pages
    gc.collect()
    parent, children = family(recorded, "helpers.scan products")
    assert parent.attributes["search.outcome"] == "abandoned"
    assert parent.attributes["db.response.returned_rows"] == 1
    assert parent.status.status_code is StatusCode.UNSET
    assert children[-1].name == "clear_scroll"
    assert trace.get_current_span() is INVALID_SPAN


@pytest.mark.parametrize("kind", ["async"], indirect=True)
def test_an_abandoned_async_generator_closes_its_span(
    recorded: Recorded, engine: Caller, caplog: pytest.LogCaptureFixture
) -> None:
    async def run(client: Any) -> None:
        await helpers.async_bulk(client, documents(20), refresh=True)
        recorded.exporter.clear()
        async for _ in helpers.async_scan(client, index="products", size=5):
            break
        gc.collect()
        for _ in range(200):
            if recorded.named("helpers.async_scan products"):
                break
            await asyncio.sleep(0.01)

    engine(run)
    parent, children = family(recorded, "helpers.async_scan products")
    assert parent.attributes["search.outcome"] == "abandoned"
    assert children[-1].name == "clear_scroll"
    assert "Failed to detach context" not in caplog.text


@sync_only
def test_parallel_bulk_keeps_the_trace_in_its_threads(recorded: Recorded, engine: Caller) -> None:
    recorded.exporter.clear()
    logged: list[tuple[int, str]] = []

    class Watching(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            logged.append((trace.get_current_span().get_span_context().trace_id, record.threadName or ""))

    handler = Watching()
    logger = logging.getLogger("urllib3.connectionpool")
    level = logger.level
    logger.addHandler(handler)
    logger.setLevel(logging.DEBUG)
    try:
        with recorded.tracer.start_as_current_span("request") as request:
            results = list(helpers.parallel_bulk(engine.client, documents(2000), thread_count=4, chunk_size=200))
    finally:
        logger.removeHandler(handler)
        logger.setLevel(level)
    assert len(results) == 2000
    parent, children = family(recorded, "helpers.parallel_bulk")
    assert parent.parent == request.get_span_context()
    assert [child.name for child in children] == ["bulk"] * 10
    assert parent.attributes["search.bulk.ok"] == 2000
    assert {trace_id for trace_id, _ in logged} == {request.get_span_context().trace_id}
    assert "MainThread" not in {thread for _, thread in logged}


@sync_only
def test_two_requests_in_parallel_keep_their_own_traces(recorded: Recorded, engine: Caller) -> None:
    recorded.exporter.clear()

    def handle(number: int) -> int:
        with recorded.tracer.start_as_current_span(f"request {number}") as request:
            list(helpers.parallel_bulk(engine.client, documents(400), thread_count=2, chunk_size=100))
            return request.get_span_context().trace_id

    with ThreadPoolExecutor(2) as pool:
        traces = list(pool.map(handle, range(2)))
    assert len(set(traces)) == 2
    for trace_id in traces:
        spans = [span for span in recorded.spans if span.context.trace_id == trace_id]
        assert [span.name for span in spans].count("bulk") == 4
        assert len(spans) == 6


@sync_only
def test_actions_are_produced_inside_of_the_helpers_span(recorded: Recorded, engine: Caller) -> None:
    helpers.bulk(engine.client, documents(10), refresh=True)
    recorded.exporter.clear()
    for helper in (helpers.streaming_bulk, helpers.parallel_bulk):
        recorded.exporter.clear()

        def actions() -> Iterator[dict[str, Any]]:
            for hit in helpers.scan(engine.client, index="products", size=5):
                yield {"_index": "copies", "_id": hit["_id"], **hit["_source"]}

        assert len(list(helper(engine.client, actions()))) == 10
        _parent, children = family(recorded, f"helpers.{helper.__name__}")
        assert "helpers.scan products" in {child.name for child in children}
        assert len({span.context.trace_id for span in recorded.spans}) == 1


@sync_only
@pytest.mark.skipif(not hasattr(helpers.actions, "OpenTelemetrySpan"), reason="this client has no spans for helpers")
@pytest.mark.parametrize("name", ["streaming_bulk", "parallel_bulk"])
def test_a_helper_imported_before_instrumenting_gets_one_clean_span_too(engine: Caller, name: str) -> None:
    imported_before = getattr(helpers, name)
    with recording() as recorded:
        assert getattr(helpers, name) is not imported_before
        with recorded.tracer.start_as_current_span("request") as request:
            for _ in imported_before(engine.client, documents(9, bad=2), chunk_size=3, raise_on_error=False):
                assert trace.get_current_span() is request
        parent, children = family(recorded, f"helpers.{name}")
        assert [child.name for child in children] == ["bulk"] * 3
        assert (parent.attributes["search.bulk.ok"], parent.attributes["search.bulk.failed"]) == (7, 2)
        assert "http.request.method" not in parent.attributes
        assert len(recorded.spans) == 5
    assert getattr(helpers, name) is imported_before


@sync_only
def test_a_replaced_helper_that_somebody_kept_works_after_uninstrumenting(engine: Caller) -> None:
    with recording() as recorded:
        kept = [helpers.bulk, helpers.streaming_bulk, helpers.parallel_bulk, helpers.scan]
    recorded.exporter.clear()
    assert kept[0](engine.client, documents(3), refresh=True)[0] == 3
    assert len(list(kept[1](engine.client, documents(3)))) == 3
    assert len(list(kept[2](engine.client, documents(3)))) == 3
    assert len(list(kept[3](engine.client, index="products"))) == 3
    assert recorded.spans == []


def test_document_bulk_of_the_dsl_is_one_span(recorded: Recorded, engine: Caller) -> None:
    dsl = pytest.importorskip("elasticsearch.dsl", reason="this client has no elasticsearch.dsl")
    recorded.exporter.clear()
    base = dsl.Document if engine.kind == "sync" else dsl.AsyncDocument

    class Product(base):
        name = dsl.Text()

        class Index:
            name = "products"

    products = [Product(name=f"product {number}") for number in range(5)]

    async def one_by_one() -> AsyncIterator[Any]:
        for product in products:
            yield product

    def run(client: Any) -> Any:
        return Product.bulk(products if engine.kind == "sync" else one_by_one(), using=client, refresh=True)

    engine(run)
    (parent,) = [span for span in recorded.spans if span.name.startswith("helpers.")]
    assert parent.attributes["db.operation.name"] == prefix(engine) + "bulk"
    assert parent.attributes["search.bulk.ok"] == 5
    assert len(recorded.spans) == 2


def test_a_suppressed_helper_leaves_nothing(recorded: Recorded, engine: Caller) -> None:
    from opentelemetry.instrumentation.utils import suppress_instrumentation

    recorded.exporter.clear()
    with suppress_instrumentation():
        consume(engine, "bulk", documents(3), refresh=True)
        assert len(consume(engine, "scan", index="products")) == 3
    assert recorded.spans == []


@pytest.mark.skipif(not NATIVE, reason="clients below 8.13 have no switch of their own")
def test_the_clients_switch_silences_helpers(
    engine_url: str, connect, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    import elastic_transport

    from tests.elasticsearch.clients import for_memory_engine

    monkeypatch.setenv("OTEL_PYTHON_INSTRUMENTATION_ELASTICSEARCH_ENABLED", "false")
    node = elastic_transport.Urllib3HttpNode if kind == "sync" else elastic_transport.AiohttpHttpNode
    with recording() as recorded:
        caller = connect(engine_url, node_class=for_memory_engine(node))
        consume(caller, "bulk", documents(3))
        assert recorded.spans == []


def test_a_double_of_a_client_gets_no_span_and_works(recorded: Recorded) -> None:
    from elasticsearch.serializer import JsonSerializer

    def double(kind: Any) -> Any:
        client = kind()
        client.options = MagicMock(return_value=client)
        client.transport = client._client = MagicMock()
        client.transport.serializers.get_serializer.return_value = JsonSerializer()
        items = [{"index": {"_index": "products", "status": 201}}]
        client.bulk = kind(return_value=MagicMock(body={"errors": False, "items": items}))
        return client

    actions = [{"_index": "products", "_source": {}}]
    assert helpers.bulk(double(MagicMock), actions) == (1, [])
    if hasattr(helpers, "async_bulk"):
        assert asyncio.run(helpers.async_bulk(double(AsyncMock), actions)) == (1, [])
    assert recorded.spans == []
