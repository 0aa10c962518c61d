"""Elasticsearch queries as telemetry may know them: their text without values, and their shape."""

from __future__ import annotations

from otel_search.query.grammar import BODY, LANGUAGE_BODY, Position
from otel_search.query.language import mask_literals
from otel_search.query.sanitize import MAX_LENGTH, sanitize

__all__ = ["BODY", "LANGUAGE_BODY", "MAX_LENGTH", "Position", "mask_literals", "sanitize"]
