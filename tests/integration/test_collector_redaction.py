"""The Collector hides what the service hides: the same table, in the real program."""

from __future__ import annotations

import json
import math
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from otel_search.redaction import Redactor, collector, marker, suspects
from otel_search.redaction.table import SHAPES, Shape
from otel_search.viewer.receiver import Receiver
from otel_search.viewer.recording import Recording
from tests.backends.collector import CONFIG, Collector
from tests.backends.fixtures import require
from tests.redaction.examples import EXAMPLES
from tests.service import eventually

SECRETS = [
    (kind, text, secret)
    for kind, text, secret in EXAMPLES
    if Redactor().text(f"it is {text} then") != f"it is {text} then"
]
"""All but personal data."""

TOKEN = f"token={marker('token')}"

DESTINATION = """\
exporters:
  otlp_http/recording:
    endpoint: {endpoint}
    compression: none
  file/traces:
    path: {traces}
    flush_interval: 100ms
service:
  pipelines:
    traces/recording:
      receivers: [forward]
      exporters: [otlp_http/recording, file/traces]
    logs/recording:
      receivers: [forward]
      exporters: [otlp_http/recording]
    metrics/recording:
      receivers: [forward]
      exporters: [otlp_http/recording]
"""


def test_the_configuration_is_generated() -> None:
    written = (CONFIG / "redaction.yaml").read_text(encoding="utf-8")
    assert written == collector.configuration(), "python -m otel_search.redaction.collector > collector/redaction.yaml"


def test_it_says_nothing_that_re2_cannot() -> None:
    for beyond in ("(?=", "(?!", "(?<", "*+", "++", "}+"):
        assert beyond not in collector.configuration(), beyond


def test_the_pipelines_part_by_the_mark_that_is_set() -> None:
    assert (CONFIG / "collector.yaml").read_text(encoding="utf-8").count(f'attributes["{suspects.MARK}"] != nil') == 5


@dataclass
class Passed:
    """A Collector on loopback, and what has passed it."""

    collector: Collector
    recording: Recording
    traces: Path

    def send(self, signal: str, request: dict[str, Any]) -> None:
        url = f"{self.collector.http_url}/v1/{signal}"
        data = json.dumps(request).encode()
        headers = {"Content-Type": "application/json"}
        with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(
            urllib.request.Request(url, data, headers), timeout=30
        ) as response:
            assert response.status == 200

    def span(
        self,
        name: str,
        attributes: dict[str, Any],
        message: str = "",
        event: dict[str, Any] | None = None,
        resource: dict[str, Any] | None = None,
        event_name: str = "event",
        trace_state: str = "",
    ) -> Any:
        number = len(self.recording.spans) + 1
        span = {
            "traceId": f"{number:032x}", "spanId": f"{number:016x}", "name": name, "kind": 1,
            "traceState": trace_state, "startTimeUnixNano": "1764099200000000000", "endTimeUnixNano": "1764099200000000001",
            "attributes": _pairs(attributes), "status": {"code": 2, "message": message},
            "events": [{"timeUnixNano": "1", "name": event_name, "attributes": _pairs(event or {})}],
        }  # fmt: skip
        of = {"attributes": _pairs({"service.name": "shop", **(resource or {})})}
        self.send("traces", {"resourceSpans": [{"resource": of, "scopeSpans": [{"spans": [span]}]}]})
        return self.recording.wait_for(lambda seen: [one for one in seen.spans if one.trace_id == f"{number:032x}"])[0]

    def record(self, body: Any, attributes: dict[str, Any], event_name: str = "") -> Any:
        number = len(self.recording.logs) + 1
        record = {
            "timeUnixNano": str(number), "body": _value(body), "attributes": _pairs(attributes), "eventName": event_name,
        }  # fmt: skip
        self.send("logs", {"resourceLogs": [{"scopeLogs": [{"logRecords": [record]}]}]})
        return self.recording.wait_for(lambda seen: [one for one in seen.logs if one.time == number])[0]

    def point(self, attributes: dict[str, Any]) -> Any:
        number = len(self.recording.metrics) + 1
        point = {"timeUnixNano": "1764099200000000000", "asInt": "1", "attributes": _pairs(attributes)}
        metric = {"name": f"metric.{number}", "gauge": {"dataPoints": [point]}}
        self.send("metrics", {"resourceMetrics": [{"scopeMetrics": [{"metrics": [metric]}]}]})
        seen = self.recording.wait_for(lambda seen: [one for one in seen.metrics if one.name == f"metric.{number}"])
        return seen[0]


def _pairs(values: dict[str, Any]) -> list[dict[str, Any]]:
    return [{"key": key, "value": _value(value)} for key, value in values.items()]


def _value(value: Any) -> dict[str, Any]:
    if isinstance(value, dict):
        return {"kvlistValue": {"values": _pairs(value)}}
    if isinstance(value, list):
        return {"arrayValue": {"values": [_value(item) for item in value]}}
    if isinstance(value, float):
        return {"doubleValue": "NaN"}
    return {"intValue": str(value)} if isinstance(value, int) else {"stringValue": value}


@pytest.fixture(scope="module")
def passed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Passed]:
    require(Collector.program)
    directory = tmp_path_factory.mktemp("redaction")
    recording = Recording()
    with Receiver(recording.add) as receiver:
        layer = Path(directory / "recording.yaml")
        traces = directory / "traces.jsonl"
        layer.write_text(DESTINATION.format(endpoint=receiver.endpoint, traces=traces))
        # An absolute path stays one behind the directory of the other layers.
        with Collector(directory, (str(layer.with_suffix("")),), {}) as server:
            yield Passed(server, recording, traces)


@pytest.mark.backends
@pytest.mark.parametrize(("kind", "text", "secret"), SECRETS, ids=[text for _, text, _ in SECRETS])
def test_it_hides_each_example_as_the_service_does(passed: Passed, kind: str, text: str, secret: str) -> None:
    raw = f"it is {text}, then"
    ours = Redactor().text(raw)
    assert ours == f"it is {text.replace(secret, marker(kind))}, then"
    span = passed.span(raw, {"note": raw, "list": [text, "x"]}, raw, {"exception.message": raw}, event_name=raw)
    assert span.attributes["note"] == span.events[0].attributes["exception.message"] == span.name == ours
    assert span.status_message == span.events[0].name == ours
    record = passed.record(raw, {"note": raw}, raw)
    assert record.body == record.attributes["note"] == record.event_name == ours
    assert secret not in repr([span, record])


@pytest.mark.backends
@pytest.mark.parametrize(("kind", "text", "secret"), SECRETS, ids=[text for _, text, _ in SECRETS])
def test_it_finds_each_example_wherever_it_stands_alone(passed: Passed, kind: str, text: str, secret: str) -> None:
    raw, inner = f"it is\n{text}\nthen", f"it is {text} then"
    spans = [
        passed.span(raw, {}),
        passed.span("work", {"note": raw}),
        passed.span("work", {"tried": [inner, "x"]}),
        passed.span("work", {"form": {"note": inner}}),
        passed.span("work", {}, raw),
        passed.span("work", {}, event={"exception.message": raw}),
        passed.span("work", {}, event_name=raw),
        passed.span("work", {}, resource={"command": raw}),
    ]
    records = [
        passed.record(raw, {}),
        passed.record("work", {"note": raw}),
        passed.record({"form": {"note": raw}}, {}),
        passed.record([raw, "x"], {}),
        passed.record("work", {}, raw),
    ]
    for number, seen in enumerate([*spans, *records, passed.point({"note": raw})]):
        assert secret not in repr(seen), number
        assert suspects.MARK not in repr(seen), number


@pytest.mark.backends
def test_it_hides_what_a_trace_state_says(passed: Passed) -> None:
    span = passed.span("work", {}, trace_state="shop=token=M4rk3r")
    written = eventually(lambda: [line for line in passed.traces.read_text().splitlines() if span.trace_id in line])
    assert f'"traceState":"shop={TOKEN}"' in written[0]


@pytest.mark.backends
def test_what_cannot_be_looked_at_is_redacted(passed: Passed) -> None:
    assert passed.span("work", {"ratio": math.nan, "note": "token=M4rk3r"}).attributes["note"] == TOKEN
    assert passed.record({"ratio": math.nan, "note": "token=M4rk3r"}, {}).body["note"] == "****"
    assert passed.record(4111111111111111, {}).body == "****"


@pytest.mark.backends
def test_a_mark_of_the_sender_opens_no_door_and_does_not_stay(passed: Passed) -> None:
    for mark in (1, 0, ""):
        span = passed.span("work", {suspects.MARK: mark, "note": "token=M4rk3r"}, resource={suspects.MARK: mark})
        assert span.attributes == {"note": TOKEN}
        assert suspects.MARK not in repr(span)


@pytest.mark.backends
def test_what_the_service_has_hidden_comes_as_it_was(passed: Passed) -> None:
    notes = {f"note {number}": Redactor().text(f"it is {text}, then") for number, (_, text, _) in enumerate(SECRETS)}
    notes["in JSON"] = Redactor().text('{"password": "a", "cookie": ["b"], "token": 5}')
    notes["in a URL"] = Redactor().text("GET /?code=a&sig=b&session=c&next=%2F%3Ftoken%3Dd failed")
    notes["in a header"] = Redactor().text("Authorization: Bearer a")
    span = passed.span("work", notes)
    assert span.attributes == notes
    assert passed.record("\n".join(notes.values()), {}).body == "\n".join(notes.values())


@pytest.mark.backends
@pytest.mark.parametrize("row", [row for row in SHAPES if not row.personal], ids=lambda row: row.name)
def test_it_leaves_each_counterexample_alone(passed: Passed, row: Shape) -> None:
    span = passed.span("work", {"note": row.harmless})
    if not row.check:  # of a check digit it knows nothing
        assert span.attributes["note"] == row.harmless


@pytest.mark.backends
def test_it_hides_by_the_names_of_attributes_at_any_depth(passed: Passed) -> None:
    secrets = {
        "password": "M4rk3r", "http.request.header.authorization": ["M4rk3r"], "db.password": "M4rk3r",
        "csrfToken": "M4rk3r", "X-Api-Key": "M4rk3r", "user[password]": "M4rk3r", "pin.card_number": 4111,
    }  # fmt: skip
    harmless = {"max_tokens": 5, "session.id": "4711", "author": "Austen", "http.response.status_code": 200}
    hidden = {"token": marker("token"), "http.request.header.cookie": [marker("cookie")]}
    span = passed.span("work", {**secrets, **harmless, **hidden, "number": 4111111111111111})
    for name in secrets:
        assert span.attributes[name] == "****", name
    assert span.attributes["number"] == "****"
    assert {name: span.attributes[name] for name in harmless} == harmless
    assert span.attributes["token"] == marker("token")
    assert list(span.attributes["http.request.header.cookie"]) == [marker("cookie")]
    record = passed.record({"form": {"user": "jane", "password": "M4rk3r"}, "tried": ["Bearer M4rk3r0123"]}, secrets)
    assert record.body["form"] == {"user": "jane", "password": "****"}
    assert "M4rk3r" not in repr([span, record])


@pytest.mark.backends
@pytest.mark.parametrize(
    "text",
    [
        '{"user": "jane", "password": "M4rk3r x", "q": 1}',
        '"{\\"token\\": \\"M4rk3r\\"}"',
        "[(b'cookie', b'M4rk3r'), (b'host', b'h')]",
        "Cookie: sid=M4rk3r; b=M4rk3r\nHost: h",
        "GET /?q=1&code=M4rk3r&page=2",
        "serve --db-password M4rk3r --fast",
        "password = 'M4rk3r'",
        "Elasticsearch(url, basic_auth=('elastic', 'M4rk3r'), retry_on_timeout=True)",
        '{"api_key": ["id", "M4rk3r"], "q": 1}',
    ],
)
def test_it_hides_what_stands_beside_a_name_in_a_text(passed: Passed, text: str) -> None:
    record = passed.record(text, {"note": text})
    assert record.body == record.attributes["note"] == Redactor().text(text)
