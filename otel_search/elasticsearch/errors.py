"""When an Elasticsearch call has failed, and the name of its error."""

from __future__ import annotations

import re
from asyncio import CancelledError
from typing import Any

_TYPE = re.compile(r"[A-Za-z][A-Za-z0-9_.]{0,63}")

# The mapping's own names, at the start of the message, where no value can stand.
_FIELD = re.compile(r"\A(?:\[\d+:\d+\] )?failed to parse field \[([\w.@-]{1,64})\] of type \[(\w{1,32})\]")

CANCELLATIONS = (CancelledError, GeneratorExit, KeyboardInterrupt)
"""What ends a call because nobody waits for it any more."""


def error_type(error: BaseException, operation: str) -> str | None:
    """The value of `error.type` for a call that ended with `error`.

    Args:
        error: What the client raised.
        operation: The endpoint's name in the client's API.

    Returns:
        Elasticsearch's own error type when it sent one (`index_not_found_exception`), else the name of the
        exception's class (`ConnectionTimeout`, `CancelledError`). `None` for a missing document: Elasticsearch
        answers 404 without an error, and the caller asked because it did not know.
    """
    body = getattr(error, "body", None)
    sent = error_type_of(body.get("error")) or _first_cause(body) if isinstance(body, dict) else None
    if _status(error) == 404:
        if isinstance(body, dict) and "error" not in body and _is_about_a_document(body):
            return None
        # `get_source` answers a missing document with an error, and a missing index with another.
        if operation == "get_source" and sent == "resource_not_found_exception":
            return None
    return sent or type(error).__name__


def _first_cause(body: dict[str, Any]) -> str | None:
    # `update_by_query` and its like answer 409 with their failures and no error.
    failures = body.get("failures")
    first = failures[0] if isinstance(failures, list) and failures else None
    return error_type_of(first.get("cause")) if isinstance(first, dict) else None


def root_cause_of(error: BaseException) -> str | None:
    """Why Elasticsearch refused a request, beneath the error's own type: `illegal_argument_exception`."""
    body = getattr(error, "body", None)
    described = body.get("error") if isinstance(body, dict) else None
    causes = described.get("root_cause") if isinstance(described, dict) else None
    return reason_of(causes[0]) if isinstance(causes, list) and causes else None


def _is_about_a_document(body: dict[str, Any]) -> bool:
    # `get`, `termvectors`: found; `delete`: result; `explain`: matched; `clear_scroll`, `close_point_in_time`: succeeded.
    return not body.keys().isdisjoint(("found", "result", "matched", "succeeded"))


def error_type_of(error: Any) -> str | None:
    """The type of an error as Elasticsearch describes it; never its reason, which quotes the user's input."""
    found = error.get("type") if isinstance(error, dict) else None
    return found if is_error_type(found) else None


def reason_of(error: Any) -> str | None:
    """Why something failed: the error's type, the type of its cause, and the field that could not be parsed.

    Reasons quote documents and queries: nothing else is taken from them.
    """
    found = error_type_of(error)
    if found is None:
        return None
    field = _FIELD.search(error["reason"]) if isinstance(error.get("reason"), str) else None
    text = f"{found}, field {field[1]} of type {field[2]}" if field else found
    cause = error_type_of(error.get("caused_by"))
    return f"{text}, caused by {cause}" if cause else text


def is_error_type(value: Any) -> bool:
    """Whether `value` is a name and not a text."""
    return isinstance(value, str) and _TYPE.fullmatch(value) is not None


def _status(error: BaseException) -> int | None:
    meta = getattr(error, "meta", None)
    status = getattr(meta, "status", None)
    return status if isinstance(status, int) else None
