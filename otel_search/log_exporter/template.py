"""The index template of the data stream: Elasticsearch brings one for the OTel mapping, OpenSearch does not."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

from otel_search.log_exporter.documents import Target

_logger = logging.getLogger("otel_search.log_exporter")

_BUILT_IN = "logs-otel@template"  # Elasticsearch 8.16 and later
_NAME = "otel-search-logs"
_KEYWORD = {"type": "keyword", "ignore_above": 1024}

_MAPPINGS: dict[str, Any] = {
    "date_detection": False,
    "dynamic_templates": [
        {"strings": {"match_mapping_type": "string", "mapping": _KEYWORD}},
    ],
    "properties": {
        "@timestamp": {"type": "date_nanos"},
        "observed_timestamp": {"type": "date_nanos"},
        "trace_id": {"type": "keyword"},
        "span_id": {"type": "keyword"},
        "severity_text": {"type": "keyword"},
        "severity_number": {"type": "byte"},
        "body": {"properties": {"text": {"type": "text"}}},
        "attributes": {
            "properties": {
                "exception": {"properties": {"stacktrace": {"type": "text"}, "message": {"type": "text"}}},
                "search": {"properties": {"log": {"properties": {"refused": {"type": "text", "index": False}}}}},
            }
        },
    },
}


def install(perform: Callable[..., tuple[int, Any]], target: Target) -> bool:
    """Install the index template if there is none for the mapping, if that is allowed.

    Args:
        perform: Makes a request: method, path, body to status and answer.
        target: Where documents go.

    Returns:
        Whether this is settled: done, needless or not allowed; else the server was not available.
    """
    import elastic_transport
    import orjson

    try:
        if not target.index and perform("GET", f"/_index_template/{_BUILT_IN}")[0] == 200:
            return True
        settings: dict[str, Any] = {}
        if perform("GET", "/_ilm/policy/logs")[0] == 200:
            settings["index.lifecycle.name"] = "logs"
        body: dict[str, Any] = {
            "index_patterns": [f"{target.index}-*" if target.index else "logs-*.otel-*"],
            "priority": 150,
            "template": {"settings": settings, "mappings": _MAPPINGS},
        }
        if not target.index:
            body["data_stream"] = {}
        name = f"{_NAME}-{target.index}" if target.index else _NAME
        status, answer = perform("PUT", f"/_index_template/{name}", orjson.dumps(body))
    except elastic_transport.TransportError:
        return False
    if status >= 300:
        _logger.info(
            "the index template %s was not installed (status %d: %s), going on without it", name, status, answer
        )
    return True
