"""Request ids and trace ids: on every response, equal everywhere, and never what a stranger has made up."""

from __future__ import annotations

import re
import socket
from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from tests import seen
from tests.service import Service, eventually, serve

PARENT = "00-{trace_id}-{span_id}-01"
MARKER = "M4rk3r"


@pytest.fixture(scope="module")
def service() -> Iterator[Service]:
    with serve("ids:app") as running:
        yield running


def raw(service: Service, path: str, *headers: bytes) -> tuple[int, dict[str, str]]:
    """Status and headers of a response to exactly these header lines."""
    with socket.create_connection(("127.0.0.1", service.port), timeout=20) as connection:
        lines = [f"GET {path} HTTP/1.1".encode(), b"Host: shop.example", b"Connection: close", *headers]
        connection.sendall(b"\r\n".join(lines) + b"\r\n\r\n")
        answer = b""
        while chunk := connection.recv(65536):
            answer += chunk
    head, _, _ = answer.partition(b"\r\n\r\n")
    status, *fields = head.decode("latin-1").split("\r\n")
    return int(status.split()[1]), dict(field.lower().split(": ", 1) for field in fields)


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/item/1", 200),
        ("GET", "/item/x", 422),
        ("GET", "/none", 404),
        ("POST", "/item/1", 405),
        ("HEAD", "/item/1", 405),
        ("OPTIONS", "/item/1", 200),
        ("GET", "/stream", 200),
        ("GET", "/boom", 500),
        ("GET", "/gone", 410),
        ("GET", "/redirect", 307),
        ("GET", "/nothing", 204),
        ("GET", "/constant/", 200),
        ("GET", "/mounted/list/1", 200),
        ("GET", "/mounted/list/x", 422),
        ("GET", "/mounted/none", 404),
    ],
)
def test_every_response_has_its_headers(service: Service, method: str, path: str, status: int) -> None:
    headers = {"Origin": "https://shop.example", "Access-Control-Request-Method": "GET"} if method == "OPTIONS" else {}
    response = httpx.request(method, service.url + path, headers=headers)
    assert response.status_code == status
    assert re.fullmatch("[0-9a-f]{32}", response.headers["x-request-id"])
    assert re.fullmatch("[0-9a-f]{32}", response.headers["x-trace-id"])
    assert re.fullmatch(r"\d+\.\d{6}", response.headers["x-process-time"])
    assert all(len(response.headers.get_list(name)) == 1 for name in ("x-request-id", "x-trace-id", "x-process-time"))
    span = seen.server_span(service, response)
    assert span.attributes["search.request.id"] == response.headers["x-request-id"]
    assert span.attributes["user_agent.original"].startswith("python-httpx")
    assert span.attributes["client.address"] == "127.0.0.1"
    line = seen.access_line(service, response)
    assert line["trace_id"] == span.trace_id
    assert line["http.response.status_code"] == status
    assert line["duration"] >= float(response.headers["x-process-time"])


def test_a_message_that_is_sent_again_carries_no_older_id(service: Service) -> None:
    responses = [service.get("/constant/") for _ in range(3)]
    assert len({response.headers["x-request-id"] for response in responses}) == 3
    assert len({response.headers["x-trace-id"] for response in responses}) == 3


def test_what_the_application_sets_itself_stays(service: Service) -> None:
    response = service.get("/own")
    assert response.headers.get_list("x-request-id") == ["the-applications-own"]
    assert response.headers.get_list("x-process-time") == ["7"]
    assert len(response.headers.get_list("x-trace-id")) == 1


def test_a_valid_id_is_kept_however_often_it_comes(service: Service) -> None:
    mine = "0f8fad5b-d9cb-469f-a165-70867728950e"
    responses = [service.get("/item/1", headers={"X-Request-ID": mine}) for _ in range(100)]
    assert {response.headers["x-request-id"] for response in responses} == {mine}
    traces = {response.headers["x-trace-id"] for response in responses}
    assert len(traces) == 100
    lines = service.events(at_least=100, event="request completed", request_id=mine)
    assert {line["trace_id"] for line in lines} == traces
    span = seen.server_span(service, responses[0])
    assert span.attributes["search.request.id"] == mine
    (record,) = service.recording.wait_for(lambda _: seen.records(service, trace_id=span.trace_id, body="in the route"))
    assert record.attributes["request_id"] == mine


@pytest.mark.parametrize(
    "value",
    [
        MARKER.encode() * 9000,
        b"%0d%0aX-Evil:%20" + MARKER.encode(),
        MARKER.encode() + b"\x01\x02",
        MARKER.encode() + b"\xe9\xff",
        b'{"id":"' + MARKER.encode() + b'"}',
        b"\x1b[31m" + MARKER.encode(),
        b"<b>" + MARKER.encode() + b"</b>",
        b"",
        MARKER.encode() + b" " + MARKER.encode(),
        b"two",
    ],
    ids=["huge", "encoded", "control", "latin-1", "json", "ansi", "html", "empty", "blank", "two headers"],
)
def test_a_forged_id_is_replaced_and_shown_nowhere(service: Service, value: bytes) -> None:
    lines = [b"X-Request-ID: " + value]
    if value == b"two":
        lines = [b"X-Request-ID: " + MARKER.encode() + b"1", b"x-request-id: " + MARKER.encode() + b"2"]
    status, headers = raw(service, "/boom", *lines)
    if status == 400:  # uvicorn's own parser refuses raw control characters
        assert any(byte < 32 for byte in value)
        assert MARKER not in service.output()
        return
    assert status == 500
    assert re.fullmatch("[0-9a-f]{32}", headers["x-request-id"])
    assert MARKER not in str(headers)
    span = seen.server_span_of(service, headers["x-trace-id"])
    assert span.attributes["search.request.id"] == headers["x-request-id"]
    eventually(lambda: seen.records(service, trace_id=span.trace_id, body="unhandled exception"))
    everything = f"{service.output()}{service.recording.spans}{service.recording.logs}{service.recording.metrics}"
    assert MARKER not in everything
    service.events()  # every line is strict JSON


TRACE_ID, SPAN_ID = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"


@pytest.mark.parametrize(
    "header",
    [
        "",
        MARKER,
        f"00-{TRACE_ID}-{SPAN_ID}",
        f"00-{TRACE_ID}-{SPAN_ID}-01-{MARKER}",
        f"00-{'0' * 32}-{SPAN_ID}-01",
        f"00-{TRACE_ID}-{'0' * 16}-01",
        f"ff-{TRACE_ID}-{SPAN_ID}-01",
        f"00-{TRACE_ID.upper()}-{SPAN_ID}-01",
        f"00-{TRACE_ID[:-1]}-{SPAN_ID}-01",
        f"00-{TRACE_ID}-{SPAN_ID}-zz",
        f"00-{TRACE_ID}-{SPAN_ID}-01" * 500,
        f"00-{TRACE_ID[:-1]}é-{SPAN_ID}-01",
        '{"traceparent": 1}',
    ],
    ids=[
        "empty",
        "words",
        "no flags",
        "a fifth part",
        "zero trace id",
        "zero span id",
        "version ff",
        "capitals",
        "short",
        "flags",
        "long",
        "not ascii",
        "json",
    ],
)
def test_a_broken_traceparent_starts_a_new_trace(service: Service, header: str) -> None:
    status, headers = raw(service, "/item/1", b"traceparent: " + header.encode())
    assert status == 200
    assert headers["x-trace-id"] != TRACE_ID
    span = seen.server_span_of(service, headers["x-trace-id"])
    assert span.parent_span_id == ""
    assert MARKER not in service.output()


@pytest.mark.parametrize(
    "header",
    [
        b"tracestate: " + b",".join(b"k%d=%s" % (n, MARKER.encode()) for n in range(4500)),
        b"tracestate: v=" + MARKER.encode() * 9000,
        b"tracestate: =" + MARKER.encode(),
        b"tracestate: v\xe9=" + MARKER.encode(),
        b"baggage: v=" + MARKER.encode() * 9000,
        b"baggage: " + b",".join(b"k%d=%s" % (n, MARKER.encode()) for n in range(4000)),
        b"baggage: " + MARKER.encode(),
        b"baggage: a b=" + MARKER.encode(),
        b"baggage: v=" + MARKER.encode() + b"\xff",
    ],
    ids=[
        "many members",
        "one long member",
        "no key",
        "not ascii",
        "long baggage",
        "much baggage",
        "no pair",
        "blank in key",
        "baggage not ascii",
    ],
)
def test_a_monstrous_tracestate_or_baggage_does_no_harm(service: Service, header: bytes) -> None:
    parent = PARENT.format(trace_id=TRACE_ID, span_id=SPAN_ID).encode()
    seen_before = len(service.recording.trace(TRACE_ID))
    status, headers = raw(service, "/item/1", b"traceparent: " + parent, header)
    assert status == 200
    assert headers["x-trace-id"] == TRACE_ID
    service.recording.wait_for(lambda all_: len(all_.trace(TRACE_ID)) > seen_before)
    assert MARKER not in service.output()
    assert MARKER not in f"{service.recording.spans}{service.recording.logs}"


@pytest.mark.parametrize(
    ("trace_id", "parent_id"),
    [
        ("0bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"),
        ("0000a3ce929d0e0e47364bf92f3577b3", "0000000000000001"),
        ("00000000000000000000000000000001", "0f067aa0ba902b70"),
    ],
)
def test_ids_keep_their_leading_zeros_everywhere(service: Service, trace_id: str, parent_id: str) -> None:
    parent = PARENT.format(trace_id=trace_id, span_id=parent_id)
    response = service.get("/item/2", headers={"traceparent": parent})
    assert response.headers["x-trace-id"] == trace_id
    span = seen.server_span(service, response)
    assert span.parent_span_id == parent_id
    lines = eventually(lambda: (found := service.events(trace_id=trace_id))[1:] and found)
    assert {line["event"] for line in lines} == {"in the route", "request completed"}
    assert {line["span_id"] for line in lines} == {span.span_id}
    eventually(
        lambda: any(
            (exemplar.trace_id, exemplar.span_id) == (trace_id, span.span_id)
            for point in service.recording.metrics
            if point.name == seen.DURATION
            for exemplar in point.exemplars
        )
    )


def test_generated_ids_are_equal_in_header_line_record_and_span(service: Service) -> None:
    with httpx.Client(base_url=service.url) as client:
        answers = [client.get("/item/3").headers for _ in range(500)]
    ids = {headers["x-trace-id"]: headers["x-request-id"] for headers in answers}
    assert len(ids) == 500
    assert all(re.fullmatch("[0-9a-f]{32}", trace_id) for trace_id in ids)
    servers = service.recording.wait_for(
        lambda all_: (
            (
                found := {span.trace_id: span for span in all_.spans if span.trace_id in ids and span.kind == "SERVER"}
            ).keys()
            == ids.keys()
            and found
        )
    )

    def by_request() -> dict[str, dict[str, Any]]:
        return {line["request_id"]: line for line in service.events(event="request completed")}

    eventually(lambda: set(ids.values()) <= by_request().keys())
    lines = by_request()
    for trace_id, request_id in ids.items():
        line, span = lines[request_id], servers[trace_id]
        assert (line["trace_id"], line["span_id"]) == (trace_id, span.span_id)
        assert re.fullmatch("[0-9a-f]{16}", line["span_id"])
    service.recording.wait_for(
        lambda all_: ids.keys() <= {record.trace_id for record in all_.logs if record.body == "request completed"}
    )


def test_outside_of_a_span_there_are_no_ids(service: Service) -> None:
    line = service.event(event="Application startup complete.")
    assert not {"trace_id", "span_id", "trace_flags", "request_id"} & line.keys()


def test_the_application_sees_the_headers_as_they_came(service: Service) -> None:
    assert service.get("/seen", headers={"X-Request-ID": "not <valid>"}).json() == {"request_id": ["not <valid>"]}
