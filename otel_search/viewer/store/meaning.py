"""What a span stands for: a request, an Elasticsearch call, a call of something else.

Names of the current semantic conventions come first, and those of older ones after them, because
the programs that send here are of all ages and languages.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from otel_search import semconv
from otel_search.query import query_hash

if TYPE_CHECKING:
    from otel_search.viewer.telemetry import Span

ENTRIES = ("SERVER", "CONSUMER")
EXITS = ("CLIENT", "PRODUCER")
ENGINES = ("elasticsearch", "opensearch")

_SEARCHES = ("search", "msearch", "async_search.submit", "count", "esql.query", "sql.query", "scroll")

FINDINGS = ("", "retried", "empty", "partial", "timeout", "error")
"""What came of an Elasticsearch call, from good to bad."""


def first(attributes: Mapping[str, Any], *names: str) -> str:
    """The value of the first of these attributes that is there, as text; empty for none."""
    for name in names:
        value = attributes.get(name)
        if value is not None:
            return str(value)
    return ""


def method_of(attributes: Mapping[str, Any]) -> str:
    """The HTTP method of a request or call."""
    return first(attributes, semconv.HTTP_REQUEST_METHOD, "http.method")


def route_of(attributes: Mapping[str, Any]) -> str:
    """The route template of a request."""
    return first(attributes, semconv.HTTP_ROUTE)


def status_of(attributes: Mapping[str, Any]) -> int | None:
    """The HTTP status of a request or call."""
    text = first(attributes, semconv.HTTP_RESPONSE_STATUS_CODE, "http.status_code")
    return int(text) if text.isascii() and text.isdigit() and len(text) == 3 else None


def is_error(span: Span) -> bool:
    """Whether the caller of this span saw an error."""
    return span.status == "ERROR" or (span.kind == "SERVER" and (status_of(span.attributes) or 0) >= 500)


def system_of(attributes: Mapping[str, Any]) -> str:
    """The database system that a span is a call of."""
    return first(attributes, semconv.DB_SYSTEM, "db.system")


def is_call(span: Span) -> bool:
    """Whether a span is a call of Elasticsearch or OpenSearch."""
    return system_of(span.attributes) in ENGINES


def is_search(span: Span) -> bool:
    """Whether a call of Elasticsearch searches, and does not write or ask for one document."""
    attributes = span.attributes
    return semconv.QUERY_TYPE in attributes or first(attributes, semconv.DB_OPERATION, "db.operation") in _SEARCHES


def query_of(attributes: Mapping[str, Any]) -> str:
    """The query text of a database call."""
    return first(attributes, semconv.DB_QUERY_TEXT, "db.statement")


def finding_of(span: Span) -> str:
    """What came of an Elasticsearch call: one of `FINDINGS`."""
    attributes = span.attributes
    if span.status == "ERROR":
        return "timeout" if attributes.get(semconv.TIMED_OUT) is True else "error"
    outcome = attributes.get(semconv.OUTCOME)
    if outcome in FINDINGS:
        return str(outcome)
    if _positive(attributes.get(semconv.BULK_FAILED)) or _positive(attributes.get(semconv.SHARDS_FAILED)):
        return "partial"
    return "retried" if _positive(attributes.get(semconv.RETRIES_MADE)) else ""


@dataclass(frozen=True)
class Shape:
    """What Elasticsearch calls have in common that ask the same with other values."""

    hash: str
    service: str
    operation: str
    collection: str
    query_type: str


def shape_of(span: Span, service: str) -> Shape:
    """The shape of an Elasticsearch call."""
    attributes = span.attributes
    known = attributes.get(semconv.QUERY_HASH)
    return Shape(
        hash=known if isinstance(known, str) and known else query_hash(query_of(attributes) or span.name),
        service=service,
        operation=first(attributes, semconv.DB_OPERATION, "db.operation") or span.name,
        collection=first(attributes, semconv.DB_COLLECTION, "db.elasticsearch.path_parts.index"),
        query_type=first(attributes, semconv.QUERY_TYPE),
    )


def peer_of(span: Span) -> tuple[str, str] | None:
    """Whom a client span calls, and what kind of peer that is; `None` if it does not say."""
    attributes = span.attributes
    address = first(attributes, semconv.SERVER_ADDRESS, "net.peer.name", "network.peer.address")
    if system := system_of(attributes):
        return " ".join(
            filter(None, (system, first(attributes, semconv.DB_NAMESPACE, "db.name") or address))
        ), "database"
    if system := first(attributes, "messaging.system"):
        return " ".join(filter(None, (system, first(attributes, "messaging.destination.name")))), "messaging"
    if not address:
        return None
    port = first(attributes, semconv.SERVER_PORT, "net.peer.port")
    return (f"{address}:{port}" if port else address), "service"


def number(value: Any) -> float | None:
    """An attribute's value if it is a number."""
    return value if isinstance(value, (int, float)) and not isinstance(value, bool) else None


def _positive(value: Any) -> bool:
    return (number(value) or 0) > 0
