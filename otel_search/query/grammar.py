"""Where in an Elasticsearch request body queries, aggregations and field names stand.

A position is a mapping from key to the position beneath it; `*` is the position beneath any other
key. Lists have the position of the key that holds them. What is not described here is `VALUE`:
keys are kept, everything else is replaced.
"""

from __future__ import annotations

from typing import TypeAlias

Position: TypeAlias = "dict[str, Position]"

VALUE: Position = {}
NAME: Position = {}
"""The text here is a field name by the grammar, never a user's input: it is kept."""
LANGUAGE: Position = {}
"""The text here is ES|QL or EQL: its literals are replaced, the rest is kept."""
SQL: Position = {}
"""The text here is SQL, likewise."""
OPAQUE: Position = {}
"""Keys are a user's words, too, as in `{"lamp": 0.7}` of a sparse vector, or a document's: nothing is kept."""
PARAMETERS: Position = {"*": OPAQUE}
"""Of a script or a template: their names are kept, and nothing within them."""

QUERY: Position = {}
AGGREGATIONS: Position = {}
AGGREGATION: Position = {}
RETRIEVER: Position = {}
SORT: Position = {}
BODY: Position = {}

_FIELD: Position = {"field": NAME}
SOURCE: Position = {"excludes": NAME, "exclude": NAME, "includes": NAME, "include": NAME}
"""Field names, or a mapping to field names."""
FIELDS: Position = {"field": NAME}
"""Field names, each alone or in a mapping of its own."""
NAMED = frozenset(map(id, (NAME, SORT, SOURCE, FIELDS)))
"""Where a text is a field name, by identity."""
_KNN: Position = {"field": NAME, "filter": QUERY}
_FIELDS: Position = {"fields": NAME, "default_field": NAME}

QUERY |= {
    "bool": {"must": QUERY, "filter": QUERY, "should": QUERY, "must_not": QUERY},
    "boosting": {"positive": QUERY, "negative": QUERY},
    "combined_fields": _FIELDS,
    "constant_score": {"filter": QUERY},
    "dis_max": {"queries": QUERY},
    "distance_feature": _FIELD,
    "exists": _FIELD,
    "function_score": {"query": QUERY, "functions": {"filter": QUERY}},
    "has_child": {"query": QUERY},
    "has_parent": {"query": QUERY},
    "knn": _KNN,
    "more_like_this": {"fields": NAME, "like": {"doc": OPAQUE}, "unlike": {"doc": OPAQUE}},
    "multi_match": _FIELDS,
    "nested": {"path": NAME, "query": QUERY},
    "percolate": {"field": NAME, "document": OPAQUE, "documents": OPAQUE},
    "pinned": {"organic": QUERY},
    "query_string": _FIELDS,
    "rank_feature": _FIELD,
    "rule": {"organic": QUERY},
    "script_score": {"query": QUERY},
    "semantic": _FIELD,
    "simple_query_string": _FIELDS,
    "span_field_masking": _FIELD,
    "sparse_vector": {"field": NAME, "query_vector": OPAQUE},
    "weighted_tokens": {"*": {"tokens": OPAQUE}},
}

_AGGREGATION_BODY: Position = {"field": NAME, "path": NAME, "params": PARAMETERS}

AGGREGATION |= {
    "aggs": AGGREGATIONS,
    "aggregations": AGGREGATIONS,
    "adjacency_matrix": {"filters": {"*": QUERY}},
    "composite": {"sources": AGGREGATIONS},
    "filter": QUERY,
    "filters": {"filters": {"*": QUERY}},
    "meta": PARAMETERS,
    "multi_terms": {"terms": _FIELD},
    "top_hits": BODY,
    "top_metrics": {"metrics": _FIELD, "sort": SORT},
    "weighted_avg": {"value": _FIELD, "weight": _FIELD},
    "*": _AGGREGATION_BODY,
}
AGGREGATIONS |= {"*": AGGREGATION}

RETRIEVER |= {
    "knn": _KNN,
    "linear": {"retrievers": {"retriever": RETRIEVER}},
    "pinned": {"retriever": RETRIEVER},
    "rescorer": {"retriever": RETRIEVER, "rescore": {"query": {"rescore_query": QUERY}}},
    "rrf": {"retrievers": RETRIEVER},
    "rule": {"retriever": RETRIEVER},
    "standard": {"query": QUERY, "filter": QUERY, "sort": SORT, "collapse": _FIELD},
    "text_similarity_reranker": {"retriever": RETRIEVER, "field": NAME},
}
# Every retriever takes a filter.
for _inner in RETRIEVER.values():
    _inner["filter"] = QUERY

SORT |= {"*": {"nested": {"path": NAME, "filter": QUERY}}}

_SUGGESTER: Position = {"completion": _FIELD, "phrase": _FIELD, "term": _FIELD}

BODY |= {
    "aggregations": AGGREGATIONS,
    "aggs": AGGREGATIONS,
    "_source": SOURCE,
    "collapse": _FIELD,
    "connections": {"query": QUERY, "vertices": _FIELD},
    "docvalue_fields": FIELDS,
    "ext": PARAMETERS,
    "field": NAME,
    "fields": FIELDS,
    "filter": QUERY,
    "index_filter": QUERY,
    "knn": _KNN,
    "params": PARAMETERS,
    "post_filter": QUERY,
    "query": QUERY,
    "requests": {"request": BODY, "params": PARAMETERS},
    "rescore": {"query": {"rescore_query": QUERY}},
    "retriever": RETRIEVER,
    "slice": _FIELD,
    "sort": SORT,
    "source": {"query": QUERY, "_source": SOURCE},
    "stored_fields": FIELDS,
    "suggest": {"text": VALUE, "*": _SUGGESTER},
    "vertices": _FIELD,
}

LANGUAGE_BODY: Position = {"query": LANGUAGE, "filter": QUERY, "fields": FIELDS, "params": PARAMETERS}
"""The body of an ES|QL or EQL request."""
SQL_BODY: Position = {"query": SQL, "filter": QUERY}
"""The body of an SQL request."""

QUERY_TYPES = frozenset(QUERY) | {
    "common",
    "fuzzy",
    "geo_bounding_box",
    "geo_distance",
    "geo_grid",
    "geo_polygon",
    "geo_shape",
    "ids",
    "intervals",
    "kql",
    "match",
    "match_all",
    "match_bool_prefix",
    "match_none",
    "match_phrase",
    "match_phrase_prefix",
    "parent_id",
    "percolate",
    "prefix",
    "range",
    "rank_vectors",
    "regexp",
    "rule_query",
    "script",
    "shape",
    "span_containing",
    "span_field_masking",
    "span_first",
    "span_multi",
    "span_near",
    "span_not",
    "span_or",
    "span_term",
    "span_within",
    "sparse_vector",
    "term",
    "terms",
    "terms_set",
    "text_expansion",
    "type",
    "weighted_tokens",
    "wildcard",
    "wrapper",
}
"""The clauses of the query DSL: the only values that `search.query.type` takes from a body."""
