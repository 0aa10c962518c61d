"""Streams, WebSockets and clients that leave: nothing is buffered, cancelled, invented or counted as latency."""

from __future__ import annotations

import contextlib
import re
import socket
from collections.abc import Iterator
from pathlib import Path

import httpx
import psutil
import pytest
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.sync.client import ClientConnection, connect

from tests import seen
from tests.service import Service, eventually, serve


@pytest.fixture(scope="module")
def markers(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("markers")


@pytest.fixture(scope="module")
def service(markers: Path) -> Iterator[Service]:
    with serve("streams:app", env={"MARKERS": str(markers)}) as running:
        yield running


@pytest.fixture(scope="module")
def layered(markers: Path) -> Iterator[Service]:
    with serve("streams:layered", env={"MARKERS": str(markers)}) as running:
        yield running


@pytest.fixture(scope="module")
def bare(markers: Path) -> Iterator[Service]:
    with serve("streams:layered", env={"MARKERS": str(markers)}, launcher=False) as running:
        yield running


def ask(service: Service, path: str) -> socket.socket:
    """A connection on which `path` was asked for."""
    connection = socket.create_connection(("127.0.0.1", service.port), timeout=10)
    connection.sendall(f"GET {path} HTTP/1.1\r\nHost: shop.example\r\n\r\n".encode())
    return connection


def complaints(service: Service) -> int:
    return len(re.findall("RuntimeError|No response returned|Exception in ASGI", service.output()))


def active(service: Service) -> float:
    return sum(point.value for point in seen.points(service, seen.ACTIVE))


def test_background_work_survives_a_client_that_leaves(
    service: Service, layered: Service, bare: Service, markers: Path
) -> None:
    for number, one in enumerate((service, layered, bare)):
        with ask(one, f"/marker/m{number}") as connection:
            while b"accepted" not in connection.recv(4096):
                pass
    eventually(lambda: len(list(markers.glob("m*"))) == 3)
    assert complaints(service) == 0


def test_a_client_that_leaves_before_the_response_raises_nothing_new(
    service: Service, layered: Service, bare: Service
) -> None:
    for one in (service, layered, bare):
        for _ in range(3):
            ask(one, "/slow").close()
    for one in (service, layered):
        lines = one.events(at_least=3, **{"url.path": "/slow", "event": "request completed"})
        assert {line["level"] for line in lines} == {"info"}
    bare.get("/fast")
    assert complaints(service) == 0
    assert complaints(layered) <= complaints(bare)


def test_a_large_download_is_neither_buffered_nor_held(service: Service) -> None:
    process = psutil.Process(service.process.pid)
    process = (process.children() or [process])[0]
    with httpx.stream("GET", service.url + "/download/4", timeout=60) as response:
        for _ in response.iter_raw():
            pass
    before = peak = process.memory_info().rss
    received = 0
    with httpx.stream("GET", service.url + "/download/200", timeout=60) as response:
        for chunk in response.iter_raw(1024 * 1024):
            received += len(chunk)
            peak = max(peak, process.memory_info().rss)
    assert received == 200 * 1024 * 1024
    assert peak - before < 30 * 1024 * 1024
    span = seen.server_span(service, response)
    assert (span.status, len(service.recording.trace(span.trace_id))) == ("UNSET", 1)


def test_the_first_byte_does_not_wait_for_the_second(service: Service, layered: Service) -> None:
    for one in (service, layered):
        with httpx.stream("GET", one.url + "/first", timeout=10) as response:
            chunks = response.iter_raw()
            assert next(chunks) == b"first"
            assert {"x-request-id", "x-trace-id", "x-process-time"} <= set(response.headers)
            httpx.post(one.url + "/release")
            assert b"".join(chunks) == b"second"


def use(service: Service, sockets: list[ClientConnection], responses: list[httpx.Response]) -> list[httpx.Response]:
    """Talk on all of them beside ordinary requests, then let clients end one half and the server the other."""
    for open_socket in sockets:
        for text in ("one", "two", "three"):
            open_socket.send(text)
            assert open_socket.recv() == text
    with httpx.Client(base_url=service.url) as client:
        answers = [client.get("/fast") for _ in range(100)]

    # Half of them are ended by the client, half by the server.
    for open_socket, code in zip(sockets, (1000, 4001), strict=False):
        open_socket.send(f"close {code}")
        with pytest.raises(ConnectionClosed):
            open_socket.recv()
    sockets[2].close(1000)
    sockets[3].close(3000)
    for response in responses[:2]:
        assert response.read().count(b"data:") == 20
    for response in responses[2:]:
        next(response.iter_raw())
    return answers


def test_long_sessions_are_no_latencies(service: Service) -> None:
    with contextlib.ExitStack() as sessions:
        sockets = [sessions.enter_context(connect(f"ws://127.0.0.1:{service.port}/echo")) for _ in range(4)]
        streams = [httpx.stream("GET", f"{service.url}/events/{number}", timeout=10) for number in (20, 20, 9999, 9999)]
        responses = [sessions.enter_context(stream) for stream in streams]
        answers = use(service, sockets, responses)
    lines = eventually(lambda: (found := service.events(event="websocket completed"))[3:] and found)
    assert sorted(line["search.websocket.close_code"] for line in lines) == [1000, 1000, 3000, 4001]
    assert all("http.response.status_code" not in line for line in lines)
    for line in lines:
        span = seen.server_span_of(service, line["trace_id"])
        assert "http.response.status_code" not in span.attributes
        assert span.attributes["search.websocket.close_code"] == line["search.websocket.close_code"]
        assert (span.status, span.name) == ("UNSET", "WS /echo")
        assert service.recording.trace(span.trace_id) == [span]

    for response in responses:
        span = seen.server_span(service, response)
        assert (span.status, span.attributes["http.response.status_code"]) == ("UNSET", 200)
        assert service.recording.trace(span.trace_id) == [span]
        line = seen.access_line(service, response)
        assert (line["level"], line["search.response.stream"], line.get("error.type")) == ("info", True, None)

    seen.eventually_counted(service, 4, http__route="/events/{number}")
    labelled = {
        point.attributes["http.route"]: point.attributes.get("search.response.stream") for point in seen.points(service)
    }
    assert labelled["/events/{number}"] is True
    assert [route for route, stream in labelled.items() if stream] == ["/events/{number}"]
    assert "/echo" not in labelled
    seen.eventually_counted(service, len(answers), http__route="/fast")
    eventually(lambda: active(service) == 0 and bool(seen.points(service, seen.ACTIVE)))


def test_a_refused_handshake_is_refused_as_without_telemetry(service: Service, bare: Service) -> None:
    for one in (service, bare):
        with pytest.raises(InvalidStatus) as refused, connect(f"ws://127.0.0.1:{one.port}/reject"):
            pass
        assert refused.value.response.status_code == 403
    (line,) = eventually(lambda: service.events(**{"event": "websocket completed", "url.path": "/reject"}))
    assert line["search.websocket.close_code"] == 1008
    assert "http.response.status_code" not in line


def test_the_handshake_is_the_bare_applications(service: Service, bare: Service) -> None:
    names = []
    for one in (service, bare):
        with connect(f"ws://127.0.0.1:{one.port}/echo") as open_socket:
            names.append(sorted(name.lower() for name in open_socket.response.headers))
    assert names[0] == names[1]


def test_an_exception_in_a_session_is_one_event(service: Service) -> None:
    with connect(f"ws://127.0.0.1:{service.port}/failing") as open_socket, pytest.raises(ConnectionClosed):
        open_socket.recv()
    (line,) = eventually(lambda: service.events(**{"event": "websocket completed", "url.path": "/failing"}))
    assert (line["level"], line["error.type"]) == ("error", "ValueError")
    span = seen.server_span_of(service, line["trace_id"])
    assert span.status == "ERROR"
    assert [event.attributes["exception.message"] for event in span.events] == ["in a session"]
    (said,) = eventually(
        lambda: [one for one in service.events(trace_id=span.trace_id) if "exception.stacktrace" in one]
    )
    assert said["exception.type"] == "ValueError"
    assert "http.response.status_code" not in span.attributes


@pytest.mark.parametrize("app", ["app", "layered"])
def test_a_request_that_the_server_gives_up_is_its_failure_unless_the_client_has_left(markers: Path, app: str) -> None:
    arguments = ["--timeout-graceful-shutdown", "1"]
    with serve(f"streams:{app}", *arguments, env={"MARKERS": str(markers)}) as service, contextlib.ExitStack() as asked:
        waiting = asked.enter_context(ask(service, "/endless?who=waiting"))
        leaving = asked.enter_context(ask(service, "/endless?who=leaving"))
        eventually(lambda: active(service) == 2)
        leaving.close()
        service.stop()
        assert waiting.recv(4096).startswith(b"HTTP/1.1 500 ")
        lines = {
            line["url.query"]: line for line in service.events(event="request completed", **{"url.path": "/endless"})
        }
        gave_up, left = lines["who=waiting"], lines["who=leaving"]
        assert (gave_up["level"], gave_up["http.response.status_code"]) == ("error", 500)
        assert gave_up["error.type"] == "asyncio.exceptions.CancelledError"
        assert (left["level"], left["error.type"]) == ("info", "client_disconnected")
        assert "http.response.status_code" not in left
        span = seen.server_span_of(service, gave_up["trace_id"])
        assert (span.status, span.attributes["http.response.status_code"]) == ("ERROR", 500)
        assert span.attributes["error.type"] == gave_up["error.type"]
        where = {"http__route": "/endless"}
        seen.eventually_counted(service, 2, **where)
        assert seen.count(service, http__response__status_code=500, **where) == 1
        assert seen.count(service, search__client__left=True, **where) == 1
