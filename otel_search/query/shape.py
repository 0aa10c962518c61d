"""The shape of a search: what kind of query it is, without a word of what it looks for."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from hashlib import blake2b
from typing import Any, NamedTuple

from otel_search.query.grammar import QUERY_TYPES, RETRIEVER

OTHER = "other"
_MAX_FOLLOWED = 6


class Shape(NamedTuple):
    """What a search asks for.

    Attributes:
        type: The primary clause of its query: `bool`, `match`, `knn`, …; `match_all` for none.
        filtered: Whether hits are narrowed without being scored.
        aggregated: Whether it aggregates.
        sorted: Whether it is sorted by other than the score.
        size: Hits asked for, or `None` for Elasticsearch's default.
        offset: Hits skipped, or `None`.
        paging: `scroll`, `pit`, `search_after`, or `None` for a single page.
    """

    type: str
    filtered: bool = False
    aggregated: bool = False
    sorted: bool = False
    size: int | None = None
    offset: int | None = None
    paging: str | None = None


def shape_of(body: Any, parameters: Mapping[str, str]) -> Shape:
    """The shape of a search.

    Args:
        body: The decoded body of the request, or anything else for none.
        parameters: The parameters of its URL.
    """
    if not isinstance(body, Mapping):
        body = {}
    query = _plain(body.get("query"))
    return Shape(
        _type(query, body, parameters),
        "post_filter" in body
        or _filtered(query)
        or _filtered_knn(body.get("knn"))
        or _in_retriever(body.get("retriever"), _narrows),
        "aggs" in body or "aggregations" in body,
        "sort" in body or "sort" in parameters or _in_retriever(body.get("retriever"), _sorts),
        _number(body.get("size", parameters.get("size"))),
        _number(body.get("from", parameters.get("from"))),
        _paging(body, parameters),
    )


def query_type(body: Any, parameters: Mapping[str, str]) -> str:
    """The `type` of the shape alone, which is what metrics need."""
    if not isinstance(body, Mapping):
        body = {}
    return _type(_plain(body.get("query")), body, parameters)


def query_hash(text: str) -> str:
    """A short, stable name for all queries with this sanitized text: 16 hexadecimal digits."""
    return blake2b(text.encode("utf-8", "replace"), digest_size=8).hexdigest()


def _plain(query: Any) -> Any:
    # A query object of `elasticsearch.dsl`, as `client.search(query=…)` takes it too.
    return query.to_dict() if not isinstance(query, Mapping) and hasattr(query, "to_dict") else query


def _type(query: Any, body: Mapping[str, Any], parameters: Mapping[str, str]) -> str:
    if isinstance(query, Mapping) and query:
        clause = next(iter(query))
        return clause if clause in QUERY_TYPES else OTHER
    if "knn" in body:
        return "knn"
    retriever = body.get("retriever")
    if isinstance(retriever, Mapping) and retriever:
        name = next(iter(retriever))
        return name if name in RETRIEVER else OTHER
    if "q" in parameters:
        return "query_string"
    return "suggest" if "suggest" in body else "match_all"


def _filtered(query: Any) -> bool:
    for _ in range(_MAX_FOLLOWED):
        if not isinstance(query, Mapping) or not query:
            return False
        clause, inner = next(iter(query.items()))
        if clause == "constant_score":
            return True
        if not isinstance(inner, Mapping):
            return False
        if clause == "bool":
            return bool(inner.get("filter"))
        if clause == "knn":
            return _filtered_knn(inner)
        # function_score, script_score, nested, …: what they wrap.
        query = inner.get("query")
    return False


def _filtered_knn(knn: Any) -> bool:
    searches = knn if isinstance(knn, list) else [knn]
    return any(isinstance(search, Mapping) and bool(search.get("filter")) for search in searches)


def _in_retriever(retriever: Any, holds: Callable[[str, Mapping[str, Any]], bool], depth: int = 0) -> bool:
    """Whether something holds for a retriever, or for one of those that it combines."""
    if not isinstance(retriever, Mapping) or not retriever or depth >= _MAX_FOLLOWED:
        return False
    name, inner = next(iter(retriever.items()))
    if not isinstance(inner, Mapping):
        return False
    if holds(name, inner):
        return True
    several = inner.get("retrievers")
    each = list(several)[:_MAX_FOLLOWED] if isinstance(several, list | tuple) else [inner.get("retriever")]
    # `linear` has each in an entry with its weight, `rrf` may have.
    return any(
        _in_retriever(one["retriever"] if isinstance(one, Mapping) and "retriever" in one else one, holds, depth + 1)
        for one in each
    )


def _narrows(name: str, retriever: Mapping[str, Any]) -> bool:
    return bool(retriever.get("filter")) or (name == "standard" and _filtered(_plain(retriever.get("query"))))


def _sorts(_: str, retriever: Mapping[str, Any]) -> bool:
    return "sort" in retriever


def _paging(body: Mapping[str, Any], parameters: Mapping[str, str]) -> str | None:
    if "scroll" in parameters:
        return "scroll"
    if "pit" in body:
        return "pit"
    return "search_after" if "search_after" in body else None


def _number(value: Any) -> int | None:
    if type(value) is int:
        return value
    return int(value) if isinstance(value, str) and len(value) < 10 and value.isascii() and value.isdigit() else None
