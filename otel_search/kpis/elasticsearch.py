"""KPIs of the whole fleet, from its access log in Elasticsearch: the same sums, by one aggregation, and who came.

The log is the records `request completed` in the Collector's OTel mapping, as our own exporter and the
Collector's write them. Clients that left are in it, probes are not, and neither is what is not logged:
without access lines (`OTEL_SEARCH_ACCESS_LOG=off`) there is nothing to see here.
"""

from __future__ import annotations

import base64
import itertools
import math
import ssl
import urllib.error
import urllib.request
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import orjson

from otel_search import semconv
from otel_search.kpis.stays import LONGEST, joined, mean_length
from otel_search.kpis.totals import Totals, add_request
from otel_search.kpis.visits import SESSION_LENGTH, UNIQUE_USERS

_SECONDS = 10.0
_PRECISION = 4000  # up to so many users are counted nearly exactly, more to about 2 %
_SESSIONS = 500
"""Whose stays are looked at: a part of all sessions, chosen by a hash of theirs."""
_SLOT = 300
_ACCESS_LOGGER = "otel_search.access"
_MISSING = "-"


@dataclass(frozen=True)
class Log:
    """Where the access log is.

    Attributes:
        url: Elasticsearch's address.
        index: The data streams or indices that hold log records.
        service: Whose lines count.
        headers: To log in with.
        ca_certs: A file with the certificate authorities to trust; empty for the system's.
    """

    url: str
    index: str
    service: str
    headers: Mapping[str, str] = field(default_factory=dict)
    ca_certs: str = ""


def login(api_key: str, username: str, password: str) -> dict[str, str]:
    """The headers of who logs in so."""
    if api_key:
        return {"authorization": f"ApiKey {api_key}"}
    if not username:
        return {}
    return {"authorization": f"Basic {base64.b64encode(f'{username}:{password}'.encode()).decode()}"}


def totals(log: Log, start: float, end: float) -> tuple[Totals, dict[str, Any]]:
    """What all instances have logged between two moments.

    Args:
        log: The access log.
        start: Seconds since the epoch.
        end: Likewise.

    Returns:
        The sums, and the KPIs on visitors that are known.

    Raises:
        OSError: Elasticsearch cannot be reached.
        ValueError: Its answer is not what was asked for.
    """
    answer = _ask(log, start, end, {**_REQUESTS, "users": _different(semconv.ENDUSER_PSEUDO_ID)})
    found: Totals = {}
    for status in answer["statuses"]["buckets"]:
        for error in status["errors"]["buckets"]:
            streams = error["streams"]["doc_count"]
            for is_stream, buckets in ((True, None), (False, error["durations"]["plain"]["buckets"])):
                labels = {
                    "http_response_status_code": "" if status["key"] == -1 else str(status["key"]),
                    "error_type": "" if error["key"] == _MISSING else str(error["key"]),
                    "search_response_stream": "true" if is_stream else "",
                    "search_client_left": "true" if error["key"] == "client_disconnected" else "",
                }
                counts = [streams] if buckets is None else [bucket["doc_count"] for bucket in buckets]
                if sum(counts):
                    add_request(found, labels, _BOUNDS, counts)
    visits: dict[str, Any] = {}
    if users := answer["users"]["value"]:
        visits[UNIQUE_USERS] = float(users)
    length = _session_length(log, start, end)
    if length is not None:
        visits[SESSION_LENGTH] = length
    return found, visits


def _session_length(log: Log, start: float, end: float) -> float | None:
    begin = start - LONGEST
    sessions = _ask(log, begin, end, {"sessions": _different(semconv.SESSION_ID)})["sessions"]["value"]
    if not sessions:
        return None
    # Each session's first and last request within slots of five minutes: no idle gap fits into one.
    slots = {
        "date_histogram": {"field": "@timestamp", "fixed_interval": f"{_SLOT}s", "min_doc_count": 1},
        "aggs": {"first": {"min": {"field": "@timestamp"}}, "last": {"max": {"field": "@timestamp"}}},
    }
    part = {"partition": 0, "num_partitions": math.ceil(sessions / _SESSIONS)}
    terms = {"field": f"attributes.{semconv.SESSION_ID}", "include": part, "size": 4 * _SESSIONS}
    answer = _ask(log, begin, end, {"sessions": {"terms": terms, "aggs": {"slots": slots}}})
    sessions_seen = (
        joined((slot["first"]["value"] / 1000, slot["last"]["value"] / 1000) for slot in session["slots"]["buckets"])
        for session in answer["sessions"]["buckets"]
    )
    return mean_length(sessions_seen, start)


_BOUNDS = [*map(str, semconv.DURATION_BUCKETS), "+Inf"]
_EDGES = (None, *semconv.DURATION_BUCKETS, None)
_RANGES = [
    {name: edge for name, edge in (("from", low), ("to", high)) if edge is not None}
    for low, high in itertools.pairwise(_EDGES)
]
_STREAM = {"term": {f"attributes.{semconv.RESPONSE_STREAM}": True}}
_REQUESTS: dict[str, Any] = {
    "statuses": {
        "terms": {"field": f"attributes.{semconv.HTTP_RESPONSE_STATUS_CODE}", "missing": -1, "size": 100},
        "aggs": {
            "errors": {
                "terms": {"field": f"attributes.{semconv.ERROR_TYPE}", "missing": _MISSING, "size": 100},
                "aggs": {
                    "streams": {"filter": _STREAM},
                    "durations": {
                        "filter": {"bool": {"must_not": [_STREAM]}},
                        "aggs": {
                            "plain": {"range": {"field": f"attributes.{semconv.LOG_DURATION}", "ranges": _RANGES}}
                        },
                    },
                },
            }
        },
    }
}


def _different(name: str) -> dict[str, Any]:
    return {"cardinality": {"field": f"attributes.{name}", "precision_threshold": _PRECISION}}


def _ask(log: Log, start: float, end: float, aggregations: dict[str, Any]) -> dict[str, Any]:
    moments = {"gte": round(start * 1000), "lt": round(end * 1000), "format": "epoch_millis"}
    body = {
        "size": 0,
        "track_total_hits": False,
        "query": {
            "bool": {
                "filter": [
                    {"range": {"@timestamp": moments}},
                    {"term": {"scope.name": _ACCESS_LOGGER}},
                    {"match_phrase": {"body.text": semconv.REQUEST_COMPLETED}},
                    {"term": {"resource.attributes.service.name": log.service}},
                ]
            }
        },
        "aggs": aggregations,
    }
    request = urllib.request.Request(  # noqa: S310 - its scheme was checked
        f"{log.url}/{log.index}/_search?ignore_unavailable=true&allow_no_indices=true",
        data=orjson.dumps(body),
        headers={"content-type": "application/json", "accept": "application/json", **log.headers},
    )
    secure = ssl.create_default_context(cafile=log.ca_certs or None) if log.url.startswith("https") else None
    try:
        with urllib.request.urlopen(request, timeout=_SECONDS, context=secure) as response:  # noqa: S310 - as above
            answer: Any = orjson.loads(response.read())
    except urllib.error.HTTPError as error:
        raise ValueError(f"Elasticsearch answers {error.code}: {error.read(300).decode(errors='replace')}") from error
    if answer.get("timed_out") or answer.get("_shards", {}).get("failed"):
        raise ValueError("Elasticsearch answers in part only")
    found: dict[str, Any] = answer.get("aggregations") or {}
    if not found:
        raise ValueError(f"Elasticsearch has no {log.index}")
    return found
