"""What a reply of Elasticsearch may say, and the parts that many replies share.

Replies are read defensively: fields may be left out by `filter_path`, added by newer versions, or
be of another type behind a proxy. What is not as expected is not there.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from otel_search import semconv
from otel_search.elasticsearch.errors import reason_of

HITS, EMPTY, PARTIAL, TIMEOUT, ERROR = "hits", "empty", "partial", "timeout", "error"
MIXED = "multiple"
"""The error type of a batch whose items failed for different reasons."""

# Different error types that a span or log line lists.
_MAX_LISTED = 8


@dataclass(slots=True)
class Facts:
    """What one reply says.

    Attributes:
        took: Seconds that Elasticsearch says it took.
        rows: Hits, rows or documents in the reply.
        outcome: `partial` or `timeout` if something is missing; for a search else `hits` or `empty`.
        searches: Outcomes of the searches in a batch of them, in order.
        items: Bulk items by index, action and outcome (`ok` or the error type).
        batch: Items of a batch.
        failed: Items that failed.
        first_failure: Why the first shard or item failed, in Elasticsearch's words without the user's.
        failed_as: The error type of the call as a whole, if nothing in it succeeded.
        attributes: More for the span and the log line, under their schema names.
    """

    took: float | None = None
    rows: int | None = None
    outcome: str | None = None
    searches: list[str] | None = None
    items: dict[tuple[str, str, str], int] | None = None
    batch: int | None = None
    failed: int = 0
    first_failure: str | None = None
    failed_as: str | None = None
    attributes: dict[str, Any] = field(default_factory=dict)


def read_took(body: dict[str, Any], facts: Facts) -> None:
    """The time that Elasticsearch says it took; its milliseconds become seconds."""
    took = body.get("took")
    if (type(took) is int or type(took) is float) and took >= 0:
        facts.took = facts.attributes[semconv.TOOK] = took / 1000


def read_shards(body: dict[str, Any], facts: Facts) -> None:
    """Shards that failed: the reply is partial."""
    shards = body.get("_shards")
    if type(shards) is not dict:
        return
    failed = shards.get("failed")
    if type(shards.get("total")) is int:
        facts.attributes[semconv.SHARDS_TOTAL] = shards["total"]
    if shards.get("skipped") and type(shards["skipped"]) is int:
        facts.attributes[semconv.SHARDS_SKIPPED] = shards["skipped"]
    if not failed or type(failed) is not int:
        return
    facts.attributes[semconv.SHARDS_FAILED] = failed
    facts.outcome = PARTIAL
    failures = shards.get("failures")
    if type(failures) is list and failures and type(failures[0]) is dict:
        facts.first_failure = reason_of(failures[0].get("reason"))


def read_clusters(clusters: Any, facts: Facts) -> None:
    """Remote clusters of a cross-cluster search that answered in part or not at all."""
    if type(clusters) is not dict:
        return
    missing = sum(clusters[state] for state in ("partial", "failed", "skipped") if type(clusters.get(state)) is int)
    if missing:
        facts.attributes[semconv.CLUSTERS_FAILED] = missing
        if facts.outcome != TIMEOUT:
            facts.outcome = PARTIAL


def listed(errors: Mapping[str, int]) -> str:
    """Error types with how often each came, the most frequent first: `document_parsing_exception: 7`."""
    ordered = sorted(errors.items(), key=lambda entry: (-entry[1], entry[0]))
    more = [f"{len(ordered) - _MAX_LISTED} more"] if len(ordered) > _MAX_LISTED else []
    return ", ".join([f"{name}: {count}" for name, count in ordered[:_MAX_LISTED]] + more)
