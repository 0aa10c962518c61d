"""Replies of searches: query DSL, ES|QL, SQL, EQL, asynchronous ones."""

from __future__ import annotations

from typing import Any

from otel_search import semconv
from otel_search.elasticsearch.facts import EMPTY, HITS, PARTIAL, TIMEOUT, Facts, read_clusters, read_shards, read_took


def read_search(body: dict[str, Any], facts: Facts) -> None:
    """A search of the query DSL, and one page of a scroll."""
    found = facts.attributes
    read_took(body, facts)
    hits = body.get("hits")
    total: Any = None
    if type(hits) is dict:
        rows = hits.get("hits")
        if type(rows) is list:
            facts.rows = len(rows)
        total = hits.get("total")
        if type(total) is dict:
            relation, total = total.get("relation"), total.get("value")
            if type(relation) is str:
                found[semconv.HITS_RELATION] = relation[:8]
        if type(total) is int:
            found[semconv.HITS_TOTAL] = total
    facts.outcome = HITS if total or facts.rows or not (total == 0 or facts.rows == 0) else EMPTY
    if facts.outcome == EMPTY and (total is None or "suggest" in body) and _has_other_results(body):
        facts.outcome = HITS
    if "aggregations" in body:
        found[semconv.AGGREGATIONS] = True
    if body.get("terminated_early") is True:
        found[semconv.TERMINATED_EARLY] = True
    read_shards(body, facts)
    if body.get("timed_out") is True:
        found[semconv.TIMED_OUT] = True
        facts.outcome = TIMEOUT
    if "_clusters" in body:
        read_clusters(body["_clusters"], facts)


def _has_other_results(body: dict[str, Any]) -> bool:
    """Whether a search that returned no hits returned something else: aggregations or suggestions."""
    if "aggregations" in body:
        return True
    suggest = body.get("suggest")
    entries = suggest.values() if type(suggest) is dict else ()
    return any(
        type(part) is dict and bool(part.get("options"))
        for entry in entries
        for part in (entry if type(entry) is list else ())
    )


def read_async_search(body: dict[str, Any], facts: Facts) -> None:
    """An asynchronous search; it has no outcome before it is finished."""
    response = body.get("response")
    if type(response) is dict:
        read_search(response, facts)
    if body.get("is_running") is True:
        # What is not finished has no outcome yet.
        facts.outcome = None
    elif body.get("is_partial") is True and facts.outcome != TIMEOUT:
        facts.outcome = PARTIAL


def read_table(body: dict[str, Any], facts: Facts) -> None:
    """Rows of ES|QL (`values`) and SQL (`rows`)."""
    read_took(body, facts)
    rows = body.get("values", body.get("rows"))
    if type(rows) is list:
        facts.rows = len(rows)
        facts.outcome = HITS if rows else EMPTY
    if body.get("is_partial") is True:
        facts.outcome = PARTIAL
    if "_clusters" in body:
        read_clusters(body["_clusters"], facts)
    if body.get("is_running") is True:
        # What is not finished has no outcome yet.
        facts.outcome = None


def read_text_table(text: str, facts: Facts) -> None:
    """Rows of ES|QL and SQL in a form for people (CSV, TSV, a drawn table), behind their headings: hits or none."""
    lines = [line for line in text.split("\n", 3)[:3] if line.strip()]
    # A drawn table has a rule below its headings.
    headings = 2 if len(lines) > 1 and not lines[1].strip("-+| \r") else 1
    facts.outcome = HITS if len(lines) > headings else EMPTY


def read_eql(body: dict[str, Any], facts: Facts) -> None:
    """Events or sequences of an EQL search."""
    read_search(body, facts)
    hits = body.get("hits")
    if type(hits) is dict:
        found = hits.get("events", hits.get("sequences"))
        if type(found) is list:
            facts.rows = len(found)
            if facts.outcome in {HITS, EMPTY}:
                facts.outcome = HITS if found else EMPTY
    if body.get("is_partial") is True and body.get("is_running") is not True and facts.outcome != TIMEOUT:
        facts.outcome = PARTIAL
