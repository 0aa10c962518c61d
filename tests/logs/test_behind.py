"""A server's lines wait until their request is answered: as they were logged, in their order, and all of them."""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterator
from contextvars import ContextVar, copy_context
from typing import Any

import pytest
import structlog
from opentelemetry.sdk.trace import TracerProvider

from otel_search import logs
from otel_search.logs import behind
from otel_search.logs.behind import Behind
from tests.service import eventually, serve

from .conftest import Chain

WHERE: ContextVar[str] = ContextVar("where", default="nowhere")


@pytest.fixture
def slow(monkeypatch: pytest.MonkeyPatch) -> None:
    """No thread makes anything before it is asked to."""
    monkeypatch.setattr(behind, "_LINGER_SECONDS", 3600)


@pytest.fixture
def serving(chain: Chain, slow: None) -> Iterator[Any]:
    found = logs.chain()
    assert found is not None
    found.begin_serving()
    yield found
    found.end_serving()


def test_each_event_is_written_in_its_own_context_and_in_order() -> None:
    written: list[tuple[int, str, str]] = []
    queue = Behind(lambda number: written.append((number, WHERE.get(), threading.current_thread().name)))
    for number in range(100):
        WHERE.set(f"request {number}")
        queue.put(copy_context(), (number,))
    eventually(lambda: len(written) == 100)
    queue.end()
    assert [(number, where) for number, where, _ in written] == [(number, f"request {number}") for number in range(100)]
    assert {thread for _, _, thread in written} == {"otel-search lines"}


def test_more_than_can_wait_is_written_by_the_caller_and_nothing_is_lost(slow: None) -> None:
    written: list[int] = []
    queue = Behind(written.append)
    most = 0
    for number in range(10_000):
        queue.put(copy_context(), (number,))
        most = max(most, len(queue._events))
    queue.end()
    assert written == list(range(10_000))
    assert most <= 2_001


def test_what_is_logged_while_an_event_is_written_is_written_too(slow: None) -> None:
    written: list[str] = []

    def write(event: str) -> None:
        written.append(event)
        if event == "one":  # as a processor of the user's own may, with an error
            queue.put(copy_context(), ("inner",))
            queue.drain()

    queue = Behind(write)
    for event in ("one", "two", "three"):
        queue.put(copy_context(), (event,))
    queue.end()
    assert written == ["one", "two", "three", "inner"]


def test_what_changes_after_the_call_changes_no_line(chain: Chain, serving: Any) -> None:
    items, fields = [1, 2], {"brand": "a", "token": "hunter2"}
    structlog.get_logger("shop").info("searched", items=items, query=fields, password="hunter2")
    items.append(3)
    fields["brand"] = "b"
    assert chain.lines() == []
    serving.drain()
    line = chain.line()
    assert (line["items"], line["query"]["brand"]) == ([1, 2], "a")
    assert "hunter2" not in str(line)
    assert list(chain.record().attributes["items"]) == [1, 2]


def test_ids_and_bound_values_are_those_of_the_call(chain: Chain, serving: Any) -> None:
    tracer = TracerProvider(shutdown_on_exit=False).get_tracer("test")
    with structlog.contextvars.bound_contextvars(user="u1"), tracer.start_as_current_span("request") as span:
        logging.getLogger("shop").info("inside", extra={"sku": "A1"})
    serving.drain()
    line = chain.line()
    assert line["span_id"] == f"{span.get_span_context().span_id:016x}"
    assert (line["user"], line["sku"]) == ("u1", "A1")
    assert chain.record().span_id == span.get_span_context().span_id


def test_an_error_is_written_at_once_and_all_before_it(chain: Chain, serving: Any) -> None:
    logging.getLogger("shop").info("one")
    logging.getLogger("shop").info("two")
    assert chain.lines() == []
    logging.getLogger("shop").error("three")
    assert [line["event"] for line in chain.lines()] == ["one", "two", "three"]
    try:
        raise KeyError("sku")
    except KeyError:
        logging.getLogger("shop").info("with its exception", exc_info=True)
    assert chain.line()["exception.type"] == "KeyError"


def test_the_line_of_an_answered_request_takes_what_waits_along(chain: Chain, serving: Any) -> None:
    logging.getLogger("shop").info("one")
    logging.getLogger("shop").info("two")
    assert chain.lines() == []
    serving.emit(created=0.0, level=logging.INFO, event="answered", logger="access", fields={}, is_last=True)
    assert [line["event"] for line in chain.lines()] == ["one", "two", "answered"]


def test_a_request_that_logs_in_masses_leaves_them_to_the_thread(chain: Chain, serving: Any) -> None:
    for number in range(100):
        logging.getLogger("shop").info("line", extra={"number": number})
    serving.emit(created=0.0, level=logging.INFO, event="answered", logger="access", fields={}, is_last=True)
    assert len(chain.lines()) == behind._AT_END
    serving.drain()
    lines = chain.lines()
    assert [line["number"] for line in lines[:-1]] == list(range(behind._AT_END, 100))
    assert lines[-1]["event"] == "answered"


def test_kill_9_loses_no_line_of_a_request_that_was_answered_before_another() -> None:
    with serve("chatty:app") as service:
        service.get("/log/5")
        service.get("/log/1")
        service.process.kill()
        service.process.wait()
        numbers = eventually(lambda: [event["number"] for event in service.events(event="chat")][:5])
        assert numbers == list(range(5))
        assert eventually(lambda: service.events(event="request completed"))


def test_the_end_of_serving_and_a_flush_leave_nothing_behind(chain: Chain, serving: Any) -> None:
    logging.getLogger("shop").info("flushed")
    outputs = logs.outputs()
    assert outputs is not None
    outputs.force_flush()
    assert chain.line()["event"] == "flushed"
    logging.getLogger("shop").info("at the end")
    serving.end_serving()
    logging.getLogger("shop").info("after the end")
    assert [line["event"] for line in chain.lines()] == ["at the end", "after the end"]


def test_a_child_that_a_server_forks_writes_its_own_lines_at_once() -> None:
    with serve("chatty:app") as service:
        service.get("/log/20")
        child = service.get("/fork").json()
        assert child
        assert len(eventually(lambda: service.events(event="in the child"))) == 1
        service.stop()
        assert len(service.events(event="chat")) == 20
