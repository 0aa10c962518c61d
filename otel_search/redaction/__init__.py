"""What must not leave the process: secrets in names, headers, URLs and texts.

Pure functions over strings. A secret keeps its name and loses its value, and the marker in its place
says what it was. Redacting twice changes nothing. `table` says what a secret is. The values of
Elasticsearch queries are the business of `query`.
"""

from __future__ import annotations

from otel_search.redaction.counting import MARKER, counts, marker
from otel_search.redaction.redactor import SHORT, Redactor, redactor_of

__all__ = ["MARKER", "SHORT", "Redactor", "counts", "marker", "redactor_of"]
