"""What a log record is in Elasticsearch: a document of the Collector's OTel mapping.

See https://github.com/open-telemetry/opentelemetry-collector-contrib/tree/main/exporter/elasticsearchexporter.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from random import getrandbits
from typing import Any

import orjson
from opentelemetry import trace
from opentelemetry.sdk._logs import ReadableLogRecord

from otel_search import semconv, settings
from otel_search.logs.values import Values
from otel_search.redaction import redactor_of


@dataclass(frozen=True)
class Target:
    """Where documents go.

    Attributes:
        index: The beginning of a daily index's name; empty for the data stream.
        dataset: The data stream's dataset.
        namespace: The data stream's namespace.
    """

    index: str
    dataset: str
    namespace: str

    @property
    def data_stream(self) -> str:
        """The data stream's name; `.otel` marks the mapping, as with the Collector."""
        return f"logs-{self.dataset}.otel-{self.namespace}"

    def of(self, nanoseconds: int) -> str:
        """Where the document of an event of this time goes."""
        if not self.index:
            return self.data_stream
        return f"{self.index}-{datetime.fromtimestamp(nanoseconds // 1_000_000_000, UTC):%Y.%m.%d}"


@dataclass
class Action:
    """One document on its way.

    Attributes:
        index: Where it goes.
        id: Its own id, so that sending it twice writes it once.
        document: The document, as JSON.
        mended: Whether what the mapping did not take is text already.
    """

    index: str
    id: str
    document: bytes
    mended: bool = False

    @property
    def lines(self) -> bytes:
        """The two lines of a bulk request."""
        head = orjson.dumps({"create": {"_index": self.index, "_id": self.id}})
        return head + b"\n" + self.document + b"\n"


def actions(batch: Sequence[ReadableLogRecord], target: Target) -> list[Action]:
    """The records as documents, in their order."""
    made = []
    for data in batch:
        nanoseconds = data.log_record.timestamp or data.log_record.observed_timestamp or 0
        document = _json(_document(data, nanoseconds, target))
        # Ordered by time, which Lucene finds quicker than what is random from the first digit on.
        made.append(Action(target.of(nanoseconds), f"{nanoseconds:016x}{getrandbits(64):016x}", document))
    return made


def _json(document: dict[str, Any]) -> bytes:
    try:
        return orjson.dumps(document, default=_plain)
    except TypeError:
        # A value that JSON cannot hold, in a record that did not come through our chain: that value alone is at stake.
        values = Values(redactor_of(settings.current()))
        return orjson.dumps({name: values.field(name, value) for name, value in document.items()})


def _plain(value: Any) -> Any:
    """What orjson asks of types that it does not know."""
    return dict(value) if isinstance(value, Mapping) else str(value)


def _document(data: ReadableLogRecord, nanoseconds: int, target: Target) -> dict[str, Any]:
    record = data.log_record
    document: dict[str, Any] = {"@timestamp": _time(nanoseconds)}
    if record.observed_timestamp:
        document["observed_timestamp"] = _time(record.observed_timestamp)
    if not target.index:
        document["data_stream"] = {
            "type": "logs",
            "dataset": f"{target.dataset}.otel",
            "namespace": target.namespace,
        }
    if record.trace_id:
        document["trace_id"] = trace.format_trace_id(record.trace_id)
    if record.span_id:
        document["span_id"] = trace.format_span_id(record.span_id)
    if record.severity_text:
        document["severity_text"] = record.severity_text
    if record.severity_number is not None:
        document["severity_number"] = record.severity_number.value
    if record.event_name:
        document["event_name"] = record.event_name
    if record.body is not None:
        is_structured = isinstance(record.body, (Mapping, list, tuple))
        document["body"] = {"structured": record.body} if is_structured else {"text": str(record.body)}
    document["attributes"] = dict(record.attributes or {})
    document["resource"] = {"attributes": dict(data.resource.attributes)}
    scope = data.instrumentation_scope
    if scope is not None:
        document["scope"] = {"name": scope.name, **({"version": scope.version} if scope.version else {})}
    return document


def _time(nanoseconds: int) -> str:
    seconds, rest = divmod(nanoseconds, 1_000_000_000)
    return f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%dT%H:%M:%S}.{rest:09d}Z"


def mended(action: Action, field: str | None) -> Action:
    """The same document with one attribute, or all of them if `field` is none of them, as text."""
    document = orjson.loads(action.document)
    attributes = document["attributes"]
    name = (field or "").removeprefix("attributes.")
    names = [
        key for key in attributes if name and (key == name or key.startswith(f"{name}.") or name.startswith(f"{key}."))
    ]
    moved = {key: attributes.pop(key) for key in names or list(attributes)}
    attributes[semconv.LOG_REFUSED] = orjson.dumps(moved).decode()
    return Action(action.index, action.id, orjson.dumps(document), mended=True)
