"""When an Elasticsearch call has failed, and the name of its error."""

from __future__ import annotations

import re
from typing import Any

_TYPE = re.compile(r"[A-Za-z][A-Za-z0-9_.]{0,63}")


def error_type(error: BaseException) -> str | None:
    """The value of `error.type` for a call that ended with `error`.

    Args:
        error: What the client raised.

    Returns:
        Elasticsearch's own error type when it sent one (`index_not_found_exception`), else the name of the
        exception's class (`ConnectionTimeout`, `CancelledError`). `None` for a missing document: Elasticsearch
        answers 404 without an error, and the caller asked because it did not know.
    """
    body = getattr(error, "body", None)
    sent = body_error_type(body)
    if sent is not None:
        return sent
    if _status(error) == 404 and isinstance(body, dict) and "error" not in body:
        return None
    return type(error).__name__


def body_error_type(body: Any) -> str | None:
    """The error type in a reply, if Elasticsearch sent one; never its reason, which quotes the user's input."""
    if not isinstance(body, dict):
        return None
    error = body.get("error")
    found = error.get("type") if isinstance(error, dict) else None
    return found if isinstance(found, str) and _TYPE.fullmatch(found) else None


def _status(error: BaseException) -> int | None:
    meta = getattr(error, "meta", None)
    status = getattr(meta, "status", None)
    return status if isinstance(status, int) else None
