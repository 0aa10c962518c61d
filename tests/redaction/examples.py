"""The table's examples, each as it stands in a text."""

from __future__ import annotations

from otel_search.redaction.table import KEYS, SHAPES, Shape

# What stands before a secret is a pattern in the table; here is a text that it matches.
_BEFORE = {
    "user and password in a URL": "postgres://",
    "bearer token": "Bearer ",
    "API key of Elasticsearch in a header": "ApiKey ",
    "basic credentials": "Basic ",
    "digest and negotiate credentials": "Negotiate ",
    "webhook of Slack": "https://hooks.slack.com/services/",
}


def in_context(shape: Shape) -> str:
    """The example of a shape with what stands before and after it."""
    return f"{_BEFORE[shape.name] if shape.before else ''}{shape.example}{shape.after}"


EXAMPLES: list[tuple[str, str, str]] = [
    *((row.kind, f"{name}={secret}", secret) for row in KEYS for name, secret in [row.example]),
    *((shape.kind, in_context(shape), shape.example) for shape in SHAPES),
]
"""Kind, text and secret."""
