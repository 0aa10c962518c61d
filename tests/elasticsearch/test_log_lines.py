"""The line `elasticsearch operation`: its level says what is wrong, and an outage does not flood."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from typing import Any

import pytest
from opentelemetry import trace

from otel_search.elasticsearch.operation_log import OperationLog
from otel_search.settings import Settings
from otel_search.settings.values import SlowQuery
from tests.elasticsearch.clients import Caller
from tests.elasticsearch.recorded import Recorded, recording
from tests.elasticsearch.scripted import ScriptedServer

SECRET = "jan@example.org"


class Lines(logging.Handler):
    def __init__(self) -> None:
        super().__init__()
        self.records: list[logging.LogRecord] = []
        self.spans: list[Any] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.records.append(record)
        self.spans.append(trace.get_current_span().get_span_context())

    @property
    def fields(self) -> list[dict[str, Any]]:
        return [record.otel_search_fields for record in self.records]

    @property
    def levels(self) -> list[str]:
        return [record.levelname for record in self.records]


@pytest.fixture
def lines() -> Iterator[Lines]:
    handler = Lines()
    logger = logging.getLogger("otel_search.elasticsearch")
    level = logger.level
    logger.addHandler(handler)
    logger.setLevel(logging.DEBUG)
    yield handler
    logger.removeHandler(handler)
    logger.setLevel(level)


def found(**more: Any) -> dict[str, Any]:
    shards = {"total": 1, "successful": 1, "skipped": 0, "failed": 0}
    return {"took": 5, "timed_out": False, "_shards": shards, "hits": {"total": 1, "hits": [{}]}} | more


def search(caller: Caller, **more: Any) -> Any:
    return caller(lambda client: client.search(index="products", query={"match": {"mail": SECRET}}, **more))


def test_ordinary_success_is_a_debug_line_with_the_spans_fields(
    recorded: Recorded, server: ScriptedServer, scripted: Caller, lines: Lines
) -> None:
    server.reply(found())
    search(scripted)
    (fields,) = lines.fields
    assert lines.levels == ["DEBUG"]
    assert lines.records[0].getMessage() == "elasticsearch operation"
    assert lines.spans == [recorded.span.get_span_context()]
    assert {key: value for key, value in fields.items() if key != "duration"} == dict(recorded.span.attributes)
    assert 0 < fields["duration"] < 10


def test_nothing_is_worked_out_for_a_debug_line_that_nobody_sees(
    recorded: Recorded, server: ScriptedServer, scripted: Caller, lines: Lines
) -> None:
    logging.getLogger("otel_search.elasticsearch").setLevel(logging.INFO)
    server.reply(found())
    search(scripted)
    assert lines.records == []


@pytest.mark.parametrize(
    "body",
    [
        found(timed_out=True),
        found(
            _shards={
                "total": 2,
                "successful": 1,
                "failed": 1,
                "failures": [{"reason": {"type": "x", "reason": SECRET}}],
            }
        ),
    ],
)
def test_what_is_incomplete_is_a_warning(
    recorded: Recorded, server: ScriptedServer, scripted: Caller, lines: Lines, body: Any
) -> None:
    server.reply(body)
    search(scripted)
    assert lines.levels == ["WARNING"]
    assert lines.fields[0]["search.outcome"] in {"partial", "timeout"}
    assert SECRET not in str(lines.fields)


def test_failed_bulk_items_are_a_warning_with_a_bounded_sample(
    recorded: Recorded, server: ScriptedServer, scripted: Caller, lines: Lines
) -> None:
    items = [
        {"index": {"_index": "products", "status": 400, "error": {"type": f"kind_{number % 20}", "reason": SECRET}}}
        for number in range(200)
    ]
    items.append({"index": {"_index": "products", "status": 201}})
    server.reply({"took": 1, "errors": True, "items": items})
    scripted(lambda client: client.bulk(operations=[{"index": {"_index": "products"}}, {"mail": SECRET}]))
    assert lines.levels == ["WARNING"]
    fields = lines.fields[0]
    assert fields["search.bulk.failed"] == 200
    assert fields["search.bulk.errors"].endswith("12 more")
    assert SECRET not in str(lines.fields)


def test_a_failed_call_is_one_error_line(
    recorded: Recorded, server: ScriptedServer, scripted: Caller, lines: Lines, caplog: pytest.LogCaptureFixture
) -> None:
    import elasticsearch

    server.reply({"error": {"type": "parsing_exception", "reason": SECRET}, "status": 400}, 400)
    with pytest.raises(elasticsearch.BadRequestError):
        search(scripted)
    assert lines.levels == ["ERROR"]
    assert lines.fields[0]["error.type"] == "parsing_exception"
    assert len([record for record in caplog.records if record.levelno >= logging.WARNING]) == 1
    assert lines.records[0].exc_info is None
    assert SECRET not in str(lines.fields)


def test_a_missing_document_is_no_warning(
    recorded: Recorded, server: ScriptedServer, scripted: Caller, lines: Lines
) -> None:
    import elasticsearch

    server.reply({"_index": "products", "_id": SECRET, "found": False}, 404)
    with pytest.raises(elasticsearch.NotFoundError):
        scripted(lambda client: client.get(index="products", id=SECRET))
    assert lines.levels == ["DEBUG"]
    assert SECRET not in str(lines.fields)


def test_slow_queries_are_warnings_by_the_collections_own_threshold(
    server: ScriptedServer, connect, lines: Lines
) -> None:
    slow = Settings(slow_query=SlowQuery(0.05, (("logs-*", 5.0), ("never", 0.0))))
    with recording(slow) as recorded:
        caller = connect(server.url)
        for index in ("products", "logs-2026.11.25", "never"):
            server.reply(found(), delay=0.1)
            caller(lambda client, index=index: client.search(index=index))
        server.reply({}, delay=0.1)
        caller(lambda client: client.indices.forcemerge(index="products"))
        assert lines.levels == ["WARNING", "DEBUG", "DEBUG", "DEBUG"]
        assert lines.fields[0]["search.slow"] is True
        assert [span.attributes.get("search.slow") for span in recorded.spans] == [True, None, None, None]


def test_warnings_are_complete_though_the_call_is_not_sampled(server: ScriptedServer, connect, lines: Lines) -> None:
    from opentelemetry.sdk.trace.sampling import ALWAYS_OFF

    with recording(sampler=ALWAYS_OFF):
        server.reply(found(timed_out=True))
        search(connect(server.url))
    fields = lines.fields[0]
    assert fields["search.timed_out"] is True
    assert fields["db.query.text"] == '{"query":{"match":{"mail":"?"}}}'
    assert fields["db.collection.name"] == "products"


@pytest.mark.parametrize("kind", ["async"], indirect=True)
def test_a_cancelled_call_is_a_warning(
    recorded: Recorded, server: ScriptedServer, scripted: Caller, lines: Lines
) -> None:
    import asyncio

    server.reply(found(), delay=0.5)

    async def run(client: Any) -> None:
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.05):
                await client.search(index="products")

    scripted(run)
    assert lines.levels == ["WARNING"]
    assert lines.fields[0]["error.type"] == "CancelledError"


def test_an_outage_writes_few_lines_and_says_how_many_more_there_were(
    server: ScriptedServer, connect, lines: Lines
) -> None:
    import elasticsearch

    with recording():
        caller = connect(server.url)
        for _ in range(50):
            server.reply({"error": {"type": "cluster_block_exception", "reason": SECRET}, "status": 403}, 403)
            with pytest.raises(elasticsearch.ApiError):
                search(caller)
        assert len(lines.records) == 5
    last = lines.records[-1]
    assert last.getMessage() == "elasticsearch operations suppressed"
    assert last.levelname == "ERROR"
    assert last.otel_search_fields == {
        "db.query.summary": "search products",
        "search.log.suppressed.kind": "cluster_block_exception",
        "search.log.suppressed": 45,
    }


def test_a_new_kind_of_fault_is_said_in_the_middle_of_an_outage(lines: Lines) -> None:
    log = OperationLog(lines=2, window=60)
    for _ in range(10):
        log.write(logging.ERROR, "search products", "ConnectionError", {})
    log.write(logging.ERROR, "search products", "parsing_exception", {})
    assert len(lines.records) == 3


def test_suppressed_lines_are_counted_when_the_window_ends(lines: Lines) -> None:
    log = OperationLog(lines=1, window=0.05)
    for _ in range(4):
        log.write(logging.WARNING, "search products", "partial", {})
    assert log.has_suppressed
    deadline = log._ends
    while log._ends == deadline:
        log.settle()
    assert not log.has_suppressed
    assert [record.getMessage() for record in lines.records] == [
        "elasticsearch operation",
        "elasticsearch operations suppressed",
    ]
    assert lines.fields[1]["search.log.suppressed"] == 3


def test_the_number_of_kinds_that_are_remembered_is_bounded(lines: Lines) -> None:
    log = OperationLog(lines=1, window=60)
    for number in range(2000):
        log.write(logging.WARNING, f"search {number}", "partial", {})
    assert len(log._written) <= 257
    assert len(lines.records) <= 257
