"""Replies of many things at once: each of them may have failed while the call answers 200."""

from __future__ import annotations

from collections import Counter
from typing import Any

from otel_search import semconv
from otel_search.elasticsearch.errors import error_type_of, reason_of
from otel_search.elasticsearch.facts import EMPTY, ERROR, HITS, MIXED, PARTIAL, TIMEOUT, Facts, listed, read_took
from otel_search.elasticsearch.search_replies import read_search

_ACTIONS = frozenset({"index", "create", "update", "delete"})


def read_msearch(body: dict[str, Any], facts: Facts) -> None:
    """Several searches, each with its own outcome; one that failed has `error` in its place."""
    read_took(body, facts)
    responses = body.get("responses")
    if type(responses) is not list:
        return
    facts.batch, facts.searches, facts.rows = len(responses), [], 0
    types = set()
    for response in responses:
        one = Facts()
        if type(response) is dict and "error" not in response:
            read_search(response, one)
            facts.rows += one.rows or 0
        else:
            one.outcome = ERROR
            error = response.get("error") if type(response) is dict else None
            one.first_failure = reason_of(error)
            types.add(error_type_of(error))
            facts.failed += 1
        facts.searches.append(one.outcome or HITS)
        facts.first_failure = facts.first_failure or one.first_failure
    _judge_batch(facts, types)
    if facts.outcome is None:
        outcomes = set(facts.searches)
        facts.outcome = next((outcome for outcome in (TIMEOUT, PARTIAL, HITS) if outcome in outcomes), EMPTY)


def read_mget(body: dict[str, Any], facts: Facts) -> None:
    """Documents by id; a missing one is no failure, a missing index is."""
    documents = body.get("docs")
    if type(documents) is not list:
        return
    facts.batch = len(documents)
    facts.rows = sum(1 for document in documents if type(document) is dict and document.get("found") is True)
    errors = [document["error"] for document in documents if type(document) is dict and "error" in document]
    facts.failed = len(errors)
    if errors:
        types = {error_type_of(error) for error in errors}
        facts.first_failure = reason_of(errors[0])
        _judge_batch(facts, types)


def _judge_batch(facts: Facts, types: set[str | None]) -> None:
    """Some items failed: partial. All of them: the call has failed as they have."""
    if facts.failed:
        facts.attributes[semconv.BATCH_FAILED] = facts.failed
        facts.outcome = PARTIAL
        if facts.failed == facts.batch:
            facts.outcome = ERROR
            facts.failed_as = types.pop() or MIXED if len(types) == 1 else MIXED


def read_bulk(body: dict[str, Any], facts: Facts) -> None:
    """Items of a bulk request; `errors: true` comes with status 200."""
    found = facts.attributes
    read_took(body, facts)
    items = body.get("items")
    if type(items) is not list:
        if body.get("errors") is True:
            facts.outcome = PARTIAL
        return
    counted = _all_ok(items) if body.get("errors") is False else None
    if counted is None:
        counted = _one_by_one(items, facts)
    facts.batch, facts.items = len(items), counted
    errors: dict[str, int] = {}
    for (_, _, outcome), count in counted.items():
        if outcome != "ok":
            errors[outcome] = errors.get(outcome, 0) + count
    facts.failed = sum(errors.values())
    if facts.failed:
        found[semconv.BULK_FAILED] = facts.failed
        found[semconv.BULK_ERRORS] = listed(errors)
        facts.outcome = PARTIAL
        if not any(map(_is_whole, items)):
            # `filter_path=items.*.error`: what succeeded is not there.
            facts.batch = None
        elif facts.failed == facts.batch:
            facts.outcome = ERROR
            facts.failed_as = next(iter(errors)) if len(errors) == 1 else MIXED


def _is_whole(item: Any) -> bool:
    return type(item) is dict and any(type(result) is dict and "status" in result for result in item.values())


def _all_ok(items: list[Any]) -> dict[tuple[str, str, str], int] | None:
    """The items of a reply that says that none has failed; `None` if they are not as they should be."""
    try:
        counted = Counter([(result["_index"], action) for item in items for action, result in item.items()])
    except (AttributeError, KeyError, TypeError):
        return None
    if not all(type(index) is str and action in _ACTIONS for index, action in counted):
        return None
    return {(index, action, "ok"): count for (index, action), count in counted.items()}


def _one_by_one(items: list[Any], facts: Facts) -> dict[tuple[str, str, str], int]:
    counted: dict[tuple[str, str, str], int] = {}
    for item in items:
        if type(item) is not dict or not item:
            continue
        action, result = next(iter(item.items()))
        outcome, index = "ok", ""
        if type(result) is dict:
            index = result.get("_index") or ""
            if "error" in result:
                outcome = error_type_of(result["error"]) or "unknown"
                facts.first_failure = facts.first_failure or reason_of(result["error"])
            elif not _succeeded(result.get("status")) and not (action == "delete" and result.get("status") == 404):
                outcome = f"status_{result.get('status')}"[:16]
        key = (index if type(index) is str else "", action if action in _ACTIONS else "other", outcome)
        counted[key] = counted.get(key, 0) + 1
        if outcome != "ok" and facts.first_failure is None:
            facts.first_failure = outcome
    return counted


def read_by_query(body: dict[str, Any], facts: Facts) -> None:
    """`update_by_query`, `delete_by_query` and `reindex`; with `wait_for_completion=false` there is only a task."""
    found = facts.attributes
    read_took(body, facts)
    for name, attribute in (("total", semconv.BY_QUERY_TOTAL), ("version_conflicts", semconv.VERSION_CONFLICTS)):
        if type(body.get(name)) is int and (body[name] or name == "total"):
            found[attribute] = body[name]
    failures = body.get("failures")
    if type(failures) is list and failures:
        facts.failed = len(failures)
        found[semconv.BY_QUERY_FAILED] = facts.failed
        facts.outcome = PARTIAL
        first = failures[0]
        if type(first) is dict:
            facts.first_failure = reason_of(first.get("cause", first.get("reason")))
    if body.get("timed_out") is True:
        found[semconv.TIMED_OUT] = True
        facts.outcome = TIMEOUT


def _succeeded(status: Any) -> bool:
    return type(status) is not int or 200 <= status < 300
