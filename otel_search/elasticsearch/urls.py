"""Request URLs without what is in them: ids, queries, credentials."""

from __future__ import annotations

import re
from collections.abc import Mapping

from otel_search.redaction import marker

# Parameters that are the caller's choice of behaviour and not data; the values of all others go.
_PLAIN_PARAMETERS = frozenset(
    {
        "allow_no_indices",
        "allow_partial_search_results",
        "batched_reduce_size",
        "ccs_minimize_roundtrips",
        "conflicts",
        "error_trace",
        "expand_wildcards",
        "filter_path",
        "flat_settings",
        "format",
        "from",
        "human",
        "ignore_unavailable",
        "include_type_name",
        "keep_alive",
        "keep_on_completion",
        "level",
        "local",
        "master_timeout",
        "max_concurrent_searches",
        "max_concurrent_shard_requests",
        "max_docs",
        "op_type",
        "pre_filter_shard_size",
        "pretty",
        "realtime",
        "refresh",
        "request_cache",
        "requests_per_second",
        "rest_total_hits_as_int",
        "retry_on_conflict",
        "scroll",
        "scroll_size",
        "search_timeout",
        "search_type",
        "seq_no_primary_term",
        "size",
        "slices",
        "terminate_after",
        "timeout",
        "track_scores",
        "track_total_hits",
        "typed_keys",
        "v",
        "version_type",
        "wait_for_active_shards",
        "wait_for_completion",
        "wait_for_completion_timeout",
        "wait_for_no_initializing_shards",
        "wait_for_no_relocating_shards",
        "wait_for_nodes",
        "wait_for_status",
    }
)

_PLAIN_VALUE = re.compile(r"[A-Za-z0-9_.,*-]{0,64}")
_NAME = re.compile(r"[a-z_.]{1,64}")
_VALUE = marker("value")


def templated_url(base_url: str, target: str, parts: Mapping[str, str]) -> str:
    """The value of `url.full`: the address with document ids and the values of parameters left out.

    Args:
        base_url: Scheme, host, port and prefix of the node.
        target: Path and query, as the transport sends them.
        parts: Values of the path's parts by name; all but `index` appear as `{name}`.
    """
    path, _, query = target.partition("?")
    values = {value: name for name, value in parts.items() if name != "index"}
    if values:
        path = "/".join(f"{{{values[segment]}}}" if segment in values else segment for segment in path.split("/"))
    if "@" in base_url:
        scheme, _, rest = base_url.partition("://")
        base_url = f"{scheme}://{rest.rpartition('@')[2]}"
    if not query:
        return base_url + path
    return f"{base_url}{path}?" + "&".join(_parameter(pair) for pair in query.split("&"))


def _parameter(pair: str) -> str:
    name, equals, value = pair.partition("=")
    if name in _PLAIN_PARAMETERS and _PLAIN_VALUE.fullmatch(value):
        return pair
    return f"{name}={_VALUE}" if equals and _NAME.fullmatch(name) else _VALUE


def parameters_of(target: str) -> dict[str, str]:
    """The parameters of a request's target, still encoded; the last one of a name counts."""
    _, _, query = target.partition("?")
    return {name: value for name, _, value in (pair.partition("=") for pair in query.split("&"))} if query else {}
