"""The settings of otel-search: every variable once, and one reader of the environment for all.

`declared` is the table of settings, `accepts` and `values` say what may stand in a variable, `row` reads a row and words
its fault, and `environ` is the environment of this process, which no other module looks at.
"""

from __future__ import annotations

from otel_search.settings.declared import Settings, rows, table
from otel_search.settings.environ import (
    DEFAULTS,
    current,
    environment,
    is_any_set,
    look_at,
    sanitized_headers,
    set_defaults,
    shown,
    without_exporter,
)
from otel_search.settings.row import PREFIX, Row
from otel_search.settings.values import without_user_info

__all__ = [
    "DEFAULTS",
    "PREFIX",
    "Row",
    "Settings",
    "current",
    "environment",
    "is_any_set",
    "look_at",
    "rows",
    "sanitized_headers",
    "set_defaults",
    "shown",
    "table",
    "without_exporter",
    "without_user_info",
]
