"""Secrets that a request carries: nowhere in spans, metrics, exemplars, log records and lines."""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterator

import httpx
import pytest
from websockets.sync.client import connect

from otel_search import redaction
from tests import seen
from tests.service import Service, eventually, serve

NAMES = {
    "token": "token", "api_key": "api key", "access_token": "token", "code": "authorization code", "sig": "signature",
    "password": "password", "TOKEN": "token", "Api-Key": "api key", "accessToken": "token",
    "X-Amz-Signature": "signature", "%74oken": "token", "pass%77ord": "password", "%2574oken": "token",
    "user%5Bpassword%5D": "password", "customer-pin": "secret", "CustomerPin": "secret",
}  # fmt: skip
TOKEN = f"token={redaction.marker('token')}"
_numbers = itertools.count()
_issued: list[str] = []


@pytest.fixture(autouse=True)
def forget_earlier_markers() -> None:
    _issued.clear()


def marker() -> str:
    """A secret that no other request has, so that a leak names the place it came from."""
    _issued.append(f"M4rk3r{next(_numbers):04d}x")
    return _issued[-1]


@pytest.fixture(scope="module")
def service() -> Iterator[Service]:
    with serve(
        "careless:app",
        env={
            "OTEL_SEARCH_REDACT_KEYS": "Customer-PIN, shop.ticket",
            "OTEL_SEARCH_REDACT_PATTERNS": r"customer number=KD-\d{6}",
        },
    ) as running:
        yield running


def everything(service: Service) -> str:
    recording = service.recording
    return "\n".join(
        [service.output(), *map(repr, recording.spans), *map(repr, recording.logs), *map(repr, recording.metrics)]
    )


def assert_no_marker(service: Service) -> None:
    leaks = re.findall(f".{{0,80}}(?:{'|'.join(_issued)}).{{0,20}}", everything(service))
    assert leaks == []


def wait_for_all_of(service: Service, response: httpx.Response) -> None:
    span = seen.server_span(service, response)
    eventually(lambda: seen.records(service, trace_id=span.trace_id, body="request completed"))


@pytest.mark.parametrize("name", NAMES)
def test_a_secret_in_the_query_string_keeps_its_name_alone(service: Service, name: str) -> None:
    response = service.get(f"/search?q=lamp&{name}={marker()}&{name}={marker()}&page=2")
    wait_for_all_of(service, response)
    hidden = redaction.marker(NAMES[name])
    redacted = f"q=lamp&{name}={hidden}&{name}={hidden}&page=2"
    assert seen.server_span(service, response).attributes["url.query"] == redacted
    assert seen.access_line(service, response)["url.query"] == redacted
    assert_no_marker(service)


@pytest.mark.parametrize(
    "query",
    [
        "next=https%3A%2F%2Fshop.example%2Fcallback%3Fcode%3D{}",
        "next=https://user:{}@shop.example/",
        "state=1%23access_token%3D{}",
        "a=1;token={}",
        "header=Bearer%20{}",
        "filter=%7B%22password%22%3A%22{}%22%7D",
        "shop_ticket={}",
    ],
)
def test_nested_secrets(service: Service, query: str) -> None:
    wait_for_all_of(service, service.get("/search?" + query.format(marker())))
    assert_no_marker(service)


@pytest.mark.parametrize("path", ["/boom", "/chained", "/by-hand", "/background"])
def test_exceptions_that_name_the_url(service: Service, path: str) -> None:
    response = service.get(f"{path}?q=1&token={marker()}&api_key={marker()}&customer-pin={marker()}")
    wait_for_all_of(service, response)
    traces = service.recording.trace(response.headers["x-trace-id"])
    if path != "/background":
        exceptions = [event for span in traces for event in span.events if event.name == "exception"]
        assert exceptions
        if path != "/chained":
            assert TOKEN in exceptions[0].attributes["exception.message"]
        assert TOKEN in exceptions[0].attributes["exception.stacktrace"]
    eventually(
        lambda: any(
            TOKEN in record.attributes.get("exception.stacktrace", "")
            for record in seen.records(service, trace_id=response.headers["x-trace-id"])
        )
    )
    assert_no_marker(service)


def test_credentials_in_headers(service: Service) -> None:
    response = service.get(
        "/search",
        headers={
            "Authorization": f"Bearer {marker()}",
            "Proxy-Authorization": f"Basic {marker()}",
            "Cookie": f"session={marker()}; other={marker()}",
            "X-API-Key": marker(),
            "X-Auth-Token": marker(),
            "Referer": f"https://shop.example/?token={marker()}",
        },
    )
    wait_for_all_of(service, response)
    assert "M4rk3r" in response.headers["set-cookie"]
    assert_no_marker(service)


def test_a_form_with_a_password(service: Service) -> None:
    response = httpx.post(service.url + "/login", data={"user": "lamp-buyer", "password": marker(), "token": marker()})
    assert response.status_code == 500
    wait_for_all_of(service, response)
    eventually(lambda: seen.records(service, trace_id=response.headers["x-trace-id"], body="unhandled exception"))
    assert "lamp-buyer" in everything(service)
    assert_no_marker(service)


def test_the_handshake_of_a_websocket(service: Service) -> None:
    with connect(f"ws://127.0.0.1:{service.port}/live?q=1&token={marker()}"):
        pass
    (line,) = eventually(lambda: service.events(**{"event": "websocket completed", "url.path": "/live"}))
    assert line["url.query"] == f"q=1&{TOKEN}"
    assert seen.server_span_of(service, line["trace_id"]).attributes["url.query"] == f"q=1&{TOKEN}"
    assert_no_marker(service)


# As they stand in a URL; the Elasticsearch key and the GitHub token show that it is their looks.
LOOKS = {
    "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxIn0.c2lnbmF0dXJl": "token",
    "AKIAIOSFODNN7EXAMPLE": "access key",
    "AIzaSyDaGmWKa4JsXZ-HjGw7ISLn_3namBGewQe": "api key",
    "essu_VWpOdlNHSlhPRUpDTTNWb1h6UnNZelpGV0RZNg": "api key",
    "ghp_16C7e42F292c6912E7710c838347Ae178B4a": "token",
    "4111111111111111": "card number",
    "KD-123456": "customer number",
}


@pytest.mark.parametrize(("secret", "kind"), LOOKS.items())
def test_a_secret_that_is_known_by_its_looks(service: Service, secret: str, kind: str) -> None:
    response = service.get(f"/by-its-looks?it={secret}", headers={"X-Request-ID": secret, "User-Agent": f"a {secret}"})
    assert response.status_code == 500
    assert response.headers["x-request-id"] != secret
    wait_for_all_of(service, response)
    eventually(lambda: seen.records(service, trace_id=response.headers["x-trace-id"], body="unhandled exception"))
    assert secret not in everything(service)
    text = f"it is {redaction.marker(kind)}, then"
    (own,) = [span for span in service.recording.trace(response.headers["x-trace-id"]) if span.name.startswith("use ")]
    assert own.attributes["note"] == own.status_message == own.events[0].attributes["note"] == text
    assert len(seen.records(service, trace_id=own.trace_id, body=text)) == 3  # by the API, structlog and logging
    server = seen.server_span(service, response)
    assert server.attributes["url.query"] == f"it={redaction.marker(kind)}"
    assert server.attributes["user_agent.original"] == f"a {redaction.marker(kind)}"


def test_what_was_hidden_is_counted(service: Service) -> None:
    service.get(f"/search?password={marker()}")
    kinds = eventually(
        lambda: {
            point.attributes["search.redaction.kind"]: point.value
            for point in service.recording.latest("search.telemetry.redacted")
        }
    )
    assert kinds["password"] > 0
    assert "search_telemetry_redacted_total" in service.get("/metrics").text


def test_names_to_keep_and_patterns_that_cannot_be_used() -> None:
    env = {"OTEL_SEARCH_REDACT_KEEP": "password", "OTEL_SEARCH_REDACT_PATTERNS": "broken=(;ok=X-\\d+"}
    with serve("careless:app", env=env) as service:
        response = service.get("/search?password=shown&token=M4rk3r&note=X-12")
        assert seen.access_line(service, response)["url.query"] == (
            f"password=shown&{TOKEN}&note={redaction.marker('ok')}"
        )
        (fault,) = eventually(lambda: [event for event in service.events() if "REDACT_PATTERNS" in event["event"]])
        assert "'broken=('" in fault["event"]


def test_personal_data() -> None:
    with serve("careless:app", env={"OTEL_SEARCH_REDACT": "pii"}) as service:
        response = service.get("/search?q=jane%40example.com")
        hidden = redaction.marker("ip address")
        line = seen.access_line(service, response)
        assert line["client.address"] == seen.server_span(service, response).attributes["client.address"] == hidden
        assert line["url.query"] == f"q={redaction.marker('email address')}"
        eventually(lambda: seen.records(service, trace_id=line["trace_id"], body="searching"))
        assert "jane" not in everything(service)


def test_nothing_is_hidden_if_asked_which_is_said_once() -> None:
    with serve("careless:app", env={"OTEL_SEARCH_REDACT": "off"}) as service:
        response = service.get("/search?token=shown")
        assert seen.access_line(service, response)["url.query"] == "token=shown"
        assert seen.server_span(service, response).attributes["url.query"] == "token=shown"
        assert len([event for event in service.events() if event["event"].startswith("OTEL_SEARCH_REDACT=off")]) == 1


def test_metrics_and_exemplars(service: Service) -> None:
    service.get(f"/search?token={marker()}")
    eventually(lambda: any(point.exemplars for point in service.recording.metrics if point.name == seen.DURATION))
    assert_no_marker(service)
