"""Elasticsearch queries as telemetry may know them: their text without values, and their shape."""

from __future__ import annotations

from otel_search.query.grammar import BODY, LANGUAGE_BODY, SQL_BODY, Position
from otel_search.query.language import mask_literals, target_of
from otel_search.query.sanitize import MAX_LENGTH, sanitize
from otel_search.query.shape import Shape, query_hash, query_type, shape_of

__all__ = [
    "BODY",
    "LANGUAGE_BODY",
    "MAX_LENGTH",
    "SQL_BODY",
    "Position",
    "Shape",
    "mask_literals",
    "query_hash",
    "query_type",
    "sanitize",
    "shape_of",
    "target_of",
]
