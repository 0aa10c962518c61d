"""What no honest program sends: a clear status, nothing stored, and no script that runs."""

from __future__ import annotations

import gzip
import json
import re
import socket

import httpx
import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceResponse

from otel_search.viewer import PortTakenError, Viewer
from otel_search.viewer.page.rendering import HEADERS
from tests.viewer.telemetry import PROTOBUF, gauge, lines, search

SCRIPT = """<script>alert(1)</script><img src=x onerror=alert(2)>"'`{{7777*7777}}{%x%}</title><a href="javascript:alert(3)">"""
JSON = {"content-type": "application/json"}
BODY = search()[1].SerializeToString()
SPAN = {"traceId": "ab" * 16, "spanId": "cd" * 8, "name": "a", "startTimeUnixNano": "1", "endTimeUnixNano": "2"}


def spans(*members):
    return json.dumps({"resourceSpans": [{"scopeSpans": [{"spans": list(members)}]}]}).encode()


@pytest.mark.parametrize(
    ("body", "headers", "status", "reason"),
    [
        (BODY[:-3], PROTOBUF, 400, "no ExportTraceServiceRequest"),
        (b"\xff" * 1000, PROTOBUF, 400, "no ExportTraceServiceRequest"),
        (BODY, {"content-type": "text/plain"}, 415, "content type 'text/plain'"),
        (BODY, {"content-type": "text/html"}, 415, "accepted: application/x-protobuf, application/json"),
        (b"{", JSON, 400, "the body is not JSON"),
        (b"[]", JSON, 400, "the body is a JSON list"),
        (spans({**SPAN, "traceId": "xyz"}), JSON, 400, "traceId is 'xyz'"),
        (spans({**SPAN, "name": {"a": 1}}), JSON, 400, "no ExportTraceServiceRequest"),
        (spans({**SPAN, "startTimeUnixNano": -5}), JSON, 400, "no ExportTraceServiceRequest"),
        (b'{"resourceSpans":' + b"[" * 100_000, JSON, 400, ""),
        (gzip.compress(b"\0" * 50_000_000), {**PROTOBUF, "content-encoding": "gzip"}, 413, "more than 20971520 bytes"),
        (gzip.compress(BODY)[:-9], {**PROTOBUF, "content-encoding": "gzip"}, 400, "ends too early"),
        (BODY, {**PROTOBUF, "content-encoding": "gzip"}, 400, "cannot be decompressed"),
        (BODY, {**PROTOBUF, "content-encoding": "br"}, 415, "content encoding 'br'"),
        (b"x" * 21_000_000, PROTOBUF, 413, "more than 20971520 bytes"),
        (BODY, {**PROTOBUF, "host": "evil.example:4318"}, 403, "Host is 'evil.example:4318'"),
        (BODY, {**PROTOBUF, "host": "127.0.0.1.evil.example"}, 403, "Host is"),
        (BODY, {**PROTOBUF, "host": "192.168.0.7:4318"}, 403, "Host is"),
        (BODY, {**PROTOBUF, "origin": "https://evil.example"}, 403, "Origin is 'https://evil.example'"),
        (BODY, {**PROTOBUF, "origin": "null"}, 403, "Origin is 'null'"),
    ],
)
def test_a_bad_export_is_refused_with_a_reason_and_not_stored(shared, body, headers, status, reason):
    response = httpx.post(
        f"{shared.viewer.endpoint}/v1/traces", content=body, headers=headers, timeout=60, trust_env=False
    )
    assert response.status_code == status
    assert reason in response.text
    assert shared.viewer.store.flush()
    assert shared.rows("SELECT count(*) FROM spans") == [(0,)]


@pytest.mark.parametrize("host", ["localhost", "localhost:4318", "127.0.0.1", "[::1]:9", "127.9.9.9"])
def test_programs_of_this_machine_may_call_it_by_any_of_its_names(shared, host):
    response = httpx.post(
        f"{shared.viewer.endpoint}/v1/metrics", content=b"", headers={**PROTOBUF, "host": host}, trust_env=False
    )
    assert response.status_code == 200


def test_a_span_of_ten_megabytes_is_rejected_and_the_others_are_kept(running):
    _, request = search(more={"huge": "x" * 10_000_000})
    response = httpx.post(
        f"{running.viewer.endpoint}/v1/traces",
        content=request.SerializeToString(),
        headers=PROTOBUF,
        timeout=60,
        trust_env=False,
    )
    assert response.status_code == 200
    partial = ExportTraceServiceResponse.FromString(response.content).partial_success
    assert partial.rejected_spans == 1
    assert "larger than 1048576 bytes" in partial.error_message
    assert running.viewer.store.flush()
    assert running.rows("SELECT name FROM spans") == [("GET /products/search",)]


def test_what_a_sender_calls_markup_is_text_on_every_view(running):
    identifier, request = search(
        text=SCRIPT,
        service=SCRIPT,
        route=f"/{SCRIPT}",
        more={
            "db.query.text": SCRIPT, "search.query.type": SCRIPT, "db.collection.name": SCRIPT, SCRIPT: SCRIPT,
            "search.query.hash": "</script><script>", "url.full": f"http://x/{SCRIPT}", "search.outcome": SCRIPT,
            "server.address": SCRIPT,
        },
    )  # fmt: skip
    span = request.resource_spans[0].scope_spans[0].spans[1]
    span.status.message = SCRIPT
    span.events.add(name=SCRIPT)
    running.send(
        request,
        lines(SCRIPT, trace=identifier, logger=SCRIPT, severity=17, service=SCRIPT, **{SCRIPT: SCRIPT}),
        gauge(1, name=SCRIPT, unit=SCRIPT, service=SCRIPT, **{SCRIPT: SCRIPT}),
        gauge(1, service=SCRIPT, **{"search.health.component": SCRIPT}),
        gauge(
            1,
            name="search.alerts.firing",
            service=SCRIPT,
            **{"search.alert.name": SCRIPT, "search.alert.severity": SCRIPT},
        ),
    )
    html = running.page("/metrics")
    metric = re.search(r'href="(/metrics/[^"]+)"', html)[1]
    shape = re.search(r'href="(/searches/[^"]+)"', running.page("/searches?kind=all"))[1].replace("&amp;", "&")
    views = ["/", "/traces", f"/traces/{identifier}", "/searches", shape, "/logs", metric, "/health", "/map"]
    views += [f"/traces?q={SCRIPT}&route={SCRIPT}&service={SCRIPT}", f"/logs?q={SCRIPT}&logger={SCRIPT}&trace={SCRIPT}"]
    for view in views:
        response = running.client.get(view)
        assert response.status_code == 200, view
        # The three that are ours, and no attribute that runs.
        assert re.findall(r"<script[^>]*>", response.text) == re.findall(
            r'<script src="/static/[^"]+" defer>', response.text
        )
        assert len(re.findall("<script", response.text)) == 3, view
        assert "<img" not in response.text
        assert not re.search(r'href="javascript', response.text)
        assert str(7777 * 7777) not in response.text


def test_every_answer_allows_only_files_of_its_own(running):
    for path in ("/", "/static/viewer.js", "/traces/nonsense", "/live-nowhere"):
        response = running.client.get(path)
        for name, value in HEADERS.items():
            assert response.headers[name] == value
    policy = HEADERS["content-security-policy"]
    assert "unsafe" not in policy
    assert policy.startswith("default-src 'none'; script-src 'self';")


@pytest.mark.parametrize(
    ("method", "path", "headers"),
    [
        ("GET", "/", {"host": "evil.example"}),
        ("GET", "/traces", {"host": "evil.example:4319"}),
        ("GET", "/", {"origin": "https://evil.example"}),
        ("POST", "/clear", {"origin": "https://evil.example"}),
        ("POST", "/clear", {"origin": "http://localhost:3000"}),
        ("POST", "/clear", {"origin": "null"}),
    ],
)
def test_no_page_of_another_site_can_ask_it(shared, method, path, headers):
    response = shared.client.request(method, path, headers=headers)
    assert response.status_code == 403
    assert "accepted: localhost" in response.text


@pytest.mark.parametrize(
    "path", ["/static/..%2fapp.py", "/static/%2e%2e/app.py", "/static/vendor", "/static/viewer.jsx", "/static/"]
)
def test_no_file_but_those_of_the_page_is_served(shared, path):
    assert shared.client.get(path).status_code == 404


@pytest.mark.parametrize(
    ("query", "reason"),
    [
        ("/?window=1y", "window is &#39;1y&#39;; accepted: 5m, 15m, 1h, 6h, 24h"),
        ("/traces?min=-1", "min is &#39;-1&#39;; accepted: a whole number"),
        ("/traces?status=abc", "status is"),
        ("/traces?before=99999999999999999999", "before is"),
        ("/logs?level=loud", "accepted: debug, info, warning, error"),
    ],
)
def test_a_bad_address_is_answered_with_what_is_accepted(shared, query, reason):
    assert reason in shared.page(query, status=400)


def test_only_loopback_is_listened_on(running):
    for url in (running.viewer.url, running.viewer.endpoint):
        port = int(url.rpartition(":")[2])
        with socket.socket() as outside:
            outside.bind(("127.0.0.2", port))  # would be taken if the server listened on all addresses


@pytest.mark.parametrize("option", ["port", "otlp_port", "grpc_port"])
def test_a_taken_port_is_named_and_nothing_is_left_open(option):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(PortTakenError, match=f"port {port} of 127.0.0.1 is taken") as raised:
            Viewer(**{"port": 0, "otlp_port": 0, "grpc_port": None, option: port})
    assert (raised.value.port, raised.value.option) == (port, option)


def test_a_sender_is_told_to_come_again_when_too_much_is_waiting(running):
    store = running.viewer.store
    store._max_queue = 1
    url = f"{running.viewer.endpoint}/v1/traces"
    with store._changed:  # the writer cannot empty the queue now
        store._waiting += 10
    response = httpx.post(url, content=BODY, headers=PROTOBUF, trust_env=False)
    assert response.status_code == 429
    assert response.headers["retry-after"] == "1"
    assert "too much telemetry is waiting" in response.text
    with store._changed:
        store._waiting -= 10
    assert httpx.post(url, content=BODY, headers=PROTOBUF, trust_env=False).status_code == 200
